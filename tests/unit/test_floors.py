"""The house's rules: imports go down or left, torchvision stays behind its guard, no pyplot."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2] / "kdlib"
FLOORS = {
    0: ("vision", "device", "source"),
    1: ("data", "losses", "models", "distances", "metrics"),
    2: ("objectives", "training"),
    3: ("bank", "adaptation", "compression"),
    4: ("figures", "explorers", "checks"),
    5: ("headless", "doctor", "__main__"),
}
# room -> (floor, place from the left)
PLACE = {room: (floor, i) for floor, rooms in FLOORS.items() for i, room in enumerate(rooms)}
MODULES = sorted(ROOT.rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT.parent).as_posix()


def room_of(path: Path) -> str:
    part = path.relative_to(ROOT).parts[0]
    return part.removesuffix(".py")


def imports(source: str) -> Iterator[str]:
    """Every module that the source imports, at the top or inside a function, as a dotted name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the floor that they go to"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def trespasses(room: str, source: str) -> list[str]:
    """The imports of other rooms that lie above, or to the right on the same floor."""
    found = []
    for imported in imports(source):
        parts = imported.split(".")
        if parts[0] != "kdlib" or len(parts) == 1 or parts[1] in (room, "__version__"):
            continue
        other = PLACE.get(parts[1])
        assert other is not None, f"kdlib.{parts[1]} has no floor; give it one in this test"
        floor, place = PLACE[room]
        beside = other[0] == floor and other[1] > place
        if other[0] > floor or beside or (room == "losses" and other[0] == floor):
            found.append(imported)
    return found


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_go_down_or_to_the_left(path: Path) -> None:
    room = room_of(path)
    if room == "__init__":
        assert not [name for name in imports(path.read_text()) if name.startswith("kdlib")]
        return
    assert room in PLACE, f"{name_of(path)} stands on no floor; give it one in this test"
    assert trespasses(room, path.read_text()) == []


@pytest.mark.parametrize(
    ("room", "source", "count"),
    [
        ("losses", "from kdlib.objectives import HardLabels", 1),
        ("losses", "from kdlib import data", 1),
        ("data", "def f():\n    from kdlib.models import mlp", 1),
        ("training", "from kdlib.objectives import HardLabels", 0),
        ("objectives", "import kdlib.training.loop", 1),
        ("checks", "from kdlib.explorers import Explorer", 0),
        ("figures", "from kdlib import vision, checks", 1),
    ],
)
def test_the_rule_sees_what_it_must(room: str, source: str, count: int) -> None:
    assert len(trespasses(room, source)) == count


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_bare_torchvision_and_no_pyplot(path: Path) -> None:
    for imported in imports(path.read_text()):
        if room_of(path) != "vision":
            assert imported.split(".")[0] != "torchvision", "import it from kdlib.vision"
        assert "pyplot" not in imported, "pyplot keeps global state; make a Figure"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_is_one_idea(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 280


def test_every_module_says_what_it_is_for() -> None:
    silent = [name_of(p) for p in MODULES if not ast.get_docstring(ast.parse(p.read_text()))]
    assert silent == []

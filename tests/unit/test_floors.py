"""The house's rules: two wings and a street of lessons, imports go down, one idea a module."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FLOORS = {  # of each wing, from below; on a floor a room may import those further left
    "kdlib": (
        ("vision", "device", "replacing", "files", "source", "tensors", "arguments"),
        ("data", "losses", "models", "distances", "metrics"),
        ("objectives", "training"),
        ("bank", "adaptation", "compression"),
    ),
    "kdcourse": (
        ("console", "catalogue", "parameters", "measured", "figures"),
        ("explorers", "checks", "headless"),
        ("pages", "doctor", "ground"),
        ("__main__",),
    ),
}
PLACE = {
    (wing, room): (floor, place)
    for wing, floors in FLOORS.items()
    for floor, rooms in enumerate(floors)
    for place, room in enumerate(rooms)
}
LESSONS = ROOT / "kdcourse" / "lessons"
MODULES = sorted(path for wing in FLOORS for path in (ROOT / wing).rglob("*.py"))
PAGES = [path for path in MODULES if path.name in ("page.py", "notes.py")]
OURS = [p for p in MODULES if p not in PAGES and not p.name.startswith("test_")]
WINGS = [path for path in OURS if LESSONS not in path.parents]
COURSE_ONLY = ("matplotlib", "IPython", "ipywidgets", "ipykernel", "papermill", "nbformat")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def room_of(path: Path) -> tuple[str, str]:
    """The wing, and the room in it: ("kdlib", "losses")."""
    wing, room, *_ = path.relative_to(ROOT).parts
    return wing, room.removesuffix(".py")


def imports(source: str) -> Iterator[str]:
    """Every module that the source imports, at the top or inside a function, as a dotted name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the floor that they go to"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def trespasses(wing: str, room: str, source: str) -> list[str]:
    """Imports of rooms above, or to the right on the same floor; of the wrong wing; of lessons."""
    found = []
    floor, place = PLACE[wing, room]
    for imported in imports(source):
        other_wing, other, *_ = [*imported.split("."), "", ""]
        if other_wing not in FLOORS or other in ("", "__version__"):
            continue
        if wing == "kdlib" and (other_wing == "kdcourse" or other in COURSE_ONLY):
            found.append(imported)
        if wing == "kdcourse" and other == "lessons":
            found.append(imported)
        if other_wing != wing or other in (room, "lessons"):
            continue
        assert (wing, other) in PLACE, f"{wing}.{other} has no floor; give it one in this test"
        other_floor, other_place = PLACE[wing, other]
        beside = other_floor == floor and other_place > place
        purely = room == "losses" and other_floor == floor
        if other_floor > floor or beside or purely:
            found.append(imported)
    if wing == "kdlib":
        found += [name for name in imports(source) if name.split(".")[0] in COURSE_ONLY]
    return found


def of_other_lessons(folder: str, source: str) -> list[str]:
    """What a lesson imports of another lesson."""
    own = f"kdcourse.lessons.{folder}"
    return [
        name
        for name in imports(source)
        if name.startswith("kdcourse.lessons") and not f"{name}.".startswith(f"{own}.")
    ]


@pytest.mark.parametrize("path", WINGS, ids=name_of)
def test_imports_go_down_or_to_the_left(path: Path) -> None:
    wing, room = room_of(path)
    if room in ("__init__", "lessons"):
        assert not [name for name in imports(path.read_text()) if name.split(".")[0] in FLOORS]
        return
    assert (wing, room) in PLACE, f"{name_of(path)} stands on no floor; give it one in this test"
    assert trespasses(wing, room, path.read_text()) == []


@pytest.mark.parametrize(
    ("wing", "room", "source", "count"),
    [
        ("kdlib", "losses", "from kdlib.objectives import HardLabels", 1),
        ("kdlib", "losses", "from kdlib import data", 1),
        ("kdlib", "data", "def f():\n    from kdlib.models import mlp", 1),
        ("kdlib", "training", "from kdlib.objectives import HardLabels", 0),
        ("kdlib", "objectives", "import kdlib.training.loop", 1),
        ("kdlib", "bank", "from kdcourse.figures import figure", 1),
        ("kdlib", "bank", "from matplotlib.figure import Figure", 1),
        ("kdlib", "data", "def f():\n    import IPython", 1),
        ("kdcourse", "checks", "from kdcourse.explorers import Explorer", 0),
        ("kdcourse", "figures", "from kdlib import vision\nfrom kdcourse import checks", 1),
        ("kdcourse", "explorers", "from kdcourse.lessons.lesson02 import arrows", 1),
    ],
)
def test_the_rule_sees_what_it_must(wing: str, room: str, source: str, count: int) -> None:
    assert len(trespasses(wing, room, source)) == count


@pytest.mark.parametrize("path", sorted(LESSONS.glob("lesson*/*.py")), ids=name_of)
def test_a_lesson_imports_no_other_lesson(path: Path) -> None:
    assert of_other_lessons(path.parent.name, path.read_text()) == []


def test_the_rule_of_lessons_sees_what_it_must() -> None:
    own = "from kdcourse.lessons.lesson02 import exercises\nimport kdcourse.lessons.lesson02.table"
    assert of_other_lessons("lesson02", own) == []
    for text in (own, "from kdcourse.lessons import lesson02"):
        assert of_other_lessons("lesson03", text)


@pytest.mark.parametrize("path", [p for p in WINGS if room_of(p)[0] == "kdcourse"], ids=name_of)
def test_the_machine_of_the_course_names_no_lesson(path: Path) -> None:
    """No number with a title, no folder: those are read from the street of lessons."""
    stems = [folder.name for folder in LESSONS.glob("lesson*")]
    code = ast.unparse(_without_docstrings(ast.parse(path.read_text())))
    assert [stem for stem in stems if stem in code] == []


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        first = body[0] if isinstance(body, list) and body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            body[0] = ast.Pass()
    return tree


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Not even three files; what is imported inside a function, or for types alone, counts too."""
    names = {".".join(p.relative_to(ROOT).with_suffix("").parts): p for p in WINGS}
    names = {name.removesuffix(".__init__"): path for name, path in names.items()}
    arrows: dict[str, set[str]] = {}
    for name, path in names.items():
        package = path.name == "__init__.py"
        found = set()
        for imported in imports(path.read_text()):
            target = imported if imported in names else imported.rpartition(".")[0]
            # A room's own face gathers its modules; what they import of it is named in full.
            if target in names and target != name and not (package and target.startswith(name)):
                found.add(target)
        arrows[name] = found
    done: set[str] = set()
    while True:
        free = {name for name in arrows if name not in done and arrows[name] <= done}
        if not free:
            break
        done |= free
    assert sorted(set(arrows) - done) == [], "these wait for each other"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_bare_torchvision_and_no_pyplot(path: Path) -> None:
    for imported in imports(path.read_text()):
        if room_of(path) != ("kdlib", "vision"):
            assert imported.split(".")[0] != "torchvision", "import it from kdlib.vision"
        assert "pyplot" not in imported, "pyplot keeps global state; make a Figure"


@pytest.mark.parametrize("path", OURS, ids=name_of)
def test_a_module_is_one_idea(path: Path) -> None:
    """But a table's script, whose text is in the table's key: to split one is to train it again."""
    longest = 450 if path.name == "table.py" else 250
    assert len(path.read_text().splitlines()) <= longest


def test_in_the_course_no_two_things_share_a_name() -> None:
    """Files, and public functions and classes at the top; what a lesson has is its own."""
    course = [p for p in WINGS if room_of(p)[0] == "kdcourse" and p.name != "__init__.py"]
    things = [path.name for path in course]
    for path in course:
        nodes = ast.parse(path.read_text()).body
        things += [n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef)]
    public = [name for name in things if not name.startswith("_")]
    assert sorted({name for name in public if public.count(name) > 1}) == []


def test_every_module_says_what_it_is_for() -> None:
    silent = [name_of(p) for p in OURS if not ast.get_docstring(ast.parse(p.read_text()))]
    assert silent == []

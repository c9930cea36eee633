"""The set-up: what course.py does to `.venv`, and what it tells its reader.

No test installs anything: `FakeMachine` answers for every process that course.py would start.
"""

import ast
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import course  # noqa: E402


class FakeMachine:
    """Stands for the machine's venv and pip; keeps each command, and what lies in `.venv`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.venv = root / ".venv"
        self.python = f"{sys.version_info[0]}.{sys.version_info[1]}"
        self.calls: list[str] = []
        self.installs: list[list[str]] = []
        self.pip_works = True
        self.python_runs = True
        self.prefix = self.venv
        self.pip_log: str | None = None  # what pip says when it fails
        self.rejects = ""  # an option with which pip fails

    def __call__(self, command, *, env=None, hear=lambda line: None) -> tuple[int, str]:
        if command[1:3] == ["-m", "venv"]:
            self.calls.append("venv")
            target = Path(command[3])
            target.joinpath("site-packages").mkdir(parents=True)
            course.interpreter(target).parent.mkdir(parents=True)
            course.interpreter(target).write_text("a Python")
            self.pip_works = self.python_runs = True
            self.prefix = self.venv
            return 0, ""
        if command[1:4] == ["-m", "pip", "install"]:
            return self.pip(command)
        if command[1:3] == ["-I", "-c"]:
            return self.probe(command[4:])
        raise AssertionError(f"course.py started something unexpected: {command}")

    def pip(self, command) -> tuple[int, str]:
        self.calls.append("pip")
        self.installs.append(command)
        if self.pip_log is not None:
            return 1, self.pip_log
        if self.rejects and self.rejects in command:
            return 1, "ERROR: HTTP error 403"
        for flag, file in itertools.pairwise(command):
            if flag == "-r":
                self.versions.update(course.pins(Path(file)))
        return 0, "Installing collected packages: all\n"

    def probe(self, names) -> tuple[int, str]:
        if not self.python_runs or not course.interpreter(self.venv).exists():
            return 127, "cannot execute"
        answer = {
            "python": self.python,
            "prefix": str(self.prefix),
            "purelib": str(self.venv / "site-packages"),
            "pip": self.pip_works,
            "versions": {name: self.versions.get(name) for name in names},
        }
        return 0, json.dumps(answer)

    @property
    def versions(self) -> "Versions":
        return Versions(self.venv / "versions.json")


class Versions(dict):
    """The installed packages, kept inside `.venv` so that they go when it goes."""

    def __init__(self, file: Path) -> None:
        super().__init__(json.loads(file.read_text()) if file.exists() else {})
        self.file = file

    def update(self, other) -> None:
        super().update(other)
        self.file.write_text(json.dumps(self))


@pytest.fixture
def machine(tmp_path, monkeypatch):
    for name in ("requirements.txt", "constraints.txt", "tests/requirements.txt"):
        tmp_path.joinpath(name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    fake = FakeMachine(tmp_path)
    monkeypatch.setattr(course, "capture", fake)
    monkeypatch.setattr(course, "cpu_wheels", lambda version: [])
    return fake


def again(machine: FakeMachine, *groups: str) -> list[str]:
    """Set up and return what was started, probes aside."""
    machine.calls.clear()
    course.set_up(machine.root, groups or ("course",))
    return list(machine.calls)


# --- the way through


def test_first_call_installs_under_the_lock_and_second_call_installs_nothing(machine):
    assert again(machine) == ["venv", "pip"]
    command = " ".join(machine.installs[0])
    assert f"-c {machine.root / 'constraints.txt'}" in command
    assert f"-r {machine.root / 'requirements.txt'}" in command
    assert str(machine.root / "tests") not in command
    assert again(machine) == []


def test_test_adds_only_its_own_packages_and_lab_still_installs_nothing(machine):
    again(machine)
    assert again(machine, "course", "tests") == ["pip"]
    assert machine.installs[-1].count("-r") == 1
    assert str(machine.root / "tests" / "requirements.txt") in machine.installs[-1]
    assert again(machine) == again(machine, "course", "tests") == []


def test_changed_pins_are_installed_into_the_same_environment(machine):
    again(machine)
    file = machine.root / "requirements.txt"
    file.write_text(file.read_text() + "pooch==1.8.2\n")
    assert again(machine) == ["pip"]
    assert again(machine) == []


def test_a_package_that_was_replaced_by_hand_is_put_back(machine):
    again(machine)
    machine.versions.update({"torch": "1.0"})
    assert again(machine) == ["pip"]


def test_kdlib_is_wired_into_the_environment_and_news_are_off(machine, monkeypatch):
    monkeypatch.setattr(course, "ROOT", machine.root)
    again(machine)
    purelib = machine.venv / "site-packages"
    link = purelib / "distillation_lab.pth"
    assert (purelib / link.read_text().strip()).resolve() == machine.root.resolve()
    assert link.read_text().isascii()
    settings = machine.venv / "share/jupyter/lab/settings/overrides.json"
    values = json.loads(settings.read_text())["@jupyterlab/apputils-extension:notification"]
    assert values == {"fetchNews": "false", "checkForUpdates": False}
    link.unlink()
    assert again(machine) == []
    assert link.exists()


# --- what is broken is made anew, with one sentence


def lose_interpreter(machine):
    course.interpreter(machine.venv).unlink()


def stop_interpreter(machine):
    machine.python_runs = False


def lose_config(machine):
    machine.prefix = machine.root  # what Python answers in a .venv without its pyvenv.cfg


def lose_stamp(machine):
    machine.venv.joinpath(course.STAMP).unlink()


def garble_stamp(machine):
    machine.venv.joinpath(course.STAMP).write_text('{"python": "3.1')


def upgrade_system_python(machine):
    stamp = course.read_stamp(machine.venv)
    course.write_stamp(machine.venv, {**stamp, "python": "3.9"})


def break_pip(machine):
    machine.pip_works = False


def put_file_in_place(machine):
    shutil.rmtree(machine.venv)
    machine.venv.write_text("not a folder")


def empty_folder(machine):
    shutil.rmtree(machine.venv)
    machine.venv.mkdir()


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (lose_interpreter, "has no Python"),
        (stop_interpreter, "has a Python that does not run"),
        (lose_config, "has a Python that installs elsewhere"),
        (lose_stamp, "was left half-made"),
        (garble_stamp, "was left half-made"),
        (upgrade_system_python, "was made for Python 3.9"),
        (break_pip, "has a broken pip"),
        (put_file_in_place, "has no Python"),
        (empty_folder, "has no Python"),
    ],
)
def test_a_broken_environment_is_made_anew_and_the_reader_is_told_once(machine, capsys, harm, why):
    again(machine)
    harm(machine)
    capsys.readouterr()
    assert again(machine) == ["venv", "pip"]
    told = [line for line in capsys.readouterr().err.splitlines() if "making it anew" in line]
    assert len(told) == 1
    assert why in told[0]
    assert again(machine) == []


def test_an_interrupted_install_is_done_again(machine, monkeypatch):
    def interrupted(command):
        raise KeyboardInterrupt

    monkeypatch.setattr(machine, "pip", interrupted)
    with pytest.raises(KeyboardInterrupt):
        again(machine)
    monkeypatch.undo()
    monkeypatch.setattr(course, "capture", machine)
    monkeypatch.setattr(course, "cpu_wheels", lambda version: [])
    assert again(machine) == ["venv", "pip"]


@pytest.mark.parametrize(
    ("log", "survives"),
    [
        (
            "WARNING: Retrying: NewConnectionError\nERROR: No matching distribution found for x",
            True,
        ),
        ("Installing collected packages: a, b\nERROR: No space left on device", False),
    ],
)
def test_a_failed_addition_costs_the_environment_only_if_pip_touched_it(machine, log, survives):
    again(machine)
    machine.pip_log = log
    with pytest.raises(course.Trouble):
        again(machine, "course", "tests")
    machine.pip_log = None
    assert again(machine) == ([] if survives else ["venv", "pip"])


def test_a_removal_that_is_interrupted_leaves_no_stamp(machine, monkeypatch):
    again(machine)
    break_pip(machine)

    def interrupted(venv):
        raise KeyboardInterrupt

    monkeypatch.setattr(course.shutil, "rmtree", interrupted)
    with pytest.raises(KeyboardInterrupt):
        again(machine)
    assert course.read_stamp(machine.venv) == {}


@pytest.mark.skipif(sys.platform == "win32", reason="a venv's Python is no link there")
def test_the_environments_own_python_can_make_it_anew(tmp_path, monkeypatch):
    python = course.interpreter(tmp_path / ".venv")
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    started = []
    monkeypatch.setattr(course.sys, "_base_executable", str(python))
    monkeypatch.setattr(course, "capture", lambda command, env: started.append(command) or (0, ""))
    course.create(tmp_path / ".venv")
    assert Path(started[0][0]).exists()


def test_two_set_ups_do_not_meet(tmp_path):
    with course.alone(tmp_path), tmp_path.joinpath(".venv.lock").open("a") as second:
        assert not course.try_lock(second)
    with tmp_path.joinpath(".venv.lock").open("a") as later:
        assert course.try_lock(later)


# --- CPU builds of torch


def test_cpu_builds_are_preferred_and_given_up_quietly(machine, monkeypatch):
    option = ["--extra-index-url", course.CPU_WHEELS]
    monkeypatch.setattr(course, "cpu_wheels", lambda version: option)
    machine.rejects = option[0]
    assert again(machine) == ["venv", "pip", "pip"]
    assert option[0] in machine.installs[0]
    assert option[0] not in machine.installs[1]
    assert again(machine) == []


@pytest.mark.parametrize(
    ("platform", "driver", "page", "used"),
    [
        ("linux", None, b"torch-2.13.0%2Bcpu-cp311", True),
        ("linux", None, b"torch-2.12.0%2Bcpu-cp311", False),
        ("linux", None, b"<html>Please sign in to the hotel's network", False),
        ("linux", None, None, False),
        ("linux", "/usr/bin/nvidia-smi", b"torch-2.13.0%2Bcpu-cp311", False),
        ("darwin", None, b"torch-2.13.0%2Bcpu-cp311", False),
        ("win32", None, b"torch-2.13.0%2Bcpu-cp311", False),
    ],
)
def test_cpu_index_is_used_on_linux_without_nvidia_where_it_answers(
    monkeypatch, platform, driver, page, used
):
    class Page:
        def read(self):
            return page

    def urlopen(url, timeout):
        assert url.startswith(course.CPU_WHEELS)
        if page is None:
            raise OSError("no route to host")
        return Page()

    exists = Path.exists
    monkeypatch.setattr(course.sys, "platform", platform)
    monkeypatch.setattr(course.shutil, "which", lambda name: driver)
    monkeypatch.setattr(course.urllib.request, "urlopen", urlopen)
    monkeypatch.setattr(Path, "exists", lambda self: "nvidia" not in str(self) and exists(self))
    assert bool(course.cpu_wheels("2.13.0")) is used


# --- what the reader is told when it cannot go on


def test_a_python_that_is_too_old_is_told_what_to_do(monkeypatch):
    monkeypatch.setattr(course.shutil, "which", lambda name: None)
    sentence = course.too_old((3, 10, 13), "/usr/bin/python3")
    assert "3.11 or newer" in sentence
    assert "/usr/bin/python3 is 3.10.13" in sentence
    assert "python.org" in sentence
    assert course.too_old((3, 11, 0), "python3") is None
    assert course.too_old((4, 0, 0), "python3") is None
    monkeypatch.setattr(course.shutil, "which", lambda name: name if "3.12" in name else None)
    assert "`python3.12`" in course.too_old((3, 8, 0), "python3")


def test_an_old_python_gets_as_far_as_that_sentence():
    source = ROOT.joinpath("course.py").read_text("utf-8")
    tree = ast.parse(source, feature_version=(3, 6))
    check = next(i for i, node in enumerate(tree.body) if isinstance(node, ast.If))
    earlier = [node for node in tree.body[:check] if isinstance(node, ast.FunctionDef)]
    assert [function.name for function in earlier] == ["too_old"]
    assert not any(a.annotation for a in earlier[0].args.args)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
    modules = {alias.name.split(".")[0] for node in imports for alias in node.names}
    assert modules <= set(sys.stdlib_module_names)
    assert "dataclasses" not in modules  # younger than Python 3.6


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (
            "Retrying ... NewConnectionError('...: [Errno 101] Network is unreachable')",
            "connect to",
        ),
        (
            "Failed to resolve 'example.org' ([Errno -3] Temporary failure in name resolution)",
            "mirror",
        ),
        ("SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]", "PIP_CERT"),
        ("ProxyError('Cannot connect to proxy.')", "HTTPS_PROXY"),
        ("ERROR: Could not install: [Errno 28] No space left on device", "disk is full"),
        ("ERROR: No matching distribution found for torch==2.13.0", "no torch==2.13.0 for this"),
        ("one\ntwo\n\nERROR: something new", "something new"),
    ],
)
def test_pips_failures_become_one_sentence_and_exit_code_2(
    machine, monkeypatch, capsys, log, words
):
    monkeypatch.setattr(course, "ROOT", machine.root)
    machine.pip_log = log
    assert course.main(["setup"]) == 2
    told = capsys.readouterr().err
    assert words in told
    assert "run the same command again" in told
    assert "Traceback" not in told


@pytest.mark.slow
def test_what_pip_really_says_of_a_missing_wheel(tmp_path):
    """A pin that its constraint names again, as ours do, and no wheel of it."""
    for name in ("requirements.txt", "constraints.txt"):
        tmp_path.joinpath(name).write_text("torch==2.13.0\n")
    options = f"--no-index --find-links {tmp_path} --dry-run --ignore-installed -c constraints.txt"
    command = [sys.executable, "-m", "pip", "install", *options.split(), "-r", "requirements.txt"]
    env = {**os.environ, "PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1"}
    env.pop("PIP_FIND_LINKS", None)
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode
    assert "There is no torch==2.13.0 for this Python" in course.explain(done.stdout + done.stderr)


def test_an_unknown_failure_shows_the_end_of_pips_log_only():
    sentence = course.explain("\n".join(f"line {i}" for i in range(100)))
    assert "line 99" in sentence
    assert "line 50" not in sentence


def test_a_python_without_venv_names_the_package(tmp_path, monkeypatch):
    monkeypatch.setattr(course.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(course.Trouble, match=r"sudo apt install python3\.\d+-venv"):
        course.create(tmp_path / ".venv")


def test_a_folder_that_cannot_be_written_is_said(machine, monkeypatch):
    def refuse(venv):
        raise PermissionError(13, "Permission denied", str(venv))

    monkeypatch.setattr(course, "create", refuse)
    with pytest.raises(course.Trouble, match=r"Permission denied.*can be written"):
        again(machine)


# --- words


def test_an_unknown_word_is_answered_with_the_closest(capsys):
    assert course.main(["tset"]) == 2
    assert "did you mean `test`?" in capsys.readouterr().err
    assert course.main(["xyzzy"]) == 2
    assert "lab, run, sweep, test, build, bench, doctor" in capsys.readouterr().err


def test_help_names_every_word_and_sets_nothing_up(capsys, monkeypatch):
    monkeypatch.setattr(course, "set_up", lambda *_: pytest.fail("help must not install"))
    assert course.main(["--help"]) == 0
    told = capsys.readouterr().out
    assert all(re.search(rf"^  {word}\b", told, re.MULTILINE) for word in course.WORDS)
    assert course.main([]) == 2


@pytest.mark.parametrize(
    ("argv", "command", "groups"),
    [
        (["lab", "--no-browser", "--port", "9000"], "-m jupyterlab notebooks", ("course",)),
        (["run", "04", "-p", "T=8"], "-m kdcourse run 04 -p T=8", ("course",)),
        (["sweep", "04", "-g", "T=1,4"], "-m kdcourse sweep 04 -g T=1,4", ("course",)),
        (["doctor"], "-m kdcourse doctor", ("course",)),
        (["build", "02"], "-m kdcourse build 02", ("course",)),
        (["bench", "--quick"], "-m benchmarks --quick", ("course",)),
        (
            ["test", "-k", "losses"],
            "-m pytest -n 3 --dist worksteal -k losses",
            ("course", "tests"),
        ),
    ],
)
def test_each_word_hands_over_with_its_arguments_and_exit_code(monkeypatch, argv, command, groups):
    seen = {}
    python = Path("venv-python")
    monkeypatch.setattr(course, "set_up", lambda root, groups: seen.update(groups=groups) or python)
    monkeypatch.setattr(course, "start", lambda command, env, cwd: seen.update(run=command) or 7)
    assert course.main(argv) == 7
    assert seen["groups"] == groups
    assert seen["run"][0] == str(python)
    started = " ".join(
        Path(part).name if "/" in part or "\\" in part else part for part in seen["run"]
    )
    assert command in started
    assert seen["run"][-len(argv[1:]) :] == argv[1:] or not argv[1:]


def test_setup_starts_nothing(monkeypatch):
    monkeypatch.setattr(course, "set_up", lambda root, groups: Path("python"))
    monkeypatch.setattr(course, "start", lambda *_: pytest.fail("nothing to start"))
    assert course.main(["setup"]) == 0


def test_ctrl_c_during_set_up_ends_with_130_and_no_traceback(monkeypatch, capsys):
    def interrupted(root, groups):
        raise KeyboardInterrupt

    monkeypatch.setattr(course, "set_up", interrupted)
    assert course.main(["setup"]) == 130
    assert "Stopped" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("waits", "code"),
    [([0], 0), ([3], 3), ([-15], 143), (["^C", 2], 130), (["^C", "^C", -2], 130), (["^C", 0], 0)],
)
def test_the_programs_exit_code_is_passed_on_and_ctrl_c_waits_for_it(monkeypatch, waits, code):
    class Child:
        def wait(self):
            step = waits.pop(0)
            if step == "^C":
                raise KeyboardInterrupt
            return step

    monkeypatch.setattr(course.subprocess, "Popen", lambda *_, **__: Child())
    assert course.start(["x"], {}, None) == code
    assert waits == []


def test_the_environment_is_closed_to_the_readers_other_pythons(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    monkeypatch.setenv("PYTHONHOME", "elsewhere")
    env = course.environment(tmp_path / ".venv")
    assert "PYTHONPATH" not in env
    assert "PYTHONHOME" not in env
    assert env["PATH"].startswith(str(course.interpreter(tmp_path / ".venv").parent))


def test_capture_hears_each_line_and_a_missing_program_is_127():
    heard = []
    code, output = course.capture(
        [sys.executable, "-c", "print('a'); print('b'); raise SystemExit(5)"], hear=heard.append
    )
    assert (code, heard, output.split()) == (5, ["a", "b"], ["a", "b"])
    assert course.capture(["no-such-program-at-all"])[0] == 127


def test_the_probe_tells_what_a_real_python_has():
    done = subprocess.run(
        [sys.executable, "-I", "-c", course.PROBE, "torch", "no-such-package"],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["versions"]["no-such-package"] is None
    assert found["versions"]["torch"] == course.pins(ROOT / "requirements.txt")["torch"]
    assert Path(found["purelib"]).is_dir()


def test_only_long_downloads_are_told(capsys):
    for line in (
        "Downloading https://host/torch-2.13.0-cp311.whl (180.4 MB)",
        "Downloading six-1.17.0-py2.py3-none-any.whl (11 kB)",
        "Downloading small-1.0.whl (2.1 MB)",
        "Installing collected packages: six, torch",
    ):
        course.narrate(line)
    told = capsys.readouterr().err.splitlines()
    assert [line.strip() for line in told] == [
        "downloading torch-2.13.0-cp311.whl (180 MB)",
        "unpacking ...",
    ]


def test_programs_take_one_thread_unless_told_otherwise(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert course.environment(tmp_path)["OMP_NUM_THREADS"] == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert course.environment(tmp_path)["OMP_NUM_THREADS"] == "4"

#!/usr/bin/env python3
"""Distillation Lab, set up and started by one command: `python3 course.py lab`.

The standard library alone is used here, so that a Python is all a reader needs. Each word first
makes `.venv` beside this file and installs the pinned packages there; a second call finds them
and installs nothing. What an interruption or an upgrade broke is noticed and made anew.
"""

import contextlib
import difflib
import hashlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

OLDEST = (3, 11)


def too_old(version, executable):
    """The sentence for a Python that cannot run the course, or None. Python 3.6 must read it."""
    if tuple(version[:2]) >= OLDEST:
        return None
    newer = [name for name in ("python3.13", "python3.12", "python3.11") if shutil.which(name)]
    mend = f"run it with `{newer[0]}` instead" if newer else "install one from python.org"
    found = ".".join(str(part) for part in version[:3])
    return f"This course needs Python 3.11 or newer; {executable} is {found}: {mend}."


# Here, before the first annotation that an old Python would choke on.
if too_old(sys.version_info, sys.executable):
    sys.stderr.write(too_old(sys.version_info, sys.executable) + "\n")
    sys.exit(2)

ROOT = Path(__file__).resolve().parent
STAMP = "installed.json"
CPU_WHEELS = "https://download.pytorch.org/whl/cpu"  # PyTorch's documented index of CPU builds
GROUPS = {
    "course": ("requirements.txt", "constraints.txt"),
    "tests": ("tests/requirements.txt", "constraints.txt"),
}
WORDS = {
    "lab": "open JupyterLab on the notebooks (--no-browser, --port 8889 ... are passed on)",
    "run": "execute notebooks without a browser: run 04 -p T=8 --out runs/, or run --all",
    "sweep": "execute a notebook over a grid: sweep 04 -g T=1,4,20 -g seed=0:5 --out runs/",
    "test": "run the whole test suite (options are passed to pytest)",
    "build": "make notebooks/*.ipynb and RESULTS.md from the lessons' folders",
    "bench": "time kdlib beside its peers (--quick, --course are passed on)",
    "doctor": "say what this machine offers, and how to mend what is wrong",
    "setup": "only set up",
}
NEWS_OFF = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}
}
PROBE = """
import importlib.metadata, importlib.util, json, sys, sysconfig
def version(name):
    try:
        return str(importlib.metadata.version(name)).split("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return None
def there(name):
    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:
        return False
print(json.dumps({
    "python": "%d.%d" % sys.version_info[:2],
    "prefix": sys.prefix,
    "purelib": sysconfig.get_path("purelib"),
    "pip": there("pip._internal.cli.main"),
    "versions": {name: version(name) for name in sys.argv[1:]},
}))
"""
REASONS = (  # what pip's log says, and what the reader needs to hear; the first match is told
    (
        r"No space left on device|not enough space on the disk",
        "The disk is full: the packages need about 2 GB, with CUDA 6 GB.",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|SSLError",
        "The package index showed a certificate that this machine does not trust: "
        "give pip your network's certificate (PIP_CERT=/path/to/ca.pem).",
    ),
    (r"ProxyError", "The proxy refused the connection: check HTTPS_PROXY."),
    (
        r"NewConnectionError|NameResolutionError|Connect(ion)?Timeout|ReadTimeout|getaddrinfo"
        r"|name resolution|Failed to (establish|resolve)|Network is unreachable|ConnectionRefused",
        "The package index did not answer: connect to the internet, "
        "or name a mirror that you can reach (PIP_INDEX_URL).",
    ),
    (
        # pip names a missing pin twice, and speaks of a conflict, where a constraint names it too
        r"(?:No matching distribution found for|The user requested \(constraint\))"
        r" (?P<pin>\S+==\S+)",
        "There is no {pin} for this Python and machine: use Python 3.11 to 3.13 "
        "on 64-bit Linux or Windows, or on a Mac with Apple silicon.",
    ),
)


class Trouble(Exception):
    """A sentence for the reader; course.py ends with exit code 2."""


class Condition(NamedTuple):
    """What `.venv` is like: why it must be made anew, which groups to install, what was probed."""

    exists: bool
    broken: str | None
    missing: tuple[str, ...]
    probed: dict

    @property
    def ready(self) -> bool:
        return self.exists and not self.broken and not self.missing


def say(sentence: str) -> None:
    """Tell the reader on stderr, as stdout is the started program's own.

    Sentences are ASCII, which every console shows.
    """
    print(sentence, file=sys.stderr, flush=True)


def interpreter(venv: Path) -> Path:
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def environment(venv: Path) -> dict[str, str]:
    """The environment for programs of `.venv`, without what would lead its Python elsewhere."""
    misleading = {"PYTHONHOME", "PYTHONPATH", "__PYVENV_LAUNCHER__"}
    env = {key: value for key, value in os.environ.items() if key not in misleading}
    # The course's networks are small: where a browser keeps a second core busy, two threads wait
    # for each other longer than they compute. Whoever wants more sets it.
    env.setdefault("OMP_NUM_THREADS", "1")
    env["VIRTUAL_ENV"] = str(venv)
    env["PATH"] = str(interpreter(venv).parent) + os.pathsep + env.get("PATH", "")
    env.setdefault("PYTHONUTF8", "1")  # notebooks and check marks are UTF-8; Windows assumes less
    return env


def capture(
    command: list[str],
    *,
    env: dict[str, str] | None = None,
    hear: Callable[[str], None] = lambda line: None,
) -> tuple[int, str]:
    """Run a command to its end; its exit code (127: it cannot start) and all it printed.

    `hear` is told each line as it comes.
    """
    try:
        child = subprocess.Popen(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
    except OSError as error:
        return 127, str(error)
    lines = []
    try:
        assert child.stdout is not None  # a pipe was asked for
        for line in child.stdout:
            lines.append(line)
            hear(line.strip())
        return child.wait(), "".join(lines)
    except BaseException:
        child.kill()
        child.wait()
        raise


def pins(file: Path) -> dict[str, str]:
    """The `name==version` lines of a requirements file."""
    text = file.read_text("utf-8")
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==([^\s;#]+)", text, flags=re.MULTILINE))


def digest(root: Path, group: str) -> str:
    """The hash of the files that say what a group installs."""
    parts = (root.joinpath(name).read_bytes() for name in GROUPS[group])
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def read_stamp(venv: Path) -> dict:
    """What was installed to its end: {"python": "3.11", group: digest, ...}; empty: nothing."""
    try:
        stamp = json.loads(venv.joinpath(STAMP).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def write_stamp(venv: Path, stamp: dict) -> None:
    """Written last and in one step, so that a stamp always means a finished install."""
    fresh = venv / f"{STAMP}.new"
    fresh.write_text(json.dumps(stamp), "utf-8")
    os.replace(fresh, venv / STAMP)


def probe(venv: Path, names: list[str]) -> dict:
    """What `.venv`'s Python says of itself and of the named packages; empty: it does not run."""
    code, output = capture([str(interpreter(venv)), "-I", "-c", PROBE, *names])
    try:
        return json.loads(output) if code == 0 else {}
    except ValueError:
        return {}


def examine(root: Path, groups: tuple[str, ...]) -> Condition:
    """Look at `.venv` without changing it."""
    venv = root / ".venv"
    if not os.path.lexists(venv):
        return Condition(exists=False, broken=None, missing=groups, probed={})
    wanted = {group: pins(root / GROUPS[group][0]) for group in groups}
    stamp = read_stamp(venv)
    probed = probe(venv, [name for group in groups for name in wanted[group]])
    broken = None
    if not interpreter(venv).exists():
        broken = "has no Python"
    elif not stamp:
        broken = "was left half-made"
    elif not probed:
        broken = "has a Python that does not run"
    elif not os.path.samefile(probed["prefix"], venv):
        broken = "has a Python that installs elsewhere"  # without pyvenv.cfg: into the system
    elif probed["python"] != stamp.get("python"):
        broken = f"was made for Python {stamp.get('python')} and now finds {probed['python']}"
    elif not probed["pip"]:
        broken = "has a broken pip"
    if broken:
        return Condition(exists=True, broken=broken, missing=groups, probed=probed)

    def lacks(group: str) -> bool:
        found = probed["versions"]
        changed = any(found[name] != version for name, version in wanted[group].items())
        return changed or stamp.get(group) != digest(root, group)

    missing = tuple(group for group in groups if lacks(group))
    return Condition(exists=True, broken=None, missing=missing, probed=probed)


def create(venv: Path) -> None:
    """Make an environment with pip alone, in place of what may be there.

    The base Python makes it: we may be running in the very `.venv` that is made anew.
    """
    base = getattr(sys, "_base_executable", None) or sys.executable
    if venv in Path(base).parents:  # without its pyvenv.cfg, `.venv` takes itself for the base
        base = os.path.realpath(base)
    if venv.is_dir() and not venv.is_symlink():
        venv.joinpath(STAMP).unlink(missing_ok=True)  # first, should the removal be interrupted
        shutil.rmtree(venv)
    else:
        venv.unlink(missing_ok=True)
    mend = f"on Debian or Ubuntu run `sudo apt install python3.{sys.version_info[1]}-venv`"
    if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
        raise Trouble(f"This Python ({sys.executable}) came without its venv module: {mend}.")
    code, output = capture([base, "-m", "venv", str(venv)], env=environment(venv))
    if code:
        tail = " ".join(output.split())[-300:]
        raise Trouble(f"{base} could not make {venv} ({mend}): {tail}")


def wire(prefix: Path, purelib: Path) -> None:
    """Make both packages importable in an environment; keep JupyterLab from asking about news.

    A .pth file and not `pip install -e .`, which would fetch a build backend and so need a
    network. Its path is relative: nothing in it can be decoded wrongly, and it survives moving
    the whole folder.
    """
    try:
        source = os.path.relpath(ROOT, purelib)
    except ValueError:  # Windows knows no relative path to another drive
        source = str(ROOT)
    settings = prefix / "share" / "jupyter" / "lab" / "settings" / "overrides.json"
    link = purelib / "distillation_lab.pth"
    for file, text in ((link, source + "\n"), (settings, json.dumps(NEWS_OFF))):
        if not file.exists() or file.read_text("utf-8") != text:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")


def cpu_wheels(version: str, *, wait: float = 3.0) -> list[str]:
    """pip's option for PyTorch's CPU builds, where they serve and can be reached; else nothing.

    Linux alone needs it: there the registry's torch brings gigabytes of CUDA. The index is added,
    never the only one: `+cpu` sorts above the plain version, so pip takes torch and torchvision
    as a pair from it, or `+cpu` from wherever the reader's pip has it already.
    """
    nvidia = Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi")
    if not sys.platform.startswith("linux") or nvidia:
        return []
    offered = []

    def ask() -> None:
        with contextlib.suppress(OSError, ValueError):
            page = urllib.request.urlopen(f"{CPU_WHEELS}/torch/", timeout=wait)
            offered.append(f"torch-{version}%2Bcpu".encode() in page.read())

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(2 * wait)  # no socket time-out ends a hanging name look-up
    return ["--extra-index-url", CPU_WHEELS] if offered and offered[0] else []


def narrate(line: str) -> None:
    """Of pip's many lines, tell those that take the reader's time."""
    large = re.match(r"Downloading (\S+) \((\d{2,})[.\d]* ([MG]B)\)", line)
    if large:
        say(f"  downloading {large[1].rsplit('/', 1)[-1]} ({large[2]} {large[3]})")
    elif line.startswith("Installing collected packages"):
        say("  unpacking ...")


def explain(log: str) -> str:
    """The sentence for pip's failure; where none is known, the end of pip's log."""
    for pattern, sentence in REASONS:
        found = re.search(pattern, log)
        if found:
            return sentence.format(**found.groupdict())
    tail = [line.rstrip() for line in log.splitlines() if line.strip()][-8:]
    return "\n  ".join(["pip could not install the packages. Its last lines:", *tail]) + "\n"


def install(root: Path, groups: tuple[str, ...]) -> None:
    """Install the pins of the groups under the full lock."""
    venv = root / ".venv"
    stamp = read_stamp(venv)
    venv.joinpath(STAMP).unlink(missing_ok=True)  # an interrupted install is left without one
    options = ["--disable-pip-version-check", "--no-input", "--no-user", "--progress-bar", "off"]
    command = [str(interpreter(venv)), "-m", "pip", "install", *options]
    command += ["-c", str(root / "constraints.txt")]
    for group in groups:
        command += ["-r", str(root / GROUPS[group][0])]
    say(f"Installing the packages of the {' and the '.join(groups)} (a few minutes) ...")
    cpu = cpu_wheels(pins(root / "requirements.txt")["torch"]) if "course" in groups else []
    code, log = capture(command + cpu, env=environment(venv), hear=narrate)
    if code and cpu:
        say("  that failed with PyTorch's index of CPU builds; once more without it ...")
        code, log = capture(command, env=environment(venv), hear=narrate)
    if code:
        if stamp and "Installing collected packages" not in log:
            write_stamp(venv, stamp)  # pip gave up before it changed anything
        raise Trouble(f"{explain(log)} Then run the same command again.")
    made = {group: digest(root, group) for group in groups}
    write_stamp(venv, {**stamp, "python": probe(venv, [])["python"], **made})


def try_lock(handle: IO[str]) -> bool:
    """Take the system's lock on an open file; it ends with the process. False: another has it."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # a file system without locks: better unguarded than not at all
        return True
    return True


@contextlib.contextmanager
def alone(root: Path) -> Iterator[None]:
    """Hold the set-up for this process; wait while another one sets up."""
    with root.joinpath(".venv.lock").open("a", encoding="utf-8") as handle:
        if not try_lock(handle):
            say("Another course.py is setting up; waiting for it ...")
            while not try_lock(handle):
                time.sleep(0.5)
        yield


def set_up(root: Path, groups: tuple[str, ...]) -> Path:
    """Make, mend or complete `.venv`; return its Python. What is there is not touched."""
    venv = root / ".venv"
    try:
        condition = examine(root, groups)
        if not condition.ready:
            with alone(root):
                condition = examine(root, groups)  # another process may have finished meanwhile
                if condition.broken:
                    say(f"The environment {venv} {condition.broken}; making it anew ...")
                elif not condition.exists:
                    say(f"Making the environment {venv} ...")
                if condition.broken or not condition.exists:
                    create(venv)
                if condition.missing:
                    install(root, condition.missing)
                condition = examine(root, groups)
            if not condition.ready:
                raise Trouble(f"{venv} is not as pip left it: delete it and run this again.")
            say("Everything is installed.")
        wire(venv, Path(condition.probed["purelib"]))
    except OSError as error:
        raise Trouble(
            f"Setting up stopped at: {error}. Close programs that use {venv} (JupyterLab?), see "
            f"that {root} can be written and the disk has room, then run this again."
        ) from error
    return interpreter(venv)


def command_for(word: str, extra: list[str]) -> tuple[list[str], Path | None]:
    """What `.venv`'s Python is started with, and in which folder (None: the reader's own)."""
    if word == "lab":
        # In a container root is often the only user, and JupyterLab would refuse it.
        as_root = ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
        return ["-m", "jupyterlab", str(ROOT / "notebooks"), *as_root, *extra], None
    if word == "test":
        # Processes of one thread each. Two cores are what the smallest machine that we plan for
        # has; a third process works while kernels and browsers of the others come up.
        return ["-m", "pytest", "-n", "3", "--dist", "worksteal", *extra], ROOT
    if word == "bench":
        return ["-m", "benchmarks", *extra], ROOT
    return ["-m", "kdcourse", word, *extra], None


def end_with_us() -> None:
    """Asks Linux to tell this process, which runs a command, when we are killed: SIGTERM."""
    with contextlib.suppress(ImportError, OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def start(command: list[str], env: dict[str, str], cwd: Path | None) -> int:
    """Run a program in the foreground; its exit code, or 130 if the reader stopped it.

    Ctrl-C reaches the program too, and is for it to answer (JupyterLab asks first): wait for it.
    """
    interrupted = False
    linux = sys.platform == "linux"
    child = subprocess.Popen(command, env=env, cwd=cwd, preexec_fn=end_with_us if linux else None)
    before = signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    try:
        while True:
            try:
                code = child.wait()
                break
            except KeyboardInterrupt:
                interrupted = True
    finally:
        signal.signal(signal.SIGTERM, before)
    if interrupted and code:
        return 130
    return 128 - code if code < 0 else code  # a signal's number, as shells report it


def choose(argv: list[str]) -> int:
    """Read the word, set up, hand over."""
    if not argv or argv[0] in ("-h", "--help", "help"):
        words = "\n".join(f"  {word:7} {meaning}" for word, meaning in WORDS.items())
        print(f"usage: python3 course.py WORD [OPTIONS]\n\n{words}\n")
        print("Each word first sets up what it needs, in .venv beside course.py.")
        return 0 if argv else 2
    word, extra = argv[0], argv[1:]
    if word not in WORDS:
        close = difflib.get_close_matches(word.lower(), WORDS, n=1, cutoff=0.5)
        hint = f"did you mean `{close[0]}`?" if close else f"it knows {', '.join(WORDS)}."
        raise Trouble(f"course.py does not know the word `{word}`; {hint}")
    python = set_up(ROOT, ("course", "tests") if word == "test" else ("course",))
    if word == "setup":
        return 0
    command, cwd = command_for(word, extra)
    return start([str(python), *command], environment(ROOT / ".venv"), cwd)


def main(argv: list[str]) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that pip does not outlive us
    try:
        return choose(argv)
    except Trouble as trouble:
        say(str(trouble))
        return 2
    except KeyboardInterrupt:
        say("\nStopped. The same command goes on from here.")
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""`python -m kdcourse doctor | run | sweep | build`: the command line of the course."""

import argparse
import errno
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

from kdcourse.console import be_patient

if TYPE_CHECKING:
    from kdcourse.headless import Result

_Number = TypeVar("_Number", int, float)
BAD_INPUT, FAILED, SIGNALLED = 2, 1, 128


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One sentence, where argparse would print its usage first."""
        self.exit(BAD_INPUT, f"{self.prog}: {message}; see {self.prog} --help\n")


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0 well, 1 a run or a check failed, 2 bad input; and as shells report
    signals, 130 interrupted, 143 SIGTERM, 129 SIGHUP."""
    arguments = _parsed(argv)
    try:
        return arguments.command(arguments)
    except ValueError as error:
        print(error, file=sys.stderr)
        return BAD_INPUT
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        mend = "; make room there, or name a folder elsewhere with --out, and run it again"
        print(f"could not write or read: {error}{mend if full else ''}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt as interrupt:
        print("interrupted; what was finished is kept", file=sys.stderr)
        return SIGNALLED + next(iter(interrupt.args), signal.SIGINT)


def _parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """What argv says; names of notebooks may stand before, between and after options.

    argparse itself takes the first of them only, and cannot intermix words that have options.
    """
    parser = _parser()
    arguments, more = parser.parse_known_args(argv)
    if more and ("names" not in arguments or any(word.startswith("-") for word in more)):
        hint = "; hold a value fixed by -g NAME=VALUE" if "-p" in more else ""
        parser.error(f"unrecognized arguments: {' '.join(more)}{hint}")
    if more:
        arguments.names = [*arguments.names, *more]
    return arguments


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m kdcourse", description="The course without a browser.")
    words = parser.add_subparsers(required=True, metavar="doctor | run | sweep | build")

    doctor = words.add_parser("doctor", help="what this machine has, and how to mend what it lacks")
    doctor.set_defaults(command=_doctor)

    common = _Parser(add_help=False)
    common.add_argument("--out", default="runs", help="folder for results (runs)")
    common.add_argument("--timeout", default=600, type=_seconds, help="seconds a cell may take")
    common.add_argument("--again", action="store_true", help="run again what is finished")
    common.add_argument("--workers", type=_count, help="processes (as many as processors)")
    common.add_argument("--notebooks", type=Path, metavar="FOLDER", help="another folder of them")

    run = words.add_parser("run", parents=[common], help="notebooks with other parameters")
    run.add_argument("names", nargs="*", metavar="NOTEBOOK", help="04, 04_temperature, or a path")
    run.add_argument("--all", action="store_true", help="every notebook of the course")
    run.add_argument("--notes", action="store_true", help="with --all: the lab notes, too")
    run.add_argument("-p", dest="given", action="append", default=[], metavar="NAME=VALUE")
    run.set_defaults(command=_run)

    sweep = words.add_parser("sweep", parents=[common], help="a notebook over a grid of values")
    sweep.add_argument("name", metavar="NOTEBOOK", help="04, 04_temperature, or a path")
    sweep.add_argument(
        "-g",
        dest="given",
        action="append",
        default=[],
        metavar="NAME=VALUES",
        help="T=1,4 seed=0:5",
    )
    sweep.set_defaults(command=_sweep)

    build = words.add_parser("build", help="make notebooks and results from the lessons' folders")
    build.add_argument("names", nargs="*", metavar="NN", help="which lessons; all by default")
    build.add_argument("--check", action="store_true", help="only compare; run nothing")
    build.add_argument("--words", action="store_true", help="only what needs no run: prose, links")
    build.add_argument("--timeout", default=600, type=_seconds, help="seconds a cell may take")
    build.add_argument("--root", type=Path, metavar="FOLDER", help="another clone of the course")
    build.set_defaults(command=_build)
    return parser


def _doctor(arguments: argparse.Namespace) -> int:
    from kdcourse import doctor

    healthy = True
    for line in doctor.report():
        print(line, flush=True)
        healthy &= not line.broken
    return 0 if healthy else FAILED


def _run(arguments: argparse.Namespace) -> int:
    from kdcourse import headless
    from kdcourse.headless import interrupts

    if arguments.all == bool(arguments.names):
        raise ValueError("run needs names of notebooks, or --all: for instance `run 04`")
    folder = arguments.notebooks
    if arguments.notes and not arguments.all:
        raise ValueError(
            "--notes goes with --all; name lab notes one by one: run 02_soft_targets_notes"
        )
    every = headless.notebooks(folder, notes=arguments.notes) if arguments.all else []
    names = every or arguments.names
    paths = [headless.find(name, folder) for name in names]
    given = _pairs(arguments.given, "-p T=8")
    if not paths:
        raise ValueError("there are no notebooks to run; build them with `python3 course.py build`")
    with interrupts.answered_once(*interrupts.ENDINGS):
        results = headless.run_many(
            paths,
            given,
            arguments.out,
            workers=arguments.workers,
            timeout=arguments.timeout,
            again=arguments.again,
            report=_say,
        )
    print(_table(results))
    return 0 if all(result.ok for result in results) else FAILED


def _sweep(arguments: argparse.Namespace) -> int:
    from kdcourse import headless
    from kdcourse.headless import interrupts

    grid = _pairs(arguments.given, "-g T=1,4,20")
    if not grid:
        raise ValueError("sweep needs a grid: for instance `sweep 04 -g T=1,4,20 -g seed=0:5`")
    with interrupts.answered_once(*interrupts.ENDINGS):
        results = headless.sweep(
            arguments.name,
            grid,
            arguments.out,
            workers=arguments.workers,
            timeout=arguments.timeout,
            again=arguments.again,
            folder=arguments.notebooks,
            report=_say,
        )
    done = sum(result.ok for result in results)
    table = Path(arguments.out) / "sweep.csv"
    print(f"{done} of {len(results)} runs finished; the table is {table}")
    return 0 if done == len(results) else FAILED


def _build(arguments: argparse.Namespace) -> int:
    from kdcourse import pages
    from kdcourse.catalogue import ROOT, Course
    from kdcourse.headless import NotebookFailed

    course = Course((arguments.root or ROOT).resolve())
    chosen = course.lessons(arguments.names)
    if not chosen:
        raise ValueError(f"{course.root} has no lessons; name a clone of the course with --root")
    if arguments.check:
        faults = list(pages.out_of_step(course, chosen))
        print("\n".join(faults) or f"{len(chosen)} notebooks are in step with their pages")
        return FAILED if faults else 0
    if arguments.words and arguments.names:
        raise ValueError("--words brings all pages' words into step; give it without names")
    if arguments.words:
        pages.follow(course, report=_tell)
        return 0
    try:
        pages.build(course, arguments.names, timeout=arguments.timeout, report=_tell)
    except NotebookFailed as failure:
        print(f"✗ {failure}; the old notebook is kept", file=sys.stderr)
        return FAILED
    return 0


def _tell(line: str) -> None:
    print(line, flush=True)


def _pairs(texts: Sequence[str], example: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise ValueError(f"{text!r} is not a setting: expected name=value, like {example}")
        if name.strip() in pairs:
            raise ValueError(f"{name.strip()} is given twice: give it once, like {example}")
        pairs[name.strip()] = value
    return pairs


def _table(results: Sequence["Result"]) -> str:
    """Seconds and claims, a line a notebook."""
    from kdcourse.measured import phrase

    lines = [f"{'notebook':<44}{'seconds':>8}  claims"]
    for result in results:
        held = sum(bool(claim["holds"]) for claim in result.claims)
        claims = f"{held} of {len(result.claims)} hold" if result.ok else "failed"
        lines.append(f"{Path(result.file).stem:<44}{result.seconds:>8.1f}  {claims}")
        lines += [
            f"    ○ {claim['id']} {claim['text']} · not reproduced: measured {phrase(claim)}"
            for claim in result.claims
            if not claim["holds"]
        ]
    return "\n".join(lines)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _seconds(text: str) -> float:
    return _positive(text, float, "seconds")


def _count(text: str) -> int:
    return _positive(text, int, "processes")


def _positive(text: str, kind: type[_Number], unit: str) -> _Number:
    with suppress(ValueError):
        if 0 < (number := kind(text)) < float("inf"):
            return number
    whole = "whole " if kind is int else ""
    raise argparse.ArgumentTypeError(f"{text!r} is not a positive {whole}number of {unit}")


if __name__ == "__main__":
    be_patient()
    sys.exit(main())

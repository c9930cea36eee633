"""Which lessons there are: read from their folders, never listed."""

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_FOLDER = re.compile(r"lesson(\d\d)")
_KINDS = {"slug": str, "move": str, "core": bool}


@dataclass(frozen=True)
class Lesson:
    """One folder `lessonNN`. slug: the notebook's name after its number · move: what its explorers
    let a reader move · core: whether it is on the short way through.
    """

    folder: Path
    slug: str
    move: str
    core: bool

    @property
    def number(self) -> str:
        return self.folder.name.removeprefix("lesson")

    @property
    def stem(self) -> str:
        """The notebook's name, such as 04_temperature."""
        return f"{self.number}_{self.slug}"

    @property
    def page(self) -> Path:
        """What contributors edit."""
        return self.folder / "page.py"

    @property
    def maker(self) -> Path:
        """The script of its stored table, where it has one."""
        return self.folder / "table.py"

    @cached_property
    def _prose(self) -> str:
        lines = self.page.read_text(encoding="utf-8").splitlines()
        return "\n".join(line[1:].strip() for line in lines if line.startswith("#"))

    @property
    def question(self) -> str:
        """The page's first heading."""
        heading = re.search(r"^# (.+)$", self._prose, re.MULTILINE)
        if heading is None:
            raise ValueError(f"{self.page} asks no question: begin it with a heading, `# # Why?`")
        return heading[1]

    @property
    def minutes(self) -> int | None:
        """What the page promises to take."""
        promise = re.search(r"\b(\d+) minutes to read\b", self._prose)
        return None if promise is None else int(promise[1])

    @property
    def title(self) -> str:
        return f"{self.number} · {self.question}"


@dataclass(frozen=True)
class Course:
    """A folder with lessons to make notebooks of; by default the one that this file is in."""

    root: Path = ROOT

    @property
    def notebooks(self) -> Path:
        return self.root / "notebooks"

    def lessons(self, names: Iterable[str] = ()) -> list[Lesson]:
        """All lessons in order, or those named "02" or "02_soft_targets"; ValueError for others."""
        folders = sorted((self.root / "kdcourse" / "lessons").glob("lesson[0-9][0-9]"))
        known = [_read(folder) for folder in folders]
        chosen = list(names)
        for name in chosen:
            if not any(_is(lesson, name) for lesson in known):
                stems = ", ".join(lesson.stem for lesson in known) or "none"
                raise ValueError(f"no lesson {name!r}: expected one of {stems}")
        return [one for one in known if not chosen or any(_is(one, name) for name in chosen)]

    def linked(self, text: str, *, folder: str = "") -> str:
        """Markdown with `[…](lesson02)` as a link to that notebook, empty brackets with its title.

        Where there is no such lesson the words stay, and the link goes.
        """
        known = {lesson.folder.name: lesson for lesson in self.lessons()}

        def link(match: re.Match[str]) -> str:
            lesson = known.get(match["folder"])
            if lesson is None:
                return match["words"] or _FOLDER.sub(r"notebook \1", match["folder"])
            return f"[{match['words'] or lesson.title}]({folder}{lesson.stem}.ipynb)"

        return re.sub(r"\[(?P<words>[^\]\n]*)\]\((?P<folder>lesson\d\d)\)", link, text)


def _is(lesson: Lesson, name: str) -> bool:
    return Path(name).name in (lesson.number, lesson.stem, f"{lesson.stem}.ipynb")


def _read(folder: Path) -> Lesson:
    about = folder / "lesson.toml"
    try:
        fields = tomllib.loads(about.read_text(encoding="utf-8"))
    except FileNotFoundError:
        fields = {}
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{about} cannot be read: {error}; copy another lesson's") from error
    for name, kind in _KINDS.items():
        if not isinstance(fields.get(name), kind):
            raise ValueError(
                f"{about} says {name} = {fields.get(name)!r}; expected a {kind.__name__}: "
                "slug, move and core, as in another lesson's"
            )
    if not (folder / "page.py").exists():
        raise ValueError(f"{folder} has no page.py; write one, or delete the folder")
    return Lesson(folder, fields["slug"], fields["move"], fields["core"])

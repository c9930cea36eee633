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
class Page:
    """What one notebook is made of: a lesson's `page.py`, or its lab notes `notes.py`."""

    file: Path
    stem: str

    @property
    def folder(self) -> Path:
        """The lesson's folder."""
        return self.file.parent

    @property
    def number(self) -> str:
        return self.folder.name.removeprefix("lesson")

    @property
    def name(self) -> str:
        """For messages: lesson04/page.py."""
        return f"{self.folder.name}/{self.file.name}"

    @property
    def is_notes(self) -> bool:
        return self.file.name == "notes.py"

    @property
    def text(self) -> str:
        try:
            return self.file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{self.file} is not UTF-8 ({error}); save it as that") from error

    @cached_property
    def question(self) -> str:
        """The page's first heading."""
        lines = self.text.splitlines()
        prose = "\n".join(line[1:].strip() for line in lines if line.startswith("#"))
        heading = re.search(r"^# (.+)$", prose, re.MULTILINE)
        if heading is None:
            raise ValueError(f"{self.file} asks no question: begin it with a heading, `# # Why?`")
        return heading[1]

    @property
    def title(self) -> str:
        return f"{self.number} · {self.question}"


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
    def page(self) -> Page:
        return Page(self.folder / "page.py", self.stem)

    @property
    def notes(self) -> Page | None:
        """The lab notes, where the lesson has them."""
        file = self.folder / "notes.py"
        return Page(file, f"{self.stem}_notes") if file.exists() else None

    @property
    def pages(self) -> list[Page]:
        return [page for page in (self.page, self.notes) if page is not None]

    @property
    def maker(self) -> Path:
        """The script of its stored table, where it has one."""
        return self.folder / "table.py"


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

    def notebook(self, page: Page) -> Path:
        """Where the page's notebook is, or will be."""
        return self.notebooks / f"{page.stem}.ipynb"

    def linked(self, text: str, *, folder: str = "") -> str:
        """Markdown with `[…](lesson02)` as a link to that notebook, empty brackets with its title.

        `lesson02/notes` leads to its lab notes. Where there is no such page the words stay, and the
        link goes.
        """
        known: dict[str, Page] = {}
        for lesson in self.lessons():
            known[lesson.folder.name] = lesson.page
            if lesson.notes is not None:
                known[f"{lesson.folder.name}/notes"] = lesson.notes

        def link(match: re.Match[str]) -> str:
            page = known.get(match["page"])
            if page is None:
                return match["words"] or _FOLDER.sub(r"notebook \1", match["page"])
            return f"[{match['words'] or page.title}]({folder}{page.stem}.ipynb)"

        return re.sub(r"\[(?P<words>[^\]\n]*)\]\((?P<page>lesson\d\d(?:/notes)?)\)", link, text)


def _is(lesson: Lesson, name: str) -> bool:
    return Path(name).name in (lesson.number, lesson.stem, f"{lesson.stem}.ipynb")


def _read(folder: Path) -> Lesson:
    about = folder / "lesson.toml"
    try:
        fields = tomllib.loads(about.read_text(encoding="utf-8"))
    except FileNotFoundError:
        fields = {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{about} cannot be read: {error}; copy another lesson's") from error
    for name, kind in _KINDS.items():
        if not isinstance(fields.get(name), kind):
            raise ValueError(
                f"{about} says {name} = {fields.get(name)!r}; expected a {kind.__name__}: "
                "slug, move and core, as in another lesson's"
            )
    if not re.fullmatch(r"[a-z0-9_]+", fields["slug"]):
        raise ValueError(f"{about} says slug = {fields['slug']!r}; expected small letters and _")
    if not (folder / "page.py").exists():
        raise ValueError(f"{folder} has no page.py; write one, or delete the folder")
    return Lesson(folder, fields["slug"], fields["move"], fields["core"])

"""The code that a kept number depends on, besides what it was made of.

Banks, runs of notebooks and stored tables are kept under one hash of the library, so that none of
them outlives the code that it came from; a checkpoint is kept under that of your functions.
"""

import functools
import hashlib
import re
import types
from pathlib import Path
from typing import Any

HOME = Path(__file__).resolve().parent


def hash_of(folder: Path) -> str:
    """A hash (SHA-256, hexadecimal) of the names and texts of all modules below a folder."""
    digest = hashlib.sha256()
    for module in sorted(folder.rglob("*.py"), key=lambda path: path.relative_to(folder).parts):
        text = module.read_bytes().replace(b"\r\n", b"\n")  # git writes either, by the system
        name = module.relative_to(folder).as_posix().encode()
        digest.update(b"%d %s %d " % (len(name), name, len(text)) + text)
    return digest.hexdigest()


@functools.cache
def library_hash() -> str:
    """The hash of kdlib as it is, read once a process: what is imported does not change later."""
    return hash_of(HOME)


def raised_here(error: BaseException) -> bool:
    """Whether the library itself raised this, and not what it calls."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return last is not None and HOME in Path(last.tb_frame.f_code.co_filename).resolve().parents


def described(what: Any) -> str:
    """What a function, or another object that can be called, does, as one line of text.

    Its name, what it holds (closure, defaults, attributes, plain globals) and a hash of its code:
    two that differ in one of these differ in their lines; the same source under another Python may
    differ, too.
    """
    return _line(what, ())


def _line(what: Any, above: tuple[int, ...]) -> str:
    if id(what) in above:
        return "…"
    above = (*above, id(what))
    if isinstance(what, types.MethodType):
        return f"{_line(what.__self__, above)}.{what.__name__}"
    if isinstance(what, functools.partial):
        return f"{_line(what.func, above)}({_held({'': what.args, **what.keywords}, above)})"
    if isinstance(what, types.FunctionType):
        free = zip(what.__code__.co_freevars, what.__closure__ or (), strict=True)
        held = {name: cell.cell_contents for name, cell in free}
        positional = what.__code__.co_varnames[: what.__code__.co_argcount][::-1]
        held |= dict(zip(positional, (what.__defaults__ or ())[::-1], strict=False))
        held |= what.__kwdefaults__ or {}
        held |= {n: what.__globals__[n] for n in _names(what.__code__) if _plain(what, n)}
        name = what.__qualname__.replace(".<locals>", "")
        return f"{name}({_held(held, above)}) {_code_hash(what.__code__)}"
    if isinstance(what, tuple | list):
        return f"[{', '.join(_line(part, above) for part in what)}]"
    if isinstance(what, dict):
        return f"{{{_held(what, above)}}}"
    if hasattr(what, "detach"):  # a tensor: its printed form leaves numbers out
        return hashlib.sha256(repr(what.detach().cpu().tolist()).encode()).hexdigest()[:8]
    silent = "__repr__" not in _own(type(what)) or hasattr(what, "state_dict")
    if callable(what) and silent and not isinstance(what, type):
        own = {k: v for k, v in vars(what).items() if k != "training"}
        return f"{type(what).__name__}({_held(own, above)})"
    return re.sub(r" at 0x[0-9a-f]+", "", repr(what))


def _held(held: dict[Any, Any], above: tuple[int, ...]) -> str:
    return ", ".join(f"{name}={_line(value, above)}" for name, value in held.items())


def _own(kind: type) -> set[str]:
    """What a class and those that it is made from define, `object` left out."""
    return {name for one in kind.__mro__[:-1] for name in vars(one)}


def _names(code: types.CodeType) -> list[str]:
    inner = [part for part in code.co_consts if isinstance(part, types.CodeType)]
    return sorted({*code.co_names, *(name for part in inner for name in _names(part))})


def _plain(function: types.FunctionType, name: str) -> bool:
    value = function.__globals__.get(name)
    mine = isinstance(value, types.FunctionType) and value.__module__ == function.__module__
    return mine or isinstance(value, bool | int | float | str | tuple)


def _code_hash(code: types.CodeType) -> str:
    consts = [_code_hash(c) if isinstance(c, types.CodeType) else repr(c) for c in code.co_consts]
    # A docstring is the first constant of a function that has one: words decide nothing.
    text = repr((code.co_code, code.co_names, consts[1:] if _documented(code) else consts))
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _documented(code: types.CodeType) -> bool:
    return bool(code.co_consts) and isinstance(code.co_consts[0], str)

"""What is printed reaches whoever listens, as far as they can hear; the command does not care."""

import codecs
import contextlib
import io
import os
import sys
from typing import Any, TextIO

_PLAIN = {"✓": "ok", "✗": "no", "○": "..", "→": "->", "▸": ">", "…": "...", "×": "x", "−": "-"}


def _plainly(error: UnicodeError) -> tuple[str, int]:
    """In place of characters that the console has not: words for our signs, else "?"."""
    assert isinstance(error, UnicodeEncodeError)
    lacking = error.object[error.start : error.end]
    return "".join(_PLAIN.get(sign, "?") for sign in lacking), error.end


codecs.register_error("plainly", _plainly)


class _Patient(io.TextIOBase):
    """A stream whose reader may go away (`| head`); what comes after that goes nowhere."""

    def __init__(self, stream: TextIO) -> None:
        self._stream: TextIO | None = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_stream"] or io.StringIO(), name)

    def write(self, text: str) -> int:
        if self._stream is not None:
            try:
                self._stream.write(text)
            except BrokenPipeError:
                self._leave()
        return len(text)

    def flush(self) -> None:
        if self._stream is not None:
            try:
                self._stream.flush()
            except BrokenPipeError:
                self._leave()

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()

    def _leave(self) -> None:
        stream, self._stream = self._stream, None
        with contextlib.suppress(OSError, ValueError, AttributeError):
            nowhere = os.open(os.devnull, os.O_WRONLY)  # what is buffered still wants to be written
            os.dup2(nowhere, stream.fileno())  # type: ignore[union-attr]
            os.close(nowhere)


def be_patient() -> None:
    """Makes stdout and stderr take every character, and outlive their reader."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="plainly")
            setattr(sys, name, _Patient(stream))

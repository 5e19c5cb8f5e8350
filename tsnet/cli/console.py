"""What a command says of itself: status and errors on stderr, one line each; stdout is for results.

Not here: what it says.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from typing import TextIO

_command = "tsnet"
BOLD, DIM, GREEN, CYAN = "1", "2", "32", "36"


def begin(command: str, *, verbose: bool) -> None:
    """Name the command in front of its lines; show the library's warnings the same way."""
    global _command
    _command = f"tsnet {command}"
    log = logging.getLogger("tsnet")
    for handler in log.handlers[:]:
        if isinstance(handler, _Lines):
            log.removeHandler(handler)
    log.addHandler(_Lines(verbose))
    log.setLevel(logging.DEBUG if verbose else logging.WARNING)
    log.propagate = False


class _Lines(logging.Handler):
    """An error is raised, too, and `fail` prints it: it is shown here only when it is a fault with a traceback."""

    def __init__(self, verbose: bool) -> None:
        super().__init__()
        self._verbose = verbose

    def emit(self, record: logging.LogRecord) -> None:
        if self._verbose or record.levelno < logging.ERROR or record.exc_info or record.name != "tsnet":
            say(self.format(record))


def say(text: str) -> None:
    """One status line on stderr. A stderr that has gone is no reason to stop."""
    with contextlib.suppress(OSError):
        print(f"{_command}: {text}", file=sys.stderr, flush=True)


def fail(error: BaseException) -> None:
    """An error and its remedy, on one line, with its stable code."""
    code = getattr(error, "code", "")
    say(f"{message(error)}{f' [{code}]' if isinstance(code, str) and code else ''}")


def message(error: BaseException) -> str:
    """The text without the errno that an OSError prints before it."""
    if isinstance(error, OSError) and error.strerror:
        name = f"{error.filename}: " if error.filename is not None else ""
        return " ".join(f"{name}{error.strerror}".split())
    return " ".join(str(error).split()) or type(error).__name__


class Style:
    """Colours where a terminal shows them and nobody asked not to: https://no-color.org."""

    def __init__(self, stream: TextIO) -> None:
        self.plain = not stream.isatty() or bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"

    def __call__(self, code: str, text: str) -> str:
        return text if self.plain else f"\x1b[{code}m{text}\x1b[0m"

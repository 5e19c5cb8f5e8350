"""What a command says of itself: status and errors on stderr, one line each; stdout is for results.

What other machines say is shown so that it cannot move the cursor or begin a line (`base.printable`).

An error names options as the command line does. One that was logged when it appeared is not repeated at the end.

Not here: what it says, and the command line's words (`words`).
"""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import sys
import time
from collections import deque
from typing import TextIO

from tsnet.base.printable import printable
from tsnet.base.wording import worded
from tsnet.cli.words import WORDS

_command = "tsnet"
_begun_time = 0.0
_told: deque[str] = deque(maxlen=100)
"""The errors that the log has shown last."""
BOLD, DIM, GREEN, CYAN = "1", "2", "32", "36"


def begin(command: str, *, verbose: bool) -> None:
    """Name the command in front of its lines; show the library's warnings the same way."""
    global _command, _begun_time
    _command, _begun_time = f"tsnet {command}", time.time()
    _told.clear()
    log = logging.getLogger("tsnet")
    for handler in log.handlers[:]:
        if isinstance(handler, _Lines):
            log.removeHandler(handler)
    log.addHandler(_Lines())
    log.setLevel(logging.DEBUG if verbose else logging.WARNING)
    log.propagate = False


class _Lines(logging.Handler):
    """An error is raised, too, and `fail` prints it: it is shown here only when it is a fault with a traceback."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno < logging.ERROR or record.exc_info or record.name != "tsnet":
            ours = copy.copy(record)
            ours.msg = worded(record.msg, WORDS) if isinstance(record.msg, str) else record.msg
            if isinstance(record.args, tuple):
                ours.args = tuple(map(_in_our_words, record.args))
            lines = map(printable, self.format(ours).split("\n"))  # a traceback has lines of its own
            _write("\n".join([_place(record) + next(lines), *lines]))


def _place(record: logging.LogRecord) -> str:
    """Of a line that says what the node decides: when it was, and in which room of the node."""
    if record.levelno > logging.DEBUG:
        return ""
    return f"{record.created - _begun_time:7.3f} {record.name.removeprefix('tsnet.'):<9} "


def _in_our_words(argument: object) -> object:
    """An argument of a log record: errors and texts name options as the command line does."""
    if isinstance(argument, BaseException):
        _told.append(message(argument))
        return message(argument)
    return worded(argument, WORDS) if isinstance(argument, str) else argument


def say(text: str) -> None:
    """One status line on stderr."""
    _write(printable(text))


def _write(text: str) -> None:
    """A stderr that has gone is no reason to stop."""
    with contextlib.suppress(OSError):
        print(f"{_command}: {text}", file=sys.stderr, flush=True)


def show(*cells: object) -> None:
    """One line of a result on stdout."""
    print(*(printable(str(cell)) for cell in cells), flush=True)


def fail(error: BaseException) -> None:
    """An error and its remedy, on one line, with its stable code."""
    code = getattr(error, "code", "")
    text = "gave up waiting" if message(error) in _told else message(error)
    say(f"{text}{f' [{code}]' if isinstance(code, str) and code else ''}")


def message(error: BaseException) -> str:
    """The text in the command line's words, without the errno that an OSError prints before it."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        name = f"{error.filename}: " if error.filename is not None else ""
        text = name + worded(error.strerror, WORDS)
    elif len(error.args) == 1 and isinstance(error.args[0], str):
        text = worded(error.args[0], WORDS)
    return " ".join(text.split()) or type(error).__name__


class Style:
    """Colours where a terminal shows them and nobody asked not to: https://no-color.org."""

    def __init__(self, stream: TextIO) -> None:
        self.plain: bool = not stream.isatty() or bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"

    def __call__(self, code: str, text: str) -> str:
        return text if self.plain else f"\x1b[{code}m{text}\x1b[0m"

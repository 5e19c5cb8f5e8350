"""The logger "tsnet", whose methods never raise, and messages that a peer cannot multiply.

A log handler of the application may raise. Its exception would otherwise end the node's thread, and every node of the
process with it.

Names, reasons and texts come from other machines: nothing in them moves a terminal's cursor or begins another line of
the log (`base.printable`).

Whatever a peer can cause as often as it likes is said by a `Seldom`: once a minute, with the number of those that were
left unsaid, so that no peer can fill a disk.

Not here: what is logged.
"""

from __future__ import annotations

import contextlib
import logging
import math

from tsnet.base.printable import printable

MINUTE = 60.0


class Log:
    """A logger whose methods swallow every Exception of a handler."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def say(self, level: int, message: str, *arguments: object, traceback: bool | BaseException = False) -> None:
        """Log a message. traceback: append the traceback of this exception; True, of the one that is being handled."""
        with contextlib.suppress(Exception):
            if self._logger.isEnabledFor(level):
                self._logger.log(level, message, *map(_on_one_line, arguments), exc_info=traceback)

    def is_enabled(self, level: int) -> bool:
        return self._logger.isEnabledFor(level)

    def info(self, message: str, *arguments: object) -> None:
        self.say(logging.INFO, message, *arguments)

    def warning(self, message: str, *arguments: object) -> None:
        self.say(logging.WARNING, message, *arguments)

    def error(self, message: str, *arguments: object) -> None:
        self.say(logging.ERROR, message, *arguments)

    def exception(self, message: str, *arguments: object) -> None:
        """Log an error with the traceback of the exception that is being handled."""
        self.say(logging.ERROR, message, *arguments, traceback=True)


def _on_one_line(argument: object) -> object:
    """The argument itself, if its text is printable, else its printable text."""
    text = str(argument)
    return argument if text.isprintable() else printable(text)


class Seldom:
    """One kind of message, said at most once in `interval` seconds. Every one that is left unsaid is counted."""

    def __init__(self, log: Log, interval: float = MINUTE) -> None:
        self._log, self._interval = log, interval
        self._said_time = -math.inf
        self._unsaid = 0

    def warning(self, now: float, message: str, *arguments: object, times: int = 1) -> None:
        """Log it, or count it. times: how often it has happened."""
        if now - self._said_time < self._interval:
            self._unsaid += times
            return
        more, self._unsaid, self._said_time = self._unsaid + times - 1, 0, now
        self._log.warning(
            message + (f" (and {more} more like this since it was last said)" if more else ""), *arguments
        )


log: Log = Log("tsnet")

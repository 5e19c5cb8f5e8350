"""What the library says to whoever reads its log: the logger "tsnet", which cannot end who speaks to it.

A handler that an application has installed may raise. It would then raise in the node's thread, and end every node of
the process with it.

Not here: what is said, and how often.
"""

from __future__ import annotations

import contextlib
import logging


class Log:
    """A logger whose methods never raise an Exception."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def say(self, level: int, message: str, *arguments: object, traceback: bool | BaseException = False) -> None:
        """traceback: append that of this exception; True, of the one which is being handled."""
        with contextlib.suppress(Exception):
            self._logger.log(level, message, *arguments, exc_info=traceback)

    def info(self, message: str, *arguments: object) -> None:
        self.say(logging.INFO, message, *arguments)

    def warning(self, message: str, *arguments: object) -> None:
        self.say(logging.WARNING, message, *arguments)

    def error(self, message: str, *arguments: object) -> None:
        self.say(logging.ERROR, message, *arguments)

    def exception(self, message: str, *arguments: object) -> None:
        """An error, with the traceback of the exception which is being handled."""
        self.say(logging.ERROR, message, *arguments, traceback=True)


log = Log("tsnet")

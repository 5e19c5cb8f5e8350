"""The logger "tsnet", whose methods never raise.

A log handler of the application may raise. Its exception would otherwise end the node's thread, and every node of the
process with it.

Not here: what is logged, and how often.
"""

from __future__ import annotations

import contextlib
import logging


class Log:
    """A logger whose methods swallow every Exception of a handler."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def say(self, level: int, message: str, *arguments: object, traceback: bool | BaseException = False) -> None:
        """Log a message. traceback: append the traceback of this exception; True, of the one that is being handled."""
        with contextlib.suppress(Exception):
            self._logger.log(level, message, *arguments, exc_info=traceback)

    def info(self, message: str, *arguments: object) -> None:
        self.say(logging.INFO, message, *arguments)

    def warning(self, message: str, *arguments: object) -> None:
        self.say(logging.WARNING, message, *arguments)

    def error(self, message: str, *arguments: object) -> None:
        self.say(logging.ERROR, message, *arguments)

    def exception(self, message: str, *arguments: object) -> None:
        """Log an error with the traceback of the exception that is being handled."""
        self.say(logging.ERROR, message, *arguments, traceback=True)


log = Log("tsnet")

"""SIGTERM and SIGHUP as an orderly end: what `with` has opened is closed, an ephemeral node logs out.

Not here: signals that are passed on to a child (`run`). SIGINT is Python's KeyboardInterrupt.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


class Terminated(BaseException):
    """This process shall end. `exit_code` is what a shell gives a command that the signal has killed."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code: int = 128 + number


@contextmanager
def raising_terminated() -> Iterator[None]:
    """The first of these signals raises Terminated in the main thread; further ones do not disturb the closing."""

    def handle(number: int, frame: FrameType | None) -> None:
        for ending in ENDING:
            signal.signal(ending, signal.SIG_IGN)
        raise Terminated(number)

    before = {ending: signal.getsignal(ending) for ending in ENDING}
    for ending, handler in before.items():
        if handler is not signal.SIG_IGN:  # nohup
            signal.signal(ending, handle)
    try:
        yield
    finally:
        for ending, handler in before.items():
            signal.signal(ending, handler)


@contextmanager
def undisturbed() -> Iterator[None]:
    """No signal ends what is done here: the closing, which takes its bounded time."""
    numbers = (signal.SIGINT, *ENDING)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)

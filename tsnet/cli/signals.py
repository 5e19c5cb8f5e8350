"""SIGTERM and SIGHUP as an orderly end: what `with` has opened is closed, an ephemeral node logs out.

A signal's exception may arise while Python runs a callback of a weak reference, as it does within imports, or a
`__del__`. There Python prints it and goes on, so that Ctrl-C did nothing. Under `insisting` it is raised again.

Not here: signals that are passed on to a child (`run`). SIGINT is Python's KeyboardInterrupt.
"""

from __future__ import annotations

import _thread
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))

SOON = 0.02
"""Seconds until a signal comes again whose exception was dropped."""


class Terminated(BaseException):
    """This process shall end. `exit_code` is what a shell gives a command that the signal has killed.

    dropped: called if nobody has got it, so that the next signal raises anew.
    """

    def __init__(self, number: int, dropped: Callable[[], None] = lambda: None) -> None:
        super().__init__(number)
        self.number: int = number
        self.dropped: Callable[[], None] = dropped
        self.exit_code: int = 128 + number


@contextmanager
def insisting() -> Iterator[None]:
    """KeyboardInterrupt and Terminated that Python has dropped are raised again in the main thread, a moment later."""
    before = sys.unraisablehook

    def drop(unraisable: UnraisableHookArgs) -> None:
        error = unraisable.exc_value
        if isinstance(error, Terminated):
            error.dropped()
            _thread.start_new_thread(_again, (error.number,))
        elif unraisable.exc_type is KeyboardInterrupt:
            _thread.start_new_thread(_again, (signal.SIGINT,))
        else:
            before(unraisable)

    sys.unraisablehook = drop
    try:
        yield
    finally:
        sys.unraisablehook = before


def _again(number: int) -> None:
    """In a thread of its own: within the hook it would be dropped once more."""
    time.sleep(SOON)
    _thread.interrupt_main(signal.Signals(number))


@contextmanager
def raising_terminated() -> Iterator[None]:
    """The first of these signals raises Terminated in the main thread; further ones do not disturb the closing."""
    ended: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if not ended:
            ended.append(number)
            raise Terminated(number, ended.clear)

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

"""Faults and interrupts, one at a time, at every moment of some source files.

    fault       a call that these files make fails before it has done anything
    interrupt   a signal comes where CPython lets one in: where a function begins, and when a call has returned
                (and at the turn of a loop, which is left out)

    moments = Moments(files, "fault")                          count them: `moments.seen`
    moments = Moments(files, "fault", 7, RuntimeError("no"))   the seventh one raises; (place, 2): that place's second
    sys.setprofile(moments.profile)                            in the thread that is meant

A profile function, because what it raises comes out of the call itself, inside the `try` that is around that call.
The collector is off meanwhile: a finalizer that it runs would meet the interrupt, and CPython 3.11 does not survive an
exception of a profile function there.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, Literal, TypeVar

T = TypeVar("T")
Kind = Literal["fault", "interrupt"]
Place = tuple[str, int, str, str]
"""Where a moment was: file, line, the function that is running, and what is called there."""

GIVE_BACK = ("__exit__", "release", "close", "_close", "_end_if_done", "drop", "set")
"""Functions that give back what was taken: they, and what they do for that, are taken not to fail."""


class Moments:
    """seen: the place of each moment, in order. raised: whether the one that was asked for has come."""

    def __init__(
        self, files: Iterable[str], kind: Kind, at: int | tuple[Place, int] = 0, error: BaseException | None = None
    ) -> None:
        self.seen: list[Place] = []
        self.raised = False
        self._files = frozenset(files)
        self._is_fault = kind == "fault"
        self._at = at
        self._error = error
        self._lock = threading.Lock()

    def profile(self, frame: FrameType, event: str, argument: Any) -> None:
        """For `sys.setprofile`."""
        if self.raised:
            return
        if event == ("c_call" if self._is_fault else "c_return"):
            if self._is_ours(frame):
                self._come(frame, argument.__name__)
        elif event == "call" and not self._is_fault and self._is_ours(frame):
            self._come(frame, "")
        elif event == ("call" if self._is_fault else "return"):
            caller = frame.f_back
            if caller is not None and self._is_ours(caller):
                self._come(caller, frame.f_code.co_name)

    def _is_ours(self, frame: FrameType) -> bool:
        return frame.f_code.co_filename in self._files

    def _come(self, frame: FrameType, called: str) -> None:
        if self._is_fault and (called in GIVE_BACK or frame.f_code.co_name in GIVE_BACK):
            return
        place = (Path(frame.f_code.co_filename).name, frame.f_lineno, frame.f_code.co_name, called)
        with self._lock:
            self.seen.append(place)
            if self.raised or not self._is_it(place) or self._error is None:
                return
            self.raised = True
        raise self._error

    def _is_it(self, place: Place) -> bool:
        if isinstance(self._at, int):
            return len(self.seen) == self._at
        return place == self._at[0] and self.seen.count(place) == self._at[1]


def files_of(*modules: ModuleType) -> set[str]:
    return {module.__file__ for module in modules if module.__file__ is not None}


def interrupted(make: Callable[[], T], call: Callable[[T], object], *modules: ModuleType) -> Iterator[tuple[T, bool]]:
    """(what `make` gave, True) after `call` of it was interrupted at the first moment, the second, …; last (it, False).

    The interrupt must come out of the call.
    """
    at, came = 0, True
    while came:
        at += 1
        subject = make()
        came = interrupt(lambda subject=subject: call(subject), at, files_of(*modules))  # type: ignore[misc]
        yield subject, came
    assert at > 2, "nothing of these modules was called"


def interrupt(call: Callable[[], object], at: int, files: Iterable[str]) -> bool:
    """Interrupt the call at that moment; returns whether there was one. The interrupt must come out of it."""
    return next(_interrupt(call, at, files))


def _interrupt(call: Callable[[], object], at: int, files: Iterable[str]) -> Iterator[bool]:
    """A generator: it takes along what a profile function that raises inside an `except` leaves in the interpreter."""
    moments = Moments(files, "interrupt", at, KeyboardInterrupt())
    heard = False
    with no_collector():
        sys.setprofile(moments.profile)
        try:
            call()
        except KeyboardInterrupt:
            heard = True
        finally:
            sys.setprofile(None)
    assert heard is moments.raised, f"the interrupt at {moments.seen[-1]} was swallowed"
    yield moments.raised


@contextmanager
def no_collector() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()

"""Jobs that would block the node's thread run in threads of their own: lookups, large pure functions, opening a store.

    run(function, done)      thread: result = function()    ->    node's thread: done(result or the exception)
    run_steps(steps, done)   the same for a computation in steps; the thread rests after some of them

The interpreter runs one thread at a time, and lets one that waits go on after five milliseconds. The node's thread
would wait so long after each of its system calls. A thread that rests gives way before that.

Each job has a daemon thread. Jobs are rare (a lookup for a dial, a netmap above 256 KiB), and a lookup that hangs in
the C library must hold up neither another job nor the end of the process.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from tsnet.base.steps import Steps, finish
from tsnet.edge.io.reactor import Reactor
from tsnet.edge.io.world import World

Done = Callable[[Any], None]
T = TypeVar("T")

WORK, REST = 0.002, 0.0001
"""Seconds. A thread that waits for the interpreter needs some fifty microseconds to notice that it is free. On a
machine with more to do than it has cores, each rest costs a turn of the scheduler, so there are not more of them."""


class Workers:
    """Jobs of one owner. After `close` no `done` is called; jobs that still run end by themselves."""

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._is_open = True

    def run(self, function: Callable[[], Any], done: Done) -> None:
        """Run the function in a thread, then `done` from `Reactor.wait`: also with the error if no thread can start."""
        finish = self._reactor.call_soon
        try:
            _start(function, lambda result: finish(functools.partial(self._finish, done, result)))
        except (RuntimeError, MemoryError) as error:
            finish(functools.partial(self._finish, done, error))

    def run_steps(self, begin: Callable[[], Steps[Any]], done: Done) -> None:
        """Begin the computation in a thread and take its steps there, then `done` as with `run`."""
        self.run(lambda: _in_steps(begin()), done)

    def close(self) -> None:
        self._is_open = False

    def _finish(self, done: Done, result: Any) -> None:
        if self._is_open:
            done(result)


def run_job(world: World, function: Callable[[], T], done: Callable[[T | Exception], None]) -> None:
    """Run the function in a thread of its own, then `done` with its value or exception in the node's thread.

    In a virtual world, which has no threads, both run here and now. Raises RuntimeError if no thread can start.
    """
    if world.is_virtual:
        done(_outcome(function))
    else:
        _start(function, lambda result: world.call_soon(functools.partial(done, result)))


def _in_steps(steps: Steps[T]) -> T:
    """The result of all steps. Others run for REST after each WORK."""
    until = time.monotonic() + WORK

    def rest() -> None:
        nonlocal until
        if time.monotonic() >= until:
            time.sleep(REST)
            until = time.monotonic() + WORK

    return finish(steps, rest)


def _start(function: Callable[[], T], report: Callable[[T | Exception], None]) -> None:
    threading.Thread(target=_work, args=(function, report), name="tsnet-worker", daemon=True).start()


def _work(function: Callable[[], T], report: Callable[[T | Exception], None]) -> None:
    try:
        report(_outcome(function))
    except BaseException as error:  # whoever waits for the job is told, whatever goes wrong here
        report(RuntimeError(f"its end could not be told: {error!r}"))


def _outcome(function: Callable[[], T]) -> T | Exception:
    """The function's value or exception. One that would end the thread in silence (SystemExit) becomes RuntimeError."""
    try:
        return function()
    except Exception as error:
        return error
    except BaseException as error:
        return RuntimeError(f"it raised {error!r}")

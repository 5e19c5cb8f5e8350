"""A call that is cancelled at its first moment, at its second, …, until it ends before its moment comes.

    moment      when the call is cancelled
    await n     when it has waited for the n-th time, in the loop
    step n      when the simulated world has made its n-th step since the call began: a packet came, an alarm rang, …

    how         who cancels
    asyncio     a scope of anyio's, which cancels every further await, too
    trio        the same
    native      `asyncio.Task.cancel`, once, as `asyncio.wait_for` and `asyncio.timeout` do

Not here: which calls there are, and what must be true afterwards (`test_cancelling`, `test_cancelled_services`).
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from functools import partial
from typing import Any, Literal, Protocol

import anyio
import attrs

from tsnet.edge.run.host import Host

How = Literal["asyncio", "native", "trio"]
HOWS: tuple[How, ...] = ("asyncio", "native", "trio")
Call = Callable[[], Awaitable[Any]]
CLOSE_TOGETHER = 24
"""The first moments are taken one by one; from here on ever more are left out in between."""


@attrs.frozen
class Outcome:
    """came: whether its moment came before the call had ended. value: what it returned, if it ended all the same."""

    came: bool
    value: Any = None


def backend(how: How) -> str:
    return "trio" if how == "trio" else "asyncio"


class Moment(Protocol):
    """`at_await`, `at_step`. number: 0 for none."""

    __name__: str

    async def __call__(self, how: How, call: Call, host: Host, number: int) -> Outcome: ...


def moments() -> Iterator[int]:
    """The numbers of those at which a call is cancelled, until it ends."""
    number = 0
    while True:
        number += 1 + number // CLOSE_TOGETHER
        yield number


async def at_await(how: How, call: Call, host: Host, number: int) -> Outcome:
    """Cancel the call at its n-th await."""
    awaits = 0

    async def run(cancel: Callable[[], object]) -> Any:
        def waits() -> None:
            nonlocal awaits
            awaits += 1
            if awaits == number:
                cancel()

        return await _watched(_coroutine(call), waits)

    value = await _cancellable(how, run)
    return Outcome(0 < number <= awaits, value)


async def at_step(how: How, call: Call, host: Host, number: int) -> Outcome:
    """Cancel the call after the n-th step of a simulated world's host."""
    steps, step = 0, host.step

    async def run(cancel: Callable[[], object]) -> Any:
        def count(*arguments: Any) -> None:
            nonlocal steps
            step(*arguments)
            steps += 1
            if steps == number:
                cancel()

        host.step = count  # type: ignore[method-assign, assignment]
        try:
            return await call()
        finally:
            del host.step

    value = await _cancellable(how, run)
    return Outcome(0 < number <= steps, value)


async def _cancellable(how: How, run: Callable[[Callable[[], object]], Coroutine[Any, Any, Any]]) -> Any:
    """What `run` returned; it gets what cancels it. None if it was cancelled."""
    if how == "native":
        task: asyncio.Task[Any] = asyncio.get_running_loop().create_task(run(lambda: task.cancel()))
        await asyncio.wait([task])
        return None if task.cancelled() else task.result()
    with anyio.CancelScope() as scope:
        return await run(scope.cancel)
    return None


async def _coroutine(call: Call) -> Any:
    return await call()


@types.coroutine
def _watched(coroutine: Coroutine[Any, Any, Any], waits: Callable[[], object]) -> Generator[Any, Any, Any]:
    """Await it; `waits` is called each time when it has something for the loop to wait for."""
    resume: Callable[[], Any] = partial(coroutine.send, None)
    while True:
        try:
            waited = resume()
        except StopIteration as stop:
            return stop.value
        waits()
        try:
            answer = yield waited
        except BaseException as error:
            resume = partial(coroutine.throw, error)
        else:
            resume = partial(coroutine.send, answer)

"""Those who wait for a node: operations that go on when it is as far, or end when their time is up.

Not here: how far a node is, and which error fits (`engine.lifecycle`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Protocol

from tsnet.base.records import record
from tsnet.edge.pipes.operations import Operation
from tsnet.edge.run.alarms import Alarm
from tsnet.errors import Error


class Loop(Protocol):
    """What is needed of the host: its alarms, and a way into its thread."""

    def at(self, when: float, function: Callable[[], object]) -> Alarm: ...

    def call(self, function: Callable[[], None]) -> None: ...


@record
class _Waiter:
    """go: what happens when the wait has an end; its failure is the operation's."""

    go: Callable[[], object]
    alarm: Alarm


class Waiting:
    """All methods in the loop's thread. Operations that were cancelled are forgotten."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._waiters: dict[Operation[Any], _Waiter] = {}

    def __len__(self) -> int:
        return len(self._waiters)

    def add(
        self, operation: Operation[Any], until: float, go: Callable[[], object], too_late: Callable[[], Error]
    ) -> None:
        """Wait for `release` until that instant; then the operation fails with what `too_late` says."""

        def give_up() -> None:
            self._go_on(operation, lambda: operation.fail(too_late()))

        self._waiters[operation] = _Waiter(go, self._loop.at(until, give_up))
        operation.on_cancel = lambda: self._loop.call(lambda: self._forget(operation))
        if operation.cancelled:
            self._forget(operation)

    def release(self) -> None:
        """Everybody may go on. Who begins to wait meanwhile waits."""
        for operation, waiter in tuple(self._waiters.items()):
            self._go_on(operation, waiter.go)

    def fail(self, error: Error) -> None:
        """Nobody can go on."""
        for operation in tuple(self._waiters):
            self._go_on(operation, functools.partial(operation.fail, error))

    def _go_on(self, operation: Operation[Any], go: Callable[[], object]) -> None:
        """Its wait has an end. What goes wrong with one is that one's end, and nobody else's."""
        try:
            self._forget(operation)
            if not operation.done and not operation.cancelled:
                go()
        except Exception as error:
            operation.fail(error)

    def _forget(self, operation: Operation[Any]) -> None:
        waiter = self._waiters.pop(operation, None)
        if waiter is not None:
            waiter.alarm.cancel()

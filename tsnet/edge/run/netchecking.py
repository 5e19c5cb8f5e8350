"""A netcheck under way: a small object in the node's thread that finishes an `Operation`.

When its time is up, the report is what is known by then: there is always one. The node itself goes on with it.

Not here: how a report is made (`netcheck.checker`), when one is begun (`engine.surroundings`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from tsnet.edge.pipes.operations import Operation
from tsnet.edge.run.pump import Pump
from tsnet.engine.facts import Answer, NetcheckDone
from tsnet.errors import Error

if TYPE_CHECKING:
    from tsnet.edge.run.dialing import Attempt

T = TypeVar("T")


class NetcheckAttempt:
    """shown: what the application gets of the report."""

    def __init__(self, operation: Operation[T], pump: Pump, timeout: float, shown: Callable[[NetcheckDone], T]) -> None:
        self.when_over: Callable[[Attempt], object] = bool
        self._finish: Callable[[NetcheckDone], object] = lambda fact: operation.resolve(shown(fact))
        self._operation = operation
        self._pump = pump
        self._alarm = pump.at(pump.now() + timeout, self._too_late)

    def begin(self) -> None:
        self._operation.on_cancel = lambda: self._pump.call(self.give_up)
        self._pump.node.netcheck(self._pump.now())
        self._pump.mark()
        if self._operation.cancelled:
            self.give_up()

    def answered(self, fact: Answer) -> None:
        if isinstance(fact, NetcheckDone):
            self.give_up()
            self._finish(fact)

    def fail(self, error: Error) -> None:
        self.give_up()
        self._operation.fail(error)

    def give_up(self) -> None:
        """The report goes on: the node itself has a use for it."""
        self._alarm.cancel()
        self.when_over(self)

    def _too_late(self) -> None:
        self.answered(self._pump.node.netcheck_so_far(self._pump.now()))

"""An inquiry under way: a small object in the node's thread that finishes an `Operation` with an `Explanation`.

When its time is up, the verdict is what is known by then: there is always one, as long as the node runs.

Not here: what is asked and how it is judged (`engine.inquiry`), a node that does not run (`engine.judgement`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tsnet.edge.pipes.operations import Operation
from tsnet.edge.run.alarms import Alarm
from tsnet.edge.run.pump import Pump
from tsnet.engine.explanation import Explanation
from tsnet.engine.facts import Answer, PingAnswered
from tsnet.engine.inquiry import Inquiry
from tsnet.errors import Error, NotUp

if TYPE_CHECKING:
    from tsnet.edge.run.dialing import Attempt


class ExplainAttempt:
    def __init__(
        self, operation: Operation[Explanation], pump: Pump, host: str, port: int | None, timeout: float
    ) -> None:
        view = pump.node.view
        if view is None:
            raise NotUp("the node is not running")
        self.when_over: Callable[[Attempt], object] = bool
        self._operation = operation
        self._pump = pump
        self._over = False
        self._inquiry = Inquiry(pump.node, view, host, port, pump.now())
        self._connection = self._inquiry.connection
        self._alarms: list[Alarm] = [pump.at(pump.now() + timeout, self._too_late)]

    def begin(self) -> None:
        self._operation.on_cancel = lambda: self._pump.call(self.give_up)
        if self._connection is not None:
            self._pump.own(self._connection, self)
        self._pump.mark()
        if self._operation.cancelled:
            self.give_up()
        self._go_on()

    def service(self, now: float) -> None:
        """The port has something to say."""
        self._go_on()

    def answered(self, fact: Answer) -> None:
        if isinstance(fact, PingAnswered) and not self._over:
            self._inquiry.answered(fact, self._pump.now())
            self._go_on()

    def _go_on(self) -> None:
        if self._over:
            return
        refusal = self._pump.node.calls.refusal
        if refusal is not None:  # our key has expired, or the node closes
            self.fail(refusal)
            return
        self._inquiry.run(self._pump.now())
        self._pump.mark()
        if self._inquiry.verdict is not None:
            self._finish(self._inquiry.verdict)
        else:
            for alarm in self._alarms[1:]:
                alarm.cancel()
            self._alarms[1:] = [self._pump.at(self._inquiry.deadline(), self._go_on)]

    def _too_late(self) -> None:
        if not self._over:
            self._inquiry.give_up(self._pump.now())
            self._go_on()

    def _finish(self, verdict: Explanation) -> None:
        self._end()
        self._operation.resolve(verdict)

    def fail(self, error: Error) -> None:
        self.give_up()
        self._operation.fail(error)

    def end(self, now: float) -> None:
        """The node closes."""
        self.fail(NotUp("the node is closing"))

    def orphan(self, error: Error) -> None:
        """In a forked child: nobody waits."""

    def give_up(self) -> None:
        """Nobody waits any more: undo what was begun."""
        if not self._over:
            self._inquiry.give_up(self._pump.now())
            self._pump.mark()
            self._end()

    def _end(self) -> None:
        self._over = True
        for alarm in self._alarms:
            alarm.cancel()
        if self._connection is not None:
            self._pump.forget(self._connection)
        self.when_over(self)

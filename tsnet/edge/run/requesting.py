"""A request to control under way: a small object in the node's thread that finishes an `Operation`.

Not here: what bounds requests, and when they are sent (`control.client.requests`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import attrs

from tsnet.base.records import record
from tsnet.edge.pipes.operations import Operation
from tsnet.edge.run.pump import Pump
from tsnet.engine.facts import Answer, ControlAnswered
from tsnet.errors import Error

if TYPE_CHECKING:
    from tsnet.edge.run.dialing import Attempt

T = TypeVar("T")


@record
class ControlAnswer:
    """status: HTTP's, whatever it is. The body may be a secret."""

    status: int
    body: bytes = attrs.field(repr=False)


class RequestAttempt:
    """If nobody waits any more, control's answer is not waited for either; it may have done what it was asked for.

    made: what the application gets of the answer; may raise one of our errors instead.
    """

    def __init__(
        self,
        operation: Operation[T],
        pump: Pump,
        path: str,
        body: bytes,
        timeout: float,
        *,
        method: str,
        repeatable: bool,
        made: Callable[[ControlAnswer], T],
    ) -> None:
        self.when_over: Callable[[Attempt], object] = bool
        self._finish: Callable[[ControlAnswer], object] = lambda answer: operation.resolve(made(answer))
        self._operation = operation
        self._pump = pump
        self._path, self._body, self._timeout = path, body, timeout
        self._method, self._repeatable = method, repeatable
        self._ticket: int | None = None

    def begin(self) -> None:
        self._operation.on_cancel = lambda: self._pump.call(self.give_up)
        self._ticket = self._pump.node.request(
            self._path,
            self._body,
            self._pump.now(),
            method=self._method,
            timeout=self._timeout,
            repeatable=self._repeatable,
        )
        self._pump.mark()
        if self._operation.cancelled:
            self.give_up()

    def answered(self, fact: Answer) -> None:
        if not isinstance(fact, ControlAnswered) or fact.ticket != self._ticket:
            return
        self._ticket = None
        self.when_over(self)
        try:
            if fact.error is not None:
                raise fact.error
            self._finish(ControlAnswer(fact.status, fact.body))
        except Error as error:
            self._operation.fail(error)

    def fail(self, error: Error) -> None:
        self.give_up()
        self._operation.fail(error)

    def give_up(self) -> None:
        """Nobody waits any more: its place is free for another request."""
        ticket, self._ticket = self._ticket, None
        if ticket is not None:
            self._pump.node.cancel_request(ticket, self._pump.now())
            self._pump.mark()
        self.when_over(self)

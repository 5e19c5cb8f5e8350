"""A machine that is asked only when it is due: after every call to it, and when its own deadline has come.

    wake ─► is_due ─► transmit, facts taken ─► rest ─► is_due again at the machine's deadline

In most turns control's client has nothing to do, and finding that out costs more than this comparison.

Not here: the machine (`control.client`), the turn (`node`).
"""

from __future__ import annotations

import math
from typing import Generic, Protocol, TypeVar


class Timed(Protocol):
    def deadline(self) -> float: ...


M = TypeVar("M", bound=Timed)


class WhenDue(Generic[M]):
    """at: when the machine must be asked; -inf is at once."""

    __slots__ = ("_machine", "at")

    def __init__(self, machine: M) -> None:
        self._machine = machine
        self.at: float = -math.inf

    def wake(self) -> M:
        """The machine, for a call after which it may have something to send."""
        self.at = -math.inf
        return self._machine

    def is_due(self, now: float) -> bool:
        return now >= self.at

    def rest(self) -> None:
        """It has said all that it had to say."""
        self.at = self._machine.deadline()

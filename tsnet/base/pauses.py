"""Pauses between rounds in vain: doubled each time, and shortened at random so that not all return at once.

Not here: the failures of requests to control, whose pauses grow with the square (`control.client.backoff`).
"""

from __future__ import annotations

from collections.abc import Callable

MAX_ROUNDS = 16
"""More rounds than these do not make a pause longer."""


class Pauses:
    """first: seconds of the first pause, unshortened. rounds: how many there were since `begin_anew`."""

    __slots__ = ("_entropy", "_first", "rounds")

    def __init__(self, first: float, entropy: Callable[[int], bytes]) -> None:
        self.rounds: int = 0
        self._first, self._entropy = first, entropy

    def begin_anew(self) -> None:
        """Forget the rounds so far."""
        self.rounds = 0

    def next(self, longest: float) -> float:
        """Count a round in vain. Returns the seconds to wait: at most `longest`, shortened by up to a half."""
        pause = min(longest, self._first * 2.0**self.rounds)
        self.rounds = min(self.rounds + 1, MAX_ROUNDS)
        return pause * (0.5 + self._entropy(1)[0] / 510)

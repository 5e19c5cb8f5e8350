"""How long to wait after the n-th failure in a row: n² · 10 ms, at most 30 s, times 0.5 to 1.5.

Source: Go util/backoff/backoff.go.
"""

from __future__ import annotations

from collections.abc import Callable

MAX_BACKOFF = 30.0


class Backoff:
    __slots__ = ("_entropy", "failures")

    def __init__(self, entropy: Callable[[int], bytes]) -> None:
        self._entropy = entropy
        self.failures = 0

    def failed(self) -> float:
        """Count a failure; how long to wait now."""
        self.failures += 1
        return min(self.failures**2 * 0.01, MAX_BACKOFF) * self.between(0.5, 1.5)

    def succeeded(self) -> None:
        self.failures = 0

    def between(self, low: float, high: float) -> float:
        """A random instant of that span, so that clients of one server do not march in step."""
        return low + (high - low) * int.from_bytes(self._entropy(2)) / 65_536

"""How long to wait after the n-th failure in a row: n² · 10 ms, at most 30 s, times 0.5 to 1.5.

A server that limits us says itself how long: `retry_after`.

Source: Go util/backoff/backoff.go; RFC 9110 §10.2.3 for Retry-After.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

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


def retry_after(headers: Mapping[str, str], backoff: Backoff) -> float:
    """Seconds that a rate-limiting server asks for; missing, a date, or beyond an hour is answered by 5 to 10 s."""
    text = headers.get("retry-after", "")
    seconds = int(text) if text.isdecimal() and len(text) < 5 else 0
    return float(seconds) if 0 < seconds <= 3600 else backoff.between(5.0, 10.0)

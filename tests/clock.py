"""A clock that a test winds by hand."""

from __future__ import annotations


class Clock:
    """Seconds that pass only when the test says so. Starts away from zero, so that zero is noticed as a mistake."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def advance(self, seconds: float) -> float:
        self.now += seconds
        return self.now

    def advance_to(self, at: float) -> float:
        """Never back."""
        self.now = max(self.now, at)
        return self.now

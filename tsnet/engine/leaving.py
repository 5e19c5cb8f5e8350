"""The end of a node: its streams end, then it logs out if it is ephemeral, then nothing is left to wait for.

    begin ─► quiet, or half the time is over ─► logout_by ─► control has answered: over ─► is_closed

Logging out makes the peers forget us, so the streams must end before it.

Source: Go tsnet/tsnet.go (Close), control/controlclient/auto.go (Logout).
Not here: the request (`control.client`), the streams (`netstack`), how long closing may take (`edge.run`).
"""

from __future__ import annotations

import math

from tsnet.engine.engine import Engine


class Leaving:
    """has_begun: no new streams. is_over: control knows that we are gone, or need not know it."""

    def __init__(self, engine: Engine, *, ephemeral: bool) -> None:
        self.has_begun: bool = False
        self.is_over: bool = False
        self._engine, self._ephemeral = engine, ephemeral
        self._asked = False
        self._leave_at = self._answer_by = math.inf  # until when streams may end, and a registration be answered

    def begin(self, now: float, patience: float) -> None:
        """patience: seconds, half of the time that closing may take."""
        self.has_begun = True
        self._leave_at = now + patience
        self._answer_by = now + 1.5 * patience
        self.is_over = not self._ephemeral

    def logout_by(self, now: float) -> float | None:
        """Log out now, and wait for a registration that is under way until then. None: not now, or not again."""
        if not self.has_begun or self.is_over or (now < self._leave_at and not self._engine.is_quiet):
            return None
        self._leave_at = math.inf
        if self._asked:
            return None
        self._asked = True
        return self._answer_by

    def deadline(self) -> float:
        return math.inf if self.is_over else self._leave_at

    @property
    def is_closed(self) -> bool:
        """Whether nothing is left to wait for: every stream has ended, and an ephemeral node's logout is over."""
        return self.has_begun and self.is_over and self._engine.is_quiet

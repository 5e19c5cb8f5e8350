"""Whether the relay at the other end of a connection still answers.

    quiet ──packets leave──► unanswered ──4 s──► a Ping leaves ──1 s──► suspect ──6 s──► dead
      ▲                           │                    │                   │
      └────── any byte comes, or the full link has room again ─────────────┘    120 s without a byte ──► dead

A connection without packets is not probed: the relay's own keepalives, one a minute, are enough. Packets that want no
answer cost at most one Ping in four seconds. Room on a full link is a sign of life, because the relay's machine has
taken half a mebibyte since. Otherwise a long upload would delay the Ping behind it, and a slow link would look dead.

When the network has changed (`doubted`), a Ping leaves at once, and its answer must come within four times as long as
the login took, at least 0.5 s and at most 3 s: TCP itself would wait for much longer before it tries again.

Both other limits suit a path with a round-trip time of 3 s on which one lost segment is sent again.

Source: Go derp/derphttp/derphttp_client.go (Ping), wgengine/magicsock/derp.go (120 s).
Not here: what follows from the verdict (`client`).
"""

from __future__ import annotations

import math
from operator import attrgetter

PROBE_AFTER, SUSPECT_AFTER = 4.0, 5.0
PONG_TIMEOUT = 7.0
DOUBT_AT_LEAST, DOUBT_AT_MOST = 0.5, 3.0
SILENCE_TIMEOUT = 120.0  # twice the server's keepalive

NO_ANSWER = "it answers neither packets nor a ping"
SILENCE = "silence"

TIMERS = ("probe_at", "answer_by", "silent_at")
_timers = attrgetter(*TIMERS)


class Liveness:
    """unanswered_since: when the first packets left after which nothing has come; inf if there are none."""

    __slots__ = ("answer_by", "probe_at", "silent_at", "unanswered_since")

    def __init__(self) -> None:
        self.stop()

    def stop(self) -> None:
        """Watch no connection."""
        self.unanswered_since: float = math.inf
        self.probe_at: float = math.inf
        self.answer_by: float = math.inf
        self.silent_at: float = math.inf

    def heard(self, now: float) -> None:
        """Bytes have come."""
        self.unanswered_since = self.probe_at = self.answer_by = math.inf
        self.silent_at = now + SILENCE_TIMEOUT

    def moved(self) -> None:
        """A full link has room again."""
        self.unanswered_since = self.probe_at = self.answer_by = math.inf

    def wrote(self, now: float) -> None:
        """Packets leave, or wait to leave."""
        if self.unanswered_since == math.inf:
            self.unanswered_since, self.probe_at = now, now + PROBE_AFTER

    def asked(self, now: float) -> None:
        """A Ping leaves."""
        self.unanswered_since = min(self.unanswered_since, now)
        self.probe_at, self.answer_by = math.inf, now + PONG_TIMEOUT

    def doubted(self, now: float, latency: float) -> None:
        """A Ping leaves, or has left, because the network has changed. latency: of the login, in seconds."""
        self.asked(now)
        self.answer_by = now + min(max(DOUBT_AT_LEAST, 4 * latency), DOUBT_AT_MOST)

    def is_suspect(self, now: float) -> bool:
        """Whether the relay seems to have stopped answering: a healthy one would have answered the Ping by now."""
        return now >= self.unanswered_since + SUSPECT_AFTER

    def verdict(self, now: float) -> str:
        """Why the connection is dead; "" while it is not."""
        if now >= self.answer_by:
            return NO_ANSWER
        return SILENCE if now >= self.silent_at else ""

    def deadline(self) -> float:
        at: float = min(_timers(self))
        return at

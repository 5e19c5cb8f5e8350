"""Whether the relay at the other end of a connection still answers.

    quiet ──packets leave──► unanswered ──4 s──► a Ping leaves ──1 s──► suspect ──6 s──► dead
      ▲                           │                    ▲   │               │
      ├────── any byte comes, or the full link has room again ─────────────┘    120 s without a byte ──► dead
      └─────────────── at home: 10 s without a byte ───┘

The home relay is probed even if nothing is sent: peers find us nowhere else, and nobody but us can tell that it is
silent. Any other connection without packets is not: the relay's own keepalives, one a minute, are enough. Packets that
want no answer cost at most one Ping in four seconds. Room on a full link is a sign of life, because the relay's machine
has taken half a mebibyte since. Otherwise a long upload would delay the Ping behind it, and a slow link would look
dead.

A Ping may take two round trips of the login, at least 1 s, until the relay is suspect.

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
PROBE_HOME = 10.0
PONG_TIMEOUT = 7.0
DOUBT_AT_LEAST, DOUBT_AT_MOST = 0.5, 3.0
SILENCE_TIMEOUT = 120.0  # twice the server's keepalive

NO_ANSWER = "it answers neither packets nor a ping"
SILENCE = "silence"

TIMERS = ("probe_at", "answer_by", "silent_at", "suspect_at")
_timers = attrgetter(*TIMERS)


class Liveness:
    """unanswered_since: when the first packets left after which nothing has come; inf if there are none.
    is_suspected: whether it has been told that the relay is suspect, and nothing has come since.
    """

    __slots__ = (
        "_idle",
        "_patience",
        "answer_by",
        "is_suspected",
        "probe_at",
        "silent_at",
        "suspect_at",
        "unanswered_since",
    )

    def __init__(self) -> None:
        self._idle = math.inf
        self._patience = SUSPECT_AFTER - PROBE_AFTER
        self.stop()

    def stop(self) -> None:
        """Watch no connection."""
        self.unanswered_since: float = math.inf
        self.probe_at: float = math.inf
        self.answer_by: float = math.inf
        self.silent_at: float = math.inf
        self.suspect_at: float = math.inf
        self.is_suspected: bool = False

    def begin(self, now: float, latency: float) -> None:
        """The relay has logged us in. latency: of the login, in seconds."""
        self._patience = max(SUSPECT_AFTER - PROBE_AFTER, 2 * latency)
        self.heard(now)

    def set_home(self, is_home: bool, now: float) -> None:
        """Whether this relay is our home, from now on."""
        self._idle = PROBE_HOME if is_home else math.inf
        if self.silent_at != math.inf and self.unanswered_since == math.inf:
            self.probe_at = now + self._idle

    def heard(self, now: float) -> None:
        """Bytes have come."""
        self.unanswered_since = self.answer_by = self.suspect_at = math.inf
        self.probe_at = now + self._idle
        self.silent_at = now + SILENCE_TIMEOUT

    def moved(self, now: float) -> None:
        """A full link has room again."""
        self.unanswered_since = self.answer_by = self.suspect_at = math.inf
        self.probe_at = now + self._idle

    def wrote(self, now: float) -> None:
        """Packets leave, or wait to leave."""
        if self.unanswered_since == math.inf:
            self.unanswered_since, self.probe_at = now, min(self.probe_at, now + PROBE_AFTER)
            self.suspect_at = now + PROBE_AFTER + self._patience

    def asked(self, now: float) -> None:
        """A Ping leaves."""
        self.unanswered_since = min(self.unanswered_since, now)
        self.probe_at, self.answer_by = math.inf, now + PONG_TIMEOUT
        if not self.is_suspected:
            self.suspect_at = min(self.suspect_at, now + self._patience)

    def suspects(self, now: float) -> bool:
        """Whether the relay is suspect from now on; True once, until `clears`."""
        if now < self.suspect_at:
            return False
        self.suspect_at, self.is_suspected = math.inf, True
        return True

    def clears(self) -> bool:
        """Whether a relay that was suspect has given a sign of life; True once."""
        cleared = self.is_suspected and self.unanswered_since == math.inf
        if cleared:
            self.is_suspected = False
        return cleared

    def doubted(self, now: float, latency: float) -> None:
        """A Ping leaves, or has left, because the network has changed. latency: of the login, in seconds."""
        self.asked(now)
        self.suspect_at = math.inf  # the verdict itself comes soon
        self.answer_by = now + min(max(DOUBT_AT_LEAST, 4 * latency), DOUBT_AT_MOST)

    def is_suspect(self, now: float) -> bool:
        """Whether the relay seems to have stopped answering: a healthy one would have answered the Ping by now."""
        return now >= self.suspect_at or (self.is_suspected and self.unanswered_since != math.inf)

    def verdict(self, now: float) -> str:
        """Why the connection is dead; "" while it is not."""
        if now >= self.answer_by:
            return NO_ANSWER
        return SILENCE if now >= self.silent_at else ""

    def deadline(self) -> float:
        at: float = min(_timers(self))
        return at

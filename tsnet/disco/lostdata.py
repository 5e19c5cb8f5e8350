"""Whether a path that is trusted loses data: something went out, and nothing authenticated comes back.

| what happens                                     | what follows                                                   |
|--------------------------------------------------|----------------------------------------------------------------|
| data leaves, and nothing is awaited yet          | `check_at` is DATA_UNANSWERED later                            |
| an authentic datagram comes, or a large pong     | nothing is awaited any more; `check_at` finds that out         |
| `check_at`, and something is awaited for so long | "ask": a data-sized ping; "ask again" every DATA_PING_INTERVAL |
| DATA_PING_TIMEOUT after the first of them        | "lost": the path carries no data                               |
| `must_answer`: large data goes out all the time  | the same pings, whatever comes back meanwhile                  |

Small pings may pass where large datagrams are lost, and our datagrams may be lost where the peer's arrive.

Ours. Go keeps a path as long as its small pings are answered.
Not here: who sends the pings, and what becomes of the path (`directpath`, `relaypath`).
"""

from __future__ import annotations

import math
from typing import Literal

from tsnet.disco.constants import DATA_PING_INTERVAL, DATA_PING_TIMEOUT, DATA_UNANSWERED

Next = Literal["wait", "ask", "ask again", "lost"]


class LostData:
    """since: when the first datagram left that is not answered; inf if none is awaited. A path sets it to inf itself
    with each datagram that comes, unless `must_answer`: then data-sized pings alone say something.

    check_at: when `check` is due.
    """

    __slots__ = ("_asked_at", "check_at", "must_answer", "since")

    def __init__(self) -> None:
        self.since: float = math.inf
        self.check_at: float = math.inf
        self.must_answer: bool = False
        self._asked_at = math.inf

    @property
    def is_asked(self) -> bool:
        """Whether data-sized pings are out, or about to be."""
        return self.since != math.inf and self._asked_at != math.inf

    def sent(self, now: float) -> bool:
        """Data has left, and nothing was awaited. Whether `check_at` has moved."""
        self.since, self._asked_at = now, math.inf
        if self.check_at != math.inf:
            return False
        self.check_at = now + DATA_UNANSWERED
        return True

    def answered(self) -> None:
        """Nothing says now that data is lost."""
        self.since = math.inf
        self.must_answer = False

    def stop(self) -> None:
        """The path is given up, or is not sent to any more."""
        self.answered()
        self.check_at = math.inf

    def probe(self, now: float) -> None:
        """Ask with data-sized pings, whatever comes back: soon, as a small one has just been sent."""
        self.must_answer = True
        self.since = now - DATA_UNANSWERED
        self.check_at = self._asked_at = now + DATA_PING_INTERVAL

    def check(self, now: float) -> Next:
        """What to do at `check_at`, which is set anew."""
        if self.since == math.inf:
            self.stop()
            return "wait"
        if now < self.since + DATA_UNANSWERED:
            self.check_at = self.since + DATA_UNANSWERED
            return "wait"
        if now >= self._asked_at + DATA_PING_TIMEOUT:
            self.check_at = math.inf
            return "lost"
        is_first = now <= self._asked_at
        self._asked_at = min(self._asked_at, now)
        self.check_at = min(now + DATA_PING_INTERVAL, self._asked_at + DATA_PING_TIMEOUT)
        return "ask" if is_first else "ask again"

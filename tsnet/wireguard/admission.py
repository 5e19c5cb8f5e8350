"""Handshake messages on their way in: what is cheap to judge is judged at the door, the rest waits in a bounded queue.

    stage   mac1 wrong ──────────────────────────────────────────► dropped
            under load, or the source asks too often ─► no mac2 ─► dropped, answered with a cookie
                                                └─ its rate met ─► dropped
            came before ─────────────────────────────────────────► dropped
            queue full ──────────────────────────────────────────► dropped
    next    the oldest in the queue, HANDSHAKES_PER_SECOND of them

A keyed hash is what anyone can make us spend, and now and then a cookie. Diffie-Hellman follows `next`: it costs a
hundred times as much, so it has a budget in time. What arrives faster than that fills the queue, and the queue at an
eighth of its cap is "under load" for a second. A source that alone asks more than UNPROVEN_PER_SECOND must prove its
address sooner. A relay has authenticated its senders, so that they need no cookie; their rate is bounded all the same,
in a table of their own, which no made-up address can fill.

Source: WireGuard §5.3, §5.4.7; wireguard-go device/receive.go RoutineHandshake, device/device.go IsUnderLoad. The
budgets are ours.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Hashable

from tsnet.base.addresses import DerpAddress, Destination, owner_of
from tsnet.wireguard.constants import (
    COOKIE_REPLIES_AT_ONCE,
    COOKIE_REPLIES_PER_SECOND,
    HANDSHAKES_AT_ONCE,
    HANDSHAKES_PER_SECOND,
    MAX_REMEMBERED_HANDSHAKES,
    MAX_STAGED_HANDSHAKES,
    RATE_BURST,
    RATE_PER_SECOND,
    UNDER_LOAD_HANDSHAKES,
    UNDER_LOAD_TIME,
    UNPROVEN_AT_ONCE,
    UNPROVEN_PER_SECOND,
)
from tsnet.wireguard.cookie import CookieChecker
from tsnet.wireguard.messages import INITIATION, MAC_SIZE, message_type
from tsnet.wireguard.outbox import Outbox
from tsnet.wireguard.ratelimiter import RateLimiter

_ALL = "all"
"""The one source of a limiter that counts everybody."""


class Admission:
    __slots__ = (
        "_dropped",
        "_handshakes",
        "_outbox",
        "_proven",
        "_relayed",
        "_replies",
        "_seen",
        "_seen_before",
        "_staged",
        "_under_load_until",
        "_unproven",
        "checker",
    )

    def __init__(self, checker: CookieChecker, outbox: Outbox, dropped: Counter[str]) -> None:
        self.checker: CookieChecker = checker
        self._outbox = outbox
        self._dropped = dropped
        self._unproven = RateLimiter(UNPROVEN_PER_SECOND, UNPROVEN_AT_ONCE)
        self._proven = RateLimiter(RATE_PER_SECOND, RATE_BURST)
        self._relayed = RateLimiter(UNPROVEN_PER_SECOND, UNPROVEN_AT_ONCE)
        self._replies = RateLimiter(COOKIE_REPLIES_PER_SECOND, COOKIE_REPLIES_AT_ONCE)
        self._handshakes = RateLimiter(HANDSHAKES_PER_SECOND, HANDSHAKES_AT_ONCE)
        self._staged: deque[tuple[Destination, bytes]] = deque()
        self._seen: set[bytes] = set()
        self._seen_before: set[bytes] = set()
        self._under_load_until = -math.inf

    def __len__(self) -> int:
        return len(self._staged)

    def stage(self, source: Destination, datagram: bytes, now: float) -> None:
        """datagram: an initiation or a response of the right length."""
        if not self.checker.check_mac1(datagram):
            self._dropped["mac1"] += 1
        elif not self._may_ask(source, datagram, now):
            pass  # counted, by the reason
        elif self._came_before(datagram):
            self._dropped["replayed initiation" if message_type(datagram) == INITIATION else "replayed response"] += 1
        elif len(self._staged) >= MAX_STAGED_HANDSHAKES:
            self._dropped["handshake queue full"] += 1
        else:
            self._remember(datagram)
            self._staged.append((source, datagram))
            self.is_under_load(now)

    def next(self, now: float) -> tuple[Destination, bytes] | None:
        """The next admitted message, in order of arrival; None when no more are staged, or the budget is spent."""
        if self._staged and self._handshakes.allow(_ALL, now):
            return self._staged.popleft()
        return None

    def due_at(self) -> float:
        """When `next` has a message: perhaps in the past; math.inf if none is staged."""
        return self._handshakes.allowed_at(_ALL) if self._staged else math.inf

    def is_under_load(self, now: float) -> bool:
        if len(self._staged) >= UNDER_LOAD_HANDSHAKES:
            self._under_load_until = now + UNDER_LOAD_TIME
        return now < self._under_load_until

    def replace_checker(self, checker: CookieChecker) -> None:
        """After a change of our key. What is staged was addressed to the old one."""
        self.checker = checker
        self._staged.clear()

    # --- who may ask ----------------------------------------------------------------------------------------

    def _may_ask(self, source: Destination, datagram: bytes, now: float) -> bool:
        if isinstance(source, DerpAddress):
            return self._is_in_rate(self._relayed, source, now)
        owner = owner_of(source.host)
        if not self.is_under_load(now) and self._unproven.allow(owner, now):
            return True
        if self.checker.check_mac2(datagram, source, now):
            return self._is_in_rate(self._proven, owner, now)
        self._dropped["mac2"] += 1
        if self._replies.allow(_ALL, now):
            self._outbox.put(source, [self.checker.create_reply(datagram, source, now)])
        return False

    def _is_in_rate(self, limiter: RateLimiter, sender: Hashable, now: float) -> bool:
        if limiter.allow(sender, now):
            return True
        self._dropped["rate limit"] += 1
        return False

    # --- what came before -----------------------------------------------------------------------------------

    def _came_before(self, datagram: bytes) -> bool:
        """Whether the same message was staged a while ago. Its mac1 stands for all of it but mac2."""
        mac1 = _mac1(datagram)
        return mac1 in self._seen or mac1 in self._seen_before

    def _remember(self, datagram: bytes) -> None:
        """The last MAX_REMEMBERED_HANDSHAKES at most, and half of them at least."""
        if len(self._seen) >= MAX_REMEMBERED_HANDSHAKES // 2:
            self._seen, self._seen_before = set(), self._seen
        self._seen.add(_mac1(datagram))


def _mac1(datagram: bytes) -> bytes:
    return datagram[-2 * MAC_SIZE : -MAC_SIZE]

"""Handshake messages on their way in: mac1 at the door, a bounded queue, and cookies when it fills.

    stage   mac1 wrong: dropped | queue full: dropped | at an eighth of the queue: under load, for a second
    next    not under load: admitted
            under load:  no valid mac2 -> cookie reply to the source, dropped
                         source above its rate -> dropped, else admitted

A keyed hash is what anyone can make us spend; the Diffie-Hellman that follows admission is paid under a budget.

Source: WireGuard §5.3, §5.4.7; wireguard-go device/receive.go RoutineHandshake, device/device.go IsUnderLoad.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Hashable

from tsnet.base.addresses import Destination, UdpAddress, owner_of
from tsnet.wireguard.constants import MAX_STAGED_HANDSHAKES, UNDER_LOAD_HANDSHAKES, UNDER_LOAD_TIME
from tsnet.wireguard.cookie import CookieChecker
from tsnet.wireguard.outbox import Outbox
from tsnet.wireguard.ratelimiter import RateLimiter


class Admission:
    __slots__ = ("_dropped", "_limiter", "_outbox", "_staged", "_under_load_until", "checker")

    def __init__(self, checker: CookieChecker, outbox: Outbox, dropped: Counter[str]) -> None:
        self.checker = checker
        self._outbox = outbox
        self._dropped = dropped
        self._limiter = RateLimiter()
        self._staged: deque[tuple[Destination, bytes]] = deque()
        self._under_load_until = -math.inf

    def __len__(self) -> int:
        return len(self._staged)

    def stage(self, source: Destination, datagram: bytes, now: float) -> None:
        """datagram: an initiation or a response of the right length."""
        if not self.checker.check_mac1(datagram):
            self._dropped["mac1"] += 1
        elif len(self._staged) >= MAX_STAGED_HANDSHAKES:
            self._dropped["handshake queue full"] += 1
        else:
            self._staged.append((source, datagram))
            self.is_under_load(now)

    def next(self, now: float) -> tuple[Destination, bytes] | None:
        """The next admitted message, in order of arrival; None when no more are staged."""
        while self._staged:
            under_load = self.is_under_load(now)
            source, datagram = self._staged.popleft()
            if not under_load:
                return source, datagram
            if not self.checker.check_mac2(datagram, source, now):
                self._dropped["mac2"] += 1
                self._outbox.put(source, [self.checker.create_reply(datagram, source, now)])
            elif not self._limiter.allow(_rate_key(source), now):
                self._dropped["rate limit"] += 1
            else:
                return source, datagram
        return None

    def is_under_load(self, now: float) -> bool:
        if len(self._staged) >= UNDER_LOAD_HANDSHAKES:
            self._under_load_until = now + UNDER_LOAD_TIME
        return now < self._under_load_until

    def replace_checker(self, checker: CookieChecker) -> None:
        """After a change of our key. What is staged was addressed to the old one."""
        self.checker = checker
        self._staged.clear()


def _rate_key(source: Destination) -> Hashable:
    """One bucket for a v4 address, a v6 /64, a node behind a relay; ports are free to whoever owns the address."""
    return owner_of(source.host) if isinstance(source, UdpAddress) else source

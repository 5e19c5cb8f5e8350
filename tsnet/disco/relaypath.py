"""The way to one peer through peers that relay: which session carries data, and how far that is trusted.

    needed ─► no direct path is trusted, and the peer is sent to: sessions are looked for, the one in use is pinged
    ready  ─► a handshake has found a session that works: it is the best, or not; the best is trusted
    a pong ─► trusted for TRUST_UDP_ADDRESS more

| timer          | set while                         | what follows                                                  |
|----------------|-----------------------------------|---------------------------------------------------------------|
| `lapse_at`     | the best is trusted               | it is trusted no more: DERP carries a copy of everything      |
| `heartbeat_at` | needed                            | the best is pinged; every second while it is not trusted      |
| `discover_at`  | needed, and there are peer relays | they are asked for sessions; every 60 s while one is trusted  |
| `expire_at`    | pings are out                     | the best is given up after 11.5 s without a pong              |
| `check_at`     | data is out on a trusted session  | nothing came back for 3 s: data-sized pings; 0.7 s later it  |
|                |                                   | is doubted; 2 s later it is given up                          |

Data that comes through DERP, after the peer had sent by the session, says that the peer may have lost it: the session
is doubted, as after `lapse_at`, and its next pong ends the doubt.

A relay may forward pings and not WireGuard. Where WireGuard's handshakes are not answered twice in a row by a trusted
session, none of that relay is used alone for a while (`doubt`): DERP carries a copy, and the session of another relay
takes its place.

What is lost may be our own address alone, as when a router has forgotten us. So a session that is doubted, or given up,
is bound anew at once, which takes no DERP.

A session is given up later than a direct path: the next one may be half a minute away, and DERP has its copy.

A session that is not needed any more, because a direct path carries everything, is left alone. It is pinged first when
that path is lost, as long as its relay may still know it.

Source: Go wgengine/magicsock/endpoint.go (udpRelayEndpointReady, wantUDPRelayPathDiscoveryLocked, heartbeat).
Not here: handshakes (`binding`), sealing and sending (`peerrelays`), the direct path (`directpath`).
"""

from __future__ import annotations

import math
from typing import NamedTuple

from tsnet.base.addresses import PeerRelayAddress
from tsnet.disco.better import is_better
from tsnet.disco.constants import (
    ALLOCATION_TIMEOUT,
    DATA_PADDING,
    DATAGRAM_SIZE,
    DOUBTED_INTERVAL,
    HEARTBEAT_INTERVAL,
    MAX_RELAYS,
    MAX_STEADY_LIFETIME,
    PING_TIMEOUT,
    RELAY_DISCOVERY_INTERVAL,
    RELAY_UPGRADE_INTERVAL,
    SESSION_ACTIVE_TIMEOUT,
    TRUST_UDP_ADDRESS,
    UNANSWERED_HANDSHAKES,
)
from tsnet.disco.doubt import Doubt
from tsnet.disco.geneve import HEADER_SIZE
from tsnet.disco.lostdata import LostData

RELAY_TIMERS = ("lapse_at", "heartbeat_at", "discover_at", "expire_at", "check_at")
MAX_RELAY_PINGS = 16
"""In flight to one peer by peer relays."""


class RelayedPing(NamedTuple):
    address: PeerRelayAddress
    at: float
    padding: int


class RelayPath:
    """best: the session in use. server_key: its relay's disco key. why: what made it so, in a few words.

    only_large: data was lost where small pings were answered, so that a data-sized one alone says something.

    lost_data: whether what goes out is answered.

    is_needed: no direct path is trusted. may_discover: there are peer relays to ask. asks: (address, padding) of pings
    to be sent. wants_sessions: the peer relays are to be asked. wants_binding: the relay of the last one may know us
    by an address that is ours no more. Whoever calls a method takes these three afterwards.
    """

    __slots__ = (
        "_arrived_at",
        "_discovered_at",
        "_doubted_at",
        "_doubts",
        "_lifetime",
        "_pings",
        "_ponged_at",
        "_unanswered_handshakes",
        "asks",
        "best",
        "discover_at",
        "expire_at",
        "heartbeat_at",
        "is_needed",
        "is_silent",
        "is_trusted",
        "lapse_at",
        "latency",
        "lost_data",
        "may_discover",
        "only_large",
        "sent_at",
        "server_key",
        "wants_binding",
        "wants_sessions",
        "why",
    )

    def __init__(self, *, is_silent: bool, is_needed: bool, may_discover: bool) -> None:
        self.is_silent: bool = is_silent
        self.is_needed: bool = is_needed
        self.may_discover: bool = may_discover
        self.asks: list[tuple[PeerRelayAddress, int]] = []
        self.wants_sessions: bool = False
        self.wants_binding: bool = False
        self.only_large: bool = False
        self.sent_at: float = -math.inf
        self._discovered_at = -math.inf
        self._unanswered_handshakes = 0
        self.lost_data: LostData = LostData()
        self._doubts: dict[bytes, Doubt] = {}
        """By the disco key of a relay."""
        self.heartbeat_at: float = math.inf
        self.discover_at: float = math.inf
        self._forget_best("")

    def _forget_best(self, why: str) -> None:
        self.best: PeerRelayAddress | None = None
        self.server_key: bytes = b""
        self.is_trusted: bool = False
        self.latency: float = math.inf
        self.why: str = why
        self.lapse_at: float = math.inf
        self.expire_at: float = math.inf
        self.lost_data.stop()
        self._pings: dict[bytes, RelayedPing] = {}
        self._lifetime, self._ponged_at = 0.0, -math.inf
        self._arrived_at = self._doubted_at = -math.inf

    @property
    def check_at(self) -> float:
        return self.lost_data.check_at

    def deadline(self) -> float:
        """When `run` must be called next."""
        return min(self.lapse_at, self.heartbeat_at, self.discover_at, self.expire_at, self.lost_data.check_at)

    def is_active(self, now: float) -> bool:
        """Whether the peer is sent to."""
        return now < self.sent_at + SESSION_ACTIVE_TIMEOUT

    # --- what happens -----------------------------------------------------------------------------------------------

    def sent(self, now: float) -> bool:
        """Datagrams of WireGuard have left for the peer. Whether the deadline has moved: seldom."""
        self.sent_at = now
        if not self.is_needed:
            return False
        moved = self.heartbeat_at == math.inf
        if moved:
            self._wake(now)
        if self.is_trusted and self.lost_data.since == math.inf and not self.is_silent:
            moved = self.lost_data.sent(now) or moved
        return moved

    def set_needed(self, is_needed: bool, now: float) -> None:
        """A direct path is trusted now, or no more."""
        if is_needed == self.is_needed:
            return
        self.is_needed = is_needed
        if not is_needed:
            self.heartbeat_at = self.discover_at = math.inf
            self.lost_data.stop()
        elif self.is_active(now):
            if self.best is not None and now >= self._ponged_at + self._lifetime:
                self._forget_best("its relay has forgotten it")
            self._wake(now)
            self._ask_best()
            self.wants_binding = self.best is not None

    def set_may_discover(self, may_discover: bool, now: float) -> None:
        """There are peer relays to ask now, or none any more."""
        if may_discover != self.may_discover:
            self.may_discover = may_discover
            self._plan(now)

    def asked(self, now: float) -> None:
        """Somebody wants to know what answers. The peer counts as sent to."""
        self.sent_at = now
        if self.is_needed:
            self._wake(now)
            self._ask_best()

    def called(self, now: float) -> None:
        """The peer says CallMeMaybe: it wants a path, too."""
        if self.is_needed and not self.is_trusted and self.may_discover:
            self.discover_at = max(now, self._discovered_at + RELAY_DISCOVERY_INTERVAL)

    def arrived(self, source: PeerRelayAddress, now: float) -> bool:
        """An authentic datagram of WireGuard has come from there. Whether the deadline has moved."""
        self.lost_data.since = math.inf
        self._arrived_at = now
        if self.is_silent and self.is_trusted and source == self.best:
            self.lapse_at = now + TRUST_UDP_ADDRESS
            return True
        return False

    def arrived_by_derp(self, now: float) -> bool:
        """The same, through DERP. Whether that puts the session in doubt: once, until the peer has used it again."""
        is_news = self._arrived_at > self._doubted_at and now > self._arrived_at + DOUBTED_INTERVAL
        if not (is_news and self.is_trusted and self.is_needed):
            return False
        self._doubted_at = now
        self._lapse("the peer sends through DERP", now)
        return True

    def ready(self, address: PeerRelayAddress, server_key: bytes, latency: float, lifetime: float, now: float) -> bool:
        """A handshake has found a session that works. Whether that is the best one now.

        Of one relay the newest session is: it knows us by one address alone, the one that we have spoken from last.
        """
        same = self.best is not None and server_key == self.server_key
        is_better = self._is_better(address, latency) and not self._is_doubted(server_key, now)
        if self.is_trusted and not same and not is_better:
            return False
        if not same:
            self._unanswered_handshakes = 0
        self._forget_best("a peer relay leads there")
        self.best, self.server_key, self._lifetime = address, server_key, min(lifetime, MAX_STEADY_LIFETIME)
        self._trust(latency, now)
        if self.is_needed and self.is_active(now):
            self.heartbeat_at = now + HEARTBEAT_INTERVAL
        return True

    def _is_better(self, address: PeerRelayAddress, latency: float) -> bool:
        best = self.best
        return best is None or is_better(address.relay, latency, best.relay, self.latency)

    def pinged(self, tx_id: bytes, address: PeerRelayAddress, padding: int, now: float) -> None:
        """One of `asks` has been sent."""
        if len(self._pings) >= MAX_RELAY_PINGS:
            del self._pings[next(iter(self._pings))]
        self._pings[tx_id] = RelayedPing(address, now, padding)
        self._expect()

    def ponged(self, tx_id: bytes, vni: int, now: float) -> bool:
        """A pong has come by the session of that number. Whether it answers one of our pings."""
        ping = self._pings.get(tx_id)
        if ping is None or ping.address.vni != vni:
            return False
        del self._pings[tx_id]
        self._expect()
        if ping.address != self.best:
            return True
        if self.lost_data.is_asked and ping.padding < DATA_PADDING:
            return True
        was_trusted = self.is_trusted
        self._trust(max(0.0, now - ping.at), now)
        if self.is_trusted and not was_trusted:
            self.why = "a pong came"
        if ping.padding >= DATA_PADDING:
            self.only_large = False
            self.lost_data.answered()
        return True

    def handshake_unanswered(self, now: float) -> None:
        """A message of WireGuard's handshake went unanswered."""
        if not (self.is_trusted and self.is_needed):
            return
        self._unanswered_handshakes += 1
        if self._unanswered_handshakes >= UNANSWERED_HANDSHAKES:
            self._unanswered_handshakes = 0
            doubt = self._doubts.pop(self.server_key, None) or Doubt()
            doubt.begin(now)
            self._doubts[self.server_key] = doubt
            if len(self._doubts) > MAX_RELAYS:
                del self._doubts[next(iter(self._doubts))]
            self._lapse("WireGuard is not answered there", now)

    def handshake_answered(self) -> None:
        """A session of WireGuard was made, by whatever path."""
        self._unanswered_handshakes = 0

    def unsent(self, size: int, now: float) -> None:
        """The system refuses to send so many bytes to the relay, or anything at all if that is 0.

        The ping that a doubt sends at once may be refused as well: that is no reason to send the next one at once.
        """
        if not size:
            if self.is_trusted:
                self._lapse("the system cannot send there", now)
        elif size <= DATAGRAM_SIZE + HEADER_SIZE:
            self._carries_no_data("data is too large for it", now)

    def postponed(self, now: float) -> None:
        """The peer relays were not asked: too many requests are under way. Those are over by then."""
        self._discovered_at = now + ALLOCATION_TIMEOUT - RELAY_DISCOVERY_INTERVAL
        self._plan(now)

    def anew(self, why: str, now: float) -> None:
        """What was known of the sessions is void. Others are looked for at once, if the peer is sent to."""
        self._forget_best(why)
        self.asks.clear()
        self._discovered_at = -math.inf
        self._unanswered_handshakes = 0
        self._doubts.clear()
        self.wants_binding = self.is_needed and self.is_active(now)
        if self.wants_binding:
            self._wake(now)

    def run(self, now: float) -> None:
        """Do what is due."""
        if now >= self.lapse_at:
            self._lapse("no pong for too long", now)
        if now >= self.expire_at:
            self._expire(now)
        if now >= self.lost_data.check_at:
            self._check(now)
        if now >= self.heartbeat_at:
            self._heartbeat(now)
        if now >= self.discover_at:
            self._discovered_at, self.wants_sessions = now, True
            self._plan(now)

    # --- inside -----------------------------------------------------------------------------------------------------

    def _wake(self, now: float) -> None:
        """The peer is sent to, and no direct path is trusted."""
        self.heartbeat_at = min(self.heartbeat_at, now + HEARTBEAT_INTERVAL)
        self._plan(now)

    def _plan(self, now: float) -> None:
        """Say when peer relays are asked for sessions next."""
        if not (self.is_needed and self.may_discover and self.is_active(now)):
            self.discover_at = math.inf
        else:
            pause = RELAY_UPGRADE_INTERVAL if self.is_trusted else RELAY_DISCOVERY_INTERVAL
            self.discover_at = max(now, self._discovered_at + pause)

    def _trust(self, latency: float, now: float) -> None:
        self.latency, self._ponged_at = latency, now
        self.is_trusted = not self._is_doubted(self.server_key, now)
        self.lapse_at = now + TRUST_UDP_ADDRESS if self.is_trusted else math.inf
        self._plan(now)

    def _is_doubted(self, server_key: bytes, now: float) -> bool:
        """Whether WireGuard is not answered by sessions of that relay."""
        doubt = self._doubts.get(server_key)
        return doubt is not None and doubt.holds(now)

    def _lapse(self, why: str, now: float) -> None:
        """The best is trusted no more, and is asked at once."""
        self.is_trusted, self.lapse_at, self.why = False, math.inf, why
        self.wants_binding = self.is_needed and self.is_active(now)
        self._plan(now)
        if self.heartbeat_at != math.inf:
            self.heartbeat_at = now

    def _expect(self) -> None:
        self.expire_at = next((ping.at + PING_TIMEOUT for ping in self._pings.values()), math.inf)

    def _expire(self, now: float) -> None:
        """Nobody has answered these pings."""
        late = {tx_id: ping for tx_id, ping in self._pings.items() if now >= ping.at + PING_TIMEOUT}
        self._pings = {tx_id: ping for tx_id, ping in self._pings.items() if tx_id not in late}
        self._expect()
        is_dead = not self.is_trusted and now >= self._ponged_at + TRUST_UDP_ADDRESS + PING_TIMEOUT
        if is_dead and any(ping.address == self.best for ping in late.values()):
            self._forget_best("its pings are not answered")
            self._plan(now)

    def _heartbeat(self, now: float) -> None:
        if not self.is_active(now):
            self.heartbeat_at = self.discover_at = math.inf
            self.lost_data.stop()
            return
        is_urgent = self.best is not None and not self.is_trusted and not self._is_doubted(self.server_key, now)
        self.heartbeat_at = now + (DOUBTED_INTERVAL if is_urgent else HEARTBEAT_INTERVAL)
        if not self.is_silent:
            self._ask_best()

    def _check(self, now: float) -> None:
        """Data may be lost on the session that is trusted: ask it, and give it up if it does not answer."""
        if self.best is None:
            self.lost_data.stop()
            return
        found = self.lost_data.check(now)
        if found == "lost":
            self._carries_no_data("data went out, and nothing came back", now)
        elif found != "wait":
            if self.is_trusted and found == "ask again":
                self._lapse("data went out, and nothing came back", now)
            self._ask_best(DATA_PADDING)

    def _carries_no_data(self, why: str, now: float) -> None:
        self.only_large = self.wants_binding = True
        self._forget_best(why)
        self._plan(now)

    def _ask_best(self, padding: int = 0) -> None:
        if self.best is not None:
            self.asks.append((self.best, padding))

"""The direct path of one peer: which of its addresses carries data, and how far that is trusted.

    sent to ─► a round: every candidate is pinged, the peer is told our endpoints (CallMeMaybe)
    a pong  ─► the pinged address is the best, or not (`better`); the best is trusted for TRUST_UDP_ADDRESS
    trusted ─► a heartbeat every HEARTBEAT_INTERVAL, for SESSION_ACTIVE_TIMEOUT after the last datagram sent

| timer          | set while                        | what follows                                                    |
|----------------|----------------------------------|-----------------------------------------------------------------|
| `lapse_at`     | the best is trusted              | it is trusted no more: the relay carries a copy of everything   |
| `heartbeat_at` | the peer is sent to              | the best is pinged; 45 s after the last send, all timers end    |
| `discover_at`  | it is sent to, and wants a path  | a round; six without a pong are followed by a pause             |
| `again_at`     | the first round was begun        | all are asked once more: by then the peer's router is open      |
| `check_at`     | data is out on a trusted path    | nothing came back for 3 s: data-sized pings; 2 s later: demoted |

While large datagrams go out, each heartbeat is followed by the same data-sized pings, whatever comes back: small ones
may hide that large ones are lost. Where WireGuard's handshakes are not answered twice in a row, though pings are, the
best is doubted: it is not used alone for DOUBT, and twice as long each time that this happens again.

A best that the system cannot send to is trusted no more and asked at once; it is given up if that cannot leave either.
One that is too small for data is left to data-sized pings, too.

An address that is demoted so is pinged with data-sized pings from then on: a small one proves nothing there.
With `mtu`, larger datagrams are tried on a path that is trusted (`pathmtu`).
Data that arrives never promotes a path, and proves only that this one is not dead.

Source: Go wgengine/magicsock/endpoint.go. `again_at`, `check_at`, the pause and the answer to a call are ours.
Not here: sealing and sending (`directpaths`), the relay (`derproutes`).
"""

from __future__ import annotations

import math

from tsnet.base.addresses import UdpAddress
from tsnet.base.bucket import TokenBucket
from tsnet.disco.better import is_better
from tsnet.disco.candidates import Candidates
from tsnet.disco.constants import (
    ASK_AGAIN,
    BURST_PAUSE,
    BURST_ROUNDS,
    DATA_PADDING,
    DATAGRAM_SIZE,
    DISCO_PING_INTERVAL,
    GOOD_ENOUGH_LATENCY,
    HEARTBEAT_INTERVAL,
    MAX_CANDIDATES,
    SESSION_ACTIVE_TIMEOUT,
    TRUST_UDP_ADDRESS,
    UNANSWERED_HANDSHAKES,
    UPGRADE_INTERVAL,
)
from tsnet.disco.lostdata import LostData
from tsnet.disco.pathmtu import PathMtu
from tsnet.disco.pings import SentPing

TIMERS = ("lapse_at", "heartbeat_at", "discover_at", "again_at", "check_at")


class DirectPath:
    """best: the address in use. is_trusted: whether it is used alone. why: what made them so, in a few words.

    is_silent: no heartbeats; what arrives from the best prolongs the trust instead. asks: (address, padding) of pings
    to be sent. wants_call: the peer is to be told our endpoints. Whoever calls a method takes these two afterwards.
    lost_data: whether data is answered. is_large_out: large datagrams of WireGuard have left since the last heartbeat.
    mtu: what the path carries; None if that is not wanted.
    """

    __slots__ = (
        "_called_at",
        "_provoked",
        "_round_at",
        "_rounds",
        "_unanswered_handshakes",
        "again_at",
        "asks",
        "best",
        "candidates",
        "discover_at",
        "heartbeat_at",
        "is_large_out",
        "is_silent",
        "is_trusted",
        "lapse_at",
        "latency",
        "lost_data",
        "mtu",
        "sent_at",
        "wants_call",
        "why",
    )

    def __init__(self, now: float, *, is_silent: bool, has_mtu: bool = False) -> None:
        self.candidates: Candidates = Candidates()
        self.is_silent: bool = is_silent
        self.lost_data: LostData = LostData()
        self.mtu: PathMtu | None = PathMtu() if has_mtu and not is_silent else None
        self.asks: list[tuple[UdpAddress, int]] = []
        self.wants_call: bool = False
        self._provoked = TokenBucket(MAX_CANDIDATES / DISCO_PING_INTERVAL, MAX_CANDIDATES, now)
        self._reset()

    def _reset(self) -> None:
        self.best: UdpAddress | None = None
        self.is_trusted: bool = False
        self.latency: float = math.inf
        self.why: str = ""
        self.sent_at: float = -math.inf
        self._called_at = self._round_at = -math.inf
        self._rounds = 0
        self.lapse_at: float = math.inf
        self.heartbeat_at: float = math.inf
        self.discover_at: float = math.inf
        self.again_at: float = math.inf
        self.lost_data.stop()
        self._unanswered_handshakes = 0
        self.is_large_out: bool = False
        if self.mtu is not None:
            self.mtu.lose()

    @property
    def is_active(self) -> bool:
        """Whether the peer is sent to."""
        return self.heartbeat_at != math.inf

    @property
    def check_at(self) -> float:
        return self.lost_data.check_at

    def deadline(self) -> float:
        """When `run` must be called next."""
        due = min(self.lapse_at, self.heartbeat_at, self.discover_at, self.again_at, self.lost_data.check_at)
        return due if self.mtu is None else min(due, self.mtu.deadline())

    # --- what happens -----------------------------------------------------------------------------------------------

    def sent(self, now: float) -> bool:
        """Datagrams of WireGuard have left for the peer. Whether the deadline has moved: seldom."""
        self.sent_at = now
        moved = self.heartbeat_at == math.inf
        if moved:
            self._wake(now)
        elif self.is_silent and not self.is_trusted and self.discover_at == math.inf:
            self._plan()
            moved = True
        if self.is_trusted and self.lost_data.since == math.inf and not self.is_silent:
            moved = self.lost_data.sent(now) or moved
        return moved

    def asked(self, now: float) -> None:
        """Somebody wants to know what answers: the best address if it is trusted, or else every candidate. The peer
        counts as sent to."""
        self.sent_at = now
        if not self.is_active:
            self._wake(now)
        for address in (self.best,) if self.best is not None and self.is_trusted else tuple(self.candidates):
            self._ask(address, now)

    def arrived(self, source: UdpAddress, now: float) -> bool:
        """An authentic datagram of WireGuard has come from there. Whether the deadline has moved."""
        if not self.lost_data.must_answer:
            self.lost_data.since = math.inf
        if self.is_silent and self.is_trusted and source == self.best:
            self.lapse_at = now + TRUST_UDP_ADDRESS
            return True
        return False

    def heard(self, source: UdpAddress, now: float, *, is_fresh: bool) -> None:
        """An authentic ping has come from there. is_fresh: it is no copy of one that came from elsewhere."""
        if not is_fresh and self.candidates.get(source) is None:
            return
        if self.candidates.heard(source, now):
            self._rounds = 0
        if is_fresh and self.is_active and not self.is_trusted and self._provoked.take(1, now):
            self._ask(source, now)  # the peer's NAT lets us in now: do not wait for the next round

    def called(self, endpoints: list[UdpAddress], now: float) -> None:
        """The peer says CallMeMaybe: it has just sent something from there, and its NAT lets our pings in.

        Its own pings may have come before our NAT let them in. It sends the next ones in 5 s, or when it is called.
        """
        if not self.is_trusted and now >= self._called_at + DISCO_PING_INTERVAL:
            self.wants_call, self._called_at = True, now
        self.candidates.called(endpoints)
        self._keep_best("the peer does not name it any more")
        for address in self.candidates:
            if not self._provoked.take(1, now):
                return
            self._ask(address, now)
        self._round_at = now
        self._plan()

    def netmap_names(self, endpoints: list[UdpAddress], now: float) -> None:
        """Control says where the peer may be."""
        is_news = self.candidates.set_netmap(endpoints)
        self._keep_best("control does not name it any more")
        if is_news:
            self._news(now)

    def ponged(self, ping: SentPing, now: float) -> None:
        """A pong answers one of our pings."""
        candidate, latency = self.candidates.get(ping.address), max(0.0, now - ping.at)
        if candidate is None:
            return
        candidate.answered_at, candidate.latency = now, latency
        if candidate.only_large and ping.padding < DATA_PADDING:
            return
        candidate.only_large = False
        is_doubted = candidate.doubt.holds(now)
        if not self.is_trusted or (not is_doubted and is_better(ping.address, latency, self.best, self.latency)):
            self._use(ping.address)
        if self.best != ping.address:
            return
        self.latency = latency
        if is_doubted:
            self._plan()
            return
        self.is_trusted, self.lapse_at = True, now + TRUST_UDP_ADDRESS
        self._rounds = 0
        if self.mtu is not None:
            self.mtu.use(ping.address, now)
            self.mtu.ponged(ping.address, ping.padding, ping.at)
        if ping.padding >= DATA_PADDING:
            self.lost_data.answered()
        self._plan()

    def handshake_unanswered(self, now: float) -> None:
        """A message of WireGuard's handshake went unanswered."""
        candidate = None if self.best is None or not self.is_trusted else self.candidates.get(self.best)
        if candidate is None:
            return
        self._unanswered_handshakes += 1
        if self._unanswered_handshakes >= UNANSWERED_HANDSHAKES:
            self._unanswered_handshakes = 0
            candidate.doubt.begin(now)
            self._distrust("WireGuard is not answered there")
            self._plan()

    def handshake_answered(self) -> None:
        """A session was made, by whatever path."""
        self._unanswered_handshakes = 0

    def timed_out(self, ping: SentPing, now: float) -> None:
        """Nobody has answered that ping."""
        if ping.address == self.best and not self.is_trusted and ping.padding <= DATA_PADDING:
            self._clear("its pings are not answered")

    def unsent(self, size: int, now: float) -> None:
        """The system refuses to send so many bytes to the best, or anything at all if that is 0."""
        if self.best is None:
            return
        if size > DATAGRAM_SIZE:
            if self.mtu is not None:
                self.mtu.refused(size, now)
        elif size:
            self._carries_no_data("data is too large for it")
        elif self.is_trusted:
            self._distrust("the system cannot send there")
            self._ask(self.best, now)
            self._plan()

    def anew(self, why: str, now: float, *, discover: bool) -> None:
        """What was known of the path is void. discover: look for one at once, if the peer is sent to."""
        was_active, sent_at = self.is_active, self.sent_at
        self._reset()
        self.why = why
        self.candidates.forget_history()
        if was_active and discover:
            self.sent(now)
            self.sent_at = sent_at

    def endpoints_changed(self, now: float) -> None:
        """Ours have: the peer should hear of it, and what failed may succeed now."""
        self._called_at = -math.inf
        self._news(now)

    def run(self, now: float) -> None:
        """Do what is due."""
        if now >= self.lapse_at:
            self._distrust("no pong for too long")
            if not self.is_silent:
                self._plan()
        if now >= self.lost_data.check_at:
            self._check(now)
        if now >= self.heartbeat_at:
            self._heartbeat(now)
        if now >= self.again_at:
            self.again_at = math.inf
            for address in self.candidates if self.is_active and not self.is_trusted else ():
                self._ask(address, self._round_at)  # the next round is when it would have been
        if now >= self.discover_at:
            self._discover(now)
        if self.mtu is not None and self.best is not None:
            self.asks += [(self.best, padding) for padding in self.mtu.run(now)]

    # --- inside -----------------------------------------------------------------------------------------------------

    def _wake(self, now: float) -> None:
        """The peer is sent to, which it was not before."""
        self.heartbeat_at = now + HEARTBEAT_INTERVAL
        self._rounds = 0
        self._plan()

    def _use(self, address: UdpAddress) -> None:
        self.why = "a pong came" if self.best is None or not self.is_trusted else "a pong came, and it is better"
        if self.best != address:
            self._unanswered_handshakes = 0
        self.best = address
        self.lost_data.answered()

    def _distrust(self, why: str) -> None:
        self.is_trusted, self.lapse_at, self.why = False, math.inf, why
        if self.mtu is not None:
            self.mtu.lose()

    def _clear(self, why: str) -> None:
        self._distrust(why)
        self.best, self.latency = None, math.inf
        self.lost_data.answered()
        self._plan()

    def _carries_no_data(self, why: str) -> None:
        """Give up the best, though it may answer small pings."""
        candidate = None if self.best is None else self.candidates.get(self.best)
        if candidate is not None:
            candidate.only_large = True
        self._clear(why)

    def _keep_best(self, why: str) -> None:
        if self.best is not None and self.candidates.get(self.best) is None:
            self._clear(why)

    def _news(self, now: float) -> None:
        """There is a new chance: do not wait for the next round."""
        self._rounds = 0
        if self.is_active and self._wants_path():
            self.discover_at = now

    def _wants_path(self) -> bool:
        return not self.is_trusted or self.latency > GOOD_ENOUGH_LATENCY

    def _plan(self) -> None:
        """Say when the next round is."""
        wanted = self.is_active and self._wants_path()
        if self.is_silent and (self.is_trusted or self.sent_at <= self._round_at):
            wanted = False
        if not wanted:
            self.discover_at = math.inf
        elif self.is_trusted:
            self.discover_at = self._round_at + UPGRADE_INTERVAL
        elif self._rounds and not self._rounds % BURST_ROUNDS:
            self.discover_at = self._round_at + BURST_PAUSE
        else:
            self.discover_at = max(self.sent_at, self._round_at + DISCO_PING_INTERVAL)

    def _discover(self, now: float) -> None:
        for address in self.candidates.due(now, self.best if self.is_trusted else None):
            self._ask(address, now)
        self._keep_best("it is no candidate any more")
        if now >= self._called_at + DISCO_PING_INTERVAL:
            self.wants_call, self._called_at = True, now
        self._rounds += 1
        if self._rounds == 1 and not self.is_silent:
            self.again_at = now + ASK_AGAIN
        self._round_at = now
        self._plan()

    def _heartbeat(self, now: float) -> None:
        if now >= self.sent_at + SESSION_ACTIVE_TIMEOUT:
            self.heartbeat_at = self.discover_at = self.again_at = math.inf
            self.lost_data.stop()
            return
        self.heartbeat_at = now + HEARTBEAT_INTERVAL
        if self.best is not None and not self.is_silent:
            self._ask(self.best, now)
            if self.mtu is not None:
                self.mtu.heartbeat(now)
            if self.is_large_out and self.is_trusted and not self.lost_data.is_asked:
                self.is_large_out = False
                self.lost_data.probe(now)

    def _check(self, now: float) -> None:
        """Data may be lost on the path that is trusted: ask it, and give it up if it does not answer."""
        if self.best is None or not self.is_trusted:
            self.lost_data.stop()
            return
        is_hidden = self.lost_data.must_answer
        match self.lost_data.check(now):
            case "ask" | "ask again":
                self.asks.append((self.best, DATA_PADDING))
            case "lost":
                self._carries_no_data("large pings are lost" if is_hidden else "data went out, and nothing came back")

    def _ask(self, address: UdpAddress, now: float) -> None:
        candidate = self.candidates.get(address)
        if candidate is not None:
            candidate.pinged_at = now
            self.asks.append((address, DATA_PADDING if candidate.only_large else 0))

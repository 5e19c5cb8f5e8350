"""The device: all WireGuard peers behind one key. The engine uses this room through it.

    receive   transport ─► session by its first eight bytes ─► packets, up
              initiation, response ─► mac1 ─► staged          cookie reply ─► peer by index
    send      peer ─► sealed into the outbox, or staged until there is a session
    transmit  staged handshakes, HANDSHAKES_PER_TURN of them ─► peers whose timers have come ─► outbox, down

While datagrams wait, or handshakes that the budget allows, `deadline()` is not later than the `now` of the last call.

| `dropped`               | what                                                                                    |
|-------------------------|-----------------------------------------------------------------------------------------|
| malformed               | not a WireGuard message: unknown type, reserved bytes, wrong length                     |
| mac1                    | handshake message not addressed to our key                                              |
| mac2                    | under load or too often from one source, without a valid cookie: one is sent            |
| rate limit              | the same, with a valid cookie or by relay, and still too often                          |
| handshake queue full    | more than MAX_STAGED_HANDSHAKES                                                         |
| unknown receiver        | no handshake or session of ours has that index (any more); by relay: see `session_lost` |
| unknown peer            | an initiation from, or packets for, a key that is no peer                               |
| unexpected response     | its initiation is no longer under way                                                   |
| forged initiation, forged response, forged cookie | does not open                                                 |
| replayed initiation     | time stamp not after the last accepted one, or the very same message came before        |
| replayed response       | the very same message came before                                                       |
| initiation too soon     | within INITIATION_GAP of the last accepted one                                          |
| forged                  | transport message that does not open                                                    |
| replayed                | its counter was received before, or is too old to tell                                  |
| expired session         | older than REJECT_AFTER_TIME                                                            |
| staged queue full, no answer | packets that waited for a session: newer ones pushed them out, or we gave up       |
| unusable key, own key   | a peer's key of low order; our own key as a peer's                                      |
| outbox full             | sealed, but not transmitted                                                             |

Source: WireGuard §5-6; wireguard-go device/device.go, receive.go.
Not here: paths, AllowedIPs, IP (the engine's).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby

from tsnet.base.addresses import DerpAddress, Destination
from tsnet.base.keys import NodeKey, NodePrivateKey
from tsnet.base.trace import Trace
from tsnet.wireguard.admission import Admission
from tsnet.wireguard.alarms import Alarms
from tsnet.wireguard.cookie import CookieChecker
from tsnet.wireguard.facts import Fact
from tsnet.wireguard.handshake import NO_PSK, StaticKeys, open_static
from tsnet.wireguard.keylog import KeyLog
from tsnet.wireguard.local import Local
from tsnet.wireguard.messages import (
    COOKIE_REPLY,
    COOKIE_REPLY_SIZE,
    INITIATION,
    INITIATION_SIZE,
    RESPONSE,
    RESPONSE_SIZE,
    TRANSPORT,
    TRANSPORT_OVERHEAD,
    CookieReply,
    Initiation,
    Response,
    message_type,
)
from tsnet.wireguard.outbox import Recipient
from tsnet.wireguard.peer import NEVER_SPOKEN, Peer, SessionStatus
from tsnet.wireguard.timers import TIMERS

HANDSHAKES_PER_TURN = 8
"""An initiation costs some 0.3 ms, a response 0.15: a flood may delay the data of a turn by about 2 ms.

`constants.HANDSHAKES_PER_SECOND` bounds what the turns of a second may spend.
"""

Up = tuple[NodeKey, Destination, list[bytes]]
Down = tuple[Recipient, list[bytes]]


class Device:
    """entropy: n -> n random bytes. wall_offset: Unix time = now + wall_offset.

    timestamp_mark: the mark that the last process with this key saved, or None. mtu: of the packets inside.

    key_log: is given the secrets of each handshake, before its message can be transmitted.

    Every initiation is stamped below the saved mark. The owner therefore saves the mark of each `MarkMoved` fact, then
    calls `mark_saved`. An owner without storage calls it at once.
    """

    def __init__(
        self,
        private_key: NodePrivateKey,
        *,
        entropy: Callable[[int], bytes],
        wall_offset: float,
        timestamp_mark: float | None = None,
        mtu: int = 1280,
        trace: Trace | None = None,
        key_log: KeyLog | None = None,
    ) -> None:
        self._local: Local[Peer] = Local(
            private_key,
            entropy,
            mtu=mtu,
            wall_offset=wall_offset,
            timestamp_mark=timestamp_mark,
            trace=trace,
            key_log=key_log,
        )
        self.dropped: Counter[str] = self._local.dropped
        self._outbox = self._local.outbox
        self._indices = self._local.indices
        self._sessions = self._indices.sessions
        checker = CookieChecker(self.public_key, entropy)
        self._admission = Admission(checker, self._outbox, self.dropped)
        self._keys: dict[bytes, None] = {}
        """Of all peers. Most of a large tailnet's are never spoken to: `_peers` has the others."""
        self._peers: dict[bytes, Peer] = {}
        self._alarms: Alarms[Peer] = Alarms()
        self._now = 0.0

    @property
    def public_key(self) -> NodeKey:
        return self._local.identity.public

    # --- peers ----------------------------------------------------------------------------------------------

    @property
    def peers(self) -> Iterable[bytes]:
        """Their keys, as they were given."""
        return self._keys.keys()

    def add_peer(self, key: bytes, *, psk: bytes | None = None, persistent_keepalive: float | None = None) -> None:
        """Add a peer unless it is there already; this costs next to nothing until the two speak.

        persistent_keepalive: seconds; the first is due now.
        """
        if key == self.public_key:
            self.dropped["own key"] += 1
        elif key not in self._keys:
            self._keys[key] = None
            if (psk or NO_PSK) != NO_PSK or persistent_keepalive:
                self._make(key, psk, persistent_keepalive)

    def _peer(self, key: bytes) -> Peer | None:
        """The peer with that key, made when it is first needed."""
        peer = self._peers.get(key)
        return self._make(key) if peer is None and key in self._keys else peer

    def _make(self, key: bytes, psk: bytes | None = None, persistent_keepalive: float | None = None) -> Peer:
        peer = self._peers[key] = Peer(self._local, NodeKey(key), psk=psk, persistent_keepalive=persistent_keepalive)
        self._alarms.arm(peer)
        return peer

    def remove_peer(self, key: bytes) -> None:
        self._keys.pop(key, None)
        peer = self._peers.pop(key, None)
        if peer is not None:
            peer.forget()
            self._alarms.disarm(peer)
            self._outbox.forget(key)

    def set_peers(self, keys: Iterable[bytes]) -> None:
        """Add the peers that are missing, and remove those that are not named."""
        wanted = dict.fromkeys(keys)  # keeps the order, so that the same input makes the same trace
        for key in [key for key in self._keys if key not in wanted]:
            self.remove_peer(key)
        for key in wanted:
            self.add_peer(key)

    def reset_peer(self, key: bytes, now: float) -> None:
        """Start over with a peer that has restarted: its sessions are gone, and its clock may differ. Staged packets
        are kept."""
        old = self._peers.get(key)
        if old is None:
            return
        self.remove_peer(key)
        self.add_peer(key, psk=old.psk, persistent_keepalive=old.interval)
        if old.staged:
            self.send([(key, old.staged)], now)

    def path_gained(self, key: bytes, now: float) -> None:
        """The peer has a path now, or another one: send a waiting handshake as soon as the responder takes it."""
        self._call(key, Peer.path_gained, now)

    def set_round_trip(self, seconds: float) -> None:
        """How long an answer takes on the way that handshakes with new peers take: none is sent again any sooner. The
        next one would make the answer to the one before useless."""
        self._local.round_trip = seconds

    def path_restored(self, key: bytes, now: float) -> None:
        """The peer's path is back after an outage: as `path_gained`, but after the initiations that may wait below."""
        self._call(key, Peer.path_restored, now)

    def send_keepalive(self, key: bytes, now: float) -> None:
        """Send an empty packet, or begin a handshake if there is no session."""
        self._peer(key)
        self._call(key, Peer.send_keepalive, now)

    def status(self, key: bytes) -> SessionStatus | None:
        """None for who is no peer."""
        peer = self._peers.get(key)
        if peer is not None:
            return peer.status()
        return NEVER_SPOKEN if key in self._keys else None

    # --- ourselves ------------------------------------------------------------------------------------------

    def set_private_key(self, private_key: NodePrivateKey, now: float) -> None:
        """Change our key: no session sends any longer, and the next packet to each peer begins a handshake."""
        self._now = now
        self._local.identity = StaticKeys.of(private_key)
        self._admission.replace_checker(CookieChecker(self.public_key, self._local.entropy))
        self.remove_peer(self.public_key)
        for peer in self._peers.values():
            peer.identity_changed(now)
            self._alarms.arm(peer)

    def want_mark(self, now: float) -> None:
        """Ask by `MarkMoved` for the mark that the next initiation needs, so that it need not wait for that."""
        self._local.want_mark(now)

    def mark_saved(self, mark: float) -> None:
        """The mark of a `MarkMoved` fact is saved for the next start: initiations that wait for it are due."""
        self._local.timestamps.mark_saved(mark)
        self._release_initiations()

    def set_wall_offset(self, wall_offset: float, now: float) -> None:
        """The wall clock was set: Unix time = now + wall_offset. Stamps follow it, but never go back."""
        self._now = now
        self._local.wall_offset = wall_offset
        self._release_initiations()

    def suspended(self, now: float) -> None:
        """The clock has jumped (suspend, cloned machine): no session sends again, as its key may be used elsewhere."""
        self._now = now
        for peer in self._peers.values():
            peer.expire_sending(now)
            self._alarms.arm(peer)

    def take_facts(self) -> list[Fact]:
        """What happened since the last call, in order. Call it after `transmit`, before routing what that returned."""
        facts, self._local.facts = self._local.facts, []
        return facts

    def is_under_load(self, now: float) -> bool:
        return self._admission.is_under_load(now)

    # --- the verbs ------------------------------------------------------------------------------------------

    def receive(self, runs: Iterable[tuple[Destination, Sequence[bytes]]], now: float) -> list[Up]:
        """Take datagrams from below, by source.

        Returns (peer, source, packets) for every authentic batch. Padding is kept. Keepalives are left out, so the list
        may be empty. The peer may have moved to that source (roaming); for handshakes, a `Heard` fact says so.
        """
        self._now = now
        up: list[Up] = []
        sessions = self._sessions
        for source, datagrams in runs:
            if not datagrams:
                continue
            prefix = datagrams[0][:8]
            if prefix in sessions and not [1 for datagram in datagrams if datagram[:8] != prefix]:
                self._receive_transport(prefix, source, datagrams, now, up)
                continue
            for prefix, group in groupby(datagrams, _prefix):
                if prefix in sessions:
                    self._receive_transport(prefix, source, list(group), now, up)
                else:
                    for datagram in group:
                        self._receive_message(source, datagram, now)
        return up

    def send(self, runs: Iterable[tuple[bytes, Sequence[bytes]]], now: float) -> None:
        """Take packets from above, by peer. A session seals them at once; without one, the newest 128 wait for it."""
        self._now = now
        peers = self._peers
        for key, packets in runs:
            peer = peers.get(key) or self._peer(key)
            if peer is None:
                self.dropped["unknown peer"] += len(packets)
            elif packets:
                peer.send(packets, now)
                self._alarms.arm(peer)

    def transmit(self, now: float, budget: int) -> list[Down]:
        """At most `budget` bytes, or one datagram, as runs: for a peer or, with cookie replies, for a destination."""
        self._now = now
        for _ in range(HANDSHAKES_PER_TURN):
            admitted = self._admission.next(now)
            if admitted is None:
                break
            self._receive_handshake(*admitted, now)
        if self._alarms.deadline() <= now:
            self._alarms.run_due(now, lambda peer: peer.run_timers(now))
        return self._outbox.take(budget)

    def is_due(self, now: float) -> bool:
        """Whether `transmit` has anything to do, or `take_facts` to tell."""
        return bool(self._outbox.waiting or self._local.facts) or self.deadline() <= now

    def deadline(self) -> float:
        if self._outbox.waiting:
            return self._now
        return min(self._admission.due_at(), self._alarms.deadline())

    def why(self) -> str:
        """What `deadline` is for, in words."""
        if self._outbox.waiting:
            return f"{self._outbox.waiting} datagrams to send"
        if self._admission:
            return f"{len(self._admission)} handshakes to answer"
        peer = min(self._peers.values(), key=Peer.deadline, default=None)
        reason = peer.timers.why() if peer is not None else ""
        return f"{reason} of {peer.key!r}" if peer is not None and reason else "nothing"

    def timers(self) -> Iterator[tuple[NodeKey, str, float]]:
        """Every timer of every peer that has been spoken to, with the name of its slot; inf if it is not armed."""
        for peer in self._peers.values():
            for slot in TIMERS:
                yield peer.key, slot, getattr(peer.timers, slot)

    # --- inside ---------------------------------------------------------------------------------------------

    def _receive_transport(
        self, prefix: bytes, source: Destination, datagrams: Sequence[bytes], now: float, up: list[Up]
    ) -> None:
        peer, session = self._sessions[prefix]
        packets = peer.receive_transport(session, datagrams, now)
        self._alarms.arm(peer)
        if packets is not None:
            up.append((peer.key, source, packets))

    def _receive_message(self, source: Destination, datagram: bytes, now: float) -> None:
        """Take any datagram but a transport message of a session."""
        kind, size = message_type(datagram), len(datagram)
        if kind == INITIATION and size == INITIATION_SIZE:
            if isinstance(source, DerpAddress) and source.key not in self._keys:
                self.dropped["unknown peer"] += 1  # the relay has authenticated the sender: no need to open it
            else:
                self._admission.stage(source, datagram, now)
        elif kind == RESPONSE and size == RESPONSE_SIZE:
            peer = self._owner(datagram[8:12])
            if peer is not None and peer.expects_response(datagram[8:12]):
                self._admission.stage(source, datagram, now)
        elif kind == COOKIE_REPLY and size == COOKIE_REPLY_SIZE:
            peer = self._owner(datagram[4:8])
            if peer is not None:
                peer.receive_cookie(CookieReply.decode(datagram), now)
        elif kind == TRANSPORT and size >= TRANSPORT_OVERHEAD:
            self.dropped["unknown receiver"] += 1
            if isinstance(source, DerpAddress):  # the relay has authenticated the sender
                self._peer(source.key)
                self._call(source.key, Peer.session_lost, now)
        else:
            self.dropped["malformed"] += 1

    def _receive_handshake(self, source: Destination, datagram: bytes, now: float) -> None:
        """Take an admitted initiation or response."""
        if message_type(datagram) == RESPONSE:
            peer = self._owner(datagram[8:12])
            if peer is not None:
                peer.receive_response(Response.decode(datagram), source, now)
        else:
            peer = self._receive_initiation(source, datagram, now)
        if peer is not None:
            self._alarms.arm(peer)

    def _receive_initiation(self, source: Destination, datagram: bytes, now: float) -> Peer | None:
        opened = open_static(self._local.identity, Initiation.decode(datagram))
        if opened is None:
            self.dropped["forged initiation"] += 1
            return None
        peer = self._peer(opened.static)
        if peer is None:
            self.dropped["unknown peer"] += 1
            return None
        peer.receive_initiation(opened, source, now)
        return peer

    def _release_initiations(self) -> None:
        for peer in self._peers.values():
            peer.release_initiation(self._now)
            self._alarms.arm(peer)

    def _owner(self, index: bytes) -> Peer | None:
        peer = self._indices.owners.get(int.from_bytes(index, "little"))
        if peer is None:
            self.dropped["unknown receiver"] += 1
        return peer

    def _call(self, key: bytes, method: Callable[[Peer, float], None], now: float) -> None:
        """If the peer has been made: nothing waits for one that has not."""
        peer = self._peers.get(key)
        if peer is not None:
            self._now = now
            method(peer, now)
            self._alarms.arm(peer)


def _prefix(datagram: bytes) -> bytes:
    return datagram[:8]

"""The handshakes with peer relays that are under way, of all peers: which relay is told what, and how often.

    begin ─► `Binding` says what the relay is told ─► here: limits, sealed, in Geneve ─► Outgoing
    a challenge, a ping, a pong ─► here: which handshake that is of ─► `Binding`

A handshake is known by its generation, and leads to one peer: nobody can disturb that of another peer by naming the
same relay and session. Of one relay and one peer the newest session counts, by its Lamport id.

What a peer names is asked no more often than `Pace` allows. Of an address that a relay of ours has named, the first
message of each handshake is exempt, and all of them once a challenge has come from there: a thousand peers may be
reached by one relay, and a relay that names somebody else's address has us send no retries to it.

Source: Go wgengine/magicsock/relaymanager.go (handleNewServerEndpointRunLoop, handleRxDiscoMsgRunLoop).
Not here: which sessions there are, and what becomes of one that works (`peerrelays`).
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator

from tsnet.base.addresses import PeerRelayAddress, UdpAddress
from tsnet.base.keys import DiscoKey
from tsnet.base.malformed import MalformedError
from tsnet.base.timetable import Timetable
from tsnet.disco.binding import Binding, is_sound
from tsnet.disco.box import looks_like_disco, sender_of
from tsnet.disco.constants import (
    MAX_ALL_BINDINGS,
    MAX_BINDINGS,
    MAX_KNOWN_ADDRESSES,
    MAX_PORTS,
    MAX_RELAY_ADDRESSES,
)
from tsnet.disco.directpaths import DirectPaths
from tsnet.disco.equipment import Equipment
from tsnet.disco.messages import (
    TX_ID_SIZE,
    BindUDPRelayEndpointAnswer,
    BindUDPRelayEndpointChallenge,
    Ping,
    UDPRelayEndpoint,
    decode,
)
from tsnet.disco.pace import Pace


class Bindings:
    """dropped: messages not sent, by "pace"."""

    def __init__(self, directs: DirectPaths, equipment: Equipment) -> None:
        self._directs, self._senders, self._outgoing = directs, equipment.senders, equipment.outgoing
        self._entropy, self._dropped = equipment.entropy, equipment.dropped
        self._all: dict[int, Binding] = {}
        self._timetable: Timetable[int] = Timetable(self._outgoing.earliest)
        self._asked: Counter[bytes] = Counter()
        """How many handshakes are under way with the relay of that disco key."""
        self._known: OrderedDict[UdpAddress, bool] = OrderedDict()
        """The addresses that relays of ours have named, and whether a challenge has come from there."""
        self._pace = Pace()
        self._generation = 0

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Binding]:
        return iter(self._all.values())

    # --- begin and end ----------------------------------------------------------------------------------------------

    def trust(self, relay: UDPRelayEndpoint) -> None:
        """A relay of ours has named these addresses."""
        for address in self._usable(relay):
            self._known[address] = self._known.pop(address, False)
        while len(self._known) > MAX_KNOWN_ADDRESSES:
            self._known.popitem(last=False)

    def begin(self, peer: bytes, relay: UDPRelayEndpoint, now: float, *, padding: int = 0) -> str | None:
        """A handshake for this session. Why there is none, if so; one that is under way is reason enough, and no fault.

        padding: of the pings to the peer.
        """
        addresses, remote_key = self._usable(relay), self._senders.get(peer)
        if not addresses or not is_sound(relay) or relay.server_key == self._senders.box.public_key:
            return "unusable relay"
        under_way = [each for each in self if each.peer == peer]
        older = next((each for each in under_way if each.relay.server_key == relay.server_key), None)
        if older is not None:
            if older.relay.lamport_id >= relay.lamport_id:
                return None
            self._end(older)
        elif len(under_way) >= MAX_BINDINGS or len(self) >= MAX_ALL_BINDINGS:
            return "too many handshakes"
        self._generation = self._generation % 0xFFFFFFFF + 1
        binding = Binding(peer, DiscoKey(remote_key or b""), relay, addresses, self._generation, now, padding)
        self._all[binding.generation] = binding
        self._asked[relay.server_key] += 1
        self._go_on(binding, now)
        return None

    def forget(self, peer: bytes) -> None:
        """Sessions with this peer are not wanted any more."""
        for binding in [each for each in self if each.peer == peer]:
            self._end(binding)

    def _end(self, binding: Binding) -> None:
        del self._all[binding.generation]
        self._timetable.drop(binding.generation)
        server_key = binding.relay.server_key
        self._asked[server_key] -= 1
        if not self._asked[server_key]:
            del self._asked[server_key]
            if not self._senders.nodes(server_key):
                self._senders.box.forget(server_key)

    def _usable(self, relay: UDPRelayEndpoint) -> tuple[UdpAddress, ...]:
        """The addresses of a relay that may be asked."""
        found: list[UdpAddress] = []
        ports: Counter[str] = Counter()
        for address in dict.fromkeys(relay.endpoints):
            is_one_of_few = len(found) < MAX_RELAY_ADDRESSES and ports[address.host] < MAX_PORTS
            if is_one_of_few and self._directs.may_reach(address):
                found.append(address)
                ports[address.host] += 1
        return tuple(found)

    # --- what is sent -----------------------------------------------------------------------------------------------

    def _go_on(self, binding: Binding, now: float) -> None:
        """Send what the handshake says next, and note when it is due again."""
        for address, message in binding.messages(now):
            is_exempt = self._known.get(address, False) or (address in self._known and binding.is_new)
            if not is_exempt and not self._pace.allows(address, binding.peer, now):
                self._dropped["pace"] += 1
                continue
            to = PeerRelayAddress(*address, binding.relay.vni)
            self._outgoing.send(binding.relay.server_key, to, message)
            if isinstance(message, BindUDPRelayEndpointAnswer):
                self._ping(binding, now)
        self._timetable.set(binding.generation, binding.deadline())

    def _ping(self, binding: Binding, now: float) -> None:
        """Ping the peer by the session of this handshake."""
        if binding.address is not None and binding.may_ping:
            tx_id = self._entropy(TX_ID_SIZE)
            binding.pinged(tx_id, now)
            ping = Ping(tx_id, self._directs.own_key, binding.padding)
            self._outgoing.send(binding.remote_key, binding.address, ping)

    # --- what comes -------------------------------------------------------------------------------------------------

    def receive(self, source: UdpAddress, datagram: bytes, vni: int, now: float) -> str | None:
        """A disco datagram of that session, from a relay itself. Why it was dropped, if it was."""
        if not looks_like_disco(datagram):
            return "short"
        sender = sender_of(datagram)
        if sender not in self._asked:
            return "unknown relay"
        try:
            message = decode(self._senders.box.open(datagram))
        except MalformedError:
            return "relay box"
        if type(message) is not BindUDPRelayEndpointChallenge:
            return type(message).__name__
        binding = self._all.get(message.generation)
        if binding is None or binding.relay.server_key != sender or message.vni != vni:
            return "unknown handshake"
        if not self._directs.may_reach(source) or not binding.challenged(source, message, now):
            return "unwanted challenge"
        if source in self._known:
            self._known[source] = True
        self._go_on(binding, now)
        return None

    def pinged(self, peers: Iterable[bytes], source: PeerRelayAddress, now: float) -> None:
        """A ping of one of these peers has come by that session: if its handshake is under way, it is bound, too."""
        for binding in self:
            if binding.address == source and binding.peer in peers:
                self._ping(binding, now)
                return

    def ponged(self, tx_id: bytes, peer: bytes, vni: int, now: float) -> tuple[Binding, float] | None:
        """A pong of this peer has come by a session of that number. The handshake that it ends, and how long its ping
        took, in seconds."""
        for binding in self:
            if binding.peer == peer and binding.relay.vni == vni:
                latency = binding.ponged(tx_id, now)
                if latency is not None:
                    self._end(binding)
                    return binding, latency
        return None

    # --- time -------------------------------------------------------------------------------------------------------

    def run(self, now: float) -> None:
        """Do what is due."""
        for generation in self._timetable.take(now):
            binding = self._all[generation]
            if now >= binding.ends_at:
                self._end(binding)
            else:
                self._go_on(binding, now)

    def deadline(self) -> float:
        return self._timetable.deadline()

"""The packet filter: which of the packets that come out of a peer's WireGuard session may reach the stack.

    packet (source already checked against the peer's AllowedIPs)
      empty                                       accept   a keepalive
      short, cut off, no IP, tiny fragment        drop     "short", "unknown"
      to multicast or link-local                  drop     "multicast", "link-local" (169.254.169.254 excepted)
      a later fragment                            accept   its first fragment was judged
      not to an address or route of ours          drop     "destination"
      ICMP  echo reply, error | other             accept | some rule leads from there to this address
      TCP   not a SYN | SYN                       accept | a rule with this port
      UDP, SCTP  answers a flow of ours | other   accept | a rule with this port
      TSMP                                        accept
      any other protocol                          a rule that names it, for all ports; else drop "protocol"
      otherwise                                   drop     "rule"

Replies: outbound UDP and SCTP leave their reversed tuple in a table of the 512 last used, which outlives any change
of rules. TCP needs none: a connection cannot begin without a SYN. Shields up, and a jailed peer, are a filter without
rules: replies and TCP of connections we opened still flow. Raising the shields empties the table: what we answered
until then is in it too.

If a peer outside the Tailnet Lock exists and some rule would let it in, control is not to be trusted with any of them:
nothing is allowed as long as that is so.

Of IPv6's extension headers the Fragment header is understood, right behind the fixed one; any other is a protocol
that no rule names.

Source: Go wgengine/filter/filter.go, net/packet/packet.go, net/flowtrack; ipn/ipnlocal
packetFilterPermitsUnlockedNodes. One step stricter: an IPv4 header that
claims less than 20 bytes is "unknown". One constant differs: ICMP's parameter problem is 12 (RFC 792), not 0x12.
Not here: compiling rules (`filterrules`), TSMP and PeerAPI before and after the filter (`tsnet.engine.ingress`).
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping, Set
from struct import Struct
from typing import Any, NamedTuple

from tsnet.base.addresses import IPAddress, IPPrefix
from tsnet.base.steps import Steps
from tsnet.netmap.changes import Changes, NodeChange
from tsnet.netmap.filterrules import (
    ICMP,
    ICMPV6,
    IGMP,
    NO_CAPABILITIES,
    NOTHING_ALLOWED,
    SCTP,
    TCP,
    TSMP,
    UDP,
    FilterRules,
    has_many_texts,
)
from tsnet.netmap.model import FilterRule, NetMap, Node
from tsnet.netmap.routes import Routes

FLOWS_KEPT = 512
MIN_FRAGMENT_OFFSET = 10
"""In units of 8 bytes: the longest IPv4 header and a TCP header. A later fragment may not begin inside of them."""

FRAGMENT = 255
"""Stands for the protocol of a later fragment, whose own header is elsewhere."""

FRAGMENT_HEADER = 44
FRAGMENT_HEADER_SIZE = 8

METADATA_SERVICE = bytes([169, 254, 169, 254])

_MIN_HEADER = {ICMP: 4, IGMP: 8, TCP: 20, UDP: 8, SCTP: 12, TSMP: 7}
_MIN_HEADER_6 = {ICMPV6: 4, TCP: 20, UDP: 8, SCTP: 12, TSMP: 7}
_PORTED = (TCP, UDP, SCTP)
_ECHO_REPLY = {ICMP: 0, ICMPV6: 129}
_ICMP_ERRORS = {ICMP: (3, 11, 12), ICMPV6: (1, 2, 3, 4)}
_SYN, _ACK = 0x02, 0x10
_DENIED = ("destination", "rule")

# What the short path reads of a TCP packet, both headers at their least size (40 and 60 bytes).
_TCP4 = Struct(">BxHxxHxB6x4s13xB6x")  # version and IHL, length, fragment, protocol, destination, flags
_TCP6 = Struct(">B3xHB17x16s13xB6x")  # version, payload length, next header, destination, flags


class Verdict(NamedTuple):
    accepted: bool
    reason: str


class _Packet(NamedTuple):
    """What the filter reads of a packet. Ports are raw, b"" where there are none; `transport` is an offset."""

    protocol: int
    source: bytes
    destination: bytes
    ports: bytes
    transport: int


class PacketFilter:
    """Deny everything until `apply`; `dropped` counts by the reasons above.

    capabilities_of: the node capabilities of the peer that has this address as its own.
    """

    def __init__(self, capabilities_of: Callable[[bytes], Set[str]] | None = None) -> None:
        self.dropped: Counter[str] = Counter()
        self.shields_up: bool = False
        self.rules: FilterRules = NOTHING_ALLOWED
        """Those in force."""
        self._capabilities_of = capabilities_of
        self._compiled: FilterRules = NOTHING_ALLOWED
        self._prepared: tuple[tuple[FilterRule, ...], FilterRules] | None = None
        self._unsigned: dict[int, Node] = {}
        self._let_in: set[int] = set()
        """Those of the unsigned peers that the compiled rules would let in."""
        self._flows: OrderedDict[tuple[int, bytes, bytes, bytes], None] = OrderedDict()
        self._prefixes: tuple[IPPrefix, ...] = ()
        self._local: Routes[bool] = Routes()
        self._hosts: frozenset[bytes] = frozenset()

    def prepare(self, changes: Changes) -> Steps[None]:
        """Compile the rules of this netmap in steps, if they name many, so that `apply` finds them compiled."""
        rules = changes.after.packet_filter
        if rules and changes.of("packet_filter") and has_many_texts(rules):
            self._prepared = (rules, (yield from FilterRules.in_steps(rules)))

    def apply(self, changes: Changes, *, routes: Iterable[IPPrefix] = ()) -> None:
        """Bring the rules to this netmap, whole. They are compiled only if control has sent others.

        routes: what we advertise and would forward.
        """
        netmap = changes.after
        are_new = changes.of("packet_filter")
        if are_new:
            self._compiled = self._rules_of(netmap)
        self._look_for_unsigned(changes.peers, are_new)
        self._set_local((*netmap.self_node.addresses, *routes))
        self._choose()

    def set_shields_up(self, shields_up: bool) -> None:
        if shields_up and not self.shields_up:
            self._flows.clear()
        self.shields_up = shields_up
        self._choose()

    def _rules_of(self, netmap: NetMap) -> FilterRules:
        prepared, self._prepared = self._prepared, None
        if prepared is not None and prepared[0] is netmap.packet_filter:
            return prepared[1]
        return FilterRules(netmap.packet_filter) if netmap.packet_filter else NOTHING_ALLOWED

    def replace(self, rules: FilterRules, local: Iterable[IPPrefix], *, shields_up: bool = False) -> None:
        """Its parts by hand: compiled rules, and the prefixes that packets may be addressed to."""
        self._compiled = rules
        self._set_local(tuple(local))
        self.set_shields_up(shields_up)

    def _choose(self) -> None:
        self.rules = NOTHING_ALLOWED if self.shields_up or self._let_in else self._compiled

    def _set_local(self, prefixes: tuple[IPPrefix, ...]) -> None:
        if prefixes != self._prefixes:
            self._prefixes = prefixes
            self._local = Routes((prefix, True) for prefix in prefixes)
            hosts = (prefix.network_address.packed for prefix in prefixes if prefix.prefixlen == prefix.max_prefixlen)
            self._hosts = frozenset(host for host in hosts if _unfit_destination(host) is None)

    def _look_for_unsigned(self, peers: Mapping[int, NodeChange], are_new: bool) -> None:
        """are_new: whether the rules are."""
        changed = {number: after for number, (before, after) in peers.items() if _is_unsigned(before, after)}
        for number, peer in changed.items():
            self._unsigned.pop(number, None)
            self._let_in.discard(number)
            if peer is not None and peer.unsigned_peer_api_only:
                self._unsigned[number] = peer
        opens_to = self._compiled.opens_to
        for number in self._unsigned if are_new else changed.keys() & self._unsigned.keys():
            if any(opens_to(prefix) for prefix in self._unsigned[number].allowed_ips):
                self._let_in.add(number)
            else:
                self._let_in.discard(number)

    def admit(self, packets: Iterable[bytes], jailed: bool = False) -> tuple[list[bytes], list[bytes]]:
        """Judge packets of one peer, in order.

        packets: whole IP packets, WireGuard's padding allowed behind them. jailed: the peer may open nothing.
        Returns what may pass, and those dropped IPv4 TCP SYNs that deserve a TSMP "rejected".
        """
        admitted: list[bytes] = []
        rejected: list[bytes] = []
        hosts, accept = self._hosts, admitted.append
        tcp4, tcp6 = _TCP4.unpack_from, _TCP6.unpack_from
        for packet in packets:
            size = len(packet)
            # The short path: TCP of an open connection to an address of ours. It only ever accepts.
            if size >= 40 and packet[0] == 0x45:
                _, length, fragment, protocol, destination, flags = tcp4(packet)
                whole = not fragment & 0x3FFF and 20 <= length <= size
                if not flags & _SYN and protocol == TCP and whole and destination in hosts:
                    accept(packet)
                    continue
            elif size >= 60 and packet[0] >> 4 == 6:
                _, length, protocol, destination, flags = tcp6(packet)
                if not flags & _SYN and protocol == TCP and length + 40 <= size and destination in hosts:
                    accept(packet)
                    continue
            verdict = self.verdict(packet, jailed)
            if verdict.accepted:
                accept(packet)
                continue
            self.dropped[verdict.reason] += 1
            if verdict.reason in _DENIED and _is_ipv4_syn(packet):
                rejected.append(packet)
        return admitted, rejected

    def verdict(self, packet: bytes, jailed: bool = False) -> Verdict:
        """The whole of it for one packet, with the reason; counts nothing. A reply refreshes its flow."""
        if not packet:
            return Verdict(True, "keepalive")
        if len(packet) < 20:
            return Verdict(False, "short")
        parsed = _parse(packet)
        if parsed is None:
            return Verdict(False, "unknown")
        unfit = _unfit_destination(parsed.destination)
        if unfit is not None:
            return Verdict(False, unfit)
        if parsed.protocol == FRAGMENT:
            return Verdict(True, "fragment")
        if self._local.lookup(parsed.destination) is None:
            return Verdict(False, "destination")
        return self._judge(packet, parsed, NOTHING_ALLOWED if jailed else self.rules)

    def _judge(self, packet: bytes, parsed: _Packet, rules: FilterRules) -> Verdict:
        protocol, source, destination, ports, transport = parsed
        if protocol == (ICMP if len(source) == 4 else ICMPV6):
            if _is_icmp_answer(packet, protocol, transport):
                return Verdict(True, "icmp answer")
            return _ruled(rules.allows_icmp(source, destination, self._asked(rules, source)))
        if protocol == TSMP:
            return Verdict(True, "tsmp")
        if protocol not in _PORTED:
            portless = rules.allows_portless(protocol, source, destination)
            return Verdict(portless, "rule" if portless else "protocol")
        if protocol == TCP:
            if packet[transport + 13] & (_SYN | _ACK) != _SYN:
                return Verdict(True, "tcp non-syn")
        elif self._is_reply(protocol, source, destination, ports):
            return Verdict(True, "reply")
        port, capabilities = int.from_bytes(ports[2:], "big"), self._asked(rules, source)
        return _ruled(rules.allows(protocol, source, destination, port, capabilities))

    def lets_in(self, source: bytes, destination: bytes) -> bool:
        """Whether the source may open a connection to some port of that address of ours."""
        if self._local.lookup(destination) is None:
            return False
        return self.rules.allows_icmp(source, destination, self._asked(self.rules, source))

    def allows(self, protocol: int, source: bytes, destination: bytes, port: int) -> bool:
        """Whether the rules in force let this TCP, UDP or SCTP in; for somebody who asks, no packet is judged."""
        is_local = self._local.lookup(destination) is not None and _unfit_destination(destination) is None
        return is_local and self.rules.allows(protocol, source, destination, port, self._asked(self.rules, source))

    def _asked(self, rules: FilterRules, source: bytes) -> frozenset[str]:
        """The source's capabilities, those that rules ask for."""
        if not rules.asks_for or self._capabilities_of is None:
            return NO_CAPABILITIES
        return rules.asks_for.intersection(self._capabilities_of(source))

    def _is_reply(self, protocol: int, source: bytes, destination: bytes, ports: bytes) -> bool:
        flow = (protocol, source, destination, ports)
        if flow not in self._flows:
            return False
        self._flows.move_to_end(flow)
        return True

    def note_outbound(self, packets: Iterable[bytes]) -> None:
        """Remember what our own UDP and SCTP packets ask for, so that the answers pass. Other packets cost a look."""
        for packet in packets:
            if len(packet) < 28 or packet[9 if packet[0] >> 4 == 4 else 6] not in (UDP, SCTP, FRAGMENT_HEADER):
                continue
            parsed = _parse(packet)
            if parsed is None or parsed.protocol not in (UDP, SCTP) or _unfit_destination(parsed.destination):
                continue
            protocol, source, destination, ports, _ = parsed
            flow = (protocol, destination, source, ports[2:] + ports[:2])
            self._flows[flow] = None
            self._flows.move_to_end(flow)
            if len(self._flows) > FLOWS_KEPT:
                self._flows.popitem(last=False)

    def capabilities(self, source: IPAddress, destination: IPAddress) -> dict[str, tuple[Any, ...]]:
        """The application capabilities that `source` has towards our address `destination` (CapsWithValues)."""
        return self.rules.capabilities(source, destination)

    def holders(self, name: str, destination: IPAddress) -> list[Routes[bool]]:
        """Who has an application capability towards our address `destination`: tables of sources. Shields keep out what
        peers send, not what they are to us."""
        return self._compiled.holders(name, destination)


def _is_unsigned(*nodes: Node | None) -> bool:
    return any(node is not None and node.unsigned_peer_api_only for node in nodes)


def _ruled(allowed: bool) -> Verdict:
    return Verdict(allowed, "rule")


def _parse(packet: bytes) -> _Packet | None:
    """None for what Go calls protocol "unknown": not IP, cut off, or without room for its transport header."""
    version = packet[0] >> 4
    if version == 4:
        return _parse4(packet)
    return _parse6(packet) if version == 6 and len(packet) >= 40 else None


def _parse4(packet: bytes) -> _Packet | None:
    length, fragment = int.from_bytes(packet[2:4], "big"), int.from_bytes(packet[6:8], "big")
    transport, protocol = (packet[0] & 0x0F) << 2, packet[9]
    if not 20 <= transport <= length <= len(packet):
        return None
    source, destination = packet[12:16], packet[16:20]
    offset, more = fragment & 0x1FFF, fragment & 0x2000
    if offset:
        return None if offset < MIN_FRAGMENT_OFFSET else _Packet(FRAGMENT, source, destination, b"", transport)
    if protocol in (0, FRAGMENT) or len(packet) - transport < _MIN_HEADER.get(protocol, 0):
        return None
    if protocol == TSMP and more:
        return None
    ports = packet[transport : transport + 4] if protocol in _PORTED else b""
    return _Packet(protocol, source, destination, ports, transport)


def _parse6(packet: bytes) -> _Packet | None:
    """A Fragment header is stepped over, or stands for its protocol, as fragments of IPv4 do."""
    protocol, transport = packet[6], 40
    if 40 + int.from_bytes(packet[4:6], "big") > len(packet):
        return None
    source, destination = packet[8:24], packet[24:40]
    if protocol == FRAGMENT_HEADER:
        transport += FRAGMENT_HEADER_SIZE
        if len(packet) < transport:
            return None
        protocol = packet[40]
        if offset := int.from_bytes(packet[42:44], "big") >> 3:
            return None if offset < MIN_FRAGMENT_OFFSET else _Packet(FRAGMENT, source, destination, b"", transport)
    if protocol in (0, FRAGMENT) or len(packet) - transport < _MIN_HEADER_6.get(protocol, 0):
        return None
    ports = packet[transport : transport + 4] if protocol in _PORTED else b""
    return _Packet(protocol, source, destination, ports, transport)


def _unfit_destination(address: bytes) -> str | None:
    """The reason why no packet to this address is for us, if it is multicast or link-local."""
    if len(address) == 4:
        if address[0] >> 4 == 0xE:
            return "multicast"
        return "link-local" if address[:2] == b"\xa9\xfe" and address != METADATA_SERVICE else None
    if address[0] == 0xFF:
        return "multicast"
    return "link-local" if address[0] == 0xFE and address[1] & 0xC0 == 0x80 else None


def _is_icmp_answer(packet: bytes, protocol: int, transport: int) -> bool:
    if len(packet) < transport + 8:
        return False
    kind, code = packet[transport], packet[transport + 1]
    return (kind, code) == (_ECHO_REPLY[protocol], 0) or kind in _ICMP_ERRORS[protocol]


def _is_ipv4_syn(packet: bytes) -> bool:
    """For packets that were parsed already."""
    return packet[0] >> 4 == 4 and packet[9] == TCP and bool(packet[((packet[0] & 0x0F) << 2) + 13] & _SYN)

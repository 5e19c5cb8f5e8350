"""Every line of the filter's table, the flows it remembers, and a slow twin over random packets."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from ipaddress import ip_address, ip_network
from typing import Any

import attrs
import pytest

from tests.netmap.packets import ACK, FIN, GRE, ICMP, IGMP, RST, SCTP, SYN, TCP, TSMP, UDP, icmp, ip, tcp, udp
from tsnet.base.keys import NodeKey
from tsnet.netmap.changes import Changes
from tsnet.netmap.filterrules import FilterRules
from tsnet.netmap.model import CapGrant, Destination, FilterRule, NetMap, Node, PortRange
from tsnet.netmap.packetfilter import FLOWS_KEPT, PacketFilter

US, US6, THEM, THEM6 = "100.64.0.1", "fd7a:115c:a1e0::1", "100.64.0.9", "fd7a:115c:a1e0::9"
OTHER = "100.64.0.8"
LOCAL = (ip_network(US), ip_network(US6), ip_network("192.168.7.0/24"))


def rule(source: str, destination: str, first: int, last: int, *protocols: int) -> FilterRule:
    return FilterRule((source,), (Destination(destination, PortRange(first, last)),), protocols)


RULES = (rule(THEM, "*", 80, 80), rule(THEM6, US6, 443, 443), rule(OTHER, US, 0, 65535, GRE))


def filtering(*rules: FilterRule) -> PacketFilter:
    packet_filter = PacketFilter()
    packet_filter.replace(FilterRules(rules), LOCAL)
    return packet_filter


def cut(packet: bytes, size: int) -> bytes:
    return packet[:size]


def with_ihl(packet: bytes, words: int) -> bytes:
    return bytes([0x40 | words]) + packet[1:]


def fragment6(packet: bytes, offset: int) -> bytes:
    """The IPv6 packet as a fragment of a larger one."""
    header = packet[6:7] + b"\0" + (offset << 3 | 1).to_bytes(2, "big") + bytes(4)
    size = int.from_bytes(packet[4:6], "big") + len(header)
    return packet[:4] + size.to_bytes(2, "big") + b"\x2c" + packet[7:40] + header + packet[40:]


TABLE: list[tuple[str, bytes, bool, str]] = [
    ("a keepalive", b"", True, "keepalive"),
    ("less than an IPv4 header", bytes([0x45]) + bytes(18), False, "short"),
    ("version 5", bytes([0x55]) + bytes(40), False, "unknown"),
    ("IPv6, less than its header", bytes([0x60]) + bytes(30), False, "unknown"),
    ("IPv4, cut off", cut(tcp(THEM, US, 80), 39), False, "unknown"),
    ("IPv6, cut off", cut(tcp(THEM6, US6, 443), 59), False, "unknown"),
    ("IPv4, header longer than the packet", with_ihl(ip(TCP, THEM, US), 6), False, "unknown"),
    ("IPv4, header of 16 bytes", with_ihl(tcp(THEM, US, 80), 4), False, "unknown"),
    ("protocol 0", ip(0, THEM, US, bytes(20)), False, "unknown"),
    ("protocol 255", ip(255, THEM, US, bytes(20)), False, "unknown"),
    ("IPv6 hop-by-hop", ip(0, THEM6, US6, bytes(20)), False, "unknown"),
    ("TCP without a whole header", ip(TCP, THEM, US, bytes(19)), False, "unknown"),
    ("TCP6 without a whole header", ip(TCP, THEM6, US6, bytes(19)), False, "unknown"),
    ("UDP without a whole header", ip(UDP, THEM, US, bytes(7)), False, "unknown"),
    ("ICMP without a whole header", ip(ICMP, THEM, US, bytes(3)), False, "unknown"),
    ("SCTP without a whole header", ip(SCTP, THEM, US, bytes(11)), False, "unknown"),
    ("IGMP without a whole header", ip(IGMP, THEM, US, bytes(7)), False, "unknown"),
    ("TSMP without a whole message", ip(TSMP, THEM, US, bytes(6)), False, "unknown"),
    ("a first fragment without the TCP header", ip(TCP, THEM, US, bytes(8), fragment=0x2000), False, "unknown"),
    ("a later fragment within the first headers", ip(TCP, THEM, US, bytes(64), fragment=9), False, "unknown"),
    ("a later fragment", ip(TCP, THEM, US, bytes(64), fragment=10), True, "fragment"),
    ("a later fragment to nobody", ip(TCP, THEM, "9.9.9.9", bytes(64), fragment=10), True, "fragment"),
    ("a later fragment to multicast", ip(UDP, THEM, "224.0.0.1", bytes(64), fragment=10), False, "multicast"),
    ("a fragmented TSMP", ip(TSMP, THEM, US, bytes(16), fragment=0x2000), False, "unknown"),
    ("a first fragment 6, open port", fragment6(tcp(THEM6, US6, 443), 0), True, "rule"),
    ("a first fragment 6, closed port", fragment6(tcp(THEM6, US6, 80), 0), False, "rule"),
    ("a first fragment 6 without the TCP header", fragment6(ip(TCP, THEM6, US6, bytes(19)), 0), False, "unknown"),
    ("a later fragment 6 within the first headers", fragment6(tcp(THEM6, US6, 80), 9), False, "unknown"),
    ("a later fragment 6", fragment6(tcp(THEM6, US6, 80), 10), True, "fragment"),
    ("a fragment 6 without its whole header", ip(44, THEM6, US6, bytes(7)), False, "unknown"),
    ("a fragment 6 within a fragment", fragment6(ip(44, THEM6, US6, bytes(8)), 0), False, "protocol"),
    ("multicast", udp(THEM, "239.1.2.3", 80), False, "multicast"),
    ("multicast 6", udp(THEM6, "ff02::fb", 443), False, "multicast"),
    ("link-local", udp(THEM, "169.254.1.1", 80), False, "link-local"),
    ("link-local 6", udp(THEM6, "fe80::1", 443), False, "link-local"),
    ("the metadata service, not ours", udp(THEM, "169.254.169.254", 80), False, "destination"),
    ("an address that is not ours", tcp(THEM, "100.64.0.2", 80), False, "destination"),
    ("even a non-SYN to it", tcp(THEM, "100.64.0.2", 80, ACK), False, "destination"),
    ("an address of a route of ours", tcp(THEM, "192.168.7.9", 80), True, "rule"),
    ("an echo reply", icmp(OTHER, US, 0), True, "icmp answer"),
    ("an echo reply with a code", icmp("100.64.0.7", US, 0, 1), False, "rule"),
    ("an echo reply of four bytes", ip(ICMP, "100.64.0.7", US, bytes(4)), False, "rule"),
    ("ICMP unreachable", icmp("100.64.0.7", US, 3, 4), True, "icmp answer"),
    ("ICMP time exceeded", icmp("100.64.0.7", US, 11), True, "icmp answer"),
    ("ICMP parameter problem", icmp("100.64.0.7", US, 12), True, "icmp answer"),
    ("ICMP redirect", icmp("100.64.0.7", US, 5), False, "rule"),
    ("an echo request, any port open", icmp(THEM, US, 8), True, "rule"),
    ("an echo request, another protocol open", icmp(OTHER, US, 8), True, "rule"),
    ("an echo request, nothing open", icmp("100.64.0.7", US, 8), False, "rule"),
    ("ICMPv6 echo reply", icmp("fd7a::7", US6, 129), True, "icmp answer"),
    ("ICMPv6 unreachable", icmp("fd7a::7", US6, 1), True, "icmp answer"),
    ("ICMPv6 packet too big", icmp("fd7a::7", US6, 2), True, "icmp answer"),
    ("ICMPv6 parameter problem", icmp("fd7a::7", US6, 4), True, "icmp answer"),
    ("ICMPv6 echo request", icmp(THEM6, US6, 128), True, "rule"),
    ("ICMPv6 neighbour solicitation, nothing open", icmp("fd7a::7", US6, 135), False, "rule"),
    ("TCP SYN, open port", tcp(THEM, US, 80), True, "rule"),
    ("TCP SYN, closed port", tcp(THEM, US, 81), False, "rule"),
    ("TCP SYN, another source", tcp(OTHER, US, 80), False, "rule"),
    ("TCP SYN and ACK", tcp("100.64.0.7", US, 81, SYN | ACK), True, "tcp non-syn"),
    ("TCP ACK", tcp("100.64.0.7", US, 81, ACK), True, "tcp non-syn"),
    ("TCP RST", tcp("100.64.0.7", US, 81, RST), True, "tcp non-syn"),
    ("TCP SYN and FIN is a SYN", tcp("100.64.0.7", US, 81, SYN | FIN), False, "rule"),
    ("TCP without flags", tcp("100.64.0.7", US, 81, 0), True, "tcp non-syn"),
    ("TCP6 SYN, open port", tcp(THEM6, US6, 443), True, "rule"),
    ("TCP6 SYN, closed port", tcp(THEM6, US6, 80), False, "rule"),
    ("TCP6 ACK", tcp("fd7a::7", US6, 80, ACK), True, "tcp non-syn"),
    ("UDP, open port", udp(THEM, US, 80), True, "rule"),
    ("UDP, closed port", udp(THEM, US, 81), False, "rule"),
    ("SCTP, no rule names it", udp(THEM, US, 80, protocol=SCTP), False, "rule"),
    ("TSMP", ip(TSMP, "100.64.0.7", US, bytes(7)), True, "tsmp"),
    ("TSMP 6", ip(TSMP, "fd7a::7", US6, bytes(7)), True, "tsmp"),
    ("GRE, named for all ports", ip(GRE, OTHER, US, bytes(4)), True, "rule"),
    ("GRE, not named", ip(GRE, THEM, US, bytes(4)), False, "protocol"),
    ("ICMPv6 within IPv4 is just a protocol", ip(58, THEM, US, bytes(8)), False, "protocol"),
    ("padding behind the packet", tcp(THEM, US, 80) + bytes(8), True, "rule"),
]


@pytest.mark.parametrize(("packet", "accepted", "reason"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_one_packet(packet: bytes, accepted: bool, reason: str) -> None:
    packet_filter = filtering(*RULES)
    assert packet_filter.verdict(packet) == (accepted, reason)


@pytest.mark.parametrize(("packet", "accepted", "reason"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_admit_says_what_verdict_says(packet: bytes, accepted: bool, reason: str) -> None:
    packet_filter = filtering(*RULES)
    accepted, reason = packet_filter.verdict(packet)
    assert packet_filter.admit([packet])[0] == ([packet] if accepted else [])
    assert packet_filter.dropped == ({} if accepted else {reason: 1})


def test_the_metadata_service_may_be_a_route() -> None:
    packet_filter = PacketFilter()
    packet_filter.replace(FilterRules([rule("*", "*", 0, 65535)]), [ip_network("169.254.169.254")])
    assert packet_filter.verdict(tcp(THEM, "169.254.169.254", 80)).accepted


def test_an_address_that_no_packet_may_have_is_no_short_path() -> None:
    packet_filter = PacketFilter()
    packet_filter.replace(FilterRules(()), [ip_network("169.254.1.1"), ip_network("ff02::1")])
    assert packet_filter.admit([tcp(THEM, "169.254.1.1", 80, ACK), tcp(THEM6, "ff02::1", 80, ACK)]) == ([], [])


def test_somebody_may_ask_without_a_packet() -> None:
    packet_filter = PacketFilter()
    packet_filter.replace(
        FilterRules([rule("*", "*", 80, 80, TCP)]), [ip_network("100.64.0.1/32"), ip_network("169.254.1.1")]
    )
    source, own, other, local = (
        ip_network(text).network_address.packed for text in ("100.64.0.9", "100.64.0.1", "100.64.0.2", "169.254.1.1")
    )
    assert packet_filter.allows(TCP, source, own, 80)
    assert not packet_filter.allows(TCP, source, own, 81)
    assert not packet_filter.allows(UDP, source, own, 80)
    assert not packet_filter.allows(TCP, source, other, 80)
    assert not packet_filter.allows(TCP, source, local, 80)
    assert not packet_filter.dropped


def test_a_batch_keeps_its_order_and_counts_its_drops() -> None:
    packet_filter = filtering(*RULES)
    good = [tcp(THEM, US, 80), tcp(THEM, US, 999, ACK), tcp(THEM6, US6, 9, ACK), tcp(THEM, US, 80, ACK | FIN)]
    bad = [tcp(THEM, US, 81), udp(THEM, US, 81), tcp(THEM6, US6, 81), tcp(THEM, "9.9.9.9", 80), b"x"]
    admitted, rejected = packet_filter.admit([bad[0], *good[:2], *bad[1:], *good[2:]])
    assert admitted == good
    assert rejected == [bad[0], bad[3]], "IPv4 SYNs that the other side may be told about"
    assert packet_filter.dropped == {"rule": 3, "destination": 1, "short": 1}


def test_a_bare_filter_denies() -> None:
    packet_filter = PacketFilter()
    assert packet_filter.admit([tcp(THEM, US, 80), tcp(THEM, US, 80, ACK), icmp(THEM, US, 0)])[0] == []


NODE = Node(1, "n1", "us.tail.example", NodeKey(bytes(32)), addresses=LOCAL[:2])
OPEN = NetMap(NODE, packet_filter=(rule("*", "*", 0, 65535),))


def apply(packet_filter: PacketFilter, netmap: NetMap, before: NetMap | None = None, **options: Any) -> None:
    packet_filter.apply(Changes.between(before, netmap), **options)


def test_a_netmap_opens_and_one_without_rules_closes() -> None:
    packet_filter = PacketFilter()
    apply(packet_filter, OPEN)
    assert packet_filter.verdict(tcp(THEM, US, 80)).accepted
    assert not packet_filter.verdict(tcp(THEM, "192.168.7.9", 80)).accepted
    apply(packet_filter, OPEN, OPEN, routes=LOCAL[2:])
    assert packet_filter.verdict(tcp(THEM, "192.168.7.9", 80)).accepted
    for rules in (None, ()):
        apply(packet_filter, attrs.evolve(OPEN, packet_filter=rules), OPEN)
        assert not packet_filter.verdict(tcp(THEM, US, 80)).accepted
        apply(packet_filter, OPEN, attrs.evolve(OPEN, packet_filter=rules))
        assert packet_filter.verdict(tcp(THEM, US, 80)).accepted


def test_rules_are_compiled_when_control_has_sent_others() -> None:
    packet_filter = PacketFilter()
    apply(packet_filter, OPEN)
    rules = packet_filter.rules
    again = attrs.evolve(OPEN, packet_filter=(rule("*", "*", 0, 65535),), peers={9: peer(9)})
    apply(packet_filter, again, OPEN)
    assert packet_filter.rules is rules
    apply(packet_filter, attrs.evolve(again, packet_filter=(rule("*", "*", 0, 80),)), again)
    assert packet_filter.rules is not rules


def peer(number: int, **fields: Any) -> Node:
    own = (ip_network(f"100.64.0.{number}"),)
    return Node(number, f"n{number}", f"n{number}.t", NodeKey(bytes([number]) * 32), allowed_ips=own, **fields)


def test_capability_sources_look_at_the_sender_now() -> None:
    capabilities: dict[bytes, set[str]] = {}
    packet_filter = PacketFilter(lambda source: capabilities.get(source, set()))
    apply(packet_filter, attrs.evolve(OPEN, packet_filter=(rule("cap:blue", "*", 0, 65535),)))
    for told in (set(), {"blue", "x"}, {"x"}):
        capabilities[ip_address(THEM).packed] = told
        for packet in (tcp(THEM, US, 80), udp(THEM, US, 80), icmp(THEM, US, 8)):
            assert packet_filter.verdict(packet).accepted is ("blue" in told)


@pytest.mark.parametrize(
    ("source", "stands"),
    [("*", False), ("100.64.0.0/24", False), ("100.64.0.5-100.64.0.9", False), ("100.64.0.2", True), ("::/0", True)],
)
def test_a_filter_that_admits_peers_outside_the_lock_is_refused_whole(source: str, stands: bool) -> None:
    """As long as there are such peers, and whichever comes first."""
    rules = attrs.evolve(OPEN, packet_filter=(rule(source, "*", 0, 65535), rule(THEM, "*", 0, 65535)))
    with_peer = attrs.evolve(rules, peers={7: peer(7, unsigned_peer_api_only=True)})
    packet_filter, late = PacketFilter(), PacketFilter()
    apply(packet_filter, rules)
    apply(packet_filter, with_peer, rules)
    apply(late, attrs.evolve(with_peer, packet_filter=None))
    apply(late, with_peer, attrs.evolve(with_peer, packet_filter=None))
    for some in (packet_filter, late):
        assert some.verdict(tcp(THEM, US, 80)).accepted is stands
        apply(some, rules, with_peer)
        assert some.verdict(tcp(THEM, US, 80)).accepted


def test_a_grant_to_peers_outside_the_lock_is_no_breach() -> None:
    grant = FilterRule(("*",), grants=(CapGrant((ip_network("0.0.0.0/0"),), {"a": ()}),))
    packet_filter = PacketFilter()
    peers = {7: peer(7, unsigned_peer_api_only=True)}
    apply(packet_filter, attrs.evolve(OPEN, packet_filter=(grant, rule(THEM, "*", 0, 65535)), peers=peers))
    assert packet_filter.verdict(tcp(THEM, US, 80)).accepted


def test_raising_the_shields_forgets_flows() -> None:
    """A service's answers had made flows of its callers; those callers must not pass any more."""
    packet_filter = PacketFilter()
    apply(packet_filter, OPEN)
    packet_filter.note_outbound([udp(US, THEM, 53, 4000)])
    answer = udp(THEM, US, 4000, 53)
    packet_filter.set_shields_up(True)
    assert not packet_filter.verdict(answer).accepted
    packet_filter.note_outbound([udp(US, THEM, 53, 4000)])
    packet_filter.set_shields_up(True)
    assert packet_filter.verdict(answer).accepted


def test_shields_up_keeps_replies_only() -> None:
    packet_filter = PacketFilter()
    packet_filter.set_shields_up(True)
    apply(packet_filter, OPEN)
    assert packet_filter.shields_up
    packet_filter.note_outbound([udp(US, THEM, 53, 4000)])
    verdicts = [tcp(THEM, US, 80), udp(THEM, US, 80), icmp(THEM, US, 8), tcp(THEM, US, 80, ACK), icmp(THEM, US, 0)]
    assert [packet_filter.verdict(packet).accepted for packet in verdicts] == [False, False, False, True, True]
    assert packet_filter.verdict(udp(THEM, US, 4000, 53)) == (True, "reply")
    packet_filter.set_shields_up(False)
    assert packet_filter.verdict(tcp(THEM, US, 80)).accepted


def test_a_jailed_peer_opens_nothing() -> None:
    packet_filter = PacketFilter()
    apply(packet_filter, OPEN)
    packets = [tcp(THEM, US, 80), tcp(THEM, US, 80, ACK), udp(THEM, US, 80)]
    assert packet_filter.admit(packets, jailed=True) == ([packets[1]], [packets[0]])


@pytest.mark.parametrize("protocol", [UDP, SCTP])
@pytest.mark.parametrize(("ours", "theirs"), [(US, THEM), (US6, THEM6)])
def test_an_answer_to_our_flow_passes(protocol: int, ours: str, theirs: str) -> None:
    packet_filter = filtering()
    packet_filter.note_outbound([udp(ours, theirs, 53, 4000, protocol=protocol)])

    def verdict(source: str, to: int, port: int) -> bool:
        return packet_filter.verdict(udp(source, ours, to, port, protocol=protocol)).accepted

    assert verdict(theirs, 4000, 53)
    assert not verdict(theirs, 4001, 53)
    assert not verdict(theirs, 4000, 54)
    assert not verdict(OTHER if ":" not in ours else "fd7a:115c:a1e0::8", 4000, 53)


def test_a_flow_of_one_protocol_opens_no_other() -> None:
    packet_filter = filtering()
    packet_filter.note_outbound([udp(US, THEM, 53, 4000)])
    assert not packet_filter.verdict(udp(THEM, US, 4000, 53, protocol=SCTP)).accepted


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        tcp(US, THEM, 80),
        icmp(US, THEM, 8),
        ip(UDP, US, THEM, bytes(64), fragment=10),
        udp(US, "224.0.0.1", 5353, 5353),
        cut(udp(US, THEM, 53, 4000), 31),
        bytes([0x55]) + bytes(5) + bytes([UDP]) + bytes(40),
    ],
)
def test_other_packets_leave_no_flow(packet: bytes) -> None:
    packet_filter = filtering()
    packet_filter.note_outbound([packet])
    assert not packet_filter._flows


def test_the_least_recently_used_flow_goes_first() -> None:
    packet_filter = filtering()
    packet_filter.note_outbound(udp(US, THEM, 53, port) for port in range(1, FLOWS_KEPT + 1))
    assert packet_filter.verdict(udp(THEM, US, 1, 53)).reason == "reply"  # a use
    packet_filter.note_outbound([udp(US, THEM, 53, 3)])  # a use
    packet_filter.note_outbound(udp(US, THEM, 53, port) for port in (9001, 9002))
    kept = [port for port in range(1, 6) if packet_filter.verdict(udp(THEM, US, port, 53)).accepted]
    assert kept == [1, 3, 5]
    assert len(packet_filter._flows) == FLOWS_KEPT


def test_new_rules_keep_the_flows() -> None:
    packet_filter = filtering(*RULES)
    packet_filter.note_outbound([udp(US, THEM, 53, 4000)])
    packet_filter.replace(FilterRules(()), LOCAL)
    assert packet_filter.verdict(udp(THEM, US, 4000, 53)) == (True, "reply")
    assert not packet_filter.verdict(tcp(THEM, US, 80)).accepted


def test_capabilities_come_from_the_rules() -> None:
    grant = FilterRule((THEM,), grants=(CapGrant((ip_network(US),), {"example.com/cap/admin": (True,)}),))
    packet_filter = filtering(grant)
    assert packet_filter.capabilities(ip_address(THEM), ip_address(US)) == {"example.com/cap/admin": (True,)}
    assert packet_filter.capabilities(ip_address(OTHER), ip_address(US)) == {}


@pytest.mark.parametrize("packet", [row[1] for row in TABLE], ids=[row[0] for row in TABLE])
def test_no_bytes_raise(packet: bytes) -> None:
    packet_filter = filtering(*RULES)
    for size in range(len(packet) + 1):
        packet_filter.admit([packet[:size]])
        packet_filter.note_outbound([packet[:size]])
    for index in range(min(len(packet), 60)):
        for bit in (0x01, 0x02, 0x10, 0x80):
            flipped = packet[:index] + bytes([packet[index] ^ bit]) + packet[index + 1 :]
            accepted, _ = packet_filter.verdict(flipped)
            assert packet_filter.admit([flipped])[0] == ([flipped] if accepted else [])


# --- the slow twin ------------------------------------------------------------------------------------------------

V4 = [US, "192.168.7.5", THEM, OTHER, "100.64.0.7", "8.8.8.8"]
V6 = [US6, THEM6, "fd7a:115c:a1e0::8", "2001:db8::1"]
SOURCES = ["*", THEM, "100.64.0.8/31", "100.64.0.7-100.64.0.8", "fd7a:115c:a1e0::8/127", "0.0.0.0/0", "::/0", THEM6]
DESTINATIONS = ["*", US, US6, "192.168.7.0/24", "100.64.0.0/10"]


def within(text: str, address: str) -> bool:
    """The obvious meaning of a source or destination."""
    ip = ip_address(address)
    if text == "*":
        return True
    if "-" in text:
        first, last = (ip_address(end) for end in text.split("-"))
        return ip.version == first.version and int(first) <= int(ip) <= int(last)
    net = ip_network(text)
    return ip.version == net.version and ip in net


def slow_verdict(rules: Sequence[FilterRule], flows: set[object], kind: str, src: str, dst: str, port: int) -> bool:
    """kind: syn, ack, udp, echo or gre; port 5000 on the other side."""
    if not any(ip_address(dst).version == net.version and ip_address(dst) in net for net in LOCAL):
        return False
    if kind == "ack" or (kind == "udp" and (src, dst, port) in flows):
        return True
    number = {"syn": TCP, "udp": UDP, "gre": GRE}.get(kind)
    for one in rules:
        for target in one.destinations:
            if not (any(within(source, src) for source in one.sources) and within(target.ip, dst)):
                continue
            ports = (target.ports.first, target.ports.last)
            named = number in (one.protocols or (6, 17, 1, 58))
            if kind == "echo" or (kind == "gre" and named and ports == (0, 65535)):
                return True
            if kind in ("syn", "udp") and named and ports[0] <= port <= ports[1]:
                return True
    return False


BUILD: dict[str, Callable[[str, str, int], bytes]] = {
    "syn": lambda src, dst, port: tcp(src, dst, port),
    "ack": lambda src, dst, port: tcp(src, dst, port, ACK),
    "udp": lambda src, dst, port: udp(src, dst, port),
    "echo": lambda src, dst, port: icmp(src, dst, 128 if ":" in src else 8),
    "gre": lambda src, dst, port: ip(GRE, src, dst, bytes(8)),
}


@pytest.mark.parametrize("seed", range(20))
def test_the_twin_agrees(seed: int) -> None:
    rng = random.Random(seed)
    rules = [
        FilterRule(
            tuple(rng.sample(SOURCES, rng.randrange(1, 3))),
            tuple(Destination(rng.choice(DESTINATIONS), PortRange(*rng.choice([(0, 65535), (80, 90), (443, 443)])))
                  for _ in range(rng.randrange(1, 3))),
            rng.choice([(), (), (TCP,), (UDP,), (GRE, ICMP)]),
        )
        for _ in range(rng.randrange(4))
    ]  # fmt: skip
    packet_filter, flows = filtering(*rules), set[object]()
    for _ in range(150):
        family = rng.choice([V4, V6])
        kind, src, dst = rng.choice(list(BUILD)), rng.choice(family), rng.choice(family)
        port = rng.choice([22, 80, 85, 443])
        if rng.random() < 0.2:
            packet_filter.note_outbound([udp(dst, src, 5000, port)])
            flows.add((src, dst, port))
        expected = slow_verdict(rules, flows, kind, src, dst, port)
        packet = BUILD[kind](src, dst, port)
        assert packet_filter.admit([packet])[0] == ([packet] if expected else []), (kind, src, dst, port, rules)


def test_whom_it_lets_in_at_some_port() -> None:
    packet_filter = filtering(*RULES)

    def lets_in(source: str, destination: str = US) -> bool:
        return packet_filter.lets_in(ip_address(source).packed, ip_address(destination).packed)

    assert lets_in(THEM)
    assert lets_in(THEM6, US6)
    assert not lets_in("100.64.0.7")
    assert not lets_in(THEM, "100.64.0.200"), "that is no address of ours"
    packet_filter.set_shields_up(True)
    assert not lets_in(THEM)

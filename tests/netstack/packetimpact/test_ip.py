"""IP: identification, reassembly, options, sources that cannot be, UDP and its errors."""

from __future__ import annotations

from ipaddress import ip_address
from itertools import permutations
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import HBHOptUnknown, ICMPv6ParamProblem, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop
from scapy.packet import Raw

from netstack import fragments
from netstack.wire import ipv4, ipv6, tcp, udp
from tests.netstack.packetimpact.states import NOW
from tests.netstack.pair import A4, A6, B4, B6, drain, new_stack, packets_of
from tests.netstack.peer import Peer


def test_ipv4_identification_is_unique_over_fragments_of_different_datagrams() -> None:
    stack = new_stack(A4)
    endpoint = stack.open_udp(5)
    for _ in range(20):
        endpoint.send(bytes(3000), NOW, B4, 9)
    packets = packets_of(drain(stack, NOW))
    assert len({packet[4:6] for packet in packets}) == 20


def test_ipv4_identification_over_retransmits() -> None:
    """RFC 6864: with DF a segment is atomic, its identification means nothing; else it would have to be unique."""
    stack = new_stack(A4)
    stack.connect(B4, 80, NOW)
    packets: list[bytes] = []
    now = NOW
    while len(packets) < 5:
        packets += packets_of(drain(stack, now))
        now = max(now, stack.deadline())
    assert len({packet[24:28] for packet in packets}) == 1  # the same SYN
    assert {(packet[4:6], packet[6:8]) for packet in packets} == {(b"\0\0", b"\x40\0")}


def three_fragments(peer: Peer, v6: bool, payload: bytes, room: int) -> list[bytes]:
    """A datagram from our port 9 to port 5, in order."""
    ours, theirs = peer.ours.packed, peer.theirs.packed
    packets: list[bytes] = []
    for offset, more, piece in fragments.cut(udp.build(ours, 9, theirs, 5, payload), room):
        if v6:
            between = ipv6.fragment_header(udp.PROTOCOL, offset, more=more, identification=7)
            packets.append(ipv6.header(ours, theirs, ipv6.FRAGMENT, len(between) + len(piece)) + between + piece)
        else:
            field = offset >> 3 | (ipv4.MORE_FRAGMENTS if more else 0)
            head = ipv4.header(ours, theirs, udp.PROTOCOL, len(piece), identification=7, fragment=field)
            packets.append(head + piece)
    assert len(packets) == 3
    return packets


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("v6", [False, True])
def test_reassembly_in_all_orders(order: tuple[int, ...], v6: bool) -> None:
    peer = Peer(v6=v6)
    endpoint = peer.stack.open_udp(5)
    packets = three_fragments(peer, v6, bytes(range(250)) * 12, 1232)
    peer.stack.receive([("b", [packets[index] for index in order])], peer.now)
    received = endpoint.receive()
    assert received is not None
    assert received.payload == bytes(range(250)) * 12


@pytest.mark.parametrize("v6", [False, True])
def test_reassembly_of_an_overlap_forgets_the_datagram(v6: bool) -> None:
    """RFC 5722, and for IPv4 the same: nobody can tell which of two contradicting pieces is the right one."""
    peer = Peer(v6=v6)
    endpoint = peer.stack.open_udp(5)
    first, middle, last = three_fragments(peer, v6, bytes(64), 24)
    forged = middle[:-24] + b"\xff" * 24
    peer.stack.receive([("b", [first, middle, forged, last])], peer.now)
    assert endpoint.receive() is None
    assert peer.stack.dropped["fragment: overlap"] == 1


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("v6", [False, True])
def test_reassembly_timeout_is_told_by_icmp(v6: bool, first: bool) -> None:
    """But only to whom a first fragment came from: without it there are no ports to quote."""
    peer = Peer(v6=v6)
    pieces = three_fragments(peer, v6, bytes(64), 24)
    peer.stack.receive([("b", pieces[:2] if first else pieces[1:])], peer.now)
    answers = []
    while peer.stack.deadline() <= peer.now + 100:
        peer.clock.advance_to(peer.stack.deadline())
        answers += packets_of(drain(peer.stack, peer.now))
    assert peer.now == NOW + (60 if v6 else 30)
    assert len(answers) == first
    if answers:
        scapy = IPv6(answers[0]) if v6 else IP(answers[0])
        message = scapy.payload
        assert (message.type, message.code) == ((3, 1) if v6 else (11, 1))
        assert pieces[0] in answers[0]


@pytest.mark.parametrize("header", [IPv6ExtHdrHopByHop, IPv6ExtHdrDestOpt])
@pytest.mark.parametrize(
    ("option", "taken", "told"), [(0x1E, True, False), (0x5E, False, False), (0x9E, False, True), (0xDE, False, True)]
)
def test_unknown_option_actions(header: Any, option: int, taken: bool, told: bool) -> None:
    """The option's two highest bits: pass over, drop, drop and tell, drop and tell unless multicast (RFC 8200 4.2)."""
    peer = Peer(v6=True)
    endpoint = peer.stack.open_udp(5)
    options = header(options=[HBHOptUnknown(otype=option, optdata=b"abcd")])
    packet = bytes(IPv6(src=str(peer.ours), dst=str(A6)) / options / UDP(sport=9, dport=5) / Raw(b"x"))
    peer.stack.receive([("b", [packet])], peer.now)
    assert endpoint.readable is taken
    answers = packets_of(drain(peer.stack, peer.now))
    assert len(answers) == told
    if told:
        problem = IPv6(answers[0])[ICMPv6ParamProblem]
        assert (problem.code, problem.ptr) == (2, 42)
        assert answers[0].endswith(packet)
    assert peer.stack.dropped == ({} if taken else {"ipv6: unknown option": 1})


@pytest.mark.parametrize("source", ["224.0.0.9", "239.255.255.250", "255.255.255.255", "ff02::1"])
def test_udp_from_a_multicast_source_is_dropped(source: str) -> None:
    stack = new_stack(A4, A6)
    endpoint = stack.open_udp(5)
    here, there = (A6 if ":" in source else A4).packed, ip_address(source).packed
    version = ipv6 if ":" in source else ipv4
    datagram = udp.build(there, 9, here, 5, b"x")
    stack.receive([("b", [version.header(there, here, udp.PROTOCOL, len(datagram)) + datagram])], NOW)
    assert not endpoint.readable
    assert packets_of(drain(stack, NOW)) == []
    assert stack.dropped == {"ip: martian source": 1}


def test_tcp_from_a_multicast_source_is_dropped() -> None:
    stack = new_stack(A4)
    packet = tcp.build(ip_address("224.0.0.9").packed, 1, A4.packed, 80, seq=1, flags=tcp.SYN)
    stack.receive([("b", [packet])], NOW)
    assert packets_of(drain(stack, NOW)) == []
    assert stack.dropped == {"ip: martian source": 1}


@pytest.mark.parametrize(("code", "error"), [(3, "refused"), (1, "unreachable"), (2, "refused")])
@pytest.mark.parametrize("connected", [True, False])
def test_udp_icmp_error_propagation(code: int, error: str, connected: bool) -> None:
    """To a connected socket, and to no other: that would not know whom it is about."""
    stack = new_stack(A4)
    endpoint = stack.open_udp(5)
    if connected:
        endpoint.connect(B4, 9)
    endpoint.send(b"x", NOW, *((None, None) if connected else (B4, 9)))
    (sent,) = packets_of(drain(stack, NOW))
    message = bytes(IP(src=str(B4), dst=str(A4)) / ICMP(type=3, code=code) / Raw(sent))
    stack.receive([("b", [message])], NOW)
    assert endpoint.take_error() == (error if connected else None)
    assert endpoint.take_error() is None


@pytest.mark.parametrize("bound", [False, True])
def test_udp_at_any_address(bound: bool) -> None:
    """One that is bound to none takes what comes to every own address, and sees which it came from."""
    stack = new_stack(A4, A6)
    endpoint = stack.open_udp(5, address=A4 if bound else None)
    for version, source, destination in ((ipv4, B4, A4), (ipv6, B6, A6)):
        datagram = udp.build(source.packed, 9, destination.packed, 5, b"x")
        packet = version.header(source.packed, destination.packed, udp.PROTOCOL, len(datagram)) + datagram
        stack.receive([("b", [packet])], NOW)
    received = [endpoint.receive() for _ in range(1 if bound else 2)]
    ends = [(each.address, each.port, each.local) for each in received if each is not None]
    assert ends == [(B4, 9, A4), (B6, 9, A6)][: len(received)]
    assert endpoint.receive() is None

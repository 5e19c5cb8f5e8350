"""Echoes answered and asked; errors made, limited, and passed on."""

from __future__ import annotations

from typing import Any

import pytest

from netstack import AddressNotAvailable, EndpointClosed, MessageTooLong
from netstack.ip import IPAddress
from netstack.wire import icmp
from netstack.wire.packet import build_packet
from tests.netstack.oracle import (
    ICMP,
    IP,
    UDP,
    ICMPerror,
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    IPerror,
    IPv6,
    Raw,
)
from tests.netstack.pair import A4, A6, B4, B6, Pair, drain, new_stack, packets_of
from tests.netstack.peer import Peer

FAMILIES = pytest.mark.parametrize("theirs", [B4, B6], ids=["v4", "v6"])
NOW = 1000.0


@FAMILIES
@pytest.mark.parametrize("size", [0, 56, 3000])
def test_ping(theirs: IPAddress, size: int) -> None:
    pair = Pair(delay=0.02)
    endpoint = pair.a.ping(theirs)
    payload = bytes(n & 0xFF for n in range(size))
    assert endpoint.send(pair.now, 7, payload)
    pair.run(until=lambda: endpoint.readable)
    assert pair.a.take_ready() == [endpoint]
    reply = endpoint.receive()
    assert reply is not None
    assert (reply.sequence, reply.payload, reply.error) == (7, payload, None)
    assert reply.rtt == pytest.approx(0.04)
    assert endpoint.receive() is None


def test_ping_oneself() -> None:
    stack = new_stack(A4)
    endpoint = stack.ping(A4)
    endpoint.send(NOW)
    assert drain(stack, NOW) == []
    assert endpoint.readable


def test_answers_that_nobody_asked_for_are_counted() -> None:
    pair = Pair()
    endpoint = pair.a.ping(B4)
    endpoint.send(pair.now, 1)
    pair.run()
    assert endpoint.receive() is not None
    again = pair.trace[-1][2]
    pair.a.receive([("b", [again])], pair.now)
    assert endpoint.receive() is None
    endpoint.close()
    endpoint.close()
    pair.a.receive([("b", [again])], pair.now)
    assert pair.a.dropped == {"icmp: answers nothing": 2}
    with pytest.raises(EndpointClosed):
        endpoint.send(pair.now)


def test_what_cannot_be() -> None:
    stack = new_stack(A4)
    with pytest.raises(AddressNotAvailable):
        stack.ping(B6)
    with pytest.raises(MessageTooLong):
        stack.ping(B4).send(NOW, 1, bytes(65_500))


def test_unanswered_requests_are_bounded() -> None:
    stack = new_stack(A4)
    endpoint = stack.ping(B4)
    for sequence in range(5000):
        endpoint.send(NOW, sequence)
        drain(stack, NOW)
    assert len(endpoint._asked) <= 1024


@pytest.mark.parametrize("code", [0, 1, 3, 13])
def test_an_error_about_a_request_is_its_answer(code: int) -> None:
    stack = new_stack(A4)
    endpoint = stack.ping(B4)
    endpoint.send(NOW, 5)
    (request,) = packets_of(drain(stack, NOW))
    error = bytes(IP(src="100.64.0.9", dst=str(A4)) / ICMP(type=3, code=code) / Raw(request[:28]))
    stack.receive([("x", [error])], NOW)
    reply = endpoint.receive()
    assert reply is not None
    assert (reply.sequence, reply.error) == (5, "refused" if code == 3 else "unreachable")


def test_port_unreachable_as_scapy_reads_it() -> None:
    stack = new_stack(A4, A6)
    v4 = bytes(IP(src=str(B4), dst=str(A4)) / UDP(sport=5, dport=9) / Raw(b"x" * 1000))
    v6 = bytes(IPv6(src=str(B6), dst=str(A6)) / UDP(sport=5, dport=9) / Raw(b"x" * 1200))
    stack.receive([("b", [v4, v6])], NOW)
    first, second = packets_of(drain(stack, NOW))
    answer: Any = IP(first)
    assert (answer[ICMP].type, answer[ICMP].code, answer[IPerror].dst) == (3, 3, str(A4))
    assert bytes(answer[IPerror])[:28] == v4[:28]
    assert len(first) <= 576
    answer = IPv6(second)
    assert answer[ICMPv6DestUnreach].code == 4
    assert len(second) <= 1280
    assert ICMPerror not in answer


def test_an_unknown_protocol_is_refused() -> None:
    stack = new_stack(A4, A6)
    v4 = bytes(IP(src=str(B4), dst=str(A4), proto=200) / Raw(b"x"))
    v6 = bytes(IPv6(src=str(B6), dst=str(A6), nh=200) / Raw(b"x"))
    stack.receive([("b", [v4, v6])], NOW)
    first, second = packets_of(drain(stack, NOW))
    assert (IP(first)[ICMP].type, IP(first)[ICMP].code) == (3, 2)
    assert second[40:42] == b"\x04\x01"
    assert second[44:48] == b"\0\0\0\x06"
    assert stack.dropped == {"ip: unknown protocol": 2}


def test_errors_are_limited() -> None:
    stack = new_stack(A4)
    packet = bytes(IP(src=str(B4), dst=str(A4)) / UDP(sport=5, dport=9))
    stack.receive([("b", [packet] * 500)], NOW)
    assert len(packets_of(drain(stack, NOW))) == 50
    assert stack.dropped["icmp: rate limit"] == 450
    stack.receive([("b", [packet] * 500)], NOW + 0.0105)
    assert len(packets_of(drain(stack, NOW + 0.0105))) == 10


@pytest.mark.parametrize("kind", [3, 11, 12])
def test_no_error_about_an_error(kind: int) -> None:
    stack = new_stack(A4)
    quoted = bytes(IP(src=str(A4), dst=str(B4)) / UDP(sport=5, dport=9))
    stack.receive([("b", [bytes(IP(src=str(B4), dst=str(A4)) / ICMP(type=kind) / Raw(quoted))])], NOW)
    assert drain(stack, NOW) == []


@pytest.mark.parametrize("length", range(0, 48))
def test_quotes_cut_short_do_no_harm(length: int) -> None:
    peer = Peer()
    peer.dial()
    syn = peer.packet("S")
    for kind, code in ((3, 1), (3, 4), (11, 0)):
        error = bytes(IP(src=str(B4), dst=str(A4)) / ICMP(type=kind, code=code) / Raw(syn[:length]))
        peer.stack.receive([("b", [error])], peer.now)
    assert peer.connection.state == "SYN_SENT"


@pytest.mark.parametrize(
    ("code", "error"), [(0, "unreachable"), (1, "unreachable"), (3, "refused"), (13, "unreachable")]
)
def test_unreachable_while_connecting_ends_it(code: int, error: str) -> None:
    peer = Peer()
    peer.connection = peer.stack.connect(B4, 80, peer.now)
    (syn,) = packets_of(drain(peer.stack, peer.now))
    message = bytes(IP(src="100.64.0.9", dst=str(A4)) / ICMP(type=3, code=code) / Raw(syn[:28]))
    peer.stack.receive([("b", [message])], peer.now)
    assert peer.connection.error == error


def test_unreachable_does_not_end_what_is_established() -> None:
    peer = Peer()
    peer.connect()
    peer.connection.write(b"data", peer.now)
    (data,) = packets_of(drain(peer.stack, peer.now))
    message = bytes(IP(src="100.64.0.9", dst=str(A4)) / ICMP(type=3, code=1) / Raw(data[:28]))
    peer.stack.receive([("b", [message])], peer.now)
    assert peer.connection.state == "ESTABLISHED"
    peer.wait(2000)
    assert peer.connection.error == "unreachable"


@pytest.mark.parametrize("v6", [False, True])
def test_a_path_that_is_too_narrow_makes_segments_smaller(v6: bool) -> None:
    pair = Pair(mtu=1500)
    client, server = pair.connected(v6=v6)
    client.write(bytes(50_000), pair.now)
    sent = packets_of(drain(pair.a, pair.now))
    assert max(map(len, sent)) == 1500
    remote = B6 if v6 else B4
    if v6:
        from tests.netstack.oracle import ICMPv6PacketTooBig

        message = bytes(IPv6(src=str(remote), dst=str(A6)) / ICMPv6PacketTooBig(mtu=1300) / Raw(sent[0][:1200]))
    else:
        message = bytes(IP(src=str(remote), dst=str(A4)) / ICMP(type=3, code=4, nexthopmtu=1300) / Raw(sent[0][:28]))
    cwnd = client.info().cwnd
    pair.a.receive([("b", [message])], pair.now)
    again = packets_of(drain(pair.a, pair.now))
    assert again
    assert max(map(len, again)) <= 1300
    assert client.info().cwnd >= cwnd
    pair.b.receive([("a", again)], pair.now)
    pair.run()
    assert len(server.read()) == 50_000


def test_too_big_about_nothing_that_is_out_is_ignored() -> None:
    peer = Peer()
    peer.connect()
    stray = peer.packet("A")  # quotes a segment from B to A
    message = bytes(IP(src=str(B4), dst=str(A4)) / ICMP(type=3, code=4, nexthopmtu=600) / Raw(stray[:28]))
    before = peer.connection.info().mss
    peer.stack.receive([("b", [message])], peer.now)
    assert peer.connection.info().mss == before
    assert peer.stack.dropped == {"icmp: quotes nothing of ours": 1}


def test_an_echo_reply_as_scapy_reads_it() -> None:
    stack = new_stack(A4, A6)
    v4 = bytes(IP(src=str(B4), dst=str(A4)) / ICMP(type=8, id=7, seq=9) / Raw(b"body"))
    v6 = bytes(IPv6(src=str(B6), dst=str(A6)) / ICMPv6EchoRequest(id=7, seq=9, data=b"body"))
    stack.receive([("b", [v4, v6])], NOW)
    first, second = packets_of(drain(stack, NOW))
    reply: Any = IP(first)[ICMP]
    assert (reply.type, reply.code, reply.id, reply.seq, bytes(reply[Raw])) == (0, 0, 7, 9, b"body")
    reply = IPv6(second)[ICMPv6EchoReply]
    assert (reply.code, reply.id, reply.seq, reply.data) == (0, 7, 9, b"body")


@pytest.mark.parametrize(
    ("code", "error"), [(0, "unreachable"), (1, "unreachable"), (3, "unreachable"), (4, "refused")]
)
def test_an_error_about_a_request_of_ipv6(code: int, error: str) -> None:
    stack = new_stack(A6)
    endpoint = stack.ping(B6)
    endpoint.send(NOW, 5)
    (request,) = packets_of(drain(stack, NOW))
    stack.receive([("x", [bytes(IPv6(src=str(B6), dst=str(A6)) / ICMPv6DestUnreach(code=code) / Raw(request))])], NOW)
    reply = endpoint.receive()
    assert reply is not None
    assert (reply.sequence, reply.error) == (5, error)


def test_messages_of_unknown_types_are_counted() -> None:
    stack = new_stack(A4, A6)
    v4 = bytes(IP(src=str(B4), dst=str(A4)) / ICMP(type=13))
    v6 = build_packet(B6.packed, A6.packed, icmp.V6_PROTOCOL, icmp.build(B6.packed, A6.packed, 200, 0, 0, b""))
    stack.receive([("b", [v4, v6])], NOW)
    assert drain(stack, NOW) == []
    assert stack.dropped == {"icmp: unknown type": 2}


@pytest.mark.parametrize(
    ("length", "mtu"),
    [
        (65_535, 32_000),
        (32_000, 17_914),
        (8167, 8166),
        (4353, 4352),
        (2002, 1492),
        (1500, 1492),
        (1492, 1006),
        (1006, 576),
    ],
)
def test_a_router_that_names_no_mtu_means_the_next_common_one(length: int, mtu: int) -> None:
    """RFC 1191 §7.1."""
    stack = new_stack(A4, mtu=min(length, 65_000))
    endpoint = stack.open_udp(5)
    endpoint.connect(B4, 9)
    quoted = bytearray(bytes(IP(src=str(A4), dst=str(B4)) / UDP(sport=5, dport=9)))
    quoted[2:4] = length.to_bytes(2, "big")
    stack.receive([("x", [bytes(IP(src=str(B4), dst=str(A4)) / ICMP(type=3, code=4) / Raw(bytes(quoted)))])], NOW)
    assert stack._ip.path_mtu(B4.packed, NOW) == mtu


def test_the_longest_request() -> None:
    stack = new_stack(A4)
    endpoint = stack.ping(B4)
    assert endpoint.send(NOW, 1, bytes(65_487))
    with pytest.raises(MessageTooLong):
        endpoint.send(NOW, 1, bytes(65_488))


def test_what_is_told_about_missing_fragments_is_limited() -> None:
    stack = new_stack(A4)
    for number in range(60):
        first = IP(src=f"10.0.0.{number}", dst=str(A4), id=number, flags="MF", proto=17) / Raw(bytes(16))
        stack.receive([("b", [bytes(first)])], NOW)
    assert len(packets_of(drain(stack, NOW + 30))) == 50
    assert stack.dropped == {"fragment: timeout": 60, "icmp: rate limit": 10}

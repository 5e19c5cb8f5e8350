"""The whole: packets that are not for us, fragments, padding, garbage; and whole conversations on bad wires."""

from __future__ import annotations

import hashlib
import math
import random
import tracemalloc
from typing import Any

import pytest

from netstack import Stack, fragments
from netstack.wire import ipv4, ipv6, tcp, udp
from tests.netstack.oracle import (
    ICMP,
    IP,
    UDP,
    ICMPv6TimeExceeded,
    IPerror,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    Raw,
)
from tests.netstack.pair import A4, A6, B4, B6, Pair, drain, exchange, new_stack, packets_of

NOW = 1000.0


def udp_packet(source: Any, destination: Any, payload: bytes = b"x") -> bytes:
    datagram = udp.build(source.packed, 5, destination.packed, 53, payload)
    if source.version == 4:
        return ipv4.header(source.packed, destination.packed, 17, len(datagram)) + datagram
    return bytes(IPv6(src=str(source), dst=str(destination), nh=17) / Raw(datagram))


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (b"", "ip: unknown version"),
        (b"\x00" * 40, "ip: unknown version"),
        (b"\x45", "ipv4: truncated"),
        (b"\x60", "ipv6: truncated"),
        (udp_packet(B4, B4), "ip: not for us"),
        (udp_packet(B6, B6), "ip: not for us"),
        (udp_packet(A4, A4), "ip: martian source"),
        (udp_packet(A6, A6), "ip: martian source"),
        (bytes(IP(src="127.0.0.1", dst=str(A4))), "ip: martian source"),
        (bytes(IP(src="224.0.0.1", dst=str(A4))), "ip: martian source"),
        (bytes(IPv6(src="ff02::1", dst=str(A6), nh=17)), "ip: martian source"),
        (bytes(IP(src=str(B4), dst=str(A4), proto=200)), "ip: unknown protocol"),
    ],
)
def test_dropped_with_a_reason(packet: bytes, reason: str) -> None:
    stack = new_stack(A4, A6)
    stack.receive([("b", [packet])], NOW)
    assert stack.dropped == {reason: 1}


@pytest.mark.parametrize("ends", [(B4, A4), (B6, A6)], ids=["v4", "v6"])
def test_padding_behind_a_packet_is_no_part_of_it(ends: tuple[Any, Any]) -> None:
    stack = new_stack(A4, A6)
    endpoint = stack.open_udp(53)
    stack.receive([("b", [udp_packet(*ends) + bytes(15)])], NOW)
    datagram = endpoint.receive()
    assert datagram is not None
    assert datagram.payload == b"x"


def test_fragments_of_scapy_are_put_together() -> None:
    from scapy.layers.inet import fragment
    from scapy.layers.inet6 import fragment6

    stack = new_stack(A4, A6)
    endpoint = stack.open_udp(53)
    payload = random.Random(1).randbytes(4000)
    v4: Any = IP(src=str(B4), dst=str(A4), id=9) / UDP(sport=5, dport=53) / Raw(payload)
    v6: Any = (
        IPv6(src=str(B6), dst=str(A6)) / IPv6ExtHdrHopByHop() / IPv6ExtHdrFragment(id=9) / UDP(sport=5, dport=53)
    ) / Raw(payload)
    pieces = [bytes(piece) for piece in [*fragment(v4, 1000), *fragment6(v6, 1280)]]
    assert len(pieces) >= 7
    random.Random(2).shuffle(pieces)
    stack.receive([("b", pieces)], NOW)
    assert [datagram.payload for datagram in endpoint.receive_many()] == [payload, payload]
    assert stack.deadline() == math.inf


def test_fragments_that_never_complete_are_given_up() -> None:
    stack = new_stack(A4)
    first = IP(src=str(B4), dst=str(A4), id=9, flags="MF", proto=17) / Raw(bytes(800))
    stack.receive([("b", [bytes(first)])], NOW)
    assert stack.connections == {"fragments": 1}
    assert stack.deadline() == NOW + 30
    (answer,) = packets_of(drain(stack, NOW + 30))
    error: Any = IP(answer)
    assert (error.src, error.dst, error[ICMP].type, error[ICMP].code) == (str(A4), str(B4), 11, 1)
    assert (error[IPerror].id, str(error[IPerror].flags), bytes(first)[28:500] in answer) == (9, "MF", True)
    assert not stack.connections
    assert stack.dropped == {"fragment: timeout": 1}


def test_of_an_error_whose_fragments_never_complete_nobody_is_told() -> None:
    stack = new_stack(A4, A6)
    error = bytes([3, 3]) + bytes(798)
    first = IP(src=str(B4), dst=str(A4), id=9, flags="MF", proto=1) / Raw(error)
    other = IPv6(src=str(B6), dst=str(A6)) / IPv6ExtHdrFragment(id=9, m=1, nh=58) / Raw(error)
    stack.receive([("b", [bytes(first), bytes(other)])], NOW)
    assert drain(stack, NOW + 60) == []
    assert stack.dropped == {"fragment: timeout": 2}


def test_fragments_of_ipv6_that_never_complete_are_given_up() -> None:
    stack = new_stack(A6)
    first = IPv6(src=str(B6), dst=str(A6)) / IPv6ExtHdrFragment(id=9, m=1, nh=17) / Raw(bytes(800))
    last = IPv6(src=str(B6), dst=str(A6)) / IPv6ExtHdrFragment(id=10, offset=100, nh=17) / Raw(bytes(8))
    stack.receive([("b", [bytes(first), bytes(last)])], NOW)
    assert (drain(stack, NOW + 59), stack.deadline()) == ([], NOW + 60)
    (answer,) = packets_of(drain(stack, NOW + 60))
    error: Any = IPv6(answer)
    assert (error.src, error.dst, error[ICMPv6TimeExceeded].code) == (str(A6), str(B6), 1)
    assert bytes(first)[:800] in answer
    assert stack.dropped == {"fragment: timeout": 2}


def test_headers_behind_the_fragment_header_are_walked() -> None:
    stack = new_stack(A6)
    endpoint = stack.open_udp(53)
    for number, between in enumerate([IPv6ExtHdrDestOpt(), IPv6ExtHdrFragment(), IPv6ExtHdrRouting(type=0)]):
        packet = IPv6(src=str(B6), dst=str(A6)) / between / UDP(sport=5, dport=53) / Raw(bytes(2000))
        behind = bytes(packet)[40:]
        for offset, more, piece in fragments.cut(behind, 1000):
            head = ipv6.fragment_header(bytes(packet)[6], offset, more=more, identification=number)
            size = len(head) + len(piece)
            outer = ipv6.header(B6.packed, A6.packed, ipv6.FRAGMENT, size)
            stack.receive([("b", [outer + head + piece])], NOW)
    assert [len(datagram.payload) for datagram in endpoint.receive_many()] == [2000]
    assert stack.dropped == {"fragment: in a fragment": 1, "ipv6: routing header": 1}


@pytest.mark.parametrize(("kind", "answers"), [(3, 0), (128, 1)])
def test_an_unknown_option_of_an_error_is_not_answered(kind: int, answers: int) -> None:
    """Whole, or found behind the fragment header."""
    stack = new_stack(A6)
    behind = bytes([58, 0, 0x80, 0, 0, 0, 0, 0, kind, *bytes(15)])
    whole = ipv6.header(B6.packed, A6.packed, 60, len(behind)) + behind
    atomic = ipv6.fragment_header(60, 0, more=False, identification=9) + behind
    for packet in whole, ipv6.header(B6.packed, A6.packed, ipv6.FRAGMENT, len(atomic)) + atomic:
        stack.receive([("b", [packet])], NOW)
        assert len(packets_of(drain(stack, NOW))) == answers
    assert stack.dropped == {"ipv6: unknown option": 2}


def test_a_first_fragment_without_all_headers_is_dropped() -> None:
    stack = new_stack(A6)
    packet = IPv6(src=str(B6), dst=str(A6)) / IPv6ExtHdrFragment(id=9, m=1, nh=6) / Raw(bytes(16))
    stack.receive([("b", [bytes(packet)])], NOW)
    assert stack.dropped == {"fragment: headers cut": 1}
    assert not stack.connections


@pytest.mark.parametrize("ends", [(B4, A4), (B6, A6)], ids=["v4", "v6"])
def test_nobody_there_for_a_datagram_in_pieces(ends: tuple[Any, Any]) -> None:
    """The error quotes its beginning, whichever piece came last, so that the sender finds the port."""
    pair = Pair()
    client = pair.a.open_udp()
    client.connect(B4 if ends[0] == B4 else B6, 9)
    client.send(bytes(3000), pair.now)
    pieces = packets_of(drain(pair.a, pair.now))
    pair.b.receive([("a", pieces[::-1])], pair.now)
    pair.a.receive([("b", packets_of(drain(pair.b, pair.now)))], pair.now)
    assert client.take_error() == "refused"


def test_a_fragmented_segment_is_checked_even_if_its_pieces_came_verified() -> None:
    stack = new_stack(A4)
    segment = tcp.build(B4.packed, 5, A4.packed, 6, seq=1, flags=tcp.SYN, payload=bytes(1000))[20:]
    damaged = segment[:-1] + b"\x01"
    pieces = [
        ipv4.header(B4.packed, A4.packed, 6, 800, fragment=ipv4.MORE_FRAGMENTS) + damaged[:800],
        ipv4.header(B4.packed, A4.packed, 6, len(damaged) - 800, fragment=100) + damaged[800:],
    ]
    stack.receive([("b", pieces)], NOW, verified=True)
    assert stack.dropped == {"tcp: bad checksum": 1}


def test_the_clock_is_the_only_clock_and_the_seed_the_only_chance() -> None:
    def trace() -> str:
        pair = Pair(seed=5, loss=0.1, reorder=0.2, duplicate=0.1)
        exchange(pair, bytes(range(256)) * 300, b"answer" * 1000)
        digest = hashlib.sha256()
        for at, name, packet in pair.trace:
            digest.update(f"{at} {name}".encode() + packet)
        return digest.hexdigest()

    assert trace() == trace()


def test_addresses_can_change() -> None:
    stack: Stack = new_stack(A4)
    assert list(stack.addresses) == [A4]
    stack.set_addresses([A6, B4], NOW)
    assert list(stack.addresses) == [A6, B4]
    stack.receive([("b", [udp_packet(B6, A6)])], NOW)
    assert "ip: not for us" not in stack.dropped


@pytest.mark.parametrize("verified", [False, True])
@pytest.mark.parametrize("v6", [False, True])
def test_bulk_on_a_good_wire_has_no_retransmission(v6: bool, verified: bool) -> None:
    pair = Pair(verified=verified)
    payload = random.Random(1).randbytes(3_000_000)
    exchange(pair, payload, payload[:1_000_000], v6=v6)
    assert not pair.a.dropped
    assert not pair.b.dropped
    assert len(pair.trace) < 1.6 * 4_000_000 / 1200


def test_idle_connections_are_small() -> None:
    pair = Pair()
    pair.b.listen(80, backlog=10_000)
    count = 200
    tracemalloc.start()
    for _ in range(count):
        pair.a.connect(B4, 80, pair.now)
    pair.run(seconds=5)
    pair.trace.clear()
    pair.a.take_ready()
    pair.b.take_ready()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert pair.a.connections["ESTABLISHED"] == count
    assert size / (2 * count) < 4096


def test_single_packets_make_runs_that_the_owner_can_send() -> None:
    entropy = random.Random(1).randbytes
    stack = Stack(entropy=entropy, now=NOW, max_run_packets=3, max_run_bytes=2600, run_overhead=100)
    stack.set_addresses([A4], NOW)
    endpoint = stack.open_udp(9)
    for size in (10, 10, 10, 10, 5, 10, 1200, 1200, 1200):
        endpoint.send(bytes(size), NOW, B4, 9)
    sizes = [[len(packet) - 28 for packet in packets] for _, packets in stack.transmit(NOW)]
    assert sizes == [[10, 10, 10], [10, 5], [10], [1200], [1200], [1200]]


def test_own_packets_do_not_leave() -> None:
    stack = new_stack(A4)
    endpoint = stack.open_udp(53)
    endpoint.send(b"to myself", NOW, A4, 53)
    assert packets_of(drain(stack, NOW)) == []
    datagram = endpoint.receive()
    assert datagram is not None
    assert datagram.payload == b"to myself"


@pytest.mark.parametrize("nodelay", [False, True])
def test_nagle_is_on_unless_the_stack_says_otherwise(nodelay: bool) -> None:
    pair = Pair(delay=0.05)
    pair.a.options.nodelay = nodelay
    client, _ = pair.connected()
    count = len(pair.trace)
    for _ in range(3):
        client.write(b"a", pair.now)
        pair.turn()
    assert len(pair.trace) - count == (3 if nodelay else 1)

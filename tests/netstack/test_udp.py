"""UDP endpoints: binding, queues, errors."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

import pytest

from netstack import AddressInUse, AddressNotAvailable, EndpointClosed, MessageTooLong, Stack, UdpEndpoint, udp
from netstack.ip import IPAddress
from netstack.wire import icmp
from netstack.wire import udp as wire_udp
from netstack.wire.packet import build_packet
from tests.netstack.pair import A4, A6, B4, B6, Pair, drain, new_stack, packets_of

NOW = 1000.0
FAMILIES = pytest.mark.parametrize(("ours", "theirs"), [(A4, B4), (A6, B6)], ids=["v4", "v6"])


@FAMILIES
@pytest.mark.parametrize("size", [0, 1, 1232, 1233, 9000, 65_487])
def test_there_and_back(ours: IPAddress, theirs: IPAddress, size: int) -> None:
    pair = Pair()
    client, server = pair.a.open_udp(), pair.b.open_udp(53)
    payload = bytes(n & 0xFF for n in range(size))
    assert client.send(payload, pair.now, theirs, 53)
    pair.run(until=lambda: server.readable)
    datagram = server.receive()
    assert datagram is not None
    assert datagram == (payload, ours, client.port, theirs)
    assert server.send(payload, pair.now, datagram.address, datagram.port, local=datagram.local)
    pair.run(until=lambda: client.readable)
    assert [answer.payload for answer in client.receive_many()] == [payload]
    assert client.receive() is None


def test_nobody_there_and_connected() -> None:
    pair = Pair()
    client = pair.a.open_udp()
    client.connect(B4, 9)
    client.send(b"x", pair.now)
    pair.run(until=lambda: client.readable)
    assert pair.a.take_ready() == [client]
    assert client.take_error() == "refused"
    assert client.take_error() is None
    assert pair.b.dropped["udp: for no endpoint"] == 1


def test_nobody_there_and_not_connected_is_only_counted() -> None:
    pair = Pair()
    client = pair.a.open_udp()
    client.send(b"x", pair.now, B6, 9)
    pair.run()
    assert not client.readable
    assert pair.a.dropped == {"icmp: for no connection": 1}


def too_big(ours: IPAddress, theirs: IPAddress, mtu: int, *, port: int, remote_port: int = 9) -> bytes:
    """A router on the way from us says that our datagram was too long."""
    head = build_packet(
        ours.packed, theirs.packed, 17, wire_udp.build(ours.packed, port, theirs.packed, remote_port, b"")
    )
    if ours.version == 4:
        message = icmp.build(theirs.packed, ours.packed, icmp.V4_UNREACHABLE, 4, mtu, head)
        return build_packet(theirs.packed, ours.packed, icmp.V4_PROTOCOL, message)
    message = icmp.build(theirs.packed, ours.packed, icmp.V6_TOO_BIG, 0, mtu, head)
    return build_packet(theirs.packed, ours.packed, icmp.V6_PROTOCOL, message)


def sizes(stack: Stack, endpoint: UdpEndpoint, to: IPAddress) -> list[int]:
    endpoint.send(bytes(1400), NOW, to, 9)
    return [len(packet) for packet in packets_of(drain(stack, NOW))]


@FAMILIES
@pytest.mark.parametrize("connected", [False, True])
def test_a_path_that_is_too_narrow_makes_fragments(ours: IPAddress, theirs: IPAddress, connected: bool) -> None:
    stack = new_stack(ours, mtu=1500)
    endpoint = stack.open_udp(5)
    if connected:
        endpoint.connect(theirs, 9)
    assert len(sizes(stack, endpoint, theirs)) == 1
    stack.receive([("router", [too_big(ours, theirs, 1300, port=5)])], NOW)
    assert 1200 < max(sizes(stack, endpoint, theirs)) <= 1300
    assert not stack.dropped
    assert endpoint.take_error() is None


@pytest.mark.parametrize(("port", "remote_port"), [(6, 9), (5, 10)])
def test_a_path_is_not_believed_to_be_narrow_where_nothing_was_sent(port: int, remote_port: int) -> None:
    stack = new_stack(A4, mtu=1500)
    endpoint = stack.open_udp(5)
    endpoint.connect(B4, 9)
    stack.receive([("router", [too_big(A4, B4, 600, port=port, remote_port=remote_port)])], NOW)
    assert len(sizes(stack, endpoint, B4)) == 1
    assert stack.dropped == {"icmp: for no connection": 1}


def test_a_connected_endpoint_hears_one_end_alone() -> None:
    pair = Pair()
    server, stranger, friend = pair.b.open_udp(53), pair.a.open_udp(1), pair.a.open_udp(2)
    server.connect(A4, 2)
    stranger.send(b"no", pair.now, B4, 53)
    friend.send(b"yes", pair.now, B4, 53)
    pair.run()
    assert [datagram.payload for datagram in server.receive_many()] == [b"yes"]
    assert pair.b.dropped == {"udp: not from the connected end": 1}


def test_the_newest_is_dropped_when_the_queue_is_full() -> None:
    pair = Pair()
    client, server = pair.a.open_udp(), pair.b.open_udp(53)
    for number in range(400):
        client.send(number.to_bytes(2, "big") + bytes(998), pair.now, B4, 53)
    pair.run()
    queued = server.receive_many(1000)
    assert [int.from_bytes(datagram.payload[:2], "big") for datagram in queued] == list(range(len(queued)))
    assert server.dropped == 400 - len(queued) == pair.b.dropped["udp: queue full"]
    assert len(queued) * 1200 <= udp.MAX_QUEUE_BYTES
    client.send(b"again", pair.now, B4, 53)
    pair.run()
    assert server.readable


@pytest.mark.parametrize("second", [None, A4])
def test_a_bound_port_is_in_use(second: object) -> None:
    stack = new_stack(A4, A6)
    endpoint = stack.open_udp(53)
    with pytest.raises(AddressInUse, match="53"):
        stack.open_udp(53, address=second)  # type: ignore[arg-type]
    endpoint.close()
    endpoint.close()
    stack.open_udp(53, address=second)  # type: ignore[arg-type]


def test_port_zero_is_any_free_one() -> None:
    stack = new_stack(A4)
    ports = {stack.open_udp().port for _ in range(50)}
    assert len(ports) == 50
    assert stack.connections["udp"] == 50


def test_what_cannot_be() -> None:
    stack = new_stack(A4)
    endpoint = stack.open_udp()
    with pytest.raises(MessageTooLong):
        endpoint.send(bytes(65_508), 0.0, B4, 1)
    with pytest.raises(AddressNotAvailable):
        endpoint.send(b"", 0.0, B6, 1)
    with pytest.raises(AddressNotAvailable):
        stack.open_udp(address=B4)
    with pytest.raises(EndpointClosed):
        endpoint.send(b"", 0.0)
    endpoint.close()
    with pytest.raises(EndpointClosed):
        endpoint.send(b"", 0.0, B4, 1)


def test_an_endpoint_at_one_address_sends_from_it() -> None:
    second = ip_address("100.64.0.77")
    stack: Stack = new_stack(A4, second)
    endpoint = stack.open_udp(9, address=second)
    endpoint.send(b"x", 1000.0, B4, 1)
    (packet,) = packets_of(drain(stack, 1000.0))
    assert packet[12:16] == second.packed
    assert "100.64.0.77" in repr(endpoint)
    assert "*" in repr(stack.open_udp(10))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda datagram: datagram[:7], "udp: truncated"),
        (lambda datagram: datagram[:4] + b"\0\x07" + datagram[6:], "udp: bad length"),
        (lambda datagram: datagram[:-1] + b"?", "udp: bad checksum"),
        (lambda datagram: datagram[:2] + b"\0\0" + datagram[4:], "udp: port zero"),
    ],
)
def test_what_is_wrong_is_counted_and_not_answered(damage: Callable[[bytes], bytes], reason: str) -> None:
    stack = new_stack(A4)
    datagram = damage(wire_udp.build(B4.packed, 5, A4.packed, 53, b"x"))
    stack.receive([("b", [build_packet(B4.packed, A4.packed, 17, datagram)])], NOW)
    assert packets_of(drain(stack, NOW)) == []
    assert stack.dropped == {reason: 1}


def test_one_peer_cannot_fill_the_queue_for_another() -> None:
    stack = new_stack(A4)
    endpoint = stack.open_udp(53)

    def send(link: str, source: bytes, count: int) -> None:
        datagram = wire_udp.build(source, 9, A4.packed, 53, bytes(1000))
        packets = [build_packet(source, A4.packed, wire_udp.PROTOCOL, datagram)] * count
        stack.receive([(link, packets)], 1000.0)

    for address in range(2, 6):  # the same peer, whatever address it sends from
        send("greedy", bytes((100, 64, 0, address)), 1000)
    share = udp.MAX_QUEUE_BYTES * 2 // 3 // 1200
    assert endpoint.dropped == 4000 - share
    send("innocent", B4.packed, 50)
    assert endpoint.dropped == 4000 - share
    assert len(endpoint.receive_many(1000)) == share + 50
    send("greedy", bytes((100, 64, 0, 9)), share)  # what was read is room again
    assert endpoint.dropped == 4000 - share


def test_the_connected_end_has_the_whole_queue() -> None:
    pair = Pair()
    server, client = pair.b.open_udp(53), pair.a.open_udp(5000)
    server.connect(A4, 5000)
    for _ in range(400):
        client.send(bytes(1000), pair.now, B4, 53)
        pair.turn()
    pair.run(seconds=1)
    assert len(server.receive_many(1000)) == udp.MAX_QUEUE_BYTES // 1200

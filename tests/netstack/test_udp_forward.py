"""Any destination of UDP: a flow waits with its datagrams until it is accepted or refused."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from netstack import AddressInUse, EndpointClosed, PendingFlow, Stack, UdpFlow, UdpForwarder
from netstack.udp import MAX_QUEUE_BYTES
from netstack.wire import udp
from netstack.wire.packet import build_packet
from tests.netstack.oracle import ICMP, IP, ICMPv6DestUnreach, IPerror, IPv6, UDPerror
from tests.netstack.pair import A4, A6, B4, B6, Pair, drain, new_stack, packets_of

FAR4, FAR6 = ip_address("192.168.7.9"), ip_address("2001:db8::9")
NOW = 1000.0
FAMILIES = pytest.mark.parametrize(("peer", "far"), [(B4, FAR4), (B6, FAR6)], ids=["v4", "v6"])


def query(payload: bytes = b"?", *, peer: Any = B4, port: int = 5, to: Any = FAR4, at: int = 53) -> bytes:
    datagram = udp.build(peer.packed, port, to.packed, at, payload)
    return build_packet(peer.packed, to.packed, udp.PROTOCOL, datagram)


def receive(stack: Stack, *packets: bytes, link: str | None = "peer", now: float = NOW) -> list[bytes]:
    stack.receive([(link, list(packets))], now)
    return packets_of(drain(stack, now))


def waiting(forwarder: UdpForwarder) -> PendingFlow:
    pending = forwarder.accept()
    assert pending is not None
    return pending


def test_without_a_forwarder_it_is_not_for_us() -> None:
    stack = new_stack(A4)
    stack.forward_tcp()
    assert receive(stack, query()) == []
    assert stack.dropped == {"ip: not for us": 1}


@FAMILIES
def test_accepted_with_what_has_waited_and_answered_from_there(peer: Any, far: Any) -> None:
    stack = new_stack(A4, A6)
    forwarder = stack.forward_udp()
    assert receive(stack, query(b"one", peer=peer, to=far), query(b"two", peer=peer, to=far)) == []
    assert (len(forwarder), forwarder.readable, stack.take_ready()) == (1, True, [forwarder])
    pending = waiting(forwarder)
    assert (pending.local, pending.remote, pending.link) == ((far, 53), (peer, 5), "peer")
    assert (pending.arrived_time, pending.is_decided, forwarder.readable) == (NOW, False, False)
    flow = pending.accept(NOW)
    assert (pending.is_decided, stack.take_ready()) == (True, [flow])
    assert (flow.local, flow.remote, flow.address, flow.port, flow.link) == ((far, 53), (peer, 5), far, 53, "peer")
    assert [tuple(datagram) for datagram in flow.receive_many()] == [(b"one", peer, 5, far), (b"two", peer, 5, far)]
    receive(stack, query(b"three", peer=peer, to=far))
    assert stack.take_ready() == [flow]
    assert [datagram.payload for datagram in flow.receive_many()] == [b"three"]
    assert flow.send(b"answer", NOW)
    (answer,) = packets_of(drain(stack, NOW))
    assert answer == query(b"answer", peer=far, port=53, to=peer, at=5)
    assert stack.connections == {"flows": 1}


def test_there_and_back_in_fragments() -> None:
    pair = Pair()
    forwarder, client = pair.b.forward_udp(), pair.a.open_udp()
    client.connect(FAR6, 4000)
    payload = bytes(n & 0xFF for n in range(5000))
    client.send(payload, pair.now)
    pair.run(until=lambda: forwarder.readable, seconds=1)
    flow = waiting(forwarder).accept(pair.now)
    datagram = flow.receive()
    assert datagram is not None
    assert flow.send(datagram.payload + b"!", pair.now)
    pair.run(until=lambda: client.readable, seconds=1)
    back = client.receive()
    assert back is not None
    assert (back.payload, back.address, back.port) == (payload + b"!", FAR6, 4000)


def test_refused_as_by_the_destination() -> None:
    stack = new_stack(A4, A6)
    forwarder = stack.forward_udp()
    receive(stack, query(b"first"), query(b"second"))
    pending = waiting(forwarder)
    pending.refuse(NOW)
    (answer,) = packets_of(drain(stack, NOW))
    error: Any = IP(answer)
    assert (error.src, error.dst, error[ICMP].type, error[ICMP].code) == (str(FAR4), str(B4), 3, 3)
    assert (error[IPerror].dst, error[UDPerror].dport) == (str(FAR4), 53)
    assert query(b"first") in answer
    assert (pending.is_decided, len(forwarder)) == (True, 0)
    for decide in (pending.accept, pending.refuse):
        with pytest.raises(EndpointClosed):
            decide(NOW)
    receive(stack, query(b"third"))
    assert len(forwarder) == 1  # the peer may ask again


def test_refused_as_ipv6_does() -> None:
    stack = new_stack(A4, A6)
    forwarder = stack.forward_udp()
    receive(stack, query(peer=B6, to=FAR6))
    waiting(forwarder).refuse(NOW)
    error: Any = IPv6(packets_of(drain(stack, NOW))[0])
    assert (error.src, error.dst, error[ICMPv6DestUnreach].code) == (str(FAR6), str(B6), 4)


def test_a_peer_that_is_a_stack_hears_of_the_refusal() -> None:
    pair = Pair()
    forwarder, client = pair.b.forward_udp(), pair.a.open_udp()
    client.connect(FAR4, 9)
    client.send(b"x", pair.now)
    pair.run(until=lambda: forwarder.readable, seconds=1)
    waiting(forwarder).refuse(pair.now)
    pair.run(until=lambda: client.readable, seconds=1)
    assert client.take_error() == "refused"


def test_one_peer_has_two_thirds_at_most_and_all_have_a_limit() -> None:
    stack = new_stack(A4)
    forwarder = stack.forward_udp(max_flows=9)
    assert forwarder.max_flows == 9
    receive(stack, *[query(port=port) for port in range(1, 20)], link="greedy")
    assert len(forwarder) == 6
    for _ in range(6):
        waiting(forwarder).accept(NOW)
    receive(stack, query(port=30), link="greedy")  # open flows count as well
    assert len(forwarder) == 6
    receive(stack, *[query(port=port, peer=ip_address("100.64.0.3")) for port in range(1, 20)], link="other")
    assert len(forwarder) == 9
    assert stack.dropped == {"udp: too many flows": 13 + 1 + 16}


def test_without_a_link_the_address_is_the_peer() -> None:
    stack = new_stack(A4)
    forwarder = stack.forward_udp(max_flows=3)
    receive(stack, *[query(port=port) for port in range(1, 9)], link=None)
    assert len(forwarder) == 2
    receive(stack, query(peer=ip_address("100.64.0.3")), link=None)
    assert len(forwarder) == 3


def test_closing_refuses_what_waits_and_leaves_what_is_open() -> None:
    stack = new_stack(A4)
    forwarder = stack.forward_udp()
    receive(stack, query(port=1), query(port=2))
    flow = waiting(forwarder).accept(NOW)
    with pytest.raises(AddressInUse):
        stack.forward_udp()
    forwarder.close(NOW)
    forwarder.close(NOW)
    (refusal,) = packets_of(drain(stack, NOW))
    assert refusal[20:22] == b"\x03\x03"
    assert not forwarder.readable
    flow.receive()
    receive(stack, query(b"more", port=1))
    assert flow.readable
    (refusal,) = receive(stack, query(port=3))
    assert refusal[20:22] == b"\x03\x03"
    again = stack.forward_udp()
    receive(stack, query(b"and more", port=1), query(port=3))
    assert waiting(again).remote == (B4, 3)
    assert len(flow.receive_many()) == 2


def test_endpoints_of_our_own_are_asked_first_and_do_not_hear_what_goes_elsewhere() -> None:
    stack = new_stack(A4)
    forwarder, endpoint = stack.forward_udp(), stack.open_udp(53)
    receive(stack, query(b"ours", to=A4), query(b"theirs"))
    assert [datagram.payload for datagram in endpoint.receive_many()] == [b"ours"]
    assert waiting(forwarder).local == (FAR4, 53)
    (refusal,) = receive(stack, query(to=A4, at=54))
    assert refusal[20:22] == b"\x03\x03"


def test_unbound_ports_of_own_addresses() -> None:
    stack = new_stack(A4)
    forwarder, endpoint = stack.forward_udp(unbound=True), stack.open_udp(53)
    assert receive(stack, query(to=A4), query(to=A4, at=54)) == []
    assert endpoint.readable
    flow = waiting(forwarder).accept(NOW)
    assert flow.local == (A4, 54)
    assert flow.send(b"!", NOW)
    assert packets_of(drain(stack, NOW)) == [query(b"!", peer=A4, port=54, to=B4, at=5)]


def test_what_waits_is_bounded() -> None:
    stack = new_stack(A4)
    forwarder = stack.forward_udp()
    receive(stack, *[query(bytes(1000))] * 400)
    flow = waiting(forwarder).accept(NOW)
    assert flow.queued_bytes <= MAX_QUEUE_BYTES
    assert flow.dropped == stack.dropped["udp: queue full"] == 400 - len(flow.receive_many(1000))


def test_a_flow_whose_first_datagram_finds_no_room_is_none() -> None:
    stack = new_stack(A4)
    forwarder = stack.forward_udp()
    stack._flows.room.total = 600
    receive(stack, query(bytes(300)))
    assert stack.take_ready() == []
    assert (len(forwarder), forwarder.accept()) == (0, None)
    assert stack.dropped == {"udp: queue full": 1}
    receive(stack, query(bytes(200)))
    assert len(forwarder) == 1


def test_nothing_comes_from_or_goes_to_where_nothing_can_be() -> None:
    stack = new_stack(A4, A6)
    forwarder = stack.forward_udp()
    receive(stack, *[query(to=ip_address(to)) for to in ("224.0.0.1", "127.0.0.1", "255.255.255.255")])
    receive(stack, query(peer=B6, to=ip_address("ff02::1")), query(port=0))
    assert len(forwarder) == 0
    assert stack.dropped == {"ip: not for us": 4, "udp: port zero": 1}


def test_closing_the_stack_ends_all() -> None:
    stack = new_stack(A4)
    forwarder = stack.forward_udp()
    receive(stack, query(port=1), query(port=2))
    flow: UdpFlow = waiting(forwarder).accept(NOW)
    stack.close(NOW)
    assert (flow.is_closed, flow.take_error(), len(forwarder)) == (True, "aborted", 0)
    (answer,) = packets_of(drain(stack, NOW))
    assert query(port=2) in answer  # what waited is refused, as at `forwarder.close`
    receive(stack, query(port=3))
    assert (forwarder.accept(), len(forwarder), forwarder.is_closed) == (None, 0, True)
    with pytest.raises(EndpointClosed):
        flow.send(b"x", NOW)

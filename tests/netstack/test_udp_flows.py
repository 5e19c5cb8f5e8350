"""Flows: their time, their share, their end."""

from __future__ import annotations

import math
import random
from ipaddress import ip_address

import pytest

from netstack import AddressNotAvailable, EndpointClosed, MessageTooLong, Stack, UdpFlow
from netstack.ip import IPAddress
from netstack.udp import MAX_QUEUE_BYTES
from netstack.udp_flows import DNS_IDLE, IDLE, MAX_FLOW_BYTES, MAX_FLOWS
from netstack.wire import icmp, udp
from netstack.wire.packet import build_packet
from tests.netstack.pair import A4, B4, drain, new_stack, packets_of

FAR = ip_address("192.168.7.9")
NOW = 1000.0


def query(payload: bytes = b"?", *, port: int = 5, at: int = 4000) -> bytes:
    return build_packet(B4.packed, FAR.packed, udp.PROTOCOL, udp.build(B4.packed, port, FAR.packed, at, payload))


def receive(stack: Stack, *packets: bytes, now: float = NOW, link: str = "peer") -> None:
    stack.receive([(link, list(packets))], now)
    drain(stack, now)


def accepted(stack: Stack, *, at: int = 4000, port: int = 5, now: float = NOW) -> UdpFlow:
    if stack._udp.forwarder is None:
        stack.forward_udp()
    receive(stack, query(at=at, port=port), now=now)
    forwarder = stack._udp.forwarder
    assert forwarder is not None
    pending = forwarder.accept()  # type: ignore[attr-defined]
    flow: UdpFlow = pending.accept(now)
    assert flow.receive() is not None
    stack.take_ready()
    return flow


@pytest.mark.parametrize(("at", "idle"), [(4000, IDLE), (53, DNS_IDLE)])
def test_a_silent_flow_ends(at: int, idle: float) -> None:
    assert (IDLE, DNS_IDLE) == (120, 30)
    stack = new_stack(A4)
    flow = accepted(stack, at=at)
    assert stack.deadline() == NOW + idle
    assert drain(stack, NOW + idle - 0.001) == []
    assert not flow.is_closed
    assert drain(stack, NOW + idle) == []
    assert (flow.is_closed, flow.readable, stack.take_ready()) == (True, True, [flow])
    assert flow.take_error() == "timeout"
    assert (flow.readable, stack.deadline(), len(stack.connections)) == (False, math.inf, 0)
    with pytest.raises(EndpointClosed):
        flow.send(b"late", NOW + idle)
    flow.close()


def test_a_datagram_either_way_keeps_it() -> None:
    stack = new_stack(A4)
    flow = accepted(stack)
    receive(stack, query(), now=NOW + 100)
    assert stack.deadline() == NOW + 100 + IDLE
    flow.send(b"!", NOW + 200)
    drain(stack, NOW + 200)
    assert stack.deadline() == NOW + 200 + IDLE


def test_the_deadline_is_that_of_the_flow_which_is_silent_longest() -> None:
    stack = new_stack(A4)
    first, second = accepted(stack, port=1), accepted(stack, port=2, now=NOW + 50)
    dns = accepted(stack, at=53, now=NOW + 60)
    assert stack.deadline() == NOW + 90
    drain(stack, NOW + 90)
    assert dns.is_closed
    receive(stack, query(port=1), now=NOW + 91)
    assert stack.deadline() == NOW + 50 + IDLE
    drain(stack, NOW + 50 + IDLE)
    assert (first.is_closed, second.is_closed) == (False, True)


def test_what_nobody_decides_about_is_forgotten_however_often_the_peer_asks() -> None:
    stack = new_stack(A4)
    forwarder = stack.forward_udp()
    receive(stack, query())
    pending = forwarder.accept()
    assert pending is not None
    for second in range(20, 120, 20):
        receive(stack, query(), now=NOW + second)
    drain(stack, NOW + IDLE)
    assert (pending.is_decided, len(forwarder)) == (True, 0)
    assert stack.dropped == {"udp: flow undecided for too long": 1}
    assert stack.take_ready() == [forwarder]
    receive(stack, query(port=6), now=NOW + IDLE)
    drain(stack, NOW + 2 * IDLE)
    assert forwarder.accept() is None
    with pytest.raises(EndpointClosed):
        pending.accept(NOW + 2 * IDLE)


def test_it_speaks_to_its_peer_from_its_destination_alone() -> None:
    stack = new_stack(A4)
    flow = accepted(stack)
    for address, port, local in ((FAR, 5, None), (B4, 6, None), (B4, 5, A4)):
        with pytest.raises(AddressNotAvailable):
            flow.send(b"x", NOW, address, port, local=local)
    with pytest.raises(MessageTooLong):
        flow.send(bytes(65_508), NOW)
    assert flow.send(b"x", NOW, B4, 5, local=FAR)


def test_closing_it_gives_place_and_room_back() -> None:
    stack = new_stack(A4)
    flow = accepted(stack)
    receive(stack, query(bytes(500)))
    assert stack._flows.room.taken == 700
    flow.close()
    flow.close()
    assert (stack._flows.room.taken, stack._flows.places.taken, len(stack._flows)) == (0, 0, 0)
    receive(stack, query())
    assert len(stack._flows) == 1  # a new one


def test_all_flows_share_their_room_and_no_peer_has_more_than_two_thirds() -> None:
    stack = new_stack(A4)
    stack.forward_udp()
    stack._flows.room.total = 9000
    for port in range(1, 30):
        receive(stack, query(bytes(800), port=port), link="greedy")
    assert stack._flows.room.taken == 6000
    for port in range(31, 60):
        receive(stack, query(bytes(800), port=port), link="other")
    assert stack._flows.room.taken == 9000
    assert stack.dropped == {"udp: queue full": 29 - 6 + 29 - 3}


def test_what_a_full_queue_does_not_take_takes_no_room() -> None:
    stack = new_stack(A4)
    flow = accepted(stack)
    receive(stack, *[query(bytes(1000))] * 400)
    assert flow.dropped == 400 - MAX_QUEUE_BYTES // 1200
    assert stack._flows.room.taken == flow.queued_bytes == MAX_QUEUE_BYTES // 1200 * 1200


def test_bounds_are_those_of_the_documents() -> None:
    forwarder = new_stack(A4).forward_udp()
    assert (forwarder.max_flows, MAX_FLOWS, MAX_FLOW_BYTES) == (4096, 4096, 16 << 20)


def test_a_link_that_is_gone_ends_its_flows() -> None:
    stack = new_stack(A4)
    flow = accepted(stack)
    receive(stack, query(port=6), query(port=7))
    receive(stack, query(port=8), link="other")
    stack.take_ready()
    stack.forget_link("peer")
    assert (flow.is_closed, flow.take_error(), len(stack._flows)) == (True, "unreachable", 1)
    assert stack.take_ready() == [flow]


def unreachable(payload: bytes, *, port: int = 5, to: IPAddress = FAR) -> bytes:
    """What the peer says of a datagram of the flow, to whom it seems to come from."""
    quoted = build_packet(FAR.packed, B4.packed, 17, udp.build(FAR.packed, 4000, B4.packed, port, payload))
    message = icmp.build(B4.packed, to.packed, icmp.V4_UNREACHABLE, icmp.V4_PORT_UNREACHABLE, 0, quoted)
    return build_packet(B4.packed, to.packed, icmp.V4_PROTOCOL, message)


@pytest.mark.parametrize("to", [FAR, A4])
def test_icmp_about_a_flow_is_told_and_does_not_end_it(to: IPAddress) -> None:
    stack = new_stack(A4)
    flow = accepted(stack)
    flow.send(b"x", NOW)
    receive(stack, unreachable(b"x", to=to))
    assert (stack.take_ready(), flow.take_error(), flow.is_closed) == ([flow], "refused", False)
    receive(stack, unreachable(b"x", port=6, to=to))
    assert stack.dropped == {"icmp: for no connection": 1}


def test_of_icmp_to_others_only_errors_are_taken() -> None:
    stack = new_stack(A4)
    echo = icmp.build(B4.packed, FAR.packed, icmp.V4_ECHO_REQUEST, 0, 1, b"?")
    packet = build_packet(B4.packed, FAR.packed, icmp.V4_PROTOCOL, echo)
    receive(stack, packet, unreachable(b"x"))
    assert stack.dropped == {"ip: not for us": 2}  # nobody forwards
    stack.forward_udp()
    receive(stack, packet, build_packet(B4.packed, FAR.packed, icmp.V6_PROTOCOL, echo))
    assert (stack.dropped, stack.deadline()) == ({"ip: not for us": 4}, math.inf)


def test_icmp_about_a_flow_that_waits_is_for_nobody() -> None:
    stack = new_stack(A4)
    stack.forward_udp()
    receive(stack, query(), unreachable(b"x"))
    assert stack.dropped == {"icmp: for no connection": 1}


def test_any_history_keeps_the_books() -> None:
    chance = random.Random(7)
    stack, now = new_stack(A4), NOW
    forwarder = stack.forward_udp(max_flows=20)
    flows: list[UdpFlow] = []
    for _ in range(3000):
        now += chance.choice([0, 0, 0.1, 1, 20])
        receive(stack, query(bytes(chance.randrange(2000)), port=chance.randrange(1, 40)), now=now)
        pending = forwarder.accept() if chance.random() < 0.5 else None
        if pending is not None and not pending.is_decided:
            if chance.random() < 0.7:
                flows.append(pending.accept(now))
            else:
                pending.refuse(now)
        for flow in flows:
            if chance.random() < 0.3:
                flow.receive_many(2)
            if chance.random() < 0.05:
                flow.close()
        flows = [flow for flow in flows if not flow.is_closed]
        assert packets_of(drain(stack, now)) is not None
        assert stack._flows.room.taken == sum(flow.queued_bytes for flow in stack._flows)
        assert stack._flows.places.taken == len(stack._flows) <= 13
        assert set(flows) <= set(stack._flows)
    drain(stack, now + IDLE)
    assert (len(stack._flows), stack._flows.room.taken, stack._flows.places.taken) == (0, 0, 0)
    assert not stack._flows.unseen
    assert stack.deadline() == math.inf

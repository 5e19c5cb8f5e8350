"""Any destination: SYNs are held, answered or refused; nobody takes all places; both ways are bounded."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from netstack import EndpointClosed, NetstackError, Stack, TcpConnection
from netstack.tcp.forward import PATIENCE
from netstack.tcp.listener import KEEPALIVE
from netstack.wire import icmp, ipv4, tcp
from netstack.wire.packet import build_packet
from tests.netstack.pair import A4, B4, Pair, drain, new_stack, packets_of

ELSEWHERE = ip_address("192.168.7.9")
NOW = 1000.0


def syn(port: int, *, source: str = "100.64.0.2", seq: int = 77) -> bytes:
    return tcp.build(
        ip_address(source).packed,
        port,
        ELSEWHERE.packed,
        443,
        seq=seq,
        flags=tcp.SYN,
        window=65_535,
        options=tcp.syn_options(1240, 8, True, None),
    )


def receive(stack: Stack, *packets: bytes, link: str = "peer", now: float = NOW) -> list[bytes]:
    stack.receive([(link, list(packets))], now)
    return packets_of(drain(stack, now))


def flags_of(packet: bytes) -> int:
    return packet[33]


def test_without_a_forwarder_it_is_not_for_us() -> None:
    stack = new_stack(A4)
    assert receive(stack, syn(1)) == []
    assert stack.dropped == {"ip: not for us": 1}


def test_a_syn_is_held_until_it_is_accepted() -> None:
    stack = new_stack(A4)
    forwarder = stack.forward_tcp()
    assert receive(stack, syn(1), syn(1)) == []  # the peer asks again: the same one
    assert len(forwarder) == 1
    assert stack.take_ready() == [forwarder]
    pending = forwarder.accept()
    assert pending is not None
    assert (pending.local, pending.remote, pending.link) == ((ELSEWHERE, 443), (B4, 1), "peer")
    assert receive(stack, syn(1)) == []
    connection = pending.accept(NOW)
    (answer,) = packets_of(drain(stack, NOW))
    assert (answer[12:16], flags_of(answer)) == (ELSEWHERE.packed, tcp.SYN | tcp.ACK)
    assert (connection.local, connection.state) == ((ELSEWHERE, 443), "SYN_RECEIVED")
    assert not len(forwarder)
    with pytest.raises(EndpointClosed):
        pending.accept(NOW)


def test_a_connection_closed_before_its_handshake_is_over_still_answers_the_syn() -> None:
    """The SYN-ACK, and again when it is lost; the FIN when the handshake is over, behind what was written."""
    pair = Pair()
    forwarder = pair.b.forward_tcp()
    client = pair.a.connect(ELSEWHERE, 443, pair.now, link="b")
    pair.run(until=lambda: forwarder.readable)
    pending = forwarder.accept()
    assert pending is not None
    pair.to_a.drop_next = lambda packet: len(pair.trace) < 3
    far = pending.accept(pair.now)
    far.write(b"brief", pair.now)
    far.close(pair.now)
    pair.run(until=lambda: client.info().unread == 5)
    assert client.read() == b"brief"
    pair.run(until=lambda: client.eof)
    client.close(pair.now)
    pair.run()
    assert (client.error, far.error) == (None, None)
    assert [flags_of(packet) for _, name, packet in pair.trace if name == "b"][:3] == [0x12, 0x12, 0x19]


def test_refused_with_a_reset() -> None:
    stack = new_stack(A4)
    forwarder = stack.forward_tcp()
    receive(stack, syn(1))
    pending = forwarder.accept()
    assert pending is not None
    pending.refuse(NOW)
    (answer,) = packets_of(drain(stack, NOW))
    assert flags_of(answer) == tcp.RST | tcp.ACK
    assert answer[28:32] == (78).to_bytes(4, "big")
    assert pending.is_decided


def test_refused_as_by_a_router() -> None:
    stack = new_stack(A4)
    forwarder = stack.forward_tcp()
    receive(stack, syn(1))
    pending = forwarder.accept()
    assert pending is not None
    pending.refuse(NOW, "icmp")
    (answer,) = packets_of(drain(stack, NOW))
    assert (answer[9], answer[12:16], answer[20:22]) == (1, A4.packed, b"\x03\x01")
    assert syn(1)[20:28] in answer


def test_one_peer_has_two_thirds_at_most_and_all_have_a_limit() -> None:
    stack = new_stack(A4)
    forwarder = stack.forward_tcp(max_in_flight=9)
    receive(stack, *[syn(port) for port in range(1, 20)], link="greedy")
    assert len(forwarder) == 6
    receive(stack, *[syn(port, source="100.64.0.3") for port in range(1, 20)], link="other")
    assert len(forwarder) == 9
    assert stack.dropped["tcp: too many connections in flight"] == 13 + 16


def test_what_nobody_decides_is_forgotten() -> None:
    stack = new_stack(A4)
    forwarder = stack.forward_tcp(max_in_flight=3)
    receive(stack, syn(1), syn(2))
    receive(stack, syn(3), now=NOW + PATIENCE)
    assert len(forwarder) == 1
    assert forwarder.readable
    pending = forwarder.accept()
    assert pending is not None
    assert pending.remote[1] == 3


def test_a_stray_segment_is_reset_and_a_second_forwarder_is_in_the_way() -> None:
    stack = new_stack(A4)
    forwarder = stack.forward_tcp()
    stray = tcp.build(B4.packed, 1, ELSEWHERE.packed, 443, seq=5, ack=9, flags=tcp.ACK)
    (answer,) = receive(stack, stray)
    assert flags_of(answer) == tcp.RST
    with pytest.raises(NetstackError):
        stack.forward_tcp()
    forwarder.close(NOW)
    stack.forward_tcp()


def test_closing_refuses_what_waits() -> None:
    stack = new_stack(A4)
    forwarder = stack.forward_tcp()
    receive(stack, syn(1), syn(2))
    forwarder.close(NOW)
    assert [flags_of(packet) for packet in packets_of(drain(stack, NOW))] == [tcp.RST | tcp.ACK] * 2
    assert len(forwarder) == 0


def test_the_stack_s_own_addresses_keep_their_listeners() -> None:
    stack = new_stack(A4)
    forwarder = stack.forward_tcp()
    stack.listen(443)
    packet = bytearray(syn(1))
    direct = tcp.build(B4.packed, 1, A4.packed, 443, seq=7, flags=tcp.SYN, window=1000)
    (answer,) = receive(stack, direct)
    assert flags_of(answer) == tcp.SYN | tcp.ACK
    assert len(forwarder) == 0
    assert ipv4.parse(bytes(packet))


def taken_on(pair: Pair) -> tuple[TcpConnection, TcpConnection]:
    """A connection from a to an address elsewhere, which b has taken: both its ends."""
    forwarder = pair.b.forward_tcp()
    client = pair.a.connect(ELSEWHERE, 443, pair.now, link="b")
    pair.run(until=lambda: forwarder.readable)
    pending = forwarder.accept()
    assert pending is not None
    return client, pending.accept(pair.now)


def offer_a_gibibyte(pair: Pair, source: TcpConnection, slow: TcpConnection) -> None:
    """What holds while the other end takes 256 KiB a second."""
    offer, offered, taken, most = bytes(1 << 20), 0, 0, 0
    began = pair.now

    def act(now: float) -> None:
        nonlocal offered, taken, most
        if offered < 1 << 30:
            offered += source.write(offer, now)
        due = int((now - began) * (256 << 10)) - taken
        taken += len(slow.read(due)) if due > 0 else 0
        most = max(most, pair.b._tcp.memory.held)

    pair.on_turn = act
    pair.every = 0.05
    pair.run(seconds=8)
    assert taken > 1 << 20
    assert most < 4 << 20
    assert offered < 16 << 20


def test_a_gibibyte_offered_and_under_four_mebibytes_held() -> None:
    """The far side is slow: the near one's window closes, however much it has."""
    pair = Pair(delay=0.005)
    client, far = taken_on(pair)
    offer_a_gibibyte(pair, client, far)
    assert far.info().receive_space <= 2 << 20
    far.abort(pair.now)
    pair.run(until=lambda: client.error == "reset")
    assert pair.b._tcp.memory.held == 0


def test_own_ports_that_nobody_listens_on() -> None:
    """With `unbound` they are held as well; a listener's are its own, and strays are reset."""
    stack = new_stack(A4)
    forwarder = stack.forward_tcp(unbound=True)
    stack.listen(443)
    here = [tcp.build(B4.packed, 1, A4.packed, port, seq=7, flags=tcp.SYN, window=1000) for port in (443, 444)]
    (answer,) = receive(stack, *here)
    assert (flags_of(answer), answer[20:22]) == (tcp.SYN | tcp.ACK, (443).to_bytes(2, "big"))
    pending = forwarder.accept()
    assert pending is not None
    assert pending.local == (A4, 444)
    pending.accept(NOW)
    (answer,) = packets_of(drain(stack, NOW))
    assert flags_of(answer) == tcp.SYN | tcp.ACK
    (answer,) = receive(stack, tcp.build(B4.packed, 1, A4.packed, 445, seq=5, ack=9, flags=tcp.ACK))
    assert flags_of(answer) == tcp.RST


def test_an_accepted_one_is_kept_alive_as_a_listeners() -> None:
    pair = Pair()
    client, far = taken_on(pair)
    pair.run(until=lambda: client.connected and far.connected)
    pair.to_a.loss = 1.0
    pair.run(until=lambda: far.finished, seconds=KEEPALIVE[0] + (KEEPALIVE[2] + 1) * KEEPALIVE[1])
    assert far.error == "timeout"


def test_what_nobody_looks_at_is_not_kept() -> None:
    stack = new_stack(A4)
    forwarder = stack.forward_tcp(max_in_flight=3)
    for number in range(1, 50):
        receive(stack, syn(number), now=NOW + number * PATIENCE)
    assert (len(forwarder), len(forwarder._unseen)) == (1, 1)
    assert forwarder.max_in_flight == 3


def test_a_router_between_the_peer_and_a_forwarded_connection_is_believed() -> None:
    """What it quotes has somebody else's address as its source, who is told, and is ours all the same."""
    pair = Pair(mtu=1500)
    client, far = taken_on(pair)
    pair.run(until=lambda: far.connected)
    far.write(bytes(5000), pair.now)
    longest = max(packets_of(drain(pair.b, pair.now)), key=len)
    assert len(longest) == 1500
    there = longest[12:16]
    assert there == ELSEWHERE.packed
    message = icmp.build(A4.packed, there, icmp.V4_UNREACHABLE, icmp.V4_FRAGMENTATION_NEEDED, 1300, longest[:28])
    pair.b.receive([("a", [build_packet(A4.packed, there, icmp.V4_PROTOCOL, message)])], pair.now)
    assert far.info().mtu == 1300
    received = bytearray()

    def act(now: float) -> None:
        received.extend(client.read())

    pair.on_turn = act
    pair.run(until=lambda: len(received) == 5000, seconds=1)


def test_a_listener_that_was_opened_meanwhile_keeps_what_it_has_taken() -> None:
    pair = Pair()
    forwarder = pair.b.forward_tcp(unbound=True)
    client = pair.a.connect(B4, 443, pair.now, link="b")
    pair.run(until=lambda: forwarder.readable)
    listener = pair.b.listen(443)
    pair.run(until=lambda: client.connected and listener.readable)  # by the SYN that is sent again
    pending = forwarder.accept()
    assert pending is not None
    with pytest.raises(EndpointClosed, match="other means"):
        pending.accept(pair.now)
    assert (pending.is_decided, len(forwarder), client.connected) == (True, 0, True)
    assert pair.b.connections == {"ESTABLISHED": 1}


def test_the_same_port_to_two_ports_makes_two() -> None:
    stack = new_stack(A4)
    forwarder = stack.forward_tcp()
    other = bytearray(syn(1))
    other[23] += 1  # destination port 444
    stack.receive([("peer", [syn(1), bytes(other)])], NOW, verified=True)
    assert len(forwarder) == 2


def test_a_gibibyte_for_a_slow_peer_and_under_four_mebibytes_held() -> None:
    """The other direction: what the far side has to wait with stays there."""
    pair = Pair(delay=0.005)
    client, far = taken_on(pair)
    offer_a_gibibyte(pair, far, client)


def test_a_syn_is_held_for_75_seconds_and_no_own_port_unless_asked_for() -> None:
    stack = new_stack(A4)
    forwarder = stack.forward_tcp()
    receive(stack, syn(1))
    held = []
    for seconds in (74.9, 75):
        receive(stack, syn(2), now=NOW + seconds)
        held.append(len(forwarder))
    assert held == [2, 1]
    own = tcp.build(B4.packed, 9, A4.packed, 443, seq=5, flags=tcp.SYN, window=1000)
    (answer,) = receive(stack, own, now=NOW + 75)
    assert flags_of(answer) == tcp.RST | tcp.ACK

"""Closing: FIN, linger, the backlog and what a closed listener leaves."""

from __future__ import annotations

import pytest

from netstack.wire import tcp
from tests.netstack.packetimpact.states import NOW, established, in_state
from tests.netstack.pair import A4, B4, Pair, drain, new_stack, packets_of


def test_fin_retransmission_in_closing() -> None:
    peer = in_state("CLOSING")
    assert "FA" in [seen.flags for seen in peer.wait(3)]
    peer.send("A")
    assert peer.stack.connections == {"TIME_WAIT": 1}


def test_fin_wait_2_timeout() -> None:
    peer = in_state("FIN_WAIT_2")
    peer.connection.close(peer.now)
    peer.wait(59)
    assert peer.stack.connections == {"FIN_WAIT_2": 1}
    peer.wait(2)
    assert not peer.stack.connections
    peer.send("FA")
    assert [seen.flags for seen in peer.take()] == ["R"]


def test_linger_zero_resets() -> None:
    peer = established()
    peer.connection.set_linger(0)
    peer.connection.write(b"unsent", peer.now)
    peer.connection.close(peer.now)
    assert [seen.flags for seen in peer.take()] == ["RA"]


def test_linger_off_sends_everything() -> None:
    peer = established()
    peer.connection.set_linger(None)
    peer.connection.write(b"unsent", peer.now)
    peer.connection.close(peer.now)
    assert [(seen.payload, seen.flags) for seen in peer.take()] == [(b"unsent", "FPA")]


def test_linger_nonzero_gives_the_peer_so_long() -> None:
    peer = established()
    peer.connection.set_linger(2.0)
    peer.connection.write(b"unsent", peer.now)
    peer.connection.close(peer.now)
    seen = peer.wait(1.9)
    assert {segment.flags for segment in seen} == {"FPA"}
    assert [segment.flags for segment in peer.wait(0.2)][-1:] == ["RA"]
    assert not peer.stack.connections


@pytest.mark.parametrize("seconds", [0.0, 2.0])
def test_linger_with_unsent_data(seconds: float) -> None:
    """The window is closed: what cannot be sent has that long, then the peer hears that it will not come."""
    peer = established()
    peer.send("A", window=0)
    peer.connection.write(bytes(5000), peer.now)
    peer.connection.set_linger(seconds)
    peer.connection.close(peer.now)
    seen = peer.wait(seconds)
    assert not any(segment.size for segment in seen)
    assert (seen[-1].flags, seen[-1].seq) == ("RA", 1)
    assert not peer.stack.connections


def test_linger_after_shutdown() -> None:
    peer = in_state("FIN_WAIT_1")
    peer.connection.set_linger(1.0)
    peer.connection.close(peer.now)
    peer.send("A")
    peer.wait(5)
    assert peer.stack.connections == {"FIN_WAIT_2": 1}  # everything was acknowledged in time
    peer.wait(60)
    assert not peer.stack.connections


def test_listen_backlog_overflow_is_answered_when_there_is_room() -> None:
    """gVisor answers the SYN and then drops the last acknowledgement; here the SYN waits, and nobody asks twice."""
    stack = new_stack(A4)
    listener = stack.listen(80, backlog=1)

    def syn(port: int) -> list[bytes]:
        packet = tcp.build(B4.packed, port, A4.packed, 80, seq=9, flags=tcp.SYN, window=1000)
        stack.receive([("b", [packet])], NOW)
        return packets_of(drain(stack, NOW))

    def acknowledge(port: int, answer: bytes) -> None:
        ack = int.from_bytes(answer[24:28], "big") + 1
        stack.receive([("b", [tcp.build(B4.packed, port, A4.packed, 80, seq=10, ack=ack, flags=tcp.ACK)])], NOW)

    acknowledge(1, *syn(1))
    assert syn(2) == syn(2) == []
    assert stack.connections == {"ESTABLISHED": 1}
    assert listener.accept() is not None
    acknowledge(2, *packets_of(drain(stack, NOW)))
    assert listener.accept() is not None


def test_close_with_unaccepted_children_resets_them() -> None:
    pair = Pair()
    listener = pair.b.listen(80)
    clients = [pair.a.connect(B4, 80, pair.now) for _ in range(3)]
    pair.run(until=lambda: all(client.connected for client in clients) and len(pair.b.connections) > 0)
    pair.run(seconds=1)
    listener.close(pair.now)
    pair.run(seconds=1)
    assert [client.error for client in clients] == ["reset"] * 3

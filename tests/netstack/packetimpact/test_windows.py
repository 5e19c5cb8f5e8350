"""Windows: closed, shrunk, reduced, too small; cork and segment size."""

from __future__ import annotations

from itertools import pairwise

import pytest

from netstack.tcp.tcb import MIN_MSS
from tests.netstack.packetimpact.states import MSS, established
from tests.netstack.peer import Peer


def test_window_shrink_by_the_peer() -> None:
    peer = established()
    peer.connection.write(bytes(10 * MSS), peer.now)
    peer.take()
    peer.send("A", ack=1 + MSS, window=1)
    peer.connection.write(bytes(MSS), peer.now)
    assert all(not seen.size for seen in peer.take())
    peer.send("A", window=500)
    assert sum(seen.size for seen in peer.take()) == MSS


def test_zero_receive_window_is_announced_and_updated() -> None:
    peer = Peer(scale=None)
    peer.connect()
    windows = [65_535]
    while windows[-1] > 0:
        peer.send("A", payload=bytes(min(1000, windows[-1])))
        windows += [seen.window for seen in peer.wait(0.05)]
    peer.send("A", payload=b"x")  # a probe with data
    (answer,) = peer.wait(0.05)
    assert (answer.window, answer.ack) == (0, peer.seq - 1)
    peer.connection.read()
    assert peer.take()[-1].window > 30_000


def test_zero_window_probe_content_backoff_and_answer() -> None:
    peer = established()
    peer.send("A", window=0)
    peer.connection.write(b"waiting", peer.now)
    times = []
    for _ in range(5):
        (probe,) = peer.next()
        assert (probe.size, probe.seq) == (0, 0)
        times.append(peer.now)
        peer.send("A", window=0)
    steps = [later - earlier for earlier, later in pairwise(times)]
    assert steps == pytest.approx([2 * steps[0] * 2**index / 2 for index in range(4)])
    peer.send("A", window=100)
    assert [seen.payload for seen in peer.take()] == [b"waiting"]


def test_zero_window_probe_retransmission() -> None:
    """Nobody answers: the same probe again and again, ever more rarely, and in the end the peer counts as gone."""
    peer = established()
    peer.send("A", window=0)
    peer.connection.write(b"waiting", peer.now)
    times = []
    for _ in range(10):
        (probe,) = peer.next()
        assert (probe.seq, probe.size) == (0, 0)
        times.append(peer.now)
    steps = [later - earlier for earlier, later in pairwise(times)]
    assert all(later == pytest.approx(min(2 * earlier, 120.0)) for earlier, later in pairwise(steps))
    peer.wait(3600)
    assert peer.connection.error == "timeout"


def test_a_window_too_small_for_a_segment_is_filled_after_a_while() -> None:
    """RFC 9293 3.8.6.2.1: silly window avoidance has an override."""
    peer = Peer(scale=0)
    peer.window = 60_000
    peer.connect()
    peer.send("A", window=100)
    peer.connection.write(bytes(5000), peer.now)
    assert peer.take() == []
    assert next(seen.size for seen in peer.wait(1.1) if seen.size) == 100


def test_handshake_window_scaling() -> None:
    peer = Peer(scale=3)
    peer.window = 4000
    peer.connect()
    assert peer.connection.info().send_window == 4000  # a SYN's is never scaled
    peer.send("A", window=4000)
    assert peer.connection.info().send_window == 32_000


def test_piggybacked_windows() -> None:
    peer = established()
    peer.connection.write(bytes(9 * MSS), peer.now)
    una = peer.take()[0].seq
    peer.send("PA", payload=b"data", ack=una + 9 * MSS, window=7)
    assert peer.connection.info().send_window == 7 << 8
    peer.connection.write(bytes(9 * MSS), peer.now)
    assert sum(seen.size for seen in peer.take()) <= 7 << 8
    peer.send("PA", payload=b"more", window=19)
    peer.take()
    assert 3 * MSS <= peer.connection.info().outstanding <= 19 << 8


def test_a_reduced_receive_buffer_never_moves_the_edge_left() -> None:
    peer = established()
    edge = 0
    for number in range(20):
        if number == 5:
            peer.connection.set_receive_buffer(4096)
        peer.send("A", payload=bytes(1000))
        for seen in peer.take():
            assert seen.ack + (seen.window << 8) >= edge
            edge = seen.ack + (seen.window << 8)
    assert peer.connection.info().receive_space == 4096


@pytest.mark.parametrize("size", [MSS - 1, MSS, MSS + 1, 2 * MSS, 2 * MSS + 1])
def test_cork_and_the_segment_s_boundary(size: int) -> None:
    peer = established()
    peer.connection.set_cork(True, peer.now)
    peer.connection.write(bytes(size), peer.now)
    assert sum(seen.size for seen in peer.take()) == size // MSS * MSS
    peer.connection.set_cork(False, peer.now)
    assert sum(seen.size for seen in peer.take()) == size % MSS


def test_a_cork_holds_no_longer_than_a_timeout() -> None:
    peer = established()
    peer.connection.set_cork(True, peer.now)
    peer.connection.write(b"little", peer.now)
    assert [seen.payload for seen in peer.wait(0.3)] == [b"little"]


def test_a_tiny_mss_is_not_believed() -> None:
    peer = Peer(stamps=False)
    peer.mss = 1
    peer.connect()
    assert peer.connection.info().mss == MIN_MSS

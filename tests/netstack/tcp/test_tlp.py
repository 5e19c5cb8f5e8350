"""The tail's probe: when, what, and what its answer means."""

from __future__ import annotations

import math

import pytest

from netstack.tcp.tlp import TailLossProbe, probe_timeout
from tests.netstack.pair import Pair
from tests.netstack.peer import Peer

MSS = 1208


def measured() -> Peer:
    peer = Peer()
    peer.connect(rtt=0.1)
    return peer


def test_two_round_trips_or_more_for_a_lone_segment() -> None:
    assert probe_timeout(0.1, lone=False) == pytest.approx(0.202)
    assert probe_timeout(0.1, lone=True) == pytest.approx(0.4)
    assert probe_timeout(0.0, lone=True) == 1.0


def test_the_last_segment_goes_again() -> None:
    peer = measured()
    peer.connection.write(bytes(5 * MSS), peer.now)
    peer.take()
    began = peer.now
    (probe,) = peer.next()
    assert (probe.seq, probe.size) == (1 + 4 * MSS, MSS)
    assert peer.now - began == pytest.approx(0.2, abs=0.01)
    info = peer.connection.info()
    assert (info.packets_retransmitted, info.retries, info.ca_state) == (1, 0, "open")


def test_new_data_goes_first() -> None:
    peer = measured()
    peer.connection.write(bytes(12 * MSS), peer.now)
    assert len(peer.take()) == 10
    (probe,) = peer.next()
    assert (probe.seq, probe.size) == (1 + 10 * MSS, MSS)
    assert peer.connection.info().packets_retransmitted == 0


def test_only_one_is_out_then_the_timer() -> None:
    peer = measured()
    peer.connection.write(bytes(2 * MSS), peer.now)
    peer.take()
    peer.next()
    (resent,) = peer.next()
    assert (resent.seq, peer.connection.info().retries) == (1, 1)


def test_a_repaired_loss_cuts_the_window() -> None:
    peer = measured()
    peer.connection.write(bytes(3 * MSS), peer.now)
    peer.take()
    peer.next()
    peer.clock.advance(0.1)
    peer.send("A")
    peer.connection.write(bytes(MSS), peer.now)
    peer.take()
    peer.clock.advance(0.1)
    peer.send("A")  # beyond the probe, and nobody has seen two
    info = peer.connection.info()
    assert info.ssthresh == 7 * MSS
    assert info.cwnd <= 8 * MSS


def test_a_duplicate_means_that_nothing_was_lost() -> None:
    peer = measured()
    peer.connection.write(bytes(3 * MSS), peer.now)
    peer.take()
    peer.next()
    peer.clock.advance(0.1)
    peer.send("A", ack=1 + 3 * MSS, blocks=[(1 + 2 * MSS, 1 + 3 * MSS)])
    assert peer.connection.info().ssthresh == math.inf
    assert not peer.connection._tcb.recovery.tlp.is_out


def test_answers_by_numbers() -> None:
    for is_resend, ack, duplicate, nothing_new, repaired, out in (
        (True, 50, False, False, False, True),
        (True, 100, False, False, False, True),
        (True, 100, False, True, False, False),
        (True, 100, True, False, False, False),
        (True, 101, False, False, True, False),
        (False, 100, False, False, False, False),
    ):
        probe = TailLossProbe()
        probe.sent(100, is_resend=is_resend)
        assert probe.acknowledged(ack, duplicate=duplicate, nothing_new=nothing_new) is repaired
        assert probe.is_out is out


@pytest.mark.parametrize("lost", [1, 2, 5])
def test_a_lost_tail_is_repaired_without_a_timeout(lost: int) -> None:
    pair = Pair(delay=0.05)
    client, server = pair.connected()
    count = 0

    def drop(packet: bytes) -> bool:
        nonlocal count
        count += len(packet) > 1000
        return 10 - lost < count <= 10 and len(packet) > 1000

    pair.to_b.drop_next = drop
    client.write(bytes(12_200), pair.now)
    began = pair.now
    pair.run(until=lambda: server.info().unread == 12_200)
    assert client.info().retries == 0
    assert pair.now - began < (0.65 if lost == 1 else 0.8)

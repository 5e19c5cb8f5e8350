"""Reno: half, and a segment a round trip."""

from __future__ import annotations

import pytest

from netstack.tcp.reno import Reno
from tests.netstack.peer import Peer

MSS = 1000


def test_half_after_a_loss_in_whole_segments() -> None:
    reno = Reno(MSS)
    reno.cwnd = 11.0 * MSS
    reno.on_loss()
    assert reno.ssthresh == 5 * MSS


def test_one_segment_a_window() -> None:
    reno = Reno(MSS)
    reno.cwnd = reno.ssthresh = 10.0 * MSS
    for _ in range(10):
        reno.on_ack(MSS, 1.0, 0.1)
    assert reno.cwnd == pytest.approx(11 * MSS, rel=0.01)


def test_it_can_be_chosen_for_a_connection_and_keeps_the_window() -> None:
    peer = Peer()
    connection = peer.connect()
    before = connection.info()
    connection.set_congestion("reno")
    after = connection.info()
    assert (before.congestion, after.congestion) == ("cubic", "reno")
    assert (before.cwnd, before.ssthresh) == (after.cwnd, after.ssthresh)
    with pytest.raises(ValueError, match="vegas"):
        connection.set_congestion("vegas")

"""TcpInfo: the scoreboard in segments, the state of repair, the times."""

from __future__ import annotations

import pytest

from tests.netstack.peer import Peer

MSS = 1208


def test_a_fresh_connection() -> None:
    info = Peer().connect(rtt=0.1).info()
    assert (info.state, info.ca_state, info.cwnd, info.mss) == ("ESTABLISHED", "open", 10 * MSS, MSS)
    assert (info.send_scale, info.receive_scale, info.has_sack, info.has_timestamps) == (8, 8, True, True)
    assert (info.advertised_mss, info.mtu, info.reordering, info.dsacks) == (1240, 1280, 3, 0)
    assert info.srtt == pytest.approx(0.1)
    assert info.app_limited


def test_segments_are_counted_in_each_state() -> None:
    peer = Peer()
    peer.connect(rtt=0.1)
    peer.connection.write(bytes(8 * MSS), peer.now)
    una = peer.take()[0].seq
    assert peer.connection.info().packets_out == 8
    peer.clock.advance(0.1)
    peer.send("A", ack=una, blocks=[(una + MSS, una + 2 * MSS)])
    assert peer.connection.info().ca_state == "disorder"
    peer.send("A", ack=una, blocks=[(una + MSS, una + 5 * MSS)])
    info = peer.connection.info()
    assert (info.ca_state, info.packets_sacked, info.packets_lost, info.packets_retransmitting) == ("recovery", 4, 1, 0)
    peer.take()
    info = peer.connection.info()
    assert (info.packets_retransmitting, info.packets_retransmitted, info.delivered) == (1, 1, 4)


def test_times() -> None:
    peer = Peer(scale=0)
    peer.window = MSS
    peer.connect()
    peer.connection.write(bytes(3 * MSS), peer.now)
    peer.take()
    began = peer.now
    peer.clock.advance(0.25)
    info = peer.connection.info(peer.now)
    assert info.busy_time == pytest.approx(0.25)
    assert info.window_limited_time == pytest.approx(0.25)
    assert info.data_sent_time == began


def test_what_comes_is_counted() -> None:
    peer = Peer()
    connection = peer.connect()
    peer.send("A", seq=501, payload=bytes(500))
    peer.send("A", payload=bytes(500))
    info = connection.info()
    assert (info.segments_received, info.out_of_order_packets, info.bytes_received) == (3, 1, 1000)
    assert info.data_received_time == peer.now


def test_the_sender_is_busy_until_all_is_acknowledged() -> None:
    peer = Peer()
    peer.connect()
    peer.clock.advance(1.0)
    peer.connection.write(b"x" * 100, peer.now)
    peer.take()
    peer.clock.advance(0.25)
    peer.send("A")
    peer.clock.advance(2.0)
    info = peer.connection.info(peer.now)
    assert info.busy_time == pytest.approx(0.25)
    assert info.window_limited_time == 0.0

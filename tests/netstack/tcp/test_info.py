"""TcpInfo: the scoreboard in segments, the state of repair, the times."""

from __future__ import annotations

import math

import pytest

from netstack.tcp.info import TcpInfo
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


NOTHING_YET = TcpInfo(
    state="SYN_SENT",
    srtt=0,
    rttvar=0,
    min_rtt=math.inf,
    rto=1.0,
    mss=216,
    cwnd=2160,
    ssthresh=math.inf,
    in_flight=1,
    lost=0,
    sacked=0,
    retransmitted=0,
    retries=0,
    bytes_sent=0,
    bytes_acked=0,
    bytes_received=0,
    send_window=0,
    receive_window=0,
    unsent=0,
    unread=0,
    out_of_order=0,
    ca_state="open",
    congestion="cubic",
    probes=0,
    backoff=0,
    send_scale=0,
    receive_scale=8,
    has_timestamps=False,
    has_sack=False,
    receive_mss=536,
    advertised_mss=1240,
    mtu=1280,
    outstanding=1,
    retransmitting=0,
    packets_out=1,
    packets_sacked=0,
    packets_lost=0,
    packets_retransmitting=0,
    packets_retransmitted=0,
    segments_sent=1,
    segments_received=0,
    delivered=0,
    app_limited=True,
    reordering=3,
    reorderings=0,
    dsacks=0,
    out_of_order_packets=0,
    receive_rtt=math.inf,
    receive_space=1 << 20,
    send_limit=1 << 18,
    data_sent_time=1000.0,
    data_received_time=1000.0,
    ack_received_time=1000.0,
    busy_time=0,
    window_limited_time=0,
    buffer_limited_time=0,
)


def test_a_syn_is_out_and_nothing_is_known() -> None:
    assert Peer().dial().info() == NOTHING_YET


def test_what_a_handshake_tells() -> None:
    peer = Peer()
    connection = peer.dial()
    peer.clock.advance(0.25)
    peer.answer()
    peer.take()
    assert connection.info() == NOTHING_YET._replace(
        state="ESTABLISHED",
        srtt=0.25,
        rttvar=0.125,
        min_rtt=0.25,
        rto=0.75,
        in_flight=0,
        mss=1208,
        cwnd=12_080,
        bytes_acked=1,
        send_window=65_535,
        receive_window=1 << 20,
        send_scale=8,
        has_timestamps=True,
        has_sack=True,
        outstanding=0,
        packets_out=0,
        segments_sent=2,
        segments_received=1,
        data_received_time=1000.25,
        ack_received_time=1000.25,
    )


def test_each_counter_counts_its_own() -> None:
    """Four segments and a bit: one arrives, the second is sacked, the rest is lost and goes again, more waits."""
    peer = Peer()
    connection = peer.connect(rtt=0.25)
    peer.send("A", payload=bytes(700))
    peer.connection.write(bytes(4 * MSS + 100), peer.now)
    peer.take()
    peer.clock.advance(0.25)
    peer.send("A", ack=1 + MSS, blocks=[(1 + 2 * MSS, 1 + 3 * MSS)])
    peer.send("A", seq=peer.seq + 50, payload=bytes(30), ack=1 + MSS, blocks=[(1 + 2 * MSS, 1 + 3 * MSS)])
    info = connection.info(peer.now)
    assert (info.ca_state, info.sacked, info.packets_sacked) == ("disorder", MSS, 1)
    assert (info.outstanding, info.packets_out) == (3 * MSS + 100, 4)
    assert (info.bytes_sent, info.bytes_acked, info.delivered) == (4 * MSS + 100, 1 + 2 * MSS, 2)
    assert (info.bytes_received, info.unread, info.out_of_order, info.out_of_order_packets) == (700, 700, 30, 1)
    assert (info.receive_mss, info.segments_received, info.unsent) == (700, 4, 0)
    assert info.busy_time == pytest.approx(0.25)
    while connection.info().retries == 0:
        peer.clock.advance_to(peer.stack.deadline())
        peer.take()
    info = connection.info()
    assert (info.ca_state, info.retries, info.backoff) == ("loss", 1, 1)
    assert (info.packets_lost, info.packets_sacked) == (3, 1)


def test_data_that_waits_for_a_window_is_unsent() -> None:
    peer = Peer()
    connection = peer.connect()
    peer.send("A", window=0)
    connection.write(bytes(500), peer.now)
    peer.take()
    info = connection.info()
    assert (info.unsent, info.in_flight, info.send_window) == (500, 0, 0)
    assert not info.app_limited
    peer.wait(1.0)
    assert connection.info().probes == 2


def test_without_sack_duplicates_count_as_sacked() -> None:
    peer = Peer(sack=False)
    connection = peer.connect(rtt=0.1)
    connection.write(bytes(6 * 1208), peer.now)
    peer.take()
    for _ in range(3):  # the first says how large the window is, scaled
        peer.send("A", ack=1)
    info = connection.info()
    assert (info.packets_sacked, info.packets_out, info.ca_state) == (2, 6, "disorder")


def test_the_fin_is_no_unsent_byte() -> None:
    peer = Peer()
    connection = peer.connect()
    connection.shutdown_write(peer.now)
    assert connection.info().unsent == 0
    peer.take()
    assert (connection.info().unsent, connection.info().outstanding) == (0, 1)


@pytest.mark.parametrize(("written", "segments"), [(1, 1), (MSS, 1), (MSS + 1, 2)])
def test_a_part_of_a_segment_counts_as_one(written: int, segments: int) -> None:
    peer = Peer()
    connection = peer.connect()
    connection.set_nodelay(True)
    connection.write(bytes(written), peer.now)
    peer.take()
    assert connection.info().packets_out == segments
    peer.send("A")
    assert connection.info().delivered == segments
    connection._tcb.recovery.rack.reordering = 3 * MSS + written
    assert connection.info().reordering == 3 + segments

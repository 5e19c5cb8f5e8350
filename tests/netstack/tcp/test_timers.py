"""Each timer: when it is set, what it does, when it gives up."""

from __future__ import annotations

import math

import pytest

from netstack.tcp import timers
from netstack.tcp.settings import DEFAULTS
from netstack.tcp.tcb import TIMERS
from tests.netstack.peer import Peer, quiet


def test_the_table_in_the_docstring_has_every_timer() -> None:
    assert timers.__doc__ is not None
    for name in TIMERS:
        assert f"| {name} " in timers.__doc__


def test_a_syn_is_sent_seven_times_then_it_is_a_timeout() -> None:
    peer = Peer()
    began = peer.now
    peer.dial()
    seen = peer.wait(200)
    assert [segment.flags for segment in seen] == ["S"] * DEFAULTS.syn_retries
    assert (peer.connection.state, peer.connection.error) == ("CLOSED", "timeout")
    assert peer.stack.take_ready() == [peer.connection]
    assert quiet(peer.stack)
    assert peer.now - began == 200


def test_a_syn_ack_is_sent_six_times_then_forgotten() -> None:
    peer = Peer()
    peer.stack.listen(8080)
    peer.port, peer.their_port = 5000, 8080
    peer.send("S", seq=0, options=peer.syn_options())
    seen = peer.wait(100)
    assert [segment.flags for segment in seen] == ["SA"] * (1 + DEFAULTS.synack_retries)
    assert not peer.stack.connections
    assert peer.stack.take_ready() == []


def test_data_is_sent_sixteen_times_ever_more_rarely() -> None:
    peer = Peer()
    peer.connect()
    peer.connection.write(b"data", peer.now)
    seen = peer.wait(3000)
    assert [segment.payload for segment in seen] == [b"data"] * (
        1 + 1 + 15
    )  # the first time, the tail probe, and after each timeout
    assert peer.connection.error == "timeout"


def test_a_fin_is_sent_again() -> None:
    peer = Peer()
    peer.connect()
    peer.connection.shutdown_write(peer.now)
    assert [segment.flags for segment in peer.wait(4)][:2] == ["FA", "FA"]
    peer.send("A")
    assert peer.connection.state == "FIN_WAIT_2"


def test_a_fin_is_sent_again_in_closing() -> None:
    peer = Peer()
    peer.connect()
    peer.connection.shutdown_write(peer.now)
    peer.take()
    peer.send("FA", ack=1)
    peer.take()
    assert "FA" in [segment.flags for segment in peer.wait(4)]


def test_probes_grow_rare_and_go_on_while_they_are_answered() -> None:
    peer = Peer(scale=0)
    peer.connect()
    peer.send("A", window=0)
    peer.connection.write(b"x" * 5000, peer.now)
    peer.take()
    gaps = []
    for _ in range(40):
        before = peer.now
        (probe,) = peer.next()
        gaps.append(peer.now - before)
        assert (probe.seq, probe.size) == (0, 0)
        peer.send("A", window=0)
        assert peer.take() == []
    assert gaps[1] > gaps[0]
    assert gaps[-1] == 120.0
    assert peer.connection.error is None


def test_probes_that_nobody_answers_end_it() -> None:
    peer = Peer(scale=0)
    peer.connect()
    peer.send("A", window=0)
    peer.connection.write(b"x", peer.now)
    peer.wait(3000)
    assert peer.connection.error == "timeout"


def test_keepalive_probes_then_gives_up_with_a_reset() -> None:
    peer = Peer()
    peer.connect()
    peer.connection.set_keepalive((60.0, 10.0, 3), peer.now)
    assert peer.wait(59) == []
    seen = peer.wait(60)
    assert [(segment.flags, segment.seq) for segment in seen] == [("A", 0)] * 3 + [("RA", 1)]
    assert peer.connection.error == "timeout"


def test_keepalive_is_content_with_any_answer() -> None:
    peer = Peer()
    peer.connect()
    peer.connection.set_keepalive((60.0, 10.0, 3), peer.now)
    for _ in range(5):
        assert len(peer.wait(61)) == 1
        peer.send("A")
    assert peer.connection.error is None
    peer.connection.set_keepalive(None, peer.now)
    assert peer.wait(1000) == []
    assert quiet(peer.stack)


def test_accepted_connections_are_kept_alive() -> None:
    peer = Peer()
    peer.listen()
    began = peer.now
    peer.next()
    assert peer.now == pytest.approx(began + 300)


def test_fin_wait_2_ends_after_a_minute_if_nobody_waits() -> None:
    peer = Peer()
    peer.connect()
    peer.connection.close(peer.now)
    peer.take()
    peer.send("A")
    assert peer.stack.connections["FIN_WAIT_2"] == 1
    peer.wait(DEFAULTS.fin_timeout + 1)
    assert not peer.stack.connections
    assert quiet(peer.stack)


def test_fin_wait_2_waits_for_an_application_that_reads() -> None:
    peer = Peer()
    peer.connect()
    peer.connection.shutdown_write(peer.now)
    peer.take()
    peer.send("A")
    peer.wait(1000)
    assert peer.stack.deadline() == math.inf
    peer.connection.close(peer.now)
    peer.take()
    assert peer.stack.deadline() == peer.now + DEFAULTS.fin_timeout


def test_a_clock_that_jumps_an_hour_costs_one_retransmission() -> None:
    peer = Peer()
    peer.connect()
    peer.connection.write(b"data", peer.now)
    peer.take()
    peer.clock.advance(3600)
    peer.send("A")  # what had arrived before is processed before the timer
    assert peer.take() == []
    assert peer.connection.info().retries == 0


def test_data_too_says_that_the_peer_is_alive() -> None:
    peer = Peer()
    peer.connect()
    peer.connection.set_keepalive((60.0, 10.0, 3), peer.now)
    peer.wait(71)
    assert peer.connection.info().probes == 2
    peer.send("A", payload=b"here")
    assert peer.connection.info().probes == 0
    seen = peer.wait(100)
    assert [segment.flags for segment in seen if segment.seq == 0] == ["A"] * 3
    assert peer.connection.error == "timeout"

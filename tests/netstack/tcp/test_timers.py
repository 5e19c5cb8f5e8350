"""Each timer: when it is set, what it does, when it gives up."""

from __future__ import annotations

import math

import pytest

from netstack.tcp import timers
from netstack.tcp.recovery import OPEN
from netstack.tcp.settings import DEFAULTS
from netstack.tcp.tcb import TIMERS
from tests.netstack.pair import Pair
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


def test_what_was_written_before_the_close_is_sent_as_often() -> None:
    """Unlike in Linux, which gives up after eight: on a bad path that is too soon. Then nothing of it stays."""
    peer = Peer()
    peer.connect()
    peer.connection.write(b"data", peer.now)
    peer.connection.close(peer.now)
    seen = peer.wait(3000)
    assert [segment.payload for segment in seen] == [b"data"] * (1 + 1 + 15)
    assert (dict(peer.stack.connections), peer.stack._tcp.memory.held) == ({}, 0)
    assert quiet(peer.stack)


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
    assert peer.now == pytest.approx(began + 7200)


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


def closed_window(**options: float) -> Peer:
    """A round trip of 100 ms is known, so a timeout of 300; 5000 bytes wait for a window."""
    peer = Peer(scale=0)
    peer.connect(rtt=0.1)
    if "user_timeout" in options:
        peer.connection.set_user_timeout(options["user_timeout"], peer.now)
    peer.send("A", window=0)
    peer.connection.write(b"x" * 5000, peer.now)
    assert peer.take() == []
    return peer


def instants(peer: Peer, count: int, answer: bool = False) -> list[float]:
    """When the next segments leave, in seconds from now."""
    began, seen = peer.now, []
    for _ in range(count):
        peer.next()
        seen.append(round(peer.now - began, 6))
        if answer:
            peer.send("A", window=0)
    return seen


@pytest.mark.parametrize("answer", [True, False])
def test_a_closed_window_is_probed_at_the_timeout_and_then_at_twice_the_distance(answer: bool) -> None:
    """RFC 9293 §3.8.6.1, up to two minutes; whether it is answered makes no difference to that."""
    peer = closed_window()
    gaps = [0.3 * 2**number for number in range(9)] + [120.0, 120.0]
    expected = [sum(gaps[: number + 1]) for number in range(len(gaps))]
    assert instants(peer, len(gaps), answer) == pytest.approx(expected)


@pytest.mark.parametrize(("closes", "probes"), [(False, 15), (True, 8)])
def test_how_many_probes_stay_unanswered_before_it_ends(closes: bool, probes: int) -> None:
    """Linux's tcp_retries2, and tcp_orphan_retries when nobody holds the connection any more."""
    peer = closed_window()
    if closes:
        peer.connection.close(peer.now)
    assert [(seen.seq, seen.size) for seen in peer.wait(3000)] == [(0, 0)] * probes
    assert peer.connection.error == "timeout"


@pytest.mark.parametrize(("timeout", "probes"), [(0.2, 0), (2.0, 2), (2.2, 3)])
def test_a_closed_window_ends_at_the_users_timeout(timeout: float, probes: int) -> None:
    peer = closed_window(user_timeout=timeout)
    assert len(peer.wait(timeout - 0.001)) == probes
    assert peer.connection.error is None
    peer.wait(0.002)
    assert peer.connection.error == "timeout"


def test_a_window_too_small_to_be_worth_it_is_used_after_a_timeout() -> None:
    """RFC 1122 §4.2.3.4: the override of silly window avoidance; no probe, for the window is open."""
    peer = closed_window()
    peer.send("A", window=100)
    assert peer.take() == []
    (seen,) = peer.next()
    assert (seen.seq, seen.size) == (1, 100)


def test_a_fin_alone_waits_for_a_window_and_asks() -> None:
    peer = Peer(scale=0)
    peer.connect(rtt=0.1)
    peer.send("A", window=0)
    peer.connection.shutdown_write(peer.now)
    assert peer.take() == []
    assert [(seen.flags, seen.seq) for seen in peer.next()] == [("A", 0)]
    peer.send("A", window=1000)
    assert [(seen.flags, seen.seq) for seen in peer.take()] == [("FA", 1)]
    peer.send("A")
    assert peer.wait(1000) == []


def test_a_window_that_opens_ends_the_probes() -> None:
    peer = closed_window()
    instants(peer, 3)
    peer.send("A", window=10_000)
    assert sum(seen.size for seen in peer.take()) == 5000
    peer.send("A", window=0)
    assert peer.wait(1000) == []
    assert quiet(peer.stack)


# keepalive ------------------------------------------------------------------------------------------------------


def kept_alive(user_timeout: float | None = None) -> Peer:
    peer = Peer()
    peer.connect(rtt=0.1)
    peer.connection.set_user_timeout(user_timeout, peer.now)
    peer.connection.set_keepalive((10.0, 2.0, 3), peer.now)
    return peer


def test_keepalive_counts_from_the_last_segment_that_came() -> None:
    peer = kept_alive()
    peer.clock.advance(4)
    peer.send("PA", payload=b"x")
    peer.wait(1)
    assert instants(peer, 3) == [9, 11, 13]  # five have passed
    peer.send("A")
    assert instants(peer, 4) == [10, 12, 14, 16]
    assert peer.connection.error == "timeout"


@pytest.mark.parametrize(
    ("timeout", "probes", "ends"),
    [(5.0, [10], 12), (12.0, [10], 12), (12.1, [10, 12], 14), (30.0, [10, 12, 14, 16, 18, 20, 22, 24, 26, 28], 30)],
)
def test_the_users_timeout_takes_the_place_of_the_count(timeout: float, probes: list[float], ends: float) -> None:
    """As in Linux; but at least one probe goes first."""
    peer = kept_alive(timeout)
    assert instants(peer, len(probes) + 1) == pytest.approx([*probes, ends])
    assert peer.connection.error == "timeout"


def test_while_data_is_out_other_timers_watch_the_peer() -> None:
    peer = kept_alive()
    peer.connection.write(b"data", peer.now)
    assert {seen.seq for seen in peer.wait(60)} == {1}
    peer.send("A")
    seen = peer.wait(25)
    assert [segment.seq for segment in seen] == [4, 4, 4, 5]
    assert seen[-1].flags == "RA"


def test_while_a_window_is_probed_keepalive_is_not_needed() -> None:
    peer = Peer(scale=0)
    peer.connect(rtt=0.1)
    peer.send("A", window=0)
    peer.connection.set_keepalive((1.0, 1.0, 2), peer.now)
    peer.connection.write(b"x", peer.now)
    peer.take()
    assert instants(peer, 5, answer=True) == pytest.approx([0.3, 0.9, 2.1, 4.5, 9.3])


# retransmission -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("written", [2.0, 2.001])
def test_data_ends_at_the_users_timeout(written: float) -> None:
    peer = Peer()
    peer.connect(rtt=0.1)
    peer.connection.set_user_timeout(written, peer.now)
    peer.connection.write(b"data", peer.now)
    began = peer.now
    peer.take()
    while peer.connection.error is None:
        peer.clock.advance_to(peer.stack.deadline())
        peer.take()
    assert peer.now == pytest.approx(began + written)
    assert peer.connection.error == "timeout"


@pytest.mark.parametrize(
    ("v6", "size", "mtus", "mss"),
    [
        (False, 3 * 1208, [1280, 1280, 1280, 1024], 972),
        (False, 1207, [1280] * 4, 1208),  # not a full segment: it was not too long
        (True, 3 * 1208, [1280] * 4, 1208),  # what every link of IPv6 can carry
    ],
)
def test_full_segments_that_vanish_four_times_may_be_too_long(v6: bool, size: int, mtus: list[int], mss: int) -> None:
    """RFC 4821 §7.7."""
    peer = Peer(v6=v6)
    peer.connect(rtt=0.1)
    peer.connection.write(bytes(size), peer.now)
    peer.take()
    seen: list[int] = []
    while len(seen) < 4:
        peer.next()
        info = peer.connection.info()
        if info.retries > len(seen):
            seen.append(info.mtu)
    assert seen == mtus
    assert peer.connection.info().mss == mss


@pytest.mark.parametrize(("v6", "mtu", "after"), [(False, 1500, 1280), (True, 1500, 1280), (False, 1282, 1280)])
def test_a_longer_path_is_first_cut_to_1280(v6: bool, mtu: int, after: int) -> None:
    pair = Pair(mtu=mtu)
    client, _ = pair.connected(v6=v6)
    client.write(bytes(5000), pair.now)
    pair.to_b.drop_next = lambda packet: True
    pair.run(until=lambda: client.info().retries == 4)
    assert client.info().mtu == after


def test_a_syn_is_sent_again_at_twice_the_distance() -> None:
    """Linux's tcp_syn_retries: the last waits for as long as one more would take."""
    peer = Peer()
    peer.dial()
    assert instants(peer, 6) == [1, 3, 7, 15, 31, 63]
    peer.wait(63.9)
    assert peer.connection.error is None
    peer.wait(0.2)
    assert peer.connection.error == "timeout"


def test_a_soft_error_names_the_reason_when_it_ends() -> None:
    peer = Peer()
    peer.connect()
    peer.connection._tcb.soft_error = "host unreachable"
    peer.connection.write(b"data", peer.now)
    peer.wait(3000)
    assert peer.connection.error == "host unreachable"


def test_a_tail_probe_waits_for_what_was_sent_last() -> None:
    """RFC 8985 §7.2: the timer is set anew with each transmission; here only when it is due."""
    peer = Peer()
    peer.connect(rtt=0.4)
    peer.connection.set_nodelay(True)
    for _ in range(2):
        peer.connection.write(bytes(1208), peer.now)
        peer.take()
        peer.clock.advance(0.3)
    (probe,) = peer.next()
    assert peer.now == pytest.approx(1000.4 + 0.3 + 0.802)
    assert (probe.seq, peer.connection.info().retries) == (1 + 1208, 0)
    rto_at = peer.connection._tcb.rto_at
    assert rto_at == pytest.approx(peer.now + peer.connection.info().rto)


# a path that was gone -------------------------------------------------------------------------------------------


def silent(seconds: float, *, size: int = 100, **options: float) -> Peer:
    """So many bytes wait, or have been sent for nothing, for so long; a timeout begins at 0.3 s."""
    peer = Peer()
    peer.connect(rtt=0.1)
    if "user_timeout" in options:
        peer.connection.set_user_timeout(options["user_timeout"], peer.now)
    peer.connection.write(bytes(size), peer.now)
    peer.wait(seconds)
    return peer


def restored(peer: Peer, link: str = "peer") -> list[tuple[str, int, int]]:
    peer.stack.path_restored(link, peer.now)
    return [(seen.flags, seen.seq, seen.size) for seen in peer.take()]


def test_a_restored_path_gets_the_first_segment_at_once_and_the_backoff_begins_anew() -> None:
    """RFC 6069: what was lost to the path and not to congestion makes nothing wait."""
    peer = silent(118)
    assert peer.stack.deadline() > peer.now + 30
    assert restored(peer) == [("PA", 1, 100)]
    assert instants(peer, 3) == pytest.approx([0.6, 1.8, 4.2])


def test_the_rest_follows_the_acknowledgement_of_the_first() -> None:
    peer = silent(118, size=100_000)
    assert sum(size for _, _, size in restored(peer)) == 1208
    for _ in range(20):
        peer.clock.advance(0.1)
        peer.send("A")
        peer.take()
    assert peer.received == 100_001
    assert peer.connection.info().in_flight == 0


def test_without_a_word_of_it_the_next_segment_waits_for_its_timer() -> None:
    peer = silent(118)
    assert restored(peer, "another") == []
    began = peer.now
    peer.next()
    assert peer.now > began + 30


def test_a_path_that_comes_and_goes_gets_a_segment_each_timeout_and_no_more() -> None:
    peer = silent(118)
    seen = []
    for _ in range(100):
        seen += restored(peer)
        peer.clock.advance(0.01)
    assert seen == [("PA", 1, 100)] * 4  # in a second, of 0.3 s each


def test_what_has_not_backed_off_is_left_alone() -> None:
    peer = Peer()
    peer.connect(rtt=0.1)
    peer.connection.write(b"data", peer.now)
    peer.take()
    before = peer.stack.deadline()
    assert restored(peer) == []
    assert peer.stack.deadline() == before
    peer.wait(118)
    peer.send("A")
    assert restored(peer) == []
    assert peer.wait(1000) == []


def test_full_segments_that_were_lost_to_the_path_were_not_too_long_for_it() -> None:
    """After four timeouts the stack tries smaller ones; here that said nothing of what the path carries."""
    peer = silent(118, size=5000)
    assert peer.connection.info().mss == 972
    restored(peer)
    assert peer.connection.info().mss == 1208


@pytest.mark.parametrize("flags", ["S", "SA"])
def test_a_syn_goes_again_at_once(flags: str) -> None:
    peer = Peer()
    if flags == "S":
        peer.dial()
    else:
        peer.stack.listen(8080)
        peer.port, peer.their_port = 5000, 8080
        peer.send("S", seq=0, options=peer.syn_options())
    peer.wait(8)
    assert restored(peer) == [(flags, 0, 0)]
    began = peer.now
    peer.next()
    assert peer.now - began == pytest.approx(2.0)


def test_a_handshake_over_a_restored_path_leaves_no_mark_on_the_window() -> None:
    peer, undisturbed = Peer(), Peer()
    undisturbed.connect()
    peer.dial()
    peer.wait(20)
    restored(peer)
    peer.answer()
    peer.take()
    assert peer.connection.connected
    assert peer.connection._tcb.congestion.cwnd == undisturbed.connection._tcb.congestion.cwnd


def test_a_closed_window_is_probed_again_at_once() -> None:
    peer = closed_window()
    peer.wait(118)
    assert restored(peer) == [("A", 0, 0)]
    assert restored(peer) == []
    assert instants(peer, 3) == pytest.approx([0.3, 0.9, 2.1])


def test_the_users_timeout_goes_on() -> None:
    peer = silent(90, user_timeout=100.0)
    assert restored(peer) != []
    peer.wait(9.9)
    assert peer.connection.error is None
    peer.wait(0.2)
    assert peer.connection.error == "timeout"


def test_patience_begins_anew_with_the_path() -> None:
    peer = silent(900)
    assert peer.connection.info().retries > 10
    restored(peer)
    assert peer.connection.info().retries == 1
    assert len(peer.wait(3000)) == 14
    assert peer.connection.error == "timeout"


@pytest.mark.parametrize("holder", ["closed", "half open"])
def test_nobody_waits_for_ever_by_a_path_that_comes_and_goes(holder: str) -> None:
    if holder == "closed":
        peer = silent(0)
        peer.connection.close(peer.now)
    else:
        peer = Peer()
        peer.stack.listen(8080)
        peer.port, peer.their_port = 5000, 8080
        peer.send("S", seq=0, options=peer.syn_options())
    for _ in range(20):
        peer.wait(10)
        restored(peer)
    assert not peer.stack.connections


def test_a_held_link_makes_nothing_until_it_is_released() -> None:
    peer = silent(118)
    peer.stack.hold("peer")
    assert restored(peer) == []
    assert peer.stack.deadline() > peer.now
    peer.stack.release("peer")
    assert [(seen.seq, seen.size) for seen in peer.take()] == [(1, 100)]


def test_a_restored_path_costs_what_its_own_connections_do(monkeypatch: pytest.MonkeyPatch) -> None:
    peer = Peer()
    for link in ("a", "b", "b"):
        peer.stack.connect(peer.ours, peer.port, peer.now, link=link)
    looked: list[object] = []
    monkeypatch.setattr(timers, "path_restored", lambda tcb, now: looked.append(tcb.link))
    for link in ("a", "b", "c"):
        peer.stack.path_restored(link, peer.now)
    assert looked == ["a", "b", "b"]


def fresh(seconds: float, size: int = 100) -> Peer:
    """Its SYN waited for the path, and took two seconds: a timeout is six. Then so many bytes are out for so long."""
    peer = Peer()
    peer.connect(rtt=2.0)
    assert peer.connection.info().rto == pytest.approx(6.0)
    peer.connection.write(bytes(size), peer.now)
    peer.take()
    peer.wait(seconds)
    return peer


def test_what_was_sent_once_before_the_path_was_back_is_sent_again_at_once() -> None:
    peer = fresh(1.7)
    assert restored(peer) == [("PA", 1, 100)]
    peer.send("A", ack=101)
    assert peer.wait(100) == []


def test_what_has_only_just_been_sent_gets_the_time_of_an_unknown_path() -> None:
    peer = fresh(0.4)
    assert restored(peer) == []
    assert instants(peer, 1) == pytest.approx([0.6])


def test_a_fin_that_was_sent_once_is_sent_again_at_once() -> None:
    peer = fresh(0.0)
    peer.send("A", ack=101)
    peer.connection.shutdown_write(peer.now)
    peer.take()
    peer.wait(1.7)
    assert restored(peer) == [("FA", 101, 0)]


def test_an_acknowledgement_shows_that_the_path_works() -> None:
    """What is still out behind it gets its time from then on."""
    peer = fresh(1.7, size=5000)
    peer.send("A", ack=1 + 1208)
    peer.take()
    assert restored(peer) == []
    assert instants(peer, 1) == pytest.approx([1.0])


def test_a_fresh_path_that_comes_and_goes_gets_a_segment_a_second_and_one_reduction_of_the_window() -> None:
    peer = fresh(1.7, size=20_000)
    seen = restored(peer)
    congestion = peer.connection._tcb.congestion
    reduced = congestion.ssthresh
    for _ in range(350):
        peer.clock.advance(0.01)
        seen += restored(peer)
    assert seen == [("A", 1, 1208)] * 4
    assert congestion.ssthresh == reduced


def test_if_nothing_was_lost_after_all_the_window_is_as_it_would_have_been() -> None:
    """The round trip is two seconds indeed, and the path was not gone: one segment too many, and no more."""
    windows = []
    for is_told in (False, True):
        pair = Pair(delay=1.0)
        client, server = pair.connected()
        before = client.info().packets_retransmitted
        client.write(bytes(8000), pair.now)
        pair.run(seconds=1.5)
        if is_told:
            pair.a.path_restored("b", pair.now)
        pair.run(seconds=3)
        info = client.info()
        assert (info.packets_retransmitted - before, info.in_flight) == (int(is_told), 0)
        assert len(server.read()) == 8000
        windows.append((info.cwnd, client._tcb.congestion.ssthresh, client._tcb.recovery.state))
    assert windows == [(17_192, math.inf, OPEN)] * 2


def test_a_path_whose_segments_must_be_short_keeps_them_short_if_nothing_has_backed_off() -> None:
    peer = fresh(100, size=5000)
    assert peer.connection.info().mss == 972
    peer.send("A", ack=1 + 972)
    peer.take()
    peer.clock.advance(1.2)
    assert len(restored(peer)) == 1
    assert peer.connection.info().mss == 972


def test_two_stacks_go_on_within_a_few_round_trips_of_an_outage() -> None:
    pair = Pair()
    client, server = pair.connected()
    client.write(bytes(200_000), pair.now)
    received = bytearray()
    pair.on_turn = lambda now: received.extend(server.read())
    pair.run(seconds=0.02)
    pair.to_b.loss = pair.to_a.loss = 1.0
    pair.run(seconds=118)
    pair.to_b.loss = pair.to_a.loss = 0.0
    assert len(received) < 200_000
    pair.a.path_restored("b", pair.now)
    began = pair.now
    pair.run(until=lambda: len(received) == 200_000)
    assert pair.now - began < 0.3

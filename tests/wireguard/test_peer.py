"""One peer over its life: the conversations of the paper's §6 on a hand clock."""

from __future__ import annotations

import itertools
import random

import pytest

from tests.traces import Traced
from tests.wireguard.pair import UNIX_TIME, Pair, Side, kind_of
from tests.wireguard.snapshot import snapshot
from tsnet.base.addresses import DerpAddress, UdpAddress
from tsnet.base.keys import NodeKey
from tsnet.wireguard.constants import (
    EARLY_RETRIES,
    LOST_SESSION_WAIT,
    MAX_STAGED_PACKETS,
    REJECT_AFTER_MESSAGES,
    REKEY_AFTER_MESSAGES,
    REKEY_JITTER,
    REKEY_TIMEOUT,
)
from tsnet.wireguard.cookie import CookieMaker
from tsnet.wireguard.facts import Established, GaveUp, Heard
from tsnet.wireguard.peer import Peer
from tsnet.wireguard.tai64n import Timestamps

DATA = b"data".ljust(16, b"\0")


@pytest.fixture
def pair() -> Pair:
    return Pair()


def peer(side: Side) -> Peer:
    (only,) = side.device._peers.values()
    return only


def after(start: float, times: list[float]) -> list[float]:
    return [round(at - start, 3) for at in times]


def within(actual: list[float], expected: list[float], slack: float) -> None:
    """Each time lies in [expected, expected + slack)."""
    assert len(actual) == len(expected), actual
    assert all(0 <= at - at_least < slack + 1e-3 for at, at_least in zip(actual, expected, strict=True)), actual


# --- first contact ----------------------------------------------------------------------------------------------


def test_one_packet_makes_a_handshake_and_follows_it(pair: Pair) -> None:
    pair.send(pair.a, b"hello")
    pair.run(pair.now + 1)
    assert pair.kinds() == ["a initiation", "b response", "a transport"]
    assert pair.b.received == [b"hello".ljust(16, b"\0")]


def test_the_initiator_confirms_with_a_keepalive_when_nothing_is_staged(pair: Pair) -> None:
    pair.a.device.send_keepalive(pair.b.key, pair.now)
    pair.run(pair.now + 1)
    assert pair.kinds() == ["a initiation", "b response", "a keepalive"]
    assert pair.b.batches == [(pair.a.address, 0)]
    assert pair.b.established() == 1


def test_the_responder_does_not_send_before_the_first_packet(pair: Pair) -> None:
    pair.drop = lambda sender, datagram: sender is pair.a and datagram[0] == 4
    pair.send(pair.a, b"lost")
    pair.run(pair.now + 0.05)
    pair.send(pair.b, DATA)
    assert pair.kinds(pair.b) == ["response"]
    assert peer(pair.b).status().staged_packets == 1
    pair.drop = lambda sender, datagram: False
    pair.send(pair.a, b"through")
    pair.run(pair.now + 0.05)
    assert pair.kinds(pair.b) == ["response", "transport"]
    assert pair.a.received == [DATA]


def test_what_was_staged_goes_out_in_order_and_in_runs(pair: Pair) -> None:
    packets = [bytes([n]) * size for n, size in enumerate([1280] * 60 + [96, 1280, 1280])]
    for packet in packets:
        pair.send(pair.a, packet)
    pair.run(pair.now + 0.5)
    assert pair.b.received == packets


# --- the staged queue -------------------------------------------------------------------------------------------


def test_a_full_staged_queue_loses_the_oldest_before_the_new_run_goes_in(pair: Pair) -> None:
    pair.drop = lambda sender, datagram: True
    packets = [n.to_bytes(16) for n in range(200)]
    pair.send(pair.a, *packets[:100])
    pair.send(pair.a, *packets[100:150])
    assert peer(pair.a).staged == packets[150 - MAX_STAGED_PACKETS : 150]
    pair.send(pair.a, *packets)
    assert peer(pair.a).staged == packets[-MAX_STAGED_PACKETS:]
    assert pair.a.device.dropped == {"staged queue full": 22 + 200}


# --- retries ----------------------------------------------------------------------------------------------------


def test_to_a_peer_that_never_answered_retries_come_early(pair: Pair) -> None:
    pair.drop = lambda sender, datagram: True
    start = pair.now
    pair.send(pair.a, DATA)
    pair.run(start + 16)
    times = after(start, pair.times(pair.a, "initiation"))
    assert times[:6] == [0.0, *EARLY_RETRIES]
    within(times[6:7], [4.5 + 5], REKEY_JITTER)
    within(times[7:], [times[6] + 5], REKEY_JITTER)


def test_to_a_peer_that_has_answered_retries_come_every_five_seconds(pair: Pair) -> None:
    pair.establish()
    pair.run(pair.now + 200)
    pair.drop = lambda sender, datagram: True
    pair.log.clear()
    start = pair.now
    pair.send(pair.a, DATA)
    pair.run(start + 22)
    times = after(start, pair.times(pair.a, "initiation"))
    assert len(times) == 5
    within([later - earlier for earlier, later in itertools.pairwise(times)], [5.0] * 4, REKEY_JITTER)


def test_jitter_differs(pair: Pair) -> None:
    pair.drop = lambda sender, datagram: True
    pair.send(pair.a, DATA)
    pair.run(pair.now + 60)
    times = pair.times(pair.a, "initiation")[7:]
    assert len({round(later - earlier, 3) for earlier, later in itertools.pairwise(times)}) > 5


def test_every_initiation_has_its_own_index_ephemeral_and_timestamp(pair: Pair) -> None:
    pair.drop = lambda sender, datagram: True
    pair.send(pair.a, DATA)
    pair.run(pair.now + 30)
    sent = pair.sent(pair.a, "initiation")
    assert len({datagram[4:8] for datagram in sent}) == len({datagram[8:40] for datagram in sent}) == len(sent)
    assert len(pair.a.device._indices.owners) == 1


def test_after_ninety_seconds_it_gives_up_and_drops_what_is_staged(pair: Pair) -> None:
    pair.drop = lambda sender, datagram: True
    start = pair.now
    pair.send(pair.a, DATA, DATA)
    pair.run(start + 89.9)
    assert pair.a.facts[1:] == []
    pair.run(start + 400)
    assert pair.a.facts[1:] == [GaveUp(pair.b.key)]
    assert pair.a.device.dropped == {"no answer": 2}
    assert max(after(start, pair.times(pair.a, "initiation"))) < 90
    assert len(pair.times(pair.a, "initiation")) in (22, 23, 24)


def test_traffic_renews_the_patience_without_hurrying_the_retries(pair: Pair) -> None:
    pair.drop = lambda sender, datagram: True
    start = pair.now
    for second in range(0, 200, 10):
        pair.run(start + second)
        pair.send(pair.a, DATA)
    pair.run(start + 250)
    assert GaveUp(pair.b.key) not in pair.a.facts
    times = after(start, pair.times(pair.a, "initiation"))[7:]
    assert min(later - earlier for earlier, later in itertools.pairwise(times)) >= 5
    pair.run(start + 290)
    assert pair.a.facts[-1] == GaveUp(pair.b.key)


def test_traffic_after_giving_up_starts_again(pair: Pair) -> None:
    pair.drop = lambda sender, datagram: True
    pair.send(pair.a, DATA)
    pair.run(pair.now + 300)
    pair.drop = lambda sender, datagram: False
    pair.send(pair.a, b"again")
    pair.run(pair.now + 0.1)
    assert pair.b.received == [b"again".ljust(16, b"\0")]


def test_a_response_after_giving_up_still_makes_a_session(pair: Pair) -> None:
    held: list[bytes] = []
    pair.drop = lambda sender, datagram: sender is pair.b and not held.append(datagram)  # type: ignore[func-returns-value]
    pair.send(pair.a, DATA)
    pair.run(pair.now + 120)
    pair.drop = lambda sender, datagram: False
    pair.inject(pair.a, pair.b.address, held[-1])
    pair.turn(pair.a)
    assert Established(pair.b.key, is_initiator=True) in pair.a.facts


# --- a path appears ---------------------------------------------------------------------------------------------


def test_a_waiting_handshake_goes_out_at_once_when_a_path_appears(pair: Pair) -> None:
    pair.drop = lambda sender, datagram: True
    start = pair.now
    pair.send(pair.a, DATA)
    pair.run(start + 4)
    pair.drop = lambda sender, datagram: False
    pair.a.device.path_gained(pair.b.key, pair.now)
    pair.turn(pair.a)
    pair.run(start + 4.1)
    assert after(start, pair.times(pair.a, "initiation"))[-1] == 4.0
    assert pair.b.received == [DATA]


def test_a_path_starts_the_early_retries_over(pair: Pair) -> None:
    pair.drop = lambda sender, datagram: True
    start = pair.now
    pair.send(pair.a, DATA)
    pair.run(start + 4)
    pair.a.device.path_gained(pair.b.key, pair.now)
    pair.run(start + 9)
    assert after(start + 4, pair.times(pair.a, "initiation"))[5:] == [0.0, *EARLY_RETRIES]


@pytest.mark.parametrize(
    ("round_trip", "lost", "most"),
    [(0.02, 0, 0.04), (0.02, 1, 0.35), (0.34, 0, 0.9), (0.34, 1, 0.9), (0.58, 0, 1.2), (0.88, 0, 2.3), (1.18, 0, 3.6)],
)
def test_a_peer_that_is_far_away_answers_in_time(round_trip: float, lost: int, most: float) -> None:
    """The gaps grow, so that soon a response comes before the next initiation makes it useless."""
    pair = Pair(delay=round_trip / 2)
    begun = pair.now
    initiations = itertools.count()
    pair.drop = lambda sender, datagram: kind_of(datagram) == "initiation" and next(initiations) < lost
    pair.send(pair.a, DATA)
    pair.run(begun + most)
    assert pair.b.received == [DATA]


def test_a_path_that_comes_and_goes_lets_a_peer_that_is_far_away_answer() -> None:
    pair = Pair(delay=0.25)
    begun = pair.now
    pair.send(pair.a, DATA)
    for tenth in range(1, 40, 2):
        pair.run(begun + tenth / 10)
        pair.a.device.path_restored(pair.b.key, pair.now)
        pair.turn(pair.a)
        if tenth == 13:
            assert pair.b.received == [DATA]
    assert len(pair.sent(pair.a, "initiation")) == 3


def test_what_a_path_that_went_again_has_lost_is_sent_soon_also_to_a_peer_that_has_answered(pair: Pair) -> None:
    pair.establish()
    pair.a.device.suspended(pair.now)
    pair.drop = lambda sender, datagram: True
    pair.log.clear()
    begun = pair.now
    pair.send(pair.a, DATA)
    for after_it in (0.1, 0.4):
        pair.run(begun + after_it)
        pair.a.device.path_restored(pair.b.key, pair.now)
        pair.turn(pair.a)
    pair.drop = lambda sender, datagram: False
    pair.run(begun + 1)
    assert after(begun, pair.times(pair.a, "initiation")) == pytest.approx([0.0, 0.125, 0.725])
    assert pair.b.received[-1] == DATA


def test_each_handshake_starts_over_for_the_first_path_that_is_restored(pair: Pair) -> None:
    pair.drop = lambda sender, datagram: True
    pair.send(pair.a, DATA)
    pair.a.device.path_restored(pair.b.key, pair.now)
    pair.run(pair.now + 0.05)
    pair.drop = lambda sender, datagram: False
    pair.run(pair.now + 1)
    assert pair.b.received == [DATA]
    pair.a.device.suspended(pair.now)
    pair.log.clear()
    begun = pair.now
    pair.drop = lambda sender, datagram: True
    pair.send(pair.a, DATA)
    pair.run(begun + 0.1)
    pair.a.device.path_restored(pair.b.key, pair.now)
    pair.run(begun + 0.2)
    assert after(begun, pair.times(pair.a, "initiation")) == pytest.approx([0.0, 0.125])


def test_a_path_does_not_make_initiations_that_the_responder_refuses(pair: Pair) -> None:
    pair.send(pair.a, DATA)
    for _ in range(3):
        pair.a.device.path_gained(pair.b.key, pair.now)
        pair.turn(pair.a)
    pair.run(pair.now + 0.5)
    assert after(pair.log[0][0], pair.times(pair.a, "initiation"))[1:] in ([], [0.025])
    assert pair.b.received == [DATA]
    assert not pair.b.device.dropped


def test_over_a_restored_path_the_next_initiation_keeps_off_those_that_waited_below(pair: Pair) -> None:
    pair.drop = lambda sender, datagram: True
    pair.send(pair.a, DATA)
    pair.run(pair.now + 4)
    pair.drop = lambda sender, datagram: False
    waited = pair.sent(pair.a, "initiation")
    pair.inject(pair.b, pair.a.address, *waited)
    pair.turn(pair.b)
    pair.a.device.path_restored(pair.b.key, pair.now)
    start = pair.now
    pair.run(start + 0.2)
    assert pair.b.device.dropped == {"initiation too soon": len(waited) - 1}
    assert after(start, pair.times(pair.a, "initiation"))[-1] == pytest.approx(0.025)
    assert pair.b.received == [DATA]


def test_a_restored_path_changes_nothing_for_a_peer_that_waits_for_nothing(pair: Pair) -> None:
    pair.establish()
    before = snapshot(pair.a.device)
    pair.a.device.path_restored(pair.b.key, pair.now)
    assert snapshot(pair.a.device) == before
    assert pair.a.device.deadline() > pair.now


def test_a_path_changes_nothing_for_a_peer_that_waits_for_nothing(pair: Pair) -> None:
    pair.establish()
    pair.a.device.path_gained(pair.b.key, pair.now)
    pair.run(pair.now + 5)
    assert pair.log == []


# --- both at once -----------------------------------------------------------------------------------------------


def test_when_both_initiate_at_once_both_sessions_work(pair: Pair) -> None:
    start = pair.now
    pair.a.device.send([(pair.b.key, [b"from a"])], start)
    pair.b.device.send([(pair.a.key, [b"from b"])], start)
    pair.run(start + 0.2)
    assert pair.kinds()[:4] == ["a initiation", "b initiation", "a response", "b response"]
    assert pair.b.received == [b"from a".ljust(16, b"\0")]
    assert pair.a.received == [b"from b".ljust(16, b"\0")]
    pair.send(pair.a, DATA)
    pair.send(pair.b, DATA)
    pair.run(start + 4)
    assert pair.a.received[-1] == pair.b.received[-1] == DATA
    assert pair.kinds().count("a initiation") == pair.kinds().count("b initiation") == 1


def test_in_the_turn_that_reads_the_peers_initiation_we_answer_and_do_not_initiate(pair: Pair) -> None:
    start = pair.now
    pair.send(pair.b, b"from b")
    (initiation,) = pair.sent(pair.b, "initiation")
    pair.drop = lambda sender, datagram: datagram is initiation  # it comes by hand
    pair.inject(pair.a, pair.b.address, initiation)
    pair.send(pair.a, DATA)
    pair.run(start + 0.05)
    assert pair.kinds(pair.a) == ["response", "transport"]
    assert pair.b.received == [DATA]


def test_answering_puts_off_our_own_retry(pair: Pair) -> None:
    """The peer's handshake is as good as ours; a retry that crosses it would only replace it."""
    pair.drop = lambda sender, datagram: sender is pair.a and datagram[0] == 1
    start = pair.now
    pair.send(pair.a, DATA)
    pair.run(start + 0.25)
    pair.send(pair.b, DATA)
    pair.run(start + 1)
    assert after(start, pair.times(pair.a, "initiation")) == [0.0]
    assert pair.b.received == pair.a.received == [DATA]


def test_a_response_that_is_never_confirmed_is_followed_by_our_own_initiation(pair: Pair) -> None:
    pair.drop = lambda sender, datagram: sender is pair.a and datagram[0] == 4
    start = pair.now
    pair.send(pair.a, DATA)
    pair.run(start + 0.1)
    pair.send(pair.b, DATA)
    pair.run(start + 1)
    assert pair.a.received == [DATA]
    within(after(start, pair.times(pair.b, "initiation")), [0.31], REKEY_JITTER)


# --- rekey ------------------------------------------------------------------------------------------------------


def test_rekey_while_data_flows_loses_nothing(pair: Pair) -> None:
    pair.establish()
    start, sent = pair.now, []
    while pair.now < start + 400:
        sent.append(round((pair.now - start) * 1000).to_bytes(16))
        pair.send(pair.a, sent[-1])
        pair.run(pair.now + 0.5)
    assert pair.b.received == sent
    within(after(start, pair.times(pair.a, "initiation")), [119.9, 240.4, 360.9], 0.7)
    assert pair.times(pair.b, "initiation") == []
    assert not pair.a.device.dropped
    assert not pair.b.device.dropped


def test_the_responder_does_not_rekey_by_time(pair: Pair) -> None:
    pair.establish()
    start = pair.now
    pair.run(start + 160)
    pair.send(pair.b, DATA)
    pair.run(start + 169)
    assert pair.kinds() == ["b keepalive", "b transport"]


def test_an_initiator_that_only_receives_renews_in_the_last_minute_once(pair: Pair) -> None:
    pair.establish()
    pair.drop = lambda sender, datagram: datagram[0] == 1
    start = pair.now
    pair.run(start + 166)
    pair.send(pair.b, DATA)
    pair.run(start + 167)
    pair.send(pair.b, DATA)
    pair.run(start + 170.9)
    assert after(start, pair.times(pair.a, "initiation")) == [166.01]
    session = peer(pair.a).keypairs.current
    assert session is not None
    assert session.renewed


def test_after_180_s_neither_side_uses_the_session(pair: Pair) -> None:
    pair.establish()
    pair.drop = lambda sender, datagram: datagram[0] in (1, 2)
    late: list[bytes] = []
    start = pair.now
    while pair.now < start + 179:
        pair.send(pair.b, DATA)
        pair.run(pair.now + 1)
    pair.drop = lambda sender, datagram: datagram[0] in (1, 2) or not late.append(datagram)  # type: ignore[func-returns-value]
    pair.send(pair.b, b"held back")
    pair.run(start + 185)
    pair.send(pair.b, b"too late")
    assert pair.kinds(pair.b)[-1] == "initiation"
    pair.inject(pair.a, pair.b.address, late[0])
    assert pair.a.device.dropped["expired session"] == 1
    assert pair.a.received[-1] == DATA


@pytest.mark.parametrize("role", ["initiator", "responder"])
def test_rekey_after_messages(pair: Pair, role: str) -> None:
    pair.establish()
    side = pair.a if role == "initiator" else pair.b
    session = peer(side).keypairs.current
    assert session is not None
    pair.run(pair.now + 6)
    session.send_counter = REKEY_AFTER_MESSAGES
    pair.send(side, DATA)
    pair.run(pair.now + 0.1)
    assert "initiation" in pair.kinds(side)
    assert peer(side).keypairs.current is not session


def test_reject_after_messages(pair: Pair) -> None:
    pair.establish()
    session = peer(pair.a).keypairs.current
    assert session is not None
    pair.run(pair.now + 6)
    session.send_counter = REJECT_AFTER_MESSAGES - 1
    pair.log.clear()
    pair.send(pair.a, DATA, DATA)
    pair.run(pair.now + 0.1)
    assert pair.kinds(pair.a) == ["initiation", "transport", "transport"]
    assert pair.b.received == [DATA, DATA]
    assert session.send_counter == REJECT_AFTER_MESSAGES - 1


def test_an_old_session_still_receives_what_was_in_flight(pair: Pair) -> None:
    pair.establish()
    pair.wire.delay = 2.0
    start = pair.now
    pair.run(start + 119.5)
    pair.send(pair.b, b"old session....!")
    pair.wire.delay = 0.01
    pair.run(start + 120.5)
    pair.send(pair.a, DATA)
    pair.run(start + 120.6)
    assert pair.a.established() == 1
    pair.run(start + 123)
    assert pair.a.received == [b"old session....!"]


def test_two_rekeys_leave_two_sessions_and_their_indices(pair: Pair) -> None:
    pair.establish()
    for _ in range(4):
        pair.run(pair.now + 125)
        pair.send(pair.a, DATA)
        pair.run(pair.now + 1)
    for side in (pair.a, pair.b):
        assert len(peer(side).keypairs.all()) == 2
        assert len(side.device._indices.owners) == len(side.device._indices.sessions) == 2


# --- keepalives -------------------------------------------------------------------------------------------------


def test_data_without_an_answer_gets_a_keepalive_after_ten_seconds(pair: Pair) -> None:
    pair.establish()
    pair.run(pair.now + 30)
    pair.log.clear()
    start = pair.now
    pair.send(pair.a, DATA)
    pair.run(start + 60)
    assert pair.kinds() == ["a transport", "b keepalive"]
    assert after(start, pair.times(pair.b, "keepalive")) == [10.01]
    assert pair.a.batches[-1] == (pair.b.address, 0)


def test_data_that_is_answered_with_data_needs_no_keepalive(pair: Pair) -> None:
    pair.establish()
    start = pair.now
    pair.send(pair.a, DATA)
    pair.run(start + 5)
    pair.send(pair.b, DATA)
    pair.run(start + 60)
    assert pair.kinds() == ["a transport", "b transport", "a keepalive"]
    assert after(start, pair.times(pair.a, "keepalive")) == [15.01]


def test_keepalives_are_not_answered(pair: Pair) -> None:
    pair.establish()
    pair.run(pair.now + 100)
    assert pair.kinds() == ["b keepalive"]


def test_a_one_way_stream_gets_a_keepalive_every_ten_seconds(pair: Pair) -> None:
    pair.establish()
    start = pair.now
    while pair.now < start + 35:
        pair.send(pair.a, DATA)
        pair.run(pair.now + 0.5)
    within(after(start, pair.times(pair.b, "keepalive")), [9.9, 19.9, 29.9], 0.15)


def test_the_persistent_keepalive_makes_the_session_and_keeps_it() -> None:
    pair = Pair(persistent_keepalive=25)
    start = pair.now
    pair.run(start + 110)
    assert pair.kinds()[:3] == ["a initiation", "b response", "a keepalive"]
    within(after(start, pair.times(pair.a, "keepalive")), [0.02, 25.02, 50.02, 75.02, 100.02], 0.1)
    pair.run(start + 400)
    assert len(pair.times(pair.a, "initiation")) == 4
    assert pair.b.established() == 4


def test_the_persistent_keepalive_goes_on_when_nobody_answers() -> None:
    pair = Pair(persistent_keepalive=25)
    pair.drop = lambda sender, datagram: True
    pair.run(pair.now + 600)
    assert pair.a.device.deadline() < pair.now + 30


# --- nobody there -----------------------------------------------------------------------------------------------


def test_data_that_nobody_answers_makes_a_new_handshake_after_fifteen_seconds(pair: Pair) -> None:
    pair.establish()
    pair.run(pair.now + 20)
    pair.drop = lambda sender, datagram: True
    pair.log.clear()
    start = pair.now
    pair.send(pair.a, DATA)
    pair.run(start + 18)
    within(after(start, pair.times(pair.a, "initiation")), [15.0], REKEY_JITTER)


def test_a_peer_that_lost_its_state_is_found_again(pair: Pair) -> None:
    pair.establish()
    pair.run(pair.now + 20)
    pair.b.device.remove_peer(pair.a.key)
    pair.b.device.add_peer(pair.a.key)
    pair.send(pair.a, b"into the void")
    pair.run(pair.now + 20)
    pair.send(pair.a, DATA)
    pair.run(pair.now + 1)
    assert pair.b.received == [DATA]
    assert pair.b.device.dropped == {"unknown receiver": 1}


def restart_behind_a_relay(pair: Pair) -> None:
    """A session; then `b` is another device under the same key, and all comes from where the relay says."""
    pair.establish()
    pair.a.address, pair.b.address = DerpAddress(1, pair.a.key), DerpAddress(1, pair.b.key)
    pair.b.device.remove_peer(pair.a.key)
    pair.b.device.add_peer(pair.a.key)


def test_who_lost_the_session_of_a_peer_behind_a_relay_says_so_by_a_handshake(pair: Pair) -> None:
    """Even within REKEY_TIMEOUT of the last one, and once for all that was sent into the void."""
    restart_behind_a_relay(pair)
    begun = pair.now
    pair.send(pair.a, *[b"into the void"] * 20)
    pair.run(pair.now + 1)
    assert pair.kinds(pair.b)[0] == "initiation"
    assert pair.times(pair.b, "initiation") == [pytest.approx(begun + 0.010 + LOST_SESSION_WAIT)]
    pair.send(pair.a, DATA)
    pair.run(pair.now + 1)
    assert pair.b.received == [DATA]
    assert pair.kinds(pair.a).count("initiation") == 0


def test_who_lost_a_session_leaves_the_handshake_to_a_peer_that_makes_one(pair: Pair) -> None:
    restart_behind_a_relay(pair)
    pair.run(pair.now + REKEY_TIMEOUT + 1)
    pair.send(pair.a, b"into the void")
    pair.a.device._call(pair.b.key, lambda peer, now: peer.request_initiation(now, "a test"), pair.now)
    pair.turn(pair.a)
    pair.run(pair.now + 20)
    assert pair.kinds(pair.b).count("initiation") == 0
    assert pair.b.established() == 1


def test_old_packets_shake_no_session_that_is_there(pair: Pair) -> None:
    restart_behind_a_relay(pair)
    old = peer(pair.a).keypairs.current
    assert old is not None
    late = old.seal_run([DATA], 1280)
    pair.send(pair.a, b"into the void")
    pair.run(pair.now + 1)
    pair.log.clear()
    pair.inject(pair.b, pair.a.address, *late)
    pair.run(pair.now + 1)
    assert pair.kinds() == []


def test_a_flood_by_a_lost_session_makes_handshakes_at_the_pace_of_silence(pair: Pair) -> None:
    """A peer, or its relay, that goes on sending by a session of the past, and answers nothing."""
    restart_behind_a_relay(pair)
    old = peer(pair.a).keypairs.current
    assert old is not None
    begun, flood = pair.now, old.seal_run([DATA] * 20, 1280)
    pair.drop = lambda sender, datagram: sender is pair.b
    for tenth in range(1, 1200):
        pair.inject(pair.b, pair.a.address, *flood)
        pair.run(begun + tenth / 10)
    assert len(pair.sent(pair.b, "initiation")) <= 120 / REKEY_TIMEOUT + 2 * len(EARLY_RETRIES)
    assert len(pair.b.device._alarms) < 10


def test_two_that_have_lost_their_session_both_agree_on_one(pair: Pair) -> None:
    """Packets of the old one cross meanwhile, and go on crossing."""
    pair.establish()
    pair.a.address, pair.b.address = DerpAddress(1, pair.a.key), DerpAddress(1, pair.b.key)
    flights = []
    for sender in (pair.a, pair.b):
        old = peer(sender).keypairs.current
        assert old is not None
        flights.append((pair.other(sender), sender.address, old.seal_run([DATA] * 5, 1280)))
    for side in (pair.a, pair.b):
        side.device.reset_peer(pair.other(side).key, pair.now)
    pair.log.clear()
    begun = pair.now
    for tenth in range(1, 1000):
        for receiver, source, datagrams in flights:
            pair.inject(receiver, source, *datagrams)
        pair.run(begun + tenth / 10)
    assert len(pair.sent(pair.a, "initiation")) + len(pair.sent(pair.b, "initiation")) <= 2
    for side in (pair.a, pair.b):
        pair.send(side, DATA)
    pair.run(pair.now + 1)
    assert (pair.a.received, pair.b.received) == ([DATA], [DATA])


def test_where_nobody_vouches_for_the_sender_a_lost_session_stays_silent(pair: Pair) -> None:
    restart_behind_a_relay(pair)
    pair.a.address = UdpAddress("192.0.2.1", 41641)
    pair.send(pair.a, b"into the void")
    pair.run(pair.now + 1)
    assert pair.kinds(pair.b) == []
    pair.inject(pair.b, DerpAddress(1, NodeKey(b"\x55" * 32)), b"\4\0\0\0" + bytes(28))
    pair.run(pair.now + 1)
    assert pair.kinds(pair.b) == []


def test_idle_peers_forget_their_keys_after_nine_minutes(pair: Pair) -> None:
    pair.establish()
    pair.run(pair.now + 539)
    assert peer(pair.a).keypairs.all()
    pair.run(pair.now + 2)
    for side in (pair.a, pair.b):
        assert peer(side).keypairs.all() == []
        assert side.device._indices.owners == {}
        assert side.device.deadline() == float("inf")
        assert side.device.why() == "nothing"


# --- suspend, reset, new keys -----------------------------------------------------------------------------------


def test_after_a_suspend_the_next_packet_makes_a_handshake(pair: Pair) -> None:
    pair.establish()
    pair.a.device.suspended(pair.now)
    pair.send(pair.a, DATA)
    pair.run(pair.now + 0.2)
    assert pair.kinds(pair.a) == ["initiation", "transport"]
    assert pair.b.received == [DATA]


def test_after_a_suspend_the_peer_can_still_be_heard(pair: Pair) -> None:
    pair.establish()
    pair.a.device.suspended(pair.now)
    pair.send(pair.b, DATA)
    pair.run(pair.now + 0.1)
    assert pair.a.received == [DATA]


def test_a_suspend_sends_a_waiting_handshake_again(pair: Pair) -> None:
    pair.drop = lambda sender, datagram: True
    pair.send(pair.a, DATA)
    pair.run(pair.now + 5)
    pair.drop = lambda sender, datagram: False
    pair.a.device.suspended(pair.now)
    pair.run(pair.now + 0.1)
    assert pair.b.received == [DATA]


def test_a_stall_longer_than_the_session_is_noticed_before_sending(pair: Pair) -> None:
    pair.establish()
    pair.now += 181  # no turn in between
    pair.send(pair.a, DATA)
    assert pair.kinds(pair.a) == ["initiation"]


def test_a_reset_keeps_what_is_staged(pair: Pair) -> None:
    pair.drop = lambda sender, datagram: True
    pair.send(pair.a, DATA)
    pair.run(pair.now + 3)
    pair.drop = lambda sender, datagram: False
    pair.a.device.reset_peer(pair.b.key, pair.now)
    pair.run(pair.now + 0.1)
    assert pair.b.received == [DATA]


def test_a_reset_forgets_sessions_and_time_stamps(pair: Pair) -> None:
    pair.establish()
    pair.a.device.set_wall_offset(UNIX_TIME - 86_400 - pair.now, pair.now)
    pair.a.device._local.timestamps = Timestamps()
    pair.a.device.mark_saved(UNIX_TIME)
    pair.b.device.reset_peer(pair.a.key, pair.now)
    pair.a.device.reset_peer(pair.b.key, pair.now)
    pair.send(pair.a, DATA)
    pair.run(pair.now + 0.1)
    assert pair.b.received == [DATA]


# --- forged and replayed ----------------------------------------------------------------------------------------


def resealed(pair: Pair, datagram: bytes, place: int) -> bytes:
    """A bit flipped, and mac1 made to fit again: it reaches the handshake itself."""
    body = bytearray(datagram[:-32])
    body[place] ^= 1 << place % 8
    receiver = pair.b if datagram[0] == 1 else pair.a
    return CookieMaker(receiver.key).add_macs(bytes(body), pair.now)


@pytest.mark.parametrize("place", range(8, 116, 3))
def test_a_forged_initiation_leaves_no_trace(pair: Pair, place: int) -> None:
    pair.establish()
    pair.run(pair.now + 125)
    pair.drop = lambda sender, datagram: True
    pair.send(pair.a, DATA)
    (initiation,) = pair.sent(pair.a, "initiation")
    before = snapshot(pair.b.device)
    pair.inject(pair.b, pair.a.address, resealed(pair, initiation, place))
    pair.turn(pair.b)
    assert snapshot(pair.b.device) == before
    assert pair.b.device.dropped == {"forged initiation": 1}
    assert pair.b.facts == []


@pytest.mark.parametrize("place", range(12, 60, 3))
def test_a_forged_response_leaves_no_trace_and_the_true_one_completes(pair: Pair, place: int) -> None:
    pair.establish()
    pair.run(pair.now + 125)
    pair.drop = lambda sender, datagram: datagram[0] == 2
    pair.send(pair.a, DATA)
    pair.run(pair.now + 0.05)
    (response,) = pair.sent(pair.b, "response")
    before = snapshot(pair.a.device)
    pair.inject(pair.a, pair.b.address, resealed(pair, response, place))
    pair.turn(pair.a)
    assert snapshot(pair.a.device) == before
    assert pair.a.device.dropped == {"forged response": 1}
    pair.inject(pair.a, pair.b.address, response)
    pair.turn(pair.a)
    assert pair.a.established() == 1


@pytest.mark.parametrize("place", range(8, 64, 3))
def test_a_forged_cookie_reply_leaves_no_trace(pair: Pair, place: int) -> None:
    pair.drop = lambda sender, datagram: True
    pair.send(pair.a, DATA)
    reply = bytearray(pair.b.device._admission.checker.create_reply(pair.log[0][2], pair.a.address, pair.now))
    reply[place] ^= 1 << place % 8
    before = snapshot(pair.a.device)
    pair.inject(pair.a, pair.b.address, bytes(reply))
    assert snapshot(pair.a.device) == before
    assert pair.a.device.dropped == {"forged cookie": 1}


@pytest.mark.parametrize("place", range(32))
def test_a_forged_packet_leaves_no_trace(pair: Pair, place: int) -> None:
    pair.establish()
    pair.drop = lambda sender, datagram: True
    pair.send(pair.a, DATA)
    broken = bytearray(pair.log[0][2])
    broken[place] ^= 1 << place % 8
    before = snapshot(pair.b.device)
    pair.inject(pair.b, UdpAddress("203.0.113.9", 9), bytes(broken))
    assert snapshot(pair.b.device) == before
    assert pair.b.device.dropped.total() == 1
    assert pair.b.batches == []


def test_a_replayed_initiation_is_refused(pair: Pair) -> None:
    pair.send(pair.a, DATA)
    pair.run(pair.now + 1)
    before = snapshot(pair.b.device)
    pair.inject(pair.b, pair.a.address, pair.log[0][2])
    pair.turn(pair.b)
    assert pair.b.device.dropped == {"replayed initiation": 1}
    assert snapshot(pair.b.device) == before
    assert pair.kinds(pair.b).count("response") == 1


def test_initiations_closer_than_twenty_milliseconds_are_refused(pair: Pair) -> None:
    pair.drop = lambda sender, datagram: True
    for _ in range(3):
        pair.a.device.reset_peer(pair.b.key, pair.now)
        pair.send(pair.a, DATA)
    first, second, third = pair.sent(pair.a, "initiation")
    for datagram, wait, refused in ((first, 0, 0), (second, 0.019, 1), (third, 0.002, 1)):
        pair.now += wait
        pair.inject(pair.b, pair.a.address, datagram)
        pair.turn(pair.b)
        assert pair.b.device.dropped["initiation too soon"] == refused
    assert pair.kinds(pair.b) == ["response", "response"]


def test_a_response_to_an_initiation_that_was_replaced_finds_nothing(pair: Pair) -> None:
    pair.drop = lambda sender, datagram: sender is pair.b
    pair.send(pair.a, DATA)
    pair.run(pair.now + 0.5)
    first = pair.sent(pair.b, "response")[0]
    pair.inject(pair.a, pair.b.address, first)
    assert pair.a.device.dropped == {"unknown receiver": 1}


def test_a_response_is_consumed_once(pair: Pair) -> None:
    pair.send(pair.a, DATA)
    pair.run(pair.now + 1)
    (response,) = pair.sent(pair.b, "response")
    before = snapshot(pair.a.device)
    pair.inject(pair.a, pair.b.address, response)
    pair.turn(pair.a)
    assert pair.a.device.dropped == {"unexpected response": 1}
    assert snapshot(pair.a.device) == before


def test_replayed_packets_do_not_come_up_again(pair: Pair) -> None:
    pair.establish()
    pair.send(pair.a, DATA)
    pair.run(pair.now + 0.1)
    (packet,) = pair.sent(pair.a, "transport")
    pair.inject(pair.b, pair.a.address, packet, packet)
    assert pair.b.received == [DATA]
    assert pair.b.device.dropped == {"replayed": 2}


# --- roaming ----------------------------------------------------------------------------------------------------


def test_packets_keepalives_and_handshakes_tell_where_the_peer_is_now(pair: Pair) -> None:
    pair.establish()
    pair.a.address = UdpAddress("198.51.100.7", 4242)
    pair.send(pair.a, DATA)
    pair.run(pair.now + 0.1)
    assert pair.b.batches == [(pair.a.address, 1)]
    pair.a.address = UdpAddress("198.51.100.8", 4242)
    pair.a.device.send_keepalive(pair.b.key, pair.now)
    pair.run(pair.now + 0.1)
    assert pair.b.batches[1:] == [(pair.a.address, 0)]
    pair.a.address = UdpAddress("198.51.100.9", 4242)
    pair.run(pair.now + 125)
    pair.send(pair.a, DATA)
    pair.run(pair.now + 0.1)
    assert Heard(pair.a.key, pair.a.address) in pair.b.facts


# --- any wire ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_over_a_bad_wire_what_comes_is_what_was_sent_once(seed: int) -> None:
    pair = Pair(seed=seed, loss=0.2, duplicate=0.2, reorder=0.5, delay=0.3)
    chance = random.Random(seed)
    sent: dict[str, list[bytes]] = {"a": [], "b": []}
    start = pair.now
    while pair.now < start + 300:
        side = chance.choice([pair.a, pair.b])
        packets = [chance.randbytes(16) for _ in range(chance.choice([1, 1, 10]))]
        sent[side.name] += packets
        pair.send(side, *packets)
        pair.run(pair.now + chance.choice([0.01, 0.1, 1.0, 20.0]))
    pair.run(pair.now + 20)
    for side in (pair.a, pair.b):
        received = pair.other(side).received
        assert len(received) == len(set(received))
        assert set(received) <= set(sent[side.name])
        assert len(received) > len(sent[side.name]) * 0.5
        assert pair.other(side).device.dropped["replayed"] > 0
        assert side.device.dropped["forged"] == 0
    pair.wire.loss = 0.0
    pair.send(pair.a, b"through in the end".ljust(32, b"\0"))
    pair.run(pair.now + 40)
    pair.send(pair.a, b"surely".ljust(16, b"\0"))
    pair.run(pair.now + 10)
    assert pair.b.received[-1] == b"surely".ljust(16, b"\0")


# --- what is traced ---------------------------------------------------------------------------------------------


def traced(pair: Pair) -> Traced:
    """What `a` traces from now on."""
    tracer = Traced()
    pair.a.device._local.trace = tracer("wireguard")
    return tracer


def reasons(tracer: Traced) -> list[object]:
    return [fields["why"] for fields in tracer.fields("handshake sent")]


def test_a_handshake_tells_why_it_is_sent_and_what_came_of_it(pair: Pair) -> None:
    told = traced(pair)
    pair.send(pair.a, *[DATA] * 50)
    pair.run(pair.now + 0.1)
    assert told.events == ["handshake waits", "handshake sent", "session made"]  # its mark is saved first
    assert told.fields("handshake sent") == [{"peer": pair.b.key, "why": "data waits for a session"}]
    assert told.fields("session made") == [{"peer": pair.b.key, "role": "initiator"}]
    for _ in range(100):
        pair.send(pair.a, DATA)
        pair.send(pair.b, DATA)
    assert len(told.events) == 3
    pair.run(pair.now + 121)
    pair.send(pair.a, DATA)
    pair.run(pair.now + 0.1)
    assert reasons(told)[1:] == ["the session is two minutes old"]
    pair.run(pair.now + 600)
    assert told.events[-1] == "keys wiped"


def test_a_keepalive_without_a_session_says_so(pair: Pair) -> None:
    told = traced(pair)
    pair.a.device.send_keepalive(pair.b.key, pair.now)
    pair.run(pair.now + 0.1)
    assert reasons(told) == ["a keepalive is due, and there is no session"]


def test_retries_repeat_the_reason_until_the_handshake_is_given_up(pair: Pair) -> None:
    told = traced(pair)
    pair.drop = lambda sender, datagram: True
    pair.send(pair.a, DATA)
    pair.run(pair.now + 100)
    first, *later = reasons(told)
    assert first == "data waits for a session"
    assert set(later) == {"no answer yet: data waits for a session"}
    assert told.events[-1] == "handshake given up"


def test_data_that_nobody_answers_is_the_reason_of_the_next_handshake(pair: Pair) -> None:
    pair.establish()
    told = traced(pair)
    pair.drop = lambda sender, datagram: True
    pair.send(pair.a, DATA)
    pair.run(pair.now + 16)
    assert reasons(told) == ["no answer to data"]


def test_another_path_is_the_reason_to_try_again(pair: Pair) -> None:
    told = traced(pair)
    pair.drop = lambda sender, datagram: True
    pair.send(pair.a, DATA)
    pair.a.device.path_gained(pair.b.key, pair.now)
    pair.run(pair.now + 0.1)
    assert reasons(told)[:2] == ["data waits for a session", "there is another path"]


def test_the_responder_tells_its_answer_and_its_session(pair: Pair) -> None:
    told = traced(pair)
    pair.send(pair.b, DATA)
    pair.run(pair.now + 0.1)
    assert told.events == ["handshake answered", "session made"]
    assert told.fields("session made") == [{"peer": pair.b.key, "role": "responder"}]

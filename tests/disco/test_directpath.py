"""DirectPath: what promotes an address, how long it is trusted, when it is asked and given up."""

from __future__ import annotations

import math
import random

import pytest

from tsnet.base.addresses import UdpAddress
from tsnet.base.keys import NodeKey
from tsnet.disco import constants
from tsnet.disco.constants import (
    ASK_AGAIN,
    BURST_PAUSE,
    BURST_ROUNDS,
    DATA_PADDING,
    DATA_PING_TIMEOUT,
    DATA_UNANSWERED,
    DATAGRAM_SIZE,
    DISCO_PING_INTERVAL,
    DOUBT,
    HEARTBEAT_INTERVAL,
    SESSION_ACTIVE_TIMEOUT,
    TRUST_UDP_ADDRESS,
    UPGRADE_INTERVAL,
)
from tsnet.disco.directpath import TIMERS, DirectPath
from tsnet.disco.pings import SentPing

PEER = NodeKey(b"p" * 32)
ONE, OTHER, NEW = (UdpAddress(host, 41641) for host in ("192.0.2.1", "192.0.2.2", "198.51.100.1"))


def path(*endpoints: UdpAddress, silent: bool = False) -> DirectPath:
    direct = DirectPath(0.0, is_silent=silent)
    direct.netmap_names(list(endpoints or (ONE, OTHER)), 0.0)
    return direct


def asked(direct: DirectPath) -> list[tuple[UdpAddress, int]]:
    asks, direct.asks = direct.asks, []
    return asks


def run(direct: DirectPath, until: float) -> list[tuple[float, UdpAddress, int]]:
    """What is asked when, up to that time and with it."""
    found = []
    while (at := direct.deadline()) <= until:
        direct.run(at)
        assert direct.deadline() > at
        found += [(at, *each) for each in asked(direct)]
    return found


def pong(direct: DirectPath, address: UdpAddress, now: float, *, latency: float = 0.02, padding: int = 0) -> None:
    direct.ponged(SentPing(PEER, address, now - latency, padding), now)


def trusted(*, latency: float = 0.001, silent: bool = False) -> DirectPath:
    """A path to ONE that is trusted since 10.0, and was sent to then."""
    direct = path(silent=silent)
    direct.sent(10.0)
    run(direct, 10.0)
    pong(direct, ONE, 10.0, latency=latency)
    return direct


# --- timers -----------------------------------------------------------------------------------------------------


def test_every_timer_counts_and_none_is_left_out() -> None:
    slots = {slot for slot in DirectPath.__slots__ if slot.endswith("_at") and slot[0] != "_"}
    assert set(TIMERS) == slots - {"sent_at"} | {"check_at"}
    for timer in TIMERS:
        direct = path()
        assert direct.deadline() == math.inf
        setattr(direct.lost_data if timer == "check_at" else direct, timer, 5.0)
        assert getattr(direct, timer) == direct.deadline() == 5.0


def test_a_peer_that_is_not_sent_to_has_nothing_due() -> None:
    direct = path()
    direct.heard(NEW, 1.0, is_fresh=True)
    direct.netmap_names([NEW], 2.0)
    direct.endpoints_changed(3.0)
    assert direct.deadline() == math.inf
    assert not direct.wants_call


# --- rounds -----------------------------------------------------------------------------------------------------


def test_the_first_datagram_begins_a_round_at_once() -> None:
    direct = path()
    assert direct.sent(10.0)
    assert not direct.sent(10.0)
    assert run(direct, 10.0) == [(10.0, ONE, 0), (10.0, OTHER, 0)]
    assert direct.wants_call
    assert direct.deadline() == 10.0 + ASK_AGAIN


def test_a_round_is_begun_every_five_seconds_and_after_six_there_is_a_pause() -> None:
    direct, rounds = path(ONE), []
    for second in range(10, 110):
        direct.sent(float(second))
        rounds += [at for at, _address, _padding in run(direct, second + 0.9)]
    burst = [10.0 + number * DISCO_PING_INTERVAL for number in range(BURST_ROUNDS)]
    again = burst[-1] + BURST_PAUSE
    burst.insert(1, 10.0 + ASK_AGAIN)
    assert rounds == burst + [again + number * DISCO_PING_INTERVAL for number in range(BURST_ROUNDS)]


@pytest.mark.parametrize("whose", ["the peer's", "ours"])
def test_news_ends_the_pause(whose: str) -> None:
    direct = path()
    direct.sent(10.0)
    run(direct, 39.0)
    assert direct.discover_at == 35.0 + BURST_PAUSE
    if whose == "ours":
        direct.endpoints_changed(40.0)
    else:
        direct.netmap_names([ONE, OTHER, NEW], 40.0)
    assert direct.discover_at == 40.0


def test_forty_five_seconds_after_the_last_datagram_all_timers_end() -> None:
    direct = path()
    direct.sent(10.0)
    run(direct, 1000.0)
    assert not direct.is_active
    direct = trusted()
    found = run(direct, 1000.0)
    assert max(at for at, *_ in found) < 10.0 + SESSION_ACTIVE_TIMEOUT
    assert (direct.deadline(), direct.is_trusted, direct.best) == (math.inf, False, ONE)


def test_a_peer_that_is_sent_to_again_is_looked_for_at_once() -> None:
    direct = trusted()
    run(direct, 1000.0)
    direct.sent(1000.0)
    assert run(direct, 1000.0) == [(1000.0, ONE, 0), (1000.0, OTHER, 0)]


# --- pongs ------------------------------------------------------------------------------------------------------


def test_a_pong_promotes_the_address_that_was_pinged() -> None:
    direct = trusted()
    assert (direct.best, direct.is_trusted, direct.lapse_at) == (ONE, True, 10.0 + TRUST_UDP_ADDRESS)
    assert direct.why == "a pong came"
    assert direct.discover_at == math.inf  # a millisecond is good enough


def test_a_pong_for_what_is_no_candidate_any_more_promotes_nothing() -> None:
    direct = path()
    pong(direct, NEW, 10.0)
    assert direct.best is None


def test_a_better_address_takes_over_and_a_worse_one_does_not() -> None:
    direct = trusted(latency=0.1)
    pong(direct, OTHER, 10.1, latency=0.2)
    assert direct.best == ONE
    pong(direct, OTHER, 10.1, latency=0.05)
    assert direct.best == OTHER
    assert direct.why == "a pong came, and it is better"


def test_a_path_that_is_not_good_enough_is_compared_once_a_minute() -> None:
    direct = trusted(latency=0.1)
    direct.asks.clear()
    rounds = []
    for second in range(10, 140):
        direct.sent(float(second))
        direct.arrived(ONE, float(second))
        rounds += [at for at, address, _padding in run(direct, second + 0.9) if address == OTHER]
        pong(direct, ONE, second + 0.9, latency=0.1)
    assert rounds == [10.0 + UPGRADE_INTERVAL, 10.0 + 2 * UPGRADE_INTERVAL]


def test_a_trusted_path_to_a_place_that_pings_no_more_is_kept() -> None:
    """As of a peer behind a hard NAT, which only answers: no list names its address there."""
    direct = path(OTHER)
    direct.sent(10.0)
    direct.heard(NEW, 10.0, is_fresh=True)
    run(direct, 10.0)
    pong(direct, NEW, 10.1, latency=0.1)
    for second in range(11, 140):
        direct.sent(float(second))
        direct.arrived(NEW, float(second))
        run(direct, second + 0.9)
        pong(direct, NEW, second + 0.9, latency=0.1)
        assert (direct.best, direct.is_trusted) == (NEW, True)
    run(direct, 160.0)
    assert direct.best is None


def test_any_address_takes_the_place_of_one_that_is_not_trusted() -> None:
    direct = trusted()
    run(direct, 10.0 + TRUST_UDP_ADDRESS)
    assert (direct.best, direct.is_trusted, direct.why) == (ONE, False, "no pong for too long")
    pong(direct, OTHER, 17.0, latency=0.5)
    assert (direct.best, direct.is_trusted) == (OTHER, True)


def test_the_best_is_pinged_every_three_seconds_and_each_pong_prolongs_the_trust() -> None:
    direct = trusted()
    for beat in range(1, 6):
        at = 10.0 + beat * HEARTBEAT_INTERVAL
        direct.sent(at - 0.1)
        direct.arrived(ONE, at - 0.1)
        assert run(direct, at) == [(at, ONE, 0)]
        pong(direct, ONE, at + 0.01)
        assert direct.lapse_at == at + 0.01 + TRUST_UDP_ADDRESS


def test_a_ping_that_times_out_clears_a_best_that_is_not_trusted() -> None:
    direct = trusted()
    ping = SentPing(PEER, ONE, 13.0, 0)
    direct.timed_out(ping, 16.0)
    assert direct.best == ONE
    run(direct, 17.0)
    direct.timed_out(SentPing(PEER, OTHER, 13.0, 0), 18.0)
    assert direct.best == ONE
    direct.timed_out(ping, 18.0)
    assert direct.best is None
    assert direct.why == "its pings are not answered"


# --- lists and pings of the peer --------------------------------------------------------------------------------


def test_a_call_pings_all_at_once_and_is_not_answered_by_one_that_was_sent_already() -> None:
    direct = path(ONE)
    direct.sent(10.0)
    run(direct, 10.0)
    direct.wants_call = False
    direct.called([NEW], 10.1)
    assert asked(direct) == [(ONE, 0), (NEW, 0)]
    assert not direct.wants_call


def test_a_call_is_answered_by_one_every_five_seconds_at_most_and_not_on_a_trusted_path() -> None:
    """Go pings again when it is called, and else after 5 s."""
    direct = path(ONE)
    for at, answered in ((10.0, True), (14.9, False), (15.0, True)):
        direct.wants_call = False
        direct.called([ONE], at)
        assert direct.wants_call == answered
    pong(direct, ONE, 15.1)
    direct.wants_call = False
    direct.called([ONE], 21.0)
    assert not direct.wants_call


def test_half_a_second_after_the_first_round_all_are_asked_again_unless_one_has_answered() -> None:
    direct = path(ONE, OTHER)
    direct.sent(10.0)
    found = run(direct, 10.0 + ASK_AGAIN)
    assert found == [(at, address, 0) for at in (10.0, 10.0 + ASK_AGAIN) for address in (ONE, OTHER)]
    direct = path(ONE, OTHER)
    direct.sent(10.0)
    run(direct, 10.0)
    pong(direct, ONE, 10.1, latency=0.001)
    assert run(direct, 10.0 + ASK_AGAIN) == []


def test_calls_without_end_provoke_a_bounded_number_of_pings() -> None:
    direct, count = path(ONE), 0
    for number in range(1000):
        direct.called([NEW], number / 100)
        count += len(asked(direct))
    assert count <= constants.MAX_CANDIDATES * (1 + 10 / DISCO_PING_INTERVAL)


def test_a_best_that_no_list_names_any_more_is_given_up() -> None:
    direct = trusted()
    direct.netmap_names([OTHER], 11.0)
    assert (direct.best, direct.is_trusted) == (None, False)


def test_a_ping_from_a_new_place_is_returned_while_a_path_is_wanted() -> None:
    direct = path(ONE)
    direct.heard(NEW, 9.0, is_fresh=True)
    assert asked(direct) == []
    direct.sent(10.0)
    run(direct, 10.0)
    direct.heard(OTHER, 10.5, is_fresh=True)
    assert asked(direct) == [(OTHER, 0)]
    for _ in range(1000):
        direct.heard(OTHER, 11.0, is_fresh=True)
    assert len(asked(direct)) <= constants.MAX_CANDIDATES


def test_a_copy_of_a_ping_teaches_no_address() -> None:
    direct = path(ONE)
    direct.sent(10.0)
    run(direct, 10.0)
    direct.heard(NEW, 11.5, is_fresh=False)
    direct.heard(ONE, 11.5, is_fresh=False)
    assert asked(direct) == []
    assert list(direct.candidates) == [ONE]


def test_a_trusted_path_is_left_alone_by_pings_from_elsewhere() -> None:
    direct = trusted()
    direct.heard(NEW, 11.0, is_fresh=True)
    assert asked(direct) == []
    assert direct.best == ONE


# --- health -----------------------------------------------------------------------------------------------------


def test_a_trusted_path_that_brings_nothing_back_is_asked_and_then_given_up() -> None:
    direct = trusted()
    direct.sent(10.0)
    asks = [at for at, address, padding in run(direct, 14.99) if padding == DATA_PADDING and address == ONE]
    assert asks == pytest.approx([13.0, 13.7, 14.4])
    pong(direct, ONE, 14.99)  # small ones are answered all the time
    assert direct.is_trusted
    run(direct, 10.0 + DATA_UNANSWERED + DATA_PING_TIMEOUT)
    assert (direct.best, direct.why) == (None, "data went out, and nothing came back")


def test_an_address_that_carried_no_data_is_promoted_by_a_large_pong_alone() -> None:
    direct = trusted()
    direct.sent(10.0)
    run(direct, 15.0)
    asked(direct)
    direct.sent(20.0)
    assert (20.0, ONE, DATA_PADDING) in run(direct, 20.0)
    pong(direct, ONE, 20.1)
    assert direct.best is None
    pong(direct, ONE, 20.1, padding=DATA_PADDING)
    assert direct.best == ONE


def test_anything_authentic_by_udp_proves_that_the_path_lives() -> None:
    direct = trusted()
    for tenth in range(100, 200):
        direct.sent(tenth / 10)
        if tenth % 20 == 5:
            direct.arrived(OTHER, tenth / 10)
        if tenth % 30 == 1:
            pong(direct, ONE, tenth / 10)
        assert not [ask for ask in run(direct, tenth / 10) if ask[2]]
    assert direct.is_trusted


def test_one_way_traffic_whose_large_pings_are_answered_stays_direct() -> None:
    direct, large = trusted(), 0
    for tenth in range(100, 700):
        direct.sent(tenth / 10)
        for at, address, padding in run(direct, tenth / 10):
            large += bool(padding)
            pong(direct, address, at + 0.02, padding=padding)
        assert direct.is_trusted
    assert 10 <= large <= 22


def test_what_is_asked_while_nothing_is_sent() -> None:
    direct = trusted()
    direct.arrived(ONE, 10.5)
    assert not [ask for ask in run(direct, 60.0) if ask[2]]


# --- other modes, other networks --------------------------------------------------------------------------------


def test_a_best_that_the_system_cannot_send_to_is_asked_at_once_and_given_up_if_that_cannot_leave_either() -> None:
    direct = trusted()
    direct.unsent(0, 10.0)
    assert (direct.best, direct.is_trusted, direct.why) == (ONE, False, "the system cannot send there")
    assert asked(direct) == [(ONE, 0)]
    assert direct.deadline() > 10.0
    direct.unsent(0, 10.0)
    assert asked(direct) == []
    direct.timed_out(SentPing(PEER, ONE, 10.0, 0), 10.0)
    assert direct.best is None
    direct.unsent(0, 10.0)
    assert direct.deadline() > 10.0


def test_one_datagram_that_could_not_be_sent_costs_a_round_trip_of_trust() -> None:
    direct = trusted()
    direct.unsent(0, 10.0)
    assert asked(direct) == [(ONE, 0)]
    pong(direct, ONE, 10.22)
    assert (direct.best, direct.is_trusted) == (ONE, True)


def test_a_best_that_is_too_small_for_data_is_left_to_large_pings() -> None:
    direct = trusted()
    direct.unsent(DATAGRAM_SIZE, 10.0)
    assert (direct.best, direct.why) == (None, "data is too large for it")
    pong(direct, ONE, 10.1)
    assert direct.best is None
    pong(direct, ONE, 10.2, padding=DATA_PADDING)
    assert direct.best == ONE


def test_small_answers_do_not_hide_that_large_datagrams_are_lost() -> None:
    direct = trusted()
    direct.is_large_out = True
    found = []
    for tenth in range(100, 180):
        now = tenth / 10
        direct.sent(now)
        direct.arrived(ONE, now)
        asks = [(at, padding) for at, _to, padding in run(direct, now)]
        for at, padding in asks:
            if not padding:
                pong(direct, ONE, at, latency=0.0)
        found += [at for at, padding in asks if padding]
    assert found[:3] == pytest.approx([13.7, 14.4, 15.1])
    assert (direct.best, direct.why) == (None, "large pings are lost")
    pong(direct, ONE, 18.0, padding=DATA_PADDING)
    assert direct.is_trusted


def test_large_datagrams_whose_pings_are_answered_stay_direct_and_small_ones_are_not_asked_about() -> None:
    direct = trusted()
    large = 0
    for tenth in range(100, 400):
        now = tenth / 10
        direct.sent(now)
        direct.arrived(ONE, now)
        direct.is_large_out = direct.is_large_out or 200 <= tenth < 300
        for at, _to, padding in run(direct, now):
            pong(direct, ONE, at, latency=0.0, padding=padding)
            large += bool(padding)
            assert not padding or 20.0 <= at <= 34.0
    assert direct.is_trusted
    assert 3 <= large <= 5


def test_where_handshakes_are_not_answered_twice_the_path_is_not_used_alone_for_a_while() -> None:
    direct = trusted()
    direct.handshake_unanswered(30.0)
    pong(direct, ONE, 30.1)
    direct.handshake_answered()
    direct.handshake_unanswered(150.0)
    assert direct.is_trusted, "one may be lost"
    pong(direct, ONE, 150.1)
    direct.handshake_unanswered(155.0)
    assert (direct.best, direct.is_trusted, direct.why) == (ONE, False, "WireGuard is not answered there")
    direct.handshake_unanswered(160.0)
    pong(direct, ONE, 155.0 + DOUBT - 0.1)
    assert (direct.best, direct.is_trusted) == (ONE, False)
    pong(direct, ONE, 155.0 + DOUBT)
    assert direct.is_trusted
    for now in (300.0, 305.0):
        direct.handshake_unanswered(now)
    pong(direct, ONE, 305.0 + DOUBT)
    assert not direct.is_trusted, "twice as long the second time"
    pong(direct, OTHER, 305.0 + DOUBT)
    assert (direct.best, direct.is_trusted) == (OTHER, True)
    direct.anew("the network changed", 400.0, discover=False)
    pong(direct, ONE, 401.0)
    assert direct.is_trusted


def test_an_address_in_doubt_takes_the_place_of_no_trusted_one_however_fast_it_answers() -> None:
    direct = trusted()
    for now in (30.0, 30.1):
        pong(direct, ONE, now)
        direct.handshake_unanswered(now)
    pong(direct, OTHER, 31.0, latency=0.5)
    assert (direct.best, direct.is_trusted) == (OTHER, True)
    pong(direct, ONE, 31.1, latency=0.001)
    assert (direct.best, direct.is_trusted) == (OTHER, True)
    pong(direct, OTHER, 30.1 + DOUBT - 0.1, latency=0.5)
    pong(direct, ONE, 30.1 + DOUBT, latency=0.001)
    assert (direct.best, direct.is_trusted) == (ONE, True)


def test_the_path_in_use_alone_is_asked_what_it_carries_and_only_while_it_is_trusted() -> None:
    direct = DirectPath(0.0, is_silent=False, has_mtu=True)
    direct.netmap_names([ONE, OTHER], 0.0)
    direct.sent(10.0)
    assert {padding for _at, _to, padding in run(direct, 10.0)} == {0}
    pong(direct, ONE, 10.0)
    assert direct.mtu is not None
    ((_at, to, padding), *_more) = large = [each for each in run(direct, 12.9) if each[2] > DATA_PADDING]
    assert {to for _at, to, _padding in large} == {ONE}
    pong(direct, to, 13.0, padding=padding)
    assert direct.mtu.inner > 1280
    direct.timed_out(SentPing(PEER, ONE, 10.0, padding), 15.0)
    run(direct, 13.0 + TRUST_UDP_ADDRESS)
    assert (direct.best, direct.is_trusted, direct.mtu.inner) == (ONE, False, 1280)
    direct.timed_out(SentPing(PEER, ONE, 15.0, padding), 20.0)
    assert direct.best == ONE, "a large ping that is lost says nothing of small ones"


def test_a_refused_large_datagram_says_nothing_of_the_path_and_its_size_alone_is_given_up() -> None:
    direct = trusted()
    direct.unsent(1472, 11.0)
    assert (direct.best, direct.is_trusted) == (ONE, True)
    direct = DirectPath(0.0, is_silent=False, has_mtu=True)
    direct.netmap_names([ONE], 0.0)
    direct.sent(10.0)
    pong(direct, ONE, 10.0)
    pong(direct, ONE, 10.1, padding=9000, latency=0.0)
    assert direct.mtu is not None
    assert direct.mtu.inner == 8920
    direct.unsent(1472, 11.0)
    assert (direct.is_trusted, direct.mtu.inner) == (True, 1280)


def test_in_silence_no_heartbeats_are_sent_and_what_arrives_prolongs_the_trust() -> None:
    direct = trusted(silent=True)
    for second in range(11, 60):
        direct.sent(float(second))
        direct.arrived(ONE, float(second))
        assert run(direct, second + 0.9) == []
    assert direct.is_trusted
    direct.arrived(OTHER, 60.0)
    assert run(direct, 70.0) == []
    assert not direct.is_trusted
    direct.sent(70.0)
    assert run(direct, 70.0) == [(70.0, ONE, 0), (70.0, OTHER, 0)]
    assert run(direct, 200.0) == []


def test_on_another_network_all_is_void_and_an_active_peer_is_asked_anew() -> None:
    direct = trusted()
    direct.anew("the network changed", 12.0, discover=True)
    assert (direct.best, direct.is_trusted, direct.why) == (None, False, "the network changed")
    assert run(direct, 12.0) == [(12.0, ONE, 0), (12.0, OTHER, 0)]
    assert direct.sent_at == 10.0
    idle = path()
    idle.anew("the network changed", 12.0, discover=True)
    assert idle.deadline() == math.inf


@pytest.mark.parametrize("seed", range(20))
def test_in_any_order_of_events_a_trusted_path_had_a_pong_and_the_deadline_lies_ahead(seed: int) -> None:
    chance, now = random.Random(seed), 100.0
    direct = path(silent=seed % 5 == 0)
    everything, flying = [ONE, OTHER, NEW], list[SentPing]()
    pongs: dict[UdpAddress, float] = {}
    count, began = 0, now
    for _ in range(400):
        now += chance.choice([0.0, 0.01, 0.3, 1.0, 4.0])
        while direct.deadline() <= now:
            direct.run(now)
        some = chance.sample(everything, chance.randrange(4))
        match chance.randrange(9):
            case 0 | 1 | 2:
                direct.sent(now)
            case 3:
                direct.arrived(chance.choice(everything), now)
            case 4:
                direct.heard(chance.choice(everything), now, is_fresh=chance.random() < 0.8)
            case 5:
                direct.called(some, now)
            case 6:
                direct.netmap_names(some, now)
            case 7 if flying:
                ping = flying.pop(chance.randrange(len(flying)))
                pongs[ping.address] = now
                direct.ponged(ping, now)
            case 8 if flying:
                ping = flying.pop(0)
                direct.timed_out(ping, now)
        while direct.deadline() <= now:
            direct.run(now)
        asks = asked(direct)
        count += len(asks)
        flying += [SentPing(PEER, address, now, padding) for address, padding in asks]
        if direct.is_trusted:
            assert direct.best is not None
            assert direct.best in set(direct.candidates)
            if not direct.is_silent:
                assert now <= pongs[direct.best] + TRUST_UDP_ADDRESS
    assert count < 64 + (now - began) * (3 / 5 + 32 / 5 + 1 / 3 + 2)


def test_a_candidate_remembers_its_last_pong_also_if_that_promotes_nothing() -> None:
    direct = trusted()
    other = direct.candidates.get(OTHER)
    assert other is not None
    assert (other.answered_at, other.latency) == (-math.inf, math.inf)
    pong(direct, OTHER, 11.0, latency=0.5)
    assert (direct.best, other.answered_at) == (ONE, 11.0)
    assert other.latency == pytest.approx(0.5)
    other.only_large = True
    pong(direct, OTHER, 12.0, latency=0.25)
    assert other.answered_at == 12.0
    assert other.latency == pytest.approx(0.25)
    direct.anew("the network changed", 13.0, discover=False)
    assert (other.answered_at, other.latency) == (-math.inf, math.inf)

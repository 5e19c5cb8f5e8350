"""RelayPath: when sessions are looked for, what makes one the best, how long it is trusted and when it is given up."""

from __future__ import annotations

import math
import random

import pytest

from tsnet.base.addresses import PeerRelayAddress
from tsnet.disco.constants import (
    DATA_PADDING,
    DATA_PING_INTERVAL,
    DATA_PING_TIMEOUT,
    DATA_UNANSWERED,
    DATAGRAM_SIZE,
    DOUBT,
    HEARTBEAT_INTERVAL,
    MAX_RELAYS,
    PING_TIMEOUT,
    RELAY_DISCOVERY_INTERVAL,
    RELAY_UPGRADE_INTERVAL,
    SESSION_ACTIVE_TIMEOUT,
    TRUST_UDP_ADDRESS,
)
from tsnet.disco.relaypath import MAX_RELAY_PINGS, RELAY_TIMERS, RelayPath

ONE, NEXT = PeerRelayAddress("192.0.2.9", 7, 5), PeerRelayAddress("192.0.2.9", 7, 6)
OTHER = PeerRelayAddress("198.51.100.9", 7, 5)
SERVER, OTHER_SERVER = b"s" * 32, b"t" * 32


def path(*, needed: bool = True, discover: bool = True, silent: bool = False) -> RelayPath:
    return RelayPath(is_silent=silent, is_needed=needed, may_discover=discover)


def in_use(now: float = 0.0, *, latency: float = 0.1, silent: bool = False) -> RelayPath:
    """A path on ONE, whose peer is sent to."""
    found = path(silent=silent)
    found.sent(now)
    found.run(now)
    found.wants_sessions = False
    assert found.ready(ONE, SERVER, latency, 300.0, now)
    return found


def take(path: RelayPath) -> list[tuple[PeerRelayAddress, int]]:
    asks, path.asks = path.asks, []
    return asks


def pong(path: RelayPath, now: float, *, latency: float = 0.0) -> None:
    """The best is asked, and answers."""
    assert path.best is not None
    path.pinged(b"tx", path.best, 0, now - latency)
    assert path.ponged(b"tx", path.best.vni, now)


# --- looking for sessions ---------------------------------------------------------------------------------------


def test_the_first_datagram_looks_for_sessions_at_once_and_every_half_minute() -> None:
    found = path()
    assert found.deadline() == math.inf
    assert found.sent(0.0)
    found.run(0.0)
    assert found.wants_sessions
    found.wants_sessions = False
    assert not found.sent(1.0)
    for now in range(1, 31):
        found.sent(now)
        found.run(now)
        assert found.wants_sessions == (now == RELAY_DISCOVERY_INTERVAL)


def test_while_one_is_trusted_others_are_looked_for_every_minute() -> None:
    found = in_use()
    asked = []
    for now in range(1, 62):
        found.sent(now)
        found.arrived(ONE, now)
        pong(found, now)
        found.run(now)
        if found.wants_sessions:
            asked.append(now)
            found.wants_sessions = False
    assert asked == [RELAY_UPGRADE_INTERVAL]


@pytest.mark.parametrize(("needed", "discover"), [(False, True), (True, False), (False, False)])
def test_nobody_is_asked_where_it_is_not_needed_or_there_is_nobody(needed: bool, discover: bool) -> None:
    found = path(needed=needed, discover=discover)
    found.sent(0.0)
    for now in range(40):
        found.run(now)
    assert not found.wants_sessions


def test_a_relay_that_is_granted_while_we_talk_is_asked_at_once() -> None:
    found = path(discover=False)
    found.sent(0.0)
    found.set_may_discover(True, 1.0)
    found.run(1.0)
    assert found.wants_sessions


def test_a_call_of_the_peer_looks_for_sessions_but_not_more_often() -> None:
    found = path()
    found.called(0.0)
    found.run(0.0)
    assert found.wants_sessions
    found.wants_sessions = False
    found.called(1.0)
    found.run(1.0)
    assert not found.wants_sessions


# --- which one ----------------------------------------------------------------------------------------------------


def test_the_first_session_that_works_is_used_and_trusted() -> None:
    found = in_use()
    assert (found.best, found.is_trusted, found.lapse_at) == (ONE, True, TRUST_UDP_ADDRESS)


@pytest.mark.parametrize(("latency", "taken"), [(0.05, True), (0.0999, False), (0.2, False)])
def test_of_two_relays_the_clearly_faster_one_is_used(latency: float, taken: bool) -> None:
    found = in_use(latency=0.1)
    assert found.ready(OTHER, OTHER_SERVER, latency, 300.0, 1.0) is taken
    assert found.best == (OTHER if taken else ONE)


def test_of_one_relay_the_newest_session_is_used_however_slow() -> None:
    found = in_use(latency=0.1)
    assert found.ready(NEXT, SERVER, 5.0, 300.0, 1.0)
    assert found.best == NEXT


def test_without_trust_the_next_one_that_works_is_used() -> None:
    found = in_use(latency=0.001)
    found.run(TRUST_UDP_ADDRESS)
    assert not found.is_trusted
    assert found.ready(OTHER, OTHER_SERVER, 5.0, 300.0, 7.0)
    assert found.best == OTHER


# --- trust -------------------------------------------------------------------------------------------------------


def test_heartbeats_keep_it_trusted_as_long_as_something_is_sent() -> None:
    found = in_use()
    now = 0.0
    while now < 100.0:
        now = found.deadline()
        if now < 20.0:
            found.sent(now)
            found.arrived(ONE, now)
        found.run(now)
        for address, _padding in take(found):
            found.pinged(b"%f" % now, address, 0, now)
            assert found.ponged(b"%f" % now, address.vni, now)
        if found.heartbeat_at == math.inf:
            break
    assert 20.0 + SESSION_ACTIVE_TIMEOUT - HEARTBEAT_INTERVAL <= now <= 20.0 + SESSION_ACTIVE_TIMEOUT + 3.0
    assert found.is_trusted


def test_without_a_pong_it_lapses_and_is_given_up_when_a_ping_has_timed_out() -> None:
    found = in_use()
    found.run(HEARTBEAT_INTERVAL)
    ((address, _),) = take(found)
    found.pinged(b"tx", address, 0, HEARTBEAT_INTERVAL)
    found.run(TRUST_UDP_ADDRESS)
    assert (found.best, found.is_trusted, found.why) == (ONE, False, "no pong for too long")
    pings, now = [], TRUST_UDP_ADDRESS
    while found.best is not None:
        for address, _padding in take(found):
            pings.append(now)
            found.pinged(b"%f" % now, address, 0, now)
        now = found.deadline()
        found.run(now)
    assert pings[:4] == [TRUST_UDP_ADDRESS + seconds for seconds in range(4)]
    assert (found.why, now) == ("its pings are not answered", TRUST_UDP_ADDRESS + PING_TIMEOUT)


def test_a_pong_by_another_session_or_of_another_ping_changes_nothing() -> None:
    found = in_use()
    found.pinged(b"tx", ONE, 0, 1.0)
    assert not found.ponged(b"tx", NEXT.vni, 1.1)
    assert not found.ponged(b"yx", ONE.vni, 1.1)
    assert found.lapse_at == TRUST_UDP_ADDRESS
    assert found.ponged(b"tx", ONE.vni, 1.1)
    assert found.lapse_at == 1.1 + TRUST_UDP_ADDRESS
    assert not found.ponged(b"tx", ONE.vni, 1.2)


def test_in_silence_what_arrives_keeps_it_trusted() -> None:
    found = in_use(silent=True)
    assert found.arrived(ONE, 6.0)
    assert not found.arrived(OTHER, 7.0)
    found.run(7.0)
    assert found.is_trusted
    assert take(found) == []


def test_a_peer_that_sends_through_derp_of_a_sudden_puts_the_session_in_doubt_once() -> None:
    found = in_use()
    assert not found.arrived_by_derp(1.0)
    found.arrived(ONE, 2.0)
    assert not found.arrived_by_derp(2.5)
    assert found.arrived_by_derp(4.0)
    assert (found.best, found.is_trusted, found.why) == (ONE, False, "the peer sends through DERP")
    found.run(4.0)
    assert take(found) == [(ONE, 0)]
    pong(found, 4.1)
    assert found.is_trusted
    assert not found.arrived_by_derp(6.0)
    found.arrived(ONE, 7.0)
    assert found.arrived_by_derp(9.0)


def test_data_that_stays_without_an_answer_ends_it() -> None:
    found = in_use()
    pong(found, 1.0)
    found.sent(1.0)
    assert found.check_at == 1.0 + DATA_UNANSWERED
    found.run(4.0)
    assert (ONE, DATA_PADDING) in take(found)
    assert not found.wants_binding
    found.run(4.0 + DATA_PING_INTERVAL)
    assert (found.best, found.is_trusted, found.wants_binding) == (ONE, False, True)
    found.pinged(b"small", ONE, 0, 5.0)
    assert found.ponged(b"small", ONE.vni, 5.1)
    assert not found.is_trusted
    found.run(4.0 + DATA_PING_TIMEOUT)
    assert (found.best, found.why) == (None, "data went out, and nothing came back")
    assert found.only_large


def test_where_handshakes_are_not_answered_twice_no_session_of_that_relay_is_used_alone_for_a_while() -> None:
    found = in_use()
    found.handshake_unanswered(1.0)
    found.handshake_answered()
    found.handshake_unanswered(2.0)
    assert found.is_trusted, "one may be lost"
    found.handshake_unanswered(5.0)
    assert (found.best, found.is_trusted, found.why) == (ONE, False, "WireGuard is not answered there")
    pong(found, 6.0)
    assert found.ready(NEXT, SERVER, 0.001, 300.0, 7.0)
    assert (found.best, found.is_trusted) == (NEXT, False)
    assert found.ready(OTHER, OTHER_SERVER, 0.5, 300.0, 8.0)
    assert (found.best, found.is_trusted) == (OTHER, True)
    assert not found.ready(NEXT, SERVER, 0.001, 300.0, 9.0), "however fast it is"
    pong(found, 5.0 + DOUBT, latency=0.5)
    assert found.ready(NEXT, SERVER, 0.001, 300.0, 5.0 + DOUBT)
    assert found.is_trusted
    for now in (70.0, 75.0):
        found.handshake_unanswered(now)
    pong(found, 75.0 + DOUBT)
    assert not found.is_trusted, "twice as long the second time"
    found.anew("the network changed", 140.0)
    assert found.ready(ONE, SERVER, 0.1, 300.0, 141.0)
    assert found.is_trusted


def test_handshakes_that_go_by_another_way_say_nothing_of_the_session() -> None:
    found = in_use()
    found.set_needed(False, 1.0)
    for now in (1.0, 2.0, 3.0):
        found.handshake_unanswered(now)
    assert found.is_trusted


def test_a_relay_in_doubt_is_asked_no_more_often_than_one_that_is_trusted() -> None:
    found, now = in_use(), 1.0
    for at in (0.5, 1.0):
        found.handshake_unanswered(at)
    pings = list[float]()
    while now < 30.0:
        found.run(now)
        for address, _padding in take(found):
            pings.append(now)
            found.pinged(b"%f" % now, address, 0, now)
            assert found.ponged(b"%f" % now, address.vni, now)
        now = found.deadline()
    assert (found.best, found.is_trusted) == (ONE, False)
    assert pings[:3] == [1.0, 1.0 + HEARTBEAT_INTERVAL, 1.0 + 2 * HEARTBEAT_INTERVAL]


def test_relays_in_doubt_are_bounded() -> None:
    found = in_use()
    for number in range(10 * MAX_RELAYS):
        assert found.ready(ONE, b"%032d" % number, 0.1, 300.0, 1.0) or found.is_trusted
        for _ in range(2):
            found.handshake_unanswered(1.0)
    assert len(found._doubts) == MAX_RELAYS


def test_a_relay_that_the_system_cannot_send_to_is_doubted_or_given_up() -> None:
    found = in_use()
    found.unsent(0, 1.0)
    assert (found.best, found.is_trusted) == (ONE, False)
    found.run(1.0)
    assert take(found) == [(ONE, 0)]
    pong(found, 1.1)
    found.unsent(9000, 1.2)
    assert found.is_trusted
    found.unsent(DATAGRAM_SIZE + 8, 1.3)
    assert (found.best, found.only_large, found.why) == (None, True, "data is too large for it")


def test_a_session_whose_pings_are_all_refused_is_asked_once_a_second_and_given_up() -> None:
    found, now, pings = in_use(), 1.0, list[float]()
    found.unsent(0, now)
    while found.best is not None:
        now = found.deadline()
        found.run(now)
        for address, padding in take(found):
            pings.append(now)
            found.pinged(b"%f" % now, address, padding, now)
            found.unsent(0, now)
        assert found.deadline() > now
        assert now < TRUST_UDP_ADDRESS + PING_TIMEOUT + 2.0
    assert pings[:3] == [1.0, 2.0, 3.0]
    assert found.why == "its pings are not answered"


def test_a_data_sized_pong_keeps_it() -> None:
    found = in_use()
    found.sent(1.0)
    found.run(4.0)
    found.pinged(b"tx", ONE, DATA_PADDING, 4.0)
    assert found.ponged(b"tx", ONE.vni, 4.1)
    found.run(6.5)
    assert found.best == ONE
    assert not found.only_large


# --- beside the direct path ---------------------------------------------------------------------------------------


def test_it_rests_while_a_direct_path_is_trusted_and_is_asked_first_when_that_is_lost() -> None:
    found = in_use()
    found.set_needed(False, 1.0)
    assert (found.heartbeat_at, found.discover_at) == (math.inf, math.inf)
    for now in range(2, 60):
        found.sent(now)
        found.run(now)
    assert (found.best, found.is_trusted, take(found)) == (ONE, False, [])
    found.set_needed(True, 60.0)
    assert take(found) == [(ONE, 0)]
    found.run(60.0)
    assert found.wants_sessions


def test_it_is_not_asked_when_its_relay_has_forgotten_it() -> None:
    found = in_use()
    found.set_needed(False, 1.0)
    found.sent(300.0)
    found.set_needed(True, 301.0)
    assert (found.best, take(found)) == (None, [])


def test_somebody_who_asks_gets_a_ping_by_the_session() -> None:
    found = in_use()
    found.asked(1.0)
    assert take(found) == [(ONE, 0)]


def test_anew_forgets_the_session_and_looks_for_others_at_once() -> None:
    found = in_use()
    found.anew("the network changed", 1.0)
    assert (found.best, found.is_trusted, found.why) == (None, False, "the network changed")
    found.run(1.0)
    assert found.wants_sessions


def test_pings_in_flight_are_bounded() -> None:
    found = in_use()
    for number in range(10 * MAX_RELAY_PINGS):
        found.pinged(b"%d" % number, ONE, 0, 1.0)
    assert len(found._pings) == MAX_RELAY_PINGS


def test_every_timer_counts_for_the_deadline() -> None:
    slots = {slot for slot in RelayPath.__slots__ if slot.endswith("_at") and not slot.startswith("_")}
    assert set(RELAY_TIMERS) == slots - {"sent_at"} | {"check_at"}
    for timer in RELAY_TIMERS:
        found = path()
        setattr(found.lost_data if timer == "check_at" else found, timer, 5.0)
        assert getattr(found, timer) == found.deadline() == 5.0


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_nothing_stays_due(seed: int) -> None:
    chance, found, now = random.Random(seed), path(silent=seed % 5 == 0), 0.0
    for step in range(400):
        now += chance.choice([0.0, 0.3, 2.0, 7.0])
        match chance.randrange(11):
            case 0 | 1 | 2:
                found.sent(now)
            case 3:
                found.ready(chance.choice([ONE, NEXT, OTHER]), chance.choice([SERVER, OTHER_SERVER]), 0.1, 60.0, now)
            case 4:
                found.set_needed(chance.random() < 0.7, now)
            case 5:
                found.set_may_discover(chance.random() < 0.7, now)
            case 6:
                found.arrived(ONE, now)
            case 7:
                found.called(now)
            case 8:
                found.unsent(chance.choice([0, 0, 600, 1320, 9000]), now)
            case 9:
                found.handshake_unanswered(now)
            case _:
                found.asked(now)
        for number, (address, padding) in enumerate(take(found)):
            found.pinged(b"%d %d" % (step, number), address, padding, now)
            if chance.random() < 0.5:
                found.ponged(b"%d %d" % (step, number), address.vni, now)
        found.run(now)
        assert found.deadline() > now
        assert not found.is_trusted or found.best is not None
        assert found.wants_sessions is False or found.may_discover
        found.wants_sessions = False

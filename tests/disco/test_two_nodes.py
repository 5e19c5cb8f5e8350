"""Two nodes over wires, behind NATs, on a hand clock: who gets a direct path, how soon, and what becomes of it."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from tests.disco.two import Nat, Two
from tsnet.base.addresses import DerpAddress, Destination, UdpAddress
from tsnet.disco.constants import (
    DATA_PING_TIMEOUT,
    DATA_UNANSWERED,
    ENDPOINTS_FRESH,
    PINGS_PER_SECOND,
    TRUST_UDP_ADDRESS,
)
from tsnet.disco.modes import DiscoModes

NATS: dict[str, Callable[[], Nat | None]] = {
    "none": lambda: None,
    "cone": lambda: Nat(is_open=True),
    "easy": Nat,
    "hard": lambda: Nat(by_destination=True),
}
RELAYED = {("easy", "hard"), ("hard", "easy"), ("hard", "hard")}


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("nat_b", NATS)
@pytest.mark.parametrize("nat_a", NATS)
def test_every_pair_of_nats(nat_a: str, nat_b: str, named: bool) -> None:
    two = Two(NATS[nat_a](), NATS[nat_b](), named=named)
    two.talk(2.0)
    direct = (nat_a, nat_b) not in RELAYED
    assert [two.is_direct(party) for party in two.parties] == [direct, direct]
    two.talk(60.0)
    assert [two.is_direct(party) for party in two.parties] == [direct, direct]
    assert two.b.got["data"] == 124


@pytest.mark.parametrize("nat_b", ["none", "easy"])
def test_one_that_only_answers_with_pongs_is_reached_directly(nat_b: str) -> None:
    two = Two(Nat(), NATS[nat_b]())
    two.talk(20.0, both=False)
    assert two.is_direct(two.a)
    assert two.b.got["data"] == 40


@pytest.mark.parametrize("seed", range(6))
def test_with_loss_they_find_each_other_and_stay(seed: int) -> None:
    two = Two(Nat(), Nat(), seed=seed, loss=0.2, duplicate=0.1)
    two.talk(30.0)
    two.run(0.0, until=lambda: True)
    two.run(60.0, until=lambda: two.send(two.a) and two.send(two.b) and all(map(two.is_direct, two.parties)))
    assert all(map(two.is_direct, two.parties))


def test_on_one_lan_the_inner_address_is_taken() -> None:
    two = Two(Nat(), Nat(), lan=True)
    two.talk(5.0)
    assert two.route(two.a) == (two.b.inner,)
    assert two.route(two.b) == (two.a.inner,)


def test_no_data_is_lost_on_the_way_from_the_relay_to_the_direct_path() -> None:
    two = Two(Nat(), Nat())
    two.talk(3.0, every=0.01)
    two.run(1.0)
    assert two.b.got["data"] >= 300


def test_a_path_that_dies_is_left_within_five_seconds_and_found_again() -> None:
    two = Two(Nat(), Nat())
    two.talk(10.0)
    two.blocks = lambda _to, _datagram: True
    died = two.now
    while two.is_direct(two.a):
        two.send(two.a)
        two.send(two.b)
        two.run(0.1)
    assert two.now - died <= DATA_UNANSWERED + DATA_PING_TIMEOUT + 0.3
    assert two.a.changes[-1].why == "data went out, and nothing came back"
    two.blocks = lambda _to, _datagram: False
    two.talk(6.0)
    assert all(map(two.is_direct, two.parties))


def test_a_path_that_carries_small_datagrams_only_is_left_until_it_carries_large_ones() -> None:
    two = Two(Nat(), Nat())
    two.talk(5.0)
    two.blocks = lambda _to, datagram: len(datagram) > 1000
    for _ in range(300):
        two.send(two.a, 1300)
        two.run(0.1)
    changes = [(change.why, type(change.after[0])) for change in two.a.changes]
    assert changes == [("a pong came", UdpAddress), ("data went out, and nothing came back", DerpAddress)]
    two.blocks = lambda _to, _datagram: False
    two.run(60.0, until=lambda: two.send(two.a) and two.is_direct(two.a))
    assert two.is_direct(two.a)


def test_a_router_that_forgets_is_passed_again() -> None:
    two = Two(Nat(), Nat())
    two.talk(5.0)
    for party in two.parties:
        assert party.nat is not None
        party.nat._allowed.clear()
        party.nat._ports = {None: 30_000}
        party.paths.set_endpoints(party.endpoints(two.now), two.now)
    two.talk(15.0)
    assert all(map(two.is_direct, two.parties))


def test_after_an_hour_of_silence_nobody_was_woken_and_the_next_datagram_begins_anew() -> None:
    two = Two(Nat(), Nat())
    two.talk(5.0)
    two.run(60.0)
    assert [party.paths.deadline() for party in two.parties] == [math.inf, math.inf]
    two.run(3600.0)
    sent = two.a.got["sent"]
    routes = two.send(two.a)
    assert [type(one) for one in routes] in ([UdpAddress, DerpAddress], [DerpAddress])
    assert two.a.paths.is_active(two.now)
    two.talk(5.0)
    assert two.is_direct(two.a)
    assert two.a.got["sent"] - sent < 20


def test_a_call_waits_for_endpoints_that_are_fresh() -> None:
    two = Two(Nat(), Nat())
    two.a.measures = False
    two.clock.advance(28.0)
    two.send(two.a)
    two.run(0.5)
    assert two.a.paths.wants_endpoints
    assert not two.b.got["sent"]
    two.a.paths.set_endpoints(two.a.endpoints(two.now), two.now)
    assert not two.a.paths.wants_endpoints
    two.run(0.5)
    assert two.b.got["sent"]
    assert two.is_direct(two.a)


def test_what_is_told_again_is_as_old_as_its_measurement() -> None:
    two = Two(Nat(), Nat())
    measured_at = two.now
    two.run(ENDPOINTS_FRESH + 1.0)
    two.a.measures = False
    two.a.paths.set_endpoints(two.a.endpoints(two.now), two.now, measured_at=measured_at)
    two.send(two.a)
    two.run(0.1)
    assert two.a.paths.wants_endpoints
    two.a.paths.set_endpoints(two.a.endpoints(two.now), two.now)
    assert not two.a.paths.wants_endpoints


def test_on_another_network_the_path_is_found_again_at_once() -> None:
    two = Two(None, None)
    two.talk(5.0)
    two.a.inner = UdpAddress("192.0.2.77", 41_641)
    two.a.paths.network_changed(two.now)
    assert not two.is_direct(two.a)
    two.talk(2.0)
    assert two.is_direct(two.a)
    two.talk(10.0)
    assert two.is_direct(two.b)


def test_relays_only() -> None:
    two = Two(None, None)
    two.talk(5.0)
    two.a.paths.set_modes(DiscoModes(udp=False), two.now)
    assert [type(one) for one in two.route(two.a)] == [DerpAddress]
    sent = two.a.got["sent"]
    two.talk(60.0)
    assert [type(one) for one in two.route(two.a)] == [DerpAddress]
    assert two.a.got["sent"] == sent
    assert not two.is_direct(two.b)
    two.a.paths.set_modes(DiscoModes(), two.now)
    two.talk(6.0)
    assert two.is_direct(two.a)


def test_in_silence_a_path_is_kept_by_its_data() -> None:
    two = Two(None, None)
    for party in two.parties:
        party.paths.set_modes(DiscoModes(silent=True), two.now)
    two.talk(5.0)
    sent = two.a.got["sent"]
    two.talk(60.0)
    assert all(map(two.is_direct, two.parties))
    assert two.a.got["sent"] == sent


@pytest.mark.parametrize("seed", range(8))
def test_whatever_happens_routes_are_one_or_two_and_a_trusted_path_was_proven(seed: int) -> None:
    chance = random.Random(seed)
    nats = [chance.choice(list(NATS.values()))() for _ in range(2)]
    two = Two(*nats, seed=seed, loss=chance.choice([0.0, 0.3]), duplicate=0.1)
    began = two.now
    for _ in range(150):
        party = chance.choice(two.parties)
        match chance.randrange(12):
            case 0:
                two.blocks = chance.choice([lambda _to, _datagram: False, lambda _to, _datagram: chance.random() < 0.5])
            case 1:
                party.paths.network_changed(two.now)
            case 2:
                party.paths.set_endpoints(chance.sample(party.endpoints(two.now), 1), two.now)
            case 3:
                party.paths.update_peers(
                    [(two.peer(party).key, two.node(two.peer(party), named=seed % 2 == 0))], two.now
                )
            case 4:
                party.paths.disconnected(1, two.now)
            case 5:
                party.paths.connected(1, two.now)
            case 6:
                party.paths.set_modes(DiscoModes(udp=chance.random() < 0.7, silent=chance.random() < 0.3), two.now)
            case _:
                two.send(party)
        two.run(chance.choice([0.05, 0.5, 3.0]))
        for each in two.parties:
            routes = two.route(each)
            assert 1 <= len(routes) <= 2
            if len(routes) == 2:
                assert [type(one) for one in routes] == [UdpAddress, DerpAddress]
    assert max(party.got["sent"] for party in two.parties) < 12 * (two.now - began) + 100


def test_trust_never_outlasts_the_last_pong() -> None:
    two = Two(None, None)
    two.talk(5.0)
    two.blocks = lambda _to, datagram: datagram[:1] != b"\4"  # data passes, and no disco
    cut = two.now
    while two.is_direct(two.a):
        two.send(two.a)
        two.send(two.b)
        two.run(0.1)
    assert two.now - cut <= TRUST_UDP_ADDRESS + 0.2


# --- asked by an application ------------------------------------------------------------------------------------------


def answers(two: Two, seconds: float = 1.0) -> list[Destination]:
    """By which paths b answers a's application, in order."""
    two.a.paths.ask(two.b.key, b"12345678", two.now)
    two.run(seconds)
    found = two.a.paths.take_answers()
    assert {(one.peer, one.data) for one in found} <= {(two.b.key, b"12345678")}
    return [one.by for one in found]


def test_an_application_asks_and_finds_a_direct_path() -> None:
    two = Two(Nat(), Nat())
    relay = DerpAddress(1, two.b.key)
    assert answers(two, 0.1) == [relay]
    two.run(5.0)  # the peer counts as sent to: it was told to call
    direct = two.a.paths._directs.get(two.b.key)
    assert direct is not None
    assert direct.is_trusted
    assert answers(two) == [direct.best, relay]


def test_of_a_trusted_path_and_others_the_trusted_one_is_asked() -> None:
    two = Two(Nat(), Nat(), lan=True)
    two.talk(5.0)
    assert answers(two) == [two.b.inner, DerpAddress(1, two.b.key)]


def test_with_relays_alone_an_application_is_answered_by_the_relay() -> None:
    two = Two(Nat(), Nat())
    two.a.paths.set_modes(DiscoModes(udp=False), two.now)
    assert answers(two) == [DerpAddress(1, two.b.key)]


def test_a_stranger_is_not_asked() -> None:
    two = Two()
    two.a.paths.ask(bytes(32), b"12345678", two.now)
    assert two.a.paths._outgoing.take(1 << 20) == []


def test_an_impatient_application_makes_a_bounded_number_of_pings() -> None:
    two = Two(Nat(), Nat())
    two.talk(5.0)
    for _ in range(1000):
        two.a.paths.ask(two.b.key, b"12345678", two.now)
    by_udp = [to for to, _datagrams in two.a.paths._outgoing.take(1 << 24) if isinstance(to, UdpAddress)]
    assert len(by_udp) <= PINGS_PER_SECOND

"""Two nodes behind hard NATs, and peers that relay: who is relayed, how soon, by whom, and what becomes of it."""

from __future__ import annotations

import pytest

from tests.disco.relayed import Relayed
from tests.disco.relayserver import RelayServer
from tests.disco.two import REGION, Nat
from tsnet.base.addresses import DerpAddress, Destination, PeerRelayAddress, UdpAddress
from tsnet.base.unsent import Unsent
from tsnet.disco.constants import (
    DATA_PING_INTERVAL,
    DATA_PING_TIMEOUT,
    DATA_UNANSWERED,
    DOUBT,
    RELAY_DISCOVERY_INTERVAL,
    TRUST_UDP_ADDRESS,
)
from tsnet.disco.modes import DiscoModes

NEAR, FAR = UdpAddress("198.51.100.1", 7777), UdpAddress("198.51.100.2", 7777)


def relayed(*servers: RelayServer, **more: object) -> Relayed:
    """A scene in which both have found a way."""
    scene = Relayed(*servers, **more)  # type: ignore[arg-type]  # the keywords of Relayed
    scene.talk(3.0)
    assert scene.are_relayed
    return scene


def test_two_hard_nats_meet_through_a_peer_within_half_a_second() -> None:
    scene = Relayed()
    begun = scene.now
    scene.send(scene.a)
    scene.run(2.0, until=lambda: scene.are_relayed)
    assert scene.now - begun < 0.5
    (session, other) = scene.sessions.values()
    assert session == other == PeerRelayAddress(*scene.servers[0].address, 1)


def test_they_stay_on_it_and_all_their_data_goes_there() -> None:
    scene = relayed()
    relayed_before, data_before = scene.b.got["relayed"], scene.b.got["data"]
    scene.talk(120.0)
    assert scene.are_relayed
    assert scene.b.got["relayed"] - relayed_before == scene.b.got["data"] - data_before == 240


@pytest.mark.parametrize("granted", ["a", "b"])
def test_one_of_them_is_granted_the_relay_and_the_other_is_called(granted: str) -> None:
    relayed(granted=granted).talk(60.0)


def test_without_a_grant_nobody_asks() -> None:
    scene = Relayed(granted="")
    scene.talk(10.0)
    assert (scene.sessions, scene.servers[0].got) == ({}, {})
    assert [len(party.paths._relays) for party in scene.parties] == [0, 0]


@pytest.mark.parametrize("seed", range(8))
def test_with_loss_they_meet_and_stay(seed: int) -> None:
    scene = Relayed(seed=seed, loss=0.2, duplicate=0.1)
    seconds: list[bool] = []
    while len(seconds) < 90:
        scene.talk(1.0)
        seconds.append(scene.are_relayed)
    assert any(seconds[:15])
    assert sum(seconds) > 60


def test_a_direct_path_is_better_wherever_there_is_one() -> None:
    scene = Relayed(nats=(Nat(), Nat()))
    scene.talk(5.0)
    assert all(map(scene.is_direct, scene.parties))
    before = scene.servers[0].got["forwarded"]
    scene.talk(60.0)
    assert scene.servers[0].got["forwarded"] == before
    assert scene.servers[0].got["data"] < 5


def test_when_the_direct_path_is_lost_the_session_of_before_carries_on_at_once() -> None:
    scene = Relayed(nats=(Nat(lifetime=300.0), Nat(lifetime=300.0)))
    scene.talk(20.0)
    assert all(map(scene.is_direct, scene.parties))
    relay = scene.servers[0].address
    scene.blocks = lambda to, _datagram: to != relay
    lost = scene.now
    while not scene.are_relayed:
        scene.talk(0.1, every=0.1)
    assert scene.now - lost < TRUST_UDP_ADDRESS + 1.0


def test_a_relay_that_dies_is_left_for_derp_and_no_data_is_lost_for_longer_than_four_seconds() -> None:
    scene = relayed()
    scene.servers[0].is_up = False
    died, got = scene.now, scene.b.got["data"]
    while scene.b.got["data"] == got:
        scene.talk(0.1, every=0.1)
    assert scene.now - died < DATA_UNANSWERED + DATA_PING_INTERVAL + 0.5
    scene.talk(10.0)
    assert [scene.route(party) for party in scene.parties] == [
        (DerpAddress(REGION, scene.b.key),),
        (DerpAddress(REGION, scene.a.key),),
    ]


def test_one_that_finds_the_relay_dead_tells_the_other_one_by_what_it_sends() -> None:
    """`a` asks and `b` only answers: as soon as `a` has gone on through DERP, so do the answers."""
    scene = relayed()
    scene.servers[0].is_up = False
    died, heard = scene.now, scene.a.got["data"]
    while scene.a.got["data"] == heard:
        before = scene.b.got["data"]
        scene.send(scene.a)
        scene.run(0.1)
        if scene.b.got["data"] > before:
            scene.send(scene.b)
    assert scene.now - died < DATA_UNANSWERED + DATA_PING_TIMEOUT + 0.5


def test_a_relay_that_comes_back_under_another_key_is_found_again() -> None:
    scene = relayed()
    scene.servers[0].is_up = False
    scene.talk(12.0)
    scene.servers[0].is_up = True
    scene.servers[0].restart()
    scene.talk(RELAY_DISCOVERY_INTERVAL + 1.0)
    assert scene.are_relayed


def test_of_two_relays_the_faster_one_is_used_and_the_other_one_when_that_is_lost() -> None:
    near, far = RelayServer("near", NEAR), RelayServer("far", FAR)
    scene = relayed(far, near, delays=(0.2, 0.01))
    scene.talk(5.0)
    assert {session.relay for session in scene.sessions.values()} == {NEAR}
    near.is_up = False
    scene.talk(RELAY_DISCOVERY_INTERVAL + 10.0)
    assert {session.relay for session in scene.sessions.values()} == {FAR}


def test_a_nat_that_forgets_is_found_out_and_the_session_is_bound_anew() -> None:
    nat = Nat(by_destination=True)
    scene = relayed(nats=(nat, Nat(by_destination=True)))
    nat._ports.clear()
    nat._ports[None] = 1
    nat._allowed.clear()
    requests = scene.servers[0].got["requests"]
    scene.talk(DATA_UNANSWERED + DATA_PING_INTERVAL + 2.0)
    assert scene.are_relayed
    assert scene.servers[0].got["bound"] >= 3
    assert scene.servers[0].got["requests"] == requests


def test_another_network_makes_all_void_and_is_asked_for_at_once() -> None:
    scene = relayed()
    scene.a.paths.network_changed(scene.now)
    assert scene.route(scene.a) == (DerpAddress(REGION, scene.b.key),)
    scene.talk(1.0)
    assert "a" in scene.sessions


@pytest.mark.parametrize("modes", [DiscoModes(relays=False), DiscoModes(udp=False)])
def test_without_leave_no_peer_relay_is_used_nor_answered(modes: DiscoModes) -> None:
    scene = relayed()
    scene.a.paths.set_modes(modes, scene.now)
    assert scene.route(scene.a) == (DerpAddress(REGION, scene.b.key),)
    requests = scene.servers[0].got["requests"]
    scene.talk(3.0)
    assert "a" not in scene.sessions
    scene.talk(40.0)
    assert scene.sessions == {}
    assert scene.servers[0].got["requests"] <= requests + 4  # b goes on asking
    scene.a.paths.set_modes(DiscoModes(), scene.now)
    scene.talk(RELAY_DISCOVERY_INTERVAL + 3.0)
    assert scene.are_relayed


def test_what_the_system_refuses_to_send_puts_the_session_in_doubt() -> None:
    scene = relayed()
    scene.a.paths.unsent([Unsent(UdpAddress("203.0.113.1", 1), 0)], scene.now)
    assert "a" in scene.sessions
    scene.a.paths.unsent([Unsent(scene.servers[0].address, 0)], scene.now)
    assert scene.route(scene.a) == (scene.sessions["b"], DerpAddress(REGION, scene.b.key))
    scene.talk(1.0)
    assert scene.are_relayed


def test_a_relay_that_forwards_pings_and_no_handshakes_is_not_used_alone() -> None:
    scene = relayed()
    session = scene.sessions["a"]
    for _ in range(2):
        scene.a.paths.handshake_unanswered(scene.b.key, scene.now)
    for _ in range(10):
        scene.talk(1.0)
        assert scene.route(scene.a) == (session, DerpAddress(REGION, scene.b.key))
    assert "b" in scene.sessions
    scene.talk(DOUBT + 4.0)
    assert scene.are_relayed


def test_without_direct_paths_peer_relays_are_used_all_the_same() -> None:
    scene = Relayed(nats=(Nat(), Nat()))
    scene.a.paths.set_modes(DiscoModes(direct=False), scene.now)
    scene.talk(10.0)
    assert scene.are_relayed


def test_the_next_timer_is_when_it_is_due() -> None:
    scene = relayed()
    for _ in range(40):
        scene.talk(0.9, every=0.3)
        for party in scene.parties:
            if party.paths.deadline() > scene.now:
                assert min(at for _key, _what, at in party.paths.timers()) == party.paths.deadline()


def test_idle_nodes_send_nothing_and_are_never_due() -> None:
    scene = relayed()
    scene.run(100.0)
    sent = [party.got["sent"] for party in scene.parties]
    scene.run(1000.0)
    assert [party.got["sent"] for party in scene.parties] == sent


def test_a_peer_that_restarts_is_found_by_its_new_key() -> None:
    scene = relayed()
    scene.a.paths.learn_disco_key(scene.b.key, scene.servers[0].disco_key, scene.now)
    assert scene.route(scene.a) == (DerpAddress(REGION, scene.b.key),)


def test_somebody_who_asks_hears_of_the_session() -> None:
    scene = relayed()
    scene.a.paths.ask(scene.b.key, b"who", scene.now)
    scene.run(1.0)
    answered: set[Destination] = {answer.by for answer in scene.a.paths.take_answers()}
    assert scene.sessions["a"] in answered
    assert DerpAddress(REGION, scene.b.key) in answered

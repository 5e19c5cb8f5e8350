"""Home, relays and their troubles: nodes in a simulated world whose relays restart, fall silent and lie."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tests.house import House, events_of
from tsnet.control.client import facts as told
from tsnet.derp.facts import RelayHealth
from tsnet.derp.liveness import NO_ANSWER, PONG_TIMEOUT, PROBE_HOME
from tsnet.engine import facts
from tsnet.errors import (
    DialTimeout,
    UpTimeout,
)
from tsnet.testing.bytestreams import End, SimulatedLinks, SimulatedListener


def test_the_relay_restarts_and_the_node_is_reachable_again() -> None:
    house = House(relays_only=True)
    a, b = house.up("a"), house.up("b")
    house.tailnet.restart_derp()
    house.until(lambda: not a.node.relays.clients[900].is_connected)
    house.until(lambda: a.node.relays.clients[900].is_connected and b.node.relays.clients[900].is_connected)
    assert house.finish(b.ping("a", "icmp", 10)).seconds < 1


def refuse_relays(monkeypatch: pytest.MonkeyPatch, reason: str) -> None:
    """From now on every link to a relay ends so, as it would at a bad certificate."""
    arrive = SimulatedLinks._arrive_at

    def refuse(links: SimulatedLinks, listener: SimulatedListener, end: End, give_up_at: float) -> None:
        if end.link.room == "derp":
            links.end(end, reason)
        else:
            arrive(links, listener, end, give_up_at)

    monkeypatch.setattr(SimulatedLinks, "_arrive_at", refuse)


def mute_relay(house: House) -> Any:
    """It takes connections and bytes, and answers nothing any more. Returns what makes it go on."""
    relay = house.tailnet.relays[0]._servers.pump
    assert relay is not None
    house.host.remove(relay)
    return lambda: house.host.add(relay)


def test_three_seconds_of_round_trip_time_are_no_hindrance() -> None:
    """The relay's login takes four of them, behind control's."""
    house = House(relays_only=True)
    house.world.wire.latency = 1.5
    a = house.handle("a")
    subscription = a.subscribe()
    house.finish(a.up(60))
    begun = house.now
    house.finish(a.reachable(60))
    assert house.now - begun < 20
    changes = [event for event in events_of(subscription) if isinstance(event, facts.RelayChanged)]
    assert changes == [facts.RelayChanged(900, True)]  # at the first attempt


def test_a_mute_relay_is_replaced_within_fifteen_seconds_of_unanswered_traffic() -> None:
    house = House(relays_only=True)
    a, b = house.up("a"), house.up("b")
    house.finish(b.ping("a", "icmp", 10))
    house.run(30)
    subscription = b.subscribe()
    unmute = mute_relay(house)
    begun = house.now
    operation = b.ping("a", "icmp", 6)
    assert isinstance(house.failure(operation), DialTimeout)
    assert "relay region 900" in str(operation._error)
    assert "has stopped answering" in str(operation._error)
    house.until(lambda: not b.node.relays.is_connected(900), 20)
    assert house.now - begun <= 12
    unmute()
    house.until(lambda: b.node.is_reachable and a.node.is_reachable, 30)
    assert house.finish(b.ping("a", "icmp", 10)).seconds < 1
    changes = [event for event in events_of(subscription) if isinstance(event, facts.RelayChanged)]
    assert changes == [facts.RelayChanged(900, False, NO_ANSWER), facts.RelayChanged(900, True)]


def test_a_mute_home_is_found_out_though_nobody_uses_it() -> None:
    """Peers that want to reach us would wait for it in vain."""
    house = House(relays_only=True)
    a = house.up("a")
    house.run(5)
    mute_relay(house)
    house.run(PROBE_HOME + PONG_TIMEOUT + 0.1)
    assert not a.node.relays.is_connected(900)


def test_a_node_without_traffic_asks_its_home_every_ten_seconds_and_is_idle_otherwise() -> None:
    house = House()
    a = house.up("a")
    house.run(5)
    turns = a.pump.turns
    house.run(100)
    assert a.node.relays.is_connected(900)
    assert a.pump.turns - turns <= 2 + 3 * 100 / PROBE_HOME


def test_it_is_reachable_while_its_relay_is_and_says_so_each_time() -> None:
    house = House(relays_only=True)
    a = house.up("a")
    subscription = a.subscribe()
    for _ in range(2):
        house.world.cut(house.tailnet.relays[0].derp_port, down=20.0)
        house.until(lambda: not a.node.is_reachable, 1)
        error = house.failure(a.reachable(5))
        assert isinstance(error, UpTimeout)
        assert "relay region 900 (10.0.0.1) cannot be reached: refused" in str(error)
        begun = house.now
        house.finish(a.reachable(60))
        assert house.now - begun > 5
    assert [event for event in events_of(subscription) if isinstance(event, facts.Reachable)] == [
        facts.Reachable(900)
    ] * 2


def test_it_is_not_reachable_while_control_knows_another_home() -> None:
    house = House(relays_only=True)
    a = house.up("a")
    for home, reachable in ((0, False), (7, False), (900, True)):
        a.node.word.tell(told.Published(home), house.now)
        assert a.node.is_reachable is reachable
    assert [type(fact) for fact in a.node.take_facts()] == [facts.Reachable]


def test_a_relay_with_a_bad_certificate_is_named_wherever_somebody_looks(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    house = House(relays_only=True)
    refuse_relays(monkeypatch, "certificate: self-signed")
    text = "relay region 900 (10.0.0.1) cannot be reached: certificate: self-signed"
    a, b = house.handle("a"), house.handle("b")
    subscription = a.subscribe()
    with caplog.at_level(logging.WARNING, "tsnet"):
        house.finish(a.up(10))
        house.finish(b.up(10))
        for operation in (a.reachable(3), a.dial("b", 80, 3), a.ping("b", "icmp", 3)):
            assert text in str(house.failure(operation))
        house.run(600)
    assert list(a.node.health.messages) == [text]
    assert sorted(record.getMessage() for record in caplog.records) == [f"a: {text}", f"b: {text}"]
    told_of = [event for event in events_of(subscription) if isinstance(event, facts.Health | facts.RelayChanged)]
    assert told_of == [facts.RelayChanged(900, False, "certificate: self-signed"), facts.Health((text,))]
    monkeypatch.undo()
    house.finish(a.reachable(40))
    assert list(a.node.health.messages) == []
    assert facts.Health(()) in events_of(subscription)


def test_a_bad_certificate_is_looked_at_ever_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(relays_only=True)
    refuse_relays(monkeypatch, "certificate: self-signed")
    a = house.handle("a")
    house.finish(a.up(10))
    generations = a.node.relays._generations
    before = next(generations)
    house.run(600)
    assert next(generations) - before < 45  # 600 with a pause of a second


def test_complaints_of_a_relay_and_of_control_stand_beside_each_other() -> None:
    house = House(relays_only=True)
    a = house.up("a")
    relays = a.node.relays
    say: list[Any] = []
    take_facts = relays.take_facts

    def take() -> list[Any]:
        found, say[:] = [*take_facts(), *say], []
        return found

    relays.take_facts = take  # type: ignore[method-assign]
    a.node.word.tell(told.ControlHealth(("clock",)), house.now)
    say.append(RelayHealth(900, "overloaded"))
    a.node._touch()
    a.pump.mark()
    house.run(0.1)
    assert list(a.node.health.messages) == ["clock", "relay region 900 says: overloaded"]
    a.node.word.tell(told.ControlHealth(()), house.now)
    a.pump.mark()
    house.run(0.1)
    assert list(a.node.health.messages) == ["relay region 900 says: overloaded"]
    house.world.cut(house.tailnet.relays[0].derp_port)  # a new connection begins without a complaint
    house.until(lambda: a.node.health.messages == (), 5)


@pytest.mark.parametrize("seconds", [20, 118])
def test_a_stream_goes_on_at_once_when_a_relay_that_had_lost_everything_is_replaced(seconds: float) -> None:
    lost = False
    house = House(relays_only=True, mangle=lambda source, target, packets: [] if lost else packets)
    a, b = house.up("a"), house.up("b")
    pipe, accepted, _ = house.connect(b, a)
    lost = True
    assert pipe.give(bytes(100_000)) == 100_000
    house.run(seconds)
    lost = False
    house.tailnet.restart_derp()
    house.until(lambda: not b.node.relays.clients[900].is_connected)
    house.until(lambda: all(node.node.relays.clients[900].is_connected for node in (a, b)))
    received = bytearray()

    def whole() -> bool:
        received.extend(accepted.take(100_000) or b"")
        return len(received) == 100_000

    house.until(whole, 1.5)


@pytest.mark.parametrize("away", [2, 5, 20])
def test_a_dial_that_was_begun_while_the_relay_was_away_goes_on_when_it_is_back(away: float) -> None:
    """Initiations have waited in the relay's client. The peer answers the first and refuses those behind it.

    With a tenth of the seeds the first is lost, and the dial waits for the next attempt of the handshake, 5 s later.
    """
    house = House(seed=3, relays_only=True)
    a, b = house.up("a"), house.up("b")
    house.finish(a.listen(80, None, 5))
    assert b.node.netmap is not None
    house.world.cut(b.node.netmap.derp_map.regions[900].nodes[0].derp_port, down=away)
    house.run(0.5)
    dial = b.dial("a", 80, 60)
    house.until(lambda: all(node.node.relays.clients[900].is_connected for node in (a, b)))
    back = house.now
    house.finish(dial)
    assert house.now - back < 0.2


def test_control_is_told_of_the_home_while_its_relay_takes_us_in() -> None:
    house = House(relays_only=True)
    house.world.wire.latency = 0.04
    a = house.handle("a")
    house.finish(a.up(60))
    house.until(lambda: a.node.home.region)
    assert not a.node.relays.is_connected(900)
    assert not a.node.is_reachable
    house.finish(a.reachable(60))
    assert a.node.relays.is_connected(900)


def test_a_home_is_told_to_control_once_it_is_known() -> None:
    house = House(relays_only=True)
    a = house.up("a")
    member = house.tailnet._member("a")
    assert a.node.home.region == member.home_region == 900
    assert a.node.is_reachable

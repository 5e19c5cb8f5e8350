from __future__ import annotations

import math
import time
from typing import Any

import pytest

from tests.house import House
from tsnet.base.network import Network
from tsnet.edge.run.alarms import Alarm
from tsnet.edge.run.pump import MANY, Pump, pause
from tsnet.engine.attributes import NodeAttributes
from tsnet.errors import NotUp


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
def pump(house: House) -> Pump:
    return house.up("a").pump


def idle(house: House, pump: Pump) -> None:
    """Until nothing is due now."""
    house.until(lambda: pump.due > house.now)


def test_it_rests_when_nothing_is_due(house: House, pump: Pump) -> None:
    house.run(1)  # it saves where its relay is
    idle(house, pump)
    turns = pump.turns
    house.host.step(house.now)
    assert pump.turns == turns
    pump.mark()
    house.host.step(house.now)
    assert pump.turns == turns + 1


def test_an_idle_node_turns_seldom(house: House, pump: Pump) -> None:
    house.run(5)
    turns = pump.turns
    house.run(60)
    assert pump.turns - turns < 60


@pytest.mark.parametrize("can", [True, False])
def test_the_port_is_told_when_datagrams_are_to_stay_whole(
    house: House, pump: Pump, can: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def set_dont_fragment(*, wanted: bool) -> bool:
        asked.append(wanted)
        return can

    monkeypatch.setattr(pump._udp, "set_dont_fragment", set_dont_fragment)
    for wanted in (True, True, False):
        pump.node.surroundings.set_attributes(NodeAttributes(peer_mtu_enable=wanted), house.now)
        pump.node._touch()
        pump.mark()
        house.run(1)
    assert asked == ([True, False] if can else [True])
    assert not pump.node.wants_whole_datagrams


def test_a_port_that_is_bound_anew_may_not_keep_datagrams_whole(
    house: House, pump: Pump, monkeypatch: pytest.MonkeyPatch
) -> None:
    can = [True, False]
    monkeypatch.setattr(pump._udp, "set_dont_fragment", lambda *, wanted: can.pop(0))
    pump.node.surroundings.set_attributes(NodeAttributes(peer_mtu_enable=True), house.now)
    pump.node._touch()
    pump.mark()
    house.run(1)
    assert pump.node.wants_whole_datagrams
    monkeypatch.setattr(pump._udp, "suits", lambda network: False)
    pump._on_network()
    house.run(1)
    assert not can
    assert not pump.node.wants_whole_datagrams


def ask_for_any_port(house: House, pump: Pump, wanted: bool) -> int:
    """The port afterwards."""
    pump.node.surroundings.set_attributes(NodeAttributes(randomize_client_port=wanted), house.now)
    pump.node._touch()
    pump.mark()
    house.run(1)
    return int(pump._udp.local_port)


def test_control_may_want_any_port_and_the_chosen_one_again(house: House) -> None:
    pump = house.up("a", port=7000).pump
    assert pump._udp.local_port == 7000
    number = ask_for_any_port(house, pump, True)
    assert number != 7000
    assert ask_for_any_port(house, pump, True) == number
    assert ask_for_any_port(house, pump, False) == 7000


def test_a_port_that_is_any_stays_and_is_saved_unless_control_wants_it_to_be_any(house: House, pump: Pump) -> None:
    house.run(1)
    number = pump._udp.local_port
    assert pump.node.remembered.udp_port == number
    assert ask_for_any_port(house, pump, True) == number
    assert pump.node.remembered.udp_port == 0
    assert ask_for_any_port(house, pump, False) == number
    assert pump.node.remembered.udp_port == number


def test_a_port_that_is_configured_is_not_saved(house: House) -> None:
    assert house.up("b", port=7000).pump.node.remembered.udp_port == 0


def test_alarms_ring_in_order_and_once(house: House, pump: Pump) -> None:
    rung: list[str] = []
    pump.at(house.now + 2, lambda: rung.append("second"))
    pump.at(house.now + 1, lambda: rung.append("first"))
    pump.at(house.now + 1, lambda: rung.append("then"))
    house.run(5)
    assert rung == ["first", "then", "second"]


def test_an_alarm_taken_back_neither_rings_nor_wakes(house: House, pump: Pump) -> None:
    idle(house, pump)
    alarm = pump.at(house.now, lambda: pytest.fail("rung"))
    assert pump.due <= house.now
    alarm.cancel()
    assert pump.due > house.now
    later = pump.at(house.now + 1, lambda: pytest.fail("rung"))
    pump.at(house.now + 1, later.cancel)
    pump._alarms._heap.sort(key=lambda entry: (entry[0], -entry[1]))  # the one that cancels first
    house.run(2)


def test_an_alarm_may_cancel_itself_while_it_rings(house: House, pump: Pump) -> None:
    alarm: list[Alarm] = []
    alarm.append(pump.at(house.now, lambda: alarm[0].cancel()))
    house.run(1)
    assert alarm[0].function is None


def test_a_call_runs_in_the_next_turn_and_something_follows(house: House, pump: Pump) -> None:
    idle(house, pump)
    turns, called = pump.turns, []
    pump.call(lambda: called.append(pump.turns))
    house.run(0.1)
    assert called == [turns]
    assert pump.turns > turns


def test_whatever_was_scheduled_is_serviced_though_it_schedules_itself_again(house: House, pump: Pump) -> None:
    class Again:
        services = 0

        def service(self, now: float) -> None:
            self.services += 1
            if self.services < 3:
                pump.schedule(self)  # type: ignore[arg-type]

    again = Again()
    pump.schedule(again)  # type: ignore[arg-type]
    assert pump.due == -math.inf
    house.run(0.1)
    assert again.services == 3


def test_a_turn_that_has_nothing_to_send_asks_the_node_for_nothing(
    house: House, pump: Pump, monkeypatch: pytest.MonkeyPatch
) -> None:
    idle(house, pump)
    sent: list[float] = []
    send = pump._send

    def note(now: float) -> int:
        sent.append(now)
        return send(now)

    monkeypatch.setattr(pump, "_send", note)
    pump.turn()
    assert not sent
    pump.node.retry(house.now)
    pump.turn()
    assert sent == [house.now]


def test_whoever_is_woken_in_a_stream_runs_before_the_stream_goes_on(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = house.up("a"), house.up("b")
    dialled, accepted, _ = house.connect(b, a)
    order: list[str] = []
    pump = a.pump
    send = pump._send

    def note(now: float) -> int:
        order.append("send")
        return send(now)

    monkeypatch.setattr(pump, "_send", note)
    pump.pause = lambda: order.append("pause")
    accepted.give(b"x" * 1000)
    pump.turn()
    assert order == ["send"], "the turn before was short"
    accepted.give(b"x" * 1000)
    pump._moved = MANY + 1
    pump.turn()
    assert order == ["send", "pause", "send"]
    assert pump._moved == 1
    dialled.close()


def test_a_pause_is_short() -> None:
    """The shortest of some: what else runs on the machine makes any of them longer."""

    def seconds() -> float:
        begun = time.perf_counter()
        pause()
        return time.perf_counter() - begun

    assert min(seconds() for _ in range(10)) < 0.01


def test_a_forked_child_knows_that_all_of_it_is_the_parents(house: House) -> None:
    a, b = house.up("a"), house.up("b")
    dialled, _, _ = house.connect(b, a)
    b.pump.orphan(NotUp("the parent's"))
    with pytest.raises(NotUp):
        dialled.take(1)


def test_last_words_reset_what_is_open(house: House) -> None:
    a, b = house.up("a"), house.up("b")
    _dialled, accepted, _ = house.connect(b, a)
    b.pump.last_words()
    house.until(lambda: accepted.error is not None)


def test_a_crash_closes_the_ports_and_tells_everybody(house: House, caplog: pytest.LogCaptureFixture) -> None:
    a, b = house.up("a"), house.up("b")
    dialled, accepted, _ = house.connect(b, a)
    waiting = b.dial("a", 9999, 60)
    house.run(0)
    b.node.receive = lambda *_: 1 / 0  # type: ignore[assignment, method-assign]  # a bug of ours
    b.pump.mark()
    with caplog.at_level("CRITICAL", "tsnet"):
        house.until(lambda: b._pump is None)
    assert b.state == "failed"
    with pytest.raises(NotUp, match="report it"):
        dialled.take(1)
    assert isinstance(house.failure(waiting), (NotUp, ConnectionRefusedError))
    house.finish(b.up(10))  # somebody wants it up again: it begins anew
    house.finish(b.close(1))
    assert b.state == "closed"
    assert a.state == "running"
    assert accepted is not None


@pytest.mark.parametrize("suits", [True, False])
def test_after_a_change_of_the_network_a_port_that_cannot_send_is_bound_anew(suits: bool) -> None:
    house = House()
    handle = house.up("a")
    told: list[str] = []

    def asked(network: Network) -> bool:
        told.append("asked")
        return suits

    port: Any = handle.pump._udp
    port.suits, port.rebind = asked, lambda _number: told.append("bound anew")
    house.world.machine("a").move()
    house.run(5)
    assert told == (["asked"] if suits else ["asked", "bound anew"])


def test_a_node_that_is_closed_watches_the_network_no_more() -> None:
    house = House()
    handle = house.up("a")
    machine = house.world.machine("a")
    assert len(machine._watchers) == 1
    house.finish(handle.close(1))
    assert machine._watchers == []


@pytest.mark.parametrize(
    ("attributes", "offload"),
    [
        (NodeAttributes(disable_udp_gso=True), (False, True)),
        (NodeAttributes(never_gso_equal_tail=True), (False, True)),
        (NodeAttributes(disable_udp_gro=True), (True, False)),
    ],
)
def test_control_may_have_the_kernel_cut_up_and_join_nothing(
    house: House, pump: Pump, attributes: NodeAttributes, offload: tuple[bool, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[bool, bool]] = []
    monkeypatch.setattr(pump._udp, "set_offload", lambda *, gso, gro: told.append((gso, gro)))
    for wanted in (attributes, attributes, NodeAttributes()):
        pump.node.surroundings.set_attributes(wanted, house.now)
        pump.node._touch()
        pump.mark()
        house.run(1)
    assert told == [offload, (True, True)]

"""Preferences changed on nodes that run, begin, fail and close; against our own control, under virtual time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.house import House, events_of
from tests.virtual import FailingStore
from tsnet.edge.io.store import MemoryStore
from tsnet.edge.run.handle import Handle
from tsnet.engine import facts
from tsnet.engine.saved import PREFS, decode_prefs, encode_prefs
from tsnet.errors import ConfigError, DialRefused, NotUp, SetTimeout, StateError
from tsnet.prefs import PrefChanges, Prefs

UP: PrefChanges = {"shields_up": True}
DOWN: PrefChanges = {"shields_up": False}
RENAMED: PrefChanges = {"hostname": "shop"}


@pytest.fixture
def house() -> House:
    return House()


def change(house: House, handle: Handle, changes: PrefChanges, timeout: float | None = 10) -> Prefs:
    return house.finish(handle.setting.set(changes, timeout))


def known(house: House, name: str) -> dict[str, Any]:
    """What control knows of the member."""
    return dict(house.tailnet._member(name).hostinfo)


def is_known(house: House, name: str) -> bool:
    return house.tailnet._state.named(name) is not None


def cut_off(house: House, seconds: float = 1000.0) -> None:
    house.world.cut(house.tailnet._port.number, down=seconds)
    house.run(0.1)


# --- on a running node ------------------------------------------------------------------------------------------


def test_a_new_hostname_reaches_control_and_what_control_grants_comes_back(house: House) -> None:
    store = MemoryStore()
    a, b = house.up("a", store=store), house.up("b")
    reader = a.reports.subscribe()
    assert change(house, a, RENAMED) == Prefs("shop") == a.prefs
    assert known(house, "shop")["Hostname"] == "shop"  # before `set` was done
    assert decode_prefs(store.values[PREFS]) == {"hostname": "shop"}
    assert facts.PrefsChanged(Prefs("shop"), Prefs("a")) in events_of(reader)
    house.until(lambda: a.view is not None and a.view.netmap.self_node.name == "shop.tailnet.test", 5)
    house.until(lambda: b.view is not None and b.view.names.resolve("shop") == a.node.addresses, 5)
    assert a._life.hostname == "shop"


def test_shields_refuse_who_calls_and_nobody_whom_we_call(house: House) -> None:
    """Callers are told at once, and what was open goes on."""
    a, b = house.up("a"), house.up("b")
    theirs, accepted, _listener = house.connect(b, a)
    assert change(house, a, UP).shields_up
    assert known(house, "a")["ShieldsUp"] is True
    assert isinstance(house.failure(b.dial("a", 80, 10)), DialRefused)
    house.connect(a, b, port=81)
    for here, there in ((theirs, accepted), (accepted, theirs)):
        here.give(b"still")
        house.run(1)
        assert there.take(10) == b"still"
    change(house, a, DOWN)
    assert "ShieldsUp" not in known(house, "a")
    house.finish(b.dial("a", 80, 10))


def test_shields_are_up_before_control_has_heard_of_it(house: House) -> None:
    a, b = house.up("a"), house.up("b")
    listener = house.finish(a.listen(80, None, 5))
    cut_off(house)
    waiting = a.setting.set(UP, 5).begin()
    assert isinstance(house.failure(b.dial("a", 80, 2)), DialRefused)
    assert not waiting.done
    assert not listener._queue


def test_control_that_does_not_answer_is_told_later(house: House) -> None:
    a = house.up("a")
    cut_off(house, 30)
    error = house.failure(a.setting.set(RENAMED, 3).begin())
    assert isinstance(error, SetTimeout)
    assert isinstance(error, TimeoutError)
    assert "shop within 3 s" in str(error)
    assert a.prefs == Prefs("shop")
    assert a.setting._waiting._waiters == {}
    house.until(lambda: is_known(house, "shop"), 120)
    assert change(house, a, {}) == Prefs("shop")  # nothing new: control has it already


def test_without_a_time_limit_it_waits_for_control(house: House) -> None:
    a = house.up("a")
    cut_off(house, 30)
    begun = house.now
    change(house, a, RENAMED, None)
    assert house.now - begun > 25
    assert known(house, "shop")["Hostname"] == "shop"


def test_what_cannot_be_saved_holds_and_is_saved_later(house: House) -> None:
    store = FailingStore()
    a, b = house.up("a", store=store), house.up("b")
    house.finish(a.listen(80, None, 5))
    store.fails = True
    error = house.failure(a.setting.set(UP, 10).begin())
    assert isinstance(error, StateError)
    assert "no space is left" in str(error)
    assert isinstance(house.failure(b.dial("a", 80, 2)), DialRefused)
    assert any("no space is left" in text for text in a.node.health.messages)
    store.fails = False
    house.until(lambda: PREFS in store.values, 120)
    house.until(lambda: not a.node.health.messages, 5)
    assert change(house, a, {}).shields_up


def test_two_at_once_both_hold(house: House) -> None:
    a = house.up("a")
    one, other = a.setting.set(RENAMED, 10).begin(), a.setting.set(UP, 10).begin()
    assert house.finish(one) == house.finish(other) == Prefs("shop", shields_up=True)


def test_back_to_the_old_name_while_control_is_just_told_the_new_one(house: House) -> None:
    a = house.up("a")
    one = a.setting.set(RENAMED, 10).begin()
    house.until(lambda: is_known(house, "shop"), 5)
    assert not one.done, "control's answer is on its way"
    assert change(house, a, {"hostname": "a"}) == Prefs("a")
    assert is_known(house, "a")


def test_whoever_gives_up_leaves_the_change_and_nobody_waiting(house: House) -> None:
    a = house.up("a")
    cut_off(house, 20)
    operation = a.setting.set(RENAMED, 100).begin()
    house.run(1)
    operation.cancel()
    house.run(0.1)
    assert a.setting._waiting._waiters == {}
    assert a.prefs == Prefs("shop")
    house.until(lambda: is_known(house, "shop"), 120)


def test_whoever_gives_up_before_it_begins_changes_nothing(house: House) -> None:
    a = house.up("a")
    a.setting.set(RENAMED, 10).cancel()
    house.run(1)
    assert a.prefs == Prefs("a")


def test_an_expired_key_keeps_nobody_waiting_for_control(house: House) -> None:
    """The change is saved, and control is told when the node runs again."""
    a = house.up("a", ephemeral=False)
    cut_off(house, 5)
    waiting = a.setting.set(RENAMED, 100).begin()
    house.run(1)
    a.node.admittance.expired(Exception("expired"))  # type: ignore[arg-type]
    a.pump.mark()
    house.run(0.1)
    assert house.finish(waiting) == Prefs("shop")


# --- on one that does not run -----------------------------------------------------------------------------------


def test_before_the_start_it_is_kept_and_saved_with_the_start(house: House) -> None:
    store = MemoryStore()
    a = house.handle("a", store=store)
    operation = a.setting.set({**RENAMED, **UP}, 10)
    assert operation.done
    assert operation.outcome() == a.prefs == Prefs("shop", shields_up=True)
    assert store.values == {}
    house.finish(a.reachable(60))
    assert known(house, "shop")["ShieldsUp"] is True
    assert decode_prefs(store.values[PREFS]) == {"hostname": "shop", "shields_up": True}


def test_while_the_store_is_read_it_is_kept_for_the_node_that_comes(house: House) -> None:
    a = house.handle("a")
    joining = a.up(60)
    while a.state == "stopped":
        house.host.step()
    assert change(house, a, RENAMED) == Prefs("shop")
    house.finish(joining)
    house.until(lambda: is_known(house, "shop"), 10)


def test_while_it_joins_only_the_store_is_waited_for(house: House) -> None:
    store = MemoryStore()
    a = house.handle("a", store=store, control_url=f"http://{house.world.v4}:9")
    a.up(60)
    house.run(1)
    begun = house.now
    assert change(house, a, RENAMED) == Prefs("shop")
    assert house.now - begun < 0.1
    assert decode_prefs(store.values[PREFS]) == {"hostname": "shop"}
    house.finish(a.close(1))


def test_a_node_that_failed_has_it_when_it_begins_again(house: House) -> None:
    a = house.up("a")
    a.crashed(RuntimeError("for a test"))
    assert a.state == "failed"
    assert change(house, a, RENAMED) == Prefs("shop")
    house.finish(a.up(60))
    assert a.node.preferences.current == Prefs("shop")


def test_a_node_that_fails_meanwhile_tells_who_waits(house: House) -> None:
    a = house.up("a")
    cut_off(house)
    waiting = a.setting.set(RENAMED, 100).begin()
    house.run(1)
    a.crashed(RuntimeError("for a test"))
    assert isinstance(house.failure(waiting), NotUp)
    assert a.prefs == Prefs("shop")


def test_a_node_that_closes_meanwhile_has_saved_it(house: House) -> None:
    store = MemoryStore()
    a = house.up("a", store=store, ephemeral=False)
    cut_off(house)
    waiting = a.setting.set(RENAMED, 100).begin()
    house.run(1)
    house.finish(a.close(2))
    assert house.finish(waiting) == Prefs("shop")
    assert decode_prefs(store.values[PREFS]) == {"hostname": "shop"}


def test_a_closed_node_says_so(house: House) -> None:
    a = house.up("a")
    house.finish(a.close(2))
    assert isinstance(house.failure(a.setting.set(RENAMED, 1)), NotUp)
    assert a.prefs == Prefs("a")


def test_a_node_that_is_closed_before_the_change_is_looked_at_does_not_change(house: House) -> None:
    store = MemoryStore()
    a, _b = house.up("a", store=store), house.up("b")  # whose loop goes on
    closing, waiting = a.close(0).begin(), a.setting.set(RENAMED, 5).begin()
    house.finish(closing)
    assert isinstance(house.failure(waiting), NotUp)
    assert a.prefs == Prefs("a")
    assert PREFS not in store.values


def test_a_time_limit_that_is_none(house: House) -> None:
    with pytest.raises(ConfigError, match="timeout="):
        house.handle("a").setting.set(RENAMED, -1)


# --- the next start ---------------------------------------------------------------------------------------------


def test_a_restart_keeps_what_was_set_unless_somebody_asks_for_something_else(house: House) -> None:
    store = MemoryStore()
    options: dict[str, Any] = {"store": store, "ephemeral": False, "defaults": True}
    a = house.up("a", **options)
    change(house, a, {**RENAMED, **UP})
    house.finish(a.close(2))
    again = house.handle("a", **options)
    assert again.prefs == Prefs("a")  # nothing was read yet
    house.finish(again.up(60))
    assert again.prefs == again.node.preferences.current == Prefs("shop", shields_up=True)
    assert again.node.engine.packet_filter.shields_up
    house.finish(again.close(2))
    asked = house.up("a", **{**options, "defaults": False}, shields_up=False)
    assert asked.prefs == Prefs("a")
    assert decode_prefs(store.values[PREFS]) == {"hostname": "shop", "shields_up": True}  # for the start after this


def test_what_a_later_version_has_saved_is_still_there_after_a_change(house: House) -> None:
    store = MemoryStore({PREFS: encode_prefs({"exit_node": "n7", "hostname": "shop"})})
    a = house.up("a", store=store, defaults=True)
    assert a.prefs == Prefs("shop")
    change(house, a, UP)
    assert decode_prefs(store.values[PREFS]) == {"exit_node": "n7", "hostname": "shop", "shields_up": True}


def test_preferences_that_cannot_be_read_are_not_replaced_by_open_doors(house: House) -> None:
    store = MemoryStore({PREFS: b'{"kind": "tsnet-py", "version": 1, "prefs": {"shields_up": "ye'})
    error = house.failure(house.handle("a", store=store).up(10))
    assert isinstance(error, StateError)
    assert "'prefs'" in str(error)
    assert "to go on with the default preferences, move it away" in str(error)


# --- threads ----------------------------------------------------------------------------------------------------


def test_changes_before_the_start_from_many_threads_all_hold(house: House) -> None:
    a = house.handle("a")
    gate = threading.Barrier(8)

    def set_one(number: int) -> None:
        gate.wait(60)
        changes: PrefChanges = {"hostname": f"n{number}"} if number % 2 else {"shields_up": True}
        for _ in range(50):
            a.setting.set(changes, 1)

    threads = [threading.Thread(target=set_one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert a.prefs.shields_up
    assert a.prefs.hostname in {"n1", "n3", "n5", "n7"}


def test_a_signal_in_the_midst_of_a_change_may_change_something_itself(house: House) -> None:
    a = house.handle("a")

    class Interrupted(dict[str, Any]):
        """Changes on whose way a signal's handler runs, once."""

        def __iter__(self) -> Iterator[str]:
            return iter(self.keys())

        def keys(self) -> Any:
            if not a.prefs.shields_up:
                a.setting.set(UP, 1)
            return super().keys()

    thread = threading.Thread(target=lambda: a.setting.set(Interrupted(RENAMED), 1), daemon=True)  # type: ignore[arg-type]
    thread.start()
    thread.join(60)
    assert not thread.is_alive(), "it waits for itself"
    assert a.prefs == Prefs("shop", shields_up=True)

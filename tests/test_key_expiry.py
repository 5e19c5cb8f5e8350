"""A key that expires, while the node runs and across a restart, with our own control under virtual time."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tests.house import House, events_of
from tsnet.edge.io.store import MemoryStore
from tsnet.engine import facts
from tsnet.errors import KeyExpired, NodeRemoved

HOUR = 3600.0
LIFE = (facts.KeyExpiring, facts.Expired, facts.Running, facts.Removed, facts.LoggedIn)


@pytest.fixture
def house() -> House:
    return House()


def told(heard: Any) -> list[str]:
    return [type(event).__name__ for event in events_of(heard) if isinstance(event, LIFE)]


def test_a_node_is_warned_expires_and_runs_again(house: House, caplog: pytest.LogCaptureFixture) -> None:
    a, b = house.up("a", ephemeral=False), house.up("b")
    heard, since = a.subscribe(), house.now
    house.tailnet.extend("a", HOUR)
    with caplog.at_level(logging.WARNING, "tsnet"):
        house.until(lambda: a.state == "expired", 2 * HOUR)
    warning, expired = (event for event in events_of(heard) if isinstance(event, facts.KeyExpiring | facts.Expired))
    assert isinstance(expired, facts.Expired)
    assert isinstance(warning, facts.KeyExpiring)
    assert warning.expires_at == pytest.approx(house.world.wall(), abs=2)
    assert house.now - since == pytest.approx(HOUR, abs=2)
    assert len([message for message in caplog.messages if "its key expires at" in message]) == 1
    assert isinstance(house.failure(a.dial("b", 80, 5)), KeyExpired)
    house.tailnet.extend("a", HOUR)
    house.until(lambda: a.state == "running", 60)
    assert told(heard) == ["Running"]
    house.connect(b, a)
    house.until(lambda: a.state == "expired", 2 * HOUR)
    assert told(heard) == ["KeyExpiring", "Expired"]


def test_the_warning_comes_with_a_tenth_of_the_life_left(house: House) -> None:
    a = house.up("a", ephemeral=False)
    house.tailnet.extend("a", HOUR)
    house.run(10)
    heard = a.subscribe()
    house.run(0.85 * HOUR)
    assert told(heard) == []
    house.run(0.1 * HOUR)
    assert told(heard) == ["KeyExpiring"]
    house.tailnet.restart_control()
    house.run(0.02 * HOUR)
    assert told(heard) == [], "of one expiry it is told once"


def test_a_process_that_restarts_with_an_expired_key_runs_once_it_is_extended(house: House) -> None:
    store = MemoryStore()
    a = house.up("a", ephemeral=False, store=store)
    house.tailnet.expire("a")
    house.until(lambda: a.state == "expired")
    house.finish(a.close(5))
    again = house.handle("a", ephemeral=False, store=store, auth_key="")
    heard = again.subscribe()
    again.start()
    house.run(20)
    assert again.state in ("expired", "needs-login")
    house.tailnet.extend("a")
    house.until(lambda: again.state == "running", 300)
    assert "Running" in told(heard)
    assert list(house.tailnet.nodes()) == ["a"]


def test_a_process_that_restarts_with_an_expired_key_runs_after_a_login(house: House) -> None:
    store = MemoryStore()
    a = house.up("a", ephemeral=False, store=store)
    house.tailnet.expire("a")
    house.until(lambda: a.state == "expired")
    house.finish(a.close(5))
    again = house.handle("a", ephemeral=False, store=store, auth_key="")
    again.start()
    house.run(5)
    house.finish(again.login(house.tailnet.auth_key, False, 30))
    assert again.state == "running"
    assert list(house.tailnet.nodes()) == ["a"]


def test_a_node_that_control_deletes_is_told_so(house: House) -> None:
    a = house.up("a", ephemeral=False)
    heard = a.subscribe()
    house.tailnet.remove("a")
    house.until(lambda: a.state == "failed", 60)
    found = events_of(heard)
    (removed,) = (event for event in found if isinstance(event, facts.Removed))
    assert isinstance(removed.error, NodeRemoved)
    assert found[-1] == facts.Problem(removed.error, fatal=True)
    assert heard.ended

"""Device approval by our own control, under virtual time: a node waits for an administrator, runs, and waits again."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tests.house import House, events_of
from tsnet.edge.io.store import MemoryStore
from tsnet.engine import facts
from tsnet.errors import NeedsApproval

LIFE = (facts.ApprovalPending, facts.Running, facts.LoginUrl, facts.LoggedIn, facts.PeerLeft)


@pytest.fixture
def house() -> House:
    return House(wants_approval=True)


def told(heard: Any) -> list[str]:
    return [type(event).__name__ for event in events_of(heard) if isinstance(event, LIFE)]


def trusted(house: House, name: str = "trusted") -> Any:
    return house.up(name, auth_key=house.tailnet.create_auth_key(preauthorized=True))


def test_up_waits_for_the_approval(house: House, caplog: pytest.LogCaptureFixture) -> None:
    a = house.handle("a")
    heard, going, since = a.subscribe(), a.up(60), house.now
    with caplog.at_level(logging.WARNING, "tsnet"):
        house.until(lambda: a.state == "needs-approval")
    assert house.now - since < 5
    assert told(heard) == ["LoggedIn", "ApprovalPending"]
    assert [message for message in caplog.messages if "administrator of the tailnet must approve" in message]
    house.run(10)
    assert not going.done
    house.tailnet.approve("a")
    house.finish(going)
    assert (a.state, told(heard)) == ("running", ["Running"])
    b = trusted(house)
    house.connect(b, a)
    house.connect(a, b, 81)


def test_up_gives_up_with_what_an_administrator_does(house: House) -> None:
    a = house.handle("a")
    since = house.now
    error = house.failure(a.up(20))
    assert isinstance(error, NeedsApproval)
    assert 20 <= house.now - since < 21
    assert "approve it there" in str(error)
    assert isinstance(house.failure(a.listen(80, None, 3)), NeedsApproval)
    house.tailnet.approve("a")
    house.finish(a.up(20))


def test_a_dial_does_not_wait(house: House) -> None:
    b = trusted(house)
    a = house.handle("a")
    since = house.now
    for attempt in (a.dial("trusted", 80, 30), a.ping("trusted", "icmp", 30), a.dial_packet("trusted", 80, 30)):
        assert isinstance(house.failure(attempt), NeedsApproval)
    assert house.now - since < 5
    assert not b.node.netmap or not b.node.netmap.peers


def test_an_approval_is_taken_back_and_given_again(house: House) -> None:
    a, b = trusted(house, "a"), trusted(house, "b")
    dialled, _accepted, _ = house.connect(a, b)
    heard = a.subscribe()
    house.tailnet.reject("a")
    house.until(lambda: a.state == "needs-approval", 5)
    assert told(heard) == ["PeerLeft", "ApprovalPending"]
    assert isinstance(house.failure(a.dial(str(b.node.addresses[0]), 80, 10)), NeedsApproval)
    house.until(lambda: dialled.error is not None)
    house.tailnet.approve("a")
    house.until(lambda: a.state == "running", 5)
    house.finish(a.dial("b", 80, 10))


def test_a_restart_finds_the_node_as_it_was(house: House) -> None:
    store = MemoryStore()
    a = house.handle("a", store=store, ephemeral=False)
    assert isinstance(house.failure(a.up(5)), NeedsApproval)
    house.finish(a.close(5))
    again = house.handle("a", store=store, ephemeral=False, auth_key="")
    going = again.up(60)
    house.until(lambda: again.state == "needs-approval", 5)
    house.tailnet.approve("a")
    house.finish(going)
    assert list(house.tailnet.nodes()) == ["a"]


def test_a_login_with_a_preauthorized_key_is_an_approval(house: House) -> None:
    a = house.handle("a")
    assert isinstance(house.failure(a.up(5)), NeedsApproval)
    assert isinstance(house.failure(a.login("", True, 5).begin()), NeedsApproval)
    assert a.state == "needs-approval"
    house.finish(a.login(house.tailnet.create_auth_key(preauthorized=True), False, 30))
    assert a.state == "running"


def test_an_expired_node_is_expired_and_not_waiting_for_an_approval(house: House) -> None:
    a = house.handle("a", ephemeral=False)
    assert isinstance(house.failure(a.up(5)), NeedsApproval)
    heard = a.subscribe()
    house.tailnet.expire("a")
    house.until(lambda: a.state == "expired", 10)
    house.tailnet.extend("a")
    house.until(lambda: a.state == "needs-approval", 60)
    assert "Running" not in told(heard)
    house.tailnet.approve("a")
    house.until(lambda: a.state == "running", 10)


def test_a_logout_and_a_close_end_the_wait(house: House) -> None:
    a, b = house.handle("a"), house.handle("b")
    for handle in (a, b):
        assert isinstance(house.failure(handle.up(5)), NeedsApproval)
    house.finish(a.logout(5).begin())
    assert a.state == "logged-out"
    house.finish(b.close(5))
    assert not house.tailnet.nodes()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_it_runs_by_itself_in_any_order_of_the_first_turns(seed: int) -> None:
    house = House(seed, wants_approval=True)
    a = house.handle("a")
    going = a.up(30)
    house.until(lambda: a.state == "needs-approval", 5)
    house.tailnet.approve("a")
    house.finish(going)

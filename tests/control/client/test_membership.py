"""What becomes of a registered node: deleted, expired, replaced, forgotten by control."""

from __future__ import annotations

import attrs
import pytest

from tests.control.scripted import NODE_KEY, SELF, WALL, WELCOME, Scripted, problem
from tsnet.base.crypto import node_public
from tsnet.control.client import facts
from tsnet.control.client.membership import ACCEPTED_FOR
from tsnet.control.messages import MapResponse, RegisterResponse
from tsnet.errors import (
    KeyExpired,
    NodeRemoved,
)
from tsnet.netmap.merge import MapUpdate

# --- the node's own life ----------------------------------------------------------------------------------------


def test_a_deleted_node_is_told_and_control_left_alone() -> None:
    control = Scripted()
    control.join()
    control.send(b"", end=True)
    control.wind(1)
    control.answer("poll", b"node not found", 404)
    (told,) = control.told(facts.NodeRemoved)
    assert told.fatal
    assert isinstance(told.error, NodeRemoved)
    opened = len(control.opens)
    control.wind(3600)
    assert len(control.opens) == opened


def test_a_deleted_ephemeral_node_registers_anew_with_another_key() -> None:
    control = Scripted()
    client = control.join(ephemeral=True)
    control.updates_pass = False
    client.set_net_info({"PreferredDERP": 900}, control.now)
    control.run()
    control.answer("update", b"node not found", 404)
    control.wind(0.1)
    request = control.find("register").register
    assert request.node_key != NODE_KEY
    assert (request.old_node_key, request.auth_key, request.ephemeral) == (None, "key", True)
    assert not control.waits("poll")
    control.updates_pass = True
    control.answer("register", WELCOME.encode())
    (rotated,) = control.told(facts.NodeKeyRotated)
    assert (node_public(rotated.private), rotated.old) == (request.node_key, None)
    assert control.find("poll").map.node_key == request.node_key
    assert control.updates[-1].node_key == request.node_key


@pytest.mark.parametrize("ephemeral", [True, False])
def test_a_key_that_was_accepted_a_moment_ago_is_not_removed(ephemeral: bool) -> None:
    """Headscale accepts it, and for some milliseconds has no map for it."""
    control = Scripted()
    control.updates_pass = False
    control.client(auth_key="key", ephemeral=ephemeral)
    control.run()
    control.answer("register", WELCOME.encode())
    for _ in range(3):
        control.answer("poll", b"node not found", 404)
        control.answer("update", b"node not found", 404)
        control.wind(0.4)
    control.send_map(MapResponse(MapUpdate(node=SELF)))
    assert control.told(facts.Connected)
    assert not control.told(facts.NodeRemoved) + control.told(facts.NodeKeyRotated)
    control.answer("update", b"node not found", 404)  # served once, this is a removal
    control.wind(1)
    assert control.waits("register") if ephemeral else control.told(facts.NodeRemoved)


def test_a_key_that_control_never_serves_is_removed_in_the_end() -> None:
    control = Scripted()
    control.updates_pass = False
    control.client(auth_key="key")
    control.run()
    control.answer("register", WELCOME.encode())
    for _ in range(10):
        assert control.told(facts.NodeRemoved) == []
        control.answer("poll", b"node not found", 404)
        if control.told(facts.NodeRemoved):
            break
        control.wind(0.5)
    assert control.now >= 1000 + ACCEPTED_FOR
    assert problem(control).fatal


def test_a_control_that_forgets_every_new_node_is_asked_less_and_less() -> None:
    control = Scripted()
    control.join(ephemeral=True)
    control.send(b"", end=True)
    registered_at: list[float] = []
    until = control.now + 60
    while control.now < until:
        control.wind(0.01)
        if control.waits("poll"):
            control.answer("poll", b"node not found", 404)
        if control.waits("register"):
            registered_at.append(control.now)
            control.answer("register", WELCOME.encode())
    assert len(registered_at) < 40
    assert registered_at[-1] - registered_at[-2] > 1


def test_a_late_404_about_the_deleted_node_does_not_hit_the_new_one() -> None:
    control = Scripted()
    client = control.join(ephemeral=True)
    control.updates_pass = False
    client.set_net_info({"PreferredDERP": 900}, control.now)
    control.send(b"", end=True)
    control.wind(1)
    control.answer("poll", b"node not found", 404)
    assert not control.waits("update")
    control.wind(0.2)
    control.answer("register", WELCOME.encode())
    assert len(control.told(facts.NodeKeyRotated)) == 1
    assert control.waits("update")


@pytest.mark.parametrize("purpose", ["update", "poll"])
@pytest.mark.parametrize("answered_first", [True, False], ids=["after", "during"])
def test_a_404_about_the_key_that_a_login_replaces_removes_nobody(purpose: str, answered_first: bool) -> None:
    control = Scripted()
    client = control.join()
    control.updates_pass = False
    client.set_net_info({"PreferredDERP": 900}, control.now)
    client.login(control.now, "another key")
    control.run()
    old = control.find(purpose)
    if answered_first:
        control.answer("register", WELCOME.encode())
        assert control.find(purpose).map.node_key != old.map.node_key
    else:
        if purpose == "poll":
            control.send(b"", end=True)
            control.wind(1)
        control.answer(purpose, b"node not found", 404)
        control.answer("register", WELCOME.encode())
    control.wind(10)
    assert control.told(facts.NodeRemoved) == []
    assert len(control.told(facts.NodeKeyRotated)) == 1
    assert control.find("poll").map.node_key == node_public(client._login.private)


def test_an_empty_map_makes_us_ask_whether_control_still_knows_us() -> None:
    control = Scripted()
    control.join()
    control.wind(10)
    before = len(control.updates)
    for _ in range(5):
        control.send_map(MapResponse(MapUpdate(control_time=WALL)))
    assert len(control.updates) == before + 1
    control.wind(20)
    assert len(control.updates) == before + 2  # the later four are one question more
    assert len(control.told(facts.NetMapChanged)) == 1


def test_key_expiry_by_the_servers_word_and_back() -> None:
    control = Scripted()
    control.join()
    control.send_map(MapResponse(MapUpdate(node=attrs.evolve(SELF, key_expiry=WALL - 5))))
    assert control.told(facts.KeyExpired) == [facts.KeyExpired()]
    assert control.waits("poll")  # the map is followed on
    control.send_map(MapResponse(MapUpdate(node=attrs.evolve(SELF, key_expiry=WALL + 1e6))))
    assert control.told(facts.KeyExtended) == [facts.KeyExtended()]


def test_key_expiry_by_our_clock() -> None:
    control = Scripted()
    control.join(netmap=MapUpdate(node=attrs.evolve(SELF, key_expiry=WALL + 50)))
    control.wind(49)
    assert control.told(facts.KeyExpired) == []
    control.wind(2)
    assert control.told(facts.KeyExpired) == [facts.KeyExpired()]


def test_an_expired_key_is_replaced_naming_the_old_one() -> None:
    control = Scripted()
    control.client(auth_key="key")
    control.run()
    control.answer("register", RegisterResponse(node_key_expired=True).encode())
    request = control.find("register").register
    assert request.old_node_key == NODE_KEY
    assert request.node_key != NODE_KEY
    control.answer("register", WELCOME.encode())
    assert [type(fact) for fact in control.facts][:3] == [facts.ControlKey, facts.NodeKeyRotated, facts.LoggedIn]


def test_a_new_key_that_has_expired_is_fatal() -> None:
    control = Scripted()
    control.client(auth_key="key")
    control.run()
    for _ in range(2):
        control.answer("register", RegisterResponse(node_key_expired=True).encode())
    assert problem(control).fatal
    assert isinstance(problem(control).error, KeyExpired)


def test_a_new_login_keeps_the_old_key_until_control_accepts() -> None:
    control = Scripted()
    client = control.join()
    client.login(control.now, "another")
    control.run()
    request = control.find("register").register
    assert (request.old_node_key, request.auth_key) == (NODE_KEY, "another")
    assert control.find("poll").map.node_key == NODE_KEY
    control.answer("register", WELCOME.encode())
    assert control.find("poll").map.node_key == request.node_key


def test_nothing_is_published_under_a_key_that_control_is_just_replacing() -> None:
    control = Scripted()
    client = control.join()
    known = len(control.updates)
    client.login(control.now)
    control.run()
    assert control.waits("register")
    client.set_hostinfo({"Hostname": "other"}, control.now)
    control.wind(2.0)
    assert len(control.updates) == known
    control.answer("register", WELCOME.encode())
    assert len(control.updates) == known + 1
    assert control.updates[-1].node_key != NODE_KEY


def test_while_a_person_is_awaited_news_are_published_under_the_old_key() -> None:
    control = Scripted()
    client = control.join()
    known = len(control.updates)
    client.login(control.now)
    control.run()
    control.answer("register", RegisterResponse(auth_url="https://control.example/a/1").encode())
    client.set_hostinfo({"Hostname": "other"}, control.now)
    control.wind(2.0)
    assert [update.node_key for update in control.updates[known:]] == [NODE_KEY]


def test_the_server_key_is_asked_for_once() -> None:
    control = Scripted()
    control.join()
    control.cut()
    control.wind(1)
    control.send_map(MapResponse(MapUpdate(node=SELF)))
    assert [one.link[1] for one in control.opens] == ["key", "noise", "noise"]

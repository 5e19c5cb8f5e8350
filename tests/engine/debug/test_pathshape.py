from __future__ import annotations

from typing import Any

import pytest

from tests.homes import Call
from tests.house import House
from tests.relayed_homes import RelayedHomes, VirtualRelay
from tests.test_relay_scenes import play
from tsnet.cli.debugtables import TABLES
from tsnet.edge.run.handle import Handle
from tsnet.engine.debug.pathshape import paths_shape


@pytest.fixture
def house() -> House:
    return House()


def talking(house: House) -> tuple[Handle, Handle]:
    a, b = house.up("a"), house.up("b")
    house.run(5)
    house.connect(b, a)
    house.run(1)
    return a, b


def shape_of(house: House, handle: Handle) -> dict[str, Any]:
    return paths_shape(handle.node, house.now)


def test_a_peer_that_is_reached_directly(house: House) -> None:
    a, b = talking(house)
    shape = shape_of(house, a)
    (peer,) = shape["peers"]
    direct = peer["direct"]
    assert peer["name"] == b.node.netmap.self_node.name  # type: ignore[union-attr]
    assert peer["path"] == f"direct {direct['best']}"
    assert peer["routes"] == [direct["best"]]
    assert direct["is_trusted"]
    assert 0 < direct["trusted_for"] <= 6.5
    assert direct["why"] == "a pong came"
    assert direct["is_active"]
    best = next(candidate for candidate in direct["candidates"] if candidate["is_best"])
    assert best["address"] == direct["best"]
    assert "netmap" in best["told_by"]
    assert best["latency"] == direct["latency"]
    assert 0 <= best["answered_ago"] <= best["pinged_ago"] + 1
    assert peer["session"]["is_up"]
    assert peer["session"]["sent_bytes"] > 0
    modes = {"udp": True, "direct": True, "peer_relays": True, "silent": False, "loopback": False}
    assert (shape["without_state"], shape["modes"]) == (0, modes)


def test_candidates_that_do_not_answer_say_so(house: House) -> None:
    a, b = house.up("a"), house.up("b")
    house.run(5)
    house.world.machine("b").unplug()
    a.ping("b", "icmp", 5).begin()
    house.run(8)
    (peer,) = shape_of(house, a)["peers"]
    assert peer["direct"]["best"] is None
    assert peer["direct"]["trusted_for"] is None
    assert peer["direct"]["candidates"]
    for candidate in peer["direct"]["candidates"]:
        assert candidate["pinged_ago"] is not None
        assert candidate["answered_ago"] is candidate["latency"] is None
    assert b.state == "running"


def test_relays_only(house: House) -> None:
    house = House(relays_only=True)
    a, _b = talking(house)
    shape = shape_of(house, a)
    (peer,) = shape["peers"]
    assert not shape["modes"]["udp"]
    assert peer["direct"] is None
    assert peer["path"].startswith("relay ")
    assert peer["routes"][0].startswith("relay ")


def test_peers_that_nobody_has_tried_to_reach_are_counted(house: House) -> None:
    a, *_others = [house.up(name) for name in "abc"]
    shape = shape_of(house, a)
    assert shape["peers"] == []
    assert shape["without_state"] == 2


def test_answers_of_another_network_are_forgotten(house: House) -> None:
    a, b = talking(house)
    key = b.node.engine.device.public_key
    direct = a.node.engine.paths.direct(key)
    assert direct is not None
    assert any(direct.candidates.get(where).latency < 1 for where in direct.candidates)  # type: ignore[union-attr]
    direct.candidates.forget_history()
    (peer,) = shape_of(house, a)["peers"]
    assert {candidate["latency"] for candidate in peer["direct"]["candidates"]} == {None}


def test_a_peer_that_is_reached_through_another_one() -> None:
    async def scene(homes: RelayedHomes, relay: VirtualRelay, call: Call) -> None:
        shape = await homes.nodes["left"].debug("paths")
        (peer,) = [each for each in shape["peers"] if each["name"].startswith("right.")]
        relayed = peer["peer_relay"]
        assert peer["routes"] == [relayed["best"]]
        assert relayed["best"] == f"peer relay {relay.address.host}:{relay.address.port}:vni:1"
        assert (relayed["is_trusted"], relayed["is_active"]) == (True, True)
        assert relayed["trusted_for"] > 0
        assert 0 < relayed["latency"] < 1
        assert "  peer relay " in TABLES["paths"](shape)
        assert set(relayed) == {"best", "is_trusted", "trusted_for", "latency", "why", "is_active"}

    play(scene)

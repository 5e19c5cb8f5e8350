"""When a netmap is kept, when a start goes by it, and when it must not."""

from __future__ import annotations

import math
from typing import Any
from urllib.parse import urlsplit

import attrs
import pytest

from tests.engine.pair import netmap, node, secret
from tests.house import House, events_of
from tsnet.base.crypto import node_public
from tsnet.base.keys import NodePrivateKey
from tsnet.base.links import Compute, Computed
from tsnet.base.steps import finish
from tsnet.config import configure
from tsnet.control.client.keptmap import KeptMap, decode_kept
from tsnet.control.gojson import ZERO_TIME
from tsnet.control.server.policy import Selector
from tsnet.edge.io.store import MemoryStore
from tsnet.engine.cachednetmap import AGAIN_AFTER, CONTROL_WITHIN, MAX_AGE, SETTLED, CachedNetmap
from tsnet.engine.facts import NetMapChanged, NetMapStale, Running
from tsnet.engine.saved import NETMAP
from tsnet.netmap.model import DerpMap, DerpRegion, NetMap

NOW, WALL = 1000.0, 1_790_000_000.0
URL = "https://control.test"
KEY = node_public(NodePrivateKey(secret("a")))
ASKED = {"cache-network-maps": ()}
A, B = node(1, "a", capabilities=ASKED, created=ZERO_TIME), node(2, "b", created=ZERO_TIME)
FORBIDDEN = {**ASKED, "disable-cache-network-maps": ()}


def cached(kept: bytes = b"", *, now: float = NOW, **options: Any) -> CachedNetmap:
    given = {"is_enrolled": True, "may_be_kept": True, "node_key": KEY, "wall_offset": WALL - NOW, **options}
    environ: dict[str, str] = {
        name: given.pop(name) for name in ("TSNET_FORCE_LOGIN", "TS_USE_CACHED_NETMAP") if name in given
    }
    config = configure(
        environ=environ, control_url=given.pop("control_url", URL), cache_netmap=given.pop("cache_netmap", None)
    )
    return CachedNetmap(kept, config, given.pop("node_key"), now=now, **given)


def works(some: CachedNetmap, now: float, home: int = 0) -> list[KeptMap]:
    """What the worker that is due now finds for the node to go by."""
    found = []
    for effect in some.transmit(now, home):
        assert isinstance(effect, Compute)
        try:
            value = effect.run()
        except Exception as error:
            value = error
        if (kept := some.receive(Computed(effect.link, value), now)) is not None:
            found.append(kept)
    return found


def written(told: NetMap, *, home: int = 0, **options: Any) -> bytes | None:
    """What is kept of that netmap."""
    some = cached(**options)
    some.adopted(told, NOW)
    works(some, NOW + SETTLED, home)
    return some.take_value()


KEPT = written(netmap(A, B)) or b""


def test_it_is_written_once_it_has_settled_and_not_again_if_it_is_the_same() -> None:
    some = cached()
    assert some.deadline() == math.inf
    some.adopted(netmap(A), NOW)
    some.adopted(netmap(A, B), NOW + 1)
    assert some.deadline() == NOW + SETTLED
    assert works(some, NOW + SETTLED) == []
    assert some.deadline() == -math.inf
    value = some.take_value()
    assert value is not None
    assert finish(decode_kept(value)).netmap.peers == {2: B}
    assert some.deadline() == math.inf
    some.adopted(netmap(A, attrs.evolve(B, online=True)), NOW + 60)
    assert some.deadline() == NOW + SETTLED + AGAIN_AFTER
    works(some, NOW + SETTLED + AGAIN_AFTER)
    assert some.take_value() is None, "who is online is not kept"


def test_of_the_same_netmap_nothing_is_made_at_the_next_start() -> None:
    some = cached(KEPT)
    some.adopted(netmap(A, B), NOW)
    works(some, NOW + SETTLED)
    assert some.take_value() is None


@pytest.mark.parametrize(
    ("own", "option", "is_kept"),
    [
        ({}, None, False),
        (ASKED, None, True),
        ({}, True, True),
        (ASKED, False, False),
        (FORBIDDEN, None, False),
        (FORBIDDEN, True, False),
    ],
)
def test_who_decides(own: dict[str, Any], option: bool | None, is_kept: bool) -> None:
    told = netmap(attrs.evolve(A, capabilities=own), B)
    assert (written(told, cache_netmap=option) is not None) is is_kept
    some = cached(KEPT, cache_netmap=option)
    some.adopted(told, NOW)
    assert (some.take_value() == b"") is (not is_kept), "one that is kept is forgotten"


@pytest.mark.parametrize(
    "told",
    [
        attrs.evolve(netmap(A, B), is_locked=True),
        netmap(attrs.evolve(A, expired=True), B),
        netmap(attrs.evolve(A, machine_authorized=False), B),
    ],
)
def test_what_is_unsafe_is_not_kept_and_not_used(told: NetMap) -> None:
    assert written(told) is None
    some = cached(KEPT)
    some.adopted(told, NOW)
    assert some.take_value() == b""


def test_a_start_without_control_goes_by_it() -> None:
    some = cached(KEPT, now=NOW + 50)
    assert some.deadline() == NOW + 50 + CONTROL_WITHIN
    assert works(some, NOW + 50) == []
    assert not some.is_stale
    (found,) = works(some, NOW + 50 + CONTROL_WITHIN)
    assert some.is_stale
    assert (found.netmap.peers, found.saved_at) == ({2: B}, WALL + SETTLED)
    some.adopted(netmap(A, B), NOW + 99)
    assert not some.is_stale


def test_control_that_answers_in_time_is_gone_by() -> None:
    some = cached(KEPT)
    some.answered()
    assert works(some, NOW + 100) == []
    late = cached(KEPT)
    (effect,) = late.transmit(NOW + CONTROL_WITHIN, 0)
    late.answered()
    assert late.receive(Computed(effect.link, effect.run()), NOW + CONTROL_WITHIN) is None
    assert not late.is_stale


@pytest.mark.parametrize(
    "options",
    [
        {"is_enrolled": False},
        {"may_be_kept": False},
        {"cache_netmap": False},
        {"TS_USE_CACHED_NETMAP": "0"},
        {"TSNET_FORCE_LOGIN": "1"},
        {"node_key": B.key},
        {"control_url": "https://other.test"},
        {"wall_offset": WALL - NOW + MAX_AGE + 60},
        {"kept": b""},
        {"kept": b"rubbish"},
        {"kept": KEPT[:-1]},
    ],
)
def test_one_that_must_not_be_used(options: dict[str, Any]) -> None:
    some = cached(**{"kept": KEPT, **options})
    assert works(some, NOW + CONTROL_WITHIN) == []
    assert not some.is_stale


def test_a_damaged_one_is_forgotten() -> None:
    some = cached(KEPT[:-1])
    works(some, NOW + CONTROL_WITHIN)
    assert some.take_value() == b""


@pytest.mark.parametrize(("later", "is_used"), [(-2 * MAX_AGE, True), (3000, True), (3700, False)])
def test_by_it_no_expired_key_is_used_even_before_the_clock_is_set(later: float, is_used: bool) -> None:
    kept = written(netmap(attrs.evolve(A, key_expiry=WALL + 3600), B)) or b""
    assert bool(works(cached(kept, wall_offset=WALL - NOW + later), NOW + CONTROL_WITHIN)) is is_used


def test_peers_whose_key_has_expired_meanwhile_are_marked() -> None:
    kept = written(netmap(A, attrs.evolve(B, key_expiry=WALL + 3600))) or b""
    (found,) = works(cached(kept, wall_offset=WALL - NOW + 7200), NOW + CONTROL_WITHIN)
    assert found.netmap.peers[2].expired


def test_the_home_that_peers_know_is_favoured() -> None:
    relays = DerpMap({1: DerpRegion(1), 2: DerpRegion(2)})
    kept = written(attrs.evolve(netmap(A, B), derp_map=relays), home=2) or b""
    (found,) = works(cached(kept), NOW + CONTROL_WITHIN)
    assert found.netmap.self_node.home_region == 2
    assert min(found.netmap.derp_map.region_score.items(), key=lambda item: item[1])[0] == 2


@pytest.mark.parametrize("end", [CachedNetmap.forget, lambda some: some.new_key(B.key)])
def test_what_ends_the_login_empties_the_store(end: Any) -> None:
    some = cached(KEPT)
    end(some)
    assert some.take_value() == b""
    assert works(some, NOW + 100) == []


# --- with control and a peer ------------------------------------------------------------------------------------


def kept_by(house: House, **options: Any) -> MemoryStore:
    """What a node of that name keeps that has run."""
    store = MemoryStore()
    a = house.up("a", store=store, ephemeral=False, **options)
    house.run(SETTLED + 5)
    house.finish(a.close(2))
    return store


def control_is_away(house: House, seconds: float = 3600.0) -> None:
    house.world.cut(urlsplit(house.tailnet.control_url).port or 0, down=seconds)


def test_a_start_while_control_is_away_reaches_a_peer_and_is_refreshed() -> None:
    house = House()
    b = house.up("b", ephemeral=False)
    store = kept_by(house, cache_netmap=True)
    control_is_away(house, 120)
    a = house.handle("a", store=store, ephemeral=False, cache_netmap=True)
    events, begun = a.subscribe(), house.now
    house.finish(a.up(30))
    assert house.now - begun == pytest.approx(CONTROL_WITHIN, abs=0.5)
    assert a.view is not None
    assert a.view.is_stale
    assert any("control does not answer" in message for message in a.view.health)
    house.finish(a.reachable(30))
    house.connect(a, b)
    house.connect(b, a, 81)
    open_ones = dict(a.node.engine.stack.connections)
    assert open_ones
    told = [type(event) for event in events_of(events)]
    assert told.index(Running) < told.index(NetMapStale)
    house.run(150)
    assert not a.view.is_stale
    assert not a.view.health
    assert NetMapChanged in [type(event) for event in events_of(events)]
    assert a.node.engine.stack.connections == open_ones, "its connections live on"


def test_without_the_option_or_the_attribute_it_waits_for_control() -> None:
    house = House()
    store = kept_by(house)
    assert NETMAP not in store.values
    control_is_away(house)
    a = house.handle("a", store=store, ephemeral=False)
    assert "control" in str(house.failure(a.up(10)))


def test_the_attribute_asks_for_it_and_takes_it_back() -> None:
    house = House()
    state = house.tailnet._state
    state.set_node_attributes(Selector.parse("*"), ASKED)
    store = kept_by(house)
    assert store.values[NETMAP]
    state.set_node_attributes(Selector.parse("*"), {})
    house.up("a", store=store, ephemeral=False)
    house.run(5)
    assert store.values[NETMAP] == b""


def test_an_ephemeral_node_keeps_none() -> None:
    house = House()
    store = MemoryStore()
    house.up("a", store=store, cache_netmap=True)
    house.run(SETTLED + 5)
    assert NETMAP not in store.values


def test_after_a_logout_there_is_none() -> None:
    house = House()
    store = MemoryStore()
    a = house.up("a", store=store, ephemeral=False, cache_netmap=True)
    house.run(SETTLED + 5)
    assert store.values[NETMAP]
    house.finish(a.logout(10))
    house.run(1)
    assert store.values[NETMAP] == b""

"""A Node turned by a pump in a simulated world, and what cannot be seen there by hand."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import attrs
import pytest

from tests.engine.alone import NOW, A, B, bare, running
from tests.engine.pair import netmap, node
from tests.house import House
from tests.traces import Traced
from tsnet.base.addresses import DerpAddress
from tsnet.base.keys import NodeKey
from tsnet.base.links import Event, Link, Opened, Received
from tsnet.control.client import facts as told
from tsnet.control.messages import PingRequest
from tsnet.control.server.server import Server
from tsnet.derp.facts import Suspected
from tsnet.derp.outbox import MAX_WAITING
from tsnet.engine import facts
from tsnet.engine.node import Node
from tsnet.engine.sleep import SUSPENDED_AFTER
from tsnet.errors import (
    AddressInUse,
    AddressNotAvailable,
    NotOnTailnet,
    NotUp,
)
from tsnet.netmap.model import DerpMap, DerpNode, DerpRegion

# --- before the first netmap ------------------------------------------------------------------------------------


def test_before_the_netmap_it_can_do_nothing_and_says_what_it_waits_for() -> None:
    some = bare()
    assert some.addresses == ()
    assert "control" in some.waiting_for
    for use in (
        lambda: some.calls.resolve("b"),
        lambda: some.calls.listen(80, None),
        lambda: some.calls.open_udp(80, None),
        lambda: some.calls.connect(ip_address("100.64.0.2"), 80, NOW),
        lambda: some.calls.open_ping(ip_address("100.64.0.2")),
    ):
        with pytest.raises(NotUp):
            use()


# --- what control asks for --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "fields"),
    [("TSMP", {}), ("ICMP", {}), ("disco", {"DERPRegionID": 900, "DERPRegionCode": "embedded"})],
)
def test_control_hears_of_the_ping_that_it_asked_for(kind: str, fields: dict[str, Any]) -> None:
    house = House(relays_only=True)
    a, b = house.up("a"), house.up("b")
    control = house.tailnet._control
    assert control is not None
    server = control.machine
    assert isinstance(server, Server)
    for path in ("first", "in-a-session-that-stands"):
        server.replies[path] = b""
        ping = PingRequest(f"{server.base_url}/c2n/{path}", True, kind, str(b.node.addresses[0]))
        assert server._streams.ping(house.tailnet._member("a").id, ping, house.now)
        control.mark()
        house.until(lambda path=path: server.replies[path], 2.0)  # type: ignore[misc]
        answer = json.loads(server.replies[path])
        assert 0 < answer.pop("LatencySeconds") < 1
        assert answer == {"Type": kind, "IP": ping.ip, "NodeIP": ping.ip, "NodeName": "b", **fields}
        house.run(3)
    assert a.node.asked_pings.dropped.total() == 0


# --- names and addresses ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("b", "100.64.0.2"),
        ("B", "100.64.0.2"),
        ("b.tailnet.test", "100.64.0.2"),
        ("b.tailnet.test.", "100.64.0.2"),
        ("a", "100.64.0.1"),
        ("100.64.0.2", "100.64.0.2"),
        ("fd7a:115c:a1e0::2", "fd7a:115c:a1e0::2"),
        ("100.64.0.1", "100.64.0.1"),
    ],
)
def test_names_and_addresses_resolve(host: str, address: str) -> None:
    assert running().calls.resolve(host) == ip_address(address)


@pytest.mark.parametrize("host", ["c", "", "b.elsewhere.test", "100.64.0.9", "8.8.8.8", "::1", "b b", "." * 300])
def test_what_is_not_on_the_tailnet(host: str) -> None:
    with pytest.raises(NotOnTailnet):
        running().calls.resolve(host)


def test_ports_are_bound_once_and_only_on_own_addresses() -> None:
    some = running()
    some.calls.listen(80, None)
    with pytest.raises(AddressInUse, match="TCP port 80"):
        some.calls.listen(80, None)
    some.calls.open_udp(80, None)
    with pytest.raises(AddressInUse, match="UDP port 80"):
        some.calls.open_udp(80, None)
    some.calls.listen(81, ip_address("100.64.0.1"))
    for bind in (some.calls.listen, some.calls.open_udp):
        with pytest.raises(AddressNotAvailable, match=r"100\.64\.0\.2 is not an address"):
            bind(82, ip_address("100.64.0.2"))


def test_the_own_address_of_the_same_family() -> None:
    some = running()
    assert some.calls.address_towards(ip_address("100.64.0.2")) == ip_address("100.64.0.1")
    assert some.calls.address_towards(ip_address("fd7a::2")) == ip_address("fd7a:115c:a1e0::1")
    some.word.tell(told.NetMapChanged(netmap(attrs.evolve(A, addresses=A.addresses[:1]), B)), NOW)
    with pytest.raises(AddressNotAvailable):
        some.calls.address_towards(ip_address("fd7a::2"))


# --- what control tells -----------------------------------------------------------------------------------------


def test_the_words_of_control_reach_the_application() -> None:
    some = running()
    some.word.tell(told.LoginUrl("https://control.test/a/1"), NOW)
    some.word.tell(told.DuplicateNode("twice"), NOW)
    some.word.tell(told.ControlHealth(("slow",)), NOW)
    assert some.take_facts() == [
        facts.LoginUrl("https://control.test/a/1"),
        facts.DuplicateNode("twice"),
        facts.Health(("slow",)),
    ]


# --- bytes that nobody meant ------------------------------------------------------------------------------------


def test_events_of_links_that_it_does_not_have_change_nothing() -> None:
    some = running()
    stray: list[Event] = [
        Received(Link("derp", 9, 77), b"x" * 50),
        Opened(Link("control", "", 5)),
        Received(Link("control", "", 5), b"HTTP/1.1 200"),
    ]
    some.receive([], stray, NOW)
    some.transmit(NOW, 1 << 20)
    assert some.relays.dropped["closed"] == 1


def test_time_never_goes_back_and_a_gap_is_a_suspension() -> None:
    some = running()
    some.transmit(NOW + 5, 1 << 20)
    assert some._clamp(NOW) == NOW + 5
    suspended: list[float] = []
    some.engine.suspended = suspended.append  # type: ignore[method-assign, assignment]
    some._clamp(NOW + 5 + SUSPENDED_AFTER + 1)
    assert suspended == [] or some.deadline() < NOW
    some._now = NOW
    while some.deadline() <= NOW:
        some.transmit(NOW, 1 << 20)
    some._clamp(some.deadline() + 2 * SUSPENDED_AFTER)
    assert suspended


@pytest.mark.parametrize(
    "ask",
    [
        lambda some, now: some.netcheck(now),
        lambda some, now: some.calls.connect(ip_address("100.64.0.2"), 80, now),
        lambda some, now: some.set_wall_offset(0.0, now),
    ],
    ids=["netcheck", "dial", "wall clock"],
)
def test_who_asks_an_idle_node_for_something_does_not_make_it_a_sleeper(ask: Callable[[Node, float], object]) -> None:
    some = running()
    suspended: list[float] = []
    some.engine.suspended = suspended.append  # type: ignore[method-assign, assignment]
    some._due = NOW + 3600  # as after a turn, of a node that has no relay and is pinged by nobody
    later = NOW + SUSPENDED_AFTER + 10
    ask(some, later)
    some.receive([], [], later)
    assert suspended == []


def test_what_a_relay_tells_at_the_end_of_a_turn_is_acted_on_in_the_next_at_once() -> None:
    """Another region may be wanted, or be home now."""
    some = running()
    while some.deadline() <= NOW:
        some.transmit(NOW, 1 << 20)
    settled: list[float] = []
    settle = some.reachability.settle
    some.reachability.settle = lambda now: (settled.append(now), settle(now))[1]  # type: ignore[method-assign, func-returns-value]
    some.relays._facts.append(Suspected(7))
    some._upkeep(NOW, 1 << 20)
    assert len(settled) == 1
    assert some.deadline() <= NOW
    some.transmit(NOW, 1 << 20)
    assert len(settled) == 2
    assert some.deadline() > NOW
    some.transmit(NOW, 1 << 20)
    assert len(settled) == 2, "nothing is due"


LOOKS_ONLY = {
    *("receive", "transmit", "deadline", "is_touched", "take_facts", "take_ready"),
    *("relay_trouble", "netcheck_so_far", "peer_name", "path_towards", "path_to"),
    "ping_tsmp",  # the engine alone sends it
}
"""What says nothing to a room beside the data path, or finds out itself whether it has."""


def test_whoever_tells_a_room_beside_the_data_path_has_all_of_them_looked_at() -> None:
    methods = [(name, method) for name, method in inspect.getmembers(Node, inspect.isfunction) if name[0] != "_"]
    telling: list[Callable[..., object]] = [method for name, method in methods if name not in LOOKS_ONLY]
    assert len(telling) >= 10
    for method in telling:
        assert "self._touch()" in inspect.getsource(method), method


def test_a_turn_of_the_data_path_alone_leaves_the_rooms_beside_it_out() -> None:
    some = running()
    for _ in range(10):
        some.transmit(NOW, 1 << 20)
    assert some.deadline() > NOW
    looks: list[float] = []
    some.reachability.settle = looks.append  # type: ignore[method-assign, assignment]
    some.receive([], [], NOW)
    some.transmit(NOW, 1 << 20)
    assert not looks
    some.receive([], [Received(Link("derp", 9, 77), b"x")], NOW)
    some.transmit(NOW, 1 << 20)
    assert looks == [NOW], "a link has said something"
    some.retry(NOW)
    assert some.deadline() <= NOW
    some.transmit(NOW, 1 << 20)
    assert looks == [NOW, NOW], "somebody has asked for something"
    some.udp_port += 1
    some.transmit(NOW, 1 << 20)
    assert len(looks) == 3, "the UDP port is another one"


# --- in the world -----------------------------------------------------------------------------------------------


def test_the_way_up_in_its_order() -> None:
    house = House()
    handle = house.handle("a")
    subscription = handle.subscribe()
    house.finish(handle.reachable(10))
    seen = []
    while (event := subscription.take()) is not None:
        seen.append(type(event).__name__)
    order = [name for name in seen if name in ("LoggedIn", "Running", "RelayChanged", "HomeChanged", "Reachable")]
    assert order.index("LoggedIn") < order.index("Running") < order.index("HomeChanged") < order.index("Reachable")


def test_after_a_full_drain_nothing_is_due() -> None:
    house = House()
    some = house.up("a").node
    for _ in range(50):
        some.transmit(house.now, 1 << 20)
        some.take_facts()
        if some.deadline() > house.now:
            return
    raise AssertionError("the deadline stays due")


def test_a_relay_that_was_full_when_it_was_given_up_holds_nobody_back() -> None:
    some = bare()
    relay = DerpNode(name="7a", region_id=7, host_name="relay.test")
    region = DerpRegion(region_id=7, code="r", name="R", nodes=(relay,))
    derp_map = DerpMap(regions={7: region}, omit_default_regions=True)
    some.word.tell(told.NetMapChanged(attrs.evolve(netmap(A, B), derp_map=derp_map)), NOW)
    some.relays.send(DerpAddress(7, B.key), [bytes(100)] * MAX_WAITING, NOW)
    some._hold_what_is_full()
    assert some.engine.full == {7}
    some.relays.apply(DerpMap(regions={}))
    assert not some.relays.clients
    some._hold_what_is_full()
    assert some.engine.full == set()


def test_a_refused_map_is_told_until_another_one_is_taken() -> None:
    house = House()
    a = house.up("a")
    for message in ("a map message is refused", ""):
        a.node.word.tell(told.MapHealth(message), house.now)
        a.pump.mark()
        house.run(0.1)
        assert list(a.node.health.messages) == ([message] if message else [])


# --- what is traced ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("slept", "is_a_sleep"), [(0.0, False), (-3600.0, False), (SUSPENDED_AFTER, False), (SUSPENDED_AFTER + 1, True)]
)
def test_a_wall_clock_that_is_ahead_tells_of_a_sleep_where_the_other_stands_still(
    slept: float, is_a_sleep: bool
) -> None:
    some, suspended = running(), list[float]()
    some.engine.suspended = suspended.append  # type: ignore[method-assign, assignment]
    some.set_wall_offset(1_700_000_000.0 + slept, NOW, slept=slept)
    assert suspended == ([NOW] if is_a_sleep else [])


def test_a_nodes_own_decisions_are_traced() -> None:
    traced = Traced()
    some = running(tracer=traced)
    some.word.tell(told.NetMapChanged(netmap(A, attrs.evolve(B, online=True), node(3, "c"))), NOW)
    some.word.tell(told.NetMapChanged(netmap(A, node(3, "c"))), NOW)
    some.calls.connect(ip_address("100.64.0.3"), 80, NOW)
    some.set_wall_offset(0.0, NOW)
    some.begin_close(NOW, 1.0)
    assert [event for room, event, _fields in traced.told if room == "node"] == [
        "begun",
        "first netmap",
        "running",
        "netmap",
        "peer changed",
        "peer appeared",
        "netmap",
        "peer left",
        "connecting",
        "wall clock set",
        "closing",
    ]
    (connecting,) = [fields for room, event, fields in traced.told if (room, event) == ("node", "connecting")]
    assert connecting["peer"] == node(3, "c").key
    assert isinstance(connecting["peer"], NodeKey), "it is shown as a name"
    assert some.peer_name(node(3, "c").key) == "c"
    assert some.peer_name(B.key) == ""

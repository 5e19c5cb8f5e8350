"""A Node turned by a pump in a simulated world, and what cannot be seen there by hand."""

from __future__ import annotations

import logging
import random
from ipaddress import ip_address
from typing import Any

import attrs
import pytest

from tests.engine.pair import netmap, node, secret
from tests.house import House, events_of
from tsnet.base.addresses import DerpAddress
from tsnet.base.keys import MachineKey, NodePrivateKey
from tsnet.base.links import Event, Link, Opened, Received
from tsnet.config import configure
from tsnet.control import facts as told
from tsnet.derp.facts import RelayHealth
from tsnet.derp.liveness import NO_ANSWER
from tsnet.derp.outbox import MAX_WAITING
from tsnet.edge.io.place import load
from tsnet.engine import facts
from tsnet.engine.identity import Identity, new_identity
from tsnet.engine.node import SUSPENDED_AFTER, Node
from tsnet.engine.saved import IDENTITY, decode_identity
from tsnet.errors import (
    AddressInUse,
    AddressNotAvailable,
    DialTimeout,
    KeyExpired,
    NotOnTailnet,
    NotUp,
    UpTimeout,
)
from tsnet.netmap.model import DerpMap, DerpNode, DerpRegion
from tsnet.testing.bytestreams import End, SimulatedLinks, SimulatedListener

NOW = 1000.0
A, B = node(1, "a", is_wireguard_only=False), node(2, "b", is_wireguard_only=False)


def bare(identity: Identity | None = None, **options: Any) -> Node:
    """A node that has heard nothing yet."""
    config = configure("a", environ={}, script="", control_url="https://control.test", **options)
    entropy = random.Random(1).randbytes
    return Node(
        config,
        identity or attrs.evolve(new_identity(entropy), node_key=NodePrivateKey(secret("a"))),
        entropy=entropy,
        now=NOW,
        wall=1_700_000_000.0,
        hostinfo={"OS": "test"},
    )


def running(**options: Any) -> Node:
    some = bare(**options)
    some._told(told.NetMapChanged(netmap(A, B)), NOW)
    some.take_facts()
    return some


# --- before the first netmap ------------------------------------------------------------------------------------


def test_before_the_netmap_it_can_do_nothing_and_says_what_it_waits_for() -> None:
    some = bare()
    assert some.addresses == ()
    assert "control" in some.waiting_for
    for use in (
        lambda: some.endpoints.resolve("b"),
        lambda: some.endpoints.listen(80, None),
        lambda: some.endpoints.open_udp(80, None),
        lambda: some.endpoints.connect(ip_address("100.64.0.2"), 80, NOW),
        lambda: some.endpoints.open_ping(ip_address("100.64.0.2")),
    ):
        with pytest.raises(NotUp):
            use()


def saved_identity(fact: facts.Fact) -> Identity:
    assert isinstance(fact, facts.Save)
    assert fact.key == IDENTITY
    return decode_identity(fact.value)


def test_the_first_netmap_is_running_and_those_after_it_are_differences() -> None:
    some = bare()
    some.take_facts()
    some._told(told.NetMapChanged(netmap(A)), NOW)
    saved, first = some.take_facts()
    assert saved_identity(saved).stable_id == A.stable_id
    assert isinstance(first, facts.Running)
    changed = attrs.evolve(B, online=True)
    for peers, expected in (
        ([B], [facts.PeerAppeared]),
        ([changed], [facts.PeerChanged]),
        ([changed], []),
        ([], [facts.PeerLeft]),
    ):
        some._told(told.NetMapChanged(netmap(A, *peers)), NOW)
        assert [type(fact) for fact in some.take_facts()] == [*expected, facts.NetMapChanged]


@pytest.mark.parametrize(("pinned", "why"), [(False, "its certificate says"), (True, "control_key= names it")])
def test_a_new_key_of_control_is_told_with_the_reason_why_it_is_taken(pinned: bool, why: str) -> None:
    key, before = MachineKey(bytes([1]) * 32), MachineKey(bytes([2]) * 32)
    some = bare(control_key=str(key)) if pinned else bare()
    some._told(told.NewControlKey(key, before), NOW)
    [notice] = [fact for fact in some.take_facts() if isinstance(fact, facts.Notice)]
    assert why in notice.text
    assert notice.text.index(str(key)) < notice.text.index(str(before))


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
    assert running().endpoints.resolve(host) == ip_address(address)


@pytest.mark.parametrize("host", ["c", "", "b.elsewhere.test", "100.64.0.9", "8.8.8.8", "::1", "b b", "." * 300])
def test_what_is_not_on_the_tailnet(host: str) -> None:
    with pytest.raises(NotOnTailnet):
        running().endpoints.resolve(host)


def test_ports_are_bound_once_and_only_on_own_addresses() -> None:
    some = running()
    some.endpoints.listen(80, None)
    with pytest.raises(AddressInUse, match="TCP port 80"):
        some.endpoints.listen(80, None)
    some.endpoints.open_udp(80, None)
    with pytest.raises(AddressInUse, match="UDP port 80"):
        some.endpoints.open_udp(80, None)
    some.endpoints.listen(81, ip_address("100.64.0.1"))
    for bind in (some.endpoints.listen, some.endpoints.open_udp):
        with pytest.raises(AddressNotAvailable, match=r"100\.64\.0\.2 is not an address"):
            bind(82, ip_address("100.64.0.2"))


def test_the_own_address_of_the_same_family() -> None:
    some = running()
    assert some.endpoints.address_towards(ip_address("100.64.0.2")) == ip_address("100.64.0.1")
    assert some.endpoints.address_towards(ip_address("fd7a::2")) == ip_address("fd7a:115c:a1e0::1")
    some._told(told.NetMapChanged(netmap(attrs.evolve(A, addresses=A.addresses[:1]), B)), NOW)
    with pytest.raises(AddressNotAvailable):
        some.endpoints.address_towards(ip_address("fd7a::2"))


# --- what control tells -----------------------------------------------------------------------------------------


def test_an_expired_key_stops_new_work_and_a_new_one_starts_it() -> None:
    some = running()
    some._told(told.KeyExpired(), NOW)
    problem, expired = some.take_facts()
    assert isinstance(problem, facts.Problem)
    assert isinstance(problem.error, KeyExpired)
    assert expired == facts.Expired(problem.error)
    with pytest.raises(KeyExpired):
        some.endpoints.listen(80, None)
    some._told(told.KeyExtended(), NOW)
    some.endpoints.listen(80, None)


def test_an_extended_key_meets_every_peer_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    some, lost = running(), list[float]()
    monkeypatch.setattr(some.engine, "sessions_lost", lost.append)
    some._told(told.KeyExpired(), NOW)
    assert lost == []
    some._told(told.KeyExtended(), NOW + 5)
    assert lost == [NOW + 5]


def test_with_an_expired_key_the_first_netmap_is_no_start_until_it_is_extended() -> None:
    some = bare()
    some._told(told.KeyExpired(), NOW)
    some._told(told.NetMapChanged(netmap(A, B)), NOW)
    assert not any(isinstance(fact, facts.Running) for fact in some.take_facts())
    with pytest.raises(KeyExpired):
        some.endpoints.listen(80, None)
    some._told(told.KeyExtended(), NOW)
    some._told(told.NetMapChanged(netmap(A, B)), NOW)
    assert [fact for fact in some.take_facts() if isinstance(fact, facts.Running)] == [facts.Running(netmap(A, B))]
    some.endpoints.listen(80, None)


def test_a_rotated_key_is_remembered_before_it_is_used() -> None:
    some = running()
    fresh = NodePrivateKey(secret("fresh"))
    some._told(told.NodeKeyRotated(fresh, some.identity.node_key), NOW)
    (fact,) = some.take_facts()
    identity = saved_identity(fact)
    assert identity.node_key == fresh
    assert not identity.registered
    assert some.engine.device.public_key != identity.public
    assert isinstance(fact, facts.Save)
    some.saved(fact.ticket, None, NOW)
    assert some.engine.device.public_key == identity.public


def test_after_a_logout_another_key_is_remembered_and_none_of_it_is_used() -> None:
    some = running()
    before = some.identity
    some._told(told.LoggedOut(), NOW)
    (fact,) = some.take_facts()
    identity = saved_identity(fact)
    assert identity.node_key != before.node_key
    assert identity.machine_key == before.machine_key
    assert not identity.is_known
    assert isinstance(fact, facts.Save)
    some.saved(fact.ticket, None, NOW)
    assert some.engine.device.public_key == before.public
    assert some.take_facts() == []


def initiations(some: Node) -> list[bytes]:
    """What the next turn sends of them."""
    runs, _ = some.transmit(NOW, 1 << 20)
    return [datagram for _, datagrams in runs for datagram in datagrams if datagram[0] == 1 and len(datagram) == 148]


def test_no_handshake_leaves_before_the_mark_above_it_was_handed_out_to_be_saved() -> None:
    some = bare()
    some._told(told.NetMapChanged(netmap(A, node(2, "b"))), NOW)
    some.take_facts()
    some.endpoints.connect(ip_address("100.64.0.2"), 80, NOW)
    assert initiations(some) == initiations(some) == []
    (fact,) = some.take_facts()
    assert saved_identity(fact).timestamp_mark == 1_700_000_600.0
    assert initiations(some) == []
    assert isinstance(fact, facts.Save)
    some.saved(fact.ticket, None, NOW)
    assert some.deadline() <= NOW
    assert len(initiations(some)) == 1


def test_a_rotated_key_keeps_the_mark_that_is_saved() -> None:
    some = bare(attrs.evolve(new_identity(random.Random(2).randbytes), timestamp_mark=1_700_000_600.0))
    some._told(told.NodeKeyRotated(NodePrivateKey(secret("fresh")), some.identity.node_key), NOW)
    assert some.identity.timestamp_mark == 1_700_000_600.0


def test_the_words_of_control_reach_the_application() -> None:
    some = running()
    some._told(told.LoginUrl("https://control.test/a/1"), NOW)
    some._told(told.DuplicateNode("twice"), NOW)
    some._told(told.ControlHealth(("slow",)), NOW)
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


@pytest.mark.parametrize("ephemeral", [True, False])
def test_the_patience_of_a_close_is_over_once(ephemeral: bool) -> None:
    """A stream that nobody answers keeps the node from being quiet: it waits, and does not turn without end."""
    house = House()
    a, b = house.up("a", ephemeral=ephemeral), house.up("b")
    dialled, _, _ = house.connect(a, b)
    b.node.shut(house.now)
    house.host.remove(b.pump)
    dialled.give(b"nobody hears it")
    house.run(0.5)
    a.node.begin_close(house.now, 1.0)
    a.pump.mark()
    turns = a.pump.turns
    house.run(1.5)
    assert not a.node.is_closed
    assert a.pump.turns - turns < 50


def test_the_relay_restarts_and_the_node_is_reachable_again() -> None:
    house = House()
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
    relay = house.tailnet._relay
    assert relay is not None
    house.host.remove(relay)
    return lambda: house.host.add(relay)


def test_three_seconds_of_round_trip_time_are_no_hindrance() -> None:
    """The relay's login takes four of them, behind control's."""
    house = House()
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
    house = House()
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


def test_a_mute_relay_that_nobody_uses_is_left_alone() -> None:
    house = House()
    a = house.up("a")
    house.run(5)
    mute_relay(house)
    turns = a.pump.turns
    house.run(50)
    assert a.node.relays.is_connected(900)
    assert a.pump.turns - turns <= 2


def test_it_is_reachable_while_its_relay_is_and_says_so_each_time() -> None:
    house = House()
    a = house.up("a")
    subscription = a.subscribe()
    for _ in range(2):
        house.world.cut(house.tailnet._ports[1], down=20.0)
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
    house = House()
    a = house.up("a")
    for home, reachable in ((0, False), (7, False), (900, True)):
        a.node._told(told.Published(home), house.now)
        assert a.node.is_reachable is reachable
    assert [type(fact) for fact in a.node.take_facts()] == [facts.Reachable]


def test_a_relay_with_a_bad_certificate_is_named_wherever_somebody_looks(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    house = House()
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
    assert list(a.health) == [text]
    assert sorted(record.getMessage() for record in caplog.records) == [f"a: {text}", f"b: {text}"]
    told_of = [event for event in events_of(subscription) if isinstance(event, facts.Health | facts.RelayChanged)]
    assert told_of == [facts.RelayChanged(900, False, "certificate: self-signed"), facts.Health((text,))]
    monkeypatch.undo()
    house.finish(a.reachable(40))
    assert list(a.health) == []
    assert facts.Health(()) in events_of(subscription)


def test_a_bad_certificate_is_looked_at_ever_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House()
    refuse_relays(monkeypatch, "certificate: self-signed")
    a = house.handle("a")
    house.finish(a.up(10))
    generations = a.node.relays._generations
    before = next(generations)
    house.run(600)
    assert next(generations) - before < 45  # 600 with a pause of a second


def test_complaints_of_a_relay_and_of_control_stand_beside_each_other() -> None:
    house = House()
    a = house.up("a")
    relays = a.node.relays
    say: list[Any] = []
    take_facts = relays.take_facts

    def take() -> list[Any]:
        found, say[:] = [*take_facts(), *say], []
        return found

    relays.take_facts = take  # type: ignore[method-assign]
    a.node._told(told.ControlHealth(("clock",)), house.now)
    say.append(RelayHealth(900, "overloaded"))
    a.pump.mark()
    house.run(0.1)
    assert list(a.health) == ["clock", "relay region 900 says: overloaded"]
    a.node._told(told.ControlHealth(()), house.now)
    a.pump.mark()
    house.run(0.1)
    assert list(a.health) == ["relay region 900 says: overloaded"]
    house.world.cut(house.tailnet._ports[1])  # a new connection begins without a complaint
    house.until(lambda: a.health == (), 5)


@pytest.mark.parametrize("seconds", [20, 118])
def test_a_stream_goes_on_at_once_when_a_relay_that_had_lost_everything_is_replaced(seconds: float) -> None:
    lost = False
    house = House(mangle=lambda source, target, packets: [] if lost else packets)
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
    """Initiations have waited in the relay's client. The peer answers the first and refuses those behind it."""
    house = House(seed=3)
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


def test_a_relay_that_was_full_when_it_was_given_up_holds_nobody_back() -> None:
    some = bare()
    relay = DerpNode(name="7a", region_id=7, host_name="relay.test")
    region = DerpRegion(region_id=7, code="r", name="R", nodes=(relay,))
    derp_map = DerpMap(regions={7: region}, omit_default_regions=True)
    some._told(told.NetMapChanged(attrs.evolve(netmap(A, B), derp_map=derp_map)), NOW)
    some.relays.send(DerpAddress(7, B.key), [bytes(100)] * MAX_WAITING, NOW)
    some._hold_what_is_full()
    assert some.engine._full == {7}
    some.relays.apply(DerpMap(regions={}))
    assert not some.relays.clients
    some._hold_what_is_full()
    assert some.engine._full == set()


def test_a_home_is_told_to_control_once_it_is_known() -> None:
    house = House()
    a = house.up("a")
    member = house.tailnet._member("a")
    assert a.node.home.region == member.home_region == 900
    assert a.node.is_reachable


def test_an_ephemeral_node_logs_out_at_its_end_and_others_stay() -> None:
    house = House()
    house.up("guest")
    resident = house.up("resident", ephemeral=False)
    guest = house.up("guest2")
    for handle in (guest, resident):
        house.finish(handle.close(2))
    assert set(house.tailnet.nodes()) == {"guest", "resident"}


def test_the_timestamp_mark_is_saved_ahead_of_the_first_handshake() -> None:
    house = House()
    house.up("a")
    dialler = house.up("b")
    house.finish(dialler.ping("a", "icmp", 10))
    saved = load(dialler._kept._store, IDENTITY, decode_identity)
    assert saved is not None
    assert saved.timestamp_mark is not None
    assert saved.timestamp_mark > house.world.wall()


def test_a_refused_map_is_told_until_another_one_is_taken() -> None:
    house = House()
    a = house.up("a")
    for message in ("a map message is refused", ""):
        a.node._told(told.MapHealth(message), house.now)
        a.pump.mark()
        house.run(0.1)
        assert list(a.health) == ([message] if message else [])

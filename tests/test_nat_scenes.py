"""What happens to homes while two nodes talk: no stream ends, and each scene says how long one may stand still.

All limits are seconds of virtual time. STALL is the longest that something said was under way.

| scene                                     | STALL | afterwards                         |
|-------------------------------------------|-------|------------------------------------|
| mappings end before the next heartbeat    | 2     | direct                             |
| a router restarts: easy, hard             | 1, 10 | direct                             |
| a router gets another outside address     | 15    | direct                             |
| UDP is blocked                            | 7     | by a relay; freed: direct in 15    |
| UDP is lost one way                       | 7     | likewise                           |
| a cable is out for 10 s                   | 13    | direct                             |
| a laptop moves to another home            | 10    | direct                             |
| large datagrams vanish on the direct path | 10    | by a relay; mended: direct in 120  |
| the system refuses to send: all, large    | 1     | by a relay; at peace: direct in 15 |
| a path carries less than was measured     | 8     | direct, by smaller datagrams       |
| pings of every size pass, WireGuard not   | 40    | by a relay; mended: direct in 300  |
| large datagrams vanish, the peer chats on | 12    | by a relay                         |
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Network, ip_address

import anyio
import attrs
import pytest

from tests.homes import PORT, Call, Homes
from tests.test_nat_grid import DIRECT, is_possible
from tsnet.base.addresses import DerpAddress, UdpAddress
from tsnet.testing.internethost import InternetHost
from tsnet.testing.nat import EASY, HARD
from tsnet.testing.router import Router, Site

LAN = IPv4Network("192.168.0.0/16")
SHORT = attrs.evolve(EASY, lifetime=2.0)
"""Its mappings end before the next heartbeat, which comes after 3 s."""


def play(scene: Callable[[Homes], Awaitable[None]], seed: int = 1) -> None:
    async def main() -> None:
        async with Homes(seed) as homes:
            await scene(homes)

    anyio.run(main)


def udp_route(homes: Homes, one: str, other: str) -> UdpAddress:
    (route,) = homes.routes(one, other)
    assert isinstance(route, UdpAddress)
    return route


def is_relayed(homes: Homes) -> bool:
    """Whether both send through a relay, and perhaps elsewhere too."""
    return all(
        any(isinstance(route, DerpAddress) for route in homes.routes(*ends))
        for ends in (("left", "right"), ("right", "left"))
    )


async def during(
    homes: Homes,
    left: InternetHost,
    right: InternetHost,
    trouble: Callable[[], None],
    *,
    stall: float,
    seconds: float = 15.0,
    then: Callable[[Call], Awaitable[None]] | None = None,
) -> None:
    """Let these two talk directly, then bring the trouble, and let them talk on."""
    await homes.settle_pair(left, right)
    async with homes.call("left", "right") as call:
        await call.until_direct("left", "right", DIRECT)
        trouble()
        await call.go_on(seconds)
        assert call.longest <= stall
        if then is None:
            assert homes.is_direct("left", "right")
        else:
            await then(call)


def easy_pair(homes: Homes) -> tuple[InternetHost, InternetHost, Router]:
    """Two nodes at easy homes, and the first one's router."""
    return homes.build("easy", "left"), homes.build("easy", "right"), homes.net.routers["left's"]


# --- troubles ------------------------------------------------------------------------------------------------------


def test_mappings_that_end_before_the_next_heartbeat() -> None:
    async def scene(homes: Homes) -> None:
        left, right = (homes.net.router(f"{name}'s", nat=SHORT).host(name) for name in ("left", "right"))
        await homes.settle_pair(left, right)
        async with homes.call("left", "right") as call:
            await call.until_direct("left", "right", DIRECT)
            for pause in (2.5, 10.0, 60.0, 10.0):
                await homes.sleep(pause)
                await call.exchange()
            assert call.longest <= 2.0
            await call.until_direct("left", "right", 15.0)

    play(scene)


@pytest.mark.parametrize(("kind", "other", "stall"), [("easy", "easy", 1.0), ("hard", "public", 10.0)])
def test_a_router_restarts(kind: str, other: str, stall: float) -> None:
    async def scene(homes: Homes) -> None:
        left, right = homes.build(kind, "left"), homes.build(other, "right")
        await during(homes, left, right, homes.net.routers["left's"].restart, stall=stall)

    play(scene)


def test_a_router_gets_another_outside_address() -> None:
    """Its connections to control and to the relay are silent, too, until somebody finds out."""

    async def scene(homes: Homes) -> None:
        left, right, router = easy_pair(homes)
        before = router.wan_v4
        await during(homes, left, right, router.renumber, stall=15.0, seconds=25.0)
        assert udp_route(homes, "right", "left").host == router.wan_v4 != before

    play(scene)


def test_udp_is_blocked_and_freed() -> None:
    async def scene(homes: Homes) -> None:
        left, right, router = easy_pair(homes)

        def block(blocks: bool = True) -> None:
            router.blocks_udp = blocks

        async def then(call: Call) -> None:
            assert is_relayed(homes)
            block(False)
            await call.until_direct("left", "right", 15.0)

        await during(homes, left, right, block, stall=7.0, then=then)

    play(scene)


@pytest.mark.parametrize(("source", "target"), [("left", "right"), ("right", "left")])
def test_udp_is_lost_one_way(source: str, target: str) -> None:
    async def scene(homes: Homes) -> None:
        left, right, _ = easy_pair(homes)
        way = homes.net.way(homes.net.hosts[source], homes.net.hosts[target])

        def block() -> None:
            way.udp = False

        async def then(call: Call) -> None:
            assert is_relayed(homes)
            way.udp = True
            await call.until_direct("left", "right", 15.0)

        await during(homes, left, right, block, stall=7.0, then=then)

    play(scene)


def test_a_cable_is_out_for_a_while() -> None:
    async def scene(homes: Homes) -> None:
        left, right, router = easy_pair(homes)

        def put(*, is_up: bool) -> None:
            router.cable.is_up = is_up

        def pull() -> None:
            put(is_up=False)
            homes.at(10.0, lambda: put(is_up=True))

        await during(homes, left, right, pull, stall=13.0, seconds=20.0)

    play(scene)


@pytest.mark.parametrize("kind", ["easy", "address", "public"])
def test_a_laptop_moves_to_another_home(kind: str) -> None:
    async def scene(homes: Homes) -> None:
        left, right, _ = easy_pair(homes)
        place = homes.build(kind, "neighbour").place
        assert isinstance(place, Site)
        await during(homes, left, right, lambda: left.move(place), stall=10.0)

    play(scene)


def test_large_datagrams_vanish_on_the_direct_path() -> None:
    """Pings pass, and what the stream sends does not: the path is left, and is not taken again before it carries."""

    async def scene(homes: Homes) -> None:
        left, right, router = easy_pair(homes)

        def shrink() -> None:
            router.cable.mtu, router.cable.tells_too_big = 1300, False

        async def then(call: Call) -> None:
            assert await call.pour(300_000) <= 10.0
            for _ in range(3):
                await call.go_on(5.0)
                assert await call.pour(100_000) <= 2.0
            router.cable.mtu = 1500
            await call.until_direct("left", "right", 120.0)
            assert await call.pour(100_000) <= 2.0

        await during(homes, left, right, shrink, stall=1.0, seconds=1.0, then=then)

    play(scene)


def test_the_system_refuses_to_send_to_a_peer() -> None:
    """A firewall of the machine itself: what cannot leave is not waited for."""

    async def scene(homes: Homes) -> None:
        left, right, _router = easy_pair(homes)

        def forbid() -> None:
            left.forbidden.add(udp_route(homes, "left", "right").host)

        async def then(call: Call) -> None:
            assert left.dropped["EPERM"] < 40
            assert any(isinstance(route, DerpAddress) for route in homes.routes("left", "right"))
            left.forbidden.clear()
            await call.until_direct("left", "right", 15.0)

        await during(homes, left, right, forbid, stall=1.0, then=then)

    play(scene)


def test_a_router_tells_that_large_datagrams_cannot_pass() -> None:
    async def scene(homes: Homes) -> None:
        left, right, router = easy_pair(homes)

        def shrink() -> None:
            router.cable.mtu = 1300

        async def then(call: Call) -> None:
            assert await call.pour(300_000) <= 3.0
            assert left.dropped["EMSGSIZE"] > 0

        await during(homes, left, right, shrink, stall=1.0, seconds=1.0, then=then)

    play(scene)


def segment(homes: Homes, name: str) -> int:
    """The payload of a full segment of the one connection of that node."""
    node = homes.nodes[name]._handle.pump.node
    (tcb,) = [tcb for tcb in node.engine.stack._tcp.connections.values() if tcb.remote_port in (PORT,)] or [
        tcb for tcb in node.engine.stack._tcp.connections.values() if tcb.local_port == PORT
    ]
    return int(tcb.mss)


@pytest.mark.parametrize(("mtu", "payload"), [(1500, 1420), (9000, 8920), (1350, 1280), (1450, 1320)])
def test_segments_grow_to_what_the_path_carries(mtu: int, payload: int) -> None:
    async def scene(homes: Homes) -> None:
        left, right, router = easy_pair(homes)
        for host in (left, right, router, homes.net.routers["right's"]):
            host.cable.mtu = mtu
        homes.tailnet.set_node_attributes("*", ["peer-mtu-enable"])
        await homes.settle_pair(left, right)
        async with homes.call("left", "right") as call:
            await call.until_direct("left", "right", DIRECT)
            await call.go_on(4.0)
            assert (segment(homes, "left"), segment(homes, "right")) == (payload - 52, payload - 52)
            assert await call.pour(300_000) <= 2.0
            assert homes.is_direct("left", "right")

    play(scene)


@pytest.mark.parametrize("tells", [True, False])
def test_a_path_that_carries_less_than_before_is_noticed_and_stays_direct(tells: bool) -> None:
    """Small datagrams pass all the while; who lost the large ones is told by a router, or by nobody."""

    async def scene(homes: Homes) -> None:
        left, right, router = easy_pair(homes)
        homes.tailnet.set_node_attributes("*", ["peer-mtu-enable"])
        await homes.settle_pair(left, right)
        async with homes.call("left", "right") as call:
            await call.until_direct("left", "right", DIRECT)
            await call.go_on(4.0)
            assert segment(homes, "left") == 1420 - 52
            router.cable.mtu, router.cable.tells_too_big = 1420, tells
            assert await call.pour(300_000) <= (2.0 if tells else 8.0)
            await call.go_on(8.0)
            assert (segment(homes, "left"), segment(homes, "right")) == (1320 - 52, 1320 - 52)
            assert homes.is_direct("left", "right")
            router.cable.mtu = 1500
            homes.net.hosts["left"].path_mtus.clear()
            await call.go_on(70.0)
            assert segment(homes, "left") == 1420 - 52

    play(scene)


def is_wireguard(datagram: bytes) -> bool:
    return datagram[:1] in (b"\1", b"\2", b"\3", b"\4") and datagram[1:4] == bytes(3)


@pytest.mark.parametrize(
    "ways", [(("left", "right"), ("right", "left")), (("left", "right"),)], ids=["both", "one way"]
)
def test_pings_of_every_size_pass_and_wireguard_does_not(ways: tuple[tuple[str, str], ...]) -> None:
    """Somebody on the way knows the protocol. The streams go on by the relay, also at the next handshake."""

    async def scene(homes: Homes) -> None:
        left, right, _router = easy_pair(homes)

        def block() -> None:
            for source, target in ways:
                homes.net.way(homes.net.hosts[source], homes.net.hosts[target]).drops = is_wireguard

        async def then(call: Call) -> None:
            routes = [homes.routes(source, target) for source, target in ways]
            assert all(any(isinstance(one, DerpAddress) for one in way) for way in routes)
            for source, target in ways:
                homes.net.way(homes.net.hosts[source], homes.net.hosts[target]).drops = None
            await call.until_direct("left", "right", 300.0)

        await during(homes, left, right, block, stall=40.0, seconds=60.0, then=then)

    play(scene)


def test_small_datagrams_do_not_hide_that_large_ones_vanish() -> None:
    """The peer says something all the time, as it does in a call; our large datagrams are lost, and pings pass."""

    async def scene(homes: Homes) -> None:
        left, right, router = easy_pair(homes)
        await homes.settle_pair(left, right)
        async with homes.call("left", "right") as call, anyio.create_task_group() as tasks:
            await call.until_direct("left", "right", DIRECT)
            talk = await homes.nodes["right"].dial_packet("left", 9)

            async def chatter() -> None:
                while True:
                    await talk.send(b"still here")
                    await homes.sleep(0.5)

            tasks.start_soon(chatter)
            await homes.sleep(5.0)
            router.cable.mtu, router.cable.tells_too_big = 1300, False
            assert await call.pour(300_000) <= 12.0
            assert await call.pour(100_000) <= 2.0
            assert any(isinstance(route, DerpAddress) for route in homes.routes("left", "right"))
            tasks.cancel_scope.cancel()
            await talk.aclose()

    play(scene)


# --- neighbours ----------------------------------------------------------------------------------------------------


def test_two_on_one_lan_speak_by_their_own_addresses_whatever_the_router() -> None:
    async def scene(homes: Homes) -> None:
        home = homes.net.router("home", nat=HARD)
        await homes.settle_pair(home.host("left"), home.host("right"))
        async with homes.call("left", "right") as call:
            await call.until_direct("left", "right", DIRECT)
        for ends in (("left", "right"), ("right", "left")):
            assert ip_address(udp_route(homes, *ends).host) in LAN

    play(scene)


@pytest.mark.parametrize("hairpin", [True, False])
def test_two_homes_of_one_provider(hairpin: bool) -> None:
    """With hairpin they meet at the provider's own address; without it, a relay works. Both LANs are numbered alike."""

    async def scene(homes: Homes) -> None:
        isp = homes.net.router("isp", nat=attrs.evolve(EASY, hairpin=hairpin), lan="100.64.0.0/10")
        await homes.settle_pair(isp.router("one").host("left"), isp.router("two").host("right"))
        async with homes.call("left", "right") as call:
            if hairpin:
                await call.until_direct("left", "right", DIRECT)
                assert udp_route(homes, "left", "right").host == isp.wan_v4
            await call.go_on(DIRECT)
            assert homes.is_direct("left", "right") is hairpin
            assert call.longest < 1.0

    play(scene)


def test_two_hard_homes_are_direct_if_one_router_opens_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TS_DISABLE_PORTMAPPER")

    async def scene(homes: Homes) -> None:
        home = homes.net.router("home", nat=HARD, maps_ports=True)
        await homes.settle_pair(home.host("left"), homes.build("hard", "right"))
        async with homes.call("left", "right") as call:
            await call.until_direct("left", "right", DIRECT)
        address = udp_route(homes, "right", "left")
        assert home.table is not None
        assert home.table.opened(address.port, homes.world.clock()) is not None

    play(scene)


def test_two_with_one_port_behind_one_router() -> None:
    async def scene(homes: Homes) -> None:
        home = homes.net.router("home")
        for host in (home.host("left"), home.host("middle"), homes.build("easy", "right")):
            await homes.join_at(host.name, host, port=41641)
        await homes.until(lambda: all(len(node.status().peers) == 2 for node in homes.nodes.values()))
        for name in ("left", "middle"):
            async with homes.call(name, "right") as call:
                await call.until_direct(name, "right", DIRECT)
        ports = {udp_route(homes, "right", name).port for name in ("left", "middle")}
        assert len(ports) == 2

    play(scene)


@pytest.mark.parametrize(("row", "column"), [("easy", "strays"), ("strays", "easy"), ("strays", "strays")])
def test_routers_that_fall_for_strays_work_by_a_relay_at_least(row: str, column: str) -> None:
    async def scene(homes: Homes) -> None:
        await homes.settle_pair(homes.build(row, "left"), homes.build(column, "right"))
        async with homes.call("left", "right") as call:
            await call.go_on(20.0)
            assert call.longest < 1.0

    play(scene)


# --- versions of IP ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kinds", [("v6", "v6 firewall"), ("v6 firewall", "v6 firewall"), ("v6 firewall", "public")])
def test_v6_alone(kinds: tuple[str, str]) -> None:
    async def scene(homes: Homes) -> None:
        await homes.settle_pair(homes.build(kinds[0], "left"), homes.build(kinds[1], "right"))
        async with homes.call("left", "right") as call:
            await call.until_direct("left", "right", DIRECT)
        assert ":" in udp_route(homes, "left", "right").host

    play(scene)


@pytest.mark.parametrize("kinds", [("v6", "easy"), ("easy", "v6")])
def test_v6_alone_and_v4_alone_meet_at_a_relay(kinds: tuple[str, str]) -> None:
    async def scene(homes: Homes) -> None:
        await homes.settle_pair(homes.build(kinds[0], "left"), homes.build(kinds[1], "right"))
        async with homes.call("left", "right") as call:
            assert call.first_byte <= 1.5
            await call.go_on(DIRECT)
            assert call.longest < 1.0
        assert is_relayed(homes)

    play(scene)


# --- all at once ---------------------------------------------------------------------------------------------------

PLACES = ("public", "full cone", "address", "easy", "hard", "provider", "blocked")
ROAMERS = 20
ROAMING = 600.0


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_twenty_nodes_roam_for_ten_minutes_and_lose_no_stream(seed: int) -> None:
    """Each moves about every two minutes. Nothing said is under way for more than a minute; whoever can be direct is,
    a minute after the last move."""

    async def scene(homes: Homes) -> None:
        draw = random.Random(f"roaming {seed}")
        places = {kind: homes.build(kind, f"at {kind}").place for kind in PLACES}
        where: dict[str, str] = {}
        names = [f"node-{number}" for number in range(ROAMERS)]
        for name in names:
            where[name] = draw.choice(PLACES)
            await homes.join_at(name, _host(homes, places[where[name]], name))
        ended_at = homes.world.clock() + ROAMING
        pairs = list(zip(names[::2], names[1::2], strict=True))

        async def roam(name: str) -> None:
            while homes.world.clock() < ended_at - 60.0:
                await homes.sleep(draw.uniform(60.0, 180.0))
                if homes.world.clock() < ended_at - 60.0:
                    where[name] = draw.choice(PLACES)
                    homes.net.hosts[name].move(places[where[name]])

        async def talk(one: str, other: str) -> None:
            async with homes.call(one, other) as call:
                await call.go_on(ended_at - homes.world.clock(), pause=2.0)
                assert call.longest <= 60.0, (one, other, call.longest)
                if where[one] == where[other] or is_possible(where[one], where[other]):
                    assert homes.is_direct(one, other), (one, other, where[one], where[other])

        async with anyio.create_task_group() as tasks:
            for pair in pairs:
                tasks.start_soon(talk, *pair)
            for name in names:
                tasks.start_soon(roam, name)

    play(scene, seed)


def _host(homes: Homes, place: object, name: str) -> InternetHost:
    assert isinstance(place, Site)
    return place.host(name)

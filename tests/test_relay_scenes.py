"""Two nodes behind hard NATs and a peer that relays, in virtual time: what users see, and what becomes of streams.

All limits are seconds of virtual time. STALL is the longest that something said was under way.

| scene                                     | STALL | afterwards                         |
|-------------------------------------------|-------|------------------------------------|
| nothing happens                           | 0.5   | by the peer that relays            |
| the relay dies, and comes back            | 7     | by DERP; then by the peer again    |
| both routers restart                      | 8     | by the peer                        |
| both move to where they can be reached    | 10    | directly                           |
| control takes the leave                   | 1     | by DERP                            |
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import pytest

from tests.homes import Call, Homes
from tests.relayed_homes import EVERYTHING, RelayedHomes, VirtualRelay
from tests.test_debugging import documented
from tsnet.engine.debug.pathshape import paths_shape
from tsnet.events import PathChanged

Scene = Callable[[RelayedHomes, VirtualRelay, Call], Awaitable[None]]
SOON, LATER = 5.0, 45.0


def play(scene: Scene, *, kinds: tuple[str, str] = ("hard", "hard"), seed: int = 1) -> None:
    """From the moment on at which both are relayed."""

    async def main() -> None:
        async with RelayedHomes(seed) as entered:
            homes = as_relayed(entered)
            relay = await homes.relay()
            left, right = homes.build(kinds[0], "left"), homes.build(kinds[1], "right")
            await homes.settle_pair(left, right)
            async with homes.call("left", "right") as call:
                await until(homes, call, lambda: homes.is_relayed("left", "right"), SOON)
                await scene(homes, relay, call)

    anyio.run(main)


def as_relayed(homes: Homes) -> RelayedHomes:
    assert isinstance(homes, RelayedHomes)
    return homes


async def until(homes: RelayedHomes, call: Call, holds: Callable[[], bool], seconds: float) -> None:
    """Talk until it holds, which it must by then."""
    end = homes.world.clock() + seconds
    while not holds():
        assert homes.world.clock() < end, (homes.routes("left", "right"), homes.routes("right", "left"))
        await call.go_on(0.25)


@pytest.mark.parametrize("kinds", [("hard", "hard"), ("hard", "easy"), ("hard provider", "hard")], ids="-".join)
def test_they_talk_through_the_peer_and_nothing_else(kinds: tuple[str, str]) -> None:
    async def scene(homes: RelayedHomes, relay: VirtualRelay, call: Call) -> None:
        before = relay.got["data"]
        call.longest = 0.0
        await call.go_on(20.0)
        assert homes.is_relayed("left", "right")
        assert call.longest < 0.5
        assert relay.got["data"] - before > 100

    play(scene, kinds=kinds)


def test_what_users_see() -> None:
    async def scene(homes: RelayedHomes, relay: VirtualRelay, call: Call) -> None:
        left = homes.nodes["left"]
        async with left.events() as events:
            (peer,) = [each for each in left.status().peers if each.name == "right"]
            assert str(peer.path) == f"peer relay {relay.address.host}:{relay.address.port} (session 1)"
            assert (peer.path.is_peer_relay, peer.path.is_direct, peer.path.vni) == (True, False, 1)
            assert call._ends[0].path == peer.path
            assert (await left.ping("right")).path == peer.path
            shape = paths_shape(left._handle.node, homes.world.clock())
            (shown,) = [each for each in shape["peers"] if each["name"].startswith("right.")]
            entries = {f"peers[].peer_relay.{entry}" for entry in shown["peer_relay"]}
            assert entries == {entry for entry in documented("paths") if ".peer_relay." in entry}
            assert shown["peer_relay"]["best"] == "peer relay {}:{}:vni:1".format(*relay.address)
            assert (shown["peer_relay"]["is_trusted"], shown["path"]) == (True, str(peer.path))
            relay.is_up = False
            await until(homes, call, lambda: not homes.is_relayed("left", "right"), 15.0)
            async for event in events:
                if isinstance(event, PathChanged) and event.peer.name.startswith("right."):
                    assert event.before == peer.path
                    assert event.path.region
                    break

    play(scene)


def test_the_relay_dies_and_comes_back() -> None:
    async def scene(homes: RelayedHomes, relay: VirtualRelay, call: Call) -> None:
        relay.is_up = False
        call.longest = 0.0
        await call.go_on(20.0)
        assert call.longest < 7.0
        assert not homes.is_relayed("left", "right")
        relay.is_up = True
        relay.restart()
        await until(homes, call, lambda: homes.is_relayed("left", "right"), LATER)

    play(scene)


def test_both_routers_forget() -> None:
    async def scene(homes: RelayedHomes, _relay: VirtualRelay, call: Call) -> None:
        for name in ("left's", "right's"):
            homes.net.routers[name].restart()
        call.longest = 0.0
        await call.go_on(5.0)
        await until(homes, call, lambda: homes.is_relayed("left", "right"), LATER)
        assert call.longest < 8.0

    play(scene)


def test_one_moves_to_where_it_can_be_reached() -> None:
    async def scene(homes: RelayedHomes, _relay: VirtualRelay, call: Call) -> None:
        home = homes.net.router("open")
        homes.net.hosts["left"].move(home)
        homes.net.hosts["right"].move(homes.net.router("other"))
        call.longest = 0.0
        await until(homes, call, lambda: homes.is_direct("left", "right"), LATER)
        assert call.longest < 10.0

    play(scene)


def test_control_takes_the_leave_to_use_peer_relays() -> None:
    async def scene(homes: RelayedHomes, _relay: VirtualRelay, call: Call) -> None:
        for name in ("left", "right"):
            homes.tailnet.set_node_attributes(name, ["disable-relay-client"])
        call.longest = 0.0
        await until(homes, call, lambda: not homes.is_relayed("left", "right"), SOON)
        await call.go_on(10.0)
        assert call.longest < 1.0
        assert all(way[0] for way in (homes.routes("left", "right"), homes.routes("right", "left")))

    play(scene)


def test_control_takes_the_grant_and_nobody_is_asked_any_more() -> None:
    async def scene(homes: RelayedHomes, relay: VirtualRelay, call: Call) -> None:
        homes.tailnet.set_policy([EVERYTHING])
        await call.go_on(2.0)
        asked = relay.got["requests"]
        await call.go_on(130.0)
        assert relay.got["requests"] == asked

    play(scene)

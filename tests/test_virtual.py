"""Each verb of `VirtualTailnet`: that what it says has happened, for nodes and for the servers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

import tsnet
from tests.virtual import NOTHING, VirtualTailnet
from tsnet.control.server.members import Member
from tsnet.control.server.streams import EPHEMERAL_AFTER, OFFLINE_AFTER

Test = Callable[[VirtualTailnet], Awaitable[None]]


def run(test: Test, backend: str = "asyncio", **options: Any) -> str:
    async def main() -> str:
        async with VirtualTailnet(**options) as virtual:
            await test(virtual)
        return virtual.world.trace

    return anyio.run(main, backend=backend)


def member(virtual: VirtualTailnet, name: str) -> Member:
    found = virtual.tailnet._state.named(name)
    assert found is not None
    return found


def online(virtual: VirtualTailnet) -> set[str]:
    return {member.name for member in virtual.tailnet._state.members.values() if member.is_online}


async def talk(virtual: VirtualTailnet, server: str, client: str) -> None:
    async with await virtual.nodes[server].listen(80) as listener:
        address = str(virtual.nodes[server].addresses[0])
        async with await virtual.nodes[client].dial(address, 80, timeout=120) as stream:
            await stream.send(b"hello")
            async with await listener.accept() as accepted:
                assert await accepted.receive() == b"hello"


async def pair(virtual: VirtualTailnet) -> None:
    for name in ("a", "b"):
        await virtual.join(name)
        await virtual.nodes[name].reachable()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_nodes_join_leave_crash_and_come_back_as_who_they_were(backend: str) -> None:
    async def test(virtual: VirtualTailnet) -> None:
        await pair(virtual)
        await talk(virtual, "a", "b")
        addresses = virtual.nodes["a"].addresses
        await virtual.leave("a")
        await virtual.crash("b")
        await virtual.sleep(OFFLINE_AFTER + 1)
        assert online(virtual) == set()
        await pair(virtual)
        assert virtual.nodes["a"].addresses == addresses
        assert set(virtual.tailnet.nodes()) == {"a", "b"}
        await talk(virtual, "b", "a")

    assert run(test, backend) == run(test, backend)


def test_a_guest_that_crashes_is_forgotten_and_one_that_leaves_says_so() -> None:
    async def test(virtual: VirtualTailnet) -> None:
        await virtual.join("guest", ephemeral=True)
        await virtual.leave("guest")
        assert virtual.tailnet.nodes() == {}
        await virtual.join("guest", ephemeral=True)
        await virtual.crash("guest")
        await virtual.sleep(OFFLINE_AFTER + EPHEMERAL_AFTER - 1)
        assert set(virtual.tailnet.nodes()) == {"guest"}
        await virtual.sleep(2)
        assert virtual.tailnet.nodes() == {}

    run(test)


@pytest.mark.parametrize("down", [0.0, 30.0])
def test_control_restarts_and_knows_what_it_knew(down: float) -> None:
    async def test(virtual: VirtualTailnet) -> None:
        await pair(virtual)
        key, before, nodes = virtual.tailnet._machine_key, virtual.tailnet._state, virtual.tailnet.nodes()
        begun = virtual.world.clock()
        await virtual.restart_control(down=down)
        assert virtual.world.clock() - begun == down
        assert virtual.tailnet._state is not before
        assert (virtual.tailnet._machine_key, virtual.tailnet.nodes()) == (key, nodes)
        assert online(virtual) == set()
        await virtual.until(lambda: online(virtual) == {"a", "b"})
        await talk(virtual, "a", "b")
        await virtual.join("c")
        await talk(virtual, "c", "a")

    run(test)


def test_control_restarts_and_has_forgotten_everything() -> None:
    async def test(virtual: VirtualTailnet) -> None:
        await pair(virtual)
        key, auth_key = virtual.tailnet._machine_key, virtual.tailnet.auth_key
        relay_key = virtual.tailnet.relays[0]._servers.private_key()
        await virtual.restart_control(keep_state=False)
        assert virtual.tailnet._machine_key != key
        assert virtual.tailnet.auth_key != auth_key
        assert virtual.tailnet.relays[0]._servers.private_key() == relay_key, "the relay has gone on"
        assert virtual.tailnet.nodes() == {}
        await virtual.join("new")
        assert set(virtual.tailnet.nodes()) == {"new"}

    run(test)


@pytest.mark.parametrize("field", sorted(NOTHING.keys() - {"Node"}))
def test_first_maps_lack_what_they_are_told_to(field: str) -> None:
    async def test(virtual: VirtualTailnet) -> None:
        await pair(virtual)
        assert all(lacks(message, "DERPMap") is False for message in virtual.first_maps)
        virtual.first_maps.clear()
        await virtual.restart_control(without=(field,))
        await virtual.until(lambda: online(virtual) == {"a", "b"})
        assert len(virtual.first_maps) >= 2
        assert all(lacks(message, field) for message in virtual.first_maps)
        await virtual.restart_control()
        await virtual.until(lambda: online(virtual) == {"a", "b"})
        await talk(virtual, "a", "b")

    def lacks(message: Any, name: str) -> bool:
        return all(getattr(message.update, each) == value for each, value in NOTHING[name].items())

    run(test)


@pytest.mark.parametrize("silently", [False, True])
def test_the_relay_dies_and_comes_back(silently: bool) -> None:
    async def test(virtual: VirtualTailnet) -> None:
        await pair(virtual)
        await talk(virtual, "a", "b")
        key = virtual.tailnet.relays[0]._servers.private_key()
        virtual.kill_relay(silently=silently)
        with pytest.raises(tsnet.Error):
            await virtual.nodes["b"].dial("a", 80, timeout=3)
        assert online(virtual) == {"a", "b"}, "control is another matter"
        await virtual.revive_relay(after=60)
        assert virtual.tailnet.relays[0]._servers.private_key() == key
        await virtual.until(lambda: len(virtual.tailnet.relays[0].clients()) == 2)
        await talk(virtual, "a", "b")

    run(test)


def test_a_relay_that_ends_is_refused_and_a_silent_one_is_not_heard() -> None:
    async def test(virtual: VirtualTailnet) -> None:
        await virtual.join("a")
        await virtual.nodes["a"].reachable()
        relays = virtual.nodes["a"]._handle.node.relays.clients
        virtual.kill_relay(silently=True)
        await virtual.sleep(1)
        assert relays[900].is_connected, "nothing has told it"
        await virtual.revive_relay()
        await virtual.sleep(0.01)
        assert not relays[900].is_connected
        await virtual.until(lambda: relays[900].is_connected)
        virtual.kill_relay()
        await virtual.sleep(0.1)
        assert not relays[900].is_connected
        assert virtual.world.route_stream((virtual.world.v4,), virtual.relay_port) == "refused"
        await virtual.revive_relay()

    run(test)


def test_control_has_its_key_and_has_forgotten_the_rest() -> None:
    async def test(virtual: VirtualTailnet) -> None:
        await pair(virtual)
        key = virtual.tailnet._machine_key
        await virtual.restart_control(keep_state=False, keep_key=True)
        assert virtual.tailnet._machine_key == key
        assert virtual.tailnet.nodes() == {}

    run(test)


def test_control_is_as_it_was_when_it_was_backed_up() -> None:
    async def test(virtual: VirtualTailnet) -> None:
        await pair(virtual)
        backup, key = virtual.backup(), virtual.tailnet._machine_key
        await virtual.join("late")
        await virtual.restart_control(keep_state=False)
        await virtual.restart_control(backup=backup)
        assert virtual.tailnet._machine_key == key
        assert set(virtual.tailnet.nodes()) == {"a", "b"}

    run(test)


def test_control_asks_for_patience() -> None:
    async def test(virtual: VirtualTailnet) -> None:
        await pair(virtual)
        await virtual.restart_control(down=60, retry_after=100)
        assert online(virtual) == set()
        await virtual.sleep(30)
        assert online(virtual) == set(), "which they have"
        await virtual.until(lambda: online(virtual) == {"a", "b"})

    run(test)


@pytest.mark.parametrize("seconds", [30.0, 7200.0])
def test_a_machine_sleeps(seconds: float) -> None:
    async def test(virtual: VirtualTailnet) -> None:
        await pair(virtual)
        pump = virtual.nodes["b"]._handle.pump
        turns, begun = pump.turns, virtual.world.clock()
        async with anyio.create_task_group() as group:
            group.start_soon(virtual.suspend, "b", seconds)
            await virtual.sleep(seconds - 1)
            assert pump.turns <= turns + 1
            assert online(virtual) == ({"a", "b"} if seconds < 900 else {"a"})
        assert virtual.world.clock() - begun == pytest.approx(seconds)
        await virtual.until(lambda: online(virtual) == {"a", "b"}, 30)
        await talk(virtual, "a", "b")

    run(test)


def test_a_clock_is_wrong_and_right_again() -> None:
    async def test(virtual: VirtualTailnet) -> None:
        await pair(virtual)
        machine = virtual.world.machine("a")
        for error in (-86_400.0, 3_600.0, -3_600.0, 3650 * 86_400.0, -3650 * 86_400.0, 0.0):
            virtual.set_clock("a", error)
            await virtual.sleep(20)
            assert machine.wall() == virtual.world.wall() + error
            assert machine.clock() == virtual.world.clock()
            await talk(virtual, "a", "b")

    run(test)


def test_a_disk_is_full() -> None:
    async def test(virtual: VirtualTailnet) -> None:
        virtual.make("a")
        virtual.stores["a"].fails = True
        with pytest.raises(tsnet.StateError, match="no space"):
            await virtual.nodes["a"].up()
        virtual.stores["a"].fails = False
        await virtual.nodes["a"].up()

    run(test)


def test_keys_expire_and_are_extended() -> None:
    async def test(virtual: VirtualTailnet) -> None:
        await pair(virtual)
        wall = virtual.world.wall
        virtual.expire("a", after=60)
        assert not member(virtual, "a").is_expired(wall() + 59)
        assert member(virtual, "a").is_expired(wall() + 60)
        virtual.extend("a")
        virtual.expire("b")
        assert member(virtual, "b").is_expired(wall())
        virtual.extend("b", 3600)
        assert not member(virtual, "b").is_expired(wall() + 3599)
        await virtual.restart_control()
        assert member(virtual, "b").is_expired(wall() + 3600)
        await virtual.until(lambda: online(virtual) == {"a", "b"})
        await talk(virtual, "a", "b")

    run(test)


def test_a_node_is_removed() -> None:
    async def test(virtual: VirtualTailnet) -> None:
        await pair(virtual)
        virtual.remove("a")
        await virtual.until(lambda: not virtual.nodes["b"].status().peers)

    run(test)


def test_a_condition_that_does_not_come_true_is_a_failure() -> None:
    async def test(virtual: VirtualTailnet) -> None:
        with pytest.raises(AssertionError, match="did not come true"):
            await virtual.until(lambda: False, 10)
        assert virtual.world.clock() == pytest.approx(1010, abs=1)

    run(test)

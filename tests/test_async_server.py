from __future__ import annotations

import contextlib
import json
import logging
import pickle
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import pytest

import tsnet
from tests.virtual import VirtualTailnet
from tsnet.base.addresses import UdpAddress
from tsnet.edge.run.host import host_for
from tsnet.engine import facts
from tsnet.errors import AuthKeyRejected, ConfigError, NeedsLogin, NotOnTailnet, NotUp, StateError

BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])


@contextlib.asynccontextmanager
async def two() -> AsyncIterator[tuple[VirtualTailnet, tsnet.AsyncServer, tsnet.AsyncServer]]:
    async with VirtualTailnet() as virtual, virtual.server("a") as a, virtual.server("b") as b:
        yield virtual, a, b


@BACKENDS
def test_verbs_and_their_errors(backend: str) -> None:
    async def main() -> None:
        async with two() as (_virtual, a, b):
            listener = await a.listen(80)
            with pytest.raises(OSError, match="80"):
                await a.listen(80)
            with pytest.raises(NotOnTailnet):
                await b.dial("nobody", 80)
            with pytest.raises(ConnectionRefusedError):
                await b.dial("a", 81)
            with pytest.raises(ConfigError):
                await b.dial("a", 0)
            with pytest.raises(ConfigError):
                await b.ping("a", kind="arp")
            async with await b.dial("a", 80) as stream, await listener.accept() as accepted:
                await stream.send(b"hello")
                assert await accepted.receive() == b"hello"
                with pytest.raises(ConfigError):
                    stream.to_socket()  # a simulated world has no descriptors
            for kind in ("icmp", "tsmp"):
                assert (await b.ping("a", kind=kind)).kind == kind

    anyio.run(main, backend=backend)


@BACKENDS
def test_a_closed_node_says_so(backend: str) -> None:
    async def main() -> None:
        async with VirtualTailnet() as virtual:
            node = virtual.server("a")
            async with node:
                pass
            await node.close()
            for use in (node.up, lambda: node.dial("b", 80), lambda: node.listen(80), lambda: node.ping("b")):
                with pytest.raises(NotUp):
                    await use()
            assert [event async for event in node.events()] == []

    anyio.run(main, backend=backend)


@BACKENDS
def test_events_until_the_node_closes(backend: str) -> None:
    async def main() -> None:
        async with VirtualTailnet() as virtual:
            a = virtual.server("a")
            seen: list[object] = []

            async def watch() -> None:
                seen.extend([event async for event in a.events()])

            async with anyio.create_task_group() as group:
                group.start_soon(watch)
                await anyio.lowlevel.checkpoint()
                async with a, virtual.server("b"):
                    pass
            kinds = {type(event) for event in seen}
            assert {facts.Running, facts.PeerAppeared} <= kinds

    anyio.run(main, backend=backend)


@BACKENDS
def test_a_failed_up_leaves_nothing_running(backend: str) -> None:
    async def main() -> None:
        async with VirtualTailnet() as virtual:
            with pytest.raises(AuthKeyRejected):
                async with virtual.server("a", auth_key="tskey-auth-wrong"):
                    pass
            assert host_for(virtual.world).users == 1

    anyio.run(main, backend=backend)


@BACKENDS
def test_a_person_logs_it_in(backend: str) -> None:
    async def main() -> None:
        async with VirtualTailnet() as virtual:
            urls: list[str] = []
            node = virtual.server("a", auth_key=None, on_auth_url=urls.append)
            async with anyio.create_task_group() as group:
                group.start_soon(node.up)
                while not urls:
                    await virtual.sleep(0.1)
                virtual.tailnet.approve(urls[0], "ada@tailnet.test")
            assert node.status().user_login == "ada@tailnet.test"
            await node.close()

    anyio.run(main, backend=backend)


def test_nobody_is_there_to_log_it_in() -> None:
    async def main() -> None:
        async with VirtualTailnet() as virtual:
            node = virtual.server("a", auth_key=None)
            with pytest.raises(NeedsLogin) as needed:
                await node.up()
            assert needed.value.url
            await node.close()

    anyio.run(main)


# --- bad input, secrets -----------------------------------------------------------------------------------------


def test_a_corrupt_state_file(tmp_path: Path) -> None:
    (tmp_path / "tsnet.state").write_bytes(b"not json")

    async def main() -> None:
        async with VirtualTailnet() as virtual:
            with pytest.raises(StateError, match=r"tsnet\.state"):
                await virtual.server("a", state=tmp_path).up()

    anyio.run(main)


# --- ephemeral --------------------------------------------------------------------------------------------------


def test_two_ephemeral_nodes_of_one_name_leave_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    async def main() -> None:
        async with VirtualTailnet() as virtual:
            first = virtual.server("job", state=None)
            second = virtual.server("job", state=None, world=virtual.world.machine("second"))
            async with first, second:
                assert {first.name, second.name} == {"job", "job-1"}
            assert virtual.tailnet.nodes() == {}

    anyio.run(main)
    assert list(tmp_path.iterdir()) == []


def test_an_ephemeral_node_never_touches_a_saved_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's state directory holds a lasting node of the same name, which is not running now."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    async def main() -> None:
        async with VirtualTailnet() as virtual:
            async with virtual.server("shop", state=None, ephemeral=False) as lasting:
                addresses = lasting.addresses
            saved = (tmp_path / "tsnet/shop/tsnet.state").read_bytes()
            async with virtual.server("shop", state=None, world=virtual.world.machine("job")) as passing:
                assert passing.addresses != addresses
            assert (tmp_path / "tsnet/shop/tsnet.state").read_bytes() == saved
            assert virtual.tailnet.nodes() == {"shop": addresses}
            again = virtual.server("shop", state=None, ephemeral=False, world=virtual.world.machine("again"))
            async with again:
                assert again.addresses == addresses

    anyio.run(main)


@pytest.mark.parametrize("kept", [True, False])
def test_what_the_next_start_costs_an_ephemeral_node(tmp_path: Path, kept: bool) -> None:
    """It ended in order, so that control has forgotten it: it is let in anew, for which a one-off key is no use."""

    async def main() -> None:
        async with VirtualTailnet() as virtual:
            state = tmp_path if kept else None
            ids = set()
            for machine in ("first", "second"):
                async with virtual.server("job", state=state, world=virtual.world.machine(machine)) as node:
                    assert node.name == "job"
                    itself = node._self_node()
                    assert itself is not None
                    ids.add(itself.stable_id)
            assert len(ids) == 2
            options: dict[str, Any] = {"state": tmp_path / "one-off" if kept else None}
            options["auth_key"] = virtual.tailnet.create_auth_key(reusable=False)
            async with virtual.server("job", world=virtual.world.machine("third"), **options):
                pass
            again = virtual.server("job", world=virtual.world.machine("fourth"), **options)
            with pytest.raises(AuthKeyRejected):
                await again.up()
            await again.close()

    anyio.run(main)


def test_ephemeral_by_mistake_does_not_delete_a_lasting_node(tmp_path: Path) -> None:
    async def main() -> None:
        async with VirtualTailnet() as virtual:
            async with virtual.server("shop", state=tmp_path, ephemeral=False) as lasting:
                addresses = lasting.addresses
            saved = (tmp_path / "tsnet.state").read_bytes()
            mistaken = virtual.server("shop", state=tmp_path, world=virtual.world.machine("mistaken"))
            with pytest.raises(ConfigError, match="that of a lasting node"):
                await mistaken.up()
            await mistaken.close()
            assert (tmp_path / "tsnet.state").read_bytes() == saved
            assert virtual.tailnet.nodes() == {"shop": addresses}
            again = virtual.server("shop", state=tmp_path, ephemeral=False, world=virtual.world.machine("again"))
            async with again:
                assert again.addresses == addresses

    anyio.run(main)


def test_a_kept_ephemeral_node_stays_one(tmp_path: Path) -> None:
    """Control heard nothing of its end; whoever goes on with its state takes it along at the end."""

    async def main() -> None:
        async with VirtualTailnet() as virtual:
            async with virtual.server("job", state=tmp_path) as first:
                addresses = first.addresses
                virtual.world.cut(urlsplit(virtual.tailnet.control_url).port or 0, down=10.0)
            assert virtual.tailnet.nodes() == {"job": addresses}
            assert json.loads((tmp_path / "tsnet.state").read_bytes())["ephemeral"] is True
            await virtual.sleep(10.0)
            again = virtual.server("job", state=tmp_path, ephemeral=False, world=virtual.world.machine("again"))
            async with again:
                assert again.addresses == addresses
            assert virtual.tailnet.nodes() == {}

    anyio.run(main)


def test_garbage_on_the_udp_port_and_from_the_relay_is_dropped_and_counted() -> None:
    async def main() -> None:
        async with two() as (virtual, a, b):
            stranger = virtual.world.machine("stranger").open_udp(9, lambda: None)
            target = UdpAddress(virtual.world.machine("a").v4, a._handle.pump._udp.local_port)
            stranger.send(target, [b"garbage", b"\4" * 60, b"", b"\1" * 148])
            await b.reachable()
            b._handle.node.relays.clients[900].send(a._handle.node.identity.public, [b"\4" * 99], virtual.world.clock())
            b._handle.node._touch()  # which sending by the data path would do
            b._handle.pump.mark()
            await virtual.sleep(1)
            assert a._handle.node.engine.device.dropped.total() >= 5
            assert (await b.ping("a")).seconds < 1

    anyio.run(main)


@BACKENDS
def test_no_secret_in_logs_reprs_or_pickles_of_a_whole_session(backend: str, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with two() as (virtual, a, b):
            secrets = [virtual.tailnet.auth_key]
            for node in (a, b):
                identity = node._handle.node.identity
                for key in (identity.machine_key, identity.node_key, identity.lock_key):
                    secrets += [key.reveal_text().partition(":")[2], repr(key.reveal())[2:-1]]
                for thing in (identity, node, node._config, node._handle, node.status(), node._handle.node):
                    shown.append(repr(thing))
                    try:
                        shown.append(repr(pickle.dumps(thing)))
                    except Exception:
                        continue  # most cannot be pickled at all
            with contextlib.suppress(OSError):
                await b.dial("a", 81)
            virtual.tailnet.restart_control()
            await virtual.sleep(30)
            found.extend(secrets)

    shown: list[str] = []
    found: list[str] = []
    with caplog.at_level(logging.DEBUG):
        anyio.run(main, backend=backend)
    shown += [record.getMessage() for record in caplog.records]
    assert len(found) >= 13
    for secret in found:
        assert not [text for text in shown if secret in text]


def test_a_close_is_bounded_in_virtual_time_to_the_last_digit() -> None:
    """Real time, of which it takes a little, is no part of it: the same seed is the same run."""

    async def main() -> None:
        async with VirtualTailnet() as virtual, virtual.server("a") as a:
            virtual.kill_relay()
            virtual.tailnet._stop(virtual.tailnet._control)
            begun = virtual.world.clock()
            await a.close(timeout=2)
            assert virtual.world.clock() == begun + 2.0

    anyio.run(main)

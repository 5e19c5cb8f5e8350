"""`timeout=` of every method of both servers: seconds, or None for no limit; anything else is ConfigError, at once."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from typing import Any

import anyio
import pytest

import tsnet
from tsnet.edge.io.store import MemoryStore
from tsnet.errors import ConfigError
from tsnet.testing.tailnet import Tailnet

KINDS: tuple[type[Any], ...] = (tsnet.Server, tsnet.AsyncServer)
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "up": (),
    "login": (),
    "logout": (),
    "reachable": (),
    "close": (),
    "dial": ("peer", 80),
    "listen": (0,),
    "dial_packet": ("peer", 53),
    "listen_packet": (0,),
    "ping": ("peer",),
    "netcheck": (),
    "explain": ("peer:80",),
    "debug": ("paths",),
    "set": (),
    "issue_id_token": ("https://third.example",),
}


def methods(kind: type[Any]) -> list[str]:
    found = inspect.getmembers(kind, inspect.isfunction)
    return [name for name, method in found if "timeout" in inspect.signature(method).parameters and name[0] != "_"]


EACH = [(kind, name) for kind in KINDS for name in methods(kind)]
each_method = pytest.mark.parametrize(("kind", "name"), EACH, ids=[f"{kind.__name__}.{name}" for kind, name in EACH])


@pytest.fixture(scope="module")
def tailnet() -> Iterator[Tailnet]:
    with Tailnet() as tailnet, server(tsnet.Server, tailnet, "peer") as peer, peer.listen(80):
        peer.reachable()
        yield tailnet


def server(kind: type[Any], tailnet: Tailnet, name: str = "node") -> Any:
    return kind(name, control_url=tailnet.control_url, auth_key=tailnet.auth_key, state=MemoryStore(), ephemeral=True)


def test_every_method_is_known_here() -> None:
    for kind in KINDS:
        assert methods(kind) == sorted(ARGUMENTS)


@each_method
def test_none_is_no_limit(kind: type[Any], name: str, tailnet: Tailnet) -> None:
    def close(made: Any) -> None:
        if hasattr(made, "close"):
            made.close()

    async def awaited() -> None:
        async with server(kind, tailnet) as node:
            made = await getattr(node, name)(*ARGUMENTS[name], timeout=None)
            if hasattr(made, "aclose"):
                await made.aclose()

    if kind is tsnet.AsyncServer:
        anyio.run(awaited)
    else:
        with server(kind, tailnet) as node:
            close(getattr(node, name)(*ARGUMENTS[name], timeout=None))


@each_method
@pytest.mark.parametrize("timeout", ["5", "", -1, -0.1, math.nan, True, False, b"5", [5], 5j], ids=repr)
def test_what_is_no_time_is_an_error_at_once_and_starts_nothing(kind: type[Any], name: str, timeout: Any) -> None:
    node = kind("node", control_url="https://control.test", state=MemoryStore(), ephemeral=True)

    async def awaited() -> None:
        await getattr(node, name)(*ARGUMENTS[name], timeout=timeout)

    with pytest.raises(ConfigError, match="timeout="):
        anyio.run(awaited) if kind is tsnet.AsyncServer else getattr(node, name)(*ARGUMENTS[name], timeout=timeout)
    assert node.status().state == "stopped"
    assert not node._handle.host.holds(node._handle)


@pytest.mark.parametrize("timeout", [math.inf, 60, 60.0, 10**9])
def test_any_number_of_seconds_is_a_limit(timeout: float, tailnet: Tailnet) -> None:
    node = server(tsnet.Server, tailnet)
    node.up(timeout=timeout)
    node.dial("peer", 80, timeout=timeout).close()
    node.close(timeout=timeout)


def test_no_time_at_all_is_over_at_once(tailnet: Tailnet) -> None:
    with server(tsnet.Server, tailnet) as node, pytest.raises(TimeoutError):
        node.dial("peer", 81, timeout=0)

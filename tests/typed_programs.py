"""Programs that use the public API, for type checkers alone: nothing here is called.

mypy reads them in `make check`, pyright in `tests/test_types.py`. A `type: ignore` says that a checker must object, and
mypy objects to one that is not needed.
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address
from typing import Any, assert_type

import httpx

import tsnet
from tsnet import events
from tsnet.testing import Tailnet


async def echo(stream: tsnet.Stream) -> None:
    assert_type(stream.remote_address, tuple[str, int])
    async for data in stream:
        await stream.send(data)


async def wrong(stream: tsnet.PacketConn) -> None: ...


async def listens() -> None:
    async with tsnet.AsyncServer("shop", tags=["tag:web"]) as node, await node.listen(7) as listener:
        assert_type(listener, tsnet.Listener)
        await listener.serve(echo)
        await listener.serve(wrong)  # type: ignore[arg-type]
        async for stream in listener:
            assert_type(stream, tsnet.Stream)
        assert_type(await listener.accept(), tsnet.Stream)
        assert_type(listener.to_socket(), socket.socket)


async def dials(node: tsnet.AsyncServer) -> None:
    async with await node.dial("db", 5432) as stream:
        assert_type(stream, tsnet.Stream)
        assert_type(await stream.receive(), bytes)
    async with await node.dial_packet("dns", 53) as packets:
        assert_type(packets, tsnet.PacketConn)
    await node.dial("db", "5432")  # type: ignore[arg-type]
    assert_type(await node.ping("db"), tsnet.PingResult)
    async with node.httpx_client(http2=True, limits=httpx.Limits()) as client:
        assert_type(client, httpx.AsyncClient)
    async for event in node.events():
        if isinstance(event, events.LoginUrl):
            assert_type(event.url, str)


def blocks(app: Any) -> None:
    with tsnet.Server("shop", state="/var/lib/shop", proxy="http://proxy:3128") as node:
        assert_type(node.dial("db", 5432), socket.socket)
        assert_type(node.listen(80), socket.socket)
        assert_type(node.addresses, tuple[IPv4Address | IPv6Address, ...])
        assert_type(node.status(), tsnet.Status)
        assert_type(node.set(hostname="shop-2", shields_up=True, timeout=None), tsnet.Prefs)
        node.set(hostnam="shop-2")  # type: ignore[call-arg]
        node.set(shields_up="yes")  # type: ignore[arg-type]
        changes: tsnet.PrefChanges = {"shields_up": True}
        assert_type(node.set(**changes).hostname, str)
        assert_type(node.status().peers, tuple[tsnet.PeerStatus, ...])
        assert_type(node.whois("100.64.0.1"), tsnet.Peer | None)
        with node.serve_wsgi(app, block=False) as web, node.forward_local("db", 5432) as forward:
            assert_type(web.port, int | None)
            assert_type(forward.address, str)
        assert_type(node.httpx_client(), httpx.Client)
    tsnet.Server(hostname=5)  # type: ignore[arg-type]
    tsnet.Server(hostnam="shop")  # type: ignore[call-arg]


def fails(node: tsnet.Server) -> str:
    try:
        node.up()
    except tsnet.NeedsLogin as error:
        return error.url
    except tsnet.StateLocked as error:
        assert_type(error.pid, int | None)
    except tsnet.Error as error:
        return error.code
    return ""


class Redis:
    """A store of somebody's own."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}

    def open(self) -> None: ...

    def read(self, key: str) -> bytes | None:
        return self.values.get(key)

    def write(self, key: str, value: bytes) -> None:
        self.values[key] = value

    def keys(self) -> tuple[str, ...]:
        return tuple(self.values)

    def close(self) -> None: ...


def keeps() -> tsnet.Server:
    store: tsnet.Store = Redis()
    return tsnet.Server("shop", state=store)


def tests(tailnet: Tailnet) -> None:
    assert_type(tailnet.control_url, str)
    with Tailnet(tag_owners={"tag:web": ["ann@example.com"]}) as own:
        assert_type(own, Tailnet)

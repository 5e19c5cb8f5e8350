"""A tailnet made of loopback TCP: the Protocols that adapters use, without a node.

127.0.0.N stands for 100.64.0.N, so that a listener sees which of the nodes below called it.

.1 shop      the node under test, Ann's
.2 laptop    Ann's              .3 desk     Bob's
.4 runner    tag:ci             .9          belongs to no node
"""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

import anyio
import anyio.abc
from anyio.abc import SocketAttribute

from tests.sockets.node import NodeThread
from tsnet.adapters.forward import End
from tsnet.edge.io.reactor import READ, WRITE, Reactor
from tsnet.errors import DialRefused, Error, NotOnTailnet
from tsnet.netmap.whois import Peer
from tsnet.protocols import Address, ByteStream, StreamListener
from tsnet.sockets import Backlog, ListeningSocket, listening

SHOP, LAPTOP, DESK, RUNNER, STRANGER = (f"100.64.0.{n}" for n in (1, 2, 3, 4, 9))
PEERS = {
    SHOP: Peer("shop", (ip_address(SHOP),), "ann@example.com", "Ann"),
    LAPTOP: Peer("laptop", (ip_address(LAPTOP),), "ann@example.com", "Ann"),
    DESK: Peer("desk", (ip_address(DESK),), "bob@example.com", "Bob"),
    RUNNER: Peer("runner", (ip_address(RUNNER),), "tagged-devices", "Tagged Devices", ("tag:ci",)),
}


def real(address: str) -> str:
    return "127.0.0." + address.rpartition(".")[2]


def tailnet(address: str) -> str:
    return "100.64.0." + address.rpartition(".")[2]


async def read_all(stream: End) -> bytes:
    """Everything up to the end of the stream."""
    received = bytearray()
    with anyio.fail_after(10):
        try:
            while True:
                received += await stream.receive()
        except anyio.EndOfStream:
            return bytes(received)


class LoopbackStream(ByteStream):
    def __init__(self, stream: anyio.abc.ByteStream, local: Address, remote: Address) -> None:
        self._stream = stream
        self.local_address, self.remote_address = local, remote

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        return await self._stream.receive(max_bytes)

    async def send(self, item: bytes) -> None:
        await self._stream.send(item)

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()

    @property
    def _raw(self) -> socket.socket:
        return self._stream.extra(SocketAttribute.raw_socket)

    @property
    def readable(self) -> bool:
        return self._raw.fileno() < 0 or bool(select.select([self._raw.fileno()], [], [], 0)[0])

    def abort(self) -> None:
        with suppress(OSError):
            self._raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport = getattr(self._stream, "_transport", None)
        if transport is not None:
            transport.abort()
        else:
            getattr(self._stream, "_trio_socket").close()  # noqa: B009

    def to_socket(self) -> socket.socket:
        return self._raw.dup()


class LoopbackListener(StreamListener[ByteStream]):
    def __init__(self, listener: Any, port: int, forget: Callable[[], None]) -> None:
        self._listener, self._forget = listener, forget
        self.port = port
        self.addresses = ((SHOP, port),)

    async def accept(self) -> ByteStream:
        stream = await self._listener.accept()
        host, port = stream.extra(SocketAttribute.remote_address)
        return LoopbackStream(stream, self.addresses[0], (tailnet(host), port))

    async def serve(self, handler: Callable[[ByteStream], Any], task_group: anyio.abc.TaskGroup | None = None) -> None:
        async with anyio.create_task_group() as tasks:
            while True:
                (task_group or tasks).start_soon(handler, await self.accept())

    async def aclose(self) -> None:
        self._forget()
        await self._listener.aclose()

    def to_socket(self) -> socket.socket:
        return self._listener.extra(SocketAttribute.raw_socket).dup()  # type: ignore[no-any-return]

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return {SocketAttribute.local_address: lambda: self.addresses[0]}


class LoopbackTailnet:
    """Dialer, Acceptor and Whois of the node `shop`; `dialer_of` calls it from another node."""

    def __init__(self) -> None:
        self.ports: dict[int, int] = {}
        self._next = 50_000

    def whois(self, address: str) -> Peer | None:
        return PEERS.get(address)

    def dialer_of(self, address: str) -> LoopbackDialer:
        return LoopbackDialer(self, address)

    async def dial(self, host: str, port: int, *, timeout: float | None = 30) -> ByteStream:
        return await self.dialer_of(LAPTOP).dial(host, port, timeout=timeout)

    async def listen(self, where: int | str) -> StreamListener[ByteStream]:
        listeners = await anyio.create_tcp_listener(local_host=real(SHOP))
        port = self.claim(int(str(where).rpartition(":")[2]), listeners.extra(SocketAttribute.local_port))
        return LoopbackListener(listeners.listeners[0], port, lambda: self.free(port))

    def claim(self, port: int, real_port: int) -> int:
        if not port:
            self._next += 1
            port = self._next
        assert port not in self.ports, "the test uses a port twice"
        self.ports[port] = real_port
        return port

    def free(self, port: int) -> None:
        self.ports.pop(port, None)

    def find(self, host: str, port: int) -> int:
        """The loopback port behind a name or address of the node and a port of its."""
        if host not in ("shop", "shop.example.ts.net", SHOP):
            raise NotOnTailnet(f"no node of this tailnet is called {host!r}")
        if port not in self.ports:
            raise DialRefused(f"{host}:{port} refused the connection")
        return self.ports[port]


class LoopbackDialer:
    def __init__(self, tailnet: LoopbackTailnet, address: str) -> None:
        self._tailnet, self._address = tailnet, address

    async def dial(self, host: str, port: int, *, timeout: float | None = 30) -> ByteStream:
        real_port = self._tailnet.find(host, port)
        with anyio.fail_after(timeout):
            stream = await anyio.connect_tcp(real(SHOP), real_port, local_host=real(self._address))
        local_port = stream.extra(SocketAttribute.local_port)
        return LoopbackStream(stream, (self._address, local_port), (SHOP, port))

    def dial_socket(self, host: str, port: int, *, timeout: float | None = 30) -> socket.socket:
        """The blocking twin's dial."""
        real_port = self._tailnet.find(host, port)
        return socket.create_connection((real(SHOP), real_port), timeout, source_address=(real(self._address), 0))


class TcpPipe:
    """A loopback connection as the node's end of a bridge."""

    def __init__(self, sock: socket.socket, reactor: Reactor, local: Address, remote: Address) -> None:
        self.local_address, self.remote_address = local, remote
        self.gone: Error | None = None
        self._sock, self._reactor = sock, reactor
        self._callback: Callable[[], None] | None = None
        self._interest = 0
        sock.setblocking(False)

    def read_available(self, max_bytes: int) -> bytes | None:
        try:
            data = self._sock.recv(max_bytes)
        except BlockingIOError:
            self._watch(self._interest | READ)
            return b""
        return data or None

    def write_some(self, data: bytes) -> int:
        try:
            return self._sock.send(data)
        except BlockingIOError:
            self._watch(self._interest | WRITE)
            return 0

    def send_eof(self) -> None:
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._watch(0)
        self._sock.close()

    def abort(self) -> None:
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def on_change(self, callback: Callable[[], None] | None) -> None:
        self._callback = callback

    def _ready(self, mask: int) -> None:
        self._watch(0)
        if self._callback is not None:
            self._callback()

    def _watch(self, interest: int) -> None:
        if self._interest:
            self._reactor.remove(self._sock)
        if interest:
            self._reactor.add(self._sock, interest, self._ready)
        self._interest = interest


class ListeningPort:
    """A tailnet port of `shop` as a listening socket, the blocking twin's `listen`."""

    def __init__(self, tailnet: LoopbackTailnet, node: NodeThread, port: int = 0) -> None:
        self._server = socket.create_server((real(SHOP), 0), backlog=256)
        self._server.setblocking(False)
        self._node = node
        self.port = tailnet.claim(port, self._server.getsockname()[1])
        self.socket: ListeningSocket
        self._backlog: Backlog
        self.socket, self._backlog = listening((SHOP, self.port), node.reactor, self._close)
        node.call(lambda: node.reactor.add(self._server, READ, self._accept))

    def _accept(self, mask: int = 0) -> None:
        with suppress(OSError):  # there are no more, or another thread has closed it just now
            while True:
                sock, (host, port) = self._server.accept()
                pipe = TcpPipe(sock, self._node.reactor, (SHOP, self.port), (tailnet(host), port))
                assert self._backlog.offer(pipe, lambda: None), "more connections at once than the test meant"

    def close_node(self) -> None:
        """The node goes away under the listener."""
        self._node.call(self._backlog.close)
        self._node.call(self._close)

    def _close(self) -> None:
        self._node.reactor.remove(self._server)
        self._server.close()

    def close(self) -> None:
        self.socket.close()
        self._node.until(lambda: self._server.fileno() < 0)

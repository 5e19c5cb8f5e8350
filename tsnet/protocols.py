"""The interfaces that adapters use: byte streams, a dialer, an acceptor, identities. There is no node behind them.

    ByteStream      a connection: anyio's ByteStream that knows both tailnet addresses
    StreamListener  a tailnet port: accept() one connection, or serve() them all
    Dialer          dial(host, port)     -> ByteStream
    Acceptor        listen(port)         -> StreamListener
    Whois           whois(address)       -> Peer | None

Adapters need nothing else of a node, so an adapter runs over loopback TCP in its tests, too.

Not here: the streams of a node (`streams`), descriptors (`sockets`).
"""

from __future__ import annotations

import socket
from abc import abstractmethod
from collections.abc import Callable, Hashable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import anyio.abc
from anyio.abc import SocketAttribute

if TYPE_CHECKING:
    from tsnet.netmap.whois import Peer

Address = tuple[str, int]
"""(IP address as text, port), for both families."""


class ByteStream(anyio.abc.ByteStream):
    """A connection. Its end is `anyio.EndOfStream`, a reset is `anyio.BrokenResourceError` with the cause attached.

    `aclose` ends it in order: what was sent is still delivered. `abort` ends it at once: the peer sees a reset.
    """

    local_address: Address
    remote_address: Address

    @property
    @abstractmethod
    def readable(self) -> bool:
        """Whether `receive` would return at once: with data, the end or an error."""

    @abstractmethod
    def abort(self) -> None:
        """Reset the connection. Does not block, raises nothing, and may be called twice."""

    @abstractmethod
    def to_socket(self) -> socket.socket:
        """A real descriptor in place of this stream, which must not be used afterwards."""

    @property
    def peer(self) -> Hashable:
        """Who counts as the other end in limits; of a node's stream the same for all addresses of the peer."""
        return self.remote_address[0]

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return {
            SocketAttribute.family: lambda: family_of(self.local_address),
            SocketAttribute.local_address: lambda: self.local_address,
            SocketAttribute.local_port: lambda: self.local_address[1],
            SocketAttribute.remote_address: lambda: self.remote_address,
            SocketAttribute.remote_port: lambda: self.remote_address[1],
        }


B_co = TypeVar("B_co", bound=ByteStream, covariant=True)


class StreamListener(anyio.abc.Listener[B_co]):
    """A tailnet port that gives streams of one kind.

    After `aclose` a waiting `accept` raises `anyio.ClosedResourceError`.
    """

    port: int
    addresses: tuple[Address, ...]

    @abstractmethod
    async def accept(self) -> B_co:
        """The next connection."""

    @abstractmethod
    def to_socket(self) -> socket.socket:
        """A listening descriptor in place of this listener, which must not be used afterwards."""


class Dialer(Protocol):
    async def dial(self, host: str, port: int, *, timeout: float | None = 30) -> ByteStream:
        """Connect. Raises `NotOnTailnet`, `DialRefused`, `DialTimeout`, `HostUnreachable`."""
        ...


class Acceptor(Protocol):
    async def listen(self, where: int | str) -> StreamListener[ByteStream]:
        """Listen on a port (0 chooses one) or an "address:port". Raises `AddressInUse`."""
        ...


class Whois(Protocol):
    def whois(self, address: str) -> Peer | None:
        """The owner of that tailnet address now; None if nobody owns it. It comes from the netmap: nobody is asked."""
        ...


def family_of(address: Address) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address[0] else socket.AF_INET

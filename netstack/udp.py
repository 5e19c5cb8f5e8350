"""UDP: endpoints with bounded queues of datagrams.

    receive -> lookup (address, port), then (any, port) -> queue, at most 384 KiB, two thirds of them of one peer: the
               newest is dropped when there is no room
            -> nobody is bound there, or it is not our address: the forwarder, if there is one
    send    -> checksum, fragments if need be -> the stack's outbox

A connected endpoint hears from one remote end alone, and is told what ICMP says about it.

Source: RFC 768, RFC 1122 §4.1, RFC 8085.
Not here: the header's bytes (`wire.udp`), other people's destinations (`udp_forward`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import NamedTuple, Protocol

from netstack import errors
from netstack.ip import IPAddress, IpLayer, address_of
from netstack.limits import DATAGRAM_COST, Shares, peer_of
from netstack.ports import ANY, Ports
from netstack.wire import udp

MAX_QUEUE_BYTES = 384 * 1024

MAX_V4_PAYLOAD, MAX_V6_PAYLOAD = 65_507, 65_487


class Datagram(NamedTuple):
    payload: bytes
    address: IPAddress
    port: int
    local: IPAddress
    """The own address that it was sent to: what an answer should come from."""


class Owner(Protocol):
    """What an endpoint asks of who has made it."""

    def send(self, payload: bytes, source: bytes, source_port: int, remote: tuple[bytes, int], now: float) -> bool:
        """Queue a datagram; False if the outbox is full."""

    def release(self, endpoint: UdpEndpoint, bound: bytes) -> None:
        """The endpoint is closed."""


class Forwarder(Protocol):
    """`udp_forward.UdpForwarder`: who gets what no endpoint is bound for."""

    unbound: bool
    """Datagrams to own addresses, too."""
    is_closed: bool

    def arrives(
        self, link: Hashable, source: bytes, source_port: int, local: bytes, port: int, payload: bytes, now: float
    ) -> bool:
        """A datagram for no endpoint of ours; False if it is to be refused."""

    def find(self, remote: bytes, remote_port: int, local: bytes, port: int) -> UdpEndpoint | None:
        """The accepted flow between these ends."""

    def close(self, now: float) -> None:
        """Refuse what waits, and take no more."""


class UdpEndpoint:
    """One bound port. `address` None: all own addresses, of both families."""

    __slots__ = ("_bound", "_error", "_layer", "_queue", "_remote", "_room", "dropped", "is_closed", "port")

    def __init__(self, layer: Owner, bound: bytes, port: int) -> None:
        self._layer = layer
        self._bound = bound
        self.port: int = port
        self._queue: deque[tuple[bytes, bytes, int, bytes, Hashable]] = deque()
        self._room = Shares(MAX_QUEUE_BYTES)
        self._remote: tuple[bytes, int] | None = None
        self._error: str | None = None
        self.dropped: int = 0
        """Datagrams that found the queue full."""
        self.is_closed: bool = False

    def __repr__(self) -> str:
        where = "*" if self._bound == ANY else str(self.address)
        return f"<UdpEndpoint {where} port {self.port}>"

    @property
    def address(self) -> IPAddress | None:
        return None if self._bound == ANY else address_of(self._bound)

    @property
    def readable(self) -> bool:
        return bool(self._queue) or self._error is not None

    def connect(self, address: IPAddress, port: int) -> None:
        """Talk to this remote end only."""
        self._remote = address.packed, port

    def send(
        self,
        payload: bytes,
        now: float,
        address: IPAddress | None = None,
        port: int | None = None,
        *,
        local: IPAddress | None = None,
    ) -> bool:
        """Queue one datagram, to the connected end if no other is named; False if the outbox is full.

        Raises MessageTooLong for more than UDP can carry, AddressNotAvailable without an own address of the family.
        """
        if self.is_closed:
            raise errors.EndpointClosed("this UDP endpoint is closed")
        if address is not None and port is not None:
            remote = address.packed, port
        elif self._remote is not None:
            remote = self._remote
        else:
            raise errors.EndpointClosed("this UDP endpoint is not connected: name an address and a port")
        source = self._bound if local is None else local.packed
        return self._layer.send(payload, source, self.port, remote, now)

    def receive(self) -> Datagram | None:
        """The oldest datagram, or None."""
        if not self._queue:
            return None
        payload, source, port, local, peer = self._queue.popleft()
        self._room.give_back(peer, len(payload) + DATAGRAM_COST)
        return Datagram(payload, address_of(source), port, address_of(local))

    def receive_many(self, limit: int = 64) -> list[Datagram]:
        found: list[Datagram] = []
        while len(found) < limit and (datagram := self.receive()) is not None:
            found.append(datagram)
        return found

    def take_error(self) -> str | None:
        """What ICMP said about the connected end since the last call: a code of `netstack.errors`."""
        error, self._error = self._error, None
        return error

    def close(self) -> None:
        """Free the port."""
        if not self.is_closed:
            self.is_closed = True
            self._queue.clear()
            self._layer.release(self, self._bound)

    # for the layer

    def take(self, link: Hashable, source: bytes, source_port: int, local: bytes, payload: bytes) -> str | None:
        """Queue what arrived, or say why not."""
        if self._remote is not None and self._remote != (source, source_port):
            return "udp: not from the connected end"
        peer = peer_of(link, source) if self._remote is None else None  # the connected end has all the room
        if not self._room.take(peer, len(payload) + DATAGRAM_COST):
            self.dropped += 1
            return "udp: queue full"
        self._queue.append((payload, source, source_port, local, peer))
        return None

    def may_have_sent_to(self, remote: bytes, port: int) -> bool:
        """Whether what ICMP says about a datagram to this remote end can be believed."""
        return self._remote is None or self._remote == (remote, port)

    def fail(self, remote: bytes, port: int, error: str) -> bool:
        """ICMP about a datagram to this remote end: told only if it is the connected one."""
        if self._remote != (remote, port):
            return False
        self._error = error
        return True


class UdpLayer:
    """One instance a stack."""

    __slots__ = ("_ip", "_ports", "forwarder")

    def __init__(self, ip: IpLayer) -> None:
        self._ip = ip
        self.forwarder: Forwarder | None = None
        self._ports: Ports[UdpEndpoint] = Ports(ip.entropy(16))

    def __len__(self) -> int:
        return len(self._ports)

    def open(self, port: int, address: IPAddress | None) -> UdpEndpoint:
        """Raises AddressInUse, or AddressNotAvailable if the address is not ours or no port is free."""
        bound = ANY if address is None else address.packed
        if bound != ANY and bound not in self._ip.addresses:
            raise errors.AddressNotAvailable(f"{address} is not an address of this stack")
        if not port:
            chosen = self._ports.ephemeral(b"udp", lambda port: not self._ports.is_bound(port))
            if chosen is None:
                raise errors.AddressNotAvailable("no free UDP port")
            port = chosen
        endpoint = UdpEndpoint(self, bound, port)
        if not self._ports.bind(bound, port, endpoint):
            raise errors.AddressInUse(f"UDP port {port} is in use by another endpoint of this stack")
        return endpoint

    def release(self, endpoint: UdpEndpoint, bound: bytes) -> None:
        self._ports.release(bound, endpoint.port)

    def close(self, now: float) -> None:
        """Free every port, and take no more for others."""
        for endpoint in self._ports.holders():
            endpoint.close()
        if self.forwarder is not None:
            self.forwarder.close(now)

    def send(self, payload: bytes, source: bytes, source_port: int, remote: tuple[bytes, int], now: float) -> bool:
        destination = remote[0]
        own = source or self._ip.source_for(destination)
        if own is None or own not in self._ip.addresses or len(own) != len(destination):
            raise errors.AddressNotAvailable(f"no own address to reach {address_of(destination)} from")
        return send_datagram(self._ip, payload, own, source_port, remote, now)

    def receive(
        self, link: Hashable, source: bytes, destination: bytes, datagram: bytes, now: float, verified: bool
    ) -> bool:
        """Hand a datagram to its endpoint; False if there is none, so that an ICMP error is due."""
        parsed = udp.parse(source, destination, datagram, verified=verified)
        if isinstance(parsed, str):
            self._ip.dropped[parsed] += 1
            return True
        source_port, destination_port, payload = parsed
        own = destination in self._ip.addresses
        endpoint = self._ports.lookup(destination, destination_port) if own else None
        if endpoint is None:
            forwarder = self.forwarder
            if (
                forwarder is not None
                and (forwarder.unbound or not own)
                and forwarder.arrives(link, source, source_port, destination, destination_port, payload, now)
            ):
                return True
            self._ip.dropped["udp: for no endpoint"] += 1
            return False
        reason = endpoint.take(link, source, source_port, destination, payload)
        if reason is None:
            self._ip.ready[endpoint] = None
        else:
            self._ip.dropped[reason] += 1
        return True

    def icmp_error(
        self, local: bytes, remote: bytes, quoted: bytes, error: str | None, mtu: int | None, now: float
    ) -> None:
        """ICMP answers a datagram whose header is `quoted`: `error`, or a new `mtu` of the path."""
        port, remote_port = int.from_bytes(quoted[:2], "big"), int.from_bytes(quoted[2:4], "big")
        endpoint = self._ports.lookup(local, port) if local in self._ip.addresses else None
        if endpoint is None and self.forwarder is not None:
            endpoint = self.forwarder.find(remote, remote_port, local, port)
        if endpoint is None or not endpoint.may_have_sent_to(remote, remote_port):
            self._ip.dropped["icmp: for no connection"] += 1
        elif mtu is not None:
            self._ip.lower_path_mtu(remote, mtu, now)
        elif error is not None and endpoint.fail(remote, remote_port, error):
            self._ip.ready[endpoint] = None
        else:
            self._ip.dropped["icmp: for no connection"] += 1


def send_datagram(
    ip: IpLayer, payload: bytes, source: bytes, source_port: int, remote: tuple[bytes, int], now: float
) -> bool:
    """Queue a datagram; False if the outbox is full. Raises MessageTooLong for more than UDP can carry."""
    destination, port = remote
    if len(payload) > (MAX_V4_PAYLOAD if len(destination) == 4 else MAX_V6_PAYLOAD):
        raise errors.MessageTooLong(f"{len(payload)} bytes do not fit into one UDP datagram")
    datagram = udp.build(source, source_port, destination, port, payload)
    return ip.send_payload(source, destination, udp.PROTOCOL, datagram, now)

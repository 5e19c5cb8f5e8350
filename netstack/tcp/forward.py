"""TCP to any destination: a SYN is held until the application has dialled the destination, then answered or refused.

    SYN -> PendingConnection (max_in_flight, two thirds of them of one peer) -> accept() | refuse("reset" | "icmp")

Destinations are addresses that are not the stack's own, and with `unbound` also its own ports that nobody listens on.

While a SYN is held, the peer sends it again, which changes nothing. One that has been held for 75 seconds without a
decision is forgotten when the next new one arrives. A SYN over the limit is dropped and counted.

Source: gVisor's tcp.Forwarder, for the shape.
Not here: the application's connection to the destination, and copying between the two.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Literal

from netstack import errors
from netstack.ip import IPAddress, address_of
from netstack.limits import Shares, peer_of
from netstack.tcp.connection import TcpConnection
from netstack.wire.tcp import ACK, RST, SYN, Header

PATIENCE = 75.0

Accept = Callable[[Hashable, bytes, bytes, Header, bytes, float], TcpConnection]
Refuse = Callable[[bytes, bytes, Header, bytes, float], None]
RefuseByIcmp = Callable[[bytes, bytes, bytes, float], None]


class PendingConnection:
    """A SYN that is held. `local` is the destination that the peer has asked for."""

    __slots__ = ("_destination", "_forwarder", "_header", "_segment", "_source", "arrived_time", "link")

    def __init__(
        self,
        forwarder: TcpForwarder,
        link: Hashable,
        source: bytes,
        destination: bytes,
        header: Header,
        segment: bytes,
        now: float,
    ) -> None:
        self._forwarder = forwarder
        self.link: Hashable = link
        self._source, self._destination, self._header = source, destination, header
        self._segment = segment[: header.size]  # what a SYN carries comes again with the next segment
        self.arrived_time: float = now

    @property
    def local(self) -> tuple[IPAddress, int]:
        return address_of(self._destination), self._header.destination_port

    @property
    def remote(self) -> tuple[IPAddress, int]:
        return address_of(self._source), self._header.source_port

    @property
    def is_decided(self) -> bool:
        """Whether it was accepted, refused or forgotten."""
        return not self._forwarder.holds(self)

    def accept(self, now: float) -> TcpConnection:
        """Answer the SYN; the connection becomes ready when the handshake is over.

        Raises EndpointClosed if it was decided before, or if a listener or `connect` has opened the same connection.
        """
        self._decide()
        return self._forwarder.on_accept(self.link, self._source, self._destination, self._header, self._segment, now)

    def refuse(self, now: float, how: Literal["reset", "icmp"] = "reset") -> None:
        """Turn the SYN down: with "reset" as a host without that port, with "icmp" as a router without a way there."""
        self._decide()
        if how == "icmp":
            self._forwarder.on_refuse_by_icmp(self._source, self._destination, self._segment, now)
        else:
            self._forwarder.on_refuse(self._source, self._destination, self._header, self._segment, now)

    def _decide(self) -> None:
        if not self._forwarder.release(self):
            raise errors.EndpointClosed("this connection was decided before, or waited too long")

    # for the forwarder

    @property
    def key(self) -> bytes:
        return self._source + self._destination + self._segment[:4]

    @property
    def peer(self) -> Hashable:
        return peer_of(self.link, self._source)


class TcpForwarder:
    """The SYNs that one stack holds. `Stack.forward_tcp` makes it."""

    __slots__ = (
        "_dropped",
        "_pending",
        "_places",
        "_ready",
        "_unseen",
        "is_closed",
        "on_accept",
        "on_refuse",
        "on_refuse_by_icmp",
        "unbound",
    )

    def __init__(
        self,
        max_in_flight: int,
        accept: Accept,
        refuse: Refuse,
        refuse_by_icmp: RefuseByIcmp,
        ready: dict[Any, None],
        dropped: Counter[str],
        *,
        unbound: bool = False,
    ) -> None:
        self.unbound: bool = unbound
        self.on_accept: Accept = accept
        self.on_refuse: Refuse = refuse
        self.on_refuse_by_icmp: RefuseByIcmp = refuse_by_icmp
        self._ready, self._dropped = ready, dropped
        self._pending: OrderedDict[bytes, PendingConnection] = OrderedDict()
        self._unseen: OrderedDict[bytes, PendingConnection] = OrderedDict()
        self._places = Shares(max_in_flight)
        self.is_closed: bool = False

    def __len__(self) -> int:
        """How many SYNs are held."""
        return len(self._pending)

    @property
    def max_in_flight(self) -> int:
        return self._places.total

    @property
    def readable(self) -> bool:
        """Whether `accept` would return a connection."""
        return bool(self._unseen)

    def accept(self) -> PendingConnection | None:
        """The oldest one that `accept` has not returned yet; None if there is none."""
        return self._unseen.popitem(last=False)[1] if self._unseen else None

    def close(self, now: float) -> None:
        """Refuse all that are held, and take no more. Open connections go on."""
        if not self.is_closed:
            self.is_closed = True
            for pending in list(self._pending.values()):
                pending.refuse(now)

    # for the layer

    def arrives(
        self, link: Hashable, source: bytes, destination: bytes, header: Header, segment: bytes, now: float
    ) -> bool:
        """Take a segment of no connection and no listener; False if the layer is to answer it with RST."""
        if self.is_closed or header.flags & (SYN | ACK | RST) != SYN or not header.source_port:
            return False
        self._forget_old(now)
        pending = PendingConnection(self, link, source, destination, header, segment, now)
        if pending.key in self._pending:
            return True
        if not self._places.take(pending.peer):
            self._dropped["tcp: too many connections in flight"] += 1
            return True
        self._pending[pending.key] = self._unseen[pending.key] = pending
        self._ready[self] = None
        return True

    def holds(self, pending: PendingConnection) -> bool:
        return self._pending.get(pending.key) is pending

    def release(self, pending: PendingConnection) -> bool:
        """Stop holding it; False if it was not held."""
        if not self.holds(pending):
            return False
        del self._pending[pending.key]
        self._unseen.pop(pending.key, None)
        self._places.give_back(pending.peer)
        return True

    def _forget_old(self, now: float) -> None:
        while self._pending:
            oldest = next(iter(self._pending.values()))
            if now - oldest.arrived_time < PATIENCE:
                return
            self.release(oldest)
            self._dropped["tcp: connection in flight for too long"] += 1

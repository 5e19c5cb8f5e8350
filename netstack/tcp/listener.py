"""A listening port: a SYN makes a half-open connection; once established, it waits in a queue to be accepted.

    SYN -> half-open ┐
                     ├ together at most `backlog`
    queue            ┘ -> accept()

Both count in `places`, the backlog, of which no peer has more than two thirds. Who finds no place is parked.

Not here: who gets a place, and who is turned away (`passive`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from typing import NamedTuple

from netstack.ip import IPAddress, address_of
from netstack.limits import Shares, peer_of
from netstack.ports import ANY
from netstack.tcp.connection import TcpConnection
from netstack.tcp.parking import Parked
from netstack.tcp.tcb import Tcb

KEEPALIVE = (7200.0, 75.0, 9)
"""Of accepted connections: idle seconds, interval, probes, as gVisor and Linux have them. A vanished peer is noticed
after a bit more than two hours; a peer whose machine slept for less has its connections still."""


class Refusals(NamedTuple):
    """Connections that were reset because their peer, or all together, had as many as they may have.

    number: how many. reason (`limits.FULL` or `limits.SHARE`), remote, and limit (of all peers together): of the last.
    """

    number: int
    reason: str
    remote: IPAddress
    limit: int


class TcpListener:
    """address: None means all own addresses of both families, including later ones."""

    __slots__ = (
        "_bound",
        "_on_close",
        "_on_room",
        "_queue",
        "_refused",
        "connections",
        "defer",
        "half_open",
        "is_closed",
        "keepalive",
        "max_segment",
        "nodelay",
        "parked",
        "places",
        "port",
        "receive_buffer",
    )

    def __init__(
        self,
        bound: bytes,
        port: int,
        *,
        backlog: int,
        max_connections: int | None,
        nodelay: bool,
        on_close: Callable[[TcpListener, float], None],
        on_room: Callable[[TcpListener], None],
    ) -> None:
        self._on_close, self._on_room, self._bound = on_close, on_room, bound
        self._queue: deque[TcpConnection] = deque()
        self.port: int = port
        self.places: Shares = Shares(backlog)
        """Half-open connections, and those that nobody has accepted."""
        self.connections: Shares | None = None if max_connections is None else Shares(max_connections)
        """Those that have begun here and have not ended; None: only the stack's limit counts."""
        self.parked: Parked = Parked()
        self._refused: tuple[int, str, bytes, int] = (0, "", b"", 0)
        self.half_open: dict[Hashable, dict[Tcb, None]] = {}
        self.keepalive: tuple[float, float, int] | None = KEEPALIVE
        self.nodelay: bool = nodelay
        self.defer: float = 0.0
        """Seconds to wait for a connection's first data before it is accepted without any."""
        self.max_segment: int = 65_535
        self.receive_buffer: int | None = None
        """The receive buffer of new connections, from the SYN-ACK on; see `TcpConnection.set_receive_buffer`."""
        self.is_closed: bool = False

    def __repr__(self) -> str:
        where = "*" if self._bound == ANY else str(self.address)
        return f"<TcpListener {where} port {self.port}, {len(self._queue)} waiting>"

    @property
    def address(self) -> IPAddress | None:
        return None if self._bound == ANY else address_of(self._bound)

    @property
    def bound(self) -> bytes:
        """The address as `Ports` knows it."""
        return self._bound

    @property
    def backlog(self) -> int:
        return self.places.total

    @property
    def readable(self) -> bool:
        """Whether `accept` would return a connection."""
        return bool(self._queue)

    def accept(self, *, keep_place: bool = False) -> TcpConnection | None:
        """The connection that has waited longest, which may have ended meanwhile; None if there is none.

        keep_place: it still counts in the backlog until `give_up_place`, because it is only passed on to somebody
        who accepts it later.
        """
        if not self._queue:
            return None
        connection = self._queue.popleft()
        if not keep_place:
            self.give_up_place(connection)
        return connection

    def give_up_place(self, connection: TcpConnection) -> None:
        """The connection was accepted: its place in the backlog is free."""
        self.free(peer_of(connection.link, connection.remote[0].packed))

    def take_refusals(self) -> Refusals | None:
        """The connections that a limit has turned away since the last call; None if there were none."""
        number, reason, source, limit = self._refused
        self._refused = (0, "", b"", 0)
        return Refusals(number, reason, address_of(source), limit) if number else None

    def close(self, now: float) -> None:
        """Free the port, reset the connections that nobody has accepted, and forget the half-open ones."""
        if self.is_closed:
            return
        self.is_closed = True
        self._on_close(self, now)
        while self._queue:
            connection = self._queue.popleft()
            connection.abort(now)
            connection.close(now)

    # for the layer

    def has_place(self, peer: Hashable) -> bool:
        return self.places.refusal(peer) is None

    def turned_away(self, reason: str, source: bytes, limit: int) -> None:
        self._refused = (self._refused[0] + 1, reason, source, limit)

    def overdue(self, peer: Hashable) -> Tcb | None:
        """The half-open connection that must make way for one of this peer: the oldest one of the peer with the most
        places, if its SYN-ACK had to be sent again, and if that peer has at least two places more than this one."""
        for other in sorted(self.half_open, key=self.places.of, reverse=True):
            oldest = next(iter(self.half_open[other]))
            if self.places.of(other) > self.places.of(peer) + 1 and oldest.retries:
                return oldest
        return None

    def opened(self, tcb: Tcb) -> None:
        peer = peer_of(tcb.link, tcb.remote)
        self.places.take(peer)
        self.half_open.setdefault(peer, {})[tcb] = None

    def settled(self, tcb: Tcb) -> None:
        """A half-open connection is established or gone."""
        peer = peer_of(tcb.link, tcb.remote)
        del self.half_open[peer][tcb]
        if not self.half_open[peer]:
            del self.half_open[peer]

    def enqueue(self, connection: TcpConnection) -> None:
        self._queue.append(connection)

    def free(self, peer: Hashable) -> None:
        """Give a place of the backlog back."""
        self.places.give_back(peer)
        if self.parked:
            self._on_room(self)

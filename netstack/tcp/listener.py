"""A listening port: a SYN makes a half-open connection; once established, it waits in a queue to be accepted.

    SYN -> half-open (at most max(backlog, 128)) -> queue (backlog) -> accept()

No remote address can lock the others out. Each has at most two thirds of the half-open places. When all places are
taken, a new SYN pushes out the oldest connection of the address that has most of them, if that has at least two more
than the sender; otherwise the SYN is dropped. A handshake's last acknowledgement that finds the queue full is dropped,
too. The peer tries again.

Source: RFC 9293 §3.10.7.2, RFC 4987 §3.4 (recycling the oldest half-open one).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from netstack.ip import IPAddress, address_of
from netstack.ports import ANY
from netstack.tcp.connection import TcpConnection
from netstack.tcp.tcb import Tcb

MIN_HALF_OPEN = 128
KEEPALIVE = (300.0, 75.0, 9)
"""Of accepted connections: idle seconds, interval, probes. A vanished peer is noticed after about 16 minutes."""


class TcpListener:
    """address: None means all own addresses of both families, including later ones."""

    __slots__ = (
        "_bound",
        "_on_close",
        "_queue",
        "backlog",
        "defer",
        "half_open",
        "is_closed",
        "keepalive",
        "max_segment",
        "nodelay",
        "port",
        "receive_buffer",
    )

    def __init__(
        self,
        on_close: Callable[[TcpListener, bytes], None],
        bound: bytes,
        port: int,
        backlog: int,
        nodelay: bool,
    ) -> None:
        self._on_close, self._bound = on_close, bound
        self._queue: deque[TcpConnection] = deque()
        self.port = port
        self.backlog = max(backlog, 1)
        self.half_open: dict[bytes, dict[Tcb, None]] = {}
        self.keepalive: tuple[float, float, int] | None = KEEPALIVE
        self.nodelay = nodelay
        self.defer = 0.0
        """Seconds to wait for a connection's first data before it is accepted without any."""
        self.max_segment = 65_535
        self.receive_buffer: int | None = None
        """The receive buffer of new connections, from the SYN-ACK on; see `TcpConnection.set_receive_buffer`."""
        self.is_closed = False

    def __repr__(self) -> str:
        where = "*" if self._bound == ANY else str(self.address)
        return f"<TcpListener {where} port {self.port}, {len(self._queue)} waiting>"

    @property
    def address(self) -> IPAddress | None:
        return None if self._bound == ANY else address_of(self._bound)

    @property
    def readable(self) -> bool:
        """Whether `accept` would return a connection."""
        return bool(self._queue)

    def accept(self) -> TcpConnection | None:
        """The connection that has waited longest, which may have ended meanwhile; None if there is none."""
        return self._queue.popleft() if self._queue else None

    def close(self, now: float) -> None:
        """Free the port, reset the connections that nobody has accepted, and forget the half-open ones."""
        if self.is_closed:
            return
        self.is_closed = True
        self._on_close(self, self._bound)
        while self._queue:
            self._queue.popleft().abort(now)

    # for the layer

    def has_room(self) -> bool:
        return len(self._queue) < self.backlog

    def make_room(self, remote: bytes) -> tuple[bool, Tcb | None]:
        """Whether one more half-open connection of this peer fits, and which other one must make way for it."""
        most = max(self.backlog, MIN_HALF_OPEN)
        own = len(self.half_open.get(remote, ()))
        if own >= most * 2 // 3:
            return False, None
        if sum(map(len, self.half_open.values())) < most:
            return True, None
        greediest = max(self.half_open.values(), key=len)
        return (True, next(iter(greediest))) if len(greediest) > own + 1 else (False, None)

    def opened(self, tcb: Tcb) -> None:
        self.half_open.setdefault(tcb.remote, {})[tcb] = None

    def settled(self, tcb: Tcb) -> None:
        """Free the place of a half-open connection that is established or gone."""
        of_peer = self.half_open[tcb.remote]
        del of_peer[tcb]
        if not of_peer:
            del self.half_open[tcb.remote]

    def enqueue(self, connection: TcpConnection) -> None:
        self._queue.append(connection)

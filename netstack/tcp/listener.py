"""A listening port: SYNs become half-open connections, those become established ones, which wait to be accepted.

    SYN -> half-open (at most max(backlog, 128), two thirds of them of one peer) -> queue (backlog) -> accept()

Nothing is refused for want of room: a SYN over the limit is dropped, and the last acknowledgement of a handshake that
finds the queue full is too. The peer tries again.

Source: RFC 9293 §3.10.7.2; the limits' shares are those of Tailscale's netstack.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING

from netstack.ip import IPAddress, address_of
from netstack.ports import ANY
from netstack.tcp.connection import TcpConnection

if TYPE_CHECKING:
    from netstack.tcp.layer import TcpLayer

MIN_HALF_OPEN = 128
KEEPALIVE = (300.0, 75.0, 9)
"""Accepted connections: a peer that vanished is noticed after a quarter of an hour."""


class TcpListener:
    """`address` None: all own addresses, of both families, now and later."""

    __slots__ = ("_bound", "_layer", "_queue", "backlog", "half_open", "is_closed", "keepalive", "nodelay", "port")

    def __init__(self, layer: TcpLayer, bound: bytes, port: int, backlog: int) -> None:
        self._layer, self._bound = layer, bound
        self._queue: deque[TcpConnection] = deque()
        self.port = port
        self.backlog = max(backlog, 1)
        self.half_open: Counter[bytes] = Counter()
        self.keepalive: tuple[float, float, int] | None = KEEPALIVE
        self.nodelay = True
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
        """The connection that has waited longest; None if there is none. It may have ended meanwhile."""
        return self._queue.popleft() if self._queue else None

    def close(self, now: float) -> None:
        """Free the port; reset what is half-open and what nobody has accepted."""
        if self.is_closed:
            return
        self.is_closed = True
        self._layer.close_listener(self, self._bound, now)
        while self._queue:
            self._queue.popleft().abort(now)

    # for the layer

    def has_room(self) -> bool:
        return len(self._queue) < self.backlog

    def may_open(self, remote: bytes) -> bool:
        """Whether one more half-open connection of this peer fits."""
        most = max(self.backlog, MIN_HALF_OPEN)
        return self.half_open.total() < most and self.half_open[remote] < most * 2 // 3

    def opened(self, remote: bytes) -> None:
        self.half_open[remote] += 1

    def settled(self, remote: bytes) -> None:
        """A half-open connection is established or gone."""
        self.half_open[remote] -= 1
        if not self.half_open[remote]:
            del self.half_open[remote]

    def enqueue(self, connection: TcpConnection) -> None:
        self._queue.append(connection)

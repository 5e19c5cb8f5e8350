"""Between an application and a UDP endpoint: two bounded deques of whole datagrams.

A datagram counts as its bytes and what it costs beside them, so that empty ones are bounded, too. With a full inbox
they wait in the endpoint, where one peer has at most two thirds of the room, and the newest is dropped when there is
none. With a full outbox `give` returns False. An interrupted call leaves the counters right, as in a stream's pipe
(`edge.pipes.pipes`).
"""

from __future__ import annotations

from collections import deque
from ipaddress import ip_address
from typing import TYPE_CHECKING

from netstack.errors import NetstackError
from netstack.limits import DATAGRAM_COST
from tsnet.edge.pipes.waiters import Runner, Waiters, completed
from tsnet.errors import DialRefused, Error, NotUp, again

if TYPE_CHECKING:
    from netstack import UdpEndpoint

QUEUE_BYTES = 1024 * 1024
MAX_PAYLOAD = 65_507
Address = tuple[str, int]


class PacketPipe(Waiters):
    """One UDP endpoint, as its application holds it.

    remote: the only address that a dialled one speaks with, else None. error: why the node took the endpoint away.
    dropped: how many datagrams were lost here. One reader at a time.
    """

    __slots__ = (
        "_consumed",
        "_given",
        "_icmp",
        "_inbox",
        "_outbox",
        "_produced",
        "_starved",
        "_taken",
        "closed",
        "dropped",
        "endpoint",
        "error",
        "local",
        "remote",
    )

    def __init__(self, endpoint: UdpEndpoint, runner: Runner, local: Address, remote: Address | None) -> None:
        super().__init__(runner)
        self.endpoint: UdpEndpoint = endpoint
        self.local: Address = local
        self.remote: Address | None = remote
        self.closed: bool = False
        self.error: Error | None = None
        self.dropped: int = 0
        self._icmp: Error | None = None
        self._inbox: deque[tuple[bytes, Address] | None] = deque()  # None: taken by a call that was interrupted
        self._outbox: deque[tuple[bytes, Address]] = deque()
        self._produced = self._consumed = self._given = self._taken = 0
        self._starved = False

    # --- the application's side -----------------------------------------------------------------------------

    def take(self) -> tuple[bytes, Address] | None:
        """The oldest datagram and its sender, or None if there is none yet.

        When none is left, raises DialRefused once for an ICMP error, and `error` once the node has ended the endpoint.
        """
        inbox = self._inbox
        if inbox and inbox[0] is None:
            del inbox[0]
        if not inbox:
            if self._starved:
                self._request()  # an interrupted call may not have asked for more
            said, self._icmp = self._icmp, None
            error = said or self.error
            if error is not None:
                raise again(error)
            return None
        datagram = inbox[0]
        assert datagram is not None, "one reader at a time"
        consumed = self._consumed + len(datagram[0]) + DATAGRAM_COST
        inbox[0], self._consumed = None, consumed  # one step: an interrupt comes before both or after both
        del inbox[0]
        if self._starved and self._produced - consumed <= QUEUE_BYTES // 2:
            self._request()
        return datagram

    def give(self, data: bytes, address: Address) -> bool:
        """Queue one datagram. Returns False if the outbox is full. Raises `error`."""
        if self.error is not None:
            raise again(self.error)
        if not self._outbox:
            self._given = self._taken  # they differ if an interrupt came between the two steps below
        size = len(data) + DATAGRAM_COST
        if self._given - self._taken + size > QUEUE_BYTES:
            return False
        datagram = (bytes(data), address)
        try:
            self._given += size
            self._outbox.append(datagram)
            self._request()
        except BaseException:
            self._request()
            raise
        return True

    @completed
    def close(self) -> None:
        """Free the port. Queued datagrams are still sent.

        A `listen_packet` on the same port that comes after this call finds it free.
        """
        self.closed = True
        self._request()
        self.wake_all()

    @property
    def has_news(self) -> bool:
        """Whether `take` would return a datagram or raise now, or the pipe was closed."""
        return bool(self._inbox) or self.closed or self._icmp is not None

    @property
    def has_room(self) -> bool:
        """Whether `give` would take a datagram of any size, or the pipe was closed."""
        return not self._outbox or self._given - self._taken <= QUEUE_BYTES // 2 or self.closed

    # --- the node's side ------------------------------------------------------------------------------------

    def service(self, now: float) -> None:
        self.scheduled = False
        if self.endpoint.is_closed:
            return
        closed = self.closed
        if closed and self.direct is not None:
            self.direct()  # the bridge hands over what its application sent before the close
        self._push(now)
        if closed:
            self.endpoint.close()
            self._runner.forget(self.endpoint)
        else:
            self._pull()

    def _push(self, now: float) -> None:
        while self._outbox:
            data, (host, port) = self._outbox[0]
            try:
                if not self.endpoint.send(data, now, ip_address(host), port):
                    self._request()  # the next transmit makes room
                    break
            except NetstackError:  # the node has no address of that family any more: the datagram is lost
                self.dropped += 1
            self._outbox.popleft()
            self._taken += len(data) + DATAGRAM_COST
        if self.writer.waiter is not None and (not self._outbox or self._given - self._taken <= QUEUE_BYTES // 2):
            self.writer.wake()

    def _pull(self) -> None:
        while self._has_inbox_room() and (datagram := self.endpoint.receive()) is not None:
            self._inbox.append((datagram.payload, (str(datagram.address), datagram.port)))
            self._produced += len(datagram.payload) + DATAGRAM_COST
        if self.remote is not None and self.endpoint.take_error() is not None:
            self._icmp = DialRefused(f"{self.remote[0]}:{self.remote[1]} answers that nothing listens on that UDP port")
        if self.has_news:
            self.reader.wake()
            if self.direct is not None:
                self.direct()

    def _has_inbox_room(self) -> bool:
        """Whether the inbox has room for any datagram. If not, `take` sees `_starved` and requests a service once half
        is free.

        The counters are looked at again after the flag is set, so that no request is missed in between.
        """
        self._starved = self._produced - self._consumed > QUEUE_BYTES - MAX_PAYLOAD - DATAGRAM_COST
        if self._starved and self._produced - self._consumed <= QUEUE_BYTES // 2:
            self._starved = False
        return not self._starved

    def end(self, now: float) -> None:
        """The node closes: queued datagrams are still sent."""
        self.closed = True
        self.service(now)
        self.fail(NotUp("the node was closed"))

    def fail(self, error: Error) -> None:
        """The node is gone. What has arrived can still be taken, then `take` raises the error. A bridge ends now."""
        self.error = error
        self.closed = True
        self.wake_all()
        if self.direct is not None:
            self.direct()

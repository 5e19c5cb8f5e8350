"""Between an application and a UDP endpoint: two bounded deques of whole datagrams.

Datagrams keep their boundaries. A full inbox drops the newest, as a kernel does; a full outbox makes `send` say so.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from ipaddress import ip_address
from typing import Protocol

from netstack import NetstackError, UdpEndpoint
from tsnet.edge.pipes import Wake
from tsnet.errors import DialRefused, Error, NotUp

QUEUE_BYTES = 1024 * 1024
MAX_PAYLOAD = 65_507
Address = tuple[str, int]


class Runner(Protocol):
    def schedule(self, pipe: PacketPipe) -> None: ...


class PacketPipe:
    """remote: for a dialled one, the only address it speaks with."""

    __slots__ = (
        "__weakref__",
        "_consumed",
        "_given",
        "_inbox",
        "_outbox",
        "_produced",
        "_read_wake",
        "_runner",
        "_taken",
        "_write_wake",
        "closed",
        "direct",
        "dropped",
        "endpoint",
        "error",
        "local",
        "remote",
        "scheduled",
    )

    def __init__(self, endpoint: UdpEndpoint, runner: Runner, local: Address, remote: Address | None) -> None:
        self.endpoint = endpoint
        self.local, self.remote = local, remote
        self.scheduled = self.closed = False
        self.error: Error | None = None
        self.dropped = 0
        self.direct: Callable[[], None] | None = None
        self._runner = runner
        self._inbox: deque[tuple[bytes, Address]] = deque()
        self._outbox: deque[tuple[bytes, Address]] = deque()
        self._produced = self._consumed = self._given = self._taken = 0
        self._read_wake: Wake | None = None
        self._write_wake: Wake | None = None

    # --- the application's side -----------------------------------------------------------------------------

    def take(self) -> tuple[bytes, Address] | None:
        """The oldest datagram and its sender, or None when there is none yet."""
        if not self._inbox:
            if self.error is not None:
                error, self.error = self.error, None
                raise error
            return None
        datagram = self._inbox.popleft()
        self._consumed += len(datagram[0])
        return datagram

    def give(self, data: bytes, address: Address) -> bool:
        if self._given - self._taken + len(data) > QUEUE_BYTES:
            return False
        self._outbox.append((bytes(data), address))
        self._given += len(data)
        self._request()
        return True

    def close(self) -> None:
        self.closed = True
        self._request()
        self._wake_all()

    def when_readable(self, wake: Wake) -> bool:
        self._read_wake = wake
        if self._inbox or self.closed or self.error is not None:
            self._read_wake = None
            return False
        return True

    def when_writable(self, wake: Wake) -> bool:
        self._write_wake = wake
        if self._given - self._taken <= QUEUE_BYTES // 2 or self.closed:
            self._write_wake = None
            return False
        return True

    def _request(self) -> None:
        if not self.scheduled:
            self.scheduled = True
            self._runner.schedule(self)

    # --- the node's side ------------------------------------------------------------------------------------

    def service(self, now: float) -> None:
        self.scheduled = False
        endpoint = self.endpoint
        while self._outbox:
            data, (host, port) = self._outbox[0]
            try:
                if not endpoint.send(data, now, ip_address(host), port):
                    break
            except NetstackError:  # no address of that family any more: as lost as on any network
                self.dropped += 1
            self._outbox.popleft()
            self._taken += len(data)
        if self.closed:
            endpoint.close()
            return
        self._pull()
        if self._write_wake is not None and self._given - self._taken <= QUEUE_BYTES // 2:
            self._wake_writer()

    def _pull(self) -> None:
        while (datagram := self.endpoint.receive()) is not None:
            data, address, port = datagram.payload, datagram.address, datagram.port
            if self._produced - self._consumed + len(data) > QUEUE_BYTES:
                self.dropped += 1
            else:
                self._inbox.append((data, (str(address), port)))
                self._produced += len(data)
        if self.remote is not None and self.endpoint.take_error() is not None:
            self.error = DialRefused(
                f"{self.remote[0]}:{self.remote[1]} answers that nothing listens on that UDP port"
            )
        if self._inbox or self.error is not None:
            self._wake_reader()
            if self.direct is not None:
                self.direct()

    def end(self, now: float) -> None:
        """The node closes: what is queued is still sent."""
        self.closed = True
        self.service(now)
        self.fail(NotUp("the node was closed"))

    def fail(self, error: Error) -> None:
        self.error = error
        self.closed = True
        self._wake_all()

    def _wake_all(self) -> None:
        if self.direct is not None:
            self.direct()
        self._wake_reader()
        self._wake_writer()

    def _wake_reader(self) -> None:
        wake, self._read_wake = self._read_wake, None
        if wake is not None:
            wake()

    def _wake_writer(self) -> None:
        wake, self._write_wake = self._write_wake, None
        if wake is not None:
            wake()

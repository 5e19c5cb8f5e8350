"""Between an application and a TCP connection: two bounded deques, one for each direction.

    application's side (any thread)          node's side (the node's thread, once a turn)
    give(data) ── outbox ──►                  service(): outbox -> connection.write
    take()     ◄── inbox ──                              connection.read -> inbox, wake whoever waits

`append` and `popleft` of a deque are atomic, each counter has one writer: no locks. A full inbox leaves the bytes in
the connection, whose window then closes; a full outbox makes `give` take nothing. Waiters are woken once a turn, and
only those who wait.

Not here: waiting itself (`streams` for tasks, `sockets` for descriptors).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from netstack import TcpConnection
from tsnet.errors import DialTimeout, Error, HostUnreachable, NotUp, StreamReset

INBOX_LIMIT = 512 * 1024
OUTBOX_LIMIT = 512 * 1024
READ_SIZE = 256 * 1024
Wake = Callable[[], None]


class Runner(Protocol):
    """What a pipe needs of the node's thread."""

    def schedule(self, pipe: Pipe) -> None:
        """Call `pipe.service` in the next turn; from any thread."""
        ...


class Pipe:
    """One TCP connection as its application holds it. The connection itself is touched in the node's thread only."""

    __slots__ = (
        "__weakref__",
        "_closing",
        "_consumed",
        "_eof_sent",
        "_given",
        "_inbox",
        "_outbox",
        "_produced",
        "_read_wake",
        "_runner",
        "_starved",
        "_taken",
        "_write_wake",
        "abort_requested",
        "connection",
        "direct",
        "ended",
        "error",
        "finishing",
        "local",
        "remote",
        "scheduled",
        "write_error",
    )

    def __init__(
        self, connection: TcpConnection, runner: Runner, local: tuple[str, int], remote: tuple[str, int]
    ) -> None:
        self.connection = connection
        self.local, self.remote = local, remote
        self.scheduled = False
        self.ended = False
        self.finishing = False
        self.abort_requested = False
        self.error: Error | None = None
        self.write_error: Error | None = None
        self.direct: Callable[[], None] | None = None
        self._runner = runner
        self._inbox: deque[bytes] = deque()
        self._outbox: deque[bytes] = deque()
        self._produced = self._consumed = self._given = self._taken = 0
        self._starved = self._eof_sent = self._closing = False
        self._read_wake: Wake | None = None
        self._write_wake: Wake | None = None

    # --- the application's side -----------------------------------------------------------------------------

    def take(self, max_bytes: int) -> bytes | None:
        """At most max_bytes of what has arrived; b"" when there is nothing yet, None at the end of the stream."""
        inbox = self._inbox
        if not inbox:
            if self.error is not None and not inbox:
                raise self.error
            return None if self.ended and not inbox else b""
        chunk = inbox.popleft()
        if len(chunk) > max_bytes:
            inbox.appendleft(chunk[max_bytes:])
            chunk = chunk[:max_bytes]
        self._consumed += len(chunk)
        if self._starved and self._produced - self._consumed <= INBOX_LIMIT // 2:
            self._starved = False
            self._request()
        return chunk

    def give(self, data: bytes | memoryview) -> int:
        """Queue some of the data; returns how many bytes were taken, 0 when the outbox is full."""
        if self.write_error is not None:
            raise self.write_error
        room = OUTBOX_LIMIT - (self._given - self._taken)
        if room <= 0:
            return 0
        piece = bytes(data[:room])
        self._outbox.append(piece)
        self._given += len(piece)
        self._request()
        return len(piece)

    def finish(self) -> None:
        """No more data from us: FIN follows what is queued."""
        self.finishing = True
        self._request()

    def abort(self) -> None:
        """Reset the connection; what is queued either way is lost."""
        self.abort_requested = True
        self._request()

    def close(self) -> None:
        """Let the connection go: what is queued is still sent; what arrives is not wanted any more."""
        self._closing = True
        self._request()

    @property
    def has_news(self) -> bool:
        """Whether `take` would say something now."""
        return bool(self._inbox) or self.ended or self.error is not None

    def when_readable(self, wake: Wake) -> bool:
        """Call `wake` once `take` has something to say; returns False if it has already (and does not call)."""
        self._read_wake = wake
        if self.has_news:
            self._read_wake = None
            return False
        return True

    def when_writable(self, wake: Wake) -> bool:
        self._write_wake = wake
        if self._given - self._taken < OUTBOX_LIMIT or self.write_error is not None:
            self._write_wake = None
            return False
        return True

    def _request(self) -> None:
        if not self.scheduled:
            self.scheduled = True
            self._runner.schedule(self)

    # --- the node's side ------------------------------------------------------------------------------------

    def take_queued(self, max_bytes: int) -> bytes:
        """What had arrived before a bridge took over, without the end or the error behind it."""
        return self.take(max_bytes) or b"" if self._inbox else b""

    def service(self, now: float) -> None:
        """Move what can move, notice what has ended, wake who can go on."""
        self.scheduled = False
        if self.direct is not None:
            self.direct()
            return
        connection = self.connection
        if self.abort_requested:
            connection.abort(now)
        self._push(now)
        self._pull(now)
        if connection.error is not None:
            self._fail(stream_error(connection.error, self.remote))
        if self._closing and not self._outbox:
            connection.close(now)

    def _push(self, now: float) -> None:
        outbox, write = self._outbox, self.connection.write
        while outbox and self.write_error is None:
            chunk = outbox[0]
            accepted = write(chunk, now)
            if accepted <= 0:
                break
            self._taken += accepted
            if accepted < len(chunk):
                outbox[0] = chunk[accepted:]
                break
            outbox.popleft()
        if self.finishing and not outbox and not self._eof_sent:
            self._eof_sent = True
            self.connection.shutdown_write(now)
        if self._write_wake is not None and self._given - self._taken <= OUTBOX_LIMIT // 2:
            self._wake_writer()

    def _pull(self, now: float) -> None:
        if self._closing or self.ended:
            return
        connection = self.connection
        room = INBOX_LIMIT - (self._produced - self._consumed)
        while room > 0:
            data = connection.read(min(room, READ_SIZE))
            if not data:
                break
            self._inbox.append(data)
            self._produced += len(data)
            room -= len(data)
        self._starved = room <= 0
        if connection.eof and not self._starved:
            self.ended = True
        if self._read_wake is not None and (self._inbox or self.ended):
            self._wake_reader()

    def _fail(self, error: Error) -> None:
        """The connection is gone. What arrived before stays readable; then the error, or the end if it came first."""
        self.write_error = error
        if not self.ended:
            self.error = error
        self._wake_reader()
        self._wake_writer()

    def end(self, now: float) -> None:
        """The node closes: what is queued is still sent, then FIN."""
        self.finishing = self._closing = True
        self.service(now)

    def fail(self, error: Error) -> None:
        """The node goes away under the connection."""
        if self.error is None and self.write_error is None:
            self._fail(error)

    def _wake_reader(self) -> None:
        wake, self._read_wake = self._read_wake, None
        if wake is not None:
            wake()

    def _wake_writer(self) -> None:
        wake, self._write_wake = self._write_wake, None
        if wake is not None:
            wake()


def stream_error(code: str, remote: tuple[str, int]) -> Error:
    """The stack's error code as the error that a stream raises."""
    peer = f"{remote[0]}:{remote[1]}"
    match code:
        case "timeout":
            return DialTimeout(f"{peer} stopped answering: the stream timed out; check that the peer is online")
        case "unreachable":
            return HostUnreachable(f"{peer} became unreachable")
        case "aborted":
            return StreamReset(f"the stream to {peer} was aborted by this side", ended_by="us")
        case "closed":
            return NotUp(f"the node was closed under the stream to {peer}")
        case _:
            return StreamReset(f"{peer} reset the stream", ended_by="peer")

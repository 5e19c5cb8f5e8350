"""Between an application and a TCP connection: two bounded deques, one for each direction.

    application's side (any thread)          node's side (the node's thread, once a turn)
    give(data) ── outbox ──►                  service(): outbox -> connection.write
    take()     ◄── inbox ──                              connection.read -> inbox, wake the waiter

Each step on a deque is atomic and each counter has one writer, so there are no locks. When the inbox is full, bytes
stay in the connection, whose window then closes; when the outbox is full, `give` takes nothing. Waiters are woken once
a turn.

A bridge to a real descriptor runs in the node's thread and needs no second pair of buffers. It sets `directpath`, which
each service calls, and uses the connection itself (`edge.pipes.unbuffered`).

An interrupted `take` (Ctrl-C) takes nothing, or takes data that it then cannot return, as an interrupted `recv` does.
An interrupted `give` queues nothing, or all that it would have queued. The counters are right either way.

Not here: waiting itself (`streams` for tasks, `sockets` for descriptors).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import TYPE_CHECKING

from netstack import errors
from tsnet.edge.pipes.waiters import Runner, Waiters, completed
from tsnet.errors import DialTimeout, Error, HostUnreachable, NotUp, StreamReset, again

if TYPE_CHECKING:
    from netstack import TcpConnection

INBOX_LIMIT = 512 * 1024
MAX_CHUNKS = 4096
"""In an inbox, where each chunk costs as much as some fifty bytes. Beyond it the connection keeps and joins them."""

OUTBOX_LIMIT = 512 * 1024
READ_SIZE = 256 * 1024


class Pipe(Waiters):
    """One TCP connection, as its application holds it. Only the node's thread uses the connection itself.

    error: reading ends with it instead of the end of stream. write_error: why `give` takes nothing more.
    ended: the end of stream has come. finishing: FIN follows what is queued.
    refused: a bridge holds bytes that the connection had no room for.
    gone: the node is gone, and nothing services this pipe any more.
    """

    __slots__ = (
        "_closing",
        "_consumed",
        "_eof_sent",
        "_given",
        "_inbox",
        "_outbox",
        "_produced",
        "_starved",
        "_taken",
        "abort_requested",
        "connection",
        "ended",
        "error",
        "finishing",
        "gone",
        "local",
        "refused",
        "remote",
        "write_error",
    )

    def __init__(
        self, connection: TcpConnection, runner: Runner, local: tuple[str, int], remote: tuple[str, int]
    ) -> None:
        super().__init__(runner)
        self.connection: TcpConnection = connection
        self.local: tuple[str, int] = local
        self.remote: tuple[str, int] = remote
        self.ended: bool = False
        self.finishing: bool = False
        self.abort_requested: bool = False
        self.refused: bool = False
        self.gone: bool = False
        self.error: Error | None = None
        self.write_error: Error | None = None
        self._inbox: deque[bytes] = deque()
        self._outbox: deque[bytes] = deque()
        self._produced = self._consumed = self._given = self._taken = 0
        self._starved = self._eof_sent = self._closing = False

    @property
    def peer(self) -> Hashable:
        """Who counts as the other end in limits: the same for all addresses of a node."""
        link = self.connection.link
        return self.remote[0] if link is None else link

    # --- the application's side -----------------------------------------------------------------------------

    def take(self, max_bytes: int) -> bytes | None:
        """At most max_bytes of what has arrived: b"" if there is nothing yet, None at the end. Raises `error`."""
        inbox = self._inbox
        if inbox and not inbox[0]:
            del inbox[0]  # an interrupted call has taken this chunk and left the empty rest
        if not inbox:
            if self._starved:
                self._request()  # an interrupted call may not have asked for more
            if self.error is not None and not inbox:
                raise again(self.error)
            return None if (self.ended or self._closing) and not inbox else b""
        chunk = inbox[0]
        rest = chunk[max_bytes:]
        taken = chunk[:max_bytes] if rest else chunk
        consumed = self._consumed + len(taken)
        inbox[0], self._consumed = rest, consumed  # one step: an interrupt comes before both or after both
        if not rest:
            del inbox[0]
        if self._starved and self._is_inbox_half_empty():
            self._request()
        return taken

    def give(self, data: bytes | memoryview) -> int:
        """Queue as much of the data as there is room for. Returns how many bytes. Raises `write_error`."""
        if self.write_error is not None:
            raise again(self.write_error)
        if not self._outbox:
            self._given = self._taken  # they differ if an interrupt came between the two steps below
        room = OUTBOX_LIMIT - (self._given - self._taken)
        if room <= 0 or not data:
            return 0
        piece = bytes(data[:room])
        size = len(piece)
        try:
            self._given += size
            self._outbox.append(piece)
            self._request()
        except BaseException:
            self._request()
            raise
        return size

    @completed
    def finish(self) -> None:
        """Give no more data: FIN follows what is queued."""
        self.finishing = True
        self._request()
        self.writer.wake()

    @completed
    def abort(self) -> None:
        """Reset the connection. What is queued in either direction is lost."""
        self.abort_requested = True
        self.close()

    @completed
    def close(self) -> None:
        """Close the connection. What is queued is still sent; what arrives is dropped."""
        self._closing = True
        self._request()
        self.wake_all()

    @property
    def is_open(self) -> bool:
        """Whether somebody has to close it: it was not closed, has not broken, has not ended in both directions."""
        is_over = self._closing or self.gone or self.write_error is not None
        return not (is_over or (self.ended and self.finishing))

    @property
    def has_news(self) -> bool:
        """Whether `take` would return data or the end, or raise, or the pipe was closed."""
        return bool(self._inbox) or self.ended or self.error is not None or self._closing

    @property
    def has_room(self) -> bool:
        """Whether `give` would take something or raise, or the pipe was closed or finished."""
        is_over = self.write_error is not None or self.finishing or self._closing
        return is_over or not self._outbox or self._given - self._taken < OUTBOX_LIMIT

    # --- the node's side ------------------------------------------------------------------------------------

    def take_queued(self, max_bytes: int) -> bytes:
        """Bytes that had arrived before a bridge took over; b"" if there are none left. Never the end or an error."""
        return self.take(max_bytes) or b"" if self._inbox else b""

    @property
    def has_queued(self) -> bool:
        """Whether bytes that were given before a bridge took over still wait for room."""
        return bool(self._outbox)

    def service(self, now: float) -> None:
        """Move what can be moved, see what has ended, and wake those who can go on."""
        self.scheduled = False
        connection = self.connection
        self._push(now)
        if self.direct is not None:
            self.direct()
        else:
            self._pull()
        if self.abort_requested:  # after the bridge, which may just have asked for it. It comes before any FIN
            connection.abort(now)
        if self.finishing and not self._eof_sent and not self._outbox and not self.refused:
            self._eof_sent = True
            connection.shutdown_write(now)
        if connection.error is not None:
            self._fail(stream_error(connection.error, self.remote))
        if self._closing and not self._outbox:
            self._eof_sent = True
            connection.close(now)
            self._runner.forget(connection)
        elif connection.finished and self.direct is None and not self._starved:
            self._runner.forget(connection)

    def _push(self, now: float) -> None:
        outbox, write = self._outbox, self.connection.write
        if self._eof_sent:
            outbox.clear()  # this was given just after the node began to close
        while outbox:
            chunk = outbox[0]
            accepted = write(chunk, now)
            if accepted <= 0:
                break
            self._taken += accepted
            if accepted < len(chunk):
                outbox[0] = chunk[accepted:]
                break
            outbox.popleft()
        if self.writer.waiter is not None and (not outbox or self._given - self._taken <= OUTBOX_LIMIT // 2):
            self.writer.wake()

    def _pull(self) -> None:
        connection = self.connection
        if self._closing or self.ended or not connection.readable:
            return
        while self._has_inbox_room():
            data = connection.read(READ_SIZE)
            if not data:
                break
            self._inbox.append(data)
            self._produced += len(data)
            if len(data) < READ_SIZE:
                break
        if connection.eof:
            self.ended = True
        if self._inbox or self.ended:
            self.reader.wake()

    def _has_inbox_room(self) -> bool:
        """Whether the inbox has room. If not, `take` sees `_starved` and requests a service once half is free.

        The counters are looked at again after the flag is set, so that no request is missed in between.
        """
        self._starved = self._produced - self._consumed >= INBOX_LIMIT or len(self._inbox) >= MAX_CHUNKS
        if self._starved and self._is_inbox_half_empty():
            self._starved = False
        return not self._starved

    def _is_inbox_half_empty(self) -> bool:
        return self._produced - self._consumed <= INBOX_LIMIT // 2 and len(self._inbox) <= MAX_CHUNKS // 2

    def _fail(self, error: Error) -> None:
        """The connection is gone. What has arrived can still be read, then the error, or the end if that came first."""
        self.write_error = error
        if not self.ended:
            self.error = error
        self._outbox.clear()
        self.wake_all()

    def end(self, now: float) -> None:
        """The node closes: what is queued is still sent, and then FIN."""
        closing = NotUp("the node is closing")
        self.write_error = closing
        self.finishing = True
        if self.direct is None:
            self._closing = True
            self.error = None if self.ended else closing
        self.service(now)
        self.wake_all()

    def fail(self, error: Error) -> None:
        """The node is gone, and the connection with it. A bridge ends now, because nobody will call it again."""
        self.gone = True
        if self.error is None:
            self._fail(error)
        if self.direct is not None:
            self.direct()


def stream_error(code: str, remote: tuple[str, int]) -> Error:
    """The error that a stream raises for the stack's error code."""
    peer = f"{remote[0]}:{remote[1]}"
    match code:
        case errors.TIMEOUT:
            return DialTimeout(f"{peer} stopped answering: the stream timed out; check that the peer is online")
        case errors.UNREACHABLE:
            return HostUnreachable(f"{peer} became unreachable")
        case errors.ABORTED:
            return StreamReset(f"the stream to {peer} was aborted by this side", ended_by="us")
        case _:
            return StreamReset(f"{peer} reset the stream", ended_by="peer")

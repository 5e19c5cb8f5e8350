"""One connected TCP socket: its write buffer, and the steps before it carries a link's bytes.

    connected ──> proxy's answer? ──> first byte looked at? ──> TLS handshake? ──> open ──> ended

Reading takes what one `recv` gives, up to 256 KiB. `write` queues; `flush` joins what is queued, seals it and sends it.
Bytes that the socket refuses wait, and `wants_to_write` is then true. The owner bounds the buffer (WRITE_LIMIT).

Not here: the table of links, their events, their end (`links`, `listeners`).
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from tsnet.base.links import Link
from tsnet.edge.io.proxy import ConnectFailed, read_answer

if TYPE_CHECKING:
    from tsnet.edge.io.tls import TlsSession

READ_SIZE = 256 * 1024
WRITE_LIMIT = 1 << 20
TLS_HANDSHAKE = 0x16
_AT_ONCE = struct.pack("ii", 1, 0)


class Ended(Exception):
    """The connection is over. str() is the reason for `Closed`."""


class Channel:
    """start_tls: opens the TLS session when its turn comes; None for plain bytes.

    proxy_request: the request to the proxy at the other end, whose answer comes before anything else.
    sniff_tls: the first byte decides whether the other end speaks TLS.
    buffer: `receive` reads into it. All channels of an owner share one, because nothing in it outlives the call.
    """

    __slots__ = (
        "_buffer",
        "_proxy_answer",
        "_queued",
        "_queued_size",
        "_sniff",
        "_start_tls",
        "_unsent",
        "_write_error",
        "has_ended",
        "is_aborted",
        "is_full",
        "is_paused",
        "link",
        "session",
        "socket",
    )

    def __init__(
        self,
        link: Link,
        sock: socket.socket,
        buffer: memoryview,
        *,
        start_tls: Callable[[], TlsSession] | None = None,
        proxy_request: bytes | None = None,
        sniff_tls: bool = False,
    ) -> None:
        self.link: Link = link
        self.socket: socket.socket = sock
        self._buffer = buffer
        self.session: TlsSession | None = None
        self.has_ended: bool = False
        """The other end will send no more."""
        self.is_aborted: bool = False
        self.is_full: bool = False
        self.is_paused: bool = False
        self._start_tls = start_tls
        self._sniff = sniff_tls
        self._proxy_answer = b"" if proxy_request else None
        self._queued: list[bytes] = []
        self._queued_size = 0
        self._unsent: memoryview | bytes = proxy_request or b""
        self._write_error = ""
        if not proxy_request and not sniff_tls:
            self._begin()

    @property
    def is_open(self) -> bool:
        """Whether the link's own bytes can flow."""
        if self._proxy_answer is not None or self._sniff:
            return False
        return self.session is None or self.session.is_up

    @property
    def has_more(self) -> bool:
        """Whether `receive` would give out bytes that it has read before."""
        return self.session is not None and self.session.has_more

    @property
    def awaits_proxy(self) -> bool:
        """Whether the proxy at the other end has not let the link through yet."""
        return self._proxy_answer is not None

    @property
    def pending(self) -> int:
        """Bytes that were written and that the kernel has not taken yet."""
        return self._queued_size + len(self._unsent)

    @property
    def wants_to_write(self) -> bool:
        return bool(self._unsent)

    # --- in -----------------------------------------------------------------------------------------------------

    def receive(self) -> bytes:
        """The link's bytes that have come, perhaps none. Raises Ended when the connection is over."""
        if self.has_more:
            return self._receive_tls(self._buffer[:0])
        try:
            size = self.socket.recv_into(self._buffer)
        except BlockingIOError:
            return b""
        except OSError:
            self.has_ended = True
            raise Ended(self._write_error or "reset") from None
        if not size:
            self.has_ended = True
            raise Ended(self._write_error or "eof")
        return self._received(self._buffer[:size])

    def _received(self, data: memoryview) -> bytes:
        if self._proxy_answer is not None:
            return self._receive_answer(bytes(data))
        if self._sniff:
            self._sniff = False
            if data[0] != TLS_HANDSHAKE:
                self._start_tls = None
            self._begin()
        if self.session is None:
            return bytes(data)
        return self._receive_tls(data)

    def _receive_answer(self, data: bytes) -> bytes:
        try:
            rest = read_answer((self._proxy_answer or b"") + data)
        except ConnectFailed as refused:
            raise Ended(str(refused)) from None
        if rest is None:
            self._proxy_answer = (self._proxy_answer or b"") + data
            return b""
        self._proxy_answer = None
        self._begin()
        if self.session is None or not rest:
            return rest
        return self._receive_tls(memoryview(rest))

    def _receive_tls(self, data: memoryview) -> bytes:
        from tsnet.edge.io.tls import TlsFailed

        assert self.session is not None
        try:
            plaintext = self.session.receive(data)
        except TlsFailed as failed:
            self.flush()  # the alert
            raise Ended(str(failed)) from None
        self.has_ended = self.session.has_ended
        return plaintext

    def _begin(self) -> None:
        if self._start_tls is None:
            return
        from tsnet.edge.io.tls import TlsFailed

        try:
            self.session = self._start_tls()
        except TlsFailed as failed:
            raise Ended(str(failed)) from None

    # --- out ----------------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        self._queued.append(data)
        self._queued_size += len(data)

    def flush(self) -> None:
        """Send what can be sent. `receive` reports an error of this, once it has given out what had arrived before."""
        if self._unsent:
            self._send(self._unsent)
        while not self._unsent:
            data = self._next_to_send()
            if not data:
                return
            self._send(data)

    def end(self) -> None:
        """Tell the other end that nothing more will be written. Call it only when everything is."""
        if self.session is not None:
            self.session.end()
            self.flush()
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.has_ended = True

    def abort(self) -> None:
        """Let the kernel, too, forget what it has not sent, once the socket is closed: the other end gets a reset."""
        self.is_aborted = True
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)

    def _next_to_send(self) -> bytes:
        session = self.session
        if session is None:
            return self._take_queued() if self.is_open else b""
        if session.is_up and self._queued:
            self._seal(session, self._take_queued())
        return session.take()

    def _seal(self, session: TlsSession, data: bytes) -> None:
        from tsnet.edge.io.tls import TlsFailed

        try:
            session.send(data)
        except TlsFailed as failed:
            self._write_error = str(failed)
            with contextlib.suppress(OSError):
                self.socket.shutdown(socket.SHUT_RD)  # makes the socket readable, so that `receive` reports the error

    def _take_queued(self) -> bytes:
        if not self._queued:
            return b""
        data = self._queued[0] if len(self._queued) == 1 else b"".join(self._queued)
        self._queued.clear()
        self._queued_size = 0
        return data

    def _send(self, data: memoryview | bytes) -> None:
        try:
            sent = 0 if self._write_error else self.socket.send(data)
        except BlockingIOError:
            self._unsent = data
            return
        except OSError:
            self._write_error = "reset"
            sent = 0
        # a broken connection swallows what is written to it
        self._unsent = b"" if self._write_error or sent == len(data) else memoryview(data)[sent:]

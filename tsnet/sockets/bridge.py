"""The node's end of a bridged socket: callbacks that move bytes between a descriptor and a stream.

    from the application      inner.recv  -> NodeStream.write_some       its shutdown -> send_eof
    to the application        NodeStream.read_available -> inner.send    the peer's end -> shutdown

    application closes        what it sent is delivered, then NodeStream.close; with SO_LINGER (1, 0): NodeStream.abort
    peer resets               what came before is delivered, then the descriptor ends and SideChannel.error tells why
    node is gone              what came before is delivered as far as it fits, then as above; in the thread that notices

One step moves all that both sides can take. Each direction holds at most one chunk that the other side refused.

Not here: the socket that the application holds (`connected`), pipes (`tsnet.edge.pipes`).
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from tsnet.edge.io.reactor import READ, WRITE, Reactor
from tsnet.errors import Error
from tsnet.sockets.connected import SideChannel, TailnetSocket, os_error
from tsnet.sockets.handover import release_of
from tsnet.sockets.pairs import closed_on_error, stream_pair

if TYPE_CHECKING:
    from tsnet.protocols import Address

CHUNK = 64 * 1024
_TELLS_ITS_END = frozenset({getattr(socket, "AF_UNIX", None)})


class NodeStream(Protocol):
    """A stream as the node's thread uses it. Nothing here blocks."""

    local_address: Address
    remote_address: Address

    @property
    def gone(self) -> Error | None:
        """Why the node is gone, or None. Once it is gone, `on_change` does not call back any more."""
        ...

    def read_available(self, max_bytes: int) -> bytes | None:
        """The bytes that have come: b"" for none yet, None at the end. After them, raises what broke the stream."""
        ...

    def write_some(self, data: bytes) -> int:
        """Take as much as there is room for; returns how much. Raises OSError or `tsnet.Error` on a broken stream."""
        ...

    def send_eof(self) -> None:
        """Nothing more will be written."""
        ...

    def close(self) -> None:
        """Nobody reads or writes any more: deliver what was written, end in order, reset if more data comes."""
        ...

    def abort(self) -> None:
        """Reset now."""
        ...

    def on_change(self, callback: Callable[[], None] | None) -> None:
        """Call back in the node's thread whenever the answer of `read_available` or `write_some` may be new.

        It calls back once more, in any thread, when the node is gone, at once if it already is. None: call no more. Any
        thread may call this.
        """
        ...


def bridge(pipe: NodeStream, reactor: Reactor) -> TailnetSocket:
    """A socket in place of the pipe, which belongs to the bridge from now on. Any thread may call this.

    If it fails or is interrupted, no descriptor is left, and the pipe is still the caller's.
    """
    inner, outer = stream_pair()
    with closed_on_error(inner, outer):
        node_end = Bridge(pipe, inner, reactor)
        application = TailnetSocket(release_of(outer), pipe.local_address, pipe.remote_address, node_end.link)
    with closed_on_error(application):  # not `inner`: the node's thread may use it from now on
        pipe.on_change(node_end.step)
        reactor.call_soon(node_end.step)
    return application


class Bridge:
    """One connection's two directions.

    The node's thread calls `step`. Once that thread is dead, the one that notices it calls `step`. The lock guards the
    moment in between.
    """

    __slots__ = (
        "_from_application_done",
        "_heard",
        "_incoming",
        "_inner",
        "_interest",
        "_lock",
        "_on_end",
        "_outgoing",
        "_pipe",
        "_reactor",
        "_to_application_done",
        "ended",
        "link",
    )

    def __init__(
        self, pipe: NodeStream, inner: socket.socket, reactor: Reactor, on_end: Callable[[], None] | None = None
    ) -> None:
        self._pipe, self._inner, self._reactor, self._on_end = pipe, inner, reactor, on_end
        self._incoming = memoryview(b"")  # read from the pipe, refused by the descriptor
        self._outgoing = b""  # read from the descriptor, refused by the pipe
        self._to_application_done = self._from_application_done = False
        self._interest = 0
        self._heard = False  # whether the application has sent anything
        self._lock = threading.RLock()
        self.ended: bool = False
        self.link: SideChannel = SideChannel(self._closed_elsewhere)

    def start(self) -> None:
        self._pipe.on_change(self.step)
        self.step()

    def step(self, mask: int = 0) -> None:
        """Move what can be moved, then wait until more can."""
        with self._lock:
            if self.ended:
                return
            self._from_application()
            self._to_application()
            if self._from_application_done and not self._to_application_done and self._application_closed():
                self._to_application_done = True
            if not self.ended:
                self._end_or_wait()

    def _end_or_wait(self) -> None:
        gone = self._pipe.gone
        if gone is not None:
            self._fail(gone)
        elif self._from_application_done and self._to_application_done:
            self._end()
        else:
            self._watch()

    # --- the application writes ---------------------------------------------------------------------------------

    def _from_application(self) -> None:
        while not self._from_application_done:
            if not self._outgoing and not self._receive():
                return
            try:
                taken = self._pipe.write_some(self._outgoing)
            except (OSError, Error):
                # what the peer sent before the stream broke may still be unread: `_to_application` finds the end
                self._outgoing, self._from_application_done = b"", True
                return
            if not taken:
                return
            self._outgoing = self._outgoing[taken:]

    def _receive(self) -> bool:
        try:
            self._outgoing = self._inner.recv(CHUNK)
        except BlockingIOError:
            return False
        except OSError:  # the application closed its end with data unread, or its listener before it was accepted
            self._outgoing = b""
            self.link.reset = self.link.reset or not (self.link.accepted or self._heard)
        if not self._outgoing:
            self._application_ended()
        self._heard = True
        return bool(self._outgoing)

    def _application_ended(self) -> None:
        self._from_application_done = True
        if self.link.reset and self._application_closed():
            self._pipe.abort()
            self._end()
        elif not self._application_closed():
            self._pipe.send_eof()

    def _application_closed(self) -> bool:
        """Whether the application's end is closed, not only shut down, so that nobody will read.

        The kernel tells whether any copy is left, of which other processes may have some. A loopback pair knows it from
        the Python objects alone.
        """
        if self.link.closed and self._inner.family not in _TELLS_ITS_END:
            return True
        try:
            self._inner.send(b"")
        except BlockingIOError:
            return False
        except OSError:
            return True
        return False

    # --- the application reads ----------------------------------------------------------------------------------

    def _to_application(self) -> None:
        while not self._to_application_done:
            if not self._incoming and not self._read():
                return
            try:
                sent = self._inner.send(self._incoming)
            except BlockingIOError:
                return
            except OSError:  # the application reads no more; what it wrote is still delivered
                self._incoming, self._to_application_done = memoryview(b""), True
                return
            self._incoming = self._incoming[sent:]

    def _read(self) -> bool:
        try:
            data = self._pipe.read_available(CHUNK)
        except (OSError, Error) as error:
            self._fail(error)
            return False
        if data is None:
            self._to_application_done = True
            with contextlib.suppress(OSError):
                self._inner.shutdown(socket.SHUT_WR)
            return False
        self._incoming = memoryview(data)
        return bool(data)

    # --- waiting, ending ----------------------------------------------------------------------------------------

    def _watch(self) -> None:
        wants_read = not self._from_application_done and not self._outgoing
        interest = (READ if wants_read else 0) | (WRITE if self._incoming else 0)
        if interest == self._interest:
            return
        if not interest:
            self._reactor.remove(self._inner)
        elif self._interest:
            self._reactor.change(self._inner, interest)
        else:
            self._reactor.add(self._inner, interest, self.step)
        self._interest = interest

    def _closed_elsewhere(self) -> None:
        if not self.ended:
            self._reactor.call_soon(self.step)

    def _fail(self, error: OSError | Error) -> None:
        if not self._to_application_done:
            self.link.fail(os_error(error))
        self._end()

    def _end(self) -> None:
        """Close both sides: both directions are over, or the stream is broken."""
        self.ended = self._to_application_done = self._from_application_done = True
        self._pipe.on_change(None)
        self._pipe.close()
        if self._interest:
            self._reactor.remove(self._inner)
        with contextlib.suppress(OSError):  # a forked child may hold a copy that close alone would leave open
            self._inner.shutdown(socket.SHUT_RDWR)
        self._inner.close()
        if self._on_end is not None:
            self._on_end()

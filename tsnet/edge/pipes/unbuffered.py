"""A pipe without buffers, for code that runs in the node's thread itself: a bridge to a real descriptor.

It takes over a `Pipe`, with the bytes that had arrived for the application and those that it had given.
"""

from __future__ import annotations

from collections.abc import Callable

from tsnet.edge.pipes.pipes import Pipe, stream_error
from tsnet.edge.pipes.waiters import Turn
from tsnet.errors import Error


class UnbufferedPipe:
    """A `sockets.bridge.NodeStream`. All methods belong to the node's thread, but for `on_change`."""

    def __init__(self, pipe: Pipe, turn: Turn) -> None:
        self.local_address: tuple[str, int] = pipe.local
        self.remote_address: tuple[str, int] = pipe.remote
        self._pipe = pipe
        self._turn = turn
        self._connection = pipe.connection
        self.on_closed: Callable[[], None] | None = None
        """Called when the bridge has ended, perhaps twice."""

    def read_available(self, max_bytes: int) -> bytes | None:
        data = self._pipe.take_queued(max_bytes)
        if data:
            return data
        data = self._connection.read(max_bytes)
        if data:
            self._turn.mark()  # another turn soon: the window may open
            return data
        if self._connection.eof:
            return None
        self._raise_if_broken()
        return b""

    def write_some(self, data: bytes) -> int:
        self._raise_if_broken()
        if self._pipe.has_queued:
            self._pipe.refused = True
            return 0
        taken = self._connection.write(data, self._turn.now())
        self._pipe.refused = taken < len(data)
        if taken:
            self._turn.mark()
        return taken

    def _raise_if_broken(self) -> None:
        if self._connection.error is not None:
            raise stream_error(self._connection.error, self.remote_address)
        if self._pipe.error is not None:
            raise self._pipe.error

    @property
    def gone(self) -> Error | None:
        """The error with which the node went, once nobody services the pipe any more; else None."""
        return (self._pipe.error or self._pipe.write_error) if self._pipe.gone else None

    def send_eof(self) -> None:
        self._pipe.finish()

    def close(self) -> None:
        self._pipe.direct = None
        self._pipe.close()
        self._say_closed()

    def abort(self) -> None:
        self._pipe.direct = None
        self._pipe.abort()
        self._say_closed()

    def _say_closed(self) -> None:
        if self.on_closed is not None:
            self.on_closed()

    def on_change(self, callback: Callable[[], None] | None) -> None:
        """Call back in each service of the pipe, and when the node is gone (at once if it already is)."""
        self._pipe.direct = callback
        if callback is not None and self._pipe.gone:
            callback()

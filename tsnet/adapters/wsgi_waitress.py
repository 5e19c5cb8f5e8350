"""waitress around a listening socket of the tailnet.

waitress's loop runs in the caller's thread, one turn at a time, so that `stop` can end it in order: it accepts no more
connections and closes idle ones at once, busy ones after their answer or when the grace is over. Requests are handled
by `RequestThreads` in place of waitress's own, whose number is fixed.

waitress itself closes a connection after a time without a byte. A caller that sends one byte a second would hold it for
ever, so each connection has an instant by which the header of its next request must be there.

Not here: who calls (`wsgi.IdentityMiddleware`), how many connections there may be (the listening socket).
"""

from __future__ import annotations

import errno
import math
import socket
import threading
import time
from collections.abc import Callable, Hashable
from typing import Any

from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.server import create_server

from tsnet.adapters.request_threads import RequestThreads
from tsnet.adapters.web_limits import THREADS, WebLimits
from tsnet.edge.io.descriptors import BUDGET, is_out

BODY_TIMEOUT = 60
"""Seconds without a byte of a request's body, or without a byte of the response that the caller takes."""

_TICK = 30.0  # seconds; waitress must look for connections that have been idle too long
_REST = 0.02  # seconds of the loop without a descriptor to accept with
_UNLIMITED = 1_000_000  # the listening socket has the limit, and a caller's share of it


class WaitressEngine:
    """caller: who has that address; the same for all addresses of one node."""

    def __init__(
        self,
        app: Any,
        listening: socket.socket,
        threads: int = THREADS,
        *,
        limits: WebLimits | None = None,
        caller: Callable[[str], Hashable] = str,
    ) -> None:
        limits = limits or WebLimits(threads=threads)
        self._shortest = min(limits.for_header, limits.for_keep_alive)
        self._threads: RequestThreads[Any] = RequestThreads(_serve, limits.threads)
        self._server: Any = create_server(
            app,
            sockets=[listening],
            connection_limit=_UNLIMITED,
            channel_timeout=BODY_TIMEOUT,
            asyncore_use_poll=True,
            log_socket_errors=False,
            ident=None,
            _dispatcher=_Dispatcher(self._threads, caller),
        )
        self._server.channel_class = _channel_class(limits.for_header, limits.for_keep_alive)
        self._accept = self._server.accept
        self._server.accept = self._accept_or_end
        self._deadline = math.inf
        self._look_at = time.monotonic() + self._shortest
        self._accepting = True
        self._ended = threading.Event()
        self._trigger_lock = threading.Lock()

    def run(self) -> None:
        try:
            while not self._over():
                wait = max(0.0, min(_TICK, self._deadline - time.monotonic(), self._end_late()))
                wasyncore.loop(timeout=wait, use_poll=True, map=self._server._map, count=1)
        finally:
            self._threads.close(0.1)
            # a thread that is still busy must not write to a descriptor whose number is in use again by then
            self._server.trigger._physical_pull = _nothing
            with self._trigger_lock:
                wasyncore.close_all(self._server._map, ignore_all=True)
                self._ended.set()

    def stop(self, grace: float) -> None:
        self._deadline = time.monotonic() + grace
        with self._trigger_lock:
            if not self._ended.is_set():
                self._server.pull_trigger()
        self._ended.wait(grace + 1)

    # --- in the loop's thread -----------------------------------------------------------------------------------

    def _over(self) -> bool:
        if self._deadline == math.inf:
            return False
        if self._accepting:
            self._accepting = False
            wasyncore.dispatcher.close(self._server)  # the server's own close would take the trigger with it
        for channel in list(self._server.active_channels.values()):
            if not (channel.requests or channel.request or channel.total_outbufs_len):
                channel.handle_close()
        return not self._server.active_channels or time.monotonic() >= self._deadline

    def _end_late(self) -> float:
        """Close connections whose header is late. Returns the seconds until the next one can be."""
        now = time.monotonic()
        if now >= self._look_at:
            channels = list(self._server.active_channels.values())
            for channel in channels:
                if channel.is_late(now):
                    channel.handle_close()
            # a connection that begins or becomes idle after this look has at least the shortest time
            self._look_at = min([now + self._shortest, *(channel.due for channel in channels if channel.due > now)])
        return self._look_at - now

    def _accept_or_end(self) -> Any:
        try:
            return self._accept()
        except OSError as error:
            if error.errno == errno.EINVAL:  # the node was closed under the listener
                self._deadline = min(self._deadline, time.monotonic())
            elif is_out(error):
                BUDGET.say_out()
                time.sleep(_REST)  # the loop would ask again at once; who comes waits in the backlog
            raise


def _channel_class(for_header: float, for_keep_alive: float) -> type[Any]:
    class Channel(HTTPChannel):  # type: ignore[misc]
        """due: when the header of the next request must be there."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            self.due = time.monotonic() + for_header
            self._is_idle = False
            super().__init__(*arguments, **options)

        def received(self, data: bytes) -> Any:
            if self._is_idle and data:
                self._is_idle, self.due = False, time.monotonic() + for_header
            return super().received(data)

        def service(self) -> None:
            super().service()
            self._is_idle, self.due = True, time.monotonic() + for_keep_alive

        def is_late(self, now: float) -> bool:
            has_header = self.request is not None and self.request.headers_finished
            return now >= self.due and not (self.requests or self.total_outbufs_len or has_header)

    return Channel


class _Dispatcher:
    """What waitress's server asks of its threads."""

    def __init__(self, threads: RequestThreads[Any], caller: Callable[[str], Hashable]) -> None:
        self._threads, self._caller = threads, caller

    def add_task(self, channel: Any) -> None:
        self._threads.add(self._caller(channel.addr[0]), channel)


def _serve(channel: Any) -> None:
    channel.service()


def _nothing() -> None:
    """Does nothing, in place of waking the loop."""

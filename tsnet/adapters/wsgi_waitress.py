"""waitress around a listening socket of the tailnet.

waitress's loop runs in the caller's thread, one turn at a time, so that `stop` can end it in order: it accepts no more
connections and closes idle ones at once, busy ones after their answer or when the grace is over. Requests are handled
by `RequestThreads` in place of waitress's own, whose number is fixed.

waitress itself closes a connection after a time without a byte, but not while its request is handled. A caller that
sends one byte a second, or takes nothing of a long response, would hold it for ever. So each connection has an instant
by which the header of its next request must be there, and is closed when a body or a response does not move.

waitress keeps a request's body, on disk if it is long, until the request has been handled. The bodies of one server
have a common bound (BODIES); a request that finds no room is answered with 503.

Not here: who calls (`wsgi.IdentityMiddleware`), how many connections there may be (the listening socket).
"""

from __future__ import annotations

import errno
import functools
import math
import socket
import threading
import time
from collections.abc import Callable, Hashable
from typing import Any

from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import create_server
from waitress.utilities import Error as ErrorResponse

from netstack.limits import Shares
from tsnet.adapters.request_threads import RequestThreads
from tsnet.adapters.web_limits import THREADS, WebLimits
from tsnet.edge.io.descriptors import BUDGET, is_out
from tsnet.edge.io.log import Log, Seldom

BODY_TIMEOUT = 60.0
"""Seconds without a byte of a request's body, or without a byte of the response that the caller takes."""

BODIES = 3 * 512 * 1024 * 1024
"""Bytes of bodies whose requests have not been handled. One caller's two thirds are as much as one body may have."""

_TICK = 30.0  # seconds between two looks at all connections, at most
_LEAST_TICK = 0.02  # and at least: a timeout of 0 must not make the loop spin
_REST = 0.02  # seconds of the loop without a descriptor to accept with
_UNLIMITED = 1_000_000_000  # connections: the listening socket has the limit; seconds: `_Channel` has it

_log = Log("tsnet.wsgi")


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
        self._shortest = max(_LEAST_TICK, min(limits.for_header, limits.for_keep_alive, _TICK))
        self._threads: RequestThreads[Any] = RequestThreads(_serve, limits.threads)
        self._server: Any = create_server(
            app,
            sockets=[listening],
            connection_limit=_UNLIMITED,
            channel_timeout=_UNLIMITED,
            asyncore_use_poll=True,
            log_socket_errors=False,
            ident=None,
            _dispatcher=_Dispatcher(self._threads),
        )
        self._bodies = _Bodies(BODIES)
        self._server.channel_class = functools.partial(_Channel, limits, self._bodies, caller)
        self._accept = self._server.accept
        self._server.accept = self._accept_or_end
        self._deadline = math.inf
        self._look_at = time.monotonic() + self._shortest
        self._accepting = True
        self._has_ended = False
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
                self._has_ended = True

    def stop(self, grace: float) -> None:
        self._deadline = min(self._deadline, time.monotonic() + grace)
        with self._trigger_lock:
            if not self._has_ended:
                self._server.pull_trigger()

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
        """Close connections that are late. Returns the seconds until the next one can be."""
        channels = list(self._server.active_channels.values())
        if not channels:
            return _TICK  # the next one wakes the loop
        now = time.monotonic()
        if now >= self._look_at:
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


class _Channel(HTTPChannel):  # type: ignore[misc]
    """A connection. due: when the header of the next request must be there."""

    def __init__(
        self, limits: WebLimits, bodies: _Bodies, caller: Callable[[str], Hashable], *arguments: Any, **options: Any
    ) -> None:
        self._for_header, self._for_keep_alive = limits.for_header, limits.for_keep_alive
        self.due = time.monotonic() + limits.for_header
        self._is_idle = False
        self._progress: float | None = None
        self._unmoved_since = 0.0
        super().__init__(*arguments, **options)
        self.caller = caller(self.addr[0])
        self.parser_class = functools.partial(_Request, bodies, self.caller)

    def received(self, data: bytes) -> Any:
        if self._is_idle and data:
            self._is_idle, self.due = False, time.monotonic() + self._for_header
        return super().received(data)

    def service(self) -> None:
        self.due = math.inf  # until it is known: the loop may look as soon as the request has been handled
        super().service()
        self._is_idle, self.due = True, time.monotonic() + self._for_keep_alive

    def del_channel(self, map: Any = None) -> None:
        super().del_channel(map)
        if self.request is not None:  # it came in part; whole ones are closed when they have had their turn
            self.request.close()

    def is_late(self, now: float) -> bool:
        """Asked at each look: whether its caller has had its time."""
        in_body = self.request is not None and self.request.headers_finished
        if self.total_outbufs_len or (in_body and not self.requests):
            return self._has_stalled(now)
        self._progress = None
        return now >= self.due and not (self.requests or in_body)

    def _has_stalled(self, now: float) -> bool:
        """Whether not a byte has moved for too long. `last_activity` is of a clock that may be set: it only tells a
        change.
        """
        if self._progress != self.last_activity:
            self._progress, self._unmoved_since = self.last_activity, now
        return now - self._unmoved_since >= BODY_TIMEOUT


class _Request(HTTPRequestParser):  # type: ignore[misc]
    """A request on its way in. Its body counts among those that are kept, until it is closed."""

    error: Any

    def __init__(self, bodies: _Bodies, caller: Hashable, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._bodies, self._caller, self._held = bodies, caller, 0

    def received(self, data: bytes) -> Any:
        consumed = super().received(data)
        if self.body_rcv is not None and self.error is None:
            grown = len(self.body_rcv) - self._held
            if self._bodies.take(self._caller, grown):
                self._held += grown
            else:
                self.error, self.completed = _NoRoom("too much is being uploaded, try again later"), True
                self.close()
        return consumed

    def close(self) -> None:
        super().close()
        held, self._held = self._held, 0
        self._bodies.give_back(self._caller, held)


class _NoRoom(ErrorResponse):  # type: ignore[misc]
    code, reason = 503, "Service Unavailable"


class _Bodies:
    """How many bytes of bodies are kept. Any thread may use it."""

    def __init__(self, total: int) -> None:
        self._shares = Shares(total)
        self._lock = threading.Lock()
        self._refused = Seldom(_log)

    @property
    def kept(self) -> int:
        return self._shares.taken

    def take(self, caller: Hashable, amount: int) -> bool:
        with self._lock:
            has_room = self._shares.take(caller, amount)
        if not has_room:
            self._refused.warning(time.monotonic(), "a request was refused: bodies of %d bytes are kept", self.kept)
        return has_room

    def give_back(self, caller: Hashable, amount: int) -> None:
        with self._lock:
            self._shares.give_back(caller, amount)


class _Dispatcher:
    """What waitress's server asks of its threads."""

    def __init__(self, threads: RequestThreads[Any]) -> None:
        self._threads = threads

    def add_task(self, channel: _Channel) -> None:
        self._threads.add(channel.caller, channel)


def _serve(channel: _Channel) -> None:
    channel.service()


def _nothing() -> None:
    """Does nothing, in place of waking the loop."""

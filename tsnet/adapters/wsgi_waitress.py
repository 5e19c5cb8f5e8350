"""waitress around a listening socket of the tailnet.

waitress's loop runs in the caller's thread, one turn at a time, so that `stop` can end it in order: it accepts no more
connections and closes idle ones at once, busy ones after their answer or when the grace is over.

Not here: who calls (`wsgi.IdentityMiddleware`).
"""

from __future__ import annotations

import errno
import logging
import math
import socket
import threading
import time
from typing import Any

from waitress import wasyncore
from waitress.server import create_server

CONNECTIONS = 1000
"""How many may be open at once, idle ones included. More wait in the backlog."""

_TICK = 30.0  # seconds; waitress must look for connections that have been idle too long


class WaitressEngine:
    def __init__(self, app: Any, listening: socket.socket, threads: int) -> None:
        queue_log = logging.getLogger("waitress.queue")
        if queue_log.level == logging.NOTSET:
            queue_log.setLevel(logging.ERROR)  # else each request that waits its turn makes a line on stderr
        self._server: Any = create_server(
            app,
            sockets=[listening],
            threads=threads,
            connection_limit=CONNECTIONS,
            asyncore_use_poll=True,
            log_socket_errors=False,
            ident=None,
        )
        self._accept = self._server.accept
        self._server.accept = self._accept_or_end
        self._deadline = math.inf
        self._accepting = True
        self._ended = threading.Event()
        self._trigger_lock = threading.Lock()

    def run(self) -> None:
        try:
            while not self._over():
                wait = max(0.0, min(_TICK, self._deadline - time.monotonic()))
                wasyncore.loop(timeout=wait, use_poll=True, map=self._server._map, count=1)
        finally:
            self._server.task_dispatcher.shutdown(timeout=0.1)
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

    def _accept_or_end(self) -> Any:
        try:
            return self._accept()
        except OSError as error:
            if error.errno == errno.EINVAL:  # the node was closed under the listener
                self._deadline = min(self._deadline, time.monotonic())
            raise


def _nothing() -> None:
    """Does nothing, in place of waking the loop."""

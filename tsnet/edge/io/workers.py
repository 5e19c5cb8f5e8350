"""What would block the node's thread runs in one of its own: name lookups and large pure functions.

    run(function, done)    thread: result = function()    ->    node's thread: done(result or the exception)

One daemon thread a job: jobs are rare (a lookup a dial, a netmap above 256 KiB), and a lookup that hangs in the C
library then neither holds up another job nor the end of the process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from tsnet.edge.io.reactor import Reactor

Done = Callable[[Any], None]


class Workers:
    """After `close` no `done` is called any more; running jobs end by themselves, unheard."""

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._is_open = True

    def run(self, function: Callable[[], Any], done: Done) -> None:
        threading.Thread(target=self._work, args=(function, done), name="tsnet-worker", daemon=True).start()

    def close(self) -> None:
        self._is_open = False

    def _work(self, function: Callable[[], Any], done: Done) -> None:
        try:
            result = function()
        except Exception as error:
            result = error
        self._reactor.call_soon(lambda: self._finish(done, result))

    def _finish(self, done: Done, result: Any) -> None:
        if self._is_open:
            done(result)

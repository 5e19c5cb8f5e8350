"""What one node serves, and how the end of a service is told.

    Served      one service: where it listens, and its end, which comes once
    Services    those of one node that run: each stands alone, and they end with the node

    how it ends                 the log           `wait()` of its handle    `events.ServiceEnded.error`
    closed, or with its node    a line (INFO)     returns                   None
    its node failed             a line (ERROR)    raises the node's error   the node's error
    by an error of its own      its traceback     raises the error          the error

A service that its caller awaits (block=True) raises its error there, and the log does not repeat it.

Not here: the two kinds of handles (`service_handles`), what serves (`asgi`, `wsgi`, `forward`).
"""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

from tsnet.edge.io.log import log
from tsnet.edge.pipes.operations import Operation
from tsnet.errors import Error

if TYPE_CHECKING:

    class ServingNode(Protocol):
        """A node as its services see it. failure: why it failed, or None. is_over: it is closed, or about to be."""

        @property
        def is_over(self) -> bool: ...
        @property
        def failure(self) -> Error | None: ...
        def publish(self, event: object) -> None:
            """Tell those who read the node's events."""
            ...


class Served(ABC):
    """A service. port: None for a forward from a Unix socket. address: where it listens, as text.

    services: those of its node, among which it is until it ends. name: of the method that serves it. awaited: its
    caller waits for it, and is told of an error by that.
    """

    def __init__(
        self, port: int | None, address: str, *, services: Services | None = None, name: str = "", awaited: bool = False
    ) -> None:
        self.port: int | None = port
        self.address: str = address
        self.name: str = name
        self._awaited = awaited
        self._over = Operation[None]()
        self._why = ""  # it was let end, and by whom
        self._services = services

    @property
    def ended(self) -> bool:
        return self._over.done

    @abstractmethod
    def _begin_close(self) -> None:
        """Let it end. Does not wait for that."""

    def _closed_by(self, why: str) -> None:
        """Whoever closes it says so first."""
        self._why = self._why or why

    def _end(self, error: Exception | None) -> None:
        """It is over, perhaps by an error: tell everybody. Only the first call has an effect."""
        if self.ended:
            return
        reason = self._reason(error)
        try:
            self._announce(reason)
        finally:
            self._leave(reason)

    def _leave(self, error: Exception | None) -> None:
        """Be over without a word: a service that could not start has told its caller."""
        if self._services is not None:
            self._services.discard(self)
        if error is None:
            self._over.resolve(None)
        else:
            self._over.fail(error)

    def _reason(self, error: Exception | None) -> Exception | None:
        """What ended it: its own error, or that of its node."""
        if error is not None:
            return single(error)
        return None if self._services is None or self._why else self._services.node.failure

    def _announce(self, error: Exception | None) -> None:
        node = None if self._services is None else self._services.node
        if error is None:
            with_node = node is not None and node.is_over
            why = self._why or ("the node was closed" if with_node else "its task or its socket was ended")
            log.info("%s: no longer served: %s", self.address, why)
        elif node is not None and error is node.failure:
            log.error("%s: no longer served: %s", self.address, error)
        elif not self._awaited:
            log.say(logging.ERROR, "%s: no longer served: %r", self.address, error, traceback=error)
        if node is not None:
            from tsnet.events import ServiceEnded

            node.publish(ServiceEnded(self.name, self.port, self.address, error))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.address}>"


class Services:
    """The services of one node that run. Any thread may use it."""

    def __init__(self, node: ServingNode) -> None:
        self.node = node
        self._running: dict[Served, None] = {}
        self._closed = False

    def add(self, served: Served) -> None:
        """Keep it until it ends, so that it ends with the node. If that is closed already, it ends at once."""
        self._running[served] = None
        if self._closed:
            self.discard(served)
            served._closed_by("the node was closed")
            served._begin_close()

    def discard(self, served: Served) -> None:
        self._running.pop(served, None)

    def __len__(self) -> int:
        return len(self._running)

    def taken(self, timeout: float) -> Iterator[tuple[Any, float]]:
        """Each one for whoever closes the node, the newest first, with the seconds that are left of the timeout."""
        self._closed = True
        until = time.monotonic() + timeout
        while self._running:
            try:
                served, _ = self._running.popitem()
            except KeyError:  # another thread ends them, too
                return
            served._closed_by("the node was closed")
            yield served, max(0.0, until - time.monotonic())


def single(error: Exception) -> Exception:
    """The one error inside groups of one: a task group wraps whatever ends it."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error

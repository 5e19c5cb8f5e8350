"""What becomes of a request that meets a planned fault: it is served later, or otherwise, or not at all.

    meet ─► no fault, OMIT ─► served now      REFUSE, GARBLE ─► answered now, without being served
         ─► HOLD, DELAY ─► waits ─► serve_due ─► served, unless its connection or stream has ended meanwhile
         ─► DROP ─► once everything that came with it is read: `doom` closes its connection

A held page (`key`, `ts2021`) waits no longer than the server keeps a link without an upgrade.

Not here: which faults there are, and which one a request meets (`faults`), how requests are served (`server`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Protocol, assert_never

import attrs

from tsnet.base.malformed import MalformedError
from tsnet.base.work import Work
from tsnet.control import http, upgrade
from tsnet.control.server.connection import Connection
from tsnet.control.server.faults import Asks, Effect, Fault, Faults, garbage_for, kind_of, names_of
from tsnet.control.server.pages import JSON, PLAIN
from tsnet.control.server.tailnet import TailnetState

MAX_WAITING, MAX_WAITING_BYTES = 1024, 16 << 20

FAULT = "planned fault"


class RequestService(Protocol):
    """The server, to which a request goes on."""

    tailnet: TailnetState

    def serve(
        self, connection: Connection, request: Asks, now: float, work: Work | None = None, lacks: tuple[str, ...] = ()
    ) -> None:
        """Raises MalformedError. work: None is a share of its own. lacks: the fields that the answer is to lack."""

    def drop(self, connection: Connection, reason: str, now: float) -> None:
        """Close a connection, which may have ended."""


class Suffering:
    def __init__(self, service: RequestService, faults: Faults) -> None:
        self._service, self._faults = service, faults
        self._waiting = WaitingRequests()
        self._doomed: set[Connection] = set()  # those that a fault drops once they are read

    def meet(self, connection: Connection, request: Asks, now: float, work: Work) -> None:
        """Raises MalformedError."""
        fault = self._fault_of(connection, request)
        if fault is None:
            self._service.serve(connection, request, now, work)
            return
        match fault.effect:
            case Effect.HOLD | Effect.DELAY:
                if not self._waiting.add(connection, request, fault, now):
                    respond(connection, request, 429, b"too many wait\n", PLAIN)
            case Effect.DROP:
                self._doomed.add(connection)
            case Effect.REFUSE:
                respond(connection, request, fault.status, b"refused by a planned fault\n", fault.headers)
            case Effect.GARBLE:
                respond(connection, request, 200, garbage_for(kind_of(request), request), JSON)
            case Effect.OMIT:
                self._service.serve(connection, request, now, work, fault.fields)
            case _:
                assert_never(fault.effect)

    def _fault_of(self, connection: Connection, request: Asks) -> Fault | None:
        if not self._faults or not (kind := kind_of(request)):
            return None
        return self._faults.meet(kind, lambda: names_of(self._service.tailnet, connection, request))

    def doom(self, connection: Connection, now: float) -> None:
        """It was read: close it if a request of it met a DROP."""
        if connection in self._doomed:
            self._doomed.discard(connection)
            self._service.drop(connection, FAULT, now)

    def serve_due(self, now: float) -> Iterator[Connection]:
        """Serve what has waited long enough, one by one: serving one may end the connection of another. Gives those
        that were answered."""
        while (due := self._waiting.take(now)) is not None:
            connection, request = due
            try:
                self._service.serve(connection, request, now)
            except MalformedError as error:
                if isinstance(request, upgrade.Request):
                    self._service.drop(connection, str(error).partition(":")[0], now)
                    continue
                respond(connection, request, 400, str(error).encode(), PLAIN)
            yield connection

    def forget(self, connection: Connection, stream: int | None = None) -> None:
        """Nobody waits for the answer on this stream any more; None means the connection has ended."""
        self._waiting.forget(connection, stream)
        if stream is None:
            self._doomed.discard(connection)

    def deadline(self) -> float:
        """When `serve_due` has something to do; -inf if it has now."""
        return self._waiting.deadline()


def respond(connection: Connection, request: Asks, status: int, body: bytes, headers: http.Headers) -> None:
    if isinstance(request, upgrade.Request):
        connection.respond(status, body, headers)
    else:
        connection.calls.respond(request.stream, status, body, headers)


@attrs.frozen(eq=False)
class _Waiting:
    connection: Connection
    request: Asks
    fault: Fault
    until: float

    @property
    def stream(self) -> int | None:
        return self.request.stream if isinstance(self.request, http.Request) else None

    def is_over(self, now: float) -> bool:
        return self.until <= now or self.fault.is_removed


class WaitingRequests:
    """The requests that a fault holds or delays, of one server."""

    def __init__(self) -> None:
        self._waiting: list[_Waiting] = []

    def add(self, connection: Connection, request: Asks, fault: Fault, now: float) -> bool:
        """Let a request wait; False if there are too many."""
        size = len(request.body) + sum(len(one.request.body) for one in self._waiting)
        if len(self._waiting) >= MAX_WAITING or size > MAX_WAITING_BYTES:
            return False
        until = now + fault.seconds if fault.effect is Effect.DELAY else math.inf
        self._waiting.append(_Waiting(connection, request, fault, until))
        return True

    def take(self, now: float) -> tuple[Connection, Asks] | None:
        """One request whose wait is over, the first that came; None if there is none."""
        one = next((one for one in self._waiting if one.is_over(now)), None)
        if one is None:
            return None
        self._waiting.remove(one)
        return one.connection, one.request

    def forget(self, connection: Connection, stream: int | None = None) -> None:
        """Nobody waits for the answer on this stream any more; None means on all of this connection."""
        if self._waiting:
            self._waiting = [
                one
                for one in self._waiting
                if one.connection is not connection or (stream is not None and one.stream != stream)
            ]

    def deadline(self) -> float:
        """When `take` has something to give; -inf if it has now."""
        return min((-math.inf if one.fault.is_removed else one.until for one in self._waiting), default=math.inf)

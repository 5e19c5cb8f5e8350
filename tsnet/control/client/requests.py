"""Any other request to control, beside registration, map and updates: asked by path, answered by a ticket.

    request ─► waits ─► on the channel ─► Answered(ticket, status, body)
       │         │          ├─ its time is up, its answer is too long ──► Answered(…, 0, error)
       │         │          └─ the connection is lost ─┬─ repeatable: waits again
       │         │                                     └─ otherwise ─────► Answered(…, 0, error)
       │         └─ its time is up ──────────────────────────────────────► Answered(…, 0, error)
       └─ raises, when too much waits or the body is too long

Every ticket is answered exactly once, unless its owner cancels it. A request that waits for a connection, or for the
server to take one more, has not been seen by control; so it goes out whenever there is room. One that control may have
seen is sent a second time only if its owner says that this does no harm.

Registration, the map, updates and answers to pings come first (`client`), and beside a request under way one stream is
left free for them where the server takes that many.

Source: Go control/ts2021/client.go DoWithBody, control/controlclient/direct.go for what is asked this way.
Not here: what the bodies say.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import deque

import attrs

from tsnet.base.records import record
from tsnet.control.client import controlerrors
from tsnet.control.client.address import ControlAddress
from tsnet.control.client.controlconnection import ControlConnection, Exchange
from tsnet.control.client.facts import Answered
from tsnet.errors import ConfigError, Error

MAX_UNANSWERED = 64
"""How many requests of a node may have no answer yet. Another one is refused."""

MAX_UNDER_WAY = 4
"""How many of them control is asked at once."""

MAX_BODY = 1 << 20
"""Bytes that a request may carry; more than any control server takes. All together carry MAX_BODIES at most."""

MAX_BODIES = 4 << 20

REQUEST_TIMEOUT = 30.0
"""Seconds for which Go waits for such an answer."""

_PATH = re.compile(r"/[!-~]*")
_METHOD = re.compile(r"[A-Z]+")


@record
class _Request:
    """by: when it must be answered."""

    ticket: int
    method: str
    path: str = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
    by: float
    timeout: float
    repeatable: bool

    @property
    def what(self) -> str:
        """The path, for an error: a query may hold a secret."""
        return self.path.partition("?")[0]


class OtherRequests:
    """The owner calls `ask` while the channel takes requests, and takes the facts after each call."""

    def __init__(self, address: ControlAddress) -> None:
        self._address = address
        self._tickets = itertools.count(1)
        self._waiting: deque[_Request] = deque()
        self._under_way: dict[int, _Request] = {}  # by stream
        self._answers: list[Answered] = []

    def __len__(self) -> int:
        """How many have no answer yet."""
        return len(self._waiting) + len(self._under_way)

    def request(self, path: str, body: bytes, now: float, *, method: str, timeout: float, repeatable: bool) -> int:
        """The ticket that will be answered. Raises TooManyRequests, MessageTooLong, or ConfigError for no path."""
        if not _PATH.fullmatch(path) or not _METHOD.fullmatch(method):
            raise ConfigError(f"control can be asked for a path with a method, and not for {path!r} with {method!r}")
        if len(body) > MAX_BODY:
            raise controlerrors.request_too_long(self._address, len(body), MAX_BODY)
        if len(self) >= MAX_UNANSWERED or self._bytes + len(body) > MAX_BODIES:
            raise controlerrors.too_many_requests(self._address, len(self))
        ticket = next(self._tickets)
        self._waiting.append(_Request(ticket, method, path, body, now + timeout, timeout, repeatable))
        return ticket

    def cancel(self, ticket: int, uplink: ControlConnection | None) -> None:
        """Nobody waits for that answer any more."""
        self._waiting = deque(one for one in self._waiting if one.ticket != ticket)
        self._drop([stream for stream, one in self._under_way.items() if one.ticket == ticket], uplink)

    def ask(self, uplink: ControlConnection) -> None:
        """Ask what waits, as far as the server takes it."""
        while self._waiting and len(self._under_way) < MAX_UNDER_WAY and uplink.usable:
            if self._under_way and not uplink.has_spare:
                return
            one = self._waiting.popleft()
            self._under_way[uplink.request("request", one.method, one.path, one.body)] = one

    def answered(self, exchange: Exchange) -> None:
        """Take the whole answer to a request, or what there is of one that was broken off."""
        one = self._under_way.pop(exchange.stream)
        if exchange.is_too_long:
            self._fail(one, controlerrors.answer_too_long(self._address, one.what, len(exchange.body)))
        elif exchange.status == 0:
            self._fail(one, controlerrors.request_lost(self._address, one.what, "it broke its answer off"))
        else:
            self._answers.append(Answered(one.ticket, exchange.status, bytes(exchange.body)))

    def lost(self) -> None:
        """The connection is gone, and with it the answers to what was asked there."""
        under_way, self._under_way = self._under_way, {}
        for one in under_way.values():
            if not one.repeatable:
                self._fail(one, controlerrors.request_lost(self._address, one.what, "the connection ended first"))
        self._waiting.extendleft(one for one in reversed(under_way.values()) if one.repeatable)

    def tick(self, now: float, uplink: ControlConnection | None) -> None:
        """Give up those whose time is up."""
        if now < self.deadline():
            return
        for one in (*self._waiting, *self._under_way.values()):
            if now >= one.by:
                self._fail(one, controlerrors.request_timed_out(self._address, one.what, one.timeout))
        self._waiting = deque(one for one in self._waiting if now < one.by)
        self._drop([stream for stream, one in self._under_way.items() if now >= one.by], uplink)

    def deadline(self) -> float:
        return min((one.by for one in (*self._waiting, *self._under_way.values())), default=math.inf)

    def take_facts(self) -> list[Answered]:
        taken, self._answers = self._answers, []
        return taken

    @property
    def _bytes(self) -> int:
        return sum(len(one.body) for one in (*self._waiting, *self._under_way.values()))

    def _drop(self, streams: list[int], uplink: ControlConnection | None) -> None:
        for stream in streams:
            del self._under_way[stream]
            if uplink is not None:
                uplink.cancel(stream)

    def _fail(self, one: _Request, error: Error) -> None:
        self._answers.append(Answered(one.ticket, 0, b"", error))

"""One link at control: HTTP/1.1 until a request upgrades it, then HTTP/2 inside ts2021.

    PAGES ── POST /ts2021 ──► CALLS           ENDING: the last bytes leave, then the link closes
    requests one by one       requests in parallel, all of one machine

What has come waits here until the server's turn has work left for this connection: `feed`, then `receive` while
`has_input`. A connection whose link is full is not read, so that a client that does not read cannot make us answer.

Source: Go control/controlhttp/controlhttpserver, control/ts2021.
Not here: what a request gets for an answer (`server`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import Enum

from tsnet.base.allowance import Allowance
from tsnet.base.keys import MachineKey, MachinePrivateKey
from tsnet.base.links import Link
from tsnet.base.malformed import MalformedError
from tsnet.base.work import UNLIMITED, Work
from tsnet.control import http, upgrade
from tsnet.control.transport import Responder
from tsnet.http1.asking import Headers

PAGE_COST, UPGRADE_COST = 20, 40
"""Units of work: what h11 needs for a request and its answer, and beside it the handshake's key agreements."""

Asked = upgrade.Request | http.Request | http.Cancelled


class Stage(Enum):
    PAGES = "pages"
    CALLS = "calls"
    ENDING = "ending"


class Connection:
    """machine: who calls, proved by the Noise handshake. full_at: since when the edge has no room; inf if it has.
    is_paused: whether the edge was told to read no more. burden: the bytes that it made us keep, when last `weigh`ed.
    """

    __slots__ = (
        "_allowance",
        "_answering",
        "_empty",
        "_in",
        "_may_have_page",
        "_out",
        "_responder",
        "burden",
        "calls",
        "full_at",
        "is_paused",
        "link",
        "machine",
        "stage",
        "version",
    )

    def __init__(self, link: Link, now: float = 0.0) -> None:
        self.link: Link = link
        self.is_paused: bool = False
        self.stage: Stage = Stage.PAGES
        self.machine: MachineKey | None = None
        self.version: int = 0
        self.full_at: float = math.inf
        self.burden: int = 0
        self._allowance = Allowance(now)
        self.calls: http.HttpServer = http.HttpServer(self._allowance)
        self._in = bytearray()
        self._may_have_page = False
        self._empty = 0
        self._answering = upgrade.Answering()
        self._responder: Responder | None = None
        self._out = bytearray()

    @property
    def full(self) -> bool:
        return self.full_at != math.inf

    def feed(self, data: bytes) -> None:
        """Keep what has come for `receive`."""
        if self.stage is not Stage.ENDING:
            self._in += data

    @property
    def has_input(self) -> bool:
        """Whether `receive` has something to do."""
        if self.stage is Stage.PAGES:
            return bool(self._in) or self._may_have_page
        if self._responder is None or self.stage is Stage.ENDING or self.calls.ended:
            return False
        return bool(self._in) or self._responder.has_input or self.calls.has_input

    def receive(self, data: bytes = b"", now: float = 0.0, work: Work | None = None) -> list[Asked]:
        """What is asked now. A page's request must be answered, or `switch`ed, before the next is read: call again.

        Raises MalformedError: close the link, once what `take` still gives has left.
        """
        self.feed(data)
        work = work or Work(UNLIMITED)
        if self.stage is Stage.PAGES:
            return self._page(work)
        if self._responder is None or self.stage is Stage.ENDING:
            return []
        plaintext = b"" if self.calls.has_input else self._open(self._responder, now, work)
        return list(self.calls.receive(plaintext, now, work))

    def _page(self, work: Work) -> list[Asked]:
        """The next request. More may be waiting inside h11, if this one was whole."""
        work.spend(PAGE_COST)
        request = self._answering.receive(self._take_in())
        self._may_have_page = request is not None
        return [] if request is None else [request]

    def _open(self, responder: Responder, now: float, work: Work) -> bytes:
        plaintext = responder.receive(self._take_in(), work)
        for _ in range(responder.empty_records - self._empty):
            self._allowance.spend("empty records", now)
        self._empty = responder.empty_records
        return plaintext

    def _take_in(self) -> bytes:
        data, self._in = bytes(self._in), bytearray()
        return data

    @property
    def is_broken(self) -> bool:
        """Whether HTTP/2 cannot go on, by our own fault."""
        return bool(self.calls.fault)

    def respond(self, status: int, body: bytes = b"", headers: Headers = ()) -> None:
        """Answer a page."""
        self._out += self._answering.respond(status, body, headers)
        if self._answering.closing:
            self.stage = Stage.ENDING

    def switch(self, request: upgrade.Request, private: MachinePrivateKey, entropy: Callable[[int], bytes]) -> None:
        """Answer POST /ts2021: the 101, and the Noise response right behind it.

        Raises MalformedError for an initiation that is not for us, and then a page can still be answered (400); and
        for a client that speaks before it has seen the response, when nothing can.
        """
        responder = Responder(private, upgrade.initiation_of(request), entropy)
        switching, rest = self._answering.switch()
        self._out += switching + responder.response
        self._responder, self.stage = responder, Stage.CALLS
        self.machine, self.version = responder.peer, responder.version
        if rest:
            raise MalformedError("the client spoke before it knew the server")

    def take(self, budget: int) -> bytes:
        """At most `budget` bytes for the link."""
        if self.full:
            return b""
        if self._responder is not None and len(self._out) < budget:
            self._out += self._responder.seal(self.calls.transmit())
        data = bytes(self._out[:budget])
        del self._out[:budget]
        return data

    def weigh(self) -> int:
        """How much the burden has grown since the last call."""
        before, self.burden = self.burden, len(self._in) + len(self._out) + self.calls.burden
        return self.burden - before

    @property
    def has_output(self) -> bool:
        """Sealed bytes that a budget cut off."""
        return bool(self._out) and not self.full

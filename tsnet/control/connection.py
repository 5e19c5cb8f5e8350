"""One link at control: HTTP/1.1 until a request upgrades it, then HTTP/2 inside ts2021.

    PAGES ── POST /ts2021 ──► CALLS           ENDING: the last bytes leave, then the link closes
    requests one by one       requests in parallel, all of one machine

Source: Go control/controlhttp/controlhttpserver, control/ts2021.
Not here: what a request gets for an answer (`server`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import Enum

from tsnet.base.keys import MachineKey, MachinePrivateKey
from tsnet.base.links import Link
from tsnet.base.malformed import MalformedError
from tsnet.control import http, upgrade
from tsnet.control.transport import Responder

Asked = upgrade.Request | http.Request | http.Cancelled


class Stage(Enum):
    PAGES = "pages"
    CALLS = "calls"
    ENDING = "ending"


class Connection:
    """machine: who calls, proved by the Noise handshake. full_at: since when the edge has no room; inf if it has."""

    __slots__ = ("_answering", "_out", "_responder", "calls", "full_at", "link", "machine", "stage", "version")

    def __init__(self, link: Link) -> None:
        self.link = link
        self.stage = Stage.PAGES
        self.machine: MachineKey | None = None
        self.version = 0
        self.full_at = math.inf
        self.calls = http.HttpServer()
        self._answering = upgrade.Answering()
        self._responder: Responder | None = None
        self._out = bytearray()

    @property
    def full(self) -> bool:
        return self.full_at != math.inf

    def receive(self, data: bytes) -> list[Asked]:
        """What is asked now. A page's request must be answered, or `switch`ed, before the next is read: see `again`.

        Raises MalformedError: close the link.
        """
        if self.stage is Stage.PAGES:
            request = self._answering.receive(data)
            return [] if request is None else [request]
        if self._responder is None or self.stage is Stage.ENDING:
            return []
        return list(self.calls.receive(self._responder.receive(data)))

    def again(self) -> list[Asked]:
        """What was behind the page request just answered."""
        return self.receive(b"") if self.stage is Stage.PAGES else []

    def respond(self, status: int, body: bytes = b"", headers: upgrade.Headers = ()) -> None:
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

    @property
    def has_output(self) -> bool:
        """Sealed bytes that a budget cut off."""
        return bool(self._out) and not self.full

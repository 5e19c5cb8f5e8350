"""HTTP/1.1 requests of one room: each on a link of its own, bounded in size, time, redirects and number.

    ticket = http.request("GET", "https://login.example/keys", now=now)
    http.receive(event, now)       events of links that it `owns`
    http.transmit(now)             effects: Open, Data, Close, Pause, Resume
    http.deadline()                when transmit must next be called
    http.take_answers()            for each ticket one Answer or one Failed, after any of these calls

A request goes out as soon as its link is open. The answer ends the link: connections are not kept. An answer that is
compressed is not asked for. A plain http request passes a proxy by CONNECT, as every link does.

Nothing here raises: not for a bad URL, nor for a bad answer. `failed` counts the reasons, and "late" the events of
links that are long gone. One turn takes apart what TURN units of work allow, for all requests together; while input of
a link is left over, the link is paused.

Source: RFC 9110, RFC 9112.
Not here: one request's bytes (`asking`), where redirects lead (`redirects`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import assert_never

import attrs

from tsnet.base.links import (
    Accepted,
    Close,
    Closed,
    Computed,
    Data,
    Datagrams,
    Effect,
    Event,
    Full,
    Link,
    LookedUp,
    Open,
    Opened,
    Pause,
    Received,
    Resume,
    Room,
    Tls,
)
from tsnet.base.malformed import MalformedError
from tsnet.base.records import record
from tsnet.base.work import Work, share
from tsnet.http1.answers import Answer, Failed, Reason, Unusable
from tsnet.http1.asking import Asking, Headers, Response
from tsnet.http1.redirects import Request, followed, is_redirect
from tsnet.http1.url import Url

MAX_AT_ONCE = 16
MAX_AT_ONE_SERVER = 4
MAX_SENT = 1 << 20
"""Bytes of a request's body."""

TIMEOUT = 30.0
CONNECT_TIMEOUT = 10.0
MAX_REDIRECTS = 5
MAX_BODY = 1 << 20

NEEDS_LENGTH = frozenset({"POST", "PUT", "PATCH"})
"""Methods whose requests tell their length even if there is no body (RFC 9110 §8.6)."""

TURN = 256
"""Units of work that one turn spends on all requests: about 3 ms."""


@record
class _Ticket:
    """What stays the same over redirects. origin: where it was asked first, and counts for MAX_AT_ONE_SERVER."""

    number: int
    origin: str
    by: float
    max_body: int
    follows: bool
    direct: bool


@attrs.define(eq=False)
class _Underway:
    """One request on its present link. redirects: how many more are followed.
    ended: why the link is no more; input of it may be left over. has_had_its_share: of this turn."""

    ticket: _Ticket
    request: Request
    redirects: int
    link: Link
    asking: Asking
    ended: str = ""
    is_paused: bool = False
    has_had_its_share: bool = False


class Http1Client:
    """new_link: a name that the owner has never used before, for each request and each redirect."""

    def __init__(self, new_link: Callable[[], Link]) -> None:
        self.failed: Counter[str] = Counter()
        self._new_link = new_link
        self._underway: dict[Link, _Underway] = {}
        self._effects: list[Effect] = []
        self._answers: list[Answer | Failed] = []
        self._tickets = 0

    # --- the owner's side ---------------------------------------------------------------------------------------

    def request(
        self,
        method: str,
        url: str,
        *,
        now: float,
        headers: Headers = (),
        body: bytes = b"",
        timeout: float = TIMEOUT,
        max_body: int = MAX_BODY,
        max_redirects: int = MAX_REDIRECTS,
        direct: bool = False,
    ) -> int:
        """Ask for it; returns the ticket of its answer. headers: without Host, Content-Length and Connection.

        timeout: seconds for all of it. max_body: bytes of the answer. max_redirects: with 0, a redirect is the answer.
        direct: around a proxy, for what only this network can answer: its gateway, its captive portal.
        """
        self._tickets += 1
        try:
            asked = self._asked(method, url, headers, body)
            ticket = _Ticket(self._tickets, asked.url.origin, now + timeout, max_body, max_redirects > 0, direct)
            self._start(ticket, asked, max_redirects, now)
        except Unusable as unusable:
            self._fail(self._tickets, unusable)
        return self._tickets

    def cancel(self, ticket: int) -> None:
        """Nobody waits for that answer any more. It does not come."""
        for underway in [each for each in self._underway.values() if each.ticket.number == ticket]:
            self._drop(underway)
        self._answers = [answer for answer in self._answers if answer.ticket != ticket]

    def close(self) -> None:
        """Cancel all; the links' ends are effects, as ever."""
        for underway in list(self._underway.values()):
            self._drop(underway)
        self._answers.clear()

    def owns(self, link: Link) -> bool:
        return link in self._underway

    def take_answers(self) -> list[Answer | Failed]:
        taken, self._answers = self._answers, []
        return taken

    # --- the verbs ----------------------------------------------------------------------------------------------

    def receive(self, event: Event, now: float) -> None:
        underway = self._underway.get(event.link)
        if underway is None:
            self.failed["late"] += 1
        else:
            self._receive(underway, event, now)

    def transmit(self, now: float) -> list[Effect]:
        for underway in list(self._underway.values()):
            if now >= underway.ticket.by:
                self._drop(underway)
                self._fail(underway.ticket.number, Unusable(Reason.TIMEOUT, "no whole answer in time"))
            elif underway.asking.has_input and not underway.has_had_its_share:
                self._read(underway, now)
            underway.has_had_its_share = False
        effects, self._effects = self._effects, []
        return effects

    def deadline(self) -> float:
        if self._effects or any(underway.asking.has_input for underway in self._underway.values()):
            return -math.inf
        return min((underway.ticket.by for underway in self._underway.values()), default=math.inf)

    # --- a request ----------------------------------------------------------------------------------------------

    def _asked(self, method: str, url: str, headers: Headers, body: bytes) -> Request:
        """Raises Unusable."""
        try:
            asked = Request(method, Url.parse(url), tuple(headers), body)
        except MalformedError as error:
            raise Unusable(Reason.URL, str(error)) from None
        if len(body) > MAX_SENT:
            raise Unusable(Reason.REQUEST, f"a body of more than {MAX_SENT} bytes")
        there = sum(underway.ticket.origin == asked.url.origin for underway in self._underway.values())
        if len(self._underway) >= MAX_AT_ONCE or there >= MAX_AT_ONE_SERVER:
            raise Unusable(Reason.BUSY, "too many requests are under way")
        return asked

    def _start(self, ticket: _Ticket, request: Request, redirects: int, now: float) -> None:
        """Raises Unusable."""
        url = request.url
        lines = [*request.headers, *_own_lines(request)]
        asking = Asking(
            request.method, url.target, url.authority, lines, request.body, max_body=ticket.max_body, now=now
        )
        link = self._new_link()
        self._underway[link] = _Underway(ticket, request, redirects, link, asking)
        tls = Tls(url.host) if url.secure else None
        timeout = min(CONNECT_TIMEOUT, max(ticket.by - now, 0.0))
        self._effects.append(Open(link, (url.host,), url.port, tls, timeout, direct=ticket.direct))

    # --- its answer ---------------------------------------------------------------------------------------------

    def _receive(self, underway: _Underway, event: Event, now: float) -> None:
        match event:
            case Opened(link):
                self._effects.append(Data(link, underway.asking.sent))
            case Received(data=data):
                underway.asking.feed(data)
                self._read_once(underway, now)
            case Closed(reason=reason):
                underway.ended = reason
                if reason == "eof":
                    underway.asking.end()
                read = self._read_once if underway.asking.has_input else self._read
                read(underway, now)
            case Full() | Room():
                pass  # a request is handed over in one piece
            case Accepted() | Computed() | Datagrams() | LookedUp():
                pass  # of listeners and workers
            case _:
                assert_never(event)

    def _read_once(self, underway: _Underway, now: float) -> None:
        """If it has not been read in this turn: what comes in several pieces gets no more than one share."""
        if not underway.has_had_its_share:
            underway.has_had_its_share = True
            self._read(underway, now)
        else:
            self._pace(underway)

    def _read(self, underway: _Underway, now: float) -> None:
        work = Work(share(TURN, len(self._underway), TURN // MAX_AT_ONCE, TURN))
        try:
            response = underway.asking.go_on(now, work)
            if response is not None:
                self._answered(underway, response, now)
            elif underway.ended and not underway.asking.has_input:
                raise Unusable(Reason.LINK, underway.ended)
        except Unusable as unusable:
            self._drop(underway)
            self._fail(underway.ticket.number, unusable)
        else:
            self._pace(underway)

    def _answered(self, underway: _Underway, response: Response, now: float) -> None:
        """Raises Unusable."""
        self._drop(underway)
        if response.status == 101:
            raise Unusable(Reason.MALFORMED, "it switches to a protocol that nobody asked for")
        if not underway.ticket.follows or not is_redirect(response):
            url = str(underway.request.url)
            answer = Answer(underway.ticket.number, response.status, url, response.headers, response.body)
            self._answers.append(answer)
        elif not underway.redirects:
            raise Unusable(Reason.REDIRECTS, "it redirects again and again")
        else:
            self._start(underway.ticket, followed(underway.request, response), underway.redirects - 1, now)

    def _pace(self, underway: _Underway) -> None:
        """Read no more of a link whose input is left over."""
        is_open = underway.link in self._underway and not underway.ended
        if is_open and underway.is_paused != underway.asking.has_input:
            underway.is_paused = underway.asking.has_input
            self._effects.append(Pause(underway.link) if underway.is_paused else Resume(underway.link))

    def _drop(self, underway: _Underway) -> None:
        if self._underway.pop(underway.link, None) is not None and not underway.ended:
            self._effects.append(Close(underway.link))

    def _fail(self, ticket: int, unusable: Unusable) -> None:
        self.failed[unusable.reason] += 1
        self._answers.append(Failed(ticket, unusable.reason, str(unusable)))


def _own_lines(request: Request) -> Headers:
    lines = [("Accept-Encoding", "identity"), ("Connection", "close")]
    if request.method in NEEDS_LENGTH and not request.body:
        lines.append(("Content-Length", "0"))
    return lines

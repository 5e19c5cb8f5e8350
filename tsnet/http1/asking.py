"""One request on a link of its own, and its answer, as a byte machine around h11.

    sent                              the bytes of the request, to be written at once
    feed(bytes), end()                what has come, and that no more will come
    go_on(now, work) -> Response      once it is whole

| what the server can make grow       | bound                                                          |
|-------------------------------------|----------------------------------------------------------------|
| the head, and each announcement 1xx | MAX_HEAD                                                       |
| announcements                       | MAX_HINTS                                                      |
| the body                            | max_body                                                       |
| pieces of the body under CRUMB      | an `Allowance`                                                 |
| what one call costs                 | the turn's `Work`; while `has_input`, call `go_on` in the next |

Source: RFC 9112; RFC 9110 §15.2.
Not here: links, redirects and time (`client`), what follows an upgrade (`Response.rest` holds its first bytes).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs
import h11

from tsnet.base.allowance import Allowance, Flood
from tsnet.base.records import record
from tsnet.base.work import UNLIMITED, Work
from tsnet.http1.answers import Reason, Unusable

MAX_BODY = 64 * 1024
MAX_HEAD = 16 * 1024
MAX_HINTS = 16
"""Answers of the kind 1xx that may come before the real one."""

CRUMB = 64
"""A shorter piece of a body costs more than it brings. Whoever sends a stream of them wants to keep us busy."""

PIECE = 4096
"""Until the head has come, h11 gets no more than this at once, so that it cannot find a head beyond the bound."""

Headers = Sequence[tuple[str, str]]


@record
class Response:
    """One whole response. `rest`: what came behind a 101, the first bytes of the new protocol."""

    status: int
    headers: dict[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
    rest: bytes = attrs.field(default=b"", repr=False)


class Asking:
    """Raises Unusable, a MalformedError: at once for a request that cannot be written, later for a bad answer."""

    def __init__(
        self,
        method: str,
        target: str,
        host: str,
        headers: Headers = (),
        body: bytes = b"",
        *,
        max_body: int = MAX_BODY,
        now: float = 0.0,
    ) -> None:
        self.has_input: bool = False
        """Whether `go_on` has something to do."""
        self._h11 = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
        self._response: h11.Response | None = None
        self._body = bytearray()
        self._max_body = max_body
        self._hints = 0
        self._allowance = Allowance(now)
        self._unread = bytearray()
        self._ends = self._has_ended = False
        lines = [("Host", host), *headers]
        if body:
            lines.append(("Content-Length", str(len(body))))
        try:
            self.sent: bytes = self._write(h11.Request(method=method, target=target, headers=lines), body)
        except (h11.LocalProtocolError, UnicodeEncodeError):  # its text may repeat a header
            raise Unusable(Reason.REQUEST, "it cannot be written as HTTP/1.1") from None

    def receive(self, data: bytes) -> Response | None:
        """The response once it is whole, however much work that is."""
        self.feed(data)
        return self.go_on()

    def feed(self, data: bytes) -> None:
        """Keep what has come for `go_on`."""
        self._unread += data
        self.has_input = True

    def end(self) -> None:
        """The server has ended the stream: behind what has come, that may be the end of its body."""
        self._ends = self.has_input = True

    def go_on(self, now: float = 0.0, work: Work | None = None) -> Response | None:
        """The response, if it is whole with what is taken apart now: all that has come, or what the work allows."""
        work = work or Work(UNLIMITED)
        try:
            while work.left > 0:
                event = self._h11.next_event()
                work.spend(1)
                if event is h11.NEED_DATA or event is h11.PAUSED:
                    if not self._feed():
                        self.has_input = False
                        return None
                elif (response := self._take(event, now, work)) is not None:
                    return response
        except h11.RemoteProtocolError as error:
            raise self._unusable(error) from None
        except Flood as flood:
            raise Unusable(Reason.FLOOD, str(flood)) from None
        return None

    def _write(self, request: h11.Request, body: bytes) -> bytes:
        events = (request, *([h11.Data(data=body)] if body else []), h11.EndOfMessage())
        return b"".join(self._h11.send(event) or b"" for event in events)

    def _feed(self) -> bool:
        """Give h11 more; whether there was any."""
        if self._unread:
            size = PIECE if self._response is None else len(self._unread)
            self._h11.receive_data(bytes(self._unread[:size]))
            del self._unread[:size]
            return True
        if self._ends and not self._has_ended:
            self._has_ended = True
            self._h11.receive_data(b"")
            return True
        return False

    def _take(self, event: object, now: float, work: Work) -> Response | None:
        if isinstance(event, h11.InformationalResponse):
            return self._announced(event)
        if isinstance(event, h11.Response):
            work.spend(len(event.headers))
            self._begin(event)
        elif isinstance(event, h11.Data):
            self._collect(bytes(event.data), now)
        elif self._response is not None:
            return Response(self._response.status_code, _joined(self._response.headers), bytes(self._body))
        return None

    def _announced(self, event: h11.InformationalResponse) -> Response | None:
        if event.status_code == 101:
            rest, _closed = self._h11.trailing_data
            return Response(101, _joined(event.headers), b"", rest + bytes(self._unread))
        self._hints += 1
        if self._hints > MAX_HINTS:
            raise Unusable(Reason.FLOOD, "no answer, only announcements of one")
        return None

    def _begin(self, response: h11.Response) -> None:
        """h11 has refused two different lengths. A length beside chunks is ambiguous as well (RFC 9112 §6.3)."""
        names = {name for name, _value in response.headers}
        if {b"content-length", b"transfer-encoding"} <= names:
            raise Unusable(Reason.MALFORMED, "it tells its length in two ways")
        self._response = response

    def _collect(self, data: bytes, now: float) -> None:
        if len(data) < CRUMB:
            self._allowance.spend("crumbs", now)
        self._body += data
        if len(self._body) > self._max_body:
            raise Unusable(Reason.BODY_TOO_LARGE, f"a response of more than {self._max_body} bytes")

    def _unusable(self, error: h11.RemoteProtocolError) -> Unusable:
        """h11 repeats a line that it cannot read behind a colon: that part is the server's and stays out."""
        what = str(error).partition(":")[0]
        if error.error_status_hint == 431:
            return Unusable(Reason.HEAD_TOO_LARGE, f"a head of more than {MAX_HEAD} bytes")
        if self._has_ended:
            return Unusable(Reason.TRUNCATED, f"the stream ended too early: {what}")
        return Unusable(Reason.MALFORMED, f"not HTTP/1.1: {what}")


def _joined(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in headers:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found

"""HTTP/1.1 around ts2021: the request for the upgrade, and the server's side, where pages for people are, too.

    POST /ts2021 HTTP/1.1                                  HTTP/1.1 101 Switching Protocols
    Host: <host[:port]>                                    Upgrade: tailscale-control-protocol
    Upgrade: tailscale-control-protocol                    Connection: upgrade
    Connection: upgrade
    X-Tailscale-Handshake: <base64 of the initiation>      <Noise response, records ...>

The first bytes of Noise may arrive in one piece with the 101: whatever lies behind it is returned, never lost.
`receive` raises MalformedError when this is not HTTP.

Source: Go control/controlhttp/client.go, controlhttpserver/controlhttpserver.go; RFC 9110 §7.8.
Not here: TLS (the link's), what follows the upgrade (`transport`), the client's bytes (`http1.asking`).
"""

from __future__ import annotations

import base64

import attrs
import h11

from tsnet.base.malformed import MalformedError
from tsnet.base.records import record
from tsnet.base.targets import origin_form
from tsnet.http1.asking import Asking, Headers, Response

UPGRADE = "tailscale-control-protocol"
HANDSHAKE_HEADER = "X-Tailscale-Handshake"
MAX_BODY = 64 * 1024


@record
class Request:
    """One whole request. `path` carries the query; header names are lower case."""

    method: str
    path: str
    headers: dict[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)


class Answering:
    """The server's side of a link: requests one after the other, until one upgrades or the link ends.

    `receive` gives the next request once it is whole; answer it with `respond` or `switch` before the next one.
    """

    def __init__(self) -> None:
        self._h11 = h11.Connection(h11.SERVER)
        self._request: h11.Request | None = None
        self._body = bytearray()

    def receive(self, data: bytes = b"") -> Request | None:
        """The next whole request, if any. Call again with nothing after a response: requests may be pipelined."""
        try:
            if data:
                self._h11.receive_data(data)
            while True:
                event = self._h11.next_event()
                if isinstance(event, h11.Request):
                    self._request, self._body = event, bytearray()
                elif isinstance(event, h11.Data):
                    self._body += event.data
                    if len(self._body) > MAX_BODY:
                        raise MalformedError(f"a request of more than {MAX_BODY} bytes")
                elif isinstance(event, h11.EndOfMessage) and self._request is not None:
                    return self._whole(self._request)
                else:
                    return None
        except h11.RemoteProtocolError as error:
            raise MalformedError(f"not HTTP/1.1: {error}") from None

    def respond(self, status: int, body: bytes = b"", headers: Headers = ()) -> bytes:
        """The bytes of a whole response. `closing` afterwards tells whether the link must be closed."""
        head = self._request is not None and self._request.method == b"HEAD"
        lines = [*headers, ("Content-Length", str(len(body)))]
        events = [h11.Response(status_code=status, headers=lines), *_data(b"" if head else body), h11.EndOfMessage()]
        sent = b"".join(self._h11.send(event) or b"" for event in events)
        self._request = None
        if self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE:
            self._h11.start_next_cycle()
        return sent

    @property
    def closing(self) -> bool:
        return self._h11.our_state in (h11.MUST_CLOSE, h11.CLOSED, h11.ERROR)

    def switch(self) -> tuple[bytes, bytes]:
        """Answer an upgrade request: the 101, and what the client already sent behind its request."""
        headers = [("Upgrade", UPGRADE), ("Connection", "upgrade")]
        sent = self._h11.send(h11.InformationalResponse(status_code=101, headers=headers, reason="Switching Protocols"))
        rest, _closed = self._h11.trailing_data
        return sent or b"", rest

    def _whole(self, request: h11.Request) -> Request:
        method, path = request.method.decode(), origin_form(request.target.decode("latin-1"))
        return Request(method, path, _plain(request.headers), bytes(self._body))


def upgrade_request(host: str, initiation: bytes) -> Asking:
    """Ask for ts2021. The answer must satisfy `switched`."""
    handshake = base64.b64encode(initiation).decode()
    headers = [("Upgrade", UPGRADE), ("Connection", "upgrade"), (HANDSHAKE_HEADER, handshake)]
    return Asking("POST", "/ts2021", host, headers)


def switched(response: Response) -> bool:
    """Whether the server agreed to ts2021 (the value is compared exactly, as Go does)."""
    return response.status == 101 and response.headers.get("upgrade") == UPGRADE


def initiation_of(request: Request) -> bytes:
    """The initiation of an upgrade request; raises MalformedError if it is none."""
    if request.headers.get("upgrade", "").lower() != UPGRADE:
        raise MalformedError(f"no Upgrade to {UPGRADE}")
    try:
        return base64.b64decode(request.headers[HANDSHAKE_HEADER.lower()], validate=True)
    except KeyError:
        raise MalformedError(f"no {HANDSHAKE_HEADER}") from None
    except ValueError:  # binascii's, and that for a header beyond ASCII
        raise MalformedError(f"{HANDSHAKE_HEADER} is not base64") from None


def _data(body: bytes) -> list[h11.Data]:
    return [h11.Data(data=body)] if body else []


def _plain(headers: object) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}  # type: ignore[attr-defined]

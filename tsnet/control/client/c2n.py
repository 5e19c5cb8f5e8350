"""Control to node: an HTTP request inside a map message, answered by a POST of the whole response.

`/echo` gives the body back (control asks this to see whether we live); every other path is unknown to this node and
says 400, which a control server has to expect from any client.

Source: Go feature/c2n/c2n.go, ipn/ipnlocal/c2n.go handleC2N; tailcfg.PingRequest.
Not here: when and where the answer goes (`pings`).
"""

from __future__ import annotations

import h11

from tsnet.base.malformed import MalformedError

MAX_PAYLOAD = 64 * 1024
"""Bytes of a request. Its answer may be as long, and several may wait to be sent."""


def answer(payload: bytes) -> bytes:
    """The raw HTTP/1.1 response to a raw HTTP/1.x request. Raises MalformedError if it is none, or too long."""
    if len(payload) > MAX_PAYLOAD:
        raise MalformedError(f"c2n request of {len(payload)} bytes")
    path, body = _request(payload)
    if path == "/echo":
        return _response(200, body)
    return _response(400, b"unknown c2n path\n")


def _request(payload: bytes) -> tuple[str, bytes]:
    """Path without query, and body: what follows a head without Content-Length counts as no body."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_PAYLOAD)
    path, body = "", bytearray()
    try:
        connection.receive_data(payload)
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                path = event.target.decode("latin-1").partition("?")[0]
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                return path, bytes(body)
            else:
                raise MalformedError("c2n request is cut short")
    except h11.RemoteProtocolError as error:
        raise MalformedError(f"c2n request is not HTTP/1: {error}") from None


def _response(status: int, body: bytes) -> bytes:
    connection = h11.Connection(h11.SERVER)
    headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(body))), ("Connection", "close")]
    reason = "OK" if status == 200 else "Bad Request"
    events = (
        h11.Response(status_code=status, headers=headers, reason=reason),
        h11.Data(data=body),
        h11.EndOfMessage(),
    )
    return b"".join(connection.send(event) or b"" for event in events)

"""The HTTP/1.1 around a DERP connection: a request head and a response head. The bytes behind each are DERP's.

    GET /derp HTTP/1.1                        HTTP/1.1 101 Switching Protocols
    Host: derp.example                        Upgrade: DERP
    Upgrade: DERP                             Connection: Upgrade
    Connection: Upgrade                       Derp-Version: 2
    Ideal-Node: 1a        (second choice)     Derp-Public-Key: <64 hex>
    Derp-Fast-Start: 1    (send no 101)
    <blank line>                              <blank line>
    ClientInfo … (fast start)                 ServerKey …

| path                             | answer                                                            |
|----------------------------------|-------------------------------------------------------------------|
| /derp, Upgrade derp or websocket | 101, or silence for a fast start; then frames                     |
| /derp, anything else             | 426                                                               |
| /derp/probe, /derp/latency-check | GET, HEAD: 200, and the connection stays; else 405                |
| /generate_204                    | 204, and the challenge echoed                                     |
| else                             | 404                                                               |

Source: Go derp/derphttp/derphttp_client.go, derp/derpserver/handler.go.
Not here: WebSockets, which only browsers use. "Upgrade: websocket" without the `derp` subprotocol means raw DERP; with
it, the answer is 426.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from tsnet.base.addresses import bracketed
from tsnet.base.keys import NodeKey
from tsnet.base.malformed import MalformedError
from tsnet.base.records import record
from tsnet.base.targets import origin_form
from tsnet.derp.frames import PROTOCOL_VERSION

MAX_HEAD_SIZE = 16 << 10

PROBES = ("/derp/probe", "/derp/latency-check")

_END = b"\r\n\r\n"
_CHALLENGE = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_NO_CACHE = "no-cache, no-store, must-revalidate, no-transform, max-age=0"


class HeadReader:
    """Collects bytes until the blank line."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> tuple[str, bytes] | None:
        """The head and the bytes behind it, or None while the head is not whole. Raises MalformedError above 16 KiB."""
        self._buffer += data
        head, blank_line, rest = self._buffer.partition(_END)
        if len(head) > MAX_HEAD_SIZE:
            raise MalformedError("HTTP head too long")
        if not blank_line:
            return None
        self._buffer = b""
        return head.decode("latin-1"), rest


@record
class Request:
    """headers: names are in lower case; of a repeated name the last value counts."""

    method: str
    path: str
    headers: Mapping[str, str]
    version: str = "HTTP/1.1"

    @property
    def may_be_followed(self) -> bool:
        """Whether the connection stays open for another request: clients measure latency by their second probe."""
        ends = "close" in self.headers.get("connection", "").lower() or self.version != "HTTP/1.1"
        has_body = "content-length" in self.headers or "transfer-encoding" in self.headers
        return self.path in PROBES and self.method in ("GET", "HEAD") and not ends and not has_body

    @property
    def wants_derp(self) -> bool:
        upgrade = self.headers.get("upgrade", "").lower()
        if upgrade == "websocket":
            return "derp" not in self.headers.get("sec-websocket-protocol", "")
        return upgrade == "derp"

    @property
    def is_fast_start(self) -> bool:
        return self.headers.get("derp-fast-start") == "1"


def encode_request(host: str, ideal_node: str = "", *, fast_start: bool = False) -> bytes:
    """host: the node's HostName, without a port, as Go sends it. ideal_node: the region's first node, if it is another.
    fast_start: ask the relay to send no response, since ClientInfo follows the blank line.
    """
    lines = ["GET /derp HTTP/1.1", f"Host: {bracketed(host)}"]
    if ideal_node:
        lines.append(f"Ideal-Node: {ideal_node}")
    lines += ["Upgrade: DERP", "Connection: Upgrade"]
    if fast_start:
        lines.append("Derp-Fast-Start: 1")
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")


def parse_request(head: str) -> Request:
    request_line, *lines = head.split("\r\n")
    words = request_line.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise MalformedError("not an HTTP/1 request")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise MalformedError("not an HTTP header")
        headers[name.lower()] = value.strip()
    return Request(words[0], origin_form(words[1]).partition("?")[0], headers, words[2])


def parse_status(head: str) -> int:
    version, _, rest = head.partition(" ")
    code = rest[:3]
    if not version.startswith("HTTP/1.") or not (len(code) == 3 and code.isascii() and code.isdigit()):
        raise MalformedError("not an HTTP/1 response")
    return int(code)


def encode_switching(server_key: NodeKey) -> bytes:
    headers = {
        "Upgrade": "DERP",
        "Connection": "Upgrade",
        "Derp-Version": str(PROTOCOL_VERSION),
        "Derp-Public-Key": server_key.hex(),
    }
    return _response("101 Switching Protocols", headers)


def answer(request: Request, *, last: bool = True) -> bytes:
    """The whole response to a request that does not become a DERP connection. last: we close the link after it."""
    response = _answer(request, last)
    return response[: response.index(_END) + len(_END)] if request.method == "HEAD" else response


def _answer(request: Request, last: bool) -> bytes:
    match request.path:
        case "/derp":
            return _text("426 Upgrade Required", "DERP requires connection upgrade\n", {"Upgrade": "DERP"})
        case path if path in PROBES:
            if request.method not in ("GET", "HEAD"):
                return _text("405 Method Not Allowed", "a probe is GET or HEAD\n", {"Allow": "GET, HEAD"})
            connection = {"Connection": "close" if last else "keep-alive"}
            return _text("200 OK", "", {"Access-Control-Allow-Origin": "*", **connection})
        case "/generate_204":
            headers = {"Cache-Control": _NO_CACHE, "Connection": "close"}
            challenge = request.headers.get("x-tailscale-challenge", "")
            if _CHALLENGE.fullmatch(challenge):
                headers["X-Tailscale-Response"] = f"response {challenge}"
            return _response("204 No Content", headers)
        case _:
            return _text("404 Not Found", "not found\n", {})


def _text(status: str, body: str, headers: Mapping[str, str]) -> bytes:
    content = {"Content-Type": "text/plain; charset=utf-8", "Content-Length": str(len(body)), "Connection": "close"}
    return _response(status, {**content, **headers}) + body.encode()


def _response(status: str, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()

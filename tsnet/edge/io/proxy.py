"""HTTP CONNECT: how a link passes an HTTP proxy.

    > CONNECT derp.example.com:443 HTTP/1.1
    > Host: derp.example.com:443
    > Proxy-Authorization: Basic …          when the proxy's URL has a user
    < HTTP/1.1 200 Connection established
    then the link's own bytes flow, both ways

Source: RFC 9110 9.3.6, RFC 7617.
Not here: which proxy (`base.proxies`), TLS to the proxy itself (an https:// proxy is refused when it is set).
"""

from __future__ import annotations

from urllib.parse import quote

from tsnet.base.addresses import join_host_port
from tsnet.base.printable import printable
from tsnet.base.proxies import Proxy

MAX_ANSWER = 16_384


class ConnectFailed(Exception):
    """The proxy refused, or is no proxy. str() says how."""


def connect_request(proxy: Proxy, host: str, port: int) -> bytes:
    host = quote(host, safe="[]:")  # a name from a relay map must not end the line
    target = join_host_port(host, port)
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if proxy.authorization:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    return "\r\n".join([*lines, "", ""]).encode("ascii", "replace")


def read_answer(data: bytes) -> bytes | None:
    """What follows a 2xx answer's head; None while the head is not complete. Raises ConnectFailed."""
    head, end, rest = data.partition(b"\r\n\r\n")
    if not end:
        if len(data) > MAX_ANSWER:
            raise ConnectFailed("the answer has no end")
        if not b"HTTP/1.".startswith(data[:7]):
            raise ConnectFailed("not an HTTP answer")
        return None
    status_line = head.split(b"\r\n", 1)[0]
    version, _, status = status_line.partition(b" ")
    if not version.startswith(b"HTTP/1.") or not status[:1].isdigit():
        raise ConnectFailed("not an HTTP answer")
    if not status.startswith(b"2"):
        raise ConnectFailed(printable(status[:80].decode("ascii", "replace").strip()))
    return rest

"""HTTP CONNECT: how a link passes an HTTP proxy.

    > CONNECT derp.example.com:443 HTTP/1.1
    > Host: derp.example.com:443
    > Proxy-Authorization: Basic …          when the proxy's URL has a user
    < HTTP/1.1 200 Connection established
    then the link's own bytes flow, both ways

Source: RFC 9110 9.3.6, RFC 7617.
Not here: which proxy (`tsnet.config`), TLS to the proxy itself (an https:// proxy is refused when it is set).
"""

from __future__ import annotations

import base64
from urllib.parse import unquote, urlsplit

import attrs

from tsnet.base.wording import Wording, api
from tsnet.errors import ConfigError

MAX_ANSWER = 16_384


@attrs.frozen
class Proxy:
    host: str
    port: int
    authorization: str = attrs.field(default="", repr=False)


class ProxyRefused(Exception):
    """The proxy refused, or is no proxy. str() is the reason for `Closed`."""


def parse_proxy(url: str) -> Proxy:
    """The proxy of "http://[user:password@]host[:port]"; port 80 if none is given. Raises ConfigError."""
    try:
        parts = urlsplit(url)
        port = parts.port or 80
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme != "http" or not parts.hostname:
        # the URL itself is not repeated: it may hold a password
        what = " must be http://[user:password@]host:port; other schemes are not supported"
        raise ConfigError(Wording(api("proxy="), what))
    authorization = ""
    if parts.username is not None:
        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + base64.b64encode(credentials.encode()).decode()
    return Proxy(parts.hostname, port, authorization)


def connect_request(proxy: Proxy, host: str, port: int) -> bytes:
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if proxy.authorization:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    return "\r\n".join([*lines, "", ""]).encode("ascii", "replace")


def read_answer(data: bytes) -> bytes | None:
    """What follows a 2xx answer's head; None while the head is not complete. Raises ProxyRefused."""
    head, end, rest = data.partition(b"\r\n\r\n")
    if not end:
        if len(data) > MAX_ANSWER:
            raise ProxyRefused("proxy: the answer has no end")
        if not b"HTTP/1.".startswith(data[:7]):
            raise ProxyRefused("proxy: not an HTTP answer")
        return None
    status_line = head.split(b"\r\n", 1)[0]
    version, _, status = status_line.partition(b" ")
    if not version.startswith(b"HTTP/1.") or not status[:1].isdigit():
        raise ProxyRefused("proxy: not an HTTP answer")
    if not status.startswith(b"2"):
        raise ProxyRefused(f"proxy: {status[:80].decode('ascii', 'replace').strip()}")
    return rest

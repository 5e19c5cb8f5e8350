"""Where a control server is: the parts of its URL that a machine needs.

Source: Go control/ts2021/client.go; we dial the URL's own scheme and port and no other.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from tsnet.base.links import Link, Open, Tls
from tsnet.base.malformed import MalformedError
from tsnet.base.records import record

CONNECT_TIMEOUT = 10.0


@record
class ControlAddress:
    """authority: host and, where the URL has one, port, as in a Host header. url: as given, for messages.

    is_with_secret: the URL came with a client secret, which matters to errors that say what to check.
    """

    url: str
    host: str
    port: int
    authority: str
    secure: bool
    is_with_secret: bool = False

    @classmethod
    def parse(cls, url: str) -> ControlAddress:
        """From an http(s) URL that `config` has checked; raises MalformedError otherwise."""
        try:
            parts = urlsplit(url.rstrip("/"))
            port = parts.port
        except ValueError:
            raise MalformedError("not a URL") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise MalformedError("not an http:// or https:// URL")
        secure = parts.scheme == "https"
        authority = parts.netloc.rpartition("@")[2]
        return cls(url.rstrip("/"), parts.hostname, port or (443 if secure else 80), authority, secure)

    def open(self, link: Link) -> Open:
        return Open(link, (self.host,), self.port, Tls(self.host) if self.secure else None, CONNECT_TIMEOUT)

    def path_of(self, url: str) -> str | None:
        """The path and query of a URL on this very server; None for any other place."""
        try:
            there = ControlAddress.parse(url)
        except MalformedError:
            return None
        if (there.host, there.port, there.secure) != (self.host, self.port, self.secure):
            return None
        return path_and_query(url)


def path_and_query(url: str) -> str:
    """What goes into a request line for this URL, whatever its host."""
    parts = urlsplit(url)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")

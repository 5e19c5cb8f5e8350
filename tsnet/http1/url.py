"""A URL that can be asked: what is dialled, what goes into the request's head, and where a redirect leads.

    https://login.example:8443/token?x=1#top
    scheme  host          port target            the fragment stays here

Everything outside printable ASCII in the path and the query is percent-encoded, so that no URL can end its line of the
request. A host must be a DNS name in ASCII, or an address. A URL with a user in it is refused: credentials belong into
headers, where a redirect drops them.

Source: RFC 3986 §3, §5; RFC 9110 §4.2, §7.2; RFC 9112 §3.2.1.
Not here: which redirect is followed (`redirects`).
"""

from __future__ import annotations

import re
from typing import Self
from urllib.parse import quote, urljoin, urlsplit

import attrs

from tsnet.base.addresses import bracketed, join_host_port, parse_address
from tsnet.base.malformed import MalformedError
from tsnet.base.records import record

MAX_LENGTH = 8192
PORTS = {"http": 80, "https": 443}

_KEPT = "!#$%&'()*+,/:;=?@[]~"
_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_.-]*[a-z0-9_.])?")


@record
class Url:
    """host: in lower case, an IPv6 address without brackets. target: the path and the query."""

    scheme: str
    host: str
    port: int
    target: str = attrs.field(repr=False)

    def __str__(self) -> str:
        return f"{self.origin}{self.target}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises MalformedError, whose text repeats nothing of the URL: it may hold a secret."""
        if len(text) > MAX_LENGTH:
            raise MalformedError(f"a URL of more than {MAX_LENGTH} characters")
        try:
            parts = urlsplit(quote(text, safe=_KEPT, errors="replace"))
            host, port = parts.hostname or "", parts.port
        except ValueError:
            raise MalformedError("no URL") from None
        if parts.scheme not in PORTS:
            raise MalformedError("no http:// or https:// URL")
        if "@" in parts.netloc:
            raise MalformedError("a URL with a user in it")
        is_name = "[" not in parts.netloc and _NAME.fullmatch(host)
        if port == 0 or not (is_name or parse_address(host)):
            raise MalformedError("a URL without a host that can be dialled")
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls(parts.scheme, host, port or PORTS[parts.scheme], target)

    def join(self, reference: str) -> Url:
        """Where a reference in this URL's answer leads. reference: a header's value, in which each character is one
        byte, as of UTF-8. Raises MalformedError."""
        try:
            return Url.parse(urljoin(str(self), quote(reference.encode("latin-1", "replace"), safe=_KEPT)))
        except ValueError:
            raise MalformedError("no URL") from None

    @property
    def secure(self) -> bool:
        return self.scheme == "https"

    @property
    def authority(self) -> str:
        """The value of the Host header."""
        is_usual = self.port == PORTS[self.scheme]
        return bracketed(self.host) if is_usual else join_host_port(self.host, self.port)

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.authority}"

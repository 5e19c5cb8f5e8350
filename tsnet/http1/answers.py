"""What becomes of a request: an answer, or the reason why there is none. Each request gets exactly one of the two.

Not here: how it comes about (`client`).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import attrs

from tsnet.base.malformed import MalformedError
from tsnet.base.records import record


class Reason(enum.StrEnum):
    """Why a request has no answer."""

    URL = "url"
    """It is no http or https URL, or names no host that can be dialled."""
    REQUEST = "request"
    """It cannot be written as HTTP/1.1 (a header ends its line, a method is two words), or its body is too large."""
    BUSY = "busy"
    """Too many requests are under way, in all or at this server."""
    LINK = "link"
    """The connection was not opened or broke. The detail is the reason of `links.Closed`."""
    TIMEOUT = "timeout"
    """The time for all of it, redirects included, is up."""
    TRUNCATED = "truncated"
    """The connection ended before the answer was whole."""
    MALFORMED = "malformed"
    """What came is not HTTP/1.1, or tells its length in two ways."""
    HEAD_TOO_LARGE = "head too large"
    BODY_TOO_LARGE = "body too large"
    FLOOD = "flood"
    """Announcements of an answer without end, or a body in crumbs."""
    REDIRECTS = "redirects"
    """More redirects than were asked for."""
    REDIRECT = "redirect"
    """A redirect to something that is no URL, or one that would take the body to another origin."""
    DOWNGRADE = "downgrade"
    """A redirect from https to http."""


class Unusable(MalformedError):
    """The request cannot be sent, or its answer cannot be used."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason: Reason = reason


@record
class Answer:
    """The whole answer. url: where it came from, after redirects. headers: by names in lower case; the values of one
    that is repeated are joined with ", ".

    A body whose end only the connection's end marks is taken as whole: use one that tells its own end where it matters.
    """

    ticket: int
    status: int
    url: str = attrs.field(repr=False)
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)


@record
class Failed:
    """detail: more about the reason, in words for a log."""

    ticket: int
    reason: Reason
    detail: str = ""

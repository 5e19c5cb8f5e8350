"""How long to wait before control is asked again.

| after                                       | wait                                                               |
|---------------------------------------------|--------------------------------------------------------------------|
| the n-th failure in a row                   | n² · 10 ms, at most 30 s, times 0.5 to 1.5                         |
| a status 429 or 503 that says Retry-After   | what it says and up to a tenth more, never below the line above,   |
|                                             | at most 5 min                                                      |
| a status 429 that does not                  | 5 to 10 s, or the first line if that is more                       |
| a refusal that only somebody else can lift  | 30 to 60 s, doubled each time up to 5 min (`refused`)              |

Failures count as in a row until a success has lasted for ten seconds. A server that accepts us and breaks off at once
is therefore asked less and less often, like one that does not accept us.

Source: Go util/backoff/backoff.go, control/controlclient/direct.go parseRateLimitError; RFC 9110 §5.6.7, §10.2.3.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Protocol

from tsnet.control.gojson import unix_time

MAX_BACKOFF = 30.0
MAX_RETRY_AFTER = 300.0
REFUSED_AT_LEAST = 30.0

PEACE = 10.0
"""Seconds that a success must last before the earlier failures are forgotten."""

_LIMITED, _UNAVAILABLE = 429, 503
_MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
_HTTP_DATE = re.compile(r"[A-Z][a-z]{2}, (\d{2}) ([A-Z][a-z]{2}) (\d{4}) (\d{2}:\d{2}:\d{2}) GMT", re.ASCII)


class HttpAnswer(Protocol):
    """An HTTP answer. Header names are in lower case."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...


class Backoff:
    """failures: how many in a row."""

    __slots__ = ("_entropy", "_held_until", "_refusals", "_well_since", "failures")

    def __init__(self, entropy: Callable[[int], bytes]) -> None:
        self._entropy = entropy
        self._well_since = math.inf
        self._held_until = -math.inf
        self._refusals = 0
        self.failures: int = 0

    def failed(self, now: float, answer: HttpAnswer | None = None) -> float:
        """Count a failure. Returns the seconds to wait now, as in the table."""
        if now - self._well_since >= PEACE:
            self.failures = self._refusals = 0
        self._well_since = math.inf
        self.failures += 1
        wait = min(self.failures**2 * 0.01, MAX_BACKOFF) * self.between(0.5, 1.5)
        if answer is not None and is_limited(answer):
            wait = max(wait, self._limited(answer))
            self._held_until = now + wait
        return wait

    def begin_anew(self, now: float) -> float:
        """Forget the failures, which say nothing about the network of now. Returns when to ask (`soonest`)."""
        self.failures = 0
        return self.soonest(now)

    def soonest(self, now: float) -> float:
        """When to ask if there is news: now, or once the wait is over that a server asked for with its last answer."""
        return max(now, self._held_until)

    def refused(self, now: float) -> float:
        """Count a failure that only somebody else can mend. Returns the seconds to wait before asking again."""
        self.failed(now)
        longest = min(2 * REFUSED_AT_LEAST * 2 ** min(self._refusals, 8), MAX_RETRY_AFTER)
        self._refusals += 1
        return self.between(max(REFUSED_AT_LEAST, longest / 2), longest)

    def succeeded(self, now: float) -> None:
        """A success begins now. It lasts until the next failure, and may be reported again meanwhile."""
        self._well_since = min(self._well_since, now)

    def between(self, low: float, high: float) -> float:
        """A random number of that span, so that the clients of one server do not all return at once."""
        return low + (high - low) * int.from_bytes(self._entropy(2)) / 65_536

    def _limited(self, answer: HttpAnswer) -> float:
        told = retry_after(answer.headers)
        if told >= MAX_RETRY_AFTER:
            return self.between(0.9 * MAX_RETRY_AFTER, MAX_RETRY_AFTER)
        if told > 0:
            return min(told * self.between(1.0, 1.1), MAX_RETRY_AFTER)
        return self.between(5.0, 10.0) if answer.status == _LIMITED else 0.0


def is_limited(answer: HttpAnswer) -> bool:
    """Whether the server wants to be left alone for now, so that not even news of ours may be sent sooner."""
    return answer.status in (_LIMITED, _UNAVAILABLE)


def retry_after(headers: Mapping[str, str]) -> float:
    """The seconds that Retry-After asks for; 0 if it is missing or makes no sense.

    A date is compared with the server's own Date, because our clock may be wrong.
    """
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    at, date = http_date(text), http_date(headers.get("date", ""))
    return max(0.0, at - date) if at is not None and date is not None else 0.0


def http_date(text: str) -> float | None:
    """The Unix time of an IMF-fixdate, the only form that servers may send; None for anything else."""
    match = _HTTP_DATE.fullmatch(text.strip())
    if match is None or match[2] not in _MONTHS:
        return None
    return unix_time(f"{match[3]}-{_MONTHS.index(match[2]) + 1:02d}-{match[1]}T{match[4]}Z")

"""Control's pings: whether this node is alive, and what it can reach.

| Types  | done here                                                    | over                              |
|--------|--------------------------------------------------------------|-----------------------------------|
| ""     | HEAD URL; the answer is ignored                              | the channel if URLIsNoise, else a |
|        |                                                              | link of its own to control's URL  |
| "c2n"  | `c2n.answer(Payload)`, POST URL                              | always the channel                |
| others | a fact: the engine pings `ip`, then `answer` posts its reply | as for ""                         |

Requests go to control only. The channel takes just the path of a URL; elsewhere a URL on another host is dropped and
counted. A ping with the same URL as the one before it, or as one that waits, is ignored. What waits for the channel is
bounded, and so is how often control may ask: BURST at once, RATE a second. What comes beyond that is counted. A ping
with `Log` is in the trace.

Source: Go control/controlclient/direct.go answerPing; tailcfg.PingRequest, PingResponse.
Not here: the pings themselves.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from tsnet.base import jsonobject
from tsnet.base.bucket import TokenBucket
from tsnet.base.links import Effect, Event, Link
from tsnet.base.malformed import MalformedError
from tsnet.base.records import record
from tsnet.base.trace import Trace
from tsnet.control.client import c2n
from tsnet.control.client.address import ControlAddress, path_and_query
from tsnet.control.client.facts import PingRequested
from tsnet.control.messages import PingRequest
from tsnet.http1.answers import Failed, Reason
from tsnet.http1.client import Http1Client

MAX_UNTAKEN = 16
"""How many PingRequested facts may wait to be taken."""

MAX_POSTS = 16
"""How many requests may wait for the channel, and how many may be unanswered there."""

RATE, BURST = 2.0, 64.0
"""How many pings control may ask for: a second, and at once after some peace. Headscale asks every ten seconds."""

ANSWER_TIMEOUT = 15.0


@record
class Post:
    """A request for the channel."""

    method: str
    path: str
    body: bytes = attrs.field(repr=False)


class Pings:
    """The owner takes effects, posts and facts after each call. dropped: counts pings, by reasons "ping-…"."""

    def __init__(
        self,
        address: ControlAddress,
        new_link: Callable[[str], Link],
        dropped: Counter[str],
        trace: Trace | None = None,
    ) -> None:
        self._trace = trace
        self._pace = TokenBucket(RATE, BURST, 0.0)
        self._posts: list[Post] = []
        self._facts: list[PingRequested] = []
        self._address, self._dropped = address, dropped
        self._http = Http1Client(lambda: new_link("ping"))
        self._last_url = ""
        self.shown: c2n.Shown = c2n.Shown()
        """What answers to "c2n" may tell; the owner sets it before `requested`."""

    def take_effects(self, now: float) -> list[Effect]:
        """Whatever control answers is not looked at."""
        effects = self._http.transmit(now)
        for answer in self._http.take_answers():
            if isinstance(answer, Failed) and answer.reason is Reason.BUSY:
                self._dropped["ping-too-many"] += 1
        return effects

    def take_posts(self) -> list[Post]:
        """All that wait for the channel."""
        taken, self._posts = self._posts, []
        return taken

    def take_post(self) -> Post | None:
        """The first that waits for the channel."""
        return self._posts.pop(0) if self._posts else None

    def take_facts(self) -> list[PingRequested]:
        taken, self._facts = self._facts, []
        return taken

    def requested(self, ping: PingRequest, now: float) -> None:
        if ping.url == self._last_url:
            return
        self._last_url = ping.url
        if not self._pace.take(1.0, now):
            self._dropped["ping-too-many"] += 1
            return
        if ping.log and self._trace is not None:
            self._trace("pinged by control", types=ping.types or "HEAD")
        if not _is_url(ping.url):
            self._dropped["ping-malformed"] += 1
        elif ping.types == "c2n":
            self._answer_c2n(ping)
        elif ping.types and len(self._facts) >= MAX_UNTAKEN:
            self._dropped["ping-too-many"] += 1
        elif ping.types:
            self._facts.append(PingRequested(ping))
        else:
            self._call("HEAD", ping, b"", now)

    def answer(self, ping: PingRequest, response: Mapping[str, Any], now: float) -> None:
        """Post the result of a PingRequested. response: the fields of PingResponse."""
        self._call("POST", ping, jsonobject.encode(response), now)

    def receive(self, event: Event, now: float) -> None:
        """Take an event of our own links."""
        self._http.receive(event, now)

    def deadline(self) -> float:
        return self._http.deadline()

    def _answer_c2n(self, ping: PingRequest) -> None:
        if self._may_post("POST", path_and_query(ping.url)):
            try:
                self._posts.append(Post("POST", path_and_query(ping.url), c2n.answer(ping.payload, self.shown)))
            except MalformedError:
                self._dropped["ping-malformed"] += 1

    def _may_post(self, method: str, path: str) -> bool:
        """Whether the channel has room for this request, and does not wait to send it already."""
        if any((post.method, post.path) == (method, path) for post in self._posts):
            return False
        if len(self._posts) >= MAX_POSTS:
            self._dropped["ping-too-many"] += 1
            return False
        return True

    def _call(self, method: str, ping: PingRequest, body: bytes, now: float) -> None:
        if ping.url_is_noise:
            if self._may_post(method, path_and_query(ping.url)):
                self._posts.append(Post(method, path_and_query(ping.url), body))
        elif self._address.path_of(ping.url) is None:
            self._dropped["ping-elsewhere"] += 1
        else:
            self._http.request(method, ping.url, body=body, now=now, timeout=ANSWER_TIMEOUT, max_redirects=0)


def _is_url(url: str) -> bool:
    """Whether it is a URL that fits into a request line: printable ASCII without spaces."""
    try:
        ControlAddress.parse(url)
    except MalformedError:
        return False
    return re.fullmatch(r"[!-~]+", url) is not None

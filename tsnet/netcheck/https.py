"""How far away each region is where UDP is blocked: the time of one small request to a relay of it, over TLS.

    a region ─► Open its first node ─► Opened: GET /derp/latency-check ─► 2xx: the latency
                └──────────── Closed, or another status: the next node ◄──┘

The dial and the handshake are not counted: they take several round trips, and the race of several addresses. At most
eight regions are asked at a time; when the time is up, the rest is left alone.

Source: Go net/netcheck/netcheck.go (measureHTTPSLatency).
Not here: when it is asked (`checker`), the bytes of HTTP (`http1.asking`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple, assert_never

from tsnet.base.links import (
    Accepted,
    Close,
    Closed,
    Computed,
    Data,
    Datagrams,
    Effect,
    Event,
    Full,
    Link,
    LookedUp,
    Open,
    Opened,
    Received,
    Room,
)
from tsnet.base.malformed import MalformedError
from tsnet.http1.asking import Asking
from tsnet.netmap.derpnodes import dial_hosts, dial_port, dial_tls
from tsnet.netmap.model import DerpNode, DerpRegion

AT_ONCE = 8
PATH = "/derp/latency-check"


class Latency(NamedTuple):
    """latency: seconds from the request to the whole answer."""

    region: int
    latency: float


class _Asked:
    __slots__ = ("asking", "link", "node", "region", "rest", "sent_at")

    def __init__(self, region: int, rest: list[DerpNode]) -> None:
        self.region, self.rest = region, rest
        self.node: DerpNode = rest[0]
        self.link: Link | None = None
        self.asking: Asking | None = None
        self.sent_at: float = math.inf


class HttpsProbes:
    """until: when the time is up; inf while nothing is asked. failed: why nodes gave no latency."""

    def __init__(self, *, use_http: bool, generations: Iterator[int]) -> None:
        self.until: float = math.inf
        self.failed: Counter[str] = Counter()
        self._use_http = use_http
        self._generations = generations
        self._waiting: list[_Asked] = []
        self._asked: dict[Link, _Asked] = {}
        self._effects: list[Effect] = []

    @property
    def is_under_way(self) -> bool:
        return bool(self._asked or self._waiting)

    def begin(self, regions: Iterable[DerpRegion], now: float, until: float) -> None:
        self.stop()
        for region in regions:
            nodes = [node for node in region.nodes if not node.stun_only and dial_hosts(node)]
            if nodes:
                self._waiting.append(_Asked(region.region_id, nodes))
        self.until = until if self._waiting else math.inf
        self._fill(now)

    def stop(self) -> None:
        """Nobody wants to know any more."""
        self._effects += [Close(link) for link in self._asked]
        self._asked.clear()
        self._waiting.clear()
        self.until = math.inf

    def owns(self, link: Link) -> bool:
        return link in self._asked

    def receive(self, event: Event, now: float) -> Latency | None:
        """The event of a link that is ours."""
        asked = self._asked[event.link]
        match event:
            case Opened():
                asked.asking, asked.sent_at = Asking("GET", PATH, asked.node.host_name), now
                self._effects.append(Data(event.link, asked.asking.sent))
            case Received(data=data):
                return self._received(asked, data, now)
            case Closed(reason=reason):
                del self._asked[event.link]
                self._next(asked, reason, now)
            case Full() | Room():
                pass  # a request of a few lines
            case Accepted() | Computed() | Datagrams() | LookedUp():
                pass  # of listeners and workers
            case _:
                assert_never(event)
        return None

    def _received(self, asked: _Asked, data: bytes, now: float) -> Latency | None:
        try:
            response = None if asked.asking is None else asked.asking.receive(data)
        except MalformedError:
            self._drop(asked)
            self._next(asked, "malformed", now)
            return None
        if response is None:
            return None
        self._drop(asked)
        if not 200 <= response.status <= 299:
            self._next(asked, f"status {response.status}", now)
            return None
        self._fill(now)
        return Latency(asked.region, now - asked.sent_at)

    def transmit(self, now: float) -> list[Effect]:
        if now >= self.until:
            self.stop()
        effects, self._effects = self._effects, []
        return effects

    def deadline(self) -> float:
        return -math.inf if self._effects else self.until

    def _drop(self, asked: _Asked) -> None:
        if asked.link is not None and self._asked.pop(asked.link, None) is not None:
            self._effects.append(Close(asked.link))

    def _next(self, asked: _Asked, reason: str, now: float) -> None:
        """That node gave no latency: ask the region's next one."""
        self.failed[reason] += 1
        del asked.rest[0]
        if asked.rest:
            self._waiting.insert(0, _Asked(asked.region, asked.rest))
        self._fill(now)

    def _fill(self, now: float) -> None:
        while self._waiting and len(self._asked) < AT_ONCE:
            asked = self._waiting.pop(0)
            asked.link = Link("netcheck", asked.region, next(self._generations))
            self._asked[asked.link] = asked
            port, tls = dial_port(asked.node, use_http=self._use_http), dial_tls(asked.node, use_http=self._use_http)
            self._effects.append(Open(asked.link, dial_hosts(asked.node), port, tls, max(self.until - now, 0.0)))
        if not self.is_under_way:
            self.until = math.inf

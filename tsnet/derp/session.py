"""One connection to the relay, as the relay sees it: its stage, its timers, what it was sent, what it may send.

    HEAD ──GET /derp──► LOGIN ──ClientInfo──► OPEN          ENDING: the last bytes leave, then the link closes
      ├── a probe: its answer, HEAD
      └── any other request: its answer, ENDING

Not here: what frames mean and who gets what (`server`).
"""

from __future__ import annotations

import math
from collections import Counter
from enum import Enum
from operator import attrgetter

from tsnet.base.allowance import Allowance
from tsnet.base.bucket import TokenBucket
from tsnet.base.keys import NodeKey
from tsnet.base.links import Link
from tsnet.derp.frames import Decoder
from tsnet.derp.login import MAX_CLIENT_INFO_SIZE
from tsnet.derp.queues import Queues
from tsnet.derp.upgrade import HeadReader

LOGIN_TIMEOUT = 10.0  # for the request head, and again for ClientInfo
KEEP_ALIVE = 60.0
KEEP_ALIVE_JITTER = 5.0

WRITE_TIMEOUT = 10.0
"""How long a link may stay full. Go gives one write 2 s; here a whole buffer of 1 MiB has to drain."""

NOT_HERE_RATE, NOT_HERE_BURST = 1.0, 3.0

NOBODY_RATE, NOBODY_BURST = 10_000.0, 50_000.0
"""Packets for peers that are not here, a second and at once. An application may go on sending for a while after its
peer has gone, at 100 Mbit/s; more than that is meant as a flood."""

TIMERS = ("login_by", "keep_alive_at", "write_by")
_timers = attrgetter(*TIMERS)


class Stage(Enum):
    HEAD = "head"
    LOGIN = "login"
    OPEN = "open"
    ENDING = "ending"


class Session:
    """is_paused: whether the edge was told to read no more. allowance: for frames that move nothing forward.
    for_nobody: for packets to peers that are not here.
    sources: whose packets this connection was sent, so that it is told when one of them goes.
    """

    __slots__ = (
        "allowance",
        "decoder",
        "for_nobody",
        "head",
        "is_paused",
        "is_preferred",
        "keep_alive_at",
        "keep_alive_every",
        "key",
        "link",
        "login_by",
        "not_here",
        "queues",
        "remote",
        "sources",
        "stage",
        "write_by",
    )

    def __init__(self, link: Link, remote: tuple[str, int], jitter: float, dropped: Counter[str], now: float) -> None:
        self.link: Link = link
        self.remote: tuple[str, int] = remote
        self.stage: Stage = Stage.HEAD
        self.key: NodeKey | None = None
        self.is_preferred: bool = False
        self.is_paused: bool = False
        self.allowance: Allowance = Allowance(now)
        self.for_nobody: Allowance = Allowance(now, NOBODY_RATE, NOBODY_BURST)
        self.sources: set[NodeKey] = set()
        self.head: HeadReader = HeadReader()
        self.decoder: Decoder = Decoder(MAX_CLIENT_INFO_SIZE)
        self.queues: Queues = Queues(dropped)
        self.not_here: TokenBucket = TokenBucket(NOT_HERE_RATE, NOT_HERE_BURST, now)
        self.keep_alive_every: float = KEEP_ALIVE + KEEP_ALIVE_JITTER * jitter
        self.login_by: float = now + LOGIN_TIMEOUT
        self.keep_alive_at: float = math.inf
        self.write_by: float = math.inf

    def deadline(self) -> float:
        at: float = min(_timers(self))
        return at

    def link_is_full(self, full: bool, now: float) -> None:
        self.queues.full = full
        self.write_by = now + WRITE_TIMEOUT if full else math.inf

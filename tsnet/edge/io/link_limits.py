"""How many links a listener keeps, in all and of one source, so that no source takes every descriptor.

    enter(link, host)  ->  ""         the link is counted until it leaves
                       ->  a reason   the link is to be closed at once, and counts in `refused`
    leave(link)

A source is a v4 address or a v6 /64 (`base.addresses.owner_of`). Loopback is no source: all nodes of a test come from
there, and all clients of a proxy in front, so it counts in the total alone. A link counts from `accept` on, before TLS
and before anybody has proved a key, until its descriptor is closed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import TYPE_CHECKING

from netstack.limits import SHARE, Shares
from tsnet.base.addresses import owner_of
from tsnet.errors import ConfigError

if TYPE_CHECKING:
    from tsnet.base.links import Link

MAX_LINKS = 4096
MAX_LINKS_OF_A_SOURCE = 256
"""A node has one link to its relay and one to control, for a moment two. One source takes this many of each listener:
of a relay's and control's together at most half of 1,024 descriptors."""

LOOPBACK = ("127.0.0.1", "::1")

FULL = "too many connections"
SOURCE_FULL = "too many connections of one source"
UNOPENED = "too many handshakes at once"
NO_DESCRIPTOR = "no descriptor left for this source"


class LinkLimits:
    """The counts outlive a listener: the links of its successor count together with those that are still there.

    refused: connections turned away, by reason. That includes the listener's own, UNOPENED and NO_DESCRIPTOR.
    """

    def __init__(self, most: int = MAX_LINKS, most_of_a_source: int = MAX_LINKS_OF_A_SOURCE) -> None:
        if most < 1 or most_of_a_source < 1:
            raise ConfigError(f"no connection is let in by a limit of {min(most, most_of_a_source)}")
        self.refused: Counter[str] = Counter()
        self._shares = Shares(most, each=most_of_a_source)
        self._source_of: dict[Link, Hashable] = {}

    def __len__(self) -> int:
        return len(self._source_of)

    def enter(self, link: Link, host: str) -> str:
        source = source_of(host)
        reason = self._shares.refusal(source)
        if reason is not None:
            refusal = SOURCE_FULL if reason == SHARE else FULL
            self.refused[refusal] += 1
            return refusal
        self._shares.take(source)
        self._source_of[link] = source
        return ""

    def leave(self, link: Link) -> None:
        """Stop counting the link. An unknown link is no error."""
        if link in self._source_of:
            self._shares.give_back(self._source_of.pop(link))


def source_of(host: str) -> Hashable:
    """Who counts as one source; None for loopback, which is nobody in particular."""
    return None if host in LOOPBACK else owner_of(host)

"""The addresses of STUN servers that control names without one: looked up by the edge, remembered here.

    find("derp.example", 4) ─► unknown: LookUp, and PENDING until LookedUp comes
                            ─► known: its first address of that family, or None if it has none

An answer is good for ten minutes, one without an address for 30 s. When it is old, the name is looked up again, and
the old one serves meanwhile: a resolver that fails for a moment takes no server away.

Source: Go net/netcheck/netcheck.go (nodeAddrPort), net/dnscache.
Not here: the look-up itself (the edge, `links.LookUp`).
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterator

from tsnet.base.addresses import IPAddress
from tsnet.base.links import Effect, Link, LookedUp, LookUp

GOOD_FOR, NONE_FOR = 600.0, 30.0
PATIENCE = 10.0
MAX_NAMES = 128


class Pending(enum.Enum):
    PENDING = "pending"


PENDING = Pending.PENDING


class _Known:
    """until: when it is to be looked up again. link: of the look-up under way, which is given up at `asked_until`."""

    __slots__ = ("addresses", "asked_until", "link", "until")

    def __init__(self) -> None:
        self.addresses: tuple[IPAddress, ...] | None = None
        self.until: float = 0.0
        self.link: Link | None = None
        self.asked_until: float = 0.0


class ServerNames:
    """dropped: "late look-up". effects: to be taken."""

    def __init__(self, dropped: Counter[str], generations: Iterator[int]) -> None:
        self.effects: list[Effect] = []
        self._dropped = dropped
        self._known: dict[str, _Known] = {}
        self._generations = generations

    def find(self, host: str, version: int, now: float) -> IPAddress | Pending | None:
        """One address of the host of that family."""
        known = self._known.get(host)
        if known is None:
            if len(self._known) >= MAX_NAMES:
                del self._known[next(iter(self._known))]
            known = self._known[host] = _Known()
        if known.link is not None and now >= known.asked_until:
            known.link, known.until = None, now + NONE_FOR
        elif known.link is None and now >= known.until:
            known.link, known.asked_until = Link("netcheck", host, next(self._generations)), now + PATIENCE
            self.effects.append(LookUp(known.link, host))
        if known.addresses is None:
            return PENDING if known.link is not None else None
        return next((address for address in known.addresses if address.version == version), None)

    def receive(self, event: LookedUp, now: float) -> None:
        known = self._known.get(str(event.link.name))
        if known is None or known.link != event.link:
            self._dropped["late look-up"] += 1
            return
        known.link = None
        if event.addresses:
            known.addresses, known.until = event.addresses, now + GOOD_FOR
        else:
            known.until = now + NONE_FOR

    def forget(self) -> None:
        """This is another network, whose resolver may know others: look up anew, and use the old ones meanwhile."""
        for known in self._known.values():
            known.until = 0.0

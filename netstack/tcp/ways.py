"""Connections that wait because nothing that leads to their peer has room: the ways of each link, and what waits.

    hold(way)      it has no room: nothing happens until a connection behind it has something to send
    waits(tcb)     every way of its link is full: the connection is kept here, and makes nothing
    release(way)   it has room: what waits behind it goes on, and nothing else is looked at
    set_ways       a link leads elsewhere now: what waits for it is judged anew

A link without ways of its own is its own only way. Many links may share a way, as hosts share a router. What a call
costs is what goes on because of it, however many links there are.

Not here: what a way is, and which of several a packet takes (the owner of the stack).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from netstack.tcp.tcb import Tcb


class Ways:
    """full: the ways without room. While there are none, nothing waits, and nobody need ask."""

    __slots__ = ("_behind", "_of", "_waiting", "full")

    def __init__(self) -> None:
        self.full: set[Hashable] = set()
        self._of: dict[Hashable, tuple[Hashable, ...]] = {}
        self._waiting: dict[Hashable, dict[Tcb, None]] = {}  # by link
        self._behind: dict[Hashable, dict[Hashable, None]] = {}  # the links for which something waits, by way

    def hold(self, way: Hashable) -> None:
        self.full.add(way)

    def release(self, way: Hashable) -> list[Tcb]:
        """Returns the connections that go on."""
        self.full.discard(way)
        return [tcb for link in list(self._behind.get(way, ())) for tcb in self._go_on(link)]

    def set_ways(self, link: Hashable, ways: Iterable[Hashable]) -> list[Tcb]:
        """Without any, the link is its own only way again. Returns the connections that go on."""
        waiting = self._go_on(link)
        new = tuple(ways)
        if new:
            self._of[link] = new
        else:
            self._of.pop(link, None)
        return [tcb for tcb in waiting if not self.waits(tcb)]

    def forget(self, link: Hashable) -> list[Tcb]:
        """The link is gone, and with it that it was full. Returns the connections that waited."""
        waited = self._go_on(link)
        self.full.discard(link)
        self._of.pop(link, None)
        return waited

    def waits(self, tcb: Tcb) -> bool:
        """Whether the connection must wait; then it is kept until it is returned by one of the others."""
        link = tcb.link
        ways = self._of.get(link) or (link,)
        if not self.full.issuperset(ways):
            return False
        if link not in self._waiting:
            self._waiting[link] = {}
            for way in ways:
                self._behind.setdefault(way, {})[link] = None
        self._waiting[link][tcb] = None
        return True

    def discard(self, tcb: Tcb) -> None:
        """The connection has ended."""
        waiting = self._waiting.get(tcb.link)
        if waiting is not None:
            waiting.pop(tcb, None)
            if not waiting:
                self._go_on(tcb.link)

    def _go_on(self, link: Hashable) -> list[Tcb]:
        """The connections that waited for the link, which wait no more."""
        waiting = self._waiting.pop(link, None)
        if waiting is None:
            return []
        for way in self._of.get(link) or (link,):
            behind = self._behind[way]
            behind.pop(link, None)
            if not behind:
                del self._behind[way]
        return list(waiting)

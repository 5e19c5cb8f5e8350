"""Under which links the stack has each peer's streams: a stream outlives the key that its peer had when it began.

| what control says                               | the peer's streams                                             |
|-------------------------------------------------|----------------------------------------------------------------|
| the peer has another key, and its old addresses | go on; the stack knows them by the old key                     |
| its key has expired                             | stay, and send in vain: TCP gives up after about 15 minutes    |
| it is valid again, with the old key or another  | go on at once, with packets that every path carries            |
| it has lost an address                          | those with that address end with the error `unreachable`:      |
|                                                 | another node may get it, and must not get the streams with it  |
| it is no peer any more                          | end with that error                                            |

Source: Go wgengine/netstack, whose connections know addresses alone and no keys.
Not here: sessions (`wireguard.device`), the node's own key, whose end leaves its streams as they are.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping

from netstack import Stack
from tsnet.disco.pathmtu import INNER_BASE
from tsnet.netmap.model import Node


class StreamLinks:
    """A link of the stack is the key that the peer had when the stream began."""

    __slots__ = ("_away", "_older", "_stack")

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._older: dict[bytes, tuple[bytes, ...]] = {}
        """By the key that a peer has now: those that it had before, under which it has streams."""
        self._away: dict[int, tuple[bytes, ...]] = {}
        """By the number of a node without a valid key: the links of its streams."""

    def __len__(self) -> int:
        return len(self._older) + len(self._away)

    def changed(self, nodes: Mapping[int, tuple[Node | None, Node | None]]) -> None:
        """Control says something else of these nodes, by number: before, after. This is told before `left` and the
        others."""
        for number in [number for number in self._away if number in nodes]:
            before, after = nodes[number]
            self._away[number] = kept = self._used(self._away[number], before, after)
            if not kept:
                del self._away[number]

    def left(self, key: bytes, before: Node, after: Node | None) -> None:
        """Nobody has that key any more. after: what the netmap says now of the node that had it; None if nothing."""
        if used := self._used((key, *self._older.pop(key, ())), before, after):
            self._away[before.id] = used

    def came(self, key: bytes, node: Node, now: float) -> None:
        """A node has that key, which nobody had before."""
        links = self._away.pop(node.id, ())
        if older := tuple(link for link in links if link != key):
            self._older[key] = older
        for link in links:
            self._stack.set_link_mtu(link, INNER_BASE, now)  # nothing is measured yet
            self._stack.path_restored(link, now)

    def stayed(self, key: bytes, before: Node, after: Node) -> None:
        """The key still has an owner: the node of before, of which control says something else, or another one."""
        for link in self._links(key):
            self._forget_lost(link, before, after)

    def path_restored(self, key: bytes, now: float) -> None:
        """What the peer's streams have lost need not wait any longer."""
        for link in self._links(key):
            self._stack.path_restored(link, now)

    def set_ways(self, key: bytes, ways: Iterable[Hashable]) -> None:
        """These paths lead to the peer."""
        ways = tuple(ways)
        for link in self._links(key):
            self._stack.set_ways(link, ways)

    def set_mtu(self, key: bytes, mtu: int, now: float) -> None:
        """Packets to the peer may have that size."""
        for link in self._links(key):
            self._stack.set_link_mtu(link, mtu, now)

    def _links(self, key: bytes) -> tuple[bytes, ...]:
        older = self._older.get(key)
        return (key,) if older is None else (key, *older)

    def _used(self, links: tuple[bytes, ...], before: Node | None, after: Node | None) -> tuple[bytes, ...]:
        """Those under which the node still has streams; the others are forgotten."""
        if after is not None and before is not None:
            for link in links:
                self._forget_lost(link, before, after)
        used = () if after is None else tuple(filter(self._stack.has_connections, links))
        for link in links:
            if link not in used:
                self._stack.forget_link(link)
        return used

    def _forget_lost(self, link: bytes, before: Node, after: Node) -> None:
        """End the streams with addresses that the node has lost."""
        if before.raw_addresses != after.raw_addresses:
            for address in set(before.ips).difference(after.ips):
                self._stack.forget_remote(link, address)

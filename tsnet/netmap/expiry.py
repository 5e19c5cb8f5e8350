"""Key expiry by control's clock: peers whose key has expired are marked, and no handshake with them can succeed.

Control's clock is the ControlTime of the last map message, carried on by our clock. A difference of a minute or less
counts as none, and a ControlTime from before this protocol was written is ignored (test servers send a fixed date).
Our own key is judged by control's clock as well, where Go takes the wall clock: as long as control tells the time, a
wrong clock on this machine expires no key.

Source: Go ipn/ipnlocal/expiry.go.
Not here: what an expired key of our own means (`tsnet.control.client.mapsession`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from heapq import heapify, heappop, heappush
from itertools import compress
from operator import is_

import attrs

from tsnet.base.compact import column
from tsnet.base.steps import finish
from tsnet.netmap.model import NetMap, Node
from tsnet.netmap.persistent import PersistentMap, differences_in_steps, is_mostly_new

BELIEVABLE_SINCE = 1_673_373_066.0
MIN_DIFFERENCE = 60.0
SPOILED = bytes((109, 167, 116, 213, 215, 116))
"""These bytes replace the front of an expired peer's key, so that no handshake with it can succeed."""

LEFT_OVER = 64
"""So many entries of the heap may be left over, and as many again as others: control may move an expiry as it likes."""

_key_expiries, _are_expired = column(Node, "key_expiry"), column(Node, "expired")


def control_clock_offset(control_time: float | None, unix_now: float) -> float:
    """Control's clock minus ours, in seconds; 0 where it is unknown, implausible or small."""
    if control_time is None or control_time < BELIEVABLE_SINCE:
        return 0.0
    difference = control_time - unix_now
    return difference if abs(difference) > MIN_DIFFERENCE else 0.0


def has_expired(node: Node, control_now: float) -> bool:
    return node.expired or (node.key_expiry is not None and node.key_expiry <= control_now)


class Expiries:
    """Marks the expired peers of one netmap after the other. That costs what changed from one to the next, and who
    expired in between: the others wait in a heap."""

    def __init__(self) -> None:
        self._now = -math.inf
        self._seen: Mapping[int, Node] = {}
        self._marked: Mapping[int, Node] = {}
        self._expired: set[int] = set()
        self._waiting: dict[int, float] = {}
        self._due: list[tuple[float, int]] = []
        """Who expires when. An entry counts if it says what `_waiting` says; the others are left over."""

    def mark(self, netmap: NetMap, control_now: float) -> tuple[NetMap, float]:
        """The netmap with expired peers marked, and when the next peer expires (by control's clock; inf if never).

        netmap: as control describes it, without any marks.
        """
        was_later, last = control_now < self._now, self._seen
        self._now, self._seen = control_now, netmap.peers
        if is_mostly_new(last, netmap.peers):
            self._begin_anew()
        else:
            self._go_on_from(last, was_later=was_later)
        if self._expired:
            netmap = attrs.evolve(netmap, peers=self._marked)
        return netmap, self._due[0][0] if self._due else math.inf

    def _begin_anew(self) -> None:
        """Judge all peers, whatever was known of them."""
        peers, now = self._seen, self._now
        expiries = zip(peers, _key_expiries(peers.values()), strict=True)
        self._waiting = {number: at for number, at in expiries if at is not None}
        self._expired = {number for number, at in self._waiting.items() if at <= now}
        self._expired.update(compress(peers, _are_expired(peers.values())))
        for number in self._expired:
            self._waiting.pop(number, None)
        self._marked = _changed(peers, {number: _expired(peers[number]) for number in self._expired}, ())
        self._sort_waiting()

    def _go_on_from(self, last: Mapping[int, Node], *, was_later: bool) -> None:
        """Judge the peers that have changed, and those whose time has come or, if the clock was set back, has not."""
        changes = finish(differences_in_steps(last, self._seen, same=is_))
        gone = [number for number, (_, peer) in changes.items() if peer is None]
        marks = {number: self._judge(peer) for number, (_, peer) in changes.items() if peer is not None}
        for number in gone:
            self._expired.discard(number)
            self._waiting.pop(number, None)
        for number in (*self._take_due(), *(self._take_revived() if was_later else ())):
            marks[number] = self._judge(self._seen[number])
        self._marked = _changed(self._marked, marks, gone) if self._expired else self._seen

    def _judge(self, peer: Node) -> Node:
        """The peer as it is shown. A peer whose time has not come waits for it."""
        number, expiry = peer.id, peer.key_expiry
        if has_expired(peer, self._now):
            self._expired.add(number)
            self._waiting.pop(number, None)
            return _expired(peer)
        self._expired.discard(number)
        if expiry is None:
            self._waiting.pop(number, None)
        elif self._waiting.get(number) != expiry:
            self._waiting[number] = expiry
            heappush(self._due, (expiry, number))
        return peer

    def _sort_waiting(self) -> None:
        """The heap anew, without what is left over."""
        self._due = [(at, number) for number, at in self._waiting.items()]
        heapify(self._due)

    def _take_due(self) -> list[int]:
        """Who waits for a time that has come. What is left over goes, at the top or when it is the greater part."""
        if len(self._due) > 2 * len(self._waiting) + LEFT_OVER:
            self._sort_waiting()
        found: list[int] = []
        while self._due:
            at, number = self._due[0]
            if self._waiting.get(number) != at:
                heappop(self._due)
            elif at <= self._now:
                heappop(self._due)
                found.append(number)
            else:
                break
        return found

    def _take_revived(self) -> list[int]:
        """Who has not expired after all: the clock was set back."""
        return [number for number in self._expired if not has_expired(self._seen[number], self._now)]


def _changed(marked: Mapping[int, Node], marks: Mapping[int, Node], gone: Iterable[int]) -> PersistentMap[int, Node]:
    known = marked if isinstance(marked, PersistentMap) else PersistentMap(marked.items())
    return known.changed(marks, gone)


def _expired(peer: Node) -> Node:
    key = SPOILED + peer.raw_key[len(SPOILED) :]
    return attrs.evolve(peer, key=key, expired=True, endpoints=(), home_region=0)

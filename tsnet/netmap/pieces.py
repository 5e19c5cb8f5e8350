"""A large change of the netmap as several small ones, which the node takes in one turn after the other.

    1   peers that leave                        PEERS of them in each piece
    2   everything that is no peer: the filter, our own addresses, …
    3   peers that appear or change             PEERS of them in each piece; the last piece ends with the very netmap

Each piece leads from one netmap to another, so whoever can apply a change can apply a piece. In this order no peer
meets a filter from before its time. A small change is one piece.

Not here: what readers in other threads see meanwhile (`tsnet.engine.netmapadoption`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice

import attrs

from tsnet.netmap.changes import Changes, NodeChange
from tsnet.netmap.model import NetMap
from tsnet.netmap.persistent import PersistentMap

PEERS = 128
"""How many peers change in one piece, which takes some milliseconds."""


def in_pieces(changes: Changes, peers: int = PEERS) -> Iterator[Changes]:
    """Changes that come to the same, in order."""
    if len(changes.peers) <= peers:
        yield changes
        return
    before = changes.before
    for part in _parts(changes, peers, are_left=True):
        assert before is not None, "of a first netmap, no peer leaves"
        after = _with(before, part)
        yield Changes(before, after, part)
        before = after
    known = PersistentMap() if before is None else before.peers
    after = attrs.evolve(changes.after, peers=known)
    yield Changes(before, after, {})
    *parts, last = [*_parts(changes, peers, are_left=False)] or [{}]
    for part in parts:
        before, after = after, _with(after, part)
        yield Changes(before, after, part)
    yield Changes(after, changes.after, last)


def _parts(changes: Changes, peers: int, *, are_left: bool) -> Iterator[Mapping[int, NodeChange]]:
    """The changes of peers that have left, or of the others, some at a time."""
    now, peers_of = changes.after.peers, changes.peers
    found = ((number, peers_of[number]) for number in peers_of if (number not in now) == are_left)
    while part := dict(islice(found, peers)):
        yield part


def _with(netmap: NetMap, changes: Mapping[int, NodeChange]) -> NetMap:
    peers = netmap.peers if isinstance(netmap.peers, PersistentMap) else PersistentMap(netmap.peers.items())
    now = {number: after for number, (_, after) in changes.items() if after is not None}
    return attrs.evolve(netmap, peers=peers.changed(now, changes.keys() - now.keys()))

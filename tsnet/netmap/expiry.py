"""Key expiry by control's clock: peers whose key has expired are marked, and no handshake with them can succeed.

Control's clock is the ControlTime of the last map message, carried on by our clock. A difference of a minute or less
counts as none, and a ControlTime from before this protocol was written is ignored (test servers send a fixed date).
Our own key is judged by control's clock as well, where Go takes the wall clock: as long as control tells the time, a
wrong clock on this machine expires no key.

Source: Go ipn/ipnlocal/expiry.go.
Not here: what an expired key of our own means (`tsnet.control.mapsession`).
"""

from __future__ import annotations

import math

import attrs

from tsnet.base.keys import NodeKey
from tsnet.netmap.model import NetMap, Node

BELIEVABLE_SINCE = 1_673_373_066.0
MIN_DIFFERENCE = 60.0
SPOILED = bytes((109, 167, 116, 213, 215, 116))
"""These bytes replace the front of an expired peer's key, so that no handshake with it can succeed."""


def control_clock_offset(control_time: float | None, unix_now: float) -> float:
    """Control's clock minus ours, in seconds; 0 where it is unknown, implausible or small."""
    if control_time is None or control_time < BELIEVABLE_SINCE:
        return 0.0
    difference = control_time - unix_now
    return difference if abs(difference) > MIN_DIFFERENCE else 0.0


def has_expired(node: Node, control_now: float) -> bool:
    return node.expired or (node.key_expiry is not None and node.key_expiry <= control_now)


def expire(netmap: NetMap, control_now: float) -> tuple[NetMap, float]:
    """The netmap with expired peers marked, and when the next peer expires (by control's clock; inf if never)."""
    next_at = math.inf
    expired: dict[int, Node] = {}
    for peer in netmap.peers.values():
        if has_expired(peer, control_now):
            expired[peer.id] = _expired(peer)
        elif peer.key_expiry is not None:
            next_at = min(next_at, peer.key_expiry)
    if expired:
        netmap = attrs.evolve(netmap, peers={**netmap.peers, **expired})
    return netmap, next_at


def _expired(peer: Node) -> Node:
    key = NodeKey(SPOILED + peer.key[len(SPOILED) :])
    return attrs.evolve(peer, key=key, expired=True, endpoints=(), home_region=0)

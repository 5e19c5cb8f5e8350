"""Keys that have expired by control's clock: such peers are marked and cannot be reached.

Control's clock is its ControlTime at the last map message, carried on by ours; a difference below a minute is not
believed, nor a ControlTime that would put us before this protocol was written (test servers send a fixed date). Our
own key is judged by it as well (Go judges that by the wall clock): a machine whose clock is a day ahead has a key that
is as good as before.

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
"""Written over the front of an expired peer's key, so that no handshake with it can succeed."""


def control_clock_offset(control_time: float | None, unix_now: float) -> float:
    """Control's clock minus ours, 0 where that is not worth believing."""
    if control_time is None or control_time < BELIEVABLE_SINCE:
        return 0.0
    difference = control_time - unix_now
    return difference if abs(difference) > MIN_DIFFERENCE else 0.0


def has_expired(node: Node, control_now: float) -> bool:
    return node.expired or (node.key_expiry is not None and node.key_expiry <= control_now)


def expire(netmap: NetMap, control_now: float) -> tuple[NetMap, float]:
    """The netmap with expired peers marked, and when (by control's clock) the next one will; inf if never."""
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

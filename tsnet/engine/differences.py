"""What an application and the trace are told when one netmap takes another's place: who left, who came, who changed.

Not here: how the two were told apart (`netmap.changes`).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from tsnet.base.trace import Trace
from tsnet.engine.facts import Fact, NetMapChanged, PeerAppeared, PeerChanged, PeerLeft
from tsnet.netmap.changes import Changes

MAX_TRACED = 20
"""How many peers are traced by name when one netmap takes another's place; all are counted."""


def differences(changes: Changes) -> Iterator[Fact]:
    """The facts that tell the two netmaps apart, each made when it is taken. Peers that left come first."""
    now, peers = changes.after.peers, changes.peers
    for before, _after in (peers[number] for number in peers if number not in now):
        if before is not None:
            yield PeerLeft(before)
    for before, after in (peers[number] for number in peers if number in now):
        if after is not None:
            yield PeerAppeared(after) if before is None else PeerChanged(after, before)
    yield NetMapChanged(changes.after)


def trace_changes(changes: Changes, trace: Trace) -> None:
    peers, regions = len(changes.after.peers), len(changes.after.derp_map.regions)
    if changes.before is None:
        trace("first netmap", peers=peers, addresses=changes.after.self_node.ips, relay_regions=regions)
        return
    trace("netmap", peers=peers, changed=len(changes.peers), relay_regions=regions)
    for before, after in islice(changes.peers.values(), MAX_TRACED):
        if before is None and after is not None:
            trace("peer appeared", name=after.name, key=after.key)
        elif before is not None:
            trace("peer left" if after is None else "peer changed", name=before.name, key=before.key)

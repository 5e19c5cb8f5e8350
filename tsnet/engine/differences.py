"""What an application is told when one netmap takes another's place: who left, who came, who changed.

Not here: how the two were told apart (`netmap.changes`).
"""

from __future__ import annotations

from tsnet.engine.facts import Fact, NetMapChanged, PeerAppeared, PeerChanged, PeerLeft
from tsnet.netmap.changes import Changes


def differences(changes: Changes) -> list[Fact]:
    """The facts that tell the two netmaps apart. Peers that left come first."""
    left: list[Fact] = []
    found: list[Fact] = []
    for before, after in changes.peers.values():
        if after is None:
            left += [] if before is None else [PeerLeft(before)]
        else:
            found.append(PeerAppeared(after) if before is None else PeerChanged(after, before))
    return [*left, *found, NetMapChanged(changes.after)]

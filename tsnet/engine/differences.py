"""What an application is told when one netmap takes another's place: who left, who came, who changed.

Not here: how the netmap was merged (`netmap.merge`).
"""

from __future__ import annotations

from tsnet.engine.facts import Fact, NetMapChanged, PeerAppeared, PeerChanged, PeerLeft
from tsnet.netmap.model import NetMap


def differences(before: NetMap, after: NetMap) -> list[Fact]:
    """The facts that tell the two netmaps apart. Peers that left come first."""
    found: list[Fact] = []
    found += [PeerLeft(peer) for number, peer in before.peers.items() if number not in after.peers]
    for number, peer in after.peers.items():
        known = before.peers.get(number)
        if known is None:
            found.append(PeerAppeared(peer))
        elif known != peer:
            found.append(PeerChanged(peer, known))
    found.append(NetMapChanged(after))
    return found

"""The status of a node and of its peers: snapshots of what control has sent, and of the paths to peers.

Nobody is asked for them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

from tsnet.base.addresses import IPAddress
from tsnet.engine.peerpath import NO_PATH, PeerPath

if TYPE_CHECKING:
    from tsnet.netmap.model import NetMap, Node
    from tsnet.netmap.whois import Peer, Whois


@attrs.frozen
class PeerStatus:
    """One peer, as control last described it. online: None if control does not say.

    path: how this node reaches it, or did when it last sent to it; it is false if nothing was sent to that peer.
    """

    name: str
    fqdn: str
    addresses: tuple[IPAddress, ...]
    user_login: str
    user_name: str
    tags: tuple[str, ...]
    online: bool | None
    last_seen: float | None
    home_region: int
    os: str
    routes: tuple[str, ...]
    path: PeerPath = NO_PATH


@attrs.frozen
class Status:
    """state: "stopped", "starting", "needs-login", "needs-approval", "running", "expired", "failed", "logged-out",
    "closing", "closed".

    is_stale: whether all of this is as an earlier process has kept it: control has not answered since the start.
    """

    state: str
    hostname: str
    control_url: str
    name: str = ""
    fqdn: str = ""
    addresses: tuple[IPAddress, ...] = ()
    user_login: str = ""
    tags: tuple[str, ...] = ()
    home_region: int = 0
    login_url: str = ""
    key_expiry: float | None = None
    health: tuple[str, ...] = ()
    peers: tuple[PeerStatus, ...] = ()
    is_stale: bool = False


def peer_status(node: Node, whois: Whois, path: PeerPath = NO_PATH) -> PeerStatus:
    peer: Peer | None = whois.peer(node.key)
    return PeerStatus(
        name=whois.name(node),
        fqdn=node.name,
        addresses=node.ips,
        user_login=peer.user_login if peer else "",
        user_name=peer.user_name if peer else "",
        tags=node.tags,
        online=node.online,
        last_seen=node.last_seen,
        home_region=node.home_region,
        os=str(node.hostinfo.get("OS", "")),
        routes=tuple(map(str, node.routes)),
        path=path,
    )


def peers_of(
    netmap: NetMap, whois: Whois, path_to: Callable[[bytes], PeerPath] = lambda _key: NO_PATH
) -> tuple[PeerStatus, ...]:
    """All peers, ordered by name."""
    statuses = (peer_status(node, whois, path_to(node.key)) for node in netmap.peers.values())
    return tuple(sorted(statuses, key=lambda peer: peer.name))

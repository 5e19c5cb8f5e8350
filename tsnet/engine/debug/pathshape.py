"""`debug("paths")`: how each peer is reached that was sent to, or that asks: its candidates, what answers, and why.

    told_by of a candidate     netmap | call-me-maybe | ping
    path                       as in `status()`; the routes below it, the best first

A peer that neither side has tried to reach has no state, and is only counted.

Not here: how a path is chosen (`disco.directpath`, `disco.better`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tsnet.base.keys import NodeKey
from tsnet.disco.candidates import CALLED, NETMAP, Candidate
from tsnet.engine.debug.plain import Plain, address, ago, ahead, counts, destination, span
from tsnet.engine.peerpath import path_by

if TYPE_CHECKING:
    from tsnet.base.addresses import UdpAddress
    from tsnet.disco.directpath import DirectPath
    from tsnet.disco.relaypath import RelayPath
    from tsnet.engine.node import Node
    from tsnet.netmap.model import DerpMap


def paths_shape(node: Node, now: float) -> Plain:
    """Of all peers, now."""
    paths, modes = node.engine.paths, node.engine.paths.modes
    keys = paths.peers_with_state()
    peers = [peer for key in keys if (peer := _peer(node, key, now)) is not None]
    return {
        "endpoints": list(map(address, paths.endpoints)),
        "modes": {
            "udp": modes.udp,
            "direct": modes.direct,
            "peer_relays": modes.relays,
            "silent": modes.silent,
            "loopback": modes.loopback,
        },
        "peers": sorted(peers, key=lambda peer: (peer["name"], peer["key"])),
        "without_state": max(0, len(node.netmap.peers) - len(peers)) if node.netmap is not None else 0,
        "dropped": counts(paths.dropped),
    }


def _peer(node: Node, key: bytes, now: float) -> Plain | None:
    peer = node.engine.peers.get(key)
    if peer is None:
        return None
    paths = node.engine.paths
    routes, direct, relayed = paths.routes(key), paths.direct(key), paths.by_peer_relay(key)
    return {
        "name": peer.name,
        "key": str(NodeKey(key)),
        "addresses": list(map(str, peer.ips)),
        "path": str(path_by(routes, _derp_map(node))),
        "routes": list(map(destination, routes)),
        "home_region": peer.home_region,
        "speaks_disco": peer.disco_key is not None,
        "direct": None if direct is None else _direct(direct, now),
        "peer_relay": None if relayed is None else _relayed(relayed, now),
        "session": _session(node, key, now),
    }


def _derp_map(node: Node) -> DerpMap | None:
    return None if node.netmap is None else node.netmap.derp_map


def _direct(direct: DirectPath, now: float) -> Plain:
    return {
        "best": None if direct.best is None else address(direct.best),
        **_trust(direct, now),
        "is_active": direct.is_active,
        "sent_ago": ago(direct.sent_at, now),
        "next_round_in": ahead(direct.discover_at, now),
        "candidates": [_candidate(direct, where, now) for where in direct.candidates],
    }


def _relayed(path: RelayPath, now: float) -> Plain:
    return {
        "best": None if path.best is None else destination(path.best),
        **_trust(path, now),
        "is_active": path.is_active(now),
    }


def _trust(path: DirectPath | RelayPath, now: float) -> Plain:
    return {
        "is_trusted": path.is_trusted,
        "trusted_for": ahead(path.lapse_at, now) if path.is_trusted else None,
        "latency": span(path.latency),
        "why": path.why,
    }


def _candidate(direct: DirectPath, where: UdpAddress, now: float) -> Plain:
    candidate = direct.candidates.get(where) or Candidate()
    told_by = [word for bit, word in ((NETMAP, "netmap"), (CALLED, "call-me-maybe")) if candidate.listed & bit]
    heard_ago = ago(candidate.heard_at, now)
    return {
        "address": address(where),
        "is_best": where == direct.best,
        "told_by": told_by + (["ping"] if heard_ago is not None else []),
        "pinged_ago": ago(candidate.pinged_at, now),
        "heard_ago": heard_ago,
        "answered_ago": ago(candidate.answered_at, now),
        "latency": span(candidate.latency),
        "carries_no_data": candidate.only_large,
    }


def _session(node: Node, key: bytes, now: float) -> Plain | None:
    """Of WireGuard."""
    status = node.engine.device.status(key)
    if status is None:
        return None
    return {
        "is_up": status.has_session,
        "handshake_ago": ago(status.last_handshake, now),
        "sent_bytes": status.sent_bytes,
        "received_bytes": status.received_bytes,
        "waiting_packets": status.staged_packets,
    }

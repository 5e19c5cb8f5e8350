"""What one node may know of the tailnet, and the smallest message that brings it from one view to the next.

    stream opens    first(view)              everything, including Node
    later           difference(old, new)     None if there is nothing to tell

| what changed in a peer                                        | goes out as        |
|---------------------------------------------------------------|--------------------|
| endpoints, home, disco key, key expiry, online, last seen      | PeersChangedPatch  |
| anything else, or one of these was removed                    | PeersChanged, whole |

A stream that fell behind skips the states in between: only what it was told last and what is true now matter. An empty
Peers cannot say that no peer is left, since Go reads it as "no change"; `difference` uses PeersRemoved. A time at which
a peer was last seen goes with `online: false` alone.

Source: Go tailcfg.MapResponse, tailcfg.PeerChange; control/controlclient/map.go for how they are read.
Not here: who may see whom (`policy`), bytes (`messages`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from tsnet.control.server.members import Member
from tsnet.control.server.tailnet import TailnetState
from tsnet.netmap.merge import DerpMapUpdate, MapUpdate, PeerChange
from tsnet.netmap.model import DerpMap, DnsConfig, FilterRule, Node, UserProfile

PATCHABLE = frozenset({"endpoints", "home_region", "disco_key", "key_expiry", "online", "last_seen"})
NO_NEWS_TO_ITSELF = frozenset({"endpoints", "home_region", "hostinfo", "capability_version", "online", "last_seen"})
"""A node knows these about itself, so its own Node is not sent again for them."""

_NODE_FIELDS = tuple((field.name, field.alias or field.name) for field in attrs.fields(Node))
"""As the node keeps them, and as they are given."""


@attrs.frozen
class View:
    node: Node
    peers: Mapping[int, Node]
    users: Mapping[int, UserProfile]
    rules: tuple[FilterRule, ...]
    derp_map: DerpMap
    dns: DnsConfig
    domain: str


def view(tailnet: TailnetState, member: Member) -> View:
    node, peers = tailnet.self_node(member), tailnet.peers_of(member)
    users = {user: tailnet.users[user] for user in sorted({node.user, *(peer.user for peer in peers.values())})}
    rules = tailnet.rules_for(member)
    return View(node, peers, users, rules, tailnet.derp_map, tailnet.dns, tailnet.base_domain)


def first(now: View, unix_now: float) -> MapUpdate:
    return MapUpdate(
        node=now.node,
        peers=_by_id(now.peers),
        users=tuple(now.users.values()),
        derp_map=_derp_map(now.derp_map),
        packet_filter=now.rules,
        dns=now.dns,
        domain=now.domain,
        control_time=unix_now,
    )


def difference(old: View, now: View) -> MapUpdate | None:
    changed: dict[int, Node] = {}
    patches: list[PeerChange] = []
    for node_id, peer in now.peers.items():
        before = old.peers.get(node_id)
        if before is peer:
            continue
        if before is None:
            changed[node_id] = peer
        elif fields := _differing(before, peer):
            patch = _of_a_patch(fields)
            if set(patch) <= PATCHABLE and all(value is not None and value != 0 for value in _amounts(patch)):
                patches.append(PeerChange(node_id, patch))
            else:
                changed[node_id] = peer
    update = MapUpdate(
        node=now.node if set(_differing(old.node, now.node)) - NO_NEWS_TO_ITSELF else None,
        peers_changed=_by_id(changed),
        peers_removed=tuple(sorted(set(old.peers) - set(now.peers))),
        patches=tuple(sorted(patches, key=lambda change: change.node_id)),
        users=tuple(user for user_id, user in now.users.items() if old.users.get(user_id) != user),
        derp_map=_derp_map(now.derp_map) if now.derp_map != old.derp_map else None,
        packet_filter=now.rules if now.rules != old.rules else None,
        dns=now.dns if now.dns != old.dns else None,
        domain=now.domain if now.domain != old.domain else "",
    )
    return None if update == MapUpdate() else update


def _differing(old: Node, now: Node) -> dict[str, Any]:
    if old is now:
        return {}
    return {name: getattr(now, name) for kept, name in _NODE_FIELDS if getattr(now, kept) != getattr(old, kept)}


def _amounts(fields: Mapping[str, Any]) -> list[Any]:
    """The values that a patch cannot remove. It can set a flag to false, and a list to an empty one."""
    return [value for name, value in fields.items() if name not in ("online", "endpoints")]


def _of_a_patch(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Whoever comes online loses the time at which it was last seen; `online` alone says so."""
    return {name: value for name, value in fields.items() if name != "last_seen" or not fields.get("online")}


def _by_id(nodes: Mapping[int, Node]) -> tuple[Node, ...]:
    return tuple(nodes[node_id] for node_id in sorted(nodes))


def _derp_map(derp_map: DerpMap) -> DerpMapUpdate:
    return DerpMapUpdate(derp_map.regions, derp_map.region_score or None, derp_map.omit_default_regions)

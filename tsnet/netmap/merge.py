"""How one map message changes the netmap: values in, a new value out.

| step | field                         | rule                                                                     |
|------|-------------------------------|--------------------------------------------------------------------------|
| 1    | node                          | replaces ourselves; the first message of a stream must bring it          |
| 2    | peers                         | not empty: the whole list, and every other peer delta here is ignored    |
| 3    | peers_removed, peers_changed  | delete, then insert or replace by id                                     |
| 4    | peers_seen, online, patches   | in this order; ids nobody knows are ignored                              |
| 5    | packet_filter, packet_filters | the name "base"; then a null "*" clears all, null deletes, rules set      |
| 6    | derp_map                      | regions, unless there are none, replace all; scores likewise             |
| 7    | the rest                      | absent is unchanged; users and display messages are added by id          |

What a message leaves alone is the same object in the new netmap as in the old one, and so is a peer that control sends
again as it was. The peers are a `PersistentMap`. So `Changes.between` finds at once what is new, whatever the message.

The first message of a stream (`begin`) should hold everything. Go forgets what it leaves out. Here a control server
that has just restarted does not take away what a node needs in order to be reached:

| left out of a first message       | then                                                                            |
|-----------------------------------|---------------------------------------------------------------------------------|
| node                              | the message is refused                                                          |
| peers, packet_filter(s)           | none, as in Go: nobody may reach anybody unless control still says so           |
| health, display_messages          | none, as in Go: they describe the present state                                 |
| is_locked                         | False, as in Go: Tailnet Lock is off                                            |
| derp_map, or one without regions  | the last one: without a relay the node is gone                                  |
| dns, domain, users                | the last ones, if this is still the same node; of users those that a node names |
| control_time                      | the last one                                                                    |

Source: Go tailcfg.MapResponse; control/controlclient/map.go handleNonKeepAliveMapResponse, updateStateFromResponse;
ipn/ipnlocal/local.go, which passes a missing DERPMap on to magicsock and so closes every relay.
Not here: JSON (`tsnet.control.messages`), what expires with time (`expiry`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any, TypeVar

import attrs

from tsnet.base.malformed import MalformedError
from tsnet.base.records import record
from tsnet.base.steps import Steps, finish
from tsnet.netmap.model import DerpMap, DerpRegion, DnsConfig, FilterRule, NetMap, Node, UserProfile
from tsnet.netmap.persistent import PersistentMap

BASE_FILTER = "base"
"""The name under which the unnamed PacketFilter is kept."""

CLEAR_ALL = "*"

A_STEP = 256
"""How many peers or rules are compared with those that we know in one step."""

T = TypeVar("T")

FilterRules = tuple[FilterRule, ...]


@record
class PeerChange:
    """A patch of one peer. fields: the new values of Node's fields, by name."""

    node_id: int
    fields: Mapping[str, Any]


@record
class DerpMapUpdate:
    """A change of the DERP map. A field that is None keeps what was there, and so do empty regions."""

    regions: Mapping[int, DerpRegion] | None = None
    region_score: Mapping[int, float] | None = None
    omit_default_regions: bool = False


@record
class MapUpdate:
    """The state that one map message carries. None means unchanged; so does an empty value, except for `packet_filter`
    and `health`, where it means none."""

    node: Node | None = None
    peers: tuple[Node, ...] = ()
    peers_changed: tuple[Node, ...] = ()
    peers_removed: tuple[int, ...] = ()
    peers_seen: Mapping[int, bool] = attrs.field(factory=dict)
    online: Mapping[int, bool] = attrs.field(factory=dict)
    patches: tuple[PeerChange, ...] = ()
    users: tuple[UserProfile, ...] = ()
    derp_map: DerpMapUpdate | None = None
    packet_filter: FilterRules | None = None
    packet_filters: Mapping[str, FilterRules | None] = attrs.field(factory=dict)
    dns: DnsConfig | None = None
    domain: str = ""
    health: tuple[str, ...] | None = None
    display_messages: Mapping[str, Mapping[str, Any] | None] = attrs.field(factory=dict)
    control_time: float | None = None
    is_locked: bool | None = None
    is_recognised: bool = attrs.field(default=False, eq=False, repr=False)
    """Whether `recognise` has been here."""
    peers_by_id: PersistentMap[int, Node] | None = attrs.field(default=None, eq=False, repr=False)
    """What `recognise` has made of `peers`."""


def begin(last: NetMap | None, update: MapUpdate, unix_now: float) -> NetMap:
    """The netmap after the first message of a stream. last: the netmap of the stream before, if there was one.

    Raises MalformedError if the message lacks our own node.
    """
    if update.node is None:
        raise MalformedError("the first map message has no Node")
    if last is None:
        return merge(NetMap(update.node), update, unix_now)
    peers = last.peers if update.peers else {}  # those that come again as they were are shared
    kept = NetMap(update.node, peers, derp_map=last.derp_map, control_time=last.control_time)
    if last.self_node.stable_id == update.node.stable_id:
        kept = attrs.evolve(kept, dns=last.dns, domain=last.domain, users=last.users)
    netmap = merge(kept, finish(recognise(update, last)), unix_now)
    return without_unnamed_users(netmap, (user.id for user in update.users))


def without_unnamed_users(netmap: NetMap, told: Iterable[int] = ()) -> NetMap:
    """The netmap with no users but those that a node names, and those whom control has told of just now."""
    nodes = (netmap.self_node, *netmap.peers.values())
    named = {number for node in nodes for number in (node.user, node.sharer)}.union(told)
    users = PersistentMap((number, user) for number, user in netmap.users.items() if number in named)
    return attrs.evolve(netmap, users=users)


def merge(old: NetMap, update: MapUpdate, unix_now: float) -> NetMap:
    """The netmap after a later message."""
    update = finish(recognise(update, old))
    filters = _filters(old.named_filters, update)
    return attrs.evolve(
        old,
        self_node=update.node or old.self_node,
        peers=_peers(old.peers, update, unix_now),
        users=_users(old.users, update.users),
        derp_map=_derp_map(old.derp_map, update.derp_map),
        named_filters=filters,
        packet_filter=old.packet_filter if filters is old.named_filters else _effective(filters),
        dns=old.dns if update.dns is None else update.dns,
        domain=update.domain or old.domain,
        health=old.health if update.health is None else update.health,
        display_messages=_upserted(old.display_messages, update.display_messages),
        control_time=old.control_time if update.control_time is None else update.control_time,
        is_locked=old.is_locked if update.is_locked is None else update.is_locked,
    )


def recognise(update: MapUpdate, last: NetMap | None) -> Steps[MapUpdate]:
    """The update with the objects that we have in the place of peers and rules that are as we know them, and with the
    mapping of all peers. Pure: what is large may be recognised on any thread, before it is merged with a netmap that
    has changed no more since."""
    is_new = update.peers or update.packet_filter or update.packet_filters
    if update.is_recognised or not is_new:
        return update
    peers, rules, filters = update.peers, update.packet_filter, dict(update.packet_filters)
    if last is not None:
        known = last.named_filters or {}
        peers = yield from _as_known(peers, [last.peers.get(peer.id) for peer in peers])
        if rules is not None:
            rules = yield from _as_known(rules, known.get(BASE_FILTER, ()))
        for name, found in filters.items():
            if found is not None:
                filters[name] = yield from _as_known(found, known.get(name, ()))
    by_id = _by_id({} if last is None else last.peers, peers) if peers else None
    return attrs.evolve(
        update, peers=peers, peers_by_id=by_id, packet_filter=rules, packet_filters=filters, is_recognised=True
    )


def _by_id(last: Mapping[int, Node], peers: Iterable[Node]) -> PersistentMap[int, Node]:
    """These peers and no others, in a mapping that shares with the last one whatever it can."""
    known = last if isinstance(last, PersistentMap) else PersistentMap(last.items())
    return known.replaced((peer.id, peer) for peer in peers)


def _as_known(values: Sequence[T], known: Sequence[T | None]) -> Steps[tuple[T, ...]]:
    """Values, each as the object at its place in `known` if that equals it."""
    found: list[T] = []
    for number, (value, old) in enumerate(zip_longest(values, known[: len(values)])):
        found.append(old if old is not None and old == value else value)
        if number % A_STEP == A_STEP - 1:
            yield
    return tuple(found)


def _peers(old: Mapping[int, Node], update: MapUpdate, unix_now: float) -> Mapping[int, Node]:
    if update.peers:
        return update.peers_by_id or _by_id(old, update.peers)
    changes = _PeerChanges(old)
    for node_id in update.peers_removed:
        changes.remove(node_id)
    for peer in update.peers_changed:
        changes.put(peer)
    for node_id, seen in update.peers_seen.items():
        changes.patch(node_id, {"last_seen": unix_now if seen else None})
    for node_id, online in update.online.items():
        changes.patch(node_id, {"online": online})
    for change in update.patches:
        changes.patch(change.node_id, change.fields)
    return changes.applied()


def _users(old: Mapping[int, UserProfile], news: Iterable[UserProfile]) -> Mapping[int, UserProfile]:
    changed = {user.id: user for user in news}
    if not changed:
        return old
    known = old if isinstance(old, PersistentMap) else PersistentMap(old.items())
    return known.changed(changed)


class _PeerChanges:
    """What one message does to the peers, collected before the mapping is changed once."""

    def __init__(self, old: Mapping[int, Node]) -> None:
        self._old = old
        self._now: dict[int, Node | None] = {}

    def remove(self, node_id: int) -> None:
        self._now[node_id] = None

    def put(self, peer: Node) -> None:
        self._now[peer.id] = peer

    def patch(self, node_id: int, fields: Mapping[str, Any]) -> None:
        """Change fields of a peer, unless nobody knows it."""
        peer = self._now[node_id] if node_id in self._now else self._old.get(node_id)
        if peer is not None:
            self._now[node_id] = attrs.evolve(peer, **fields)

    def applied(self) -> Mapping[int, Node]:
        if not self._now:
            return self._old
        old = self._old if isinstance(self._old, PersistentMap) else PersistentMap(self._old.items())
        gone = [node_id for node_id, peer in self._now.items() if peer is None]
        changed = {
            node_id: peer for node_id, peer in self._now.items() if peer is not None and peer != self._old.get(node_id)
        }
        return old.changed(changed, gone)


def _filters(old: Mapping[str, FilterRules] | None, update: MapUpdate) -> Mapping[str, FilterRules] | None:
    """The filters by name; None as long as control has said nothing about them."""
    if update.packet_filter is None and not update.packet_filters:
        return old
    filters = dict(old or {})
    if update.packet_filter is not None:
        filters[BASE_FILTER] = update.packet_filter
    return _upserted(filters, update.packet_filters)


def _effective(filters: Mapping[str, FilterRules] | None) -> FilterRules | None:
    if filters is None:
        return None
    return tuple(rule for name in sorted(filters) for rule in filters[name])


def _derp_map(old: DerpMap, update: DerpMapUpdate | None) -> DerpMap:
    if update is None:
        return old
    score = old.region_score if update.region_score is None else update.region_score
    if not update.regions:
        return attrs.evolve(old, region_score=score)
    return DerpMap(update.regions, score, update.omit_default_regions)


def _upserted(old: Mapping[str, Any], changes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Apply changes to named filters or display messages: "*" first, wherever it stands in the message."""
    if not changes:
        return old
    merged: dict[str, Any] = {} if CLEAR_ALL in changes and changes[CLEAR_ALL] is None else dict(old)
    for name, value in changes.items():
        if value is not None:
            merged[name] = value
        else:
            merged.pop(name, None)
    return merged

"""The peers as packets know them: by key and by address. A netmap knows them by id.

    changes ─► by id     two nodes may claim one key or one prefix, and a node may change its key
            ─► by key    [(key, Node before, Node after)]: what WireGuard and the paths must do
            ─► routes    prefix ─► key of the peer that owns it

A peer whose key has expired is none. Of several peers with the same key or prefix the one with the lowest id has it.

Not here: sessions (`tsnet.wireguard`), paths (`tsnet.disco`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from typing import NamedTuple, TypeVar

from tsnet.base.addresses import IPPrefix
from tsnet.base.keys import NodeKey
from tsnet.netmap.changes import Changes, NodeChange
from tsnet.netmap.filterrules import NO_CAPABILITIES
from tsnet.netmap.index import Index
from tsnet.netmap.model import NetMap, Node
from tsnet.netmap.routes import Routes, own_prefixes

K = TypeVar("K")


class KeyChange(NamedTuple):
    """before: None if nobody had the key. after: None if nobody has it any more."""

    key: NodeKey
    before: Node | None
    after: Node | None


class Peers:
    """netmap: the one applied last. routes: changed in place. jailed: the keys of peers that may open nothing."""

    def __init__(self) -> None:
        self.netmap: NetMap | None = None
        self.routes: Routes[NodeKey] = Routes()
        self.jailed: set[NodeKey] = set()
        self._keys: Index[NodeKey] = Index(_keys_of)
        self._prefixes: Index[bytes] = Index(_prefixes_of)

    def get(self, key: NodeKey) -> Node | None:
        return None if self.netmap is None else _owner(self._keys, self.netmap.peers, key)

    def capabilities_of(self, address: bytes) -> Set[str]:
        """The node capabilities of the peer whose own address this is. One outside the Tailnet Lock has none."""
        ids = self._prefixes.ids(address + bytes((8 * len(address),)))
        if self.netmap is None or not ids:
            return NO_CAPABILITIES
        peer = self.netmap.peers[ids[0]]
        return NO_CAPABILITIES if peer.unsigned_peer_api_only else peer.capabilities.keys()

    def apply(self, changes: Changes) -> list[KeyChange]:
        """Returns what changed by key: first the keys that nobody has any more."""
        before, self.netmap = self.netmap, changes.after
        known, self._keys = self._keys, self._keys.after(changes.peers)
        self._prefixes = self._prefixes.after(changes.peers)
        touched = dict.fromkeys(key for nodes in changes.peers.values() for node in nodes for key in _keys_of(node))
        found: list[KeyChange] = []
        for key in touched:
            old = None if before is None else _owner(known, before.peers, key)
            new = _owner(self._keys, changes.after.peers, key)
            if old is not new:
                found.append(KeyChange(key, old, new))
                if new is not None and new.is_jailed:
                    self.jailed.add(key)
                else:
                    self.jailed.discard(key)
        self._reroute(changes.peers)
        return sorted(found, key=_is_left)

    def _reroute(self, changes: Mapping[int, NodeChange]) -> None:
        for prefix in _prefixes_touched(changes.values()):
            owner = _owner(self._prefixes, self.netmap.peers if self.netmap else {}, _raw(prefix))
            if owner is None:
                self.routes.delete(prefix)
            else:
                self.routes.insert(prefix, owner.key)


def _prefixes_touched(changes: Iterable[NodeChange]) -> Iterable[IPPrefix]:
    """The own prefixes of nodes that have changed in what routes are made of."""
    for before, after in changes:
        if before is not None and after is not None and _routed(before) == _routed(after):
            continue
        for node in (before, after):
            if node is not None:
                yield from own_prefixes(node)


def _routed(node: Node) -> object:
    return node.key, node.expired, node.addresses, node.allowed_ips


def _keys_of(node: Node | None) -> tuple[NodeKey, ...]:
    return () if node is None or node.expired else (node.key,)


def _prefixes_of(node: Node) -> tuple[bytes, ...]:
    return () if node.expired else tuple(dict.fromkeys(_raw(prefix) for prefix in own_prefixes(node)))


def _raw(prefix: IPPrefix) -> bytes:
    """A prefix as a key that costs little: its network, and its length behind it."""
    return prefix.network_address.packed + bytes((prefix.prefixlen,))


def _owner(index: Index[K], nodes: Mapping[int, Node], key: K) -> Node | None:
    ids = index.ids(key)
    return nodes[ids[0]] if ids else None


def _is_left(change: KeyChange) -> bool:
    return change.after is not None

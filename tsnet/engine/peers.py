"""The peers as packets know them: by key and by address. A netmap knows them by id.

    changes ─► by id     two nodes may claim one key or one prefix, and a node may change its key
            ─► by key    [(key, Node before, Node after)]: what WireGuard and the paths must do
            ─► routes    prefix ─► key of the peer that owns it

Keys are bytes without their type (`tsnet.netmap.packed`). A peer whose key has expired is none. Of several peers with
the same key or prefix the one with the lowest id has it. If the netmap gives a peer the very address that it gives this
node, the peer does not have it: it cannot speak in our name, or have what we send to ourselves.

Not here: sessions (`tsnet.wireguard`), paths (`tsnet.disco`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from typing import NamedTuple, TypeVar

from tsnet.netmap.changes import Changes
from tsnet.netmap.filterrules import NO_CAPABILITIES
from tsnet.netmap.index import Index
from tsnet.netmap.model import NetMap, Node
from tsnet.netmap.packed import raw_prefixes
from tsnet.netmap.routes import Routes, own_prefixes

K = TypeVar("K")


class KeyChange(NamedTuple):
    """before: None if nobody had the key. after: None if nobody has it any more."""

    key: bytes
    before: Node | None
    after: Node | None


class Peers:
    """netmap: the one applied last. routes: changed in place. jailed: the keys of peers that may open nothing."""

    def __init__(self) -> None:
        self.netmap: NetMap | None = None
        self.routes: Routes[bytes] = Routes()
        self.jailed: set[bytes] = set()
        self._keys: Index[bytes] = Index(_keys_of)
        self._prefixes: Index[bytes] = Index(_prefixes_of)

    def get(self, key: bytes) -> Node | None:
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
        moved = self._move_keys(changes, {} if before is None else before.peers)
        self._move_prefixes(changes, None if before is None else before.self_node)
        return sorted(moved, key=_is_left)

    def _move_keys(self, changes: Changes, nodes_before: Mapping[int, Node]) -> Iterable[KeyChange]:
        before, self._keys = self._keys, self._keys.after(changes.peers)
        touched = dict.fromkeys(key for nodes in changes.peers.values() for node in nodes for key in _keys_of(node))
        for key in touched:
            old, new = _owner(before, nodes_before, key), _owner(self._keys, changes.after.peers, key)
            if old is new:
                continue
            if new is not None and new.is_jailed:
                self.jailed.add(key)
            else:
                self.jailed.discard(key)
            yield KeyChange(key, old, new)

    def _move_prefixes(self, changes: Changes, self_before: Node | None) -> None:
        """Of nodes that have changed in what routes are made of, and of ourselves."""
        moved: list[tuple[int, tuple[bytes, ...], tuple[bytes, ...]]] = []
        for number, (before, after) in changes.peers.items():
            if before is None or after is None or _routed(before) != _routed(after):
                moved.append((number, _prefixes_of(before), _prefixes_of(after)))
        self._prefixes = self._prefixes.moved(moved)
        was_ours = () if self_before is None else raw_prefixes(self_before.raw_addresses)
        ours = raw_prefixes(changes.after.self_node.raw_addresses)
        if was_ours != ours:
            moved.append((0, tuple(was_ours), tuple(ours)))
        for _number, had, has in moved:
            for prefix in (*had, *has):
                owner = None if prefix in ours else _owner(self._prefixes, changes.after.peers, prefix)
                if owner is None:
                    self.routes.delete_raw(prefix)
                else:
                    self.routes.insert_raw(prefix, owner.raw_key)


def _routed(node: Node) -> object:
    return node.raw_key, node.expired, node.raw_addresses, node.raw_allowed_ips


def _keys_of(node: Node | None) -> tuple[bytes, ...]:
    return () if node is None or node.expired else (node.raw_key,)


def _prefixes_of(node: Node | None) -> tuple[bytes, ...]:
    if node is None or node.expired:
        return ()
    return tuple(dict.fromkeys(own_prefixes(node)))


def _owner(index: Index[K], nodes: Mapping[int, Node], key: K) -> Node | None:
    ids = index.ids(key)
    return nodes[ids[0]] if ids else None


def _is_left(change: KeyChange) -> bool:
    return change.after is not None

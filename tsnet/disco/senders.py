"""Whose disco is opened: which nodes have which disco key, by control's word and by the peers' own.

A peer tells its disco key inside the tunnel, too, often before control does. That word holds until control names
another key than it did before. Several nodes may have one key: of one process that is in the tailnet more than once.
A disco datagram of anybody else costs no cryptography.

Source: Go wgengine/magicsock/peermap.go, magicsock.go (handleDiscoMessage, unambiguousNodeKeyOfPingLocked).
Not here: what a message means (`paths`).
"""

from __future__ import annotations

from collections.abc import Iterator

from tsnet.base.keys import DiscoKey
from tsnet.base.malformed import MalformedError
from tsnet.disco.box import Box, looks_like_disco, sender_of
from tsnet.disco.messages import Message, decode


class Senders:
    def __init__(self, box: Box) -> None:
        self.box: Box = box
        self._keys: dict[bytes, bytes] = {}
        self._nodes: dict[bytes, tuple[bytes, ...] | bytes] = {}
        self._controls: dict[bytes, bytes | None] = {}
        """Of peers that told another key than control: what control says."""

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._nodes)

    def get(self, node: bytes) -> bytes | None:
        return self._keys.get(node)

    def nodes(self, key: bytes) -> tuple[bytes, ...]:
        """All that have this disco key."""
        nodes = self._nodes.get(key, ())
        return nodes if type(nodes) is tuple else (nodes,)  # type: ignore[return-value]  # bytes or a tuple of them

    def control_says(self, node: bytes, key: bytes | None) -> bool:
        """Whether the node has another key now than before."""
        if node in self._controls:
            if self._controls[node] == key:
                return False
            del self._controls[node]
        return self._set(node, key)

    def peer_says(self, node: bytes, key: bytes) -> bool:
        """The same, by the peer's own word. It is a peer of the netmap."""
        before = self._keys.get(node)
        if before == key:
            return False
        if self._controls.setdefault(node, before) == key:
            del self._controls[node]
        return self._set(node, key)

    def forget(self, node: bytes) -> None:
        """The node is a peer no more."""
        self._controls.pop(node, None)
        self._set(node, None)

    def resolve(self, sender: bytes, claimed: bytes | None) -> bytes | None:
        """The node that sent a ping: the only one with that key, or of several the one that the ping names."""
        nodes = self.nodes(sender)
        if claimed in nodes:
            return claimed
        return nodes[0] if len(nodes) == 1 else None

    def open(self, datagram: bytes) -> tuple[DiscoKey, Message] | str:
        """Who sent it, proven, and what it says; or why it was dropped."""
        if not looks_like_disco(datagram):
            return "short"
        sender = sender_of(datagram)
        if sender not in self._nodes:
            return "unknown sender"
        try:
            plaintext = self.box.open(datagram)
        except MalformedError:
            return "box"
        try:
            return sender, decode(plaintext)
        except MalformedError:
            return "malformed"

    def _set(self, node: bytes, key: bytes | None) -> bool:
        before = self._keys.get(node)
        if before == key:
            return False
        if before is not None:
            self._leave(node, before)
        if key is None:
            del self._keys[node]
        else:
            nodes = self.nodes(key)
            self._keys[node] = key
            self._nodes[key] = (*nodes, node) if nodes else node
        return True

    def _leave(self, node: bytes, key: bytes) -> None:
        others = tuple(other for other in self.nodes(key) if other != node)
        if others:
            self._nodes[key] = others if len(others) > 1 else others[0]
        else:
            del self._nodes[key]
            self.box.forget(DiscoKey(key))

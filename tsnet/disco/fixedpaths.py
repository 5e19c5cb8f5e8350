"""Peers that speak WireGuard alone: where control says that they are, until they speak from somewhere.

| what is known                      | where its datagrams go                                                     |
|------------------------------------|----------------------------------------------------------------------------|
| nothing but control's endpoints    | to the first MAX_FIXED of them at once: the first to answer is the nearest |
| it has spoken                      | to where its last authentic datagram came from                             |
| a handshake was not answered there | to all of them again                                                       |

Only initiations are copied so: data waits for a session, which the first answer makes. The peer takes one copy, and the
others are replays to it.

Source: the WireGuard paper §6.5 (roaming). Go wgengine/magicsock/endpoint.go (addrForWireGuardSendLocked) measures such
endpoints by ICMP instead, for which it needs a privilege.
Not here: peers with disco (`directpaths`).
"""

from __future__ import annotations

from tsnet.base.addresses import UdpAddress
from tsnet.netmap.model import Node

MAX_FIXED = 4


class FixedPaths:
    __slots__ = ("_roaming",)

    def __init__(self) -> None:
        self._roaming: dict[bytes, UdpAddress] = {}

    def update(self, key: bytes, before: Node | None, node: Node) -> None:
        """Control says this of a peer now. If that names other endpoints, it is there."""
        if before is None or _named(before) != _named(node):
            self._roaming.pop(key, None)

    def forget(self, key: bytes) -> None:
        self._roaming.pop(key, None)

    def heard(self, key: bytes, source: UdpAddress) -> bool:
        """An authentic datagram has come from there. Whether that is news."""
        is_news = self._roaming.get(key) != source
        self._roaming[key] = source
        return is_news

    def unanswered(self, key: bytes, node: Node) -> bool:
        """A handshake was not answered there. Whether there are other places to try."""
        roaming = self._roaming.get(key)
        if roaming is None or not set(_named(node)) - {roaming}:
            return False
        del self._roaming[key]
        return True

    def routes(self, key: bytes, node: Node) -> tuple[UdpAddress, ...]:
        roaming = self._roaming.get(key)
        return _named(node) if roaming is None else (roaming,)


def _named(node: Node) -> tuple[UdpAddress, ...]:
    """Where control says that it is."""
    return tuple(dict.fromkeys(node.endpoints))[:MAX_FIXED] if node.is_wireguard_only else ()

"""Which node of a region is dialled next, how long it may take, and when the next round begins.

    a round       every node once, in the region's order; those that last kept us waiting come last
    a node        5 s while others are left, twice that in each further round; the last one 25 s
    a pause       0.1 s, twice as long after each round in vain: up to 5 s, or 30 s if waiting alone cannot help

25 s are six round trips of 3 s (name, TCP, two of TLS 1.2, the request, the login) and 7 s for what gets lost. Pauses
are shortened by up to a half at random, so that clients of one relay do not march in step.

Source: Go derp/derphttp/derphttp_client.go (dialRegion), wgengine/magicsock/derp.go (back-off).
Not here: the dialling (`client`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_address

from tsnet.netmap.model import DerpNode

CONNECT_TIMEOUT = 25.0
FAILOVER_TIMEOUT = 5.0
BACKOFF_MIN, BACKOFF_MAX, BACKOFF_HOPELESS = 0.1, 5.0, 30.0


class Attempts:
    """Nodes that serve STUN alone, or have no address, are never dialled."""

    __slots__ = ("_entropy", "_left", "_nodes", "_order", "_rounds")

    def __init__(self, nodes: Sequence[DerpNode], entropy: Callable[[int], bytes]) -> None:
        self._entropy = entropy
        self._nodes = [node for node in nodes if not node.stun_only and dial_hosts(node)]
        self._order = list(self._nodes)
        self._left: list[DerpNode] = []
        self._rounds = 0

    @property
    def has_more(self) -> bool:
        """Whether nodes of this round are left."""
        return bool(self._left)

    def begin(self) -> None:
        """A new round."""
        self._left = list(self._order)

    def take(self) -> tuple[DerpNode, float] | None:
        """The next node and the seconds it has from now until the login is done; None if none is left."""
        if not self._left:
            return None
        node = self._left.pop(0)
        if not self._left:
            return node, CONNECT_TIMEOUT
        return node, min(CONNECT_TIMEOUT, FAILOVER_TIMEOUT * 2.0**self._rounds)

    def put_last(self, node: DerpNode) -> None:
        """It kept us waiting: others come before it, until a connection has lasted."""
        self._order.remove(node)
        self._order.append(node)

    def lasted(self) -> None:
        """A connection was a good one: what came before it is forgotten."""
        self._rounds = 0
        self._order = list(self._nodes)

    def pause(self, *, hopeless: bool) -> float:
        """The round is over, in vain or by the end of its connection; seconds until the next."""
        self._left = []
        longest = BACKOFF_HOPELESS if hopeless else BACKOFF_MAX
        delay = min(longest, BACKOFF_MIN * 2.0**self._rounds)
        self._rounds = min(self._rounds + 1, 16)
        return delay * (0.5 + self._entropy(1)[0] / 510)


def dial_hosts(node: DerpNode) -> tuple[str, ...]:
    """What to dial, in order: each family's literal, its name if that is empty, nothing if it is no address."""
    hosts: list[str] = []
    for address, version in ((node.ipv4, 4), (node.ipv6, 6)):
        host = node.host_name if not address else address if _is_literal(address, version) else ""
        if host and host not in hosts:
            hosts.append(host)
    return tuple(hosts)


def _is_literal(address: str, version: int) -> bool:
    try:
        return ip_address(address).version == version
    except ValueError:
        return False

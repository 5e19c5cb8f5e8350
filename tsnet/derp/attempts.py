"""Which node of a region is dialled next, how long it may take, and when the next round begins.

    a round       every node once, in the region's order; those that last kept us waiting come last
    a node        5 s while others are left, doubled in each further round, at most 25 s; the last one 25 s
    a pause       0.1 s, doubled after each round in vain: up to 5 s, or 30 s if waiting alone cannot help

25 s are six round trips of 3 s (name, TCP, two of TLS 1.2, the request, the login) and 7 s for lost packets. Each
pause is shortened by up to a half at random, so that the clients of one relay do not all return at once.

Source: Go derp/derphttp/derphttp_client.go (dialRegion), wgengine/magicsock/derp.go (back-off).
Not here: the dialling (`client`), what of a node is dialled (`netmap.derpnodes`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tsnet.base.pauses import Pauses
from tsnet.netmap.derpnodes import dial_hosts
from tsnet.netmap.model import DerpNode

CONNECT_TIMEOUT = 25.0
FAILOVER_TIMEOUT = 5.0
BACKOFF_MIN, BACKOFF_MAX, BACKOFF_HOPELESS = 0.1, 5.0, 30.0


class Attempts:
    """The attempts to reach one region. Nodes that serve only STUN, or have no address, are never dialled."""

    __slots__ = ("_left", "_nodes", "_order", "_pauses")

    def __init__(self, nodes: Sequence[DerpNode], entropy: Callable[[int], bytes]) -> None:
        self._nodes = [node for node in nodes if not node.stun_only and dial_hosts(node)]
        self._order = list(self._nodes)
        self._left: list[DerpNode] = []
        self._pauses = Pauses(BACKOFF_MIN, entropy)

    @property
    def has_more(self) -> bool:
        """Whether nodes of this round are left."""
        return bool(self._left)

    def begin(self) -> None:
        """Begin a new round."""
        self._left = list(self._order)

    def take(self) -> tuple[DerpNode, float] | None:
        """The next node and the seconds it has from now until the login is done; None if none is left."""
        if not self._left:
            return None
        node = self._left.pop(0)
        if not self._left:
            return node, CONNECT_TIMEOUT
        return node, min(CONNECT_TIMEOUT, FAILOVER_TIMEOUT * 2.0**self._pauses.rounds)

    def put_last(self, node: DerpNode) -> None:
        """Dial this node after all others, because it kept us waiting; `lasted` ends that."""
        self._order.remove(node)
        self._order.append(node)

    def lasted(self) -> None:
        """Forget earlier failures: a connection has lasted."""
        self._pauses.begin_anew()
        self._order = list(self._nodes)

    def begin_anew(self) -> None:
        """Forget earlier failures, and begin a new round: the network is another."""
        self._left = []
        self.lasted()

    def pause(self, *, hopeless: bool) -> float:
        """End the round, which failed or whose connection ended. Returns the seconds until the next round."""
        self._left = []
        return self._pauses.next(BACKOFF_HOPELESS if hopeless else BACKOFF_MAX)

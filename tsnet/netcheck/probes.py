"""How far away each region is, measured over UDP: STUN requests to one node of each, from the node's own port.

    ask ─► a request to every region at once ─► no answer: again after 0.1 s, and after 0.3 s more
                                            ─► an answer: the latency of the region, and our address as seen from there
    3 s after `ask` ─► what has not answered is left alone: UDP does not get there

An answer is told by its TxID, twelve random bytes; each request has its own, so that an answer to the second is not
measured from the first. It counts only from the address that was asked. A node that control names without an address
is not asked: nothing here looks names up.

While nobody asks, nothing is sent: this costs an idle node nothing.

Source: Go net/netcheck/netcheck.go (makeProbePlan, runProbe).
Not here: the bytes (`stun`), what follows for the home (`home`), when to measure (`engine.surroundings`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

from tsnet.base.addresses import UdpAddress, parse_address
from tsnet.base.malformed import MalformedError
from tsnet.netcheck.mappings import is_believable
from tsnet.netcheck.stun import TX_ID_SIZE, decode_response, encode_request
from tsnet.netmap.model import DerpNode, DerpRegion

AGAIN_AFTER = (0.1, 0.3)
"""Seconds from one request to the next."""

PATIENCE = 3.0
MAX_REGIONS = 64
"""How many regions one `ask` measures: control may name any number."""

DEFAULT_PORT = 3478
MAX_PORT = 65_535
"""A socket raises for a greater one, and no OSError."""


class Measurement(NamedTuple):
    """latency: seconds there and back. mapped: our UDP port's address as that region sees it."""

    region: int
    latency: float
    mapped: UdpAddress


class Asked:
    """One region under way. tries: how many requests have left."""

    __slots__ = ("again_at", "server", "tries", "until")

    def __init__(self, server: UdpAddress, now: float) -> None:
        self.server: UdpAddress = server
        self.again_at: float = now
        self.until: float = now + PATIENCE
        self.tries: int = 0


class Probes:
    """dropped: "stun malformed", "stun unasked" (nobody waits for that answer, or no more), "stun source" (it came from
    another address than was asked), "stun mapped" (nobody can have the address that it claims for us)."""

    def __init__(self, entropy: Callable[[int], bytes]) -> None:
        self.dropped: Counter[str] = Counter()
        self._entropy = entropy
        self._asked: dict[int, Asked] = {}
        self._sent: dict[bytes, tuple[int, float]] = {}
        """The region and the time of each request that may still be answered, by TxID."""

    def ask(self, regions: Iterable[DerpRegion], now: float) -> None:
        """Measure these regions now; what is under way for others goes on."""
        for region in regions:
            server = next((server for node in region.nodes if (server := stun_server(node)) is not None), None)
            if region.region_id in self._asked:
                self._forget(region.region_id)
            if server is not None and len(self._asked) < MAX_REGIONS:
                self._asked[region.region_id] = Asked(server, now)

    @property
    def is_under_way(self) -> bool:
        """Whether an answer may still come."""
        return bool(self._asked)

    def receive(self, datagrams: Iterable[tuple[UdpAddress, bytes]], now: float) -> list[Measurement]:
        """Datagrams that look like STUN, each with its source."""
        found = []
        for source, datagram in datagrams:
            try:
                tx_id, mapped = decode_response(datagram)
            except MalformedError:
                self.dropped["stun malformed"] += 1
                continue
            region, sent_at = self._sent.get(tx_id, (0, 0.0))
            if region not in self._asked:
                self.dropped["stun unasked"] += 1
            elif source != self._asked[region].server:
                self.dropped["stun source"] += 1
            elif not is_believable(mapped):
                self.dropped["stun mapped"] += 1
            else:
                self._forget(region)
                found.append(Measurement(region, now - sent_at, mapped))
        return found

    def transmit(self, now: float) -> list[tuple[UdpAddress, list[bytes]]]:
        """The requests that are due."""
        if not self._asked:
            return []
        runs = []
        for number, asked in list(self._asked.items()):
            if now >= asked.until:
                self._forget(number)
            elif now >= asked.again_at:
                runs.append((asked.server, [self._request(number, asked, now)]))
        return runs

    def deadline(self) -> float:
        if not self._asked:
            return math.inf
        return min(min(asked.again_at, asked.until) for asked in self._asked.values())

    def _request(self, region: int, asked: Asked, now: float) -> bytes:
        tx_id = self._entropy(TX_ID_SIZE)
        self._sent[tx_id] = region, now
        asked.again_at = now + AGAIN_AFTER[asked.tries] if asked.tries < len(AGAIN_AFTER) else math.inf
        asked.tries += 1
        return encode_request(tx_id)

    def _forget(self, region: int) -> None:
        del self._asked[region]
        self._sent = {tx_id: sent for tx_id, sent in self._sent.items() if sent[0] != region}


def stun_server(node: DerpNode) -> UdpAddress | None:
    """Where the node answers STUN; None if it does not, or if control names no port and address that there can be."""
    if not 0 <= node.stun_port <= MAX_PORT:
        return None
    for text in (node.stun_test_ip, node.ipv4, node.ipv6):
        address = parse_address(text)
        if address is not None and "%" not in str(address):  # a zone is no business of control's
            return UdpAddress(str(address), node.stun_port or DEFAULT_PORT)
    return None

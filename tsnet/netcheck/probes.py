"""The STUN requests of one measurement, from the node's own port: who is asked next, and what an answer says.

    a set of a plan ─► a try is due ─► would it help? ─► a request ─► an answer: latency, our address, the set is over
                                    └► no: the set is over         └► none: the next try

It is over when all sets are, 3 s after it began, or when enough regions have answered and the others have had as long
as the slowest of those (twice as long with a full plan).

An answer is told by its TxID, twelve random bytes; each request has its own, so that an answer to the second is not
measured from the first. It counts only from the address that was asked.

Source: Go net/netcheck/netcheck.go (GetReport, runProbe, addNodeLatency).
Not here: the bytes (`stun`), which tries there are (`plan`), what is made of the answers (`report`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

from tsnet.base.addresses import UdpAddress
from tsnet.base.malformed import MalformedError
from tsnet.netcheck.mappings import is_believable
from tsnet.netcheck.names import PENDING, ServerNames
from tsnet.netcheck.plan import ProbeSet
from tsnet.netcheck.report import Draft
from tsnet.netcheck.servers import is_usable, stun_host, stun_port
from tsnet.netcheck.stun import TX_ID_SIZE, decode_response, encode_request
from tsnet.netmap.model import DerpNode

PATIENCE = 3.0
ENOUGH = 3
"""After this many regions have answered, the others need not."""

NAME_AGAIN = 0.05
"""Seconds after which a server is thought of again whose name is being looked up."""


class Measurement(NamedTuple):
    """latency: seconds there and back. mapped: our UDP port's address as that region sees it."""

    region: int
    latency: float
    mapped: UdpAddress


class _Set:
    """One set under way. left: how many of its tries have not been made. at: when the next one is due."""

    __slots__ = ("at", "left", "plan")

    def __init__(self, plan: ProbeSet, begun: float) -> None:
        self.plan: ProbeSet = plan
        self.left: int = len(plan.probes)
        self.at: float = begun + plan.probes[0].delay


class Probes:
    """dropped: "stun malformed", "stun unasked" (nobody waits for that answer, or no more), "stun source" (it came from
    another address than was asked), "stun mapped" (nobody can have the address that it claims for us)."""

    def __init__(
        self,
        plan: Iterable[ProbeSet],
        draft: Draft,
        names: ServerNames,
        entropy: Callable[[int], bytes],
        dropped: Counter[str],
        now: float,
        *,
        enough: int = ENOUGH,
        slack: float = 1.0,
    ) -> None:
        """slack: how much longer than the slowest of those that answered the others have."""
        self._draft, self._names, self._entropy, self._dropped = draft, names, entropy, dropped
        self._begun, self._enough, self._slack = now, enough, slack
        self._sets: dict[tuple[int, int], _Set] = {(each.region, each.version): _Set(each, now) for each in plan}
        self._until = now + PATIENCE
        self._sent: dict[bytes, tuple[tuple[int, int], UdpAddress, float]] = {}
        """The set, the server and the time of each request that may still be answered, by TxID."""

    def is_over(self, now: float) -> bool:
        return not self._sets or now >= self._until

    def receive(self, datagrams: Iterable[tuple[UdpAddress, bytes]], now: float) -> list[Measurement]:
        """Datagrams that look like STUN, each with its source."""
        found = []
        for source, datagram in datagrams:
            try:
                tx_id, mapped = decode_response(datagram)
            except MalformedError:
                self._dropped["stun malformed"] += 1
                continue
            asked = self._sent.get(tx_id)
            if asked is None:
                self._dropped["stun unasked"] += 1
                continue
            (region, version), server, sent_at = asked
            if source != server:
                self._dropped["stun source"] += 1
            elif not is_believable(mapped) or (":" in mapped.host) != (version == 6):
                self._dropped["stun mapped"] += 1
            else:
                self._end((region, version))
                found.append(Measurement(region, now - sent_at, mapped))
                self._answered(region, version, found[-1], now)
        return found

    def _answered(self, region: int, version: int, found: Measurement, now: float) -> None:
        before = len(self._draft.latencies.best)
        self._draft.over_udp(region, version, found.latency, found.mapped)
        if before < self._enough == len(self._draft.latencies.best):
            slowest = max(self._draft.latencies.best.values())
            self._until = min(self._until, now + self._slack * slowest)

    def transmit(self, now: float) -> list[tuple[UdpAddress, list[bytes]]]:
        """The requests that are due."""
        runs: list[tuple[UdpAddress, list[bytes]]] = []
        if now >= self._until:
            return runs
        for key, each in list(self._sets.items()):
            if now >= each.at:
                self._try(key, each, now, runs)
        return runs

    def deadline(self) -> float:
        if not self._sets:
            return -math.inf
        return min(self._until, *(each.at for each in self._sets.values()))

    def _try(self, key: tuple[int, int], each: _Set, now: float, runs: list[tuple[UdpAddress, list[bytes]]]) -> None:
        region, version = key
        if not self._draft.would_help(region, version):
            self._end(key)
            return
        probes = each.plan.probes
        server = self._server(probes[-each.left].node, version, now)
        if server is PENDING:
            each.at = now + NAME_AGAIN
            return
        if isinstance(server, UdpAddress):
            tx_id = self._entropy(TX_ID_SIZE)
            self._sent[tx_id] = key, server, now
            runs.append((server, [encode_request(tx_id)]))
        each.left -= 1
        if each.left:
            each.at = max(self._begun + probes[-each.left].delay, math.nextafter(now, math.inf))
        else:
            each.at = math.inf
            if not any(asked[0] == key for asked in self._sent.values()):
                self._end(key)  # none of its nodes has an address

    def _server(self, node: DerpNode, version: int, now: float) -> object:
        """Where it is asked, PENDING, or None if it has no address of that family."""
        host, port = stun_host(node, version), stun_port(node)
        if port is None or not host:
            return None
        if is_usable(host):
            return UdpAddress(host, port)
        address = self._names.find(host, version, now)
        return address if address is PENDING or address is None else UdpAddress(str(address), port)

    def _end(self, key: tuple[int, int]) -> None:
        self._sets.pop(key, None)
        self._sent = {tx_id: asked for tx_id, asked in self._sent.items() if asked[0] != key}

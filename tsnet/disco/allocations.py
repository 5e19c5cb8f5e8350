"""Requests to peer relays that wait for an answer: which relay was asked for a session with which peer.

    begin ─► AllocateUDPRelayEndpointRequest, through DERP ─► once more after ASK_RELAY_AGAIN ─► the answer, or
    given up after ALLOCATION_TIMEOUT

An answer fits if it comes from the node that was asked, and names the same two clients and the request's generation.

Source: Go wgengine/magicsock/relaymanager.go allocateServerEndpoint.
Not here: what follows an answer (`binding`), which peers relay (`peerrelays`).
"""

from __future__ import annotations

from collections.abc import Iterator

from tsnet.base.keys import DiscoKey
from tsnet.base.records import record
from tsnet.base.timetable import Earliest, Timetable
from tsnet.disco.constants import ALLOCATION_TIMEOUT, ASK_RELAY_AGAIN, MAX_ALLOCATIONS
from tsnet.disco.messages import AllocateUDPRelayEndpointRequest, AllocateUDPRelayEndpointResponse

ClientKeys = tuple[DiscoKey, DiscoKey]


@record
class Allocation:
    """server: the node that was asked to relay. peer: the one that it should lead to."""

    server: bytes
    peer: bytes
    request: AllocateUDPRelayEndpointRequest
    at: float


class Allocations:
    __slots__ = ("_all", "_generation", "_timetable")

    def __init__(self, earliest: Earliest | None = None) -> None:
        self._all: dict[tuple[bytes, ClientKeys], Allocation] = {}
        self._timetable: Timetable[tuple[bytes, ClientKeys]] = Timetable(earliest)
        self._generation = 0

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Allocation]:
        return iter(self._all.values())

    @property
    def is_full(self) -> bool:
        return len(self._all) >= MAX_ALLOCATIONS

    def begin(self, server: bytes, peer: bytes, clients: ClientKeys, now: float) -> Allocation | None:
        """None if the same was asked already, or if too many wait."""
        key = server, clients
        if key in self._all or self.is_full:
            return None
        self._generation = self._generation % 0xFFFFFFFF + 1
        request = AllocateUDPRelayEndpointRequest(clients, self._generation)
        begun = self._all[key] = Allocation(server, peer, request, now)
        self._timetable.set(key, now + ASK_RELAY_AGAIN)
        return begun

    def answered(self, server: bytes, response: AllocateUDPRelayEndpointResponse) -> bytes | None:
        """That node answers. The peer that the request was for; None if none of ours fits."""
        one, other = response.relay.client_keys
        key = server, (min(one, other), max(one, other))
        found = self._all.get(key)
        if found is None or found.request.generation != response.generation:
            return None
        self._drop(key)
        return found.peer

    def run(self, now: float) -> list[Allocation]:
        """Those that are to be asked once more. Those that nobody has answered in time are given up."""
        again: list[Allocation] = []
        for key in self._timetable.take(now):
            found = self._all[key]
            if now >= found.at + ALLOCATION_TIMEOUT:
                del self._all[key]
            else:
                again.append(found)
                self._timetable.set(key, found.at + ALLOCATION_TIMEOUT)
        return again

    def forget(self, peer: bytes | None = None) -> None:
        """Sessions with this peer, or with anybody, are not wanted any more."""
        for key in [key for key, found in self._all.items() if peer in (None, found.peer)]:
            self._drop(key)

    def deadline(self) -> float:
        return self._timetable.deadline()

    def _drop(self, key: tuple[bytes, ClientKeys]) -> None:
        del self._all[key]
        self._timetable.drop(key)

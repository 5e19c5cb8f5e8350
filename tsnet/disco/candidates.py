"""The addresses where one peer may be reached directly, and who told of them.

| told by                     | it goes                                                       | at most          |
|-----------------------------|---------------------------------------------------------------|------------------|
| the netmap                  | when the newest netmap does not name it                       | MAX_LISTED, both |
| the peer's CallMeMaybe      | when its next CallMeMaybe does not name it                    | MAX_LISTED, both |
| a ping that came from there | HEARD_CANDIDATE after the last one, unless it is trusted then; | MAX_HEARD        |
|                             | and when a newer one needs the room                           |                  |

The peer chose the list of a CallMeMaybe just now: it displaces what only the netmap names. Pings never displace what
is listed, so that whoever replays them from anywhere crowds nothing out.

Source: Go wgengine/magicsock/endpoint.go (endpointState, addCandidateEndpoint, handleCallMeMaybe, setEndpointsLocked).
Not here: which addresses may be pinged at all (`pingable`), when (`directpath`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator

from tsnet.base.addresses import UdpAddress
from tsnet.disco.constants import (
    DISCO_PING_INTERVAL,
    HEARD_CANDIDATE,
    MAX_HEARD,
    MAX_LISTED,
    MAX_PORTS,
)
from tsnet.disco.doubt import Doubt

NETMAP, CALLED = 1, 2


class Candidate:
    """listed: by whom, NETMAP and CALLED. heard_at: the last ping that came from there. pinged_at: our last one.
    answered_at, latency: the last pong to one of ours, and how long that took.

    only_large: it answers small pings and carries no data, so that a data-sized one alone says something.
    doubt: whether it answers pings, and WireGuard is not answered there.
    """

    __slots__ = ("answered_at", "doubt", "heard_at", "latency", "listed", "only_large", "pinged_at")

    def __init__(self, listed: int = 0, heard_at: float = -math.inf) -> None:
        self.listed: int = listed
        self.heard_at: float = heard_at
        self.pinged_at: float = -math.inf
        self.answered_at: float = -math.inf
        self.latency: float = math.inf
        self.only_large: bool = False
        self.doubt: Doubt = Doubt()


class Candidates:
    __slots__ = ("_all",)

    def __init__(self) -> None:
        self._all: dict[UdpAddress, Candidate] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[UdpAddress]:
        return iter(self._all)

    def get(self, address: UdpAddress) -> Candidate | None:
        return self._all.get(address)

    def set_netmap(self, endpoints: Iterable[UdpAddress]) -> bool:
        """The netmap names these, and no others. Whether one of them is new."""
        return self._list(endpoints, NETMAP)

    def called(self, endpoints: Iterable[UdpAddress]) -> bool:
        """The peer's CallMeMaybe names these, and no others. Whether one of them is new."""
        return self._list(endpoints, CALLED)

    def heard(self, source: UdpAddress, now: float) -> bool:
        """An authentic ping came from there. Whether that is a new candidate."""
        known = self._all.get(source)
        if known is not None:
            known.heard_at = now
            return False
        self._keep_heard(MAX_HEARD - 1)
        self._all[source] = Candidate(heard_at=now)
        return True

    def due(self, now: float, trusted: UdpAddress | None = None) -> list[UdpAddress]:
        """Those that a discovery round pings: not pinged within DISCO_PING_INTERVAL. Those that are stale go.

        trusted: the address in use, which stays: its pongs say more than the peer's pings.
        """
        kept = {address for address, each in self._all.items() if each.listed or _is_heard(each, now)} | {trusted}
        self._all = {address: each for address, each in self._all.items() if address in kept}
        return [address for address, each in self._all.items() if now >= each.pinged_at + DISCO_PING_INTERVAL]

    def forget_history(self) -> None:
        """The network is another one: what was measured is void, and all may be pinged at once."""
        for candidate in self._all.values():
            candidate.pinged_at, candidate.only_large = -math.inf, False
            candidate.doubt.forget()
            candidate.answered_at, candidate.latency = -math.inf, math.inf

    def _list(self, endpoints: Iterable[UdpAddress], by: int) -> bool:
        for candidate in self._all.values():
            candidate.listed &= ~by
        is_news, ports = False, Counter[str]()
        for address in endpoints:
            ports[address.host] += 1
            if ports[address.host] > MAX_PORTS:
                continue
            known = self._all.get(address)
            if known is None or not known.listed:
                if not self._make_room(by):
                    break
                is_news |= known is None
            self._all.setdefault(address, Candidate()).listed |= by
        self._all = {address: each for address, each in self._all.items() if each.listed or each.heard_at > -math.inf}
        self._keep_heard(MAX_HEARD)
        return is_news

    def _keep_heard(self, most: int) -> None:
        """Of those that no list names, keep so many at most: the ones heard last."""
        heard = sorted((each.heard_at, address) for address, each in self._all.items() if not each.listed)
        for _at, address in heard[: max(0, len(heard) - most)]:
            del self._all[address]

    def _make_room(self, by: int) -> bool:
        """Whether one more may be listed: for a CallMeMaybe, in place of the netmap's last one if need be."""
        listed = [address for address, each in self._all.items() if each.listed]
        if len(listed) < MAX_LISTED:
            return True
        others = [address for address in listed if self._all[address].listed == NETMAP] if by == CALLED else []
        for address in others[-1:]:
            self._all[address].listed = 0
        return bool(others)


def _is_heard(candidate: Candidate, now: float) -> bool:
    return now < candidate.heard_at + HEARD_CANDIDATE

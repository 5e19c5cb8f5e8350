"""The relay connections of this node: one client for each region in use, all behind the four verbs.

`troubles` keeps what is wrong with them, and since when, for health and for errors. A region whose definition changed
in the netmap is closed and dialled anew.

Source: Go wgengine/magicsock/derp.go.
Not here: which regions are wanted (`netcheck.home` for home and its candidates, `disco.paths` for the others).
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from tsnet.base.addresses import DerpAddress
from tsnet.base.keys import NodeKey, NodePrivateKey
from tsnet.base.links import Effect, Event
from tsnet.base.trace import Trace
from tsnet.derp.client import Client
from tsnet.derp.facts import Fact
from tsnet.engine.troubles import Troubles, name_of
from tsnet.netmap.model import DerpMap, DerpRegion


class Relays:
    """dropped: "no-region" (packets for a region that is not in the map), "closed" (events of a closed connection)."""

    def __init__(
        self,
        private_key: NodePrivateKey,
        *,
        entropy: Callable[[int], bytes],
        over_http: bool,
        trace: Trace | None = None,
    ) -> None:
        self.clients: dict[int, Client] = {}
        self.dropped: Counter[str] = Counter()
        self.troubles: Troubles = Troubles()
        self._private_key = private_key
        self._entropy = entropy
        self._over_http = over_http
        self._trace = trace
        self._regions: dict[int, DerpRegion] = {}
        self._generations = itertools.count(1)
        self._home = 0
        self._closing: list[Client] = []
        self._facts: list[Fact] = []

    def apply(self, derp_map: DerpMap) -> None:
        before, self._regions = self._regions, dict(derp_map.regions)
        for number, client in list(self.clients.items()):
            if self._regions.get(number) != client.region:
                self._close(number)
        self.troubles.keep({number for number, region in self._regions.items() if before.get(number) == region})

    def set_private_key(self, private_key: NodePrivateKey) -> None:
        """The node has a new key: every connection is closed, and logs in anew when it is dialled again."""
        self._private_key = private_key
        for number in list(self.clients):
            self._close(number)

    def set_home(self, region: int, now: float) -> None:
        self._home = region
        for number, client in self.clients.items():
            client.set_preferred(number == region, now)

    def want(self, regions: Iterable[int], now: float) -> None:
        """Hold connections to these regions and no others."""
        wanted = set(regions)
        for number in [number for number in self.clients if number not in wanted]:
            self._close(number)
        for number in sorted(wanted):
            self._client(number, now)

    def network_changed(self, now: float, *, anew: bool) -> None:
        for client in self.clients.values():
            client.network_changed(now, anew=anew)

    def _client(self, number: int, now: float) -> Client | None:
        client = self.clients.get(number)
        if client is None and (region := self._regions.get(number)) is not None:
            client = self.clients[number] = Client(
                region,
                self._private_key,
                entropy=self._entropy,
                preferred=number == self._home,
                use_http=self._over_http,
                generations=self._generations,
                now=now,
                trace=self._trace,
            )
        return client

    def _close(self, number: int) -> None:
        client = self.clients.pop(number)
        client.close()
        self._facts += client.take_facts()
        self._closing.append(client)

    def close(self) -> None:
        for number in list(self.clients):
            self._close(number)

    def has_room(self, region: int) -> bool:
        client = self.clients.get(region)
        return client is None or client.has_room

    def is_connected(self, region: int) -> bool:
        client = self.clients.get(region)
        return client is not None and client.is_connected

    def logged_in(self) -> list[int]:
        """The regions that our login has left for. What a peer sends there, once it is told of us, comes after that."""
        return [number for number, client in self.clients.items() if client.is_ready]

    def ping(self, region: int, now: float) -> None:
        """If we are connected to that relay, ask it for a sign of life, which becomes `Measured`. One at a time."""
        if (client := self.clients.get(region)) is not None:
            client.ping(now)

    def trouble(self, region: int, now: float) -> str:
        """Why packets for that region may be lost, as words for an error. Empty if all is well there."""
        client = self.clients.get(region)
        if region not in self._regions:
            return f"relay region {region} is in no map that control has sent"
        if client is not None and client.is_suspect(now):
            return f"{name_of(region, client.host)} has stopped answering"
        if client is None or client.is_connected:
            return self.troubles.text(region)
        return self.troubles.text(region) or f"{name_of(region, client.host)} has not answered yet"

    # --- the verbs ------------------------------------------------------------------------------------------

    def receive(self, event: Event, now: float) -> list[tuple[DerpAddress, list[bytes]]]:
        client = self.clients.get(int(event.link.name))
        if client is None:
            self.dropped["closed"] += 1
            return []
        return client.receive(event, now)

    def read(self, now: float) -> list[tuple[DerpAddress, list[bytes]]]:
        """The packets of what relays have sent and an earlier turn left over. Call this before `receive`."""
        arrived: list[tuple[DerpAddress, list[bytes]]] = []
        for client in self.clients.values():
            if client.has_input:
                arrived += client.read(now)
        return arrived

    def send(self, destination: DerpAddress, packets: Sequence[bytes], now: float) -> None:
        client = self._client(destination.region, now)
        if client is None:
            self.dropped["no-region"] += len(packets)
            return
        client.send(NodeKey(destination.key), packets, now)

    def transmit(self, now: float, budget: int) -> list[Effect]:
        effects: list[Effect] = []
        for client in self._closing:
            effects += client.transmit(now, budget)
        self._closing.clear()
        for client in self.clients.values():
            effects += client.transmit(now, budget)
            self._facts += client.take_facts()
        return effects

    def deadline(self) -> float:
        if self._closing or self._facts:
            return -math.inf
        return min((client.deadline() for client in self.clients.values()), default=math.inf)

    def take_facts(self) -> list[Fact]:
        for client in self.clients.values():
            self._facts += client.take_facts()
        facts, self._facts = self._facts, []
        return facts

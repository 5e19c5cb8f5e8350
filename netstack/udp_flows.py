"""UDP flows to other hosts' addresses: their ends, what each has queued, and when one has been silent for too long.

    key      (remote address, local address, remote port, local port), as a peer's datagram has them
    idle     after two minutes without a datagram either way (30 s if the local port is DNS's) the flow ends with the
             error `timeout`; a flow that nobody has decided about ends as long after its first datagram
    bounds   `max_flows` flows, and 16 MiB queued by all of them; no peer has more than two thirds of either

Source: RFC 4787 §4.3 for the two minutes, and for a shorter time where a port's protocol needs no more.
Not here: the decision (`udp_forward`), endpoints at ports of our own (`udp`).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Hashable, Iterator

from netstack import errors
from netstack.ip import IPAddress, IpLayer, address_of
from netstack.limits import DATAGRAM_COST, Shares, peer_of
from netstack.udp import Datagram, UdpEndpoint, send_datagram

IDLE, DNS_IDLE = 120.0, 30.0
DNS_PORT = 53
MAX_FLOWS = 4096
MAX_FLOW_BYTES = 16 * 1024 * 1024
"""The most bytes that all flows queue together."""


class UdpFlow(UdpEndpoint):
    """A connected endpoint whose local end is the destination that the peer asked for. It sends to that peer only."""

    __slots__ = ("_flows", "accepted", "active_time", "began_time", "idle", "key", "link", "peer", "remote")
    dropped: int

    def __init__(
        self, flows: FlowTable, link: Hashable, source: bytes, source_port: int, local: bytes, port: int, now: float
    ) -> None:
        super().__init__(flows, local, port)
        self._flows = flows
        self.link: Hashable = link
        self.peer: Hashable = peer_of(link, source)
        self.key: bytes = flow_key(source, source_port, local, port)
        self.remote: tuple[IPAddress, int] = address_of(source), source_port
        self.connect(*self.remote)
        self.idle: float = DNS_IDLE if port == DNS_PORT else IDLE
        self.began_time: float = now
        self.active_time: float = now
        self.accepted: bool = False

    @property
    def local(self) -> tuple[IPAddress, int]:
        return address_of(self._bound), self.port

    @property
    def queued_bytes(self) -> int:
        return self._room.taken

    def receive(self) -> Datagram | None:
        """The oldest datagram, or None."""
        datagram = super().receive()
        if datagram is not None:
            self._flows.room.give_back(self.peer, len(datagram.payload) + DATAGRAM_COST)
        return datagram

    # for the table and the forwarder

    def take(self, link: Hashable, source: bytes, source_port: int, local: bytes, payload: bytes) -> str | None:
        cost = len(payload) + DATAGRAM_COST
        if not self._flows.room.take(self.peer, cost):
            self.dropped += 1
            return "udp: queue full"
        reason = super().take(link, source, source_port, local, payload)
        if reason is not None:
            self._flows.room.give_back(self.peer, cost)
        return reason

    def end(self, error: str | None) -> None:
        """Close the flow from below, with the code of an error."""
        self.close()
        self._error = error


class FlowTable:
    """All flows of one stack: those of its forwarder, and those of earlier forwarders that were closed."""

    __slots__ = ("_flows", "_ip", "_silent", "places", "room", "unseen")

    def __init__(self, ip: IpLayer) -> None:
        self._ip = ip
        self._flows: dict[bytes, UdpFlow] = {}
        self._silent: dict[float, OrderedDict[UdpFlow, None]] = {IDLE: OrderedDict(), DNS_IDLE: OrderedDict()}
        self.places: Shares = Shares(MAX_FLOWS)
        self.room: Shares = Shares(MAX_FLOW_BYTES)
        self.unseen: OrderedDict[UdpFlow, None] = OrderedDict()
        """The flows that wait for the forwarder's `accept`."""

    def __len__(self) -> int:
        return len(self._flows)

    def __iter__(self) -> Iterator[UdpFlow]:
        return iter(list(self._flows.values()))

    def get(self, key: bytes) -> UdpFlow | None:
        return self._flows.get(key)

    def open(self, flow: UdpFlow) -> bool:
        """Enter a new flow; False if there are too many in all, or too many of its peer."""
        if not self.places.take(flow.peer):
            return False
        self._flows[flow.key] = flow
        self._silent[flow.idle][flow] = None
        self.unseen[flow] = None
        return True

    def touch(self, flow: UdpFlow, now: float) -> None:
        """Note that a datagram went either way."""
        flow.active_time = now
        self._silent[flow.idle].move_to_end(flow)

    def deadline(self) -> float:
        """When the first flow will have been silent for too long."""
        if not self._flows:
            return math.inf
        first = (next(iter(flows)) for flows in self._silent.values() if flows)
        return min((flow.active_time + flow.idle for flow in first), default=math.inf)

    def expire(self, now: float) -> None:
        for idle, flows in self._silent.items():
            while flows and (flow := next(iter(flows))).active_time + idle <= now:
                if not flow.accepted:
                    self._ip.dropped["udp: flow undecided for too long"] += 1
                self._end(flow, errors.TIMEOUT)

    def forget_link(self, link: Hashable) -> None:
        """End the link's flows: the peer behind it is gone."""
        for flow in self:
            if flow.link == link:
                self._end(flow, errors.UNREACHABLE)

    def close(self) -> None:
        for flow in self:
            self._end(flow, errors.ABORTED)

    # for the flows, which it owns

    def send(self, payload: bytes, source: bytes, source_port: int, remote: tuple[bytes, int], now: float) -> bool:
        flow = self._flows.get(flow_key(*remote, source, source_port))
        if flow is None:
            raise errors.AddressNotAvailable("a forwarded flow goes from its destination to its peer alone")
        self.touch(flow, now)
        return send_datagram(self._ip, payload, source, source_port, remote, now)

    def release(self, endpoint: UdpEndpoint, bound: bytes) -> None:
        assert isinstance(endpoint, UdpFlow)
        del self._flows[endpoint.key]
        del self._silent[endpoint.idle][endpoint]
        self.unseen.pop(endpoint, None)
        self.places.give_back(endpoint.peer)
        self.room.give_back(endpoint.peer, endpoint.queued_bytes)

    def _end(self, flow: UdpFlow, error: str) -> None:
        flow.end(error)
        if flow.accepted:
            self._ip.ready[flow] = None


def flow_key(remote: bytes, remote_port: int, local: bytes, local_port: int) -> bytes:
    """The key of a flow, with the fields in the order of a TCP connection's key."""
    return remote + local + remote_port.to_bytes(2, "big") + local_port.to_bytes(2, "big")

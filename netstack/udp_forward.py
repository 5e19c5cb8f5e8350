"""UDP to any destination: the first datagram of a flow waits until the application decides, with those that follow it.

    datagram -> a flow's own endpoint, once there is one
             -> PendingFlow -> accept() -> UdpFlow: connected, its own end is where the datagram was going
                            -> refuse() -> ICMP port unreachable, as from there

A flow that is refused is as if it had never been: the peer's next datagram asks again. What bounds flows, and when
they end, is in `udp_flows`. Over the limit a datagram is dropped, and counted.

Source: gVisor's udp.Forwarder for the shape.
Not here: the socket beyond, and copying between the two.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

from netstack import errors
from netstack.ip import IPAddress, IpLayer
from netstack.udp_flows import FlowTable, UdpFlow, flow_key
from netstack.wire import udp

Refuse = Callable[[bytes, bytes, bytes, float], None]


class PendingFlow:
    """A peer's datagrams to `local`, which is wherever it has sent them."""

    __slots__ = ("_flow", "_forwarder")

    def __init__(self, forwarder: UdpForwarder, flow: UdpFlow) -> None:
        self._forwarder, self._flow = forwarder, flow

    @property
    def local(self) -> tuple[IPAddress, int]:
        return self._flow.local

    @property
    def remote(self) -> tuple[IPAddress, int]:
        return self._flow.remote

    @property
    def link(self) -> Hashable:
        return self._flow.link

    @property
    def arrived_time(self) -> float:
        return self._flow.began_time

    @property
    def is_decided(self) -> bool:
        """Accepted, refused, or forgotten."""
        return self._flow.accepted or self._flow.is_closed

    def accept(self, now: float) -> UdpFlow:
        """The flow's endpoint, with the datagrams that have waited. Raises EndpointClosed if decided."""
        self._decide()
        self._forwarder.begin(self._flow, now)
        return self._flow

    def refuse(self, now: float) -> None:
        """Nobody is there: ICMP port unreachable for the first datagram."""
        self._decide()
        self._forwarder.refuse(self._flow, now)

    def _decide(self) -> None:
        if self.is_decided:
            raise errors.EndpointClosed("this flow was decided before, or waited too long")


class UdpForwarder:
    """Of one stack. Made by `Stack.forward_udp`."""

    __slots__ = ("_flows", "_ip", "_refuse", "is_closed", "unbound")

    def __init__(self, ip: IpLayer, flows: FlowTable, refuse: Refuse, max_flows: int, *, unbound: bool) -> None:
        self._ip, self._flows, self._refuse = ip, flows, refuse
        flows.places.total = max(max_flows, 1)
        self.unbound: bool = unbound
        self.is_closed: bool = False

    def __len__(self) -> int:
        """Flows, accepted ones and those that wait."""
        return len(self._flows)

    @property
    def max_flows(self) -> int:
        return self._flows.places.total

    @property
    def readable(self) -> bool:
        """Whether `accept` would return one."""
        return bool(self._flows.unseen)

    def accept(self) -> PendingFlow | None:
        """The oldest that nobody has looked at; None if there is none."""
        if not self._flows.unseen:
            return None
        return PendingFlow(self, self._flows.unseen.popitem(last=False)[0])

    def close(self, now: float) -> None:
        """Refuse all that wait; from now on destinations of others are not taken. Accepted flows go on."""
        if not self.is_closed:
            self.is_closed = True
            for flow in self._flows:
                if not flow.accepted:
                    self.refuse(flow, now)

    # for pending flows

    def begin(self, flow: UdpFlow, now: float) -> None:
        self._flows.unseen.pop(flow, None)
        self._flows.touch(flow, now)
        flow.accepted = True
        self._ip.ready[flow] = None

    def refuse(self, flow: UdpFlow, now: float) -> None:
        (source, source_port), (local, port) = flow.remote, flow.local
        first = flow.receive()
        flow.close()
        if first is not None:
            datagram = udp.build(source.packed, source_port, local.packed, port, first.payload)
            self._refuse(source.packed, local.packed, datagram, now)

    # for the layer

    def arrives(
        self, link: Hashable, source: bytes, source_port: int, local: bytes, port: int, payload: bytes, now: float
    ) -> bool:
        """A datagram for no endpoint of ours; False if it is to be refused."""
        flow = self._flows.get(flow_key(source, source_port, local, port))
        if flow is None:
            if self.is_closed:
                return False
            flow = UdpFlow(self._flows, link, source, source_port, local, port, now)
            reason = self._begin(flow, payload)
        else:
            reason = flow.take(link, source, source_port, local, payload)
            if reason is None and flow.accepted:
                self._flows.touch(flow, now)
                self._ip.ready[flow] = None
        if reason is not None:
            self._ip.dropped[reason] += 1
        return True

    def _begin(self, flow: UdpFlow, payload: bytes) -> str | None:
        """Let a new flow wait, with its first datagram, or say why not."""
        if not flow.remote[1]:
            return "udp: port zero"
        if not self._flows.open(flow):
            return "udp: too many flows"
        reason = flow.take(flow.link, flow.remote[0].packed, flow.remote[1], flow.local[0].packed, payload)
        if reason is not None:
            flow.close()
        else:
            self._ip.ready[self] = None
        return reason

    def find(self, remote: bytes, remote_port: int, local: bytes, port: int) -> UdpFlow | None:
        """The accepted flow between these ends."""
        flow = self._flows.get(flow_key(remote, remote_port, local, port))
        return flow if flow is not None and flow.accepted else None

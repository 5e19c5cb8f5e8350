"""The stack: whole IP packets in and out, endpoints for the application, one clock that is passed in.

    receive(runs)  -> IPv4 / IPv6 -> reassembly -> TCP | UDP | ICMP -> endpoints' buffers, take_ready()
    transmit()     <- TCP connections whose turn it is, and the outbox of single packets
    an own address -> turns round inside: what transmit makes for it is received at the next transmit

A run is `(link, [packets])` coming in, and `(destination address, [packets])` going out. An outgoing run has one
destination; its packets are equal in length but for the last, and as many as the owner of the stack can send in one
call. A link is any hashable value that the caller chooses. Connections remember theirs, and after `hold(link)` the
stack makes no packets for its connections until `release(link)`.

No packet makes `receive` raise: a bad one is dropped and counted in `dropped`, by reason ("protocol: reason").
The stack never calls the application back: `take_ready` tells which endpoints have changed.

Source: RFC 1122, RFC 8200, RFC 9293.
Not here: routes and neighbours. The caller knows where a destination is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence

from netstack import errors
from netstack.fragments import Reassembler
from netstack.icmp import IcmpEndpoint, IcmpLayer
from netstack.ip import IPAddress, IpLayer
from netstack.limits import DEFAULT_RUNS, RunLimits
from netstack.tcp import states
from netstack.tcp.connection import TcpConnection
from netstack.tcp.forward import TcpForwarder
from netstack.tcp.layer import TcpLayer
from netstack.tcp.listener import TcpListener
from netstack.tcp.settings import Settings
from netstack.tcp.tcb import CONGESTION
from netstack.udp import UdpEndpoint, UdpLayer
from netstack.udp_flows import MAX_FLOWS, FlowTable
from netstack.udp_forward import UdpForwarder
from netstack.wire import icmp, ipv4, ipv6, tcp, udp
from netstack.wire.packet import build_packet, first_fragment, lacks_headers

DEFAULT_MTU = 1280
DEFAULT_BUDGET = 256 * 1024
DEFAULT_MEMORY = 256 * 1024 * 1024

FRAGMENTS, UDP, FLOWS, ICMP = "fragments", "udp", "flows", "icmp"
"""What `Stack.connections` counts beside the states of TCP."""

LOOPBACK: Hashable = ("loopback",)
"""The link of packets from an own address to an own address."""

Endpoint = TcpConnection | TcpListener | TcpForwarder | UdpEndpoint | UdpForwarder | IcmpEndpoint


class Stack:
    """The TCP/IP stack of one host."""

    def __init__(
        self,
        *,
        entropy: Callable[[int], bytes],
        mtu: int = DEFAULT_MTU,
        now: float = 0.0,
        nodelay: bool = False,
        congestion: str = "cubic",
        memory: int = DEFAULT_MEMORY,
        max_run_packets: int = DEFAULT_RUNS.packets,
        max_run_bytes: int = DEFAULT_RUNS.size,
        run_overhead: int = DEFAULT_RUNS.overhead,
    ) -> None:
        """
        entropy: returns as many random bytes as it is asked for. mtu: of every link, at least 1280. nodelay: whether
        new connections do without Nagle's algorithm. congestion: "cubic" or "reno", for new connections. memory: the
        most bytes that all connections buffer together.

        max_run_packets, max_run_bytes: the limits of one run that `transmit` gives; a single packet may be longer.
        run_overhead: bytes that the layers below put around each packet; they count for max_run_bytes.
        """
        self._ip = IpLayer(entropy, max(mtu, ipv6.MIN_MTU))
        if congestion not in CONGESTION:
            raise ValueError(f"no congestion control {congestion!r}: {', '.join(CONGESTION)}")
        runs = RunLimits(max_run_packets, max_run_bytes, run_overhead)
        self.options: Settings = Settings(nodelay=nodelay, congestion=congestion, runs=runs)
        """The settings of all TCP connections; the caller may change them."""
        self._tcp = TcpLayer(self._ip, self.options, memory=memory)
        self._udp = UdpLayer(self._ip)
        self._flows = FlowTable(self._ip)
        self._icmp = IcmpLayer(self._ip, self._tcp, self._udp)
        self._fragments = Reassembler(self._ip.dropped)
        self._looped: list[bytes] = []
        self._now = now

    # the application's calls ------------------------------------------------------------------------------------

    @property
    def dropped(self) -> Counter[str]:
        """How many packets were dropped, by reason."""
        return self._ip.dropped

    @property
    def addresses(self) -> tuple[IPAddress, ...]:
        return tuple(self._ip.addresses.values())

    @property
    def mtu(self) -> int:
        return self._ip.mtu

    @property
    def connections(self) -> Counter[str]:
        """The sizes of the tables: TCP connections by state, datagrams in reassembly, bound endpoints, UDP flows."""
        counts = Counter(states.NAMES[tcb.state] for tcb in self._tcp.connections.values())
        counts.update({states.NAMES[states.TIME_WAIT]: len(self._tcp.time_wait), FRAGMENTS: len(self._fragments)})
        counts.update({UDP: len(self._udp), FLOWS: len(self._flows), ICMP: len(self._icmp)})
        return +counts

    def set_addresses(self, addresses: Iterable[IPAddress], now: float) -> None:
        """Replace the own addresses. Connections of one that is gone end with `aborted`; forwarded ones go on."""
        self._ip.set_addresses(addresses)
        self._tcp.addresses_changed()

    def connect(
        self,
        address: IPAddress,
        port: int,
        now: float,
        *,
        local: IPAddress | None = None,
        link: Hashable = None,
        max_segment: int | None = None,
    ) -> TcpConnection:
        """Begin to connect; the connection becomes ready when it is established or has failed.

        Raises AddressNotAvailable if there is no own address of that family, or if every port is taken.
        """
        return self._tcp.connect(address, port, now, local, link, max_segment)

    def listen(
        self,
        port: int,
        *,
        address: IPAddress | None = None,
        backlog: int = 128,
        max_connections: int | None = None,
        max_segment: int | None = None,
    ) -> TcpListener:
        """Accept connections to a port (0: any free one), at one own address or at all of them.

        backlog: connections that nobody has accepted, half-open ones included. Above it a SYN is answered as soon as
        there is room. max_connections: those that have begun here and have not ended. Above it a SYN is answered with
        RST. One peer has at most two thirds of either.

        Raises AddressInUse, or AddressNotAvailable if the address is not our own or no port is free.
        """
        return self._tcp.listen(port, address, backlog, max_segment, max_connections)

    def forward_tcp(self, *, max_in_flight: int = 1024, unbound: bool = False) -> TcpForwarder:
        """Take TCP connections to any destination, as a subnet router or an exit node does. Raises AddressInUse.

        max_in_flight: the most SYNs that may wait for `accept` or `refuse`; one peer has at most two thirds of them.
        unbound: whether to take connections to own addresses, too, at ports where nobody listens.
        """
        forwarder = TcpForwarder(
            max_in_flight,
            self._tcp.accept_held,
            self._tcp.refuse_held,
            self._refuse_by_icmp,
            self._ip.ready,
            self.dropped,
            unbound=unbound,
        )
        self._tcp.forward(forwarder)
        return forwarder

    def forward_udp(self, *, max_flows: int = MAX_FLOWS, unbound: bool = False) -> UdpForwarder:
        """Take UDP to any destination, flow by flow, as a subnet router or an exit node does. Raises AddressInUse.

        max_flows: the most flows that wait or are open; one peer has at most two thirds of them.
        unbound: whether to take flows to own addresses, too, at ports where no endpoint is bound.
        """
        if self._udp.forwarder is not None and not self._udp.forwarder.is_closed:
            raise errors.AddressInUse("this stack has a forwarder of UDP already")
        forwarder = UdpForwarder(self._ip, self._flows, self._refuse_datagram, max_flows, unbound=unbound)
        self._udp.forwarder = forwarder
        self._ip.takes_any.add(udp.PROTOCOL)
        return forwarder

    def open_udp(self, port: int = 0, *, address: IPAddress | None = None) -> UdpEndpoint:
        """Bind a UDP port (0: any free one), at one own address or at all of them. Raises AddressInUse."""
        return self._udp.open(port, address)

    def ping(self, address: IPAddress, *, local: IPAddress | None = None) -> IcmpEndpoint:
        """An endpoint that sends echo requests to one address. Raises AddressNotAvailable."""
        return self._icmp.open(address, local)

    def take_ready(self) -> list[Endpoint]:
        """The endpoints whose readiness has changed since the last call, each once, in the order of first change."""
        if not self._ip.ready:
            return []
        ready = list(self._ip.ready)
        self._ip.ready.clear()
        return ready

    def close(self, now: float) -> None:
        """Reset every connection and close every endpoint; the resets leave with the next transmit."""
        self._tcp.close(now)
        self._udp.close(now)
        self._flows.close()
        self._icmp.close()

    # from below -------------------------------------------------------------------------------------------------

    def receive(self, runs: Iterable[tuple[Hashable, Sequence[bytes]]], now: float, *, verified: bool = False) -> None:
        """Take whole IP packets, which may have padding behind them.

        verified: the packets are authenticated end to end, so that checksums need not be checked again.
        """
        self._now = now
        take_run = self._tcp.take_run
        for link, packets in runs:
            index, count = 0, len(packets)
            while index < count:
                taken = take_run(packets, index, now, verified)
                if taken:
                    index += taken
                else:
                    self._receive_packet(link, packets[index], now, verified)
                    index += 1

    def transmit(self, now: float, budget: int = DEFAULT_BUDGET) -> list[tuple[bytes, list[bytes]]]:
        """The runs that must go out now; call again while `deadline() <= now`.

        budget: TCP stops making packets when the result has this many bytes. The single packets in the outbox (at most
        1 MiB) all go out, whatever the budget.
        """
        self._now = now
        self._expire(now)
        if self._looped:
            looped, self._looped = self._looped, []
            self.receive([(LOOPBACK, looped)], now, verified=True)
        runs: list[tuple[bytes, list[bytes]]] = []
        size = 0
        if self._ip.outbox:
            outbox, size = self._ip.outbox, self._ip.outbox_bytes
            self._ip.outbox, self._ip.outbox_bytes = [], 0
            runs = _into_runs(outbox, self.options.runs)
        self._tcp.transmit(now, budget - size, runs)
        return self._turn_round(runs) if runs else runs

    @property
    def is_due(self) -> bool:
        """Whether `transmit` has something to send that waits for no time."""
        return bool(self._looped or self._ip.outbox or self._tcp.is_due())

    def deadline(self) -> float:
        """When `transmit` must next be called; math.inf if never."""
        if self._looped or self._ip.outbox or self._tcp.is_due():
            return self._now
        return min(self._tcp.deadline(), self._fragments.deadline(), self._flows.deadline())

    def hold(self, link: Hashable) -> None:
        """The layer below has no room for this link, or way: make nothing for connections that have no other.

        A link is its own only way unless `set_ways` has named others.
        """
        self._tcp.hold(link)

    def release(self, link: Hashable) -> None:
        """The layer below has room for this link, or way, again: what waits for it goes on."""
        self._tcp.release(link)

    def set_ways(self, link: Hashable, ways: Iterable[Hashable]) -> None:
        """These ways lead to the link's peer, and it is held while all of them are. Links may share a way."""
        self._tcp.set_ways(link, ways)

    def set_link_mtu(self, link: Hashable, mtu: int, now: float) -> None:
        """Packets of this link may be `mtu` bytes long (at least 1280): its path was measured, or has changed."""
        mtu = self._ip.link_mtus[link] = max(mtu, ipv6.MIN_MTU)
        self._tcp.set_link_mtu(link, mtu, now)

    def set_receive_mtu(self, mtu: int) -> None:
        """The layer below takes packets of `mtu` bytes from all links, though it may not send such: new connections
        announce segments of that size, and the peer sends them if its own path carries them."""
        self._ip.receive_mtu = max(mtu, self._ip.mtu)

    def path_restored(self, link: Hashable, now: float) -> None:
        """The path of this link is back after an outage: what was lost meanwhile need not wait any longer.

        Each connection of the link that has something unacknowledged, or a window probe that has backed off, sends one
        segment: now, or one retransmission timeout after its last one if that is later. This timeout is at most one
        second, since a longer one was measured on the path that is gone, and the backoff begins anew.
        """
        self._now = now
        self._tcp.path_restored(link, now)

    def forget_link(self, link: Hashable) -> None:
        """The peer behind the link is gone: its connections and flows end with the error `unreachable`.

        The link is forgotten: a later one of the same name is not held, and has the stack's MTU.
        """
        self._ip.link_mtus.pop(link, None)
        self._tcp.forget_link(link)
        self._flows.forget_link(link)

    def forget_remote(self, link: Hashable, remote: IPAddress) -> None:
        """That address is not behind the link any more: TCP connections with it end with the error `unreachable`."""
        self._tcp.forget_remote(link, remote.packed)

    def has_connections(self, link: Hashable) -> bool:
        """Whether a TCP connection of this link has not ended."""
        return self._tcp.has_connections(link)

    def refuse(
        self, local: IPAddress, local_port: int, remote: IPAddress, remote_port: int, *, error: str = errors.REFUSED
    ) -> None:
        """The peer turned our SYN down by other means than TCP: the connection ends with that error.

        error: `refused`, or a code of the caller's own. A connection that has got further than SYN_SENT goes on.
        """
        self._tcp.refuse(local.packed, local_port, remote.packed, remote_port, error)

    # inside -----------------------------------------------------------------------------------------------------

    def _is_forwarded(self, protocol: int, destination: bytes) -> bool:
        """Whether a packet to an address of others is taken: by a forwarder, or as an ICMP error about its packets."""
        about = icmp.V4_PROTOCOL if len(destination) == 4 else icmp.V6_PROTOCOL
        if protocol not in self._ip.takes_any and not (protocol == about and self._ip.takes_any):
            return False
        return not (ipv4.is_martian(destination) if len(destination) == 4 else ipv6.is_martian(destination))

    def _refuse_by_icmp(self, source: bytes, destination: bytes, segment: bytes, now: float) -> None:
        """Answer as a router that has no way to the destination."""
        packet = tcp.ip_header(source, destination, len(segment)) + segment
        own = self._ip.source_for(source)
        self._icmp.no_route(packet, source, own if own is not None else destination, now)

    def _refuse_datagram(self, source: bytes, destination: bytes, datagram: bytes, now: float) -> None:
        """Answer as the destination would if nobody had that port."""
        packet = build_packet(source, destination, udp.PROTOCOL, datagram)
        self._icmp.unreachable(packet, source, destination, protocol=False, now=now)

    def _expire(self, now: float) -> None:
        if len(self._flows):
            self._flows.expire(now)
        for key, first in self._fragments.expire(now):
            if icmp.is_error(key[3], first):
                continue
            self._icmp.reassembly_time_exceeded(first_fragment(*key, first), key[0], key[1], now)

    def _turn_round(self, runs: list[tuple[bytes, list[bytes]]]) -> list[tuple[bytes, list[bytes]]]:
        """Keep back the runs to an own address, for the next `transmit` to receive."""
        own = self._ip.addresses
        if not [1 for run in runs if run[0] in own]:
            return runs
        for destination, packets in runs:
            if destination in own:
                self._looped += packets
        return [run for run in runs if run[0] not in own]

    def _receive_packet(self, link: Hashable, packet: bytes, now: float, verified: bool) -> None:
        version = packet[0] >> 4 if packet else 0
        if version == 4:
            reason = self._receive_v4(link, packet, now, verified)
        elif version == 6:
            reason = self._receive_v6(link, packet, now, verified)
        else:
            reason = "ip: unknown version"
        if reason is not None:
            self._ip.dropped[reason] += 1

    def _receive_v4(self, link: Hashable, packet: bytes, now: float, verified: bool) -> str | None:
        header = ipv4.parse(packet, verified=verified)
        if isinstance(header, str):
            return header
        size, total, identification, field, _, protocol, source, destination = header
        if destination not in self._ip.addresses and not self._is_forwarded(protocol, destination):
            return "ip: not for us"
        if ipv4.is_martian(source) or (link is not LOOPBACK and source in self._ip.addresses):
            return "ip: martian source"
        payload = packet[size:total]
        if field & (ipv4.MORE_FRAGMENTS | ipv4.OFFSET_MASK):
            offset, more = (field & ipv4.OFFSET_MASK) * 8, bool(field & ipv4.MORE_FRAGMENTS)
            key = (source, destination, identification, protocol)
            whole = self._fragments.add(key, offset, more, payload, now, link)
            if whole is None:
                return None
            packet, payload, verified = build_packet(source, destination, protocol, whole), whole, False
        return self._deliver(link, packet, source, destination, protocol, payload, now, verified)

    def _receive_v6(self, link: Hashable, packet: bytes, now: float, verified: bool) -> str | None:
        header = ipv6.parse(packet)
        if isinstance(header, str):
            return header
        size, total, protocol, _, source, destination, fragment, option = header
        if destination not in self._ip.addresses and not self._is_forwarded(protocol, destination):
            return "ip: not for us"
        if ipv6.is_martian(source) or (link is not LOOPBACK and source in self._ip.addresses):
            return "ip: martian source"
        if option:
            return self._refuse_option(packet, header, now)
        payload = packet[size:total]
        if fragment is not None:
            offset, more, identification, _ = fragment
            if more and not offset and lacks_headers(source, destination, protocol, payload):
                return "fragment: headers cut"
            key = (source, destination, identification, protocol)
            whole = self._fragments.add(key, offset, more, payload, now, link)
            if whole is None:
                return None
            packet, verified = build_packet(source, destination, protocol, whole), False
            inner = ipv6.parse(packet)
            if isinstance(inner, str):
                return inner
            if inner.fragment is not None:
                return "fragment: in a fragment"
            if inner.option:
                return self._refuse_option(packet, inner, now)
            protocol, payload = inner.protocol, packet[inner.header_size :]
        return self._deliver(link, packet, source, destination, protocol, payload, now, verified)

    def _refuse_option(self, packet: bytes, header: ipv6.IPv6Header, now: float) -> str:
        if not icmp.is_error(header.protocol, packet[header.header_size :]):
            self._icmp.unknown_option(packet, header.option, header.source, header.destination, now)
        return "ipv6: unknown option"

    def _deliver(
        self,
        link: Hashable,
        packet: bytes,
        source: bytes,
        destination: bytes,
        protocol: int,
        payload: bytes,
        now: float,
        verified: bool,
    ) -> str | None:
        if protocol == tcp.PROTOCOL:
            self._tcp.receive(link, source, destination, payload, now, verified)
        elif protocol == udp.PROTOCOL:
            if not self._udp.receive(link, source, destination, payload, now, verified):
                self._icmp.unreachable(packet, source, destination, protocol=False, now=now)
        elif protocol == (icmp.V4_PROTOCOL if len(source) == 4 else icmp.V6_PROTOCOL):
            self._icmp.receive(source, destination, payload, now, verified)
        else:
            self._icmp.unreachable(packet, source, destination, protocol=True, now=now)
            return "ip: unknown protocol"
        return None


def _into_runs(outbox: Iterable[tuple[bytes, bytes]], limits: RunLimits) -> list[tuple[bytes, list[bytes]]]:
    """Single packets as runs, in their order: equal in length, but for a shorter last one."""
    runs: list[tuple[bytes, list[bytes]]] = []
    at, packets, length, most = b"", [b""], 0, 0
    for destination, packet in outbox:
        if destination == at and len(packets[-1]) == length >= len(packet) and len(packets) < most:
            packets.append(packet)
        else:
            at, packets, length = destination, [packet], len(packet)
            most = limits.count(length)
            runs.append((at, packets))
    return runs

"""ICMP and ICMPv6: echoes answered and asked, errors sent and passed on.

    echo request   -> echo reply with the same body
    echo reply     -> the IcmpEndpoint that asked, by identifier
    error          -> what its quoted packet belongs to: TCP, UDP, an echo

An error is never sent about an ICMP error, about anything but the first fragment, to or from a multicast or broadcast
address, nor more often than 1,000 a second (50 at once).

Source: RFC 792, RFC 1122 §3.2.2, RFC 4443 §2.4, RFC 5927 (what an error may do to TCP).
Not here: the messages' bytes (`wire.icmp`).
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple, Protocol

from netstack import errors
from netstack.ip import IPAddress, IpLayer, address_of
from netstack.limits import TokenBucket
from netstack.wire import icmp, ipv4, ipv6, tcp, udp
from netstack.wire.icmp import IcmpMessage

ERRORS_PER_SECOND = 1000.0
ERROR_BURST = 50.0
MAX_QUOTE = {4: 548, 16: 1232}
"""Of the packet that an error is about, by the length of an address: what keeps the error itself within 576 bytes
(RFC 1812 §4.3.2.3) or IPv6's least MTU."""
MAX_REPLIES = 256
MAX_ASKED = 1024
"""Echo requests of one endpoint that may be unanswered; the oldest is forgotten."""

_PLATEAUS = (32_000, 17_914, 8166, 4352, 2002, 1492, 1006)
"""MTUs to try when a router names none (RFC 1191 §7.1)."""


class ErrorSink(Protocol):
    """Who hears of errors about TCP."""

    def icmp_error(
        self, local: bytes, remote: bytes, quoted: bytes, error: str | None, mtu: int | None, now: float
    ) -> None: ...


class DatagramErrorSink(Protocol):
    """Who hears of errors about UDP."""

    def icmp_error(
        self, local: bytes, remote: bytes, quoted: bytes, error: str | None, mtu: int | None, now: float
    ) -> None: ...


class EchoReply(NamedTuple):
    sequence: int
    rtt: float
    """Seconds from request to answer."""
    payload: bytes
    error: str | None = None
    """A code of `netstack.errors` if ICMP said that the request did not arrive."""


class IcmpEndpoint:
    """Echo requests to one remote address, and what came of them."""

    __slots__ = ("_asked", "_layer", "_local", "_remote", "_replies", "identifier", "is_closed")

    def __init__(self, layer: IcmpLayer, local: bytes, remote: bytes, identifier: int) -> None:
        self._layer = layer
        self._local = local
        self._remote = remote
        self.identifier: int = identifier
        self._asked: dict[int, float] = {}
        self._replies: deque[EchoReply] = deque(maxlen=MAX_REPLIES)
        self.is_closed: bool = False

    @property
    def remote(self) -> IPAddress:
        return address_of(self._remote)

    @property
    def readable(self) -> bool:
        return bool(self._replies)

    def send(self, now: float, sequence: int = 1, payload: bytes = b"") -> bool:
        """Ask once; False if the outbox is full. Raises MessageTooLong for more than IP can carry."""
        if self.is_closed:
            raise errors.EndpointClosed("this ICMP endpoint is closed")
        if len(payload) > 65_487:
            raise errors.MessageTooLong(f"{len(payload)} bytes do not fit into one echo request")
        self._asked.pop(sequence & 0xFFFF, None)
        self._asked[sequence & 0xFFFF] = now
        if len(self._asked) > MAX_ASKED:
            del self._asked[next(iter(self._asked))]
        return self._layer.ask(self._local, self._remote, self.identifier, sequence & 0xFFFF, payload, now)

    def receive(self) -> EchoReply | None:
        """The oldest answer not yet taken, or None."""
        return self._replies.popleft() if self._replies else None

    def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            self._layer.release(self)

    # for the layer

    def take(self, source: bytes, sequence: int, payload: bytes, error: str | None, now: float) -> bool:
        """An answer, or an error about a request; False if it answers nothing that was asked."""
        if source != self._remote or sequence not in self._asked:
            return False
        self._replies.append(EchoReply(sequence, now - self._asked.pop(sequence), payload, error))
        return True


class IcmpLayer:
    """One instance a stack."""

    __slots__ = ("_endpoints", "_ip", "_limit", "_tcp", "_udp")

    def __init__(self, ip: IpLayer, tcp_layer: ErrorSink, udp_layer: DatagramErrorSink) -> None:
        self._ip, self._tcp, self._udp = ip, tcp_layer, udp_layer
        self._endpoints: dict[int, IcmpEndpoint] = {}
        self._limit = TokenBucket(ERRORS_PER_SECOND, ERROR_BURST)

    def __len__(self) -> int:
        return len(self._endpoints)

    def open(self, remote: IPAddress, local: IPAddress | None) -> IcmpEndpoint:
        """Raises AddressNotAvailable without an own address of the family, or when all identifiers are taken."""
        there = remote.packed
        here = self._ip.source_for(there) if local is None else local.packed
        if here is None or here not in self._ip.addresses or len(here) != len(there):
            raise errors.AddressNotAvailable(f"no own IPv{remote.version} address to reach {remote} from")
        first = int.from_bytes(self._ip.entropy(2), "big")
        for step in range(65_536):
            identifier = (first + step) & 0xFFFF
            if identifier not in self._endpoints:
                endpoint = self._endpoints[identifier] = IcmpEndpoint(self, here, there, identifier)
                return endpoint
        raise errors.AddressNotAvailable("every ICMP identifier is in use")

    def release(self, endpoint: IcmpEndpoint) -> None:
        self._endpoints.pop(endpoint.identifier, None)

    def close(self) -> None:
        for endpoint in list(self._endpoints.values()):
            endpoint.close()

    def ask(self, local: bytes, remote: bytes, identifier: int, sequence: int, payload: bytes, now: float) -> bool:
        kind = icmp.V4_ECHO_REQUEST if len(local) == 4 else icmp.V6_ECHO_REQUEST
        return self._send(local, remote, kind, 0, identifier << 16 | sequence, payload, now)

    def receive(self, source: bytes, destination: bytes, message: bytes, now: float, verified: bool) -> None:
        parsed = icmp.parse(source, destination, message, verified=verified)
        protocol = icmp.V4_PROTOCOL if len(source) == 4 else icmp.V6_PROTOCOL
        if isinstance(parsed, str):
            self._ip.dropped[parsed] += 1
        elif destination not in self._ip.addresses and not icmp.is_error(protocol, message):
            self._ip.dropped["ip: not for us"] += 1  # only what we have sent in its name concerns us
        elif len(source) == 4:
            self._receive_v4(source, destination, parsed, now)
        else:
            self._receive_v6(source, destination, parsed, now)

    def unreachable(self, packet: bytes, source: bytes, destination: bytes, *, protocol: bool, now: float) -> None:
        """Tell the sender of `packet` that its port, or its whole `protocol`, is not here."""
        if len(source) == 4:
            code = icmp.V4_PROTOCOL_UNREACHABLE if protocol else icmp.V4_PORT_UNREACHABLE
            self._tell(destination, source, icmp.V4_UNREACHABLE, code, 0, packet, now)
        elif protocol:  # an unknown next header is a parameter problem, at the byte that names it
            self._tell(destination, source, icmp.V6_PARAMETER_PROBLEM, 1, 6, packet, now)
        else:
            self._tell(destination, source, icmp.V6_UNREACHABLE, icmp.V6_PORT_UNREACHABLE, 0, packet, now)

    def unknown_option(self, packet: bytes, pointer: int, source: bytes, destination: bytes, now: float) -> None:
        """Tell the sender of an IPv6 option that it is unknown here, if the option asks for that (RFC 8200 §4.2)."""
        if packet[pointer] >> 6 != 1:
            self._tell(destination, source, icmp.V6_PARAMETER_PROBLEM, 2, pointer, packet, now)

    def no_route(self, packet: bytes, source: bytes, router: bytes, now: float) -> None:
        """Tell the sender of `packet` that there is no way to where it goes: code 1 of IPv4 (host), 0 of IPv6."""
        type_, code = (icmp.V4_UNREACHABLE, 1) if len(source) == 4 else (icmp.V6_UNREACHABLE, 0)
        self._tell(router, source, type_, code, 0, packet, now)

    def reassembly_time_exceeded(self, packet: bytes, source: bytes, destination: bytes, now: float) -> None:
        """Tell the sender of `packet`, a datagram's first fragment, that others of it never came."""
        type_ = icmp.V4_TIME_EXCEEDED if len(source) == 4 else icmp.V6_TIME_EXCEEDED
        self._tell(destination, source, type_, 1, 0, packet, now)

    def _tell(
        self, source: bytes, destination: bytes, type_: int, code: int, rest: int, packet: bytes, now: float
    ) -> None:
        """An error about a packet, which it quotes: at a limited rate."""
        if self._limit.take(now):
            self._send(source, destination, type_, code, rest, packet[: MAX_QUOTE[len(source)]], now)
        else:
            self._ip.dropped["icmp: rate limit"] += 1

    def _send(
        self, source: bytes, destination: bytes, type_: int, code: int, rest: int, body: bytes, now: float
    ) -> bool:
        protocol = icmp.V4_PROTOCOL if len(source) == 4 else icmp.V6_PROTOCOL
        message = icmp.build(source, destination, type_, code, rest, body)
        return self._ip.send_payload(source, destination, protocol, message, now)

    def _receive_v4(self, source: bytes, destination: bytes, message: IcmpMessage, now: float) -> None:
        kind, code, rest, body = message
        if kind == icmp.V4_ECHO_REQUEST:
            self._send(destination, source, icmp.V4_ECHO_REPLY, 0, rest, body, now)
        elif kind == icmp.V4_ECHO_REPLY:
            self._answered(source, rest, body, None, now)
        elif kind == icmp.V4_UNREACHABLE and code == icmp.V4_FRAGMENTATION_NEEDED:
            self._report(body, None, rest & 0xFFFF or _plateau(body), now)
        elif kind in (icmp.V4_UNREACHABLE, icmp.V4_TIME_EXCEEDED, icmp.V4_PARAMETER_PROBLEM):
            is_refusal = kind == icmp.V4_UNREACHABLE and code in (
                icmp.V4_PROTOCOL_UNREACHABLE,
                icmp.V4_PORT_UNREACHABLE,
            )
            self._report(body, errors.REFUSED if is_refusal else errors.UNREACHABLE, None, now)
        else:
            self._ip.dropped["icmp: unknown type"] += 1

    def _receive_v6(self, source: bytes, destination: bytes, message: IcmpMessage, now: float) -> None:
        kind, code, rest, body = message
        if kind == icmp.V6_ECHO_REQUEST:
            self._send(destination, source, icmp.V6_ECHO_REPLY, 0, rest, body, now)
        elif kind == icmp.V6_ECHO_REPLY:
            self._answered(source, rest, body, None, now)
        elif kind == icmp.V6_TOO_BIG:
            self._report(body, None, rest, now)
        elif kind in (icmp.V6_UNREACHABLE, icmp.V6_TIME_EXCEEDED, icmp.V6_PARAMETER_PROBLEM):
            is_refusal = kind == icmp.V6_UNREACHABLE and code == icmp.V6_PORT_UNREACHABLE
            self._report(body, errors.REFUSED if is_refusal else errors.UNREACHABLE, None, now)
        else:
            self._ip.dropped["icmp: unknown type"] += 1

    def _answered(self, source: bytes, rest: int, payload: bytes, error: str | None, now: float) -> None:
        endpoint = self._endpoints.get(rest >> 16)
        if endpoint is not None and endpoint.take(source, rest & 0xFFFF, payload, error, now):
            self._ip.ready[endpoint] = None
        else:
            self._ip.dropped["icmp: answers nothing"] += 1

    def _report(self, body: bytes, error: str | None, mtu: int | None, now: float) -> None:
        """Pass an error on to what sent the quoted packet, if that can have been us."""
        quoted = _quoted(body)
        if quoted is None or (quoted[0] not in self._ip.addresses and quoted[2] not in self._ip.takes_any):
            self._ip.dropped["icmp: quotes nothing of ours"] += 1
            return
        local, remote, protocol, rest = quoted
        if protocol == tcp.PROTOCOL:
            self._tcp.icmp_error(local, remote, rest, error, mtu, now)
        elif protocol == udp.PROTOCOL:
            self._udp.icmp_error(local, remote, rest, error, mtu, now)
        elif protocol in (icmp.V4_PROTOCOL, icmp.V6_PROTOCOL) and len(rest) >= 8 and error is not None:
            self._answered(remote, int.from_bytes(rest[4:8], "big"), b"", error, now)


def _quoted(body: bytes) -> tuple[bytes, bytes, int, bytes] | None:
    """(source, destination, protocol, what follows) of a quoted packet, which is cut short as a rule."""
    if len(body) >= ipv4.HEADER_SIZE and body[0] >> 4 == 4:
        size = (body[0] & 15) * 4
        if size < ipv4.HEADER_SIZE or int.from_bytes(body[6:8], "big") & ipv4.OFFSET_MASK:
            return None
        return body[12:16], body[16:20], body[9], body[size:]
    if len(body) >= ipv6.HEADER_SIZE and body[0] >> 4 == 6:
        return body[8:24], body[24:40], body[6], body[ipv6.HEADER_SIZE :]
    return None


def _plateau(body: bytes) -> int:
    """The next lower common MTU than the length of the quoted packet."""
    length = int.from_bytes(body[2:4], "big")
    return next((mtu for mtu in _PLATEAUS if mtu < length), ipv4.MIN_MTU)

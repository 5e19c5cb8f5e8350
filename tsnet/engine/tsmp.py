"""TSMP: the few messages that nodes exchange inside the tunnel, as IP protocol 99.

| byte 0     | meaning          | then                                                                       |
|------------|------------------|----------------------------------------------------------------------------|
| `!` (0x21) | flow rejected    | protocol u8, reason u8, source port, destination port (of the flow), [flags] |
|            |                  | flags: 0x01 "maybe broken", so the flow may succeed all the same           |
| `p` (0x70) | ping             | 8 bytes                                                                    |
| `o` (0x6f) | pong             | the same 8 bytes, PeerAPI port                                             |
| `a` (0x61) | disco key        | 32 bytes                                                                   |

Ports are big-endian. Go from 1.102 on opens each WireGuard session with `a`. Protocol 99 must therefore not reach
netstack, which would answer "protocol unreachable" at every rekey.

Source: Go net/packet/tsmp.go, net/tstun/wrap.go.
Not here: when to send them (`ingress`, `node`).
"""

from __future__ import annotations

from struct import Struct
from typing import assert_never

from netstack.wire import ipv4, ipv6
from tsnet.base.keys import DiscoKey
from tsnet.base.malformed import MalformedError
from tsnet.base.records import record

PROTOCOL = 99
_REJECT = Struct("!cBcHH")
_PONG = Struct("!c8sH")
_MAYBE_BROKEN = 0x01


@record
class Rejected:
    """The peer refuses this flow. reason: one of those below. Ports are as we sent them.

    maybe_broken: it only tells of a problem, and the flow may succeed all the same.
    """

    protocol: int
    reason: str
    source_port: int
    destination_port: int
    maybe_broken: bool = False


POLICY, SHIELDS_UP, NOT_FORWARDED, HOST_FIREWALL, UNKNOWN_TRANSIT = "A", "S", "F", "W", "T"
"""Why a flow is rejected: the packet filter, shields that are up, a subnet router that does not forward, the firewall
of the peer's machine, an address that an app connector does not know."""

DENIED = "denied "
"""Before the reason, it is the error in which the connection of a rejected flow ends."""


@record
class TsmpPing:
    data: bytes


@record
class TsmpPong:
    data: bytes
    peer_api_port: int = 0


@record
class DiscoAdvertisement:
    key: DiscoKey


Message = Rejected | TsmpPing | TsmpPong | DiscoAdvertisement


_DENIALS = {
    POLICY: "the tailnet's policy does not let this node reach that port",
    SHIELDS_UP: "its shields are up, so that nobody may connect to it",
    NOT_FORWARDED: "its machine does not forward packets to the subnet",
    HOST_FIREWALL: "the firewall of its machine does not let the connection in",
    UNKNOWN_TRANSIT: "it knows no target for that address of an app connector",
}


def denial(error: str) -> str:
    """What to say of a connection that has ended in such an error."""
    reason = error.removeprefix(DENIED)
    return _DENIALS.get(reason, f"it gives a reason that is not known here ({reason!r})")


def decode(payload: bytes) -> Message:
    """Raises MalformedError for a message that is short or unknown. Trailing bytes are ignored."""
    kind = payload[:1]
    if kind == b"p" and len(payload) >= 9:
        return TsmpPing(payload[1:9])
    if kind == b"o" and len(payload) >= _PONG.size:
        _, data, port = _PONG.unpack_from(payload)
        return TsmpPong(data, port)
    if kind == b"a" and len(payload) >= 33:
        return DiscoAdvertisement(DiscoKey(payload[1:33]))
    if kind == b"!" and len(payload) >= _REJECT.size:
        _, protocol, reason, source_port, destination_port = _REJECT.unpack_from(payload)
        flags = payload[_REJECT.size] if len(payload) > _REJECT.size else 0
        return Rejected(protocol, reason.decode("latin-1"), source_port, destination_port, bool(flags & _MAYBE_BROKEN))
    raise MalformedError("unknown TSMP message")


def encode(message: Message) -> bytes:
    match message:
        case TsmpPing(data):
            return b"p" + data
        case TsmpPong(data, port):
            return _PONG.pack(b"o", data, port)
        case DiscoAdvertisement(key):
            return b"a" + key
        case Rejected(protocol, reason, source_port, destination_port, maybe_broken):
            body = _REJECT.pack(b"!", protocol, reason.encode("latin-1"), source_port, destination_port)
            return body + bytes((_MAYBE_BROKEN,)) if maybe_broken else body
        case _:
            assert_never(message)


def packet(source: bytes, destination: bytes, message: Message) -> bytes:
    """The message as a whole IP packet between two addresses of one family (4 or 16 bytes each)."""
    payload = encode(message)
    header = ipv4.header if len(source) == 4 else ipv6.header
    return header(source, destination, PROTOCOL, len(payload)) + payload


def reject_of(syn: bytes, reason: str) -> bytes | None:
    """The rejection that answers a TCP SYN which the filter dropped; None for a packet too short to hold its ports."""
    if syn[0] >> 4 == 6:
        source, destination, transport = syn[8:24], syn[24:40], syn[40:44]
    else:
        start = (syn[0] & 15) * 4
        source, destination, transport = syn[12:16], syn[16:20], syn[start : start + 4]
    if len(transport) < 4:
        return None
    ports = int.from_bytes(transport[:2], "big"), int.from_bytes(transport[2:], "big")
    return packet(destination, source, Rejected(6, reason, *ports))

"""ICMP and ICMPv6 messages: type, code, checksum, four bytes by type, a body.

| what                 | v4 type, code | v6 type, code | four bytes          | body                 |
|----------------------|---------------|---------------|---------------------|----------------------|
| echo request, reply  | 8, 0          | 128, 129      | identifier sequence | payload              |
| unreachable          | 3             | 1             | 0                   | quoted packet        |
| too big              | 3, 4          | 2             | MTU (v4: low half)  | quoted packet        |
| time exceeded        | 11            | 3             | 0                   | quoted packet        |
| parameter problem    | 12            | 4             | pointer             | quoted packet        |

Only ICMPv6 sums a pseudo-header. An error quotes the packet that caused it: as much as fits in 576 bytes (v4) or
1280 (v6).

Source: RFC 792, RFC 1191, RFC 4443.
Not here: when an error is sent, whom one concerns (`netstack.icmp`).
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from netstack.wire import checksum

HEADER_SIZE = 8
V4_PROTOCOL, V6_PROTOCOL = 1, 58

V4_ECHO_REPLY, V4_UNREACHABLE, V4_ECHO_REQUEST, V4_TIME_EXCEEDED, V4_PARAMETER_PROBLEM = 0, 3, 8, 11, 12
V6_UNREACHABLE, V6_TOO_BIG, V6_TIME_EXCEEDED, V6_PARAMETER_PROBLEM = 1, 2, 3, 4
V6_ECHO_REQUEST, V6_ECHO_REPLY = 128, 129

V4_HOST_UNREACHABLE, V4_PROTOCOL_UNREACHABLE, V4_PORT_UNREACHABLE, V4_FRAGMENTATION_NEEDED = 1, 2, 3, 4
V6_ADDRESS_UNREACHABLE, V6_PORT_UNREACHABLE = 3, 4

_HEADER = Struct("!BBHI")
_V4_ERRORS = (b"\x03", b"\x04", b"\x05", b"\x0b", b"\x0c")  # with source quench and redirect


class IcmpMessage(NamedTuple):
    type: int
    code: int
    rest: int
    """The four bytes by type, as one number."""
    body: bytes


def parse(source: bytes, destination: bytes, message: bytes, *, verified: bool = False) -> IcmpMessage | str:
    """The message, or the reason why it is to be dropped. Addresses of 16 bytes make it ICMPv6."""
    if len(message) < HEADER_SIZE:
        return "icmp: truncated"
    if not verified and (_pseudo(source, destination, len(message)) + checksum.partial(message)) % 65535:
        return "icmp: bad checksum"
    type_, code, _, rest = _HEADER.unpack_from(message)
    return IcmpMessage(type_, code, rest, message[HEADER_SIZE:])


def build(source: bytes, destination: bytes, type_: int, code: int, rest: int, body: bytes) -> bytes:
    """One message, to go behind an IP header. Addresses of 16 bytes make it ICMPv6."""
    total = _pseudo(source, destination, HEADER_SIZE + len(body)) + (type_ << 8 | code) + rest + checksum.partial(body)
    return _HEADER.pack(type_, code, checksum.finish(total), rest) + body


def is_error(protocol: int, message: bytes) -> bool:
    """Whether a message, or its beginning, is an error: about which no other error is sent (RFC 1122 §3.2.2)."""
    if protocol == V4_PROTOCOL:
        return message[:1] in _V4_ERRORS
    return protocol == V6_PROTOCOL and b"" < message[:1] < b"\x80"


def _pseudo(source: bytes, destination: bytes, length: int) -> int:
    if len(source) == 4:
        return 0
    return int.from_bytes(source, "big") + int.from_bytes(destination, "big") + length + V6_PROTOCOL

"""Packets as bytes, written and read without `netstack.wire`: the judge does not use the defendant's tools.

    build_segment, build_udp, build_icmp     fields of the wire -> one IP packet
    read                                     one IP packet -> Seen

Addresses are packed, 4 or 16 bytes; sequence numbers and ports as on the wire. Checksums are made, and checked.

Source: RFC 791, RFC 8200, RFC 9293 §3.1, RFC 768, RFC 792, RFC 4443.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct, pack, unpack
from typing import NamedTuple

from tests.scripts.script import FLAG_LETTERS, Option, ScriptError

TCP, UDP, ICMP, ICMP6 = 6, 17, 1, 58
_TCP = Struct("!HHIIHHHH")
_SIMPLE = {"eol": b"\x00", "nop": b"\x01", "sackOK": b"\x04\x02"}

_ICMP_TYPES = {
    ("unreachable", 4): 3,
    ("time_exceeded", 4): 11,
    ("parameter_problem", 4): 12,
    ("source_quench", 4): 4,
    ("unreachable", 6): 1,
    ("packet_too_big", 6): 2,
    ("time_exceeded", 6): 3,
    ("parameter_problem", 6): 4,
}
_ICMP_CODES = {
    ("net_unreachable", 4): 0,
    ("host_unreachable", 4): 1,
    ("protocol_unreachable", 4): 2,
    ("port_unreachable", 4): 3,
    ("frag_needed", 4): 4,
    ("source_route_failed", 4): 5,
    ("net_unknown", 4): 6,
    ("host_unknown", 4): 7,
    ("source_host_isolated", 4): 8,
    ("net_prohibited", 4): 9,
    ("host_prohibited", 4): 10,
    ("net_unreachable_for_tos", 4): 11,
    ("host_unreachable_for_tos", 4): 12,
    ("packet_filtered", 4): 13,
    ("precedence_violation", 4): 14,
    ("precedence_cutoff", 4): 15,
    ("no_route", 6): 0,
    ("admin_prohibited", 6): 1,
    ("not_neighbour", 6): 2,
    ("address_unreachable", 6): 3,
    ("port_unreachable", 6): 4,
}


class Seen(NamedTuple):
    """A packet that the stack has sent."""

    at: float
    source: bytes
    destination: bytes
    protocol: int
    ports: tuple[int, int] = (0, 0)
    seq: int = 0
    ack: int = 0
    flags: int = 0
    window: int = 0
    options: tuple[Option, ...] = ()
    size: int = 0
    ecn: int = 0
    last_at: float = 0.0
    """When the last of the packets left that this one was joined from."""
    by_timer: bool = False
    """Whether only time has passed since what happened before."""


def checksum(data: bytes) -> int:
    """The complement of the ones' complement sum (RFC 1071)."""
    data += bytes(len(data) % 2)
    total: int = sum(unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _with_ip(source: bytes, destination: bytes, protocol: int, payload: bytes, ecn: int) -> bytes:
    if len(source) == 16:
        return pack("!IHBB", 6 << 28 | ecn << 20, len(payload), protocol, 64) + source + destination + payload
    head = pack("!BBHHHBBH", 0x45, ecn, 20 + len(payload), 0, 0x4000, 64, protocol, 0) + source + destination
    return head[:10] + checksum(head).to_bytes(2, "big") + head[12:] + payload


def _sum_with_pseudo(source: bytes, destination: bytes, protocol: int, payload: bytes) -> int:
    return checksum(source + destination + pack("!II", len(payload), protocol) + payload)


def encode_options(options: Iterable[Option]) -> bytes:
    return b"".join(map(_encode_option, options))


def _encode_option(option: Option) -> bytes:
    match option:
        case ("mss", size):
            return pack("!BBH", 2, 4, size)
        case ("wscale", shift):
            return pack("!BBB", 3, 3, shift)
        case ("TS", value, echo):
            return pack("!BBII", 8, 10, value, echo)
        case ("sack", *blocks):
            return pack("!BB", 5, 2 + 8 * len(blocks)) + b"".join(pack("!II", *block) for block in blocks)
        case (name,) if name in _SIMPLE:
            return _SIMPLE[name]
    raise ScriptError(f"no such TCP option: {option}")


def decode_options(data: bytes) -> tuple[Option, ...]:
    """In their order; what is unknown as ("kind N", bytes)."""
    options: list[Option] = []
    while data:
        kind = data[0]
        size = 1 if kind < 2 else data[1]
        options.append(_decode_option(kind, data[2:size]))
        data = data[size:]
    return tuple(options)


def _decode_option(kind: int, body: bytes) -> Option:
    match kind:
        case 0:
            return ("eol",)
        case 1:
            return ("nop",)
        case 2:
            return "mss", int.from_bytes(body, "big")
        case 3:
            return "wscale", body[0]
        case 4:
            return ("sackOK",)
        case 5:
            edges = unpack(f"!{len(body) // 4}I", body)
            return "sack", *zip(edges[::2], edges[1::2], strict=True)
        case 8:
            return "TS", *unpack("!II", body)
    return f"kind {kind}", body


def build_segment(
    source: bytes,
    destination: bytes,
    ports: tuple[int, int],
    *,
    seq: int,
    ack: int,
    flags: int,
    window: int,
    urgent: int = 0,
    options: bytes = b"",
    payload: bytes = b"",
    ecn: int = 0,
) -> bytes:
    options += bytes(-len(options) % 4)
    offset = (20 + len(options)) // 4 << 12
    head = _TCP.pack(*ports, seq, ack, offset | flags, window, 0, urgent)
    total = _sum_with_pseudo(source, destination, TCP, head + options + payload)
    head = head[:16] + total.to_bytes(2, "big") + head[18:]
    return _with_ip(source, destination, TCP, head + options + payload, ecn)


def build_udp(source: bytes, destination: bytes, ports: tuple[int, int], payload: bytes) -> bytes:
    head = pack("!HHHH", *ports, 8 + len(payload), 0)
    total = _sum_with_pseudo(source, destination, UDP, head + payload) or 0xFFFF
    return _with_ip(source, destination, UDP, head[:6] + total.to_bytes(2, "big") + payload, 0)


def build_icmp(source: bytes, destination: bytes, kind: str, code: str | None, mtu: int, quoted: bytes) -> bytes:
    """An error about `quoted`, a packet of the other side."""
    version = 4 if len(source) == 4 else 6
    if (kind, version) not in _ICMP_TYPES or (code is not None and (code, version) not in _ICMP_CODES):
        raise ScriptError(f"no such ICMPv{version} message: {kind} {code or ''}")
    number = _ICMP_CODES[code, version] if code is not None else 0
    body = pack("!BBHI", _ICMP_TYPES[kind, version], number, 0, mtu) + quoted
    total = checksum(body) if version == 4 else _sum_with_pseudo(source, destination, ICMP6, body)
    body = body[:2] + total.to_bytes(2, "big") + body[4:]
    return _with_ip(source, destination, ICMP if version == 4 else ICMP6, body, 0)


def read(packet: bytes, at: float) -> Seen:
    """Raises ScriptError for a packet that no stack should send: a wrong length or checksum."""
    if packet[0] >> 4 == 4:
        size, total, protocol, ecn = (packet[0] & 15) * 4, unpack("!H", packet[2:4])[0], packet[9], packet[1] & 3
        source, destination = packet[12:16], packet[16:20]
        if checksum(packet[:size]):
            raise ScriptError("the stack sent a wrong IP checksum")
    else:
        size, total, protocol, ecn = 40, 40 + unpack("!H", packet[4:6])[0], packet[6], packet[1] >> 4 & 3
        source, destination = packet[8:24], packet[24:40]
    if total != len(packet):
        raise ScriptError("the stack sent a wrong IP length")
    body = packet[size:]
    pseudo = protocol != ICMP
    if _sum_with_pseudo(source, destination, protocol, body) if pseudo else checksum(body):
        raise ScriptError("the stack sent a wrong checksum")
    seen = Seen(at, source, destination, protocol, size=len(body), ecn=ecn, last_at=at)
    if protocol == UDP:
        return seen._replace(ports=unpack("!HH", body[:4]), size=len(body) - 8)
    return _read_segment(seen, body) if protocol == TCP else seen


def _read_segment(seen: Seen, body: bytes) -> Seen:
    source, destination, seq, ack, offset, window, _, _ = _TCP.unpack_from(body)
    size = offset >> 12 << 2
    return seen._replace(
        ports=(source, destination),
        seq=seq,
        ack=ack,
        flags=offset & 255,
        window=window,
        options=decode_options(body[20:size]),
        size=len(body) - size,
    )


def describe(seen: Seen) -> str:
    """As a script would write it."""
    if seen.protocol != TCP:
        return f"{'udp' if seen.protocol == UDP else 'icmp'} ({seen.size})"
    letters = "".join(letter for letter, bit in FLAG_LETTERS.items() if seen.flags & bit) or "-"
    text = f"{letters} {seen.seq}:{(seen.seq + seen.size) % 2**32}({seen.size})"
    if seen.flags & FLAG_LETTERS["."]:
        text += f" ack {seen.ack}"
    text += f" win {seen.window}"
    return text + (f" <{describe_options(seen.options)}>" if seen.options else "")


def describe_options(options: Iterable[Option]) -> str:
    return ",".join(map(_describe_option, options))


def _describe_option(option: Option) -> str:
    match option:
        case ("TS", value, echo):
            return f"TS val {value} ecr {echo}"
        case ("sack", *blocks):
            return "sack " + " ".join(f"{left}:{right}" for left, right in blocks)
    return " ".join(map(str, option))

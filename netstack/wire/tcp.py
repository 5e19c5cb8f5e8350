"""TCP segments: the header, its options, and the layouts that let one `Struct` read IP and TCP at once.

    0               8               16              24              31
    | source port                   | destination port              |
    | sequence number                                               |
    | acknowledgement number                                        |
    | off/4 | rsvd  |CWR..ACK..FIN  | window                        |
    | checksum                      | urgent pointer                |
    | options, padded to 4                                          |

    options   EOL 0 | NOP 1 | MSS 2,4 | window scale 3,3 | SACK permitted 4,2 | SACK 5,2+8n | timestamps 8,10
    on SYN    MSS, SACK permitted, timestamps, NOP, window scale: 20 bytes, in the order of Linux
    later     NOP NOP timestamps: 12 bytes; on a pure acknowledgement NOP NOP SACK behind them

Source: RFC 9293 §3.1-3.2, RFC 7323 §2-3, RFC 2018 §2-3.
Not here: what a segment does (`netstack.tcp.arrive`), cutting long data into segments (`netstack.tcp.emit`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct
from typing import Any, NamedTuple

from netstack.wire import checksum, ipv4, ipv6

HEADER_SIZE = 20
PROTOCOL = 6
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16

TIMESTAMPS_WORD = 0x0101080A
"""NOP NOP, kind 8, length 10: what every common implementation puts before its timestamps."""

TIMESTAMPS_SIZE = 12
MAX_WINDOW_SCALE = 14
MAX_SACK_BLOCKS = 4

_HEADER = Struct("!HHIIBBHHH")
_TIMESTAMPS = Struct("!III")
_BLOCK = Struct("!II")
_MSS = Struct("!BBH")


class Layout(NamedTuple):
    """Where one IP version, without IP options, has what the receive fast path looks at."""

    header_size: int
    """IP and TCP headers, no TCP options."""
    key: slice
    """Source and destination addresses and ports of a packet: what names a connection."""
    unpack_plain: Callable[[bytes], tuple[Any, ...]]
    """-> first byte, length, word, sequence, acknowledgement, offset and flags, window."""
    unpack_timestamps: Callable[[bytes], tuple[Any, ...]]
    """-> the same, option word, TSval, TSecr; the packet has at least `header_size + 12` bytes."""
    first: tuple[int, int]
    """Mask and value of the first byte: version (and header length)."""
    word: tuple[int, int]
    """Mask and value of the word that tells protocol and fragmentation."""
    length_excludes: int
    """What the length field leaves out."""


def _layout(ip: str, header_size: int, key: slice, first: tuple[int, int], word: tuple[int, int], out: int) -> Layout:
    plain, timestamps = Struct(f"!{ip}4xIIHH"), Struct(f"!{ip}4xIIHH4xIII")
    return Layout(header_size, key, plain.unpack_from, timestamps.unpack_from, first, word, out)


V4 = _layout("BxH2xI10x", 40, slice(12, 24), (0xFF, 0x45), (0x3FFF_00FF, PROTOCOL), 0)
V6 = _layout("B3xHH32x", 60, slice(8, 44), (0xF0, 0x60), (0xFF00, PROTOCOL << 8), ipv6.HEADER_SIZE)


class Header(NamedTuple):
    source_port: int
    destination_port: int
    seq: int
    ack: int
    size: int
    """Of the header with its options."""
    flags: int
    window: int


class Options(NamedTuple):
    mss: int | None = None
    window_scale: int | None = None
    sack_permitted: bool = False
    timestamps: tuple[int, int] | None = None
    """TSval, TSecr."""
    sack: Sequence[tuple[int, int]] = ()


NO_OPTIONS = Options()


def parse(source: bytes, destination: bytes, segment: bytes, *, verified: bool = False) -> Header | str:
    """The header, or the reason why the segment is to be dropped."""
    if len(segment) < HEADER_SIZE:
        return "tcp: truncated"
    sport, dport, seq, ack, offset, flags, window, _, _ = _HEADER.unpack_from(segment)
    size = (offset >> 4) * 4
    if size < HEADER_SIZE or size > len(segment):
        return "tcp: bad data offset"
    if not verified and (pseudo_sum(source, destination) + len(segment) + checksum.partial(segment)) % 65535:
        return "tcp: bad checksum"
    return Header(sport, dport, seq, ack, size, flags & 63, window)


def pseudo_sum(source: bytes, destination: bytes) -> int:
    """The pseudo-header without its length, as a number to add to the segment's sum."""
    return int.from_bytes(source, "big") + int.from_bytes(destination, "big") + PROTOCOL


def parse_options(data: bytes) -> Options:
    """What can be understood; from the first bad length on, the rest is ignored."""
    if not data:
        return NO_OPTIONS
    if len(data) == TIMESTAMPS_SIZE:
        word, value, echo = _TIMESTAMPS.unpack(data)
        if word == TIMESTAMPS_WORD:
            return Options(timestamps=(value, echo))
    return _walk_options(data)


def _walk_options(data: bytes) -> Options:
    found: dict[int, bytes] = {}
    at, end = 0, len(data)
    while at < end and data[at] != 0:
        kind = data[at]
        if kind == 1:
            at += 1
            continue
        if at + 1 >= end or data[at + 1] < 2 or at + data[at + 1] > end:
            break
        found.setdefault(kind, data[at + 2 : at + data[at + 1]])
        at += data[at + 1]
    mss, scale, stamps, blocks = found.get(2, b""), found.get(3, b""), found.get(8, b""), found.get(5, b"")
    return Options(
        mss=int.from_bytes(mss, "big") if len(mss) == 2 else None,
        window_scale=min(scale[0], MAX_WINDOW_SCALE) if len(scale) == 1 else None,
        sack_permitted=found.get(4) == b"",
        timestamps=_BLOCK.unpack(stamps) if len(stamps) == 8 else None,
        sack=tuple(_BLOCK.iter_unpack(blocks)) if len(blocks) % 8 == 0 else (),
    )


def syn_options(mss: int, scale: int | None, sack: bool, timestamps: tuple[int, int] | None) -> bytes:
    """The options of a SYN; scale None, sack False and timestamps None leave theirs out."""
    options = _MSS.pack(2, 4, mss)
    if timestamps is not None:
        options += (b"\x04\x02" if sack else b"\x01\x01") + b"\x08\x0a" + _BLOCK.pack(*timestamps)
    elif sack:
        options += b"\x01\x01\x04\x02"
    if scale is not None:
        options += bytes((1, 3, 3, scale))
    return options


def timestamp_options(value: int, echo: int) -> bytes:
    return _TIMESTAMPS.pack(TIMESTAMPS_WORD, value, echo)


def sack_option(blocks: Sequence[tuple[int, int]]) -> bytes:
    """NOP NOP SACK for up to four (left, right) pairs of wire sequence numbers; nothing for none."""
    if not blocks:
        return b""
    return bytes((1, 1, 5, 2 + 8 * len(blocks))) + b"".join([_BLOCK.pack(left, right) for left, right in blocks])


def build(
    source: bytes,
    source_port: int,
    destination: bytes,
    destination_port: int,
    *,
    seq: int,
    ack: int = 0,
    flags: int,
    window: int = 0,
    options: bytes = b"",
    payload: bytes = b"",
) -> bytes:
    """One whole IP packet. `seq` and `ack` as on the wire; options padded to four."""
    options += bytes(-len(options) % 4)
    size = HEADER_SIZE + len(options)
    offset = size << 2
    total = pseudo_sum(source, destination) + size + len(payload) + source_port + destination_port + seq + ack
    total += (offset << 8 | flags) + window + checksum.partial(options) + checksum.partial(payload)
    head = _HEADER.pack(source_port, destination_port, seq, ack, offset, flags, window, checksum.finish(total), 0)
    return ip_header(source, destination, size + len(payload)) + head + options + payload


def ip_header(source: bytes, destination: bytes, segment_size: int) -> bytes:
    """The IP header before a segment, of the addresses' version."""
    if len(source) == 4:
        return ipv4.header(source, destination, PROTOCOL, segment_size)
    return ipv6.header(source, destination, PROTOCOL, segment_size)

"""TCP segments and options against scapy, cut short and damaged; the layouts of the fast path."""

from __future__ import annotations

import random
from ipaddress import ip_address
from typing import Any

import pytest

from netstack.wire import tcp
from netstack.wire.tcp import NO_OPTIONS, Header, Options
from tests.netstack.oracle import IP, TCP, IPv6, Raw

V4 = ip_address("100.64.0.1").packed, ip_address("100.64.0.2").packed
V6 = ip_address("fd7a::1").packed, ip_address("fd7a::2").packed
BOTH = pytest.mark.parametrize("ends", [V4, V6], ids=["v4", "v6"])


def scapy_packet(ends: tuple[bytes, bytes], payload: bytes = b"", **fields: Any) -> bytes:
    source, destination = (str(ip_address(end)) for end in ends)
    ip: Any = (
        IP(src=source, dst=destination, flags="DF", id=0) if len(ends[0]) == 4 else IPv6(src=source, dst=destination)
    )
    return bytes(ip / TCP(**fields) / Raw(payload))


@BOTH
@pytest.mark.parametrize("seed", range(30))
def test_both_ways_with_scapy(ends: tuple[bytes, bytes], seed: int) -> None:
    chance = random.Random(seed)
    sport, dport, window = (chance.randrange(65_536) for _ in range(3))
    seq, ack, flags = chance.randrange(2**32), chance.randrange(2**32), chance.randrange(64)
    payload = chance.randbytes(chance.randrange(50))
    stamps = (chance.randrange(2**32), chance.randrange(2**32))
    theirs = scapy_packet(
        ends,
        payload,
        sport=sport,
        dport=dport,
        seq=seq,
        ack=ack,
        flags=flags,
        window=window,
        options=[("NOP", None), ("NOP", None), ("Timestamp", stamps)],
    )
    options = tcp.timestamp_options(*stamps)
    ours = tcp.build(
        ends[0], sport, ends[1], dport, seq=seq, ack=ack, flags=flags, window=window, options=options, payload=payload
    )
    assert ours == theirs
    segment = theirs[20 if len(ends[0]) == 4 else 40 :]
    assert tcp.parse(*ends, segment) == Header(sport, dport, seq, ack, 32, flags, window)
    assert tcp.parse_options(segment[20:32]) == Options(timestamps=stamps)


@pytest.mark.parametrize("scale", [None, 0, 8, 14])
@pytest.mark.parametrize("sack", [False, True])
@pytest.mark.parametrize("stamps", [None, (7, 9)])
def test_syn_options_as_linux_orders_them(scale: int | None, sack: bool, stamps: tuple[int, int] | None) -> None:
    theirs: list[Any] = [("MSS", 1220)]
    if stamps is not None:
        theirs += [("SAckOK", b"")] if sack else [("NOP", None), ("NOP", None)]
        theirs.append(("Timestamp", stamps))
    elif sack:
        theirs += [("NOP", None), ("NOP", None), ("SAckOK", b"")]
    if scale is not None:
        theirs += [("NOP", None), ("WScale", scale)]
    ours = tcp.syn_options(1220, scale, sack, stamps)
    assert ours == scapy_packet(V4, options=theirs)[40:]
    assert len(ours) % 4 == 0
    assert tcp.parse_options(ours) == Options(1220, scale, sack, stamps)


@pytest.mark.parametrize("count", range(5))
def test_sack_blocks(count: int) -> None:
    blocks = [(100 * n, 100 * n + 50) for n in range(1, count + 1)]
    ours = tcp.sack_option(blocks)
    flat = tuple(edge for block in blocks for edge in block)
    theirs = scapy_packet(V4, options=[("NOP", None), ("NOP", None), ("SAck", flat)])[40:] if blocks else b""
    assert ours == theirs
    assert list(tcp.parse_options(ours).sack) == blocks


@pytest.mark.parametrize(
    ("data", "options"),
    [
        (b"", NO_OPTIONS),
        (b"\x00\x02\x04\x05\x00", NO_OPTIONS),  # nothing after the end
        (b"\x01\x01\x02\x04\x05\xb4", Options(mss=1460)),
        (b"\x02\x04\x05", NO_OPTIONS),  # cut short
        (b"\x02\x00\x05\xb4", NO_OPTIONS),  # a length that cannot be
        (b"\x02\x03\x05\x01", NO_OPTIONS),  # an MSS of one byte
        (b"\x03\x03\x0f", Options(window_scale=14)),  # clamped
        (b"\xfe\x04\xab\xcd\x04\x02", Options(sack_permitted=True)),  # unknown ones are passed over
        (b"\x05\x09" + bytes(7), NO_OPTIONS),  # not whole blocks
        (b"\x08\x09" + bytes(7), NO_OPTIONS),
        (b"\x02\x04\x05\xb4\x02\x04\x00\x01", Options(mss=1460)),  # the first one counts
    ],
)
def test_odd_options(data: bytes, options: Options) -> None:
    assert tcp.parse_options(data) == options


def test_no_options_raise() -> None:
    chance = random.Random(5)
    for _ in range(2000):
        tcp.parse_options(chance.randbytes(chance.randrange(41)))


SEGMENT = tcp.build(*(V4[0], 1000), *(V4[1], 2000), seq=1, ack=2, flags=24, window=3, payload=b"payload")[20:]


@pytest.mark.parametrize("length", range(len(SEGMENT)))
def test_truncated(length: int) -> None:
    assert tcp.parse(*V4, SEGMENT[:length]) == ("tcp: truncated" if length < 20 else "tcp: bad checksum")


@pytest.mark.parametrize("bit", range(len(SEGMENT) * 8))
def test_a_flipped_bit_is_found(bit: int) -> None:
    damaged = bytearray(SEGMENT)
    damaged[bit >> 3] ^= 1 << (bit & 7)
    assert isinstance(tcp.parse(*V4, bytes(damaged)), str)


@pytest.mark.parametrize("offset", [0, 4, 15])
def test_a_data_offset_that_cannot_be(offset: int) -> None:
    segment = SEGMENT[:12] + bytes((offset << 4,)) + SEGMENT[13:]
    assert tcp.parse(*V4, segment, verified=True) == "tcp: bad data offset"


@BOTH
def test_a_layout_reads_ip_and_tcp_at_once(ends: tuple[bytes, bytes]) -> None:
    layout = tcp.V4 if len(ends[0]) == 4 else tcp.V6
    packet = tcp.build(
        ends[0], 1, ends[1], 2, seq=3, ack=4, flags=24, window=5, options=tcp.timestamp_options(6, 7), payload=b"xyz"
    )
    first, length, word, seq, ack, flags, window, option, value, echo = layout.unpack_timestamps(packet)
    assert (seq, ack, flags, window) == (3, 4, 0x8018, 5)
    assert (option, value, echo) == (tcp.TIMESTAMPS_WORD, 6, 7)
    assert layout.unpack_plain(packet) == (first, length, word, seq, ack, flags, window)
    assert first & layout.first[0] == layout.first[1]
    assert word & layout.word[0] == layout.word[1]
    assert length + layout.length_excludes == len(packet)
    assert packet[layout.key] == ends[0] + ends[1] + b"\0\x01\0\x02"
    assert layout.header_size == len(packet) - 3 - tcp.TIMESTAMPS_SIZE


@BOTH
@pytest.mark.parametrize("length", range(9))
def test_options_are_padded_to_four_bytes(ends: tuple[bytes, bytes], length: int) -> None:
    options = b"\x01" * length
    packet = tcp.build(ends[0], 1, ends[1], 2, seq=3, flags=tcp.ACK, options=options, payload=b"xyz")
    segment = packet[20 if len(ends[0]) == 4 else 40 :]
    header = tcp.parse(*ends, segment)
    assert isinstance(header, Header)
    assert header.size == 20 + -(-length // 4) * 4
    assert segment[20 : header.size] == options + bytes(-length % 4)
    assert segment[header.size :] == b"xyz"


def test_the_flags_of_rfc_9293() -> None:
    assert (tcp.FIN, tcp.SYN, tcp.RST, tcp.PSH, tcp.ACK) == (1, 2, 4, 8, 16)
    header = tcp.parse(*V4, tcp.build(V4[0], 1, V4[1], 2, seq=3, flags=0xFF)[20:])
    assert isinstance(header, Header)
    assert header.flags == 0x3F  # ECN is none of our business

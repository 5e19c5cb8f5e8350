"""The judge's own bytes, against netstack's parsers and against itself."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from netstack.wire import tcp
from tests.scripts.script import ACK, PSH, SYN, Option, ScriptError
from tests.scripts.wire import (
    TCP,
    UDP,
    build_icmp,
    build_segment,
    build_udp,
    checksum,
    decode_options,
    describe,
    encode_options,
    read,
)

PAIRS = [
    (ip_address("10.0.0.1").packed, ip_address("10.0.0.2").packed),
    (ip_address("fd00::1").packed, ip_address("fd00::2").packed),
]
OPTIONS: tuple[Option, ...] = (
    *(("mss", 1460), ("sackOK",), ("TS", 1, 2), ("nop",), ("wscale", 7)),
    *(("nop",), ("nop",), ("sack", (1, 2), (3, 4))),
)


def test_checksum_of_rfc_1071() -> None:
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == ~0xDDF2 & 0xFFFF


@pytest.mark.parametrize(("source", "destination"), PAIRS)
def test_segments_come_back(source: bytes, destination: bytes) -> None:
    options = encode_options(OPTIONS[:5])
    packet = build_segment(
        source, destination, (1, 2), seq=3, ack=4, flags=SYN | ACK, window=5, options=options, payload=b"abc", ecn=1
    )
    seen = read(packet, 9.0)
    assert (seen.at, seen.source, seen.destination, seen.protocol) == (9.0, source, destination, TCP)
    assert (seen.ports, seen.seq, seen.ack, seen.flags, seen.window) == ((1, 2), 3, 4, SYN | ACK, 5)
    assert (seen.options, seen.size, seen.ecn) == (OPTIONS[:5], 3, 1)


@pytest.mark.parametrize(("source", "destination"), PAIRS)
def test_netstack_reads_the_same(source: bytes, destination: bytes) -> None:
    options = encode_options(OPTIONS[2:3])
    packet = build_segment(
        source, destination, (1, 2), seq=3, ack=4, flags=PSH | ACK, window=5, options=options, payload=b"x"
    )
    segment = packet[20 if len(source) == 4 else 40 :]
    header = tcp.parse(source, destination, segment)
    assert header == tcp.Header(1, 2, 3, 4, 32, PSH | ACK, 5)
    assert tcp.parse_options(segment[20:32]).timestamps == (1, 2)


@pytest.mark.parametrize(("source", "destination"), PAIRS)
def test_other_protocols(source: bytes, destination: bytes) -> None:
    seen = read(build_udp(source, destination, (1, 2), bytes(7)), 0.0)
    assert (seen.protocol, seen.ports, seen.size) == (UDP, (1, 2), 7)
    assert describe(seen) == "udp (7)"
    icmp = read(build_icmp(source, destination, "unreachable", None, 0, bytes(28)), 0.0)
    assert describe(icmp) == "icmp (36)"
    with pytest.raises(ScriptError, match="no such ICMP"):
        build_icmp(source, destination, "greeting", None, 0, b"")


@pytest.mark.parametrize(("source", "destination"), PAIRS)
def test_damage_is_noticed(source: bytes, destination: bytes) -> None:
    packet = build_segment(source, destination, (1, 2), seq=3, ack=4, flags=ACK, window=5, payload=b"abc")
    for broken in (packet[:-1] + b"!", packet + b"!"):
        with pytest.raises(ScriptError, match="the stack sent a wrong"):
            read(broken, 0.0)


def test_options_in_their_order() -> None:
    assert decode_options(encode_options(OPTIONS)) == OPTIONS
    assert decode_options(bytes((0,))) == (("eol",),)
    assert decode_options(bytes((254, 4, 1, 2))) == (("kind 254", b"\1\2"),)
    with pytest.raises(ScriptError, match="no such TCP option"):
        encode_options([("what",)])


def test_a_description_is_what_a_script_would_say() -> None:
    packet = build_segment(
        *PAIRS[0], (1, 2), seq=1, ack=4, flags=PSH | ACK, window=5, options=encode_options(OPTIONS), payload=bytes(9)
    )
    options = "mss 1460,sackOK,TS val 1 ecr 2,nop,wscale 7,nop,nop,sack 1:2 3:4"
    assert describe(read(packet, 0.0)) == f"P. 1:10(9) ack 4 win 5 <{options},eol>" or "eol" not in options

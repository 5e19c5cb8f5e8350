"""UDP datagrams against scapy, cut short and damaged."""

from __future__ import annotations

import random
from ipaddress import ip_address
from typing import Any

import pytest

from netstack.wire import udp
from tests.netstack.oracle import IP, UDP, IPv6, Raw

V4 = ip_address("100.64.0.1").packed, ip_address("100.64.0.2").packed
V6 = ip_address("fd7a::1").packed, ip_address("fd7a::2").packed


def scapy_datagram(ends: tuple[bytes, bytes], sport: int, dport: int, payload: bytes) -> bytes:
    source, destination = (str(ip_address(end)) for end in ends)
    ip: Any = IP(src=source, dst=destination) if len(ends[0]) == 4 else IPv6(src=source, dst=destination)
    return bytes(ip / UDP(sport=sport, dport=dport) / Raw(payload))[20 if len(ends[0]) == 4 else 40 :]


@pytest.mark.parametrize("ends", [V4, V6], ids=["v4", "v6"])
@pytest.mark.parametrize("seed", range(30))
def test_both_ways_with_scapy(ends: tuple[bytes, bytes], seed: int) -> None:
    chance = random.Random(seed)
    sport, dport = chance.randrange(1, 65_536), chance.randrange(1, 65_536)
    payload = chance.randbytes(chance.randrange(200))
    datagram = udp.build(ends[0], sport, ends[1], dport, payload)
    assert datagram == scapy_datagram(ends, sport, dport, payload)
    assert udp.parse(*ends, datagram) == (sport, dport, payload)
    assert udp.parse(*ends, datagram + b"padding") == (sport, dport, payload)


@pytest.mark.parametrize("ends", [V4, V6], ids=["v4", "v6"])
def test_a_computed_zero_is_sent_as_ones(ends: tuple[bytes, bytes]) -> None:
    blank = udp.build(ends[0], 1, ends[1], 2, b"\0\0")
    payload = int.from_bytes(blank[6:8], "big").to_bytes(2, "big")  # makes the sum all ones
    datagram = udp.build(ends[0], 1, ends[1], 2, payload)
    assert datagram[6:8] == b"\xff\xff"
    assert udp.parse(*ends, datagram) == (1, 2, payload)


def test_no_checksum_is_for_v4_alone() -> None:
    bare = b"\0\x01\0\x02\0\x09\0\0x"
    assert udp.parse(*V4, bare) == (1, 2, b"x")
    assert udp.parse(*V6, bare) == "udp: no checksum"


DATAGRAM = udp.build(V4[0], 1000, V4[1], 2000, b"payload")


@pytest.mark.parametrize("length", range(len(DATAGRAM)))
def test_truncated(length: int) -> None:
    assert udp.parse(*V4, DATAGRAM[:length]) == ("udp: truncated" if length < 8 else "udp: bad length")


@pytest.mark.parametrize("bit", range(len(DATAGRAM) * 8))
def test_a_flipped_bit_is_found(bit: int) -> None:
    damaged = bytearray(DATAGRAM)
    damaged[bit >> 3] ^= 1 << (bit & 7)
    assert isinstance(udp.parse(*V4, bytes(damaged)), str)


def test_verified_datagrams_need_no_checksum() -> None:
    damaged = DATAGRAM[:6] + b"\x12\x34" + DATAGRAM[8:]
    assert udp.parse(*V4, damaged) == "udp: bad checksum"
    assert udp.parse(*V4, damaged, verified=True) == (1000, 2000, b"payload")


def test_port_zero_is_nobody() -> None:
    assert udp.parse(*V4, udp.build(V4[0], 1000, V4[1], 0, b"")) == "udp: port zero"

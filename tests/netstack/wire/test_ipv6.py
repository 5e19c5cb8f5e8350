"""IPv6 headers and extension headers against scapy, cut short."""

from __future__ import annotations

import random
from ipaddress import ip_address
from typing import Any

import pytest

from netstack.wire import ipv6
from netstack.wire.ipv6 import IPv6Header
from tests.netstack.oracle import (
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    Raw,
)

A, B = ip_address("fd7a:115c:a1e0::1"), ip_address("fd7a:115c:a1e0::2")
BASE = IPv6(src=str(A), dst=str(B))


@pytest.mark.parametrize("seed", range(50))
def test_built_as_scapy_builds(seed: int) -> None:
    chance = random.Random(seed)
    source, destination = chance.randbytes(16), chance.randbytes(16)
    size, hops, protocol = (chance.randrange(n) for n in (60_000, 256, 256))
    theirs = IPv6(src=str(ip_address(source)), dst=str(ip_address(destination)), nh=protocol, plen=size, hlim=hops)
    assert ipv6.header(source, destination, protocol, size, hop_limit=hops) == bytes(theirs)[:40]


def test_parses_what_scapy_builds() -> None:
    packet = bytes(IPv6(src=str(A), dst=str(B), nh=17, hlim=7) / Raw(b"payload"))
    assert ipv6.parse(packet + b"\0\0") == IPv6Header(40, len(packet), 17, 7, A.packed, B.packed, None)


@pytest.mark.parametrize(
    "chain",
    [
        IPv6ExtHdrHopByHop(),
        IPv6ExtHdrDestOpt(),
        IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt(),
        IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / IPv6ExtHdrDestOpt(),
        IPv6ExtHdrRouting(type=2, segleft=0, addresses=["::1"]),
    ],
    ids=["hop-by-hop", "options", "both", "three", "routing used up"],
)
def test_walks_extension_headers(chain: Any) -> None:
    packet = bytes(BASE / chain / Raw(b"x" * 9))
    at = len(packet) - 9
    following = bytearray(packet)
    last = 40  # the last extension header's first byte names what follows
    while last + 8 + packet[last + 1] * 8 < at:
        last += 8 + packet[last + 1] * 8
    following[last] = 17
    header = ipv6.parse(bytes(following))
    assert isinstance(header, IPv6Header)
    assert (header.header_size, header.protocol, header.total_length) == (at, 17, len(packet))


def test_a_fragment_header() -> None:
    packet = bytes(BASE / IPv6ExtHdrFragment(offset=185, m=1, id=0x01020304, nh=17) / Raw(b"x" * 16))
    header = ipv6.parse(packet)
    assert isinstance(header, IPv6Header)
    assert header.fragment == (1480, True, 0x01020304, 6)
    assert (header.protocol, header.header_size) == (17, 48)
    assert packet[40:48] == ipv6.fragment_header(17, 1480, more=True, identification=0x01020304)


def test_the_last_fragment() -> None:
    packet = bytes(BASE / IPv6ExtHdrFragment(offset=185, m=0, id=9, nh=17) / Raw(b"x"))
    header = ipv6.parse(packet)
    assert isinstance(header, IPv6Header)
    assert header.fragment == (1480, False, 9, 6)
    assert packet[40:48] == ipv6.fragment_header(17, 1480, more=False, identification=9)


def test_the_numbers_of_rfc_8200() -> None:
    assert (ipv6.HEADER_SIZE, ipv6.FRAGMENT_HEADER_SIZE, ipv6.MIN_MTU, ipv6.DEFAULT_HOP_LIMIT) == (40, 8, 1280, 64)


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (bytes(BASE / IPv6ExtHdrRouting(type=0, segleft=0)), "ipv6: routing header"),
        (bytes(BASE / IPv6ExtHdrRouting(type=2, segleft=1, addresses=["::1"])), "ipv6: routing header"),
        (bytes(BASE / IPv6ExtHdrDestOpt() / IPv6ExtHdrHopByHop()), "ipv6: misplaced hop-by-hop header"),
        (bytes(BASE / IPv6ExtHdrFragment() / IPv6ExtHdrHopByHop()), "ipv6: misplaced hop-by-hop header"),
        (bytes(IPv6(nh=59)), "ipv6: no next header"),
        (b"\x45" + bytes(39), "ipv6: bad version"),
        (bytes(IPv6(nh=60, plen=8)) + b"\x06\x05" + bytes(6), "ipv6: truncated extension header"),
    ],
)
def test_refused(packet: bytes, reason: str) -> None:
    assert ipv6.parse(packet) == reason


def test_a_chain_has_a_limit() -> None:
    chain = bytes((60, 0)) + bytes(6)
    for count in (8, 9):
        body = chain * (count - 1) + bytes((17, 0)) + bytes(6) + b"payload!"
        packet = ipv6.header(A.packed, B.packed, 60, len(body)) + body
        header = ipv6.parse(packet)
        assert (header == "ipv6: too many extension headers") if count == 9 else isinstance(header, IPv6Header)


WHOLE = bytes(BASE / IPv6ExtHdrHopByHop() / IPv6ExtHdrFragment(nh=17) / Raw(b"payload"))


@pytest.mark.parametrize("length", range(len(WHOLE)))
def test_truncated(length: int) -> None:
    reason = ipv6.parse(WHOLE[:length])
    assert reason == ("ipv6: truncated" if length < 40 else "ipv6: bad payload length")


@pytest.mark.parametrize("length", range(40, 56))
def test_truncated_inside_its_own_length(length: int) -> None:
    packet = WHOLE[:4] + (length - 40).to_bytes(2, "big") + WHOLE[6:length]
    assert ipv6.parse(packet) == "ipv6: truncated extension header"


@pytest.mark.parametrize(("address", "martian"), [("::", True), ("::1", True), ("ff02::1", True), ("fd7a::1", False)])
def test_martians(address: str, martian: bool) -> None:
    assert ipv6.is_martian(ip_address(address).packed) is martian


@pytest.mark.parametrize("kind", [0, 60], ids=["hop-by-hop", "destination"])
@pytest.mark.parametrize(
    ("options", "at"),
    [
        (b"\x01\x04\0\0\0\0", 0),  # padding
        (b"\0\0\0\0\0\0", 0),
        (b"\x1e\x04abcd", 0),  # unknown, to be passed over
        (b"\0\x01\x01\xff\x1e\x00", 0),  # what padding holds is no option
        (b"\x1e\x01\x80\0\0\0", 0),
        (b"\x80\x04abcd", 42),
        (b"\0\0\xc2\x02ab", 44),
        (b"\x01\x02\0\0\x40\0", 46),
        (b"\0\0\0\0\0\x40", 47),  # cut short by its header
        (b"\0\0\0\0\0\x1e", 0),
    ],
)
def test_unknown_options(kind: int, options: bytes, at: int) -> None:
    body = b"\x11\0" + options + b"payload!"
    packet = ipv6.header(A.packed, B.packed, kind, len(body)) + body
    header = ipv6.parse(packet)
    assert isinstance(header, IPv6Header)
    assert (header.option, header.protocol, header.header_size) == (at, 17, 48)

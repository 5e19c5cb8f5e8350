"""IPv4 headers against scapy, cut short and damaged."""

from __future__ import annotations

import random
from ipaddress import ip_address

import pytest

from netstack.wire import ipv4
from netstack.wire.ipv4 import IPv4Header
from tests.netstack.oracle import IP, Raw

A, B = ip_address("100.64.0.1"), ip_address("100.64.0.2")
PACKET = bytes(IP(src=str(A), dst=str(B), proto=6, id=77, ttl=9, flags="DF") / Raw(b"payload"))


@pytest.mark.parametrize("seed", range(50))
def test_built_as_scapy_builds(seed: int) -> None:
    chance = random.Random(seed)
    source, destination = chance.randbytes(4), chance.randbytes(4)
    fragment = chance.choice([0, ipv4.DONT_FRAGMENT, ipv4.MORE_FRAGMENTS | chance.randrange(0x1FFF)])
    size, identification, ttl, protocol = (chance.randrange(n) for n in (60_000, 65_536, 256, 256))
    ours = ipv4.header(source, destination, protocol, size, identification=identification, fragment=fragment, ttl=ttl)
    theirs = IP(
        src=str(ip_address(source)),
        dst=str(ip_address(destination)),
        proto=protocol,
        len=size + 20,
        id=identification,
        ttl=ttl,
        flags=fragment >> 13,
        frag=fragment & 0x1FFF,
    )
    assert ours == bytes(theirs)[:20]


@pytest.mark.parametrize("seed", range(50))
def test_parses_what_scapy_builds(seed: int) -> None:
    chance = random.Random(seed)
    source, destination = chance.randbytes(4), chance.randbytes(4)
    payload = chance.randbytes(chance.randrange(100))
    theirs = IP(src=str(ip_address(source)), dst=str(ip_address(destination)), proto=17, id=seed)
    packet = bytes(theirs / Raw(payload))
    header = ipv4.parse(packet + bytes(chance.randrange(16)))
    assert header == IPv4Header(20, len(packet), seed, 0, 64, 17, source, destination)


@pytest.mark.parametrize("length", range(len(PACKET)))
def test_truncated(length: int) -> None:
    reason = ipv4.parse(PACKET[:length])
    assert reason == ("ipv4: truncated" if length < 20 else "ipv4: bad total length")


@pytest.mark.parametrize("bit", range(160))
def test_a_flipped_bit_is_found(bit: int) -> None:
    damaged = bytearray(PACKET)
    damaged[bit >> 3] ^= 1 << (bit & 7)
    assert isinstance(ipv4.parse(bytes(damaged)), str)


def test_verified_packets_need_no_checksum() -> None:
    damaged = PACKET[:10] + b"\0\0" + PACKET[12:]
    assert ipv4.parse(damaged) == "ipv4: bad checksum"
    assert isinstance(ipv4.parse(damaged, verified=True), IPv4Header)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (b"\x83\x07\x04\x01\x02\x03\x04\x00", "ipv4: source route"),
        (b"\x01\x89\x03\x04", "ipv4: source route"),
        (b"\x94\x04\x00\x00", None),  # router alert
        (b"\x07\x07\x04\x00\x00\x00\x00\x00", None),  # record route
        (b"\x00\x83\x04\x00", None),  # what follows the end is not an option
        (b"\x07\x00\x83\x04", None),  # a length that cannot be: the rest is ignored
        (b"\x01\x01\x01\x07", None),
    ],
)
def test_options_are_skipped_but_for_source_routes(options: bytes, reason: str | None) -> None:
    packet = bytearray(PACKET[:20] + options + b"payload")
    packet[0] = 0x45 + len(options) // 4
    packet[2:4] = len(packet).to_bytes(2, "big")
    header = ipv4.parse(bytes(packet), verified=True)
    if reason is None:
        assert isinstance(header, IPv4Header)
        assert header.header_size == 20 + len(options)
    else:
        assert header == reason


def test_a_header_length_that_cannot_be() -> None:
    assert ipv4.parse(b"\x44" + PACKET[1:]) == "ipv4: bad header length"
    assert ipv4.parse(b"\x65" + PACKET[1:]) == "ipv4: bad header length"
    assert ipv4.parse(PACKET[:2] + b"\0\x13" + PACKET[4:]) == "ipv4: bad total length"


@pytest.mark.parametrize(
    ("address", "martian"),
    [("0.0.0.0", True), ("127.0.0.1", True), ("224.0.0.1", True), ("255.255.255.255", True), ("10.0.0.1", False)],
)
def test_martians(address: str, martian: bool) -> None:
    assert ipv4.is_martian(ip_address(address).packed) is martian


def test_the_numbers_of_rfc_791() -> None:
    assert (ipv4.HEADER_SIZE, ipv4.MIN_MTU, ipv4.DEFAULT_TTL) == (20, 576, 64)
    assert (ipv4.DONT_FRAGMENT, ipv4.MORE_FRAGMENTS, ipv4.OFFSET_MASK) == (0x4000, 0x2000, 0x1FFF)


@pytest.mark.parametrize(("address", "martian"), [("223.255.255.255", False), ("1.0.0.0", False), ("128.0.0.1", False)])
def test_neighbours_of_martians(address: str, martian: bool) -> None:
    assert ipv4.is_martian(ip_address(address).packed) is martian

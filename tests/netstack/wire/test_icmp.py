"""ICMP messages against scapy, cut short and damaged."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from netstack.wire import icmp
from netstack.wire.icmp import IcmpMessage
from tests.netstack.oracle import (
    ICMP,
    IP,
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    ICMPv6TimeExceeded,
    IPv6,
    Raw,
)

V4 = ip_address("100.64.0.1").packed, ip_address("100.64.0.2").packed
V6 = ip_address("fd7a::1").packed, ip_address("fd7a::2").packed
BODY = bytes(range(41))


def scapy_v4(message: Any) -> bytes:
    return bytes(IP(src="100.64.0.1", dst="100.64.0.2") / message / Raw(BODY))[20:]


def scapy_v6(message: Any) -> bytes:
    return bytes(IPv6(src="fd7a::1", dst="fd7a::2") / message / Raw(BODY))[40:]


CASES = [
    (V4, scapy_v4(ICMP(type=8, id=0x1234, seq=7)), (icmp.V4_ECHO_REQUEST, 0, 0x1234_0007)),
    (V4, scapy_v4(ICMP(type=0, id=0x1234, seq=7)), (icmp.V4_ECHO_REPLY, 0, 0x1234_0007)),
    (V4, scapy_v4(ICMP(type=3, code=3)), (icmp.V4_UNREACHABLE, icmp.V4_PORT_UNREACHABLE, 0)),
    (V4, scapy_v4(ICMP(type=3, code=4, nexthopmtu=1300)), (icmp.V4_UNREACHABLE, icmp.V4_FRAGMENTATION_NEEDED, 1300)),
    (V4, scapy_v4(ICMP(type=11, code=0)), (icmp.V4_TIME_EXCEEDED, 0, 0)),
    (V6, scapy_v6(ICMPv6EchoRequest(id=0x1234, seq=7)), (icmp.V6_ECHO_REQUEST, 0, 0x1234_0007)),
    (V6, scapy_v6(ICMPv6EchoReply(id=0x1234, seq=7)), (icmp.V6_ECHO_REPLY, 0, 0x1234_0007)),
    (V6, scapy_v6(ICMPv6DestUnreach(code=4)), (icmp.V6_UNREACHABLE, icmp.V6_PORT_UNREACHABLE, 0)),
    (V6, scapy_v6(ICMPv6PacketTooBig(mtu=1300)), (icmp.V6_TOO_BIG, 0, 1300)),
    (V6, scapy_v6(ICMPv6TimeExceeded()), (icmp.V6_TIME_EXCEEDED, 0, 0)),
]


@pytest.mark.parametrize(("ends", "theirs", "fields"), CASES)
def test_both_ways_with_scapy(ends: tuple[bytes, bytes], theirs: bytes, fields: tuple[int, int, int]) -> None:
    assert icmp.build(*ends, *fields, BODY) == theirs
    assert icmp.parse(*ends, theirs) == IcmpMessage(*fields, BODY)


@pytest.mark.parametrize(("ends", "theirs", "fields"), [CASES[0], CASES[5]], ids=["v4", "v6"])
def test_truncated_at_every_length(ends: tuple[bytes, bytes], theirs: bytes, fields: Any) -> None:
    for length in range(len(theirs)):
        assert icmp.parse(*ends, theirs[:length]) == ("icmp: truncated" if length < 8 else "icmp: bad checksum")


@pytest.mark.parametrize(("ends", "theirs", "fields"), [CASES[0], CASES[5]], ids=["v4", "v6"])
def test_a_flipped_bit_at_every_byte(ends: tuple[bytes, bytes], theirs: bytes, fields: Any) -> None:
    for at in range(len(theirs)):
        damaged = theirs[:at] + bytes((theirs[at] ^ 0x10,)) + theirs[at + 1 :]
        assert icmp.parse(*ends, damaged) == "icmp: bad checksum"
        assert isinstance(icmp.parse(*ends, damaged, verified=True), IcmpMessage)


def test_the_numbers_of_rfc_792_and_rfc_4443() -> None:
    assert (icmp.V4_PROTOCOL, icmp.V6_PROTOCOL, icmp.HEADER_SIZE) == (1, 58, 8)
    assert (icmp.V4_ECHO_REPLY, icmp.V4_UNREACHABLE, icmp.V4_ECHO_REQUEST) == (0, 3, 8)
    assert (icmp.V4_TIME_EXCEEDED, icmp.V4_PARAMETER_PROBLEM) == (11, 12)
    assert (icmp.V4_HOST_UNREACHABLE, icmp.V4_PROTOCOL_UNREACHABLE, icmp.V4_PORT_UNREACHABLE) == (1, 2, 3)
    assert icmp.V4_FRAGMENTATION_NEEDED == 4
    assert (icmp.V6_UNREACHABLE, icmp.V6_TOO_BIG, icmp.V6_TIME_EXCEEDED, icmp.V6_PARAMETER_PROBLEM) == (1, 2, 3, 4)
    assert (icmp.V6_ECHO_REQUEST, icmp.V6_ECHO_REPLY) == (128, 129)
    assert (icmp.V6_ADDRESS_UNREACHABLE, icmp.V6_PORT_UNREACHABLE) == (3, 4)


def test_what_is_an_error() -> None:
    assert [kind for kind in range(256) if icmp.is_error(icmp.V4_PROTOCOL, bytes([kind]))] == [3, 4, 5, 11, 12]
    assert [kind for kind in range(256) if icmp.is_error(icmp.V6_PROTOCOL, bytes([kind]))] == list(range(128))
    assert not any(icmp.is_error(protocol, b"") for protocol in (icmp.V4_PROTOCOL, icmp.V6_PROTOCOL))
    assert not icmp.is_error(17, b"\x03")

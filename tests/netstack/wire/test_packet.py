"""Whole packets, as scapy reads them."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from netstack.wire import tcp
from netstack.wire.packet import build_packet, first_fragment, lacks_headers
from tests.netstack.oracle import IP, UDP, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment

V4 = ip_address("10.0.0.1").packed, ip_address("10.0.0.2").packed
V6 = ip_address("fd00::1").packed, ip_address("fd00::2").packed


def test_of_either_version() -> None:
    v4: Any = IP(build_packet(*V4, 17, b"payload!"))
    assert (v4.src, v4.dst, v4.proto, v4.len, bytes(v4[UDP])) == ("10.0.0.1", "10.0.0.2", 17, 28, b"payload!")
    v6: Any = IPv6(build_packet(*V6, 17, b"payload!"))
    assert (v6.src, v6.dst, v6.nh, v6.plen, bytes(v6[UDP])) == ("fd00::1", "fd00::2", 17, 8, b"payload!")


def test_a_first_fragment() -> None:
    v4: Any = IP(first_fragment(*V4, 7, 17, b"payload!"))
    assert (v4.id, str(v4.flags), v4.frag, v4.proto, v4.len) == (7, "MF", 0, 17, 28)
    v6: Any = IPv6(first_fragment(*V6, 7, 17, b"payload!"))
    fragment = v6[IPv6ExtHdrFragment]
    assert (v6.plen, fragment.id, fragment.m, fragment.offset, fragment.nh) == (16, 7, 1, 0, 17)


OPTIONS = bytes(IPv6ExtHdrDestOpt(nh=17))


@pytest.mark.parametrize(
    ("protocol", "payload", "lacks"),
    [
        (17, bytes(8), False),
        (17, bytes(7), True),
        (tcp.PROTOCOL, bytes(20), False),
        (tcp.PROTOCOL, bytes(16), True),
        (60, OPTIONS + bytes(8), False),
        (60, OPTIONS + bytes(4), True),
        (60, OPTIONS, True),
        (60, OPTIONS[:4], True),
        (59, b"", False),  # refused for what it is
    ],
)
def test_a_first_fragment_has_all_headers(protocol: int, payload: bytes, lacks: bool) -> None:
    assert lacks_headers(*V6, protocol, payload) is lacks

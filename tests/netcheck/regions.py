"""Regions as control names them, and a STUN server for each of their nodes: what the tests of netcheck share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tsnet.base.addresses import UdpAddress
from tsnet.netcheck.stun import decode_request, encode_response
from tsnet.netmap.model import DerpNode, DerpRegion

OURS, OURS_V6 = UdpAddress("203.0.113.5", 41641), UdpAddress("2001:db8:9::5", 41641)


def node(number: int, letter: str = "a", **fields: Any) -> DerpNode:
    last = "abcdefgh".index(letter)
    addresses = {"ipv4": f"192.0.{number}.{last + 1}", "ipv6": f"2001:db8:{number}::{last + 1}"}
    usual = {"host_name": f"derp{number}{letter}.example", **addresses}
    return DerpNode(f"{number}{letter}", number, **{**usual, **fields})


def region(number: int, *nodes: DerpNode, **fields: Any) -> DerpRegion:
    return DerpRegion(number, nodes=nodes or (node(number),), **fields)


def region_of(server: UdpAddress) -> int:
    return int(server.host.split(":")[2] if ":" in server.host else server.host.split(".")[2])


def answers(runs: Iterable[tuple[UdpAddress, list[bytes]]], **ours: UdpAddress) -> list[tuple[UdpAddress, bytes]]:
    """What honest servers answer."""
    found = []
    for server, datagrams in runs:
        mapped = ours.get("v6", OURS_V6) if ":" in server.host else ours.get("v4", OURS)
        found += [(server, encode_response(decode_request(datagram), mapped)) for datagram in datagrams]
    return found

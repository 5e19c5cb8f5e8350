"""The bytes of rtnetlink, as Linux 6.18 has sent them, both as answers and as messages about changes."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import pytest

from tsnet.edge.io import netlink
from tsnet.edge.io.netlink import LinkAddress, LinkState, Route

LINK_UP = (
    "200000001000000000000000000000000000010002000000431001000000000007000300763000000800"
    "0d00e803000005001000060000000500110000000000"
)
LINK_DOWN = "2c00000010000000000000000000000000000100020000000210000001000000070003007630000008000d00e8030000"
ADDRESS = (
    "4c0000001400000054850d6b7d4f00000218800002000000080001000a090002080002000a0900020700030076300000"
    "08000800800000001400"
    "0600ffffffffffffffff09112c0009112c00"
)
TENTATIVE = (
    "500000001500000000000000000000000a40c0fd0200000014000100fe8000000000000048ac57fffe56951314000600"
    "ffffffffffffffff46112c0046112c0008000800c000000005000b0003000000"
)
DEFAULT = (
    "3c0000001800000655850d6ba74f000002000000fe030001000000000800"
    "0f00fe0000000800060064000000080005000a0900010800040002000000"
)
TWO_ROUTERS = (
    "480000001800000656850d6b8650000002000000fe0300010000000008000f00fe000000240009001000000002000000080005000a090001"
    "1000000002000000080005000a090004"
)
DEAD_V6 = (
    "740000001800000657850d6bde5000000a000000fe0300011000000008000f00fe000000080006000004000014000500fe80000000000000"
    "0000000000000001080004000200000024000c0000000000000000000000000000000000000000000000000000000000000000000500140000000000"
)
LOCAL_TABLE = (
    "3c00000018000006000000000000000002200000ff02fe02000000000800"
    "0f00ff000000080001000a090002080007000a0900020800040002000000"
)
SUBNET = (
    "3c00000018000006000000000000000002180000fe02fd01000000000800"
    "0f00fe000000080001000a090000080007000a0900020800040002000000"
)


def golden(text: str) -> bytes:
    """With the length that the message has as far as it is kept here."""
    data = bytes.fromhex(text)
    return len(data).to_bytes(4, sys.byteorder) + data[4:]


def only(text: str) -> tuple[int, bytes]:
    [message] = netlink.messages(golden(text))
    return message


@pytest.mark.parametrize(
    ("text", "kind", "parse", "expected"),
    [
        (LINK_UP, netlink.NEWLINK, netlink.parse_link, LinkState(2, "v0", 0x11043)),
        (LINK_DOWN, netlink.NEWLINK, netlink.parse_link, LinkState(2, "v0", 0x1002)),
        (ADDRESS, netlink.NEWADDR, netlink.parse_address, LinkAddress(2, ip_address("10.9.0.2"), 24, True)),
        (
            TENTATIVE,
            netlink.DELADDR,
            netlink.parse_address,
            LinkAddress(2, ip_address("fe80::48ac:57ff:fe56:9513"), 64, False),
        ),
        (DEFAULT, netlink.NEWROUTE, netlink.parse_route, Route(2, 0, ip_address("10.9.0.1"), 100, None, False)),
        (TWO_ROUTERS, netlink.NEWROUTE, netlink.parse_route, Route(2, 0, ip_address("10.9.0.1"), 0, None, False)),
        (DEAD_V6, netlink.NEWROUTE, netlink.parse_route, Route(2, 0, ip_address("fe80::1"), 1024, None, True)),
        (SUBNET, netlink.NEWROUTE, netlink.parse_route, Route(2, 24, None, 0, ip_address("10.9.0.2"), False)),
        (LOCAL_TABLE, netlink.NEWROUTE, netlink.parse_route, None),
    ],
)
def test_golden(text: str, kind: int, parse: Callable[[bytes], Any], expected: Any) -> None:
    found, body = only(text)
    assert (found, parse(body)) == (kind, expected)


def test_a_links_flags() -> None:
    up, down = (netlink.parse_link(only(text)[1]) for text in (LINK_UP, LINK_DOWN))
    assert up is not None
    assert down is not None
    assert (up.is_up, up.carries) == (True, True)
    assert (down.is_up, down.carries) == (False, False)
    assert not LinkState(2, "v0", netlink.LINK_UP).carries


def test_how_often_a_carrier_has_changed() -> None:
    changed = only(LINK_UP)[1] + bytes.fromhex("08002300") + (7).to_bytes(4, sys.byteorder)
    link = netlink.parse_link(changed)
    assert link is not None
    assert (link.name, link.carrier_changes) == ("v0", 7)


@pytest.mark.parametrize("flag", [0x08, 0x20, 0x40])
def test_an_address_that_cannot_be_used_says_so(flag: int) -> None:
    body = bytearray(only(ADDRESS)[1])
    body[2] |= flag
    at = bytes(body).index(bytes.fromhex("08000800"))  # IFA_FLAGS, which counts
    body[at + 4] |= flag
    found = netlink.parse_address(bytes(body))
    assert found is not None
    assert not found.is_usable


def test_a_v4_route_through_a_v6_router() -> None:
    via = bytes.fromhex("16001200") + (10).to_bytes(2, sys.byteorder) + ip_address("fe80::1").packed
    body = only(DEFAULT)[1][:12] + via + b"\0\0" + bytes.fromhex("0800040002000000")
    assert netlink.parse_route(body) == Route(2, 0, ip_address("fe80::1"), 0, None, False)


def test_route_length() -> None:
    assert [netlink.route_length(only(text)[1]) for text in (DEFAULT, SUBNET, LOCAL_TABLE)] == [0, 24, 32]
    assert netlink.route_length(b"\2\40") == 0


def test_how_a_dump_ended() -> None:
    done, refused = (golden(f"14000000{kind}00000000000000000000000000000000"[:40]) for kind in ("0300", "0200"))
    interrupted = bytearray(golden(ADDRESS))
    interrupted[6] |= 0x10
    assert netlink.has_ended([golden(ADDRESS), done])
    assert netlink.has_ended([golden(ADDRESS) + done])
    for reads in ([golden(ADDRESS)], [refused], []):
        assert not netlink.has_ended(reads)
    assert netlink.is_interrupted([bytes(interrupted), done])
    assert not netlink.is_interrupted([golden(ADDRESS), done])


@pytest.mark.parametrize("text", [LINK_UP, ADDRESS, DEFAULT, TWO_ROUTERS, DEAD_V6])
def test_what_is_cut_short_or_changed_is_read_without_harm(text: str) -> None:
    data = golden(text)
    for end in range(len(data)):
        read_all(data[:end])
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        read_all(bytes(changed))
    read_all(bytes(64))


def read_all(data: bytes) -> None:
    for _, body in netlink.messages(data):
        netlink.parse_link(body)
        netlink.parse_address(body)
        netlink.parse_route(body)
        netlink.route_length(body)


@pytest.mark.skipif(sys.platform != "linux", reason="rtnetlink is Linux's")
def test_the_kernel_answers_and_the_descriptor_is_closed_on_exec() -> None:
    with netlink.open_netlink() as sock:
        assert not sock.get_inheritable()
        kinds = {kind for data in netlink.dump_addresses(sock) for kind, _ in netlink.messages(data)}
        assert netlink.NEWADDR in kinds
        lo = socket.if_nametoindex("lo")
        [(kind, body)] = [one for data in netlink.ask_link(sock, lo) for one in netlink.messages(data)]
        link = netlink.parse_link(body)
        assert kind == netlink.NEWLINK
        assert link is not None
        assert link.name == "lo"
        for family in (socket.AF_INET, socket.AF_INET6):
            for data in netlink.dump_routes(sock, family):
                read_all(data)

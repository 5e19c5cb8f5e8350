from __future__ import annotations

import socket
import struct
import subprocess
import sys
from ipaddress import ip_address

import pytest

from tsnet.edge.io import netmon
from tsnet.edge.io.netmon import InterfaceAddress, Monitor, choose, default_source, local_addresses, parse_dump


def chosen(*found: str) -> list[str]:
    """Each found as "interface address"."""
    pairs = (text.split() for text in found)
    return [str(address) for address in choose(InterfaceAddress(name, ip_address(text)) for name, text in pairs)]


@pytest.mark.parametrize(
    ("found", "kept"),
    [
        (["eth0 192.0.2.7", "lo 127.0.0.1"], ["192.0.2.7"]),
        (["eth0 192.0.2.7", "eth0 2001:db8::1", "eth0 fe80::1"], ["192.0.2.7", "2001:db8::1"]),
        (["tailscale0 100.64.0.1", "tailscale0 fd7a:115c:a1e0::1", "eth0 10.0.0.1"], ["10.0.0.1"]),
        (["zt7nnig26 10.1.1.1", "ztabc 2001:db8::9", "wt0 10.2.2.2", "eth0 10.0.0.1"], ["10.0.0.1"]),
        (["wt1 10.2.2.2"], ["10.2.2.2"]),
        (["eth0 169.254.1.1", "eth0 10.0.0.1"], ["10.0.0.1"]),
        (["eth0 169.254.1.1", "lo 127.0.0.1"], ["169.254.1.1"]),
        (["eth0 fd00::1", "eth0 10.0.0.1"], ["10.0.0.1"]),
        (["eth0 fd00::1"], ["fd00::1"]),
        (["lo 127.0.0.1", "lo ::1"], ["127.0.0.1", "::1"]),
        (["lo 127.0.0.1", "eth0 fe80::1", "ts 100.64.0.1"], ["127.0.0.1"]),
        (["eth0 2001:db8::1", "eth0 2001:db8::2", "eth0 2001:db8::3"], ["2001:db8::1", "2001:db8::2"]),
        (["eth0 10.0.0.1", "eth1 10.0.0.1"], ["10.0.0.1"]),
        (["eth0 0.0.0.0"], []),
        ([], []),
    ],
)
def test_choose(found: list[str], kept: list[str]) -> None:
    assert chosen(*found) == kept


def test_this_machine_has_an_address() -> None:
    addresses = local_addresses()
    assert addresses
    for address in addresses:
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.bind((str(address), 0))


@pytest.mark.skipif(sys.platform != "linux", reason="rtnetlink is Linux's")
def test_the_dump_agrees_with_ip() -> None:
    try:
        text = subprocess.run(["ip", "-o", "addr"], capture_output=True, text=True, check=True).stdout
    except OSError:
        pytest.skip("no ip command")
    usable = [line.split() for line in text.splitlines() if "tentative" not in line and "deprecated" not in line]
    shown = {(fields[1].partition("@")[0], fields[3].partition("/")[0]) for fields in usable}
    up = {name for _, name in socket.if_nameindex() if netmon.is_up(name)}
    assert {(name, str(address)) for name, address in netmon.interface_addresses()} == {
        pair for pair in shown if pair[0] in up
    }


def test_default_source_is_an_address_of_this_machine_or_none() -> None:
    for version in (4, 6):
        address = default_source(version)
        assert address is None or address.version == version


def test_without_netlink_the_default_source_is_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OSError("not permitted")

    monkeypatch.setattr(netmon, "interface_addresses", fail)
    monkeypatch.setattr(netmon, "default_source", lambda version: ip_address("10.0.0.1") if version == 4 else None)
    assert local_addresses() == [ip_address("10.0.0.1")]


# --- the dump's bytes -------------------------------------------------------------------------------------------


def message(address: str, *, index: int = 2, flags: int = 0, kind: int = 20) -> bytes:
    raw = ip_address(address).packed
    body = struct.pack("=BBBBI", 2 if len(raw) == 4 else 10, 24, flags, 0, index)
    body += struct.pack("=HH", 4 + len(raw), 1) + raw
    return struct.pack("=IHHII", 16 + len(body), kind, 2, 1, 0) + body


def test_parse_dump() -> None:
    data = message("10.0.0.1") + message("2001:db8::1", index=3) + message("10.0.0.2", kind=24)
    assert list(parse_dump(data)) == [(2, ip_address("10.0.0.1")), (3, ip_address("2001:db8::1"))]


def test_addresses_that_cannot_be_used_are_left_out() -> None:
    for flag in (0x08, 0x20, 0x40):
        assert list(parse_dump(message("2001:db8::1", flags=flag))) == []


def test_truncated_and_looping_dumps_end() -> None:
    whole = message("10.0.0.1") + message("10.0.0.2")
    for end in range(len(whole)):
        assert len(list(parse_dump(whole[:end]))) <= 2
    assert list(parse_dump(bytes(64))) == []
    assert list(netmon.attributes_of(bytes(16))) == []


# --- the monitor ------------------------------------------------------------------------------------------------


def test_monitor_tells_changes_of_the_set_and_polls_seldom() -> None:
    answers = [["10.0.0.1"], ["10.0.0.1"], ["10.0.0.2", "10.0.0.1"], ["10.0.0.1", "10.0.0.2"], []]
    reads = iter([[ip_address(text) for text in answer] for answer in answers])
    monitor = Monitor(lambda: next(reads))
    now, told = 100.0, []
    for _ in answers:
        told.append(monitor.poll(now))
        assert not monitor.poll(now)
        assert monitor.deadline() > now
        now = monitor.deadline()
    assert told == [True, False, True, False, True]

"""Map messages that become much more than they are: JSON documents by name, before any compression. And a true one."""

from __future__ import annotations

import json
from collections.abc import Callable

MIB = 1 << 20
KEY = "nodekey:" + "5" * 64


def filled(begin: bytes, piece: bytes, end: bytes, size: int = 8 * MIB) -> bytes:
    return begin + piece * ((size - len(begin) - len(end)) // len(piece)) + end


def numbered(piece: str, count: int, begin: str = '{"a":{', end: str = "}}") -> bytes:
    return (begin + ",".join(piece % number for number in range(count)) + end).encode()


def node(fields: str) -> bytes:
    return f'{{"Node":{{"ID":1,"Key":"{KEY}",{fields}'.encode()


def of_a_node(name: str, item: str) -> bytes:
    return filled(node(f'"{name}":['), f'"{item}",'.encode(), b'"x"]}}', 4 * MIB)


BOMBS: dict[str, Callable[[], bytes]] = {
    # containers
    "empty lists": lambda: filled(b'{"a":[', b"[],", b"1]}"),
    "empty objects": lambda: filled(b'{"a":[', b"{},", b"1]}"),
    "lists in lists": lambda: filled(b'{"a":[', b"[[[[[[]]]]]],", b"1]}"),
    "objects of one member": lambda: filled(b'{"a":[', b'{"a":1},', b"1]}"),
    "objects in objects": lambda: filled(b'{"a":[', b'{"a":{"a":{"a":{}}}},', b"1]}"),
    "objects of six members": lambda: filled(b'{"a":[', b'{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1},', b"1]}"),
    "spaced out": lambda: filled(b'{"a":[', b' [ ] ,\n { "a" : 1 } , ', b"1]}"),
    # values
    "numbers": lambda: filled(b'{"a":[', b"300,", b"1]}"),
    "fractions": lambda: filled(b'{"a":[', b"1.5,", b"1]}"),
    "short strings": lambda: filled(b'{"a":[', b'"ab",', b"1]}"),
    "null": lambda: filled(b'{"a":[', b"null,", b"1]}", 16 * MIB),
    "a long number": lambda: filled(b'{"a":', b"9", b"}"),
    # names
    "many names": lambda: numbered('"k%d":1', 800_000),
    "many names behind escapes": lambda: numbered('"\\tk%d":1', 1_000_000),
    "many objects with a name each": lambda: numbered('{"k%d":1}', 500_000, '{"a":[', "]}"),
    "the same name again": lambda: filled(b'{"a":{', b'"a":"bc",', b'"a":1}}'),
    # characters
    "an emoji in a long string": lambda: filled(b'{"a":"\\ud83d\\ude00', b"a", b'"}', 30 * MIB),
    "an emoji in many strings": lambda: filled(b'{"a":[', b'"\\ud83d\\ude00aaaaaaaa",', b"1]}", 16 * MIB),
    "an emoji in UTF-8 in a long string": lambda: filled('{"a":"😀'.encode(), b"a", b'"}', 30 * MIB),
    "emoji": lambda: filled(b'{"a":"', "😀".encode(), b'"}', 16 * MIB),
    "UTF-16": lambda: filled(b'{"a":[', b"[],", b"1]}", 4 * MIB).decode().encode("utf-16"),
    # depth
    "deep lists": lambda: b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": lambda: b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "a little too deep": lambda: b'{"a":' + b"[" * 64 + b"]" * 64 + b"}",
    "never closed": lambda: filled(b'{"a":', b"[", b""),
    # what a map may hold any number of
    "routes": lambda: of_a_node("AllowedIPs", "::/0"),
    "endpoints": lambda: filled(node('"Endpoints":['), b'"[::1]:1",', b'"x"]}}', 12 * MIB),
    "peers": lambda: filled(b'{"Peers":[', f'{{"ID":1,"Key":"{KEY}"}},'.encode(), b"1]}"),
    "rules": lambda: filled(b'{"PacketFilter":[', b"{},", b"1]}", 4 * MIB),
    "destinations": lambda: filled(b'{"PacketFilter":[{"DstPorts":[', b"{},", b"1]}]}", 4 * MIB),
    "users": lambda: filled(b'{"UserProfiles":[', b'{"ID":1},', b"1]}", 16 * MIB),
    "records": lambda: filled(b'{"DNSConfig":{"ExtraRecords":[', b"{},", b"1]}}", 4 * MIB),
    "patches": lambda: filled(b'{"PeersChangedPatch":[', b'{"NodeID":1,"Endpoints":["[::1]:1"]},', b"1]}", 16 * MIB),
    "relays": lambda: filled(b'{"DERPMap":{"Regions":{"1":{"Nodes":[', b"{},", b"1]}}}}", 4 * MIB),
    # length
    "64 MiB of spaces": lambda: b'{"a":1' + b" " * (64 * MIB) + b"}",
    "64 MiB of one string": lambda: b'{"a":"' + b"a" * (64 * MIB) + b'"}',
    "64 MiB of empty lists": lambda: filled(b'{"a":[', b"[],", b"1]}", 64 * MIB),
}


def tailnet(peers: int, *, first: int = 2, rules: int = 0, **fields: object) -> bytes:
    """A true map: as many peers, each with all that Tailscale's control says of one.

    first: the number of the first peer. fields: of each of them, in place of the usual ones.
    """
    users = {_user(1), *(_user(first + number) for number in range(peers))}
    whole: dict[str, object] = {
        "Node": _peer(1),
        "Peers": [_peer(first + number) | fields for number in range(peers)],
        "UserProfiles": [{"ID": number, "LoginName": f"user-{number}@example.com"} for number in sorted(users)],
    }
    if rules:
        whole["PacketFilter"] = [_rule(number) for number in range(rules)]
    return json.dumps(whole, separators=(",", ":")).encode()


def _rule(number: int) -> dict[str, object]:
    return {
        "SrcIPs": [
            f"100.{64 + (number >> 16)}.{number >> 8 & 255}.{number & 255}/32",
            f"fd7a:115c:a1e0::{number:x}/128",
        ],
        "DstPorts": [{"IP": "100.64.0.1/32", "Ports": {"First": 1 + number % 60_000, "Last": 1 + number % 60_000}}],
    }


def _user(number: int) -> int:
    """Whose peer that is."""
    return 5000 + number % 300


def _peer(number: int) -> dict[str, object]:
    addresses = [f"100.{64 + (number >> 16)}.{number >> 8 & 255}.{number & 255}/32", f"fd7a:115c:a1e0::{number:x}/128"]
    return {
        "ID": 1_000_000 + number,
        "StableID": f"n{number:016x}CNTRL",
        "Name": f"machine-{number}.tail0abc.ts.net.",
        "User": _user(number),
        "Key": f"nodekey:{number:064x}",
        "KeyExpiry": "2036-10-10T10:10:10Z",
        "Machine": f"mkey:{number:064x}",
        "DiscoKey": f"discokey:{number:064x}",
        "Addresses": addresses,
        "AllowedIPs": addresses,
        "Endpoints": [
            f"192.0.2.{number & 255}:41641",
            f"198.51.100.{number & 255}:41641",
            f"[2001:db8::{number:x}]:41641",
        ],
        "HomeDERP": number % 20 + 1,
        "DERP": f"127.3.3.40:{number % 20 + 1}",
        "Hostinfo": {
            "OS": "linux",
            "OSVersion": "6.1.0",
            "Hostname": f"machine-{number}",
            "Services": [
                {"Proto": "peerapi4", "Port": 40_000 + number},
                {"Proto": "peerapi6", "Port": 40_000 + number},
            ],
            "Distro": "debian",
            "DistroVersion": "12",
            "DistroCodeName": "bookworm",
            "GoArch": "amd64",
            "GoVersion": "go1.23",
        },
        "Created": "2025-01-01T10:10:10Z",
        "Cap": 115,
        "Tags": ["tag:server", "tag:prod"],
        "Online": True,
        "LastSeen": "2026-01-01T10:10:10Z",
        "MachineAuthorized": True,
        "CapMap": {"https://tailscale.com/cap/is-admin": None, "funnel": None, "https": None},
        "ComputedName": f"machine-{number}",
        "ComputedNameWithHost": f"machine-{number}",
    }

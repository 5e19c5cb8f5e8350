"""Which fields of a node's Hostinfo its peers are told: right ones untouched, wrong ones not at all."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fuzzing import HOSTILE
from tsnet.control.hostinfo import FIELDS, MAX_ITEMS, MAX_TEXT, for_peers

RIGHT: dict[str, Any] = {
    "OS": "linux",
    "Hostname": "shop",
    "Desktop": False,
    "Userspace": None,
    "ShieldsUp": True,
    "RoutableIPs": ["10.0.0.0/8", "10.1.2.3/8", "fd7a::/48"],
    "RequestTags": ["tag:a"],
    "sshHostKeys": ["ssh-ed25519 AAAA"],
    "Services": [{"Proto": "peerapi4", "Port": 40_000}, {"Proto": "tcp", "Port": 80, "Description": "web"}],
    "Location": {"Country": "Spain", "Latitude": 1.5, "Priority": 100},
}


def test_what_a_go_client_says_arrives_whole() -> None:
    assert for_peers(RIGHT) == RIGHT


def test_what_nobody_needs_or_knows_is_left_out() -> None:
    assert for_peers({"OS": "linux", "NetInfo": {"PreferredDERP": 1}, "New": 1, "os": 5}) == {"OS": "linux"}


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("OS", 5),
        ("OS", None),
        ("OS", "x" * (MAX_TEXT + 1)),
        ("Desktop", "yes"),
        ("ShieldsUp", 1),
        ("ShieldsUp", None),
        ("RoutableIPs", ["10.0.0.0"]),
        ("RoutableIPs", ["10.0.0.0/08"]),
        ("RoutableIPs", ["10.0.0.0/255.0.0.0"]),
        ("RoutableIPs", ["fe80::1%eth0/64"]),
        ("RoutableIPs", ["10.0.0.0/8", 7]),
        ("RequestTags", "tag:a"),
        ("RequestTags", ["t"] * (MAX_ITEMS + 1)),
        ("Services", [{"Proto": "tcp", "Port": 65_536}]),
        ("Services", [{"Proto": "tcp", "Port": True}]),
        ("Services", [{"Proto": "tcp", "port": "80"}]),
        ("Services", [None]),
        ("Location", {"Priority": 1.5}),
        ("Location", []),
    ],
)
def test_a_field_of_another_type(field: str, wrong: Any) -> None:
    assert for_peers({**RIGHT, field: wrong}) == {name: value for name, value in RIGHT.items() if name != field}


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: repr(value)[:20])
def test_any_value_anywhere(value: Any) -> None:
    told = for_peers(dict.fromkeys(FIELDS, value))
    assert all(item == value for item in told.values())
    assert not {"Services", "Location"} & told.keys() or value in ([], {})

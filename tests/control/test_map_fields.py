"""Every field that control may send in a map, and what becomes of it: read, with a case that shows it, or not, and why.

A field is read if the message says something else with it than without. One that is not read changes nothing: whoever
begins to read it finds it here. What a later message does to the netmap is the second table.

Source: Go tailcfg/tailcfg.go and tailcfg/derpmap.go, the structs' fields in their order.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import pytest

from tests.control.scripted import NODE_KEY, WALL
from tsnet.control.messages import MapResponse, decode_map
from tsnet.netmap.merge import begin, merge
from tsnet.netmap.model import NetMap

KEY2, MKEY, DISCO = "nodekey:" + "08" * 32, "mkey:" + "09" * 32, "discokey:" + "0a" * 32
EARLY, LATE = "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"
PEER = {"ID": 2, "StableID": "n2", "Name": "b.x.", "Key": KEY2, "Addresses": ["100.64.0.2/32"], "AllowedIPs": []}
OWN = {"ID": 1, "StableID": "n1", "Name": "a.x.", "Key": NODE_KEY.text(), "Addresses": ["100.64.0.1/32"], "User": 1}
RELAY = {"Name": "1a", "RegionID": 1, "HostName": "relay.x"}
REGION = {"RegionID": 1, "RegionCode": "r", "Nodes": [RELAY]}
RULE = {"SrcIPs": ["*"], "DstPorts": [{"IP": "*", "Ports": {"First": 1, "Last": 2}}]}
BASE: dict[str, Any] = {
    "Node": OWN,
    "Peers": [PEER],
    "PeersChangedPatch": [{"NodeID": 2}],
    "DERPMap": {"Regions": {"1": REGION}},
    "DNSConfig": {"Domains": ["x"]},
    "PacketFilter": [RULE],
    "UserProfiles": [{"ID": 1, "LoginName": "a@x"}],
    "Debug": {},
    "PingRequest": {"URL": "https://c.x/1"},
}
PLACES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "MapResponse": lambda message: message,
    "Node": lambda message: message["Peers"][0],
    "own Node": lambda message: message["Node"],
    "PeerChange": lambda message: message["PeersChangedPatch"][0],
    "UserProfile": lambda message: message["UserProfiles"][0],
    "DERPMap": lambda message: message["DERPMap"],
    "DERPRegion": lambda message: message["DERPMap"]["Regions"]["1"],
    "DERPNode": lambda message: message["DERPMap"]["Regions"]["1"]["Nodes"][0],
    "DNSConfig": lambda message: message["DNSConfig"],
    "FilterRule": lambda message: message["PacketFilter"][0],
    "Debug": lambda message: message["Debug"],
    "PingRequest": lambda message: message["PingRequest"],
}

READ: dict[str, dict[str, Any]] = {
    "MapResponse": {
        "MapSessionHandle": "s",
        "Seq": 3,
        "KeepAlive": True,
        "PingRequest": {"URL": "https://c.x/2"},
        "PopBrowserURL": "https://c.x/page",
        "Node": {**OWN, "Name": "c.x."},
        "DERPMap": {"Regions": {}},
        "Peers": [],
        "PeersChanged": [PEER],
        "PeersRemoved": [2],
        "PeersChangedPatch": [{"NodeID": 3}],
        "PeerSeenChange": {"2": True},
        "OnlineChange": {"2": True},
        "DNSConfig": {"Domains": ["y"]},
        "Domain": "x",
        "PacketFilter": [],
        "PacketFilters": {"a": [RULE]},
        "UserProfiles": [{"ID": 2}],
        "Health": ["bad"],
        "DisplayMessages": {"m": {"Title": "t"}},
        "ControlTime": EARLY,
        "TKAInfo": {"Head": "h"},
        "Debug": {"SleepSeconds": 1},
    },
    "Node": {
        "ID": 3,
        "StableID": "n3",
        "Name": "c.x.",
        "User": 3,
        "Sharer": 4,
        "Key": "nodekey:" + "0b" * 32,
        "KeyExpiry": LATE,
        "Machine": MKEY,
        "DiscoKey": DISCO,
        "Addresses": ["100.64.0.3/32"],
        "AllowedIPs": ["10.0.0.0/8"],
        "Endpoints": ["192.0.2.1:41641"],
        "DERP": "127.3.3.40:7",
        "HomeDERP": 7,
        "Hostinfo": {"OS": "linux"},
        "Created": EARLY,
        "Cap": 100,
        "Tags": ["tag:a"],
        "PrimaryRoutes": ["10.0.0.0/8"],
        "LastSeen": EARLY,
        "Online": True,
        "MachineAuthorized": True,
        "CapMap": {"c": []},
        "UnsignedPeerAPIOnly": True,
        "Expired": True,
        "IsWireGuardOnly": True,
        "IsJailed": True,
    },
    "own Node": {"Capabilities": ["c"], "CapMap": {"c": [1]}, "MachineAuthorized": True},
    "PeerChange": {
        "NodeID": 3,
        "DERPRegion": 7,
        "Cap": 100,
        "CapMap": {"c": []},
        "Endpoints": [],
        "Key": "nodekey:" + "0b" * 32,
        "DiscoKey": DISCO,
        "Online": False,
        "LastSeen": EARLY,
        "KeyExpiry": LATE,
    },
    "UserProfile": {"ID": 2, "LoginName": "b@x", "DisplayName": "B", "ProfilePicURL": "https://c.x/b"},
    "DERPMap": {"HomeParams": {"RegionScore": {"1": 0.5}}, "Regions": {"2": REGION}, "omitDefaultRegions": True},
    "DERPRegion": {"RegionCode": "s", "RegionName": "S", "Avoid": True, "NoMeasureNoHome": True, "Nodes": []},
    "DERPNode": {
        "Name": "1b",
        "HostName": "other.x",
        "CertName": "c",
        "IPv4": "192.0.2.1",
        "IPv6": "none",
        "STUNPort": 9,
        "STUNOnly": True,
        "DERPPort": 9,
        "InsecureForTests": True,
        "STUNTestIP": "192.0.2.2",
        "CanPort80": True,
    },
    "DNSConfig": {
        "Resolvers": [{"Addr": "192.0.2.3"}],
        "Routes": {"y": []},
        "FallbackResolvers": [{"Addr": "192.0.2.4"}],
        "Domains": ["y"],
        "Proxied": True,
        "CertDomains": ["a.x"],
        "ExtraRecords": [{"Name": "r", "Value": "192.0.2.5"}],
    },
    "FilterRule": {"SrcIPs": ["1.2.3.4"], "DstPorts": [], "IPProto": [6], "CapGrant": [{"Dsts": ["10.0.0.0/8"]}]},
    "Debug": {"SleepSeconds": 5},
    "PingRequest": {
        "URL": "https://c.x/3",
        "URLIsNoise": True,
        "Log": True,
        "Types": "TSMP",
        "IP": "100.64.0.2",
        "Payload": "YQ==",
    },
}
"""By struct: each field that is read, and a value that it has not in BASE."""

NOT_READ: dict[str, dict[str, tuple[Any, str]]] = {
    "MapResponse": {
        "CollectServices": (True, "no list of this machine's services is ever sent"),
        "SSHPolicy": ({"rules": []}, "no SSH server"),
        "DomainDataPlaneAuditLogID": ("x", "no logs are uploaded"),
        "ControlDialPlan": ({"Candidates": []}, "control is dialled by its name; addresses beside it are not tried"),
        "ClientVersion": ({"RunningLatest": False}, "a library is updated by who uses it"),
        "DefaultAutoUpdate": (True, "the same"),
    },
    "Node": {
        "KeySignature": ("YQ==", "Tailnet Lock is not verified"),
        "Capabilities": (["c"], "of peers CapMap alone counts, as in Go"),
        "ComputedName": ("x", "made by clients, not sent"),
        "ComputedNameWithHost": ("x", "made by clients, not sent"),
        "DataPlaneAuditLogID": ("x", "no logs are uploaded"),
        "SelfNodeV4MasqAddrForThisPeer": (
            "10.1.1.1",
            "not yet (docs/decisions/0021): addresses that only one peer knows us by",
        ),
        "SelfNodeV6MasqAddrForThisPeer": ("fd00::1", "not yet: the same"),
        "ExitNodeDNSResolvers": ([{"Addr": "192.0.2.1"}], "not yet: no exit node is used"),
    },
    "PeerChange": {"KeySignature": ("YQ==", "Tailnet Lock is not verified")},
    "UserProfile": {"Groups": (["g"], "nothing here asks for groups")},
    "DERPRegion": {"RegionID": (9, "its key in Regions counts"), "Latitude": (1.0, "-"), "Longitude": (1.0, "-")},
    "DERPNode": {"RegionID": (9, "the key in Regions counts")},
    "DNSConfig": {
        "Nameservers": (["192.0.2.1"], "Resolvers alone, as in Go since version 14"),
        "ExitNodeFilteredSet": (["x"], "this node answers no DNS of others"),
        "TempCorpIssue13969": ("x", "of Tailscale's own tests"),
    },
    "FilterRule": {"SrcBits": ([8], "not sent since version 7")},
    "Debug": {"DisableLogTail": (True, "no logs are uploaded"), "Exit": (1, "no server may end a process")},
}
"""By struct: each field that is not read, a value, and why."""


def decoded(changes: Mapping[str, Any] = {}, struct: str = "MapResponse") -> MapResponse:
    message = copy.deepcopy(BASE)
    PLACES[struct](message).update(changes)
    return decode_map(json.dumps(message).encode())


@pytest.mark.parametrize(("struct", "field"), [(struct, field) for struct, fields in READ.items() for field in fields])
def test_a_field_that_is_read(struct: str, field: str) -> None:
    assert decoded({field: READ[struct][field]}, struct) != decoded()


@pytest.mark.parametrize(
    ("struct", "field"), [(struct, field) for struct, fields in NOT_READ.items() for field in fields]
)
def test_a_field_that_is_not_read(struct: str, field: str) -> None:
    value, why = NOT_READ[struct][field]
    assert why
    assert decoded({field: value}, struct) == decoded()


STRUCTS = {
    "MapResponse": 29, "Node": 35, "PeerChange": 11, "UserProfile": 5, "DERPMap": 3, "DERPRegion": 8, "DERPNode": 12,
    "DNSConfig": 10, "FilterRule": 5, "Debug": 3, "PingRequest": 6,
}  # fmt: skip
"""How many fields each has in Go."""


@pytest.mark.parametrize("struct", STRUCTS)
def test_none_is_left_out(struct: str) -> None:
    assert not READ[struct].keys() & NOT_READ.get(struct, {}).keys()
    assert len(READ[struct]) + len(NOT_READ.get(struct, {})) == STRUCTS[struct]


# --- what a later message does ------------------------------------------------------------------------------------

THIRD = {**PEER, "ID": 3, "Key": "nodekey:" + "0c" * 32, "Name": "c.x."}
FIRST = {
    **BASE,
    "Peers": [{**PEER, "Online": True, "LastSeen": EARLY, "CapMap": {"c": []}, "Endpoints": ["192.0.2.1:1"]}, THIRD],
    "Domain": "x",
    "Health": ["bad"],
    "DisplayMessages": {"m": {"Title": "t"}},
    "PacketFilters": {"a": [RULE]},
    "TKAInfo": {"Head": "h"},
    "ControlTime": EARLY,
}


def peer(**fields: Any) -> Callable[[NetMap], bool]:
    return lambda netmap: all(getattr(netmap.peers[2], name) == value for name, value in fields.items())


def names(*wanted: str) -> Callable[[NetMap], bool]:
    return lambda netmap: sorted(found.name for found in netmap.peers.values()) == list(wanted)


def filters(*wanted: str) -> Callable[[NetMap], bool]:
    return lambda netmap: netmap.named_filters is not None and sorted(netmap.named_filters) == list(wanted)


DELTAS: list[tuple[str, dict[str, Any], Callable[[NetMap], bool]]] = [
    ("Node replaces", {"Node": {**OWN, "Tags": ["tag:a"]}}, lambda n: n.self_node.tags == ("tag:a",)),
    ("Peers replace all", {"Peers": [THIRD]}, names("c.x")),
    ("no Peers are no change", {"Peers": []}, names("b.x", "c.x")),
    ("Peers outdo deltas", {"Peers": [THIRD], "PeersRemoved": [3]}, names("c.x")),
    ("PeersRemoved", {"PeersRemoved": [2, 77]}, names("c.x")),
    ("PeersChanged replaces", {"PeersChanged": [{**PEER, "Name": "d.x."}]}, names("c.x", "d.x")),
    ("removed, then changed", {"PeersRemoved": [2], "PeersChanged": [PEER]}, names("b.x", "c.x")),
    ("seen now", {"PeerSeenChange": {"2": True}}, peer(last_seen=WALL)),
    ("seen never", {"PeerSeenChange": {"2": False}}, peer(last_seen=None)),
    ("online", {"OnlineChange": {"2": False, "77": True}}, peer(online=False)),
    ("a patch comes last", {"OnlineChange": {"2": False}, "PeersChangedPatch": [{"NodeID": 2, "Online": True}]},
     peer(online=True)),
    ("a patch of nobody", {"PeersChangedPatch": [{"NodeID": 77, "Online": True}]}, names("b.x", "c.x")),
    ("a patch leaves the rest", {"PeersChangedPatch": [{"NodeID": 2, "DERPRegion": 7}]},
     peer(home_region=7, online=True, capabilities={"c": ()})),
    ("CapMap {} clears", {"PeersChangedPatch": [{"NodeID": 2, "CapMap": {}}]}, peer(capabilities={})),
    ("CapMap null keeps", {"PeersChangedPatch": [{"NodeID": 2, "CapMap": None}]}, peer(capabilities={"c": ()})),
    ("Endpoints [] clears", {"PeersChangedPatch": [{"NodeID": 2, "Endpoints": []}]}, peer(endpoints=())),
    ("a region 0 keeps", {"PeersChangedPatch": [{"NodeID": 2, "DERPRegion": 0}]}, peer(home_region=0)),
    ("no regions keep them", {"DERPMap": {"Regions": None, "HomeParams": {"RegionScore": {"1": 0.5}}}},
     lambda n: list(n.derp_map.regions) == [1] and n.derp_map.region_score == {1: 0.5}),
    ("regions replace", {"DERPMap": {"Regions": {"2": REGION, "3": None}}}, lambda n: list(n.derp_map.regions) == [2]),
    ("DNSConfig replaces", {"DNSConfig": {"Proxied": True}}, lambda n: n.dns.proxied and not n.dns.domains),
    ("no Domain keeps it", {"Domain": ""}, lambda n: n.domain == "x"),
    ("Domain replaces", {"Domain": "y"}, lambda n: n.domain == "y"),
    ("PacketFilter is base", {"PacketFilter": []}, lambda n: (n.named_filters or {})["base"] == ()),
    ("a filter more", {"PacketFilters": {"b": [RULE]}}, filters("a", "b", "base")),
    ("a filter less", {"PacketFilters": {"a": None}}, filters("base")),
    ("* clears first", {"PacketFilters": {"b": [RULE], "*": None}}, filters("b")),
    ("users are added", {"UserProfiles": [{"ID": 7, "LoginName": "z@x"}]}, lambda n: sorted(n.users) == [1, 7]),
    ("Health [] is well", {"Health": []}, lambda n: n.health == ()),
    ("Health null keeps", {"Health": None}, lambda n: n.health == ("bad",)),
    ("a message less", {"DisplayMessages": {"m": None}}, lambda n: not n.display_messages),
    ("messages anew", {"DisplayMessages": {"*": None, "k": {"Title": "k"}}}, lambda n: [*n.display_messages] == ["k"]),
    ("ControlTime", {"ControlTime": LATE}, lambda n: n.control_time is not None and n.control_time > WALL),
    ("TKAInfo null keeps", {"TKAInfo": None}, lambda n: n.is_locked),
    ("TKAInfo off", {"TKAInfo": {"Disabled": True}}, lambda n: not n.is_locked),
]  # fmt: skip


@pytest.mark.parametrize(("then", "holds"), [delta[1:] for delta in DELTAS], ids=[delta[0] for delta in DELTAS])
def test_a_later_message(then: dict[str, Any], holds: Callable[[NetMap], bool]) -> None:
    first = begin(None, decode_map(json.dumps(FIRST).encode()).update, WALL)
    assert holds(merge(first, decode_map(json.dumps(then).encode()).update, WALL))


def test_an_empty_message_changes_nothing() -> None:
    first = begin(None, decode_map(json.dumps(FIRST).encode()).update, WALL)
    assert merge(first, decode_map(b"{}").update, WALL) == first


def test_every_field_of_state_has_such_a_case() -> None:
    beside = {"MapSessionHandle", "Seq", "KeepAlive", "PingRequest", "PopBrowserURL", "Debug"}
    assert {field for _, then, _ in DELTAS for field in then} == READ["MapResponse"].keys() - beside


def test_the_netmap_has_no_field_that_nobody_sends() -> None:
    whole = begin(None, decode_map(json.dumps(FIRST).encode()).update, WALL)
    empty = NetMap(whole.self_node)
    same = [field.name for field in attrs.fields(NetMap) if getattr(whole, field.name) == getattr(empty, field.name)]
    assert same == ["self_node"]

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Network
from typing import Any

import pytest

from tsnet.base.addresses import UdpAddress
from tsnet.base.keys import DiscoKey, MachineKey, NodeKey
from tsnet.control import tailcfg
from tsnet.netmap.merge import DerpMapUpdate
from tsnet.netmap.model import (
    CapGrant,
    DerpNode,
    DerpRegion,
    Destination,
    DnsConfig,
    DnsRecord,
    FilterRule,
    Node,
    PortRange,
    Resolver,
    UserProfile,
)

KEY = "nodekey:" + "ab" * 32
V4, V6 = IPv4Network("100.64.0.1/32"), IPv6Network("fd7a:115c:a1e0::1/128")

# As Headscale 0.29.2 sent it, shortened in Hostinfo only.
HEADSCALE_NODE: dict[str, Any] = {
    "ID": 1,
    "StableID": "1",
    "Name": "shop.lab.example.",
    "User": 1,
    "Key": KEY,
    "KeyExpiry": "0001-01-01T00:00:00Z",
    "Machine": "mkey:" + "cd" * 32,
    "DiscoKey": "discokey:" + "ef" * 32,
    "Addresses": ["100.64.0.1/32", "fd7a:115c:a1e0::1/128"],
    "AllowedIPs": ["100.64.0.1/32", "fd7a:115c:a1e0::1/128", "10.0.0.0/8"],
    "Endpoints": ["127.0.0.1:41641", "[::1]:41641"],
    "HomeDERP": 999,
    "Hostinfo": {"OS": "linux", "Hostname": "shop"},
    "Created": "2026-11-24T20:42:07.532003382Z",
    "Cap": 131,
    "Tags": ["tag:x"],
    "Online": True,
    "MachineAuthorized": True,
    "CapMap": {"https://tailscale.com/cap/ssh": None, "default-auto-update": [False]},
}
NODE = Node(
    id=1,
    stable_id="1",
    name="shop.lab.example",
    key=NodeKey(b"\xab" * 32),
    user=1,
    machine=MachineKey(b"\xcd" * 32),
    disco_key=DiscoKey(b"\xef" * 32),
    addresses=(V4, V6),
    allowed_ips=(V4, V6, IPv4Network("10.0.0.0/8")),
    endpoints=(UdpAddress("127.0.0.1", 41641), UdpAddress("::1", 41641)),
    home_region=999,
    hostinfo={"OS": "linux", "Hostname": "shop"},
    created="2026-11-24T20:42:07.532003382Z",
    capability_version=131,
    tags=("tag:x",),
    online=True,
    capabilities={"https://tailscale.com/cap/ssh": (), "default-auto-update": (False,)},
)


def test_a_node_of_headscale() -> None:
    assert tailcfg.decode_node(HEADSCALE_NODE) == NODE


def test_what_we_encode_we_decode() -> None:
    full = tailcfg.decode_node(
        HEADSCALE_NODE | {"KeyExpiry": "2030-01-01T00:00:00Z", "LastSeen": "2026-01-01T00:00:00Z"}
    )
    assert full is not None
    flags = {"Expired": True, "IsWireGuardOnly": True, "IsJailed": True, "Sharer": 7, "PrimaryRoutes": ["10.0.0.0/8"]}
    for node in (NODE, full, tailcfg.decode_node(HEADSCALE_NODE | flags)):
        assert node is not None
        assert tailcfg.decode_node(tailcfg.encode_node(node)) == node


def test_a_home_is_told_in_both_forms() -> None:
    fields = tailcfg.encode_node(NODE)
    assert (fields["HomeDERP"], fields["DERP"], fields["Name"]) == (999, "127.3.3.40:999", "shop.lab.example.")


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"HomeDERP": 0, "DERP": "127.3.3.40:7"}, "home_region", 7),
        ({"HomeDERP": 3, "DERP": "127.3.3.40:7"}, "home_region", 3),
        ({"HomeDERP": None, "DERP": "10.0.0.1:7"}, "home_region", 0),
        ({"AllowedIPs": None}, "allowed_ips", (V4, V6)),
        ({"AllowedIPs": []}, "allowed_ips", ()),
        ({"UnsignedPeerAPIOnly": True}, "allowed_ips", (V4, V6)),
        ({"DiscoKey": "discokey:" + "00" * 32}, "disco_key", None),
        ({"DiscoKey": ""}, "disco_key", None),
        ({"Online": None}, "online", None),
        ({"MachineAuthorized": False}, "machine_authorized", False),
        ({"KeyExpiry": "1970-01-01T00:02:03Z"}, "key_expiry", 123.0),
        ({"CapMap": None}, "capabilities", {}),
        ({"Hostinfo": None}, "hostinfo", {}),
        ({"Endpoints": ["nonsense", "1.2.3.4:5"]}, "endpoints", (UdpAddress("1.2.3.4", 5),)),
        ({"ID": -5}, "id", -5),
        ({"ID": "12"}, "id", 12),
    ],
)
def test_normalisation(changes: dict[str, Any], field: str, value: object) -> None:
    node = tailcfg.decode_node(HEADSCALE_NODE | changes)
    assert node is not None
    assert getattr(node, field) == value


def test_our_own_legacy_capabilities_join_the_cap_map() -> None:
    fields = HEADSCALE_NODE | {"Capabilities": ["funnel"], "CapMap": {"https": [1]}}
    own, peer = tailcfg.decode_node(fields, is_self=True), tailcfg.decode_node(fields)
    assert own is not None
    assert peer is not None
    assert (own.capabilities, peer.capabilities) == ({"funnel": (), "https": (1,)}, {"https": (1,)})


@pytest.mark.parametrize("value", [None, {}, [], "x", {"ID": 1}, {"ID": 0, "Key": KEY}, {"ID": 1, "Key": "nodekey:zz"}])
def test_what_is_no_node(value: object) -> None:
    assert tailcfg.decode_node(value) is None


@pytest.mark.parametrize("name", sorted(HEADSCALE_NODE))
@pytest.mark.parametrize("wrong", [None, 5, "x", [1, None], {"a": None}, True])
def test_a_field_of_the_wrong_kind_costs_that_field_alone(name: str, wrong: object) -> None:
    node = tailcfg.decode_node(HEADSCALE_NODE | {name: wrong})
    assert node is not None or name in ("ID", "Key")


DERP_MAP = {
    "Regions": {
        "900": {
            "RegionID": 900,
            "RegionCode": "lab",
            "RegionName": "Lab",
            "Avoid": True,
            "Nodes": [{"Name": "900a", "RegionID": 900, "HostName": "h", "IPv4": "1.2.3.4", "DERPPort": 3340}, None],
        },
        "901": None,
    },
    "HomeParams": {"RegionScore": {"900": 0.5}},
    "omitDefaultRegions": True,
}


def test_a_derp_map() -> None:
    update = tailcfg.decode_derp_map(DERP_MAP)
    node = DerpNode("900a", 900, "h", ipv4="1.2.3.4", derp_port=3340)
    assert update == DerpMapUpdate({900: DerpRegion(900, "lab", "Lab", True, nodes=(node,))}, {900: 0.5}, True)
    assert update is not None
    assert tailcfg.decode_derp_map(tailcfg.encode_derp_map(update)) == update


def test_a_partial_derp_map_tells_what_it_leaves_alone() -> None:
    assert tailcfg.decode_derp_map(None) is None
    assert tailcfg.decode_derp_map({"HomeParams": {"RegionScore": {}}}) == DerpMapUpdate(None, {})
    assert tailcfg.decode_derp_map({"Regions": None, "HomeParams": None}) == DerpMapUpdate()
    partial = DerpMapUpdate(None, {900: 2.0})
    assert tailcfg.decode_derp_map(tailcfg.encode_derp_map(partial)) == partial


RULES: list[dict[str, Any]] = [
    {
        "SrcIPs": ["*", "cap:x"],
        "DstPorts": [{"IP": "100.64.0.1", "Bits": None, "Ports": {"First": 80, "Last": 443}}],
        "IPProto": [6],
    },
    {
        "SrcIPs": ["100.64.0.0/10"],
        "CapGrant": [{"Dsts": ["0.0.0.0/0"], "Caps": ["old"], "CapMap": {"new": [{"a": 1}]}}],
    },
]


def test_a_packet_filter() -> None:
    rules = tuple(map(tailcfg.decode_rule, RULES))
    assert rules == (
        FilterRule(("*", "cap:x"), (Destination("100.64.0.1", PortRange(80, 443)),), (6,)),
        FilterRule(
            ("100.64.0.0/10",), grants=(CapGrant((IPv4Network("0.0.0.0/0"),), {"old": (), "new": ({"a": 1},)}),)
        ),
    )
    assert tuple(map(tailcfg.decode_rule, tailcfg.encode_filter(rules))) == rules


def test_dns() -> None:
    dns = tailcfg.decode_dns(
        {
            "Resolvers": [{"Addr": "1.1.1.1", "BootstrapResolution": ["1.0.0.1"], "UseWithExitNode": True}],
            "Routes": {"corp.example.": [{"Addr": "10.0.0.53"}], "lab.example.": None},
            "Domains": ["lab.example"],
            "Proxied": True,
            "CertDomains": ["shop.lab.example"],
            "ExtraRecords": [{"Name": "db.lab.example", "Value": "10.0.0.5"}],
        }
    )
    assert dns == DnsConfig(
        resolvers=(Resolver("1.1.1.1", (IPv4Address("1.0.0.1"),), True),),
        routes={"corp.example.": (Resolver("10.0.0.53"),), "lab.example.": ()},
        domains=("lab.example",),
        proxied=True,
        cert_domains=("shop.lab.example",),
        extra_records=(DnsRecord("db.lab.example", "", "10.0.0.5"),),
    )
    assert dns is not None
    assert tailcfg.decode_dns(tailcfg.encode_dns(dns)) == dns
    assert tailcfg.decode_dns(None) is None


def test_users() -> None:
    user = UserProfile(3, "a@example.com", "A", "https://example.com/a.png")
    assert tailcfg.decode_user(tailcfg.encode_user(user)) == user
    assert tailcfg.decode_user(None) == UserProfile(0, "")


@pytest.mark.parametrize("name", ["Name", "HostName"])
def test_a_derp_nodes_names_cannot_end_a_line_of_http(name: str) -> None:
    node = {"Name": "900a", "HostName": "relay.example", name: "x\r\nProxy-Authorization: y"}
    update = tailcfg.decode_derp_map({"Regions": {"900": {"Nodes": [node]}}})
    assert update is not None
    assert update.regions is not None
    (decoded,) = update.regions[900].nodes
    assert "" in (decoded.name, decoded.host_name)
    assert "\n" not in decoded.name + decoded.host_name


def test_capabilities_too_deep_are_left_out() -> None:
    deep: object = 1
    for _ in range(500):
        deep = [deep]
    assert tailcfg.decode_cap_map({"a": [1, deep, 2]}) == {"a": (1, 2)}

from __future__ import annotations

import contextlib
import json
from random import Random
from typing import Any

import attrs
import pytest

from tsnet.base.addresses import UdpAddress
from tsnet.base.keys import DiscoKey, LockKey, MachineKey, NodeKey
from tsnet.base.malformed import MalformedError
from tsnet.control.mapframes import encode_frame
from tsnet.control.messages import (
    CAPABILITY_VERSION,
    LOGOUT_EXPIRY,
    ControlKeys,
    MapRequest,
    MapResponse,
    PingRequest,
    RegisterRequest,
    RegisterResponse,
    decode_map,
)
from tsnet.netmap.merge import DerpMapUpdate, MapUpdate, PeerChange
from tsnet.netmap.model import DerpRegion, Destination, DnsConfig, FilterRule, Node, PortRange, UserProfile

NODE_KEY, DISCO_KEY = NodeKey(b"\x01" * 32), DiscoKey(b"\x02" * 32)
NODE = Node(id=1, stable_id="n1", name="a.example", key=NODE_KEY, created="2026-01-01T00:00:00Z")
RULE = FilterRule(("*",), (Destination("*", PortRange(0, 65535)),))


def wild(random: Random, depth: int = 3) -> Any:
    """Any JSON value."""
    kinds = [None, True, random.randrange(-(2**70), 2**70), 1.5, "text", "100.64.0.1/32", NODE_KEY.text(), "7"]
    if depth and random.random() < 0.6:
        if random.random() < 0.5:
            return [wild(random, depth - 1) for _ in range(random.randrange(3))]
        names = ["ID", "Key", "Regions", "Nodes", "Ports", "NodeID", "5", "*", "Addresses", "Online"]
        return {random.choice(names): wild(random, depth - 1) for _ in range(random.randrange(4))}
    return random.choice(kinds)


def test_the_capability_version_is_one_that_headscale_accepts() -> None:
    assert CAPABILITY_VERSION >= 113


def test_server_keys() -> None:
    keys = ControlKeys(MachineKey(b"\x07" * 32))
    assert json.loads(keys.encode())["publicKey"] == "mkey:" + "07" * 32
    assert ControlKeys.decode(keys.encode()) == keys


@pytest.mark.parametrize("document", [b"", b"<html>", b"{}", b'{"publicKey":"mkey:%s"}' % (b"0" * 64), b'"x"'])
def test_what_is_no_server_key(document: bytes) -> None:
    with pytest.raises(MalformedError):
        ControlKeys.decode(document)


REGISTER = RegisterRequest(
    node_key=NODE_KEY,
    old_node_key=NodeKey(b"\x03" * 32),
    lock_key=LockKey(b"\x04" * 32),
    auth_key="tskey-auth-secret",
    expiry=LOGOUT_EXPIRY,
    followup="https://control.example/a/1",
    hostinfo={"Hostname": "shop"},
    ephemeral=True,
)


def test_a_register_request_both_ways() -> None:
    assert RegisterRequest.decode(REGISTER.encode()) == REGISTER
    bare = RegisterRequest(node_key=NODE_KEY)
    assert RegisterRequest.decode(bare.encode()) == bare


def test_a_bare_register_request_has_what_go_always_sends() -> None:
    fields = json.loads(RegisterRequest(node_key=NODE_KEY).encode())
    assert fields == {
        "Version": CAPABILITY_VERSION,
        "NodeKey": NODE_KEY.text(),
        "OldNodeKey": "nodekey:" + "0" * 64,
        "NLKey": "nlpub:" + "0" * 64,
        "Expiry": "0001-01-01T00:00:00Z",
        "Followup": "",
        "Hostinfo": {},
        "NodeKeySignature": None,
    }


def test_logout_is_an_expiry_in_1970() -> None:
    assert json.loads(REGISTER.encode())["Expiry"] == "1970-01-01T00:02:03Z"


def test_the_auth_key_does_not_show() -> None:
    assert "secret" not in repr(REGISTER)
    assert "secret" not in str(REGISTER)


def test_a_register_response_of_testcontrol() -> None:
    response = RegisterResponse.decode(
        b'{"User":{"ID":1,"DisplayName":"User 1"},"Login":{"ID":2,"Provider":"x","LoginName":"u@e","DisplayName":"U"},'
        b'"NodeKeyExpired":false,"MachineAuthorized":true,"AuthURL":"","NodeKeySignature":null}'
    )
    assert response == RegisterResponse(user=UserProfile(1, "u@e", "U"))


def test_a_register_response_both_ways() -> None:
    for response in (
        RegisterResponse(user=UserProfile(1, "u@e", "U")),
        RegisterResponse(auth_url="https://control.example/a/1"),
        RegisterResponse(error="no", node_key_expired=True, machine_authorized=False),
    ):
        assert RegisterResponse.decode(response.encode()) == response


def test_a_map_request_both_ways() -> None:
    for request in (
        MapRequest(NODE_KEY, DISCO_KEY, stream=True),
        MapRequest(
            NODE_KEY,
            None,
            compress=False,
            keep_alive=False,
            omit_peers=True,
            read_only=True,
            hostinfo={"NetInfo": {"PreferredDERP": 1}},
            endpoints=(UdpAddress("1.2.3.4", 5), UdpAddress("::1", 6)),
            endpoint_types=(1, 2),
        ),
    ):
        assert MapRequest.decode(request.encode()) == request


@pytest.mark.parametrize("kind", [RegisterRequest, MapRequest])
def test_a_request_may_spell_its_fields_otherwise(kind: type[RegisterRequest] | type[MapRequest]) -> None:
    """As tailscale-rs does."""
    network = {"PreferredDerp": 900, "DerpLatency": {"900-v4": 0.0001}}
    host = {"IpnVersion": "0.5.0", "Hostname": "rusty", "NetInfo": network}
    request = kind.decode(json.dumps({"NodeKey": NODE_KEY.text(), "HostInfo": host}).encode())
    assert request.hostinfo == {
        "IPNVersion": "0.5.0",
        "Hostname": "rusty",
        "NetInfo": {"PreferredDERP": 900, "DERPLatency": {"900-v4": 0.0001}},
    }


@pytest.mark.parametrize("document", [b"{}", b'{"NodeKey":"nodekey:%s"}' % (b"0" * 64), b"[]", b""])
def test_requests_without_a_node_key_are_malformed(document: bytes) -> None:
    with pytest.raises(MalformedError):
        MapRequest.decode(document)
    with pytest.raises(MalformedError):
        RegisterRequest.decode(document)


WHOLE = MapResponse(
    update=MapUpdate(
        node=NODE,
        peers=(attrs.evolve(NODE, id=2),),
        peers_changed=(attrs.evolve(NODE, id=3, online=False, last_seen=5.0),),
        peers_removed=(4, 5),
        peers_seen={6: True, 7: False},
        online={8: True},
        patches=(
            PeerChange(
                9,
                {
                    "home_region": 2,
                    "capability_version": 131,
                    "capabilities": {"a": (1,)},
                    "endpoints": (UdpAddress("1.2.3.4", 5),),
                    "key": NODE_KEY,
                    "disco_key": DISCO_KEY,
                    "online": False,
                    "last_seen": 5.0,
                    "key_expiry": None,
                },
            ),
        ),
        users=(UserProfile(1, "u@e"),),
        derp_map=DerpMapUpdate({900: DerpRegion(900)}),
        packet_filter=(),
        packet_filters={"*": None, "extra": (RULE,)},
        dns=DnsConfig(proxied=True),
        domain="example",
        health=("unwell",),
        display_messages={"x": {"Title": "T"}, "*": None},
        control_time=1_700_000_000.0,
    ),
    ping=PingRequest("https://control.example/p", True, "c2n", "100.64.0.1", b"payload"),
    pop_browser_url="https://control.example/b",
    sleep=2.5,
)


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("response", [WHOLE, MapResponse(keep_alive=True), MapResponse()])
def test_a_map_response_both_ways(response: MapResponse, compress: bool) -> None:
    assert decode_map(encode_frame(response.encode(), compress=compress)[4:]) == response


def test_an_empty_update_is_told_apart() -> None:
    assert decode_map(b'{"ControlTime":"2026-11-24T20:44:19.438149991Z"}').is_empty
    assert not decode_map(b'{"Domain":"x"}').is_empty
    assert not decode_map(b'{"PacketFilter":[]}').is_empty


@pytest.mark.parametrize("nothing", [None, 5, "x", {"ID": 1}, {"ID": 1, "Key": "nodekey:zz"}, [], {}])
def test_what_is_no_peer_is_left_out(nothing: object) -> None:
    document = json.dumps({"Peers": [nothing, {"ID": 5, "Key": NodeKey(bytes(31) + b"5").text()}]}).encode()
    assert [peer.id for peer in decode_map(document).update.peers] == [5]


def test_no_filter_is_not_an_empty_filter() -> None:
    update = decode_map(b'{"PacketFilter":null,"PacketFilters":{"a":null,"b":[],"c":[1,{}],"d":5}}').update
    assert update.packet_filter is None
    assert update.packet_filters == {"a": None, "b": (), "c": (FilterRule(()),), "d": None}
    assert decode_map(b'{"PacketFilter":[]}').update.packet_filter == ()


def test_of_a_member_that_comes_twice_the_last_one_counts() -> None:
    first, second = ({"ID": number, "Key": NodeKey(bytes(31) + b"5").text()} for number in (5, 6))
    document = f'{{"Peers":[{json.dumps(first)}],"Peers":[{json.dumps(second)}]}}'
    assert [peer.id for peer in decode_map(document.encode()).update.peers] == [6]


def test_nulls_are_absent() -> None:
    names = [name for name, _ in json.loads(WHOLE.encode()).items()]
    assert decode_map(json.dumps(dict.fromkeys(names)).encode()) == MapResponse()


@pytest.mark.parametrize(
    ("patch", "fields"),
    [
        ({"DERPRegion": 0, "Cap": 0}, {}),
        ({"Online": None, "Endpoints": None, "CapMap": None}, {}),
        ({"Endpoints": [], "CapMap": {}}, {"endpoints": (), "capabilities": {}}),
        ({"KeyExpiry": "0001-01-01T00:00:00Z"}, {"key_expiry": None}),
        ({"LastSeen": "0001-01-01T00:00:00Z", "Key": "bad"}, {}),
        ({"Online": False}, {"online": False}),
    ],
)
def test_a_patch_changes_what_it_names(patch: dict[str, Any], fields: dict[str, Any]) -> None:
    response = decode_map(json.dumps({"PeersChangedPatch": [{"NodeID": 5, **patch}]}).encode())
    assert response.update.patches == (PeerChange(5, fields),)


def test_a_ping_without_url_is_none() -> None:
    assert decode_map(b'{"PingRequest":{"Types":"c2n"}}').ping is None
    assert decode_map(b'{"PingRequest":{"URL":"u","Payload":"!"}}').ping == PingRequest("u")


@pytest.mark.parametrize("seed", range(20))
def test_no_json_raises(seed: int) -> None:
    random = Random(seed)
    names = sorted(json.loads(WHOLE.encode()))
    for _ in range(100):
        decode_map(json.dumps({random.choice(names): wild(random) for _ in range(4)}).encode())


@pytest.mark.parametrize("seed", range(20))
def test_bytes_raise_malformed_alone(seed: int) -> None:
    random = Random(seed)
    for _ in range(50):
        with contextlib.suppress(MalformedError):
            decode_map(random.choice([b"", b"{", b"\x28\xb5\x2f\xfd"]) + random.randbytes(random.randrange(40)))


def test_sleep_is_never_negative() -> None:
    assert decode_map(b'{"Debug":{"SleepSeconds":-5}}').sleep == 0.0
    assert decode_map(b'{"Debug":{"SleepSeconds":1.5,"Exit":1}}').sleep == 1.5


def test_a_request_is_bounded_by_what_it_becomes() -> None:
    hostinfo: dict[str, Any] = {"Services": [{} for _ in range(50_000)]}
    with pytest.raises(MalformedError, match=r"the request would take \d+ MiB of memory, and may take 2 MiB"):
        MapRequest.decode(MapRequest(NODE_KEY, None, hostinfo=hostinfo).encode())
    routes = {"RoutableIPs": [f"10.{number // 256}.{number % 256}.0/24" for number in range(5000)]}
    assert MapRequest.decode(MapRequest(NODE_KEY, None, hostinfo=routes).encode()).hostinfo == routes

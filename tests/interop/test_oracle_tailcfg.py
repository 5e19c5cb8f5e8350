"""Control's JSON against Go's tailcfg: what Go reads of ours, what we keep of Go's, field by field.

Go makes random values of its own types, and Go compares, after reading both documents: the form of a list or of a
time does not count, only what it says. A field unknown to Go is an error. Each path that may differ is named below.
"""

from __future__ import annotations

import json
import re
from random import Random
from typing import Any

import pytest

from tests.interop.harness.oracle import Oracle, case, cases
from tsnet.base.addresses import UdpAddress
from tsnet.base.keys import ChallengeKey, DiscoKey, LockKey, NodeKey
from tsnet.control.gojson import line
from tsnet.control.messages import MapRequest, RegisterRequest, RegisterResponse, decode_map
from tsnet.control.transport import EARLY_HEADER, early_payload
from tsnet.edge.io.hostinfo import hostinfo as this_machine
from tsnet.netmap.model import UserProfile

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]

# Features that we have not: what control says of them has no place in our netmap.
NOT_CARRIED = {
    ".ClientVersion",
    ".CollectServices",
    ".ControlDialPlan",
    ".DERPMap.Regions{}.Latitude",
    ".DERPMap.Regions{}.Longitude",
    ".DNSConfig.ExitNodeFilteredSet",
    ".DNSConfig.Nameservers",
    ".DNSConfig.TempCorpIssue13969",
    ".Debug",
    ".Debug.DisableLogTail",
    ".Debug.Exit",
    ".DeprecatedDefaultAutoUpdate",
    ".DomainDataPlaneAuditLogID",
    ".MapSessionHandle",
    ".Node.DataPlaneAuditLogID",
    ".Node.ExitNodeDNSResolvers",
    ".Node.KeySignature",
    ".Node.SelfNodeV4MasqAddrForThisPeer",
    ".Node.SelfNodeV6MasqAddrForThisPeer",
    ".PeersChangedPatch[].KeySignature",
    ".SSHPolicy",
    ".Seq",
    ".TKAInfo.Head",
    ".UserProfiles[].Groups",
}
# What we say in another way, on purpose.
NORMALISED = {
    ".DERPMap.HomeParams",  # {} is no change, as null is
    ".Filter[].CapGrant[].CapMap",  # legacy Caps become keys of it
    ".Filter[].CapGrant[].Caps",
    ".Filter[].DstPorts[]",  # Bits, which Go itself refuses since capability version 7
    ".Filter[].SrcBits",
    ".Node.AllowedIPs",  # a node outside Tailnet Lock keeps its own addresses only
    ".Node.AllowedIPs[]",
    ".Node.CapMap",  # our own legacy Capabilities become keys of it
    ".Node.Capabilities",
    ".Node.ComputedName",  # what clients compute
    ".Node.ComputedNameWithHost",
    ".Node.Hostinfo",  # null becomes {}
    ".PingRequest",  # without a URL it asks for nothing
}

SHOWN = set("AuthURL DisplayName Domain Error Health LoginName Name PopBrowserURL ProfilePicURL Tags".split())
"""Fields that people are shown: of them we keep what stays on its line."""


def random_document(oracle: Oracle, kind: str, seed: int) -> Any:
    """Any value of that type, with nothing in what is shown that we would not keep."""
    return on_its_line(oracle.call("tailcfg_random", kind=kind, seed=seed))


def on_its_line(value: Any, is_shown: bool = False) -> Any:
    if isinstance(value, dict):
        return {name: on_its_line(item, name in SHOWN) for name, item in value.items()}
    if isinstance(value, list):
        return [on_its_line(item, is_shown) for item in value]
    return line(value) if is_shown and isinstance(value, str) else value


def different(oracle: Oracle, kind: str, ours: bytes, theirs: Any) -> set[str]:
    """The paths at which they say different things to Go, all nodes and all filters under one name."""
    found = oracle.call("tailcfg_compare", kind=kind, document=json.loads(ours), other=theirs)
    nodes = [re.sub(r"^\.(Peers|PeersChanged)\[\]\.", ".Node.", path) for path in found]
    return {re.sub(r"^\.PacketFilter(s\{\})?\[\]\.", ".Filter[].", path) for path in nodes}


def test_what_we_keep_of_a_map_response(oracle: Oracle) -> None:
    for seed in cases():
        with case("map responses", seed):
            theirs = random_document(oracle, "MapResponse", seed)
            ours = decode_map(json.dumps(theirs).encode())
            assert different(oracle, "MapResponse", ours.encode(), theirs) <= NOT_CARRIED | NORMALISED


def test_what_go_keeps_of_a_map_response(oracle: Oracle) -> None:
    """Ours, read and written again by Go, is ours again."""
    for seed in cases():
        with case("map responses back", seed):
            theirs = random_document(oracle, "MapResponse", seed)
            ours = json.loads(decode_map(json.dumps(theirs).encode()).encode())
            back = oracle.call("tailcfg_decode", kind="MapResponse", document=ours)
            assert json.loads(decode_map(json.dumps(back).encode()).encode()) == ours


def hostinfo(oracle: Oracle, random: Random) -> dict[str, Any]:
    return dict(oracle.call("tailcfg_random", kind="Hostinfo", seed=random.getrandbits(63)))


def test_map_requests(oracle: Oracle) -> None:
    for seed in cases():
        with case("map requests", seed) as random:
            flags = [random.random() < 0.5 for _ in range(5)]
            ours = MapRequest(
                node_key=NodeKey(random.randbytes(32)),
                disco_key=DiscoKey(random.randbytes(32)),
                version=random.randrange(1, 200),
                compress=flags[0],
                keep_alive=flags[1],
                stream=flags[2],
                omit_peers=flags[3],
                read_only=flags[4],
                hostinfo=hostinfo(oracle, random),
                endpoints=(UdpAddress("192.0.2.7", random.randrange(1, 65536)), UdpAddress("2001:db8::7", 1)),
                endpoint_types=(random.randrange(6), 1),
            )
            read = oracle.call("tailcfg_decode", kind="MapRequest", document=json.loads(ours.encode()))
            assert MapRequest.decode(json.dumps(read).encode()) == ours
            assert different(oracle, "MapRequest", ours.encode(), read) == set()


def test_register_requests(oracle: Oracle) -> None:
    for seed in cases():
        with case("register requests", seed) as random:
            ours = RegisterRequest(
                node_key=NodeKey(random.randbytes(32)),
                version=random.randrange(1, 200),
                old_node_key=random.choice([None, NodeKey(random.randbytes(32))]),
                lock_key=random.choice([None, LockKey(random.randbytes(32))]),
                auth_key=random.choice(["", "tskey-auth-<\u2028é>"]),
                expiry=random.choice([None, 123.0, float(random.randrange(1 << 33))]),
                followup=random.choice(["", "https://control.example/a/b?c=d&e"]),
                hostinfo=hostinfo(oracle, random),
                ephemeral=random.random() < 0.5,
            )
            read = oracle.call("tailcfg_decode", kind="RegisterRequest", document=json.loads(ours.encode()))
            assert RegisterRequest.decode(json.dumps(read).encode()) == ours


def test_register_responses(oracle: Oracle) -> None:
    for seed in cases():
        with case("register responses", seed) as random:
            ours = RegisterResponse(
                user=UserProfile(random.randrange(1, 1 << 50), "user@example", "Ünser <User>"),
                node_key_expired=random.random() < 0.5,
                machine_authorized=random.random() < 0.5,
                auth_url=random.choice(["", "https://control.example/a"]),
                error=random.choice(["", "no: <reason>"]),
            )
            read = oracle.call("tailcfg_decode", kind="RegisterResponse", document=json.loads(ours.encode()))
            assert RegisterResponse.decode(json.dumps(read).encode()) == ours
            theirs = random_document(oracle, "RegisterResponse", seed)
            got = RegisterResponse.decode(json.dumps(theirs).encode())
            assert (got.error, got.auth_url) == (theirs["Error"], theirs["AuthURL"])
            assert got.machine_authorized == theirs["MachineAuthorized"]
            assert got.node_key_expired == theirs["NodeKeyExpired"]
            assert got.user.login_name == theirs["Login"]["LoginName"]


def test_early_payloads(oracle: Oracle) -> None:
    for seed in cases():
        with case("early payloads", seed) as random:
            challenge = ChallengeKey(random.randbytes(32))
            document = json.loads(early_payload(challenge)[EARLY_HEADER.size :])
            read = oracle.call("tailcfg_decode", kind="EarlyNoise", document=document)
            assert read == {"nodeKeyChallenge": challenge.text()}


def test_the_hostinfo_of_this_machine(oracle: Oracle) -> None:
    """Go knows each of its fields, takes every value, and says the same back."""
    network = {"PreferredDERP": 999, "DERPLatency": {"999-v4": 0.01}, "WorkingUDP": True}
    ours = {**this_machine(), "Hostname": "shop", "RequestTags": ["tag:ci"], "NetInfo": network}
    read = oracle.call("tailcfg_decode", kind="Hostinfo", document=ours)
    assert read["NetInfo"] == read["NetInfo"] | network
    assert read == {**ours, "NetInfo": read["NetInfo"]}

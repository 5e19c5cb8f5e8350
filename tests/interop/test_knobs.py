"""Every exported field and method of testcontrol.Server at the pinned version: where it is turned, or why it is not.

The list is compared with what the Go type itself has, by reflection: a new knob, or one that has gone, fails here.
"""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from tests.interop.harness.requirements import FOLDER, need
from tests.interop.harness.scene import Scene
from tests.interop.harness.testcontrol import Derper, TestControl

pytestmark = [pytest.mark.interop, pytest.mark.timeout(60)]


@attrs.frozen
class Used:
    """by: a word of the file of tests `where` (below tests/interop) that turns it."""

    where: str
    by: str


@attrs.frozen
class Unused:
    why: str


TOLD, ASKED = "test_told_by_testcontrol.py", "test_asked_by_testcontrol.py"
HARNESS, PROGRAM = "harness/testcontrol.py", "peers/testcontrol/main.go"
LIMITED, EXPIRE, APPROVED = "lives/test_rate_limited.py", "lives/test_all_expire.py", "lives/test_device_approval.py"

FIELDS: dict[str, Used | Unused] = {
    "AllNodesSameUser": Used(TOLD, "same_user=True"),
    "AllOnline": Used(PROGRAM, "server.AllOnline"),
    "AltMapStream": Unused("AddRawMapResponse sends any message, and leaves registrations and updates to testcontrol"),
    "C2NResponses": Used(ASKED, "control.c2n("),  # SendC2N fills it
    "CollectServices": Used(TOLD, "CollectServices"),
    "DERPMap": Used(HARNESS, "--derpmap"),
    "DNSConfig": Used(PROGRAM, "server.DNSConfig"),
    "DefaultNodeCapabilities": Used(TOLD, "DefaultNodeCapabilities"),
    "ExplicitBaseURL": Used(PROGRAM, "ExplicitBaseURL"),
    "HTTPTestServer": Used(PROGRAM, "HTTPTestServer"),
    "HoldMapRequest": Used(LIMITED, "hold_maps("),
    "Logf": Used(PROGRAM, "server.Logf"),
    "MagicDNSDomain": Used(HARNESS, "--domain"),
    "MaybeRateLimitRegister": Used(LIMITED, "rate_limit("),
    "ModifyFirstMapResponse": Used(TOLD, "change_first_map("),
    "OnSetDNS": Used(TOLD, "refuse_dns("),
    "PeerRelayGrants": Used(TOLD, "PeerRelayGrants"),
    "RequireAuth": Used("test_control_client.py", "require_auth=True"),
    "RequireAuthKey": Used("test_control_client.py", "require_auth_key="),
    "RequireMachineAuth": Used(APPROVED, "RequireMachineAuth"),
    "SSHPolicy": Used(TOLD, "set_ssh_policy("),
    "TagOwners": Used(TOLD, "TagOwners"),
    "Verbose": Used(HARNESS, "--verbose"),
}

METHODS: dict[str, Used | Unused] = {
    "AddDNSRecords": Used(TOLD, "add_dns_records("),
    "AddFakeNode": Used("test_testcontrol.py", "fake_node("),
    "AddPingRequest": Used(ASKED, "control.ping("),
    "AddRawMapResponse": Used(TOLD, "send_map("),
    "AllNodes": Used(HARNESS, '_call("nodes")'),
    "AwaitNodeInMapRequest": Used(TOLD, "await_poll("),
    "BaseURL": Used("peers/testcontrol/nodes.go", "c.BaseURL()"),
    "CompleteAuth": Used("test_control_client.py", "complete_auth("),
    "CompleteDeviceApproval": Used(APPROVED, "approve("),
    "InServeMap": Used("test_testcontrol.py", "polls("),
    "MapResponse": Unused("testcontrol calls it itself for each message; it has no effect of its own"),
    "Node": Used(PROGRAM, "c.Node("),
    "NodeRoundTripper": Used("peers/testcontrol/nodes.go", "c.NodeRoundTripper("),
    "NumNodes": Used(TOLD, "control.count("),
    "SendC2N": Used(ASKED, "control.c2n("),  # NodeRoundTripper calls it
    "ServeHTTP": Used(PROGRAM, 'front.Handle("/", server)'),
    "SetExpireAllNodes": Used(EXPIRE, "expire_all("),
    "SetGlobalAppCaps": Used("../lab/relayed_homes.py", "set_app_caps("),
    "SetJailed": Used(TOLD, "control.jail("),
    "SetMasqueradeAddresses": Unused(
        "a node of ours has one address for all: SelfNodeV4MasqAddrForThisPeer is not read"
    ),
    "SetNodeCapMap": Used(TOLD, "set_node_caps("),
    "SetOnMapRequest": Used(TOLD, "map_requests("),
    "SetSSHPolicy": Used(TOLD, "set_ssh_policy("),
    "SetSubnetRoutes": Used(TOLD, "set_routes("),
    "SetUnsignedPeerAPIOnly": Used(TOLD, "set_unsigned("),
    "UpdateNode": Used("test_testcontrol.py", "control.update("),
}


def test_the_list_is_that_of_the_go_type(scene: Scene) -> None:
    need("testcontrol", "derper")
    with Derper(scene) as derper, TestControl(scene, derper) as control:
        knobs = control.knobs()
    assert sorted(knobs["fields"]) == sorted(FIELDS)
    assert sorted(knobs["methods"]) == sorted(METHODS)


@pytest.mark.parametrize(("name", "knob"), (FIELDS | METHODS).items(), ids=(FIELDS | METHODS).keys())
def test_each_is_turned_where_the_list_says(name: str, knob: Used | Unused) -> None:
    match knob:
        case Used(where, word):
            assert word in Path(FOLDER, where).read_text(), name
        case Unused(why):
            assert why

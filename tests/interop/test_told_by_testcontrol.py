"""What Tailscale's own control server for tests can tell a node beside its peers, and what our node makes of it.

One control server with each of its settings, a Go node, and ours; a test turns one knob and looks at its effect.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import pytest

import tsnet
from tests.interop.harness import ours
from tests.interop.harness.gopeer import GoPeer
from tests.interop.harness.lines import PeerError
from tests.interop.harness.ours import follow, is_online, peer_of, serve_echo, until
from tests.interop.harness.proxy import Proxy
from tests.interop.harness.requirements import need
from tests.interop.harness.scene import Scene
from tests.interop.harness.testcontrol import DERP_REGION, Derper, TestControl
from tests.interop.test_requests import SET_DNS, ask
from tsnet.events import NetMapChanged, PeerLeft

pytestmark = [pytest.mark.interop, pytest.mark.timeout(60)]

SSH_POLICY = {"rules": [{"principals": [{"any": True}], "sshUsers": {"*": "="}, "action": {"accept": True}}]}


@attrs.define
class Lab:
    scene: Scene
    control: TestControl
    go: GoPeer

    def node(self, name: str = "ours", **options: Any) -> tsnet.Server:
        return ours.node(self.control, name, **{"auth_key": "any", "ephemeral": True, **options})

    def key(self, name: str) -> str:
        return str(self.control.node(name)["Key"])


@contextmanager
def play(scene: Scene, **settings: Any) -> Iterator[Lab]:
    need("testcontrol", "derper", "tsnetpeer")
    with (
        Derper(scene) as derper,
        TestControl(scene, derper, **settings) as control,
        GoPeer(scene, control, "go", auth_key="any") as go,
    ):
        go.up()
        yield Lab(scene, control, go)


@pytest.fixture
def lab(scene: Scene) -> Iterator[Lab]:
    with play(scene) as lab:
        yield lab


@pytest.fixture
def node(lab: Lab) -> Iterator[tsnet.Server]:
    with lab.node() as node:
        node.reachable()
        until(lambda: is_online(node, "go") and (lab.go.peer("ours") or {}).get("Relay"), 10)
        lab.control.await_poll(lab.key("ours"))
        yield node


# --- settings -----------------------------------------------------------------------------------------------


def test_tags_that_a_node_asks_for(scene: Scene) -> None:
    with play(scene, settings={"TagOwners": {"tag:ci": []}}) as lab, lab.node("tagged", tags=["tag:ci"]) as node:
        assert node.status().tags == ("tag:ci",)
        until(lambda: (lab.go.peer("tagged") or {}).get("Tags") == ["tag:ci"], 10)


def test_all_nodes_of_one_user(scene: Scene) -> None:
    with play(scene, same_user=True) as lab, lab.node() as node:
        until(lambda: peer_of(node, "go"), 10)
        assert {node.status().user_login, node.status().peers[0].user_login} == {"user-123@fake-control.example.net"}


def test_capabilities_that_every_node_has(scene: Scene) -> None:
    with play(scene, settings={"DefaultNodeCapabilities": {"debug-disable-upnp": []}}) as lab, lab.node() as node:
        assert "debug-disable-upnp" in node.debug("netmap")["attributes"]


@pytest.mark.parametrize("wanted", [True, False])
def test_services_are_never_told(scene: Scene, wanted: bool) -> None:
    """Whether control collects them or not: a library does not list its machine's ports."""
    with play(scene, settings={"CollectServices": wanted}) as lab, lab.node() as node:
        node.reachable()
        assert "Services" not in lab.control.node("ours")["Hostinfo"]


@pytest.mark.parametrize("granted", [True, False])
def test_grants_of_peer_relays_to_everybody(scene: Scene, granted: bool) -> None:
    """Each is taken for a relay then, until one asked does not answer."""
    with play(scene, settings={"PeerRelayGrants": granted}) as lab, lab.node() as node:
        until(lambda: peer_of(node, "go"), 10)
        assert bool(node._handle.node.engine._relay_grants.relays) == granted


# --- what changes meanwhile -------------------------------------------------------------------------------------


def test_capabilities_of_one_node(lab: Lab, node: tsnet.Server) -> None:
    lab.control.set_node_caps(lab.key("ours"), "debug-always-stun", "silent-disco")
    until(lambda: {"debug-always-stun", "silent-disco"} <= set(node.debug("netmap")["attributes"]), 5)
    lab.control.set_node_caps(lab.key("ours"))
    until(lambda: not {"debug-always-stun", "silent-disco"} & set(node.debug("netmap")["attributes"]), 5)


def test_a_jailed_peer_opens_nothing(lab: Lab, node: tsnet.Server) -> None:
    lab.go.listen(":8", "echo")
    with serve_echo(node, 7):
        echoes(lab, b"before")
        lab.control.jail(lab.key("ours"), lab.key("go"))
        until(lambda: jailed(node), 5)
        with pytest.raises(PeerError):
            lab.go.call("open", address="ours:7", timeout=2)
        node.dial("go", 8, timeout=10).close()
        lab.control.jail(lab.key("ours"), lab.key("go"), False)
        until(lambda: not jailed(node), 5)
        echoes(lab, b"after")


def jailed(node: tsnet.Server) -> bool:
    return any(peer["is_jailed"] for peer in node.debug("netmap")["peers"])


def echoes(lab: Lab, data: bytes) -> None:
    stream = lab.go.open("ours:7")
    lab.go.write(stream, data)
    assert lab.go.read(stream, len(data)) == data
    lab.go.close_stream(stream)


def test_an_unsigned_peer_gets_in_nowhere(lab: Lab, node: tsnet.Server) -> None:
    """testcontrol's filter names all others then, as the real one's does."""
    with serve_echo(node, 7):
        echoes(lab, b"before")
        changed = follow(node, NetMapChanged)
        lab.control.set_unsigned(lab.key("go"))
        until(lambda: changed and any(p.unsigned_peer_api_only for p in changed[-1].netmap.peers.values()), 5)
        with pytest.raises(PeerError):
            lab.go.call("open", address="ours:7", timeout=2)
        lab.control.set_unsigned(lab.key("go"), False)
        until(lambda: not any(p.unsigned_peer_api_only for p in changed[-1].netmap.peers.values()), 5)
        echoes(lab, b"after")


def test_routes_of_a_peer(lab: Lab, node: tsnet.Server) -> None:
    lab.control.set_routes(lab.key("go"), "10.7.0.0/24", "fd00:7::/64")
    until(lambda: (found := peer_of(node, "go")) and {"10.7.0.0/24", "fd00:7::/64"} <= set(found.routes), 5)
    lab.control.set_routes(lab.key("go"))
    until(lambda: (found := peer_of(node, "go")) and "10.7.0.0/24" not in found.routes, 5)


def test_dns_records(lab: Lab, node: tsnet.Server) -> None:
    lab.control.add_dns_records({"Name": "shop.lab.example", "Value": "100.64.0.1"})
    record = {"name": "shop.lab.example", "type": "", "value": "100.64.0.1"}
    until(lambda: record in node.debug("netmap")["dns"]["extra_records"], 5)


def test_an_ssh_policy_is_of_no_concern(lab: Lab, node: tsnet.Server) -> None:
    changed = follow(node, NetMapChanged)
    lab.control.set_ssh_policy(SSH_POLICY)
    until(lambda: changed, 5)
    with pytest.raises(PeerError, match="refused"):
        lab.go.open("ours:22")
    lab.control.set_ssh_policy(None)
    assert node.status().state == "running"
    assert not node._handle.node.control.dropped


def test_dns_records_of_our_own_that_control_refuses(lab: Lab, node: tsnet.Server) -> None:
    record = {"Type": "TXT", "Name": "_acme-challenge.ours.lab.example", "Value": "proof", "NodeKey": lab.key("ours")}
    assert ask(node, SET_DNS, **record).status == 200
    assert [told["Value"] for told in lab.control.dns_requests()] == ["proof"]
    lab.control.refuse_dns("the zone is locked")
    refused = ask(node, SET_DNS, **record)
    assert (refused.status, refused.body) == (500, b"the zone is locked\n")
    lab.control.refuse_dns("")
    assert ask(node, SET_DNS, **record).status == 200


def test_messages_as_they_are(lab: Lab, node: tsnet.Server) -> None:
    """Deltas of a kind that testcontrol never makes by itself."""
    left, number = follow(node, PeerLeft), lab.control.node("go")["ID"]
    assert lab.control.send_map(lab.key("ours"), {"PeersChangedPatch": [{"NodeID": number, "Online": False}]})
    until(lambda: not is_online(node, "go"), 5)
    assert lab.control.send_map(lab.key("ours"), {"OnlineChange": {str(number): True}})
    until(lambda: is_online(node, "go"), 5)
    assert lab.control.send_map(lab.key("ours"), {"Health": ["your disk is nearly full"]})
    until(lambda: "your disk is nearly full" in " ".join(node.status().health), 5)
    assert lab.control.send_map(lab.key("ours"), {"PeersRemoved": [number]})
    until(lambda: left and not peer_of(node, "go"), 5)
    assert node.status().state == "running"


def test_a_new_map_stream_that_begins_without_relays(lab: Lab) -> None:
    """The relays of before are kept: the home stays, and Go gets through."""
    with Proxy(8082, 8081) as proxy:
        lab.control.url = proxy.url
        with lab.node() as node, serve_echo(node, 7):
            node.reachable()
            until(lambda: (lab.go.peer("ours") or {}).get("Relay"), 10)
            changed = follow(node, NetMapChanged)
            lab.control.change_first_map(DERPMap=None, Health=["the first message has come"])
            proxy.cut()
            until(lambda: "the first message has come" in " ".join(node.status().health), 20)
            assert node.status().home_region == DERP_REGION
            assert set(changed[-1].netmap.derp_map.regions) == {DERP_REGION}
            echoes(lab, b"still there")


def test_what_a_node_asks_of_control_in_a_quiet_while(lab: Lab, node: tsnet.Server) -> None:
    """One map stream, and an update for what changed: its endpoints, its home."""
    key = lab.key("ours")
    before = lab.control.map_requests(key)
    assert before <= 8
    for number in range(20):
        lab.control.add_dns_records({"Name": f"name{number}.lab.example", "Value": "100.64.0.1"})
    until(lambda: len(node.debug("netmap")["dns"]["extra_records"]) == 20, 10)
    assert lab.control.map_requests(key) <= before + 1
    assert lab.control.count() == 2

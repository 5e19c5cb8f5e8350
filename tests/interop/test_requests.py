"""Requests beside registration and map: ours to Tailscale's own test control, and a Go node's to our control."""

from __future__ import annotations

import json
import urllib.request

import pytest

import tsnet
from tests.control.jwt import verified
from tests.interop.harness import ours
from tests.interop.harness.control import ControlAt
from tests.interop.harness.gopeer import GoPeer
from tests.interop.harness.lines import PeerError
from tests.interop.harness.requirements import need
from tests.interop.harness.scene import Scene
from tests.interop.harness.testcontrol import Derper, TestControl
from tsnet.control.messages import CAPABILITY_VERSION
from tsnet.edge.run.requesting import ControlAnswer
from tsnet.testing.tailnet import Tailnet

pytestmark = [pytest.mark.interop, pytest.mark.timeout(90)]
SET_DNS = "/machine/set-dns"


def ask(node: tsnet.Server, path: str, method: str = "POST", **fields: object) -> ControlAnswer:
    body = json.dumps({"Version": CAPABILITY_VERSION, **fields}).encode()
    answer: ControlAnswer = node._handle.ask_control(path, body, 30, method=method).result()
    return answer


def test_a_dns_record_is_set_at_tailscales_test_control(scene: Scene) -> None:
    need("testcontrol", "derper")
    with (
        Derper(scene) as derper,
        TestControl(scene, derper) as control,
        ours.node(control, "ours", auth_key="any", ephemeral=True) as node,
        ours.node(control, "other", auth_key="any", ephemeral=True) as other,
    ):
        keys = {name: control.node(name)["Key"] for name in ("ours", "other")}
        record = {"Type": "TXT", "Name": "_acme-challenge.ours.lab.example", "Value": "proof"}
        assert json.loads(ask(node, SET_DNS, NodeKey=keys["ours"], **record).body) == {}
        foreign = ask(node, SET_DNS, NodeKey=keys["other"], **record)
        assert (foreign.status, foreign.body) == (403, b"node key does not belong to machine\n")
        elsewhere = ask(other, SET_DNS, NodeKey=keys["other"], **record)
        assert (elsewhere.status, elsewhere.body[:24]) == (403, b"name is not an ACME chal")
        assert ask(node, SET_DNS, "GET", NodeKey=keys["ours"], **record).status == 400
        assert json.loads(ask(node, SET_DNS, NodeKey=keys["ours"], **record).body) == {}
        assert control.polls() == 2, "the map streams have not noticed"


def test_a_go_node_has_an_id_token_of_ours(scene: Scene) -> None:
    need("tsnetpeer")
    with Tailnet() as tailnet:
        key = tailnet.create_auth_key("bob@example.com")

        def get(path: str) -> bytes:
            with urllib.request.urlopen(f"{tailnet.control_url}{path}", timeout=30) as answer:
                body: bytes = answer.read()
                return body

        with GoPeer(scene, ControlAt(tailnet.control_url), "go", auth_key=key) as go:
            go.up()
            body = go.local("id-token?aud=third.example", method="POST")
            token = (json.loads(body) if isinstance(body, str) else body)["id_token"]
            with pytest.raises(PeerError, match="no audience"):
                go.local("id-token", method="POST")
        claims = verified(token, tailnet.control_url, get)
        assert (claims["aud"], claims["node"]) == ("third.example", f"go.{tailnet.base_domain}")
        assert claims["user"] == f"{tailnet.base_domain}:bob@example.com"

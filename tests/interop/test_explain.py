"""What `explain` says of a real Go node: allowed, denied by the policy, nobody there, shields up, stopped."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import tsnet
from tests.interop.harness.ours import is_online, until
from tests.interop.harness.requirements import need
from tests.interop.harness.scene import Scene
from tests.interop.test_embedded_with_go import Lab, knows_home
from tsnet.testing.tailnet import Tailnet

pytestmark = [pytest.mark.interop, pytest.mark.timeout(90)]
POLICY = [{"src": ["*"], "dst": ["*:80-82"]}]


@pytest.fixture
def lab(scene: Scene) -> Iterator[Lab]:
    need("tsnetpeer")
    with Tailnet(policy=POLICY) as tailnet:
        yield Lab(scene, tailnet)


def said(node: tsnet.Server, target: str) -> tuple[str, str]:
    found = node.explain(target)
    return found.code, found.verdict


def test_what_a_go_node_answers_to_each_port(lab: Lab) -> None:
    with lab.go() as go, lab.node() as node:
        go.up()
        go.listen(":80", "echo")
        go.listen(":83", "echo")
        until(lambda: is_online(node, "go") and knows_home(go), 5)
        found = node.explain("go:80")
        assert found.code == "OK-DIRECT"
        assert len(found.steps) == 9
        assert all(step.ok or "relay" in step.question for step in found.steps), "ours may not be at its relay yet"
        assert node.explain("go").code == "OK-DIRECT"
        assert said(node, "go:81") == ("E-PORT", "E-PORT: go is reached, and nothing listens on port 81")
        code, verdict = said(node, "go:83")
        assert code == "E-POLICY"
        assert verdict.startswith("E-POLICY: go is reached and denies go:83: the tailnet's policy does not let")
        with pytest.raises(tsnet.DeniedByPolicy):
            node.dial("go", 83)


def test_a_go_node_whose_shields_are_up_and_one_that_has_stopped(lab: Lab) -> None:
    with lab.go(derp_only=True) as go, lab.node() as node:
        go.up()
        go.listen(":80", "echo")
        until(lambda: is_online(node, "go") and knows_home(go), 5)
        found = node.explain("go:80")
        assert (found.code, found.path.region) == ("OK-RELAYED", 900)
        go.local("prefs", method="PATCH", body='{"ShieldsUp": true, "ShieldsUpSet": true}')
        until(lambda: said(node, "go:80")[0] == "E-SHIELDS", 10)
        go.kill()
        until(lambda: not is_online(node, "go"), 20)
        code, verdict = said(node, "go:80")
        assert (code, verdict) == ("E-OFFLINE", "E-OFFLINE: go is offline, says control, and nothing of it answers")

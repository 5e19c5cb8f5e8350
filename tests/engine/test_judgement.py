"""Each row of the table, with all that comes after it true as well; the reasons of a relayed path likewise."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from tests.engine.pair import node
from tsnet.base.wording import Wording, api, worded
from tsnet.engine import tsmp
from tsnet.engine.evidence import OPEN, Evidence
from tsnet.engine.explanation import ADVICE, REASONS
from tsnet.engine.judgement import judge, judge_error, relayed_because
from tsnet.engine.peerpath import PeerPath
from tsnet.errors import (
    AuthKeyRejected,
    ControlUnreachable,
    CredentialRejected,
    KeyExpired,
    NeedsLogin,
    NodeRemoved,
    RemoteError,
    UpTimeout,
)

PEER = node(2, "db", is_wireguard_only=False, online=True, home_region=1)
RELAY, DIRECT = PeerPath(region=1, region_code="nyc"), PeerPath("192.0.2.2:41641")
ADDRESS = PEER.ips[0]


def evidence(**found: Any) -> Evidence:
    known = {"peer": PEER, "address": ADDRESS, "path": RELAY, "candidates": 2, "waited": 10.0, "suffix": "tailnet.test"}
    return Evidence(**{"host": "db", "port": 80, **known, **found})


def denied(reason: str) -> str:
    return tsmp.DENIED + reason


ALL = {"tunnel": 0.01, "disco": {RELAY: 0.01}, "relay_trouble": "relay region 1 cannot be reached: refused"}
OFFLINE = attrs.evolve(PEER, online=False)
EXPIRED = attrs.evolve(PEER, expired=True)


@pytest.mark.parametrize(
    ("found", "code"),
    [
        ({"peer": None, "is_self": True, "port_said": OPEN, **ALL}, "OK-SELF"),
        ({"peer": None, "address": None}, "E-NAME"),
        ({"peer": None}, "E-NAME"),
        ({"peer": EXPIRED, "port_said": OPEN, **ALL}, "E-EXPIRED"),
        ({"port_said": denied("A"), **ALL}, "E-POLICY"),
        ({"port_said": denied("T"), **ALL}, "E-POLICY"),
        ({"port_said": denied("?"), **ALL}, "E-POLICY"),
        ({"port_said": denied("S"), **ALL}, "E-SHIELDS"),
        ({"port_said": denied("F"), **ALL}, "E-FIREWALL"),
        ({"port_said": denied("W"), **ALL}, "E-FIREWALL"),
        ({"port_said": "refused", **ALL}, "E-PORT"),
        ({"port_said": OPEN, "path": DIRECT, **ALL}, "OK-DIRECT"),
        ({"port_said": OPEN, **ALL}, "OK-RELAYED"),
        ({"port": None, **ALL}, "OK-RELAYED"),
        ({"peer": OFFLINE, **ALL}, "E-TIMEOUT"),
        ({"peer": OFFLINE, **ALL, "tunnel": None}, "E-TUNNEL"),
        ({"peer": OFFLINE, "relay_trouble": "trouble"}, "E-OFFLINE"),
        ({"relay_trouble": "trouble"}, "E-DERP"),
        ({}, "E-UNREACHABLE"),
        ({"peer": attrs.evolve(PEER, online=None)}, "E-UNREACHABLE"),
    ],
)
def test_the_first_row_that_holds(found: dict[str, Any], code: str) -> None:
    explanation = judge(evidence(**found))
    assert explanation.code == code, explanation.verdict
    assert explanation.verdict.startswith(f"{code}: ")
    assert not explanation.verdict.endswith(".")
    assert explanation.advice == ADVICE[code]
    assert bool(explanation.reason) is (code == "OK-RELAYED")


HARD = attrs.evolve(PEER, hostinfo={"NetInfo": {"MappingVariesByDestIP": True}})
CUT_OFF = attrs.evolve(PEER, hostinfo={"NetInfo": {"WorkingUDP": False, "MappingVariesByDestIP": True}})


@pytest.mark.parametrize(
    ("found", "word"),
    [
        ({"only_relays": True, "only_tcp_443": True, "udp": False}, "only-relays"),
        ({"only_tcp_443": True, "udp": False}, "only-tcp-443"),
        ({"knows_disco": False, "udp": False}, "no-disco"),
        ({"udp": False, "hard_nat": True, "candidates": 0}, "udp-blocked"),
        ({"peer": CUT_OFF, "hard_nat": True, "candidates": 0}, "peer-udp-blocked"),
        ({"hard_nat": True, "candidates": 0}, "no-endpoints"),
        ({"peer": HARD, "hard_nat": True}, "hard-nat-both"),
        ({"hard_nat": True}, "hard-nat"),
        ({"peer": HARD, "hard_nat": False}, "peer-hard-nat"),
        ({"udp": True, "hard_nat": False}, "no-pongs"),
        ({}, "no-pongs"),
        ({"peer": attrs.evolve(PEER, hostinfo={"NetInfo": "nonsense"})}, "no-pongs"),
    ],
)
def test_why_a_relay_is_in_the_way(found: dict[str, Any], word: str) -> None:
    assert relayed_because(evidence(port_said=OPEN, **found)) == word
    explanation = judge(evidence(port_said=OPEN, **found))
    assert explanation.reason == word
    assert f"through relay 1 (nyc): {REASONS[word]}" in explanation.verdict


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KeyExpired("it has expired"), "E-SELF-EXPIRED"),
        (NeedsLogin("visit it", "https://login.test"), "E-SELF-LOGIN"),
        (AuthKeyRejected("https://control.test", "it is spent"), "E-SELF-LOGIN"),
        (CredentialRejected("no"), "E-SELF-LOGIN"),
        (NodeRemoved("it is gone"), "E-SELF-REMOVED"),
        (ControlUnreachable("refused"), "E-CONTROL"),
        (UpTimeout("too late"), "E-CONTROL"),
    ],
)
def test_a_node_that_does_not_run(error: RemoteError, code: str) -> None:
    explanation = judge_error("db:80", error, 3.0)
    assert (explanation.code, explanation.target) == (code, "db:80")
    (step,) = explanation.steps
    assert (step.ok, step.seconds) == (False, 3.0)
    assert str(error) in step.found


def test_a_peer_that_relays() -> None:
    explanation = judge(evidence(port_said=OPEN, hard_nat=True, path=PeerPath("192.0.2.9:7777", vni=5)))
    assert (explanation.code, explanation.reason) == ("OK-RELAYED", "hard-nat")
    assert "through the peer relay 192.0.2.9:7777: this node is behind a hard NAT" in explanation.verdict


def test_an_option_that_an_error_names_keeps_the_words_of_its_reader() -> None:
    error = ControlUnreachable(Wording("change ", api("control_url=")))
    explanation = judge_error("db", error, 0.0)
    assert worded(explanation.verdict, {"control_url=": "--control-url"}).endswith("change --control-url")
    assert worded(explanation.steps[0].found, {"control_url=": "--control-url"}) == "no: change --control-url"


def test_an_address_behind_a_subnet_router() -> None:
    from ipaddress import ip_address

    explanation = judge(evidence(host="10.1.2.3", address=ip_address("10.1.2.3"), port_said=OPEN, owner="ann@x.test"))
    assert explanation.steps[1].found == "behind the subnet router db.tailnet.test (10.1.2.3), of ann@x.test"


@pytest.mark.parametrize(
    ("found", "ok", "said"),
    [
        ({"relay": "relay 1 (nyc)", "relay_connected": True}, True, "yes, relay 1 (nyc)"),
        ({"relay": "relay 1 (nyc)", "disco": {RELAY: 0.02}}, True, "yes, relay 1 (nyc)"),
        ({"relay": "relay 1 (nyc)"}, None, "relay 1 (nyc); this node is not connected to it"),
        ({"relay": ""}, None, "it has told of none"),
        ({"relay": "relay 1 (nyc)", "relay_trouble": "it is gone"}, False, "no: it is gone"),
    ],
)
def test_its_relay(found: dict[str, Any], ok: bool | None, said: str) -> None:
    step = next(each for each in judge(evidence(port_said=OPEN, **found)).steps if "relay" in each.question)
    assert (step.ok, step.found) == (ok, said)


@pytest.mark.parametrize(
    ("found", "is_told"), [({"peer": OFFLINE}, True), ({}, True), ({"peer": None}, True), ({"port_said": OPEN}, False)]
)
def test_the_word_of_a_control_that_is_away_may_be_old(found: dict[str, Any], is_told: bool) -> None:
    explanation = judge(evidence(control_listens=False, **found))
    assert explanation.verdict.endswith("control is not connected, so that its word may be old") is is_told
    assert explanation.steps[0].ok is None


def test_an_address_of_nobody() -> None:
    explanation = judge(evidence(host="10.1.2.3", address=ADDRESS, peer=None))
    assert explanation.verdict == f"E-NAME: no node of this tailnet owns {ADDRESS}"


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"disco": {DIRECT: 0.002, PeerPath("192.0.2.3:1"): 0.001}}, "192.0.2.3:1, and at 1 more"),
        ({"path": DIRECT}, DIRECT.address),
        ({}, "at none of the 2 that it may have"),
        ({"only_relays": True}, "none was asked"),
        ({"candidates": 0}, "none was asked"),
    ],
)
def test_at_which_addresses(found: dict[str, Any], said: str) -> None:
    step = next(each for each in judge(evidence(port_said=OPEN, **found)).steps if "addresses" in each.question)
    assert step.found == said

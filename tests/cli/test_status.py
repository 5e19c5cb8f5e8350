from __future__ import annotations

import json
from ipaddress import ip_address

import pytest

import tsnet
from tsnet.cli import main
from tsnet.cli.status import table
from tsnet.engine.peerpath import NO_PATH, PeerPath
from tsnet.status import PeerStatus, Status


def test_the_nodes_of_the_tailnet(shop: tsnet.Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--hostname", "me"]) == 0
    own, other = capsys.readouterr().out.splitlines()
    assert own.split() == ["100.64.0.2", "me", "you@tailnet.test", "-", "this", "node"]
    assert other.split() == ["100.64.0.1", "shop", "you@tailnet.test", "linux", "online"]


def test_as_json(shop: tsnet.Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert status["state"] == "running"
    assert [peer["name"] for peer in status["peers"]] == ["shop"]
    assert status["peers"][0]["addresses"][0] == "100.64.0.1"
    assert status["peers"][0]["path"] == {"address": "", "region": 0, "region_code": "", "vni": 0}


def test_tags_stand_for_the_user_and_what_is_unknown_is_a_dash() -> None:
    def peer(name: str, tags: tuple[str, ...], online: bool | None, path: PeerPath = NO_PATH) -> PeerStatus:
        addresses = (ip_address("100.64.0.9"),) if name != "new" else ()
        return PeerStatus(name, f"{name}.x", addresses, "ann@x", "Ann", tags, online, None, 1, "", (), path)

    status = Status(
        "running",
        "me",
        "https://control",
        name="me",
        addresses=(ip_address("100.64.0.1"),),
        user_login="bob@x",
        peers=(peer("ci", ("tag:ci", "tag:build"), False, PeerPath(region=1)), peer("new", (), None)),
    )
    assert [line.split() for line in table(status).splitlines()] == [
        ["100.64.0.1", "me", "bob@x", "-", "this", "node"],
        ["100.64.0.9", "ci", "tag:ci,tag:build", "-", "offline", "relay", "1"],
        ["-", "new", "ann@x", "-", "-"],
    ]


def test_what_a_node_says_of_itself_cannot_move_the_cursor() -> None:
    evil = "\x1b[2J\x9b\nforged \u202e"
    peer = PeerStatus(evil, evil, (ip_address("100.64.0.9"),), evil, evil, (), True, None, 1, evil, ())
    status = Status("running", "me", "https://control", name=evil, user_login=evil, peers=(peer,))
    lines = table(status).split("\n")
    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)
    assert json.loads(json.dumps({"os": peer.os}))["os"] == evil

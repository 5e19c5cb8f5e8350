from __future__ import annotations

import json
from typing import Any

import pytest

from tests.house import looks_of_a_talker
from tsnet.cli.debugtables import TABLES
from tsnet.config import LOOKS

HOSTILE = "\x1b[31mred\nline"


def hostile(value: Any) -> Any:
    """The same shape, with every text of another machine turned into one that would move a terminal's cursor."""
    if isinstance(value, dict):
        return {name: hostile(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [hostile(inner) for inner in value]
    return HOSTILE if value and isinstance(value, str) else value


@pytest.fixture(scope="module")
def shown() -> dict[str, dict[str, Any]]:
    return looks_of_a_talker()


@pytest.mark.parametrize("what", LOOKS)
def test_no_table_moves_the_cursor_or_begins_a_line(shown: dict[str, dict[str, Any]], what: str) -> None:
    plain, text = TABLES[what](shown[what]), TABLES[what](hostile(json.loads(json.dumps(shown[what]))))
    assert "\x1b" not in text
    assert len(text.split("\n")) == len(plain.split("\n"))


def test_the_netmap(shown: dict[str, dict[str, Any]]) -> None:
    lines = TABLES["netmap"](shown["netmap"]).split("\n")
    assert lines[0].split() == ["Node", "Address", "Who", "System", "Online", "Relay", "Endpoints", "Routes"]
    assert [line.split()[0] for line in lines[1:3]] == ["a", "b"]
    assert "this node" in lines[1]
    assert TABLES["netmap"]({}) == "control has sent no netmap yet"


def test_the_filter(shown: dict[str, dict[str, Any]]) -> None:
    text = TABLES["filter"](shown["filter"])
    assert text.split("\n")[1].split() == ["*", "*:*", "tcp", "udp", "icmp", "-"]
    assert "port 80 by TCP  let in" in text
    closed = {**shown["filter"], "rules": [], "denies_all": True, "skipped": 2, "dropped": {"rule": 3}}
    text = TABLES["filter"]({**closed, "check": {**shown["filter"]["check"], "tcp": False}})
    for line in ("Lets in                                  nothing", "port 80 by TCP  refused", "rule 3"):
        assert line in text
    assert "Not understood" in text


def test_relays(shown: dict[str, dict[str, Any]]) -> None:
    text = TABLES["derp"](shown["derp"])
    assert "900 (home)" in text
    assert "connected" in text
    away = {**shown["derp"]["regions"][0], "connection": None, "latency": None, "trouble": "it is gone"}
    text = TABLES["derp"]({**shown["derp"], "regions": [away], "dropped": {"no-region": 1}})
    for word in ("it is gone", "no-region 1"):
        assert word in text


def test_paths(shown: dict[str, dict[str, Any]]) -> None:
    text = TABLES["paths"](shown["paths"])
    assert "\nb (100.64.0.2): direct " in text
    assert "trusted for" in text
    assert "\n  *  " in text
    peer = shown["paths"]["peers"][0]
    relayed = {**peer, "direct": None, "session": None, "speaks_disco": False}
    lost = {**peer, "direct": {**peer["direct"], "best": None, "is_trusted": False, "why": ""}}
    text = TABLES["paths"]({**shown["paths"], "peers": [relayed, lost]})
    assert "no direct path is looked for: the peer has no disco key" in text
    assert "  direct: none, not trusted" in text


def test_timers(shown: dict[str, dict[str, Any]]) -> None:
    lines = TABLES["timers"](shown["timers"]).split("\n")
    assert lines[0].split() == ["In", "Room", "What", "Peer"]
    assert len(lines) == 1 + len(shown["timers"]["timers"])
    assert TABLES["timers"]({**shown["timers"], "armed": 2000}).split("\n")[-1].startswith("and ")

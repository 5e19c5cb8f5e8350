"""What `debug` shows, through both servers, is what the page says, is plain, and tells no secret."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping
from typing import Any

import anyio
import pytest

import tsnet
from tests.documents import ROOT
from tests.house import House, looks_of_a_talker
from tests.test_tracing import secrets_of
from tsnet.config import LOOKS
from tsnet.edge.io.store import MemoryStore
from tsnet.errors import ConfigError, NotOnTailnet, NotUp
from tsnet.testing.tailnet import Tailnet

PAGE = (ROOT / "docs" / "debugging.md").read_text(encoding="utf-8")
BY_REASON = {"dropped", "dns.routes", "regions[].connection.dropped"}
"""Objects whose names are no part of the contract."""


def entries(value: Any, path: str = "") -> Iterator[str]:
    """The leaves of a shape, as the page writes them."""
    if isinstance(value, Mapping) and path not in BY_REASON:
        for name, inner in value.items():
            yield from entries(inner, f"{path}.{name}".lstrip("."))
    elif isinstance(value, list) and value and isinstance(value[0], Mapping):
        for inner in value:
            yield from entries(inner, f"{path}[]")
    else:
        yield path


def documented(what: str) -> set[str]:
    section = PAGE.partition(f"\n### {what}\n")[2].partition("\n### ")[0]
    cells = re.findall(r"^\| (`.*?) \|", section, re.M)
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


@pytest.fixture(scope="module")
def shown() -> dict[str, dict[str, Any]]:
    return looks_of_a_talker()


@pytest.mark.parametrize("what", LOOKS)
def test_the_page_names_every_entry_and_no_other(shown: dict[str, dict[str, Any]], what: str) -> None:
    found = set(entries(shown[what]))
    if what == "netmap":
        assert {entry.removeprefix("peers[].") for entry in found if entry.startswith("peers[].")} == {
            entry.removeprefix("self.") for entry in found if entry.startswith("self.")
        }
        found = {entry for entry in found if not entry.startswith("peers[].")} | {"peers"}
    if what == "filter":
        found = (found - {"rules[].grants"}) | {"rules[].grants[].to", "rules[].grants[].capabilities"}
    if what == "paths":  # nobody relays here
        assert "peers[].peer_relay" in found
        found -= {"peers[].peer_relay"}
        found |= {entry for entry in documented(what) if entry.startswith("peers[].peer_relay.")}
    assert found == documented(what)


@pytest.mark.parametrize("what", LOOKS)
def test_json_holds_it(shown: dict[str, dict[str, Any]], what: str) -> None:
    assert json.loads(json.dumps(shown[what], allow_nan=False)) == shown[what]


def test_no_secret_is_in_it() -> None:
    """Of a life with relays, sessions, a rotated key, pings of control's, and a login."""
    house = House()
    a, b = house.up("a"), house.up("b", ephemeral=False)
    house.connect(b, a)
    secrets = {"auth key": house.tailnet.auth_key}
    for handle in (a, b):
        for number, key in enumerate(secrets_of(handle.node, set())):
            secrets[f"{type(key).__name__} {number} of {handle!r}"] = key.reveal().hex()
    text = "".join(json.dumps(house.finish(each.look(what, None, 10))()) for each in (a, b) for what in LOOKS)
    assert len(secrets) > 8
    assert len(text) > 5000
    assert {name for name, secret in secrets.items() if secret[:10] in text or secret[-16:] in text} == set()


def test_a_node_that_is_stuck_on_its_way_up_can_be_looked_at() -> None:
    house = House()
    house.tailnet._stop(house.tailnet._control)
    a = house.handle("a")
    joining = a.up(60)
    joining.begin()
    house.run(3)
    assert a.state == "starting"
    for what in LOOKS:
        assert isinstance(house.finish(a.look(what, None, 10))(), dict)
    assert house.finish(a.look("netmap", None, 10))() == {}
    rooms = {timer["room"] for timer in house.finish(a.look("timers", None, 10))()["timers"]}
    assert "control" in rooms
    joining.cancel()


# --- both servers -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tailnet() -> Iterator[Tailnet]:
    with Tailnet() as tailnet:
        yield tailnet


def options(tailnet: Tailnet) -> dict[str, Any]:
    return {
        "control_url": tailnet.control_url,
        "auth_key": tailnet.auth_key,
        "state": MemoryStore(),
        "ephemeral": True,
    }


def test_both_servers_show_the_same(tailnet: Tailnet, caplog: pytest.LogCaptureFixture) -> None:
    async def looked() -> dict[str, Any]:
        async with tsnet.AsyncServer("node", **options(tailnet)) as node:
            return {what: await node.debug(what) for what in LOOKS}

    with tsnet.Server("node", **options(tailnet)) as node:
        blocking = {what: node.debug(what) for what in LOOKS}
    for what, found in anyio.run(looked).items():
        assert found.keys() == blocking[what].keys()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_it_starts_a_node_that_has_not_begun_and_says_that_one_is_over(tailnet: Tailnet) -> None:
    node = tsnet.Server("node", **options(tailnet))
    assert node.debug("netmap")["self"]["name"].startswith("node")
    node.close()
    with pytest.raises(NotUp):
        node.debug("netmap")


def test_what_cannot_be_looked_at_is_an_error_at_once(tailnet: Tailnet) -> None:
    node: Any = tsnet.Server("node", **options(tailnet))
    for what in ("", "path", None, 5):
        with pytest.raises(ConfigError, match="netmap, filter, derp, paths or timers"):
            node.debug(what)
    for check in ("b:80", ("b",), ("b", 80), ("b", "80:"), ("b", ":0"), ("b", ":70000"), ("b", "a", "c"), 5):
        with pytest.raises(ConfigError, match="check="):
            node.debug("filter", check=check)
    with pytest.raises(ConfigError, match="check="):
        node.debug("paths", check=("b", ":80"))
    assert node.status().state == "stopped"


def test_a_check_takes_names_and_addresses(tailnet: Tailnet) -> None:
    with tsnet.Server("node", **options(tailnet)) as node, tsnet.Server("peer", **options(tailnet)) as peer:
        own, other = node.addresses[0], peer.addresses[0]
        wanted = {"source": str(other), "destination": str(own), "port": 80, "tcp": True, "udp": True}
        for check in ((peer.name, ":80"), (str(other), "80"), (peer.fqdn, f"{own}:80"), (peer.name, f"{node.name}:80")):
            assert node.debug("filter", check=check)["check"] == wanted
        with pytest.raises(NotOnTailnet):
            node.debug("filter", check=("nobody", ":80"))

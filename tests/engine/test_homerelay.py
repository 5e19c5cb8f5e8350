"""The remembered relay: its bytes both ways, what is as good as nothing, and starts with it in a simulated world."""

from __future__ import annotations

import json

import anyio
import attrs
import pytest

from tests.virtual import VirtualTailnet
from tsnet.engine.homerelay import HomeRelay, decode_home, encode_home
from tsnet.engine.saved import HOME_RELAY
from tsnet.netmap.model import DerpNode, DerpRegion

URL = "https://control.test"
NODE = DerpNode("5a", 5, "derp5.test", ipv4="10.0.0.5", ipv6="none", derp_port=8443)
REGION = DerpRegion(5, "r5", "Five", nodes=(NODE,))


def test_both_ways() -> None:
    value = encode_home(REGION, URL)
    assert decode_home(value, URL) == REGION
    assert json.loads(value)["derp_map"]["Regions"]["5"]["Nodes"][0]["HostName"] == "derp5.test"


def test_what_is_cut_short_damaged_or_of_another_server_is_none() -> None:
    value = encode_home(REGION, URL)
    assert decode_home(value, "https://other.test") is None
    assert all(decode_home(value[:size], URL) is None for size in range(len(value) - 1))
    fields = json.loads(value)
    for changes in ({"home": 6}, {"home": "5"}, {"derp_map": None}, {"derp_map": {"Regions": None}}, {"version": 2}):
        assert decode_home(json.dumps({**fields, **changes}).encode(), URL) is None


def test_it_is_written_when_it_is_another_one() -> None:
    one = HomeRelay(encode_home(REGION, URL), URL)
    assert one.settled(REGION) is None
    moved = attrs.evolve(REGION, name="moved")
    value = one.settled(moved)
    assert value is not None
    assert decode_home(value, URL) == moved
    assert one.settled(moved) is None
    assert HomeRelay(b"", URL).region is None


async def start_again(virtual: VirtualTailnet) -> None:
    await (await virtual.join("shop")).reachable()
    store = virtual.stores["shop"]
    assert store.read(HOME_RELAY)
    await virtual.crash("shop")


def test_a_home_whose_relay_is_gone_is_replaced() -> None:
    async def main() -> None:
        async with VirtualTailnet() as virtual:
            await start_again(virtual)
            store, url = virtual.stores["shop"], virtual.tailnet.control_url
            store.write(HOME_RELAY, encode_home(REGION, url))  # which control does not know any more
            node = await virtual.join("shop")
            await node.reachable()
            assert decode_home(store.read(HOME_RELAY) or b"", url) != REGION

    anyio.run(main)


@pytest.mark.parametrize("options", [{}, {"auth_key": "tskey-wrong"}])
def test_a_node_that_is_not_let_in_leaves_the_relay_alone(options: dict[str, str]) -> None:
    async def main() -> None:
        async with VirtualTailnet() as virtual:
            await start_again(virtual)
            await virtual.restart_control(keep_state=False, keep_key=True)
            node = virtual.make("shop", **{"auth_key": None, **options})
            with pytest.raises(Exception, match=r"log this node in|auth key"):
                await node.up(timeout=30)
            assert not node._handle.pump.node.relays.clients
            assert node._handle.pump.node.home.region == 0

    anyio.run(main)

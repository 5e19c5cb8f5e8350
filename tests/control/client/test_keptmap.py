"""A netmap comes back as it was, but for what is of the moment; anything else is refused."""

from __future__ import annotations

import random
from typing import Any

import attrs
import pytest

from tests.control.scripted import NODE_KEY, SELF
from tests.test_deltas import any_rules, whole
from tsnet.base.malformed import MalformedError
from tsnet.base.steps import finish
from tsnet.control.client import keptmap
from tsnet.control.client.keptmap import KeptMap, body_of, decode_kept, encode_kept
from tsnet.control.gojson import ZERO_TIME
from tsnet.control.mapframes import encode_frame
from tsnet.netmap import limits
from tsnet.netmap.merge import MapUpdate, begin
from tsnet.netmap.model import DerpMap, DerpNode, DerpRegion, FilterRule, NetMap, Node

URL, AT = "https://control.example", 1_790_000_000.0


def kept(netmap: NetMap) -> KeptMap:
    return KeptMap(netmap, URL, NODE_KEY, AT)


def again(netmap: NetMap) -> NetMap:
    found: KeptMap = finish(decode_kept(finish(encode_kept(kept(netmap)))))
    assert (found.control_url, found.node_key, found.saved_at) == (URL, NODE_KEY, AT)
    return found.netmap


def of_node(node: Node) -> Node:
    allowed = node.raw_addresses if node.unsigned_peer_api_only else node.raw_allowed_ips
    return attrs.evolve(node, online=None, last_seen=None, created=node.created or ZERO_TIME, allowed_ips=allowed)


def lasting(netmap: NetMap) -> dict[str, Any]:
    """What of it is to come back."""
    fields = {
        field.name: getattr(netmap, field.name) for field in attrs.fields(NetMap) if field.name not in OF_THE_MOMENT
    }
    peers = {number: of_node(peer) for number, peer in netmap.peers.items()}
    rules = netmap.packet_filter and set(netmap.packet_filter)
    own, users = of_node(netmap.self_node), dict(netmap.users)
    return {**fields, "self_node": own, "peers": peers, "users": users, "packet_filter": rules}


OF_THE_MOMENT = {"health", "display_messages", "control_time", "named_filters", "is_locked"}


@pytest.mark.parametrize("seed", range(20))
def test_any_netmap_comes_back(seed: int) -> None:
    chance = random.Random(seed)
    update = attrs.evolve(
        whole(chance), node=attrs.evolve(SELF, capabilities={"a": ({"b": 1},)}, home_region=900), domain="tail.example"
    )
    netmap = begin(None, update, AT)
    assert lasting(again(netmap)) == lasting(netmap)


def test_what_is_of_the_moment_makes_no_difference() -> None:
    one = begin(None, MapUpdate(node=SELF, peers=(attrs.evolve(SELF, id=2, online=True, last_seen=AT),)), AT)
    other = attrs.evolve(
        one, health=("bad",), control_time=AT, peers={2: attrs.evolve(one.peers[2], online=False, last_seen=None)}
    )
    first, second = finish(encode_kept(kept(one))), finish(encode_kept(attrs.evolve(kept(other), saved_at=AT + 9)))
    assert first != second
    assert body_of(first) == body_of(second)


@pytest.mark.parametrize("named", [None, {}, {"base": ()}, {"base": any_rules(random.Random(3)), "x": ()}])
def test_no_filter_stays_none_and_an_empty_one_stays_empty(named: Any) -> None:
    rules = None if named is None else tuple(rule for name in sorted(named) for rule in named[name])
    found = again(NetMap(SELF, named_filters=named, packet_filter=rules)).packet_filter
    assert found == rules


def test_relays_come_back() -> None:
    region = DerpRegion(900, "a", "A", nodes=(DerpNode("900a", 900, "relay.example", derp_port=8443),))
    relays = DerpMap({900: region}, {900: 0.5}, True)
    assert again(NetMap(SELF, derp_map=relays)).derp_map == relays


def test_a_large_one_is_made_and_read_in_many_steps() -> None:
    peers = tuple(attrs.evolve(SELF, id=number, stable_id=f"n{number}") for number in range(2, 602))
    rules = tuple(FilterRule((f"100.64.{number >> 8}.{number & 255}",)) for number in range(1200))
    netmap = begin(None, MapUpdate(node=SELF, peers=peers, packet_filter=rules), AT)
    assert sum(1 for _ in encode_kept(kept(netmap))) == 1 + 5 + 3
    data = finish(encode_kept(kept(netmap)))
    assert len(data) < 30_000
    assert sum(1 for _ in decode_kept(data)) >= 7
    assert lasting(again(netmap)) == lasting(netmap)


def test_one_that_is_too_large_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keptmap, "MAX_KEPT", 2000)
    peers = tuple(Node(n, f"n{n}", f"{random.Random(n).randbytes(40).hex()}.x", NODE_KEY) for n in range(2, 200))
    with pytest.raises(MalformedError, match="more than"):
        finish(encode_kept(kept(begin(None, MapUpdate(node=SELF, peers=peers), AT))))


GOOD = finish(encode_kept(kept(NetMap(SELF))))
HEAD, _, BODY = GOOD.partition(b"\n")


def with_body(body: bytes) -> bytes:
    return HEAD.replace(f'"size":{len(BODY)}'.encode(), f'"size":{len(body)}'.encode()) + b"\n" + body


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"{}\n" + BODY,
        HEAD.replace(b'"version":1', b'"version":2') + b"\n" + BODY,
        HEAD.replace(NODE_KEY.text().encode(), b"nodekey:00") + b"\n" + BODY,
        HEAD + b"\n",
        HEAD,
        with_body(encode_frame(b'{"Domain":"x"}', compress=True)),
        with_body(encode_frame(b"[]", compress=True)),
        with_body(b"\xff\xff\xff\xff"),
        GOOD[:-1],
        GOOD + b"0",
        with_body(BODY + bytes(keptmap.MAX_KEPT)),
    ],
)
def test_what_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        finish(decode_kept(data))


def test_damaged_anywhere_it_is_refused_or_read() -> None:
    chance = random.Random(7)
    for at in chance.sample(range(len(GOOD)), 120):
        damaged = bytearray(GOOD)
        damaged[at] ^= 1 << chance.randrange(8)
        for data in (bytes(damaged), GOOD[:at]):
            try:
                finish(decode_kept(data))
            except MalformedError:
                continue


def test_a_small_file_cannot_become_much_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is weighed message by message, not when all of it is there."""
    peers = tuple(Node(number, f"n{number}", f"n{number}.x", NODE_KEY) for number in range(2, 1002))
    data = finish(encode_kept(kept(begin(None, MapUpdate(node=SELF, peers=peers), AT))))
    all_steps = sum(1 for _ in decode_kept(data))
    monkeypatch.setattr(limits, "MAX_PEERS", 300)
    steps, taken = decode_kept(data), list[None]()
    with pytest.raises(MalformedError, match="peers"):
        taken.extend(steps)
    assert len(taken) < all_steps / 2

"""The estimate beside what decoding really makes, as tracemalloc sees it."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest

from tests.attacks.bombs import KEY, tailnet
from tsnet.base.jsonpieces import Members, Plan
from tsnet.control import messages
from tsnet.control.gojson import mapping, objects
from tsnet.control.mapsize import OF_ELEMENTS, decoded_size
from tsnet.control.messages import MADE_BUDGET, MAP_BUDGET
from tsnet.netmap.merge import MapUpdate

COUNT = 300
NODE: dict[str, Any] = {"ID": 1, "Key": KEY}

MESSAGES: dict[str, dict[str, Any]] = {
    "peers": {"Peers": [{"ID": number, "Key": f"nodekey:{number:064x}"} for number in range(1, COUNT)]},
    "routes": {"Node": {**NODE, "AllowedIPs": [f"fd7a::{number:x}/128" for number in range(COUNT)]}},
    "addresses": {"Node": {**NODE, "Addresses": [f"fd7a::{number:x}/128" for number in range(COUNT)]}},
    "endpoints": {"Node": {**NODE, "Endpoints": [f"[fd7a::{number:x}]:41641" for number in range(COUNT)]}},
    "rules": {"PacketFilter": [{"SrcIPs": ["*"]} for _ in range(COUNT)]},
    "destinations": {
        "PacketFilter": [{"DstPorts": [{"IP": "*", "Ports": {"First": 1, "Last": n}} for n in range(COUNT)]}]
    },
    "grants": {"PacketFilters": {"a": [{"CapGrant": [{"Dsts": [f"fd7a::{n:x}/128"]} for n in range(COUNT)]}]}},
    "users": {"UserProfiles": [{"ID": number, "LoginName": "a"} for number in range(1000, 1000 + COUNT)]},
    "patches": {
        "PeersChangedPatch": [{"NodeID": number, "Endpoints": ["[::1]:1"]} for number in range(1000, 1000 + COUNT)]
    },
    "online": {"OnlineChange": {str(number): True for number in range(1000, 1000 + COUNT)}},
    "relays": {"DERPMap": {"Regions": {str(n): {"Nodes": [{"Name": "a"}, {"Name": "b"}]} for n in range(1, COUNT)}}},
    "resolvers": {
        "DNSConfig": {"Routes": {f"{n}.": [{"BootstrapResolution": [f"fd7a::{n:x}"]}] for n in range(COUNT)}}
    },
    "records": {"DNSConfig": {"ExtraRecords": [{"Name": "a", "Value": "b"} for _ in range(COUNT)]}},
    "a tailnet": {"Peers": [{**peer, "Hostinfo": {}} for peer in json.loads(tailnet(COUNT))["Peers"]]},
}


def estimated(fields: dict[str, Any]) -> int:
    lists = [(size, fields.get(name)) for name, size in OF_ELEMENTS.items() if name != "PacketFilters"]
    lists += [(OF_ELEMENTS["PacketFilters"], rules) for rules in mapping(fields.get("PacketFilters")).values()]
    return decoded_size(fields) + sum(size(element) for size, found in lists for element in objects(found))


def planned(plan: Plan | None, value: Any) -> Any:
    """What `parse_in_pieces` makes of a value that is there already."""
    if isinstance(plan, Members):
        return {name: planned(plan.plan, item) for name, item in value.items()}
    return list(map(plan.make, value)) if plan is not None else value


def made(fields: dict[str, Any]) -> int:
    """What the values of a message take, while its JSON stays."""
    plans = messages._Making().plans

    def decode() -> MapUpdate:
        return messages._decode_update({name: planned(plans.get(name), value) for name, value in fields.items()})

    decode()  # what a class makes with its first value is no part of a message
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        update = decode()
        size = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert update != MapUpdate()
    return size


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_makes_no_more_than_the_estimate(name: str) -> None:
    fields = json.loads(json.dumps(MESSAGES[name]))
    assert 0.9 * made(fields) <= estimated(fields)


def test_a_map_of_ten_thousand_peers_is_within_both_budgets() -> None:
    """Both grow with the number of peers alone."""
    from tsnet.base import jsonsize

    document = tailnet(500)
    assert 20 * jsonsize.built_size(document, MAP_BUDGET // 20) < 0.9 * MAP_BUDGET
    assert 20 * estimated(json.loads(document)) < 0.9 * MADE_BUDGET


@pytest.mark.parametrize("fields", [{}, {"Peers": 1, "DERPMap": [], "PacketFilter": {}, "DNSConfig": "x", "Node": []}])
def test_what_is_not_as_it_should_be_makes_nothing(fields: dict[str, Any]) -> None:
    assert estimated(fields) <= 2000

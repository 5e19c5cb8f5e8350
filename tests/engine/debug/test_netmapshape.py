from __future__ import annotations

import attrs

from tests.engine.pair import netmap, node
from tsnet.engine.debug.netmapshape import netmap_shape
from tsnet.netmap.model import DerpMap, DerpNode, DerpRegion, DnsConfig, DnsRecord, Resolver, UserProfile


def test_nothing_before_the_first_netmap() -> None:
    assert netmap_shape(None) == {}


def test_what_control_has_told() -> None:
    own = attrs.evolve(node(1, "me"), user=7, capabilities={"silent-disco": (), "a": ()})
    peers = [attrs.evolve(node(number, name), tags=("tag:x",)) for number, name in ((2, "zoe"), (3, "adam"))]
    relay = DerpNode("1a", 1, "derp.test", ipv4="192.0.2.1", stun_port=3478)
    told = attrs.evolve(
        netmap(own, *peers, rules=None),
        users={7: UserProfile(7, "ann@x")},
        derp_map=DerpMap({1: DerpRegion(1, "nyc", "New York", no_measure_no_home=True, nodes=(relay,))}),
        dns=DnsConfig(
            resolvers=(Resolver("192.0.2.53"),),
            routes={"corp": (Resolver("10.0.0.53"),)},
            domains=("x.test",),
            proxied=True,
            extra_records=(DnsRecord("a.x.test", "A", "100.64.0.9"),),
        ),
        domain="x.test",
        health=("a fault",),
    )
    shape = netmap_shape(told)
    assert (shape["domain"], shape["users"], shape["rules"], shape["health"]) == ("x.test", 1, None, ["a fault"])
    assert shape["attributes"] == ["a", "silent-disco"]
    assert shape["self"]["user"] == "ann@x"
    assert [peer["name"].partition(".")[0] for peer in shape["peers"]] == ["adam", "zoe"]
    assert shape["peers"][0]["key"] == str(peers[1].key)
    assert shape["peers"][0]["tags"] == ["tag:x"]
    assert shape["dns"]["routes"] == {"corp": ["10.0.0.53"]}
    assert shape["dns"]["extra_records"] == [{"name": "a.x.test", "type": "A", "value": "100.64.0.9"}]
    (region,) = shape["derp_map"]
    assert (region["code"], region["may_be_home"], region["nodes"][0]["host"]) == ("nyc", False, "derp.test")

"""A large message prepared by a worker makes the netmap that it makes without one."""

from __future__ import annotations

import json

import pytest
from backports import zstd

from tests.attacks.bombs import tailnet
from tests.control.scripted import DISCO_KEY, WALL
from tsnet.base.malformed import MalformedError
from tsnet.base.steps import finish
from tsnet.control.client.mapjob import prepare_map
from tsnet.control.client.mapsession import MapSession
from tsnet.control.messages import MapResponse, decode_map
from tsnet.netmap.filterrules import _of_network
from tsnet.netmap.limits import Scale
from tsnet.netmap.merge import begin
from tsnet.netmap.model import NetMap

NOW = 1000.0


def made_by(response: MapResponse, last: NetMap | None = None) -> NetMap:
    return begin(last, response.update, NOW)


def test_it_makes_the_same_netmap() -> None:
    document = tailnet(30, rules=20)
    response = finish(prepare_map((zstd.compress(document), None)))
    assert response == decode_map(document)
    assert made_by(response) == made_by(decode_map(document))


def test_peers_and_rules_that_are_as_before_are_the_same_objects() -> None:
    last = made_by(decode_map(tailnet(30, rules=20)))
    whole = json.loads(tailnet(30, rules=20))
    whole["Peers"][3]["HomeDERP"] = 77
    whole["PacketFilter"][4]["SrcIPs"] = ["*"]
    response = finish(prepare_map((json.dumps(whole).encode(), last)))
    peers = {peer.id: peer for peer in response.update.peers}
    changed = whole["Peers"][3]["ID"]
    assert [number for number, peer in last.peers.items() if peers[number] is not peer] == [changed]
    rules = response.update.packet_filter
    assert rules is not None
    assert last.packet_filter is not None
    pairs = zip(rules, last.packet_filter, strict=True)
    assert [number for number, (new, old) in enumerate(pairs) if new is not old] == [4]
    assert made_by(response, last) == made_by(decode_map(json.dumps(whole).encode()), last)


def test_its_peers_are_weighed() -> None:
    response = finish(prepare_map((tailnet(30), None)))
    weighed, told = Scale(), Scale()
    weighed.put(made_by(response))
    told.put(made_by(response), response.peers_weight)
    assert told.weight == weighed.weight
    assert finish(prepare_map((b'{"Domain":"d"}', None))).peers_weight is None


def test_the_texts_of_its_rules_are_parsed() -> None:
    rule = {"SrcIPs": ["100.99.98.97", "no address", "cap:x"], "DstPorts": [{"IP": "100.99.98.96"}]}
    finish(prepare_map((json.dumps({"PacketFilters": {"a": [rule], "b": None}}).encode(), None)))
    hits = _of_network.cache_info().hits
    _of_network("100.99.98.97"), _of_network("100.99.98.96")
    assert _of_network.cache_info().hits == hits + 2


@pytest.mark.parametrize("message", [b"no JSON", b"\x28\xb5\x2f\xfd\x00\x58", b"[]"])
def test_a_bad_message_is_malformed(message: bytes) -> None:
    with pytest.raises(MalformedError):
        finish(prepare_map((message, None)))


def test_a_session_takes_it() -> None:
    session = MapSession(DISCO_KEY, WALL - NOW)
    for document in (tailnet(20), tailnet(20, HomeDERP=9), tailnet(15, first=30)):
        response = finish(prepare_map((document, session.netmap)))
        session.begin()
        session.apply(response.update, NOW, response.peers_weight)
        assert session.netmap == made_by(decode_map(document))

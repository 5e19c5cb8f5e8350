"""A control server that means harm, by name: what it says is refused, or harms nobody but its own tailnet's names.

    a good map ─► the case ─► the node lives: an innocent peer keeps its address, nobody has ours, no more is routed
                          └─► a good map is taken again

REFUSED: the message costs the stream, the map before it stays, and health says why. HARMLESS: what else it says is
taken. What needs much memory is in `test_bombs`, what comes without end in `test_floods`, damaged bytes in `test_fuzz`.
"""

from __future__ import annotations

import json
from ipaddress import ip_address
from random import Random
from typing import Any

import pytest

from tests import fuzzing
from tests.control.scripted import DISCO_KEY, NODE_KEY, Scripted
from tests.engine.alone import NOW, bare
from tsnet.base.keys import NodeKey
from tsnet.control.client import facts
from tsnet.control.client import facts as told
from tsnet.control.mapframes import encode_frame
from tsnet.engine.node import Node

OURS, INNOCENT = "100.64.0.1", "100.64.0.2"
INNOCENT_KEY = NodeKey(b"\x08" * 32)
EVIL_KEY = NodeKey(b"\x09" * 32)


def described(number: int, name: str, key: NodeKey, address: str, **more: Any) -> dict[str, Any]:
    disco = f"discokey:{number:064x}"
    prefixes = [f"{address}/32"]
    fields = {"ID": number, "StableID": f"n{number}", "Name": f"{name}.tail.example.", "Key": key.text(), "User": 1}
    return fields | {"DiscoKey": disco, "Addresses": prefixes, "AllowedIPs": prefixes, **more}


US = described(1, "us", NODE_KEY, OURS, DiscoKey=DISCO_KEY.text(), MachineAuthorized=True)
FRIEND = described(2, "friend", INNOCENT_KEY, INNOCENT)
ANYBODY = [{"SrcIPs": ["*"], "DstPorts": [{"IP": "*", "Ports": {"First": 0, "Last": 65535}}]}]
GOOD = {"Node": US, "Peers": [FRIEND], "PacketFilter": ANYBODY, "Domain": "tail.example"}


def evil(**more: Any) -> dict[str, Any]:
    return described(9, "evil", EVIL_KEY, "100.64.0.9", **more)


def joins(**more: Any) -> dict[str, Any]:
    """Another peer joins, with these fields."""
    return {"PeersChanged": [evil(**more)]}


def nested(depth: int) -> bytes:
    return b'{"Node":' + b'{"a":' * depth + b"1" + b"}" * depth + b"}"


REFUSED: dict[str, bytes] = {
    "a length of 4 GiB": b"\xff\xff\xff\xff",
    "a length of 64 MiB": (64 << 20).to_bytes(4, "little"),
    "a message of nothing": bytes(4),
    "no JSON": encode_frame(b"hello", compress=False),
    "a list": encode_frame(b"[]", compress=False),
    "a number": encode_frame(b"7", compress=True),
    "half a message": encode_frame(b'{"Domain":"ev', compress=True),
    "a zstd frame that does not tell its size": encode_frame(b"\x28\xb5\x2f\xfd\x00\x58", compress=False),
    "a zstd frame of rubbish": encode_frame(b"\x28\xb5\x2f\xfd\x20\x05" + b"\xff" * 9, compress=False),
    "deep nesting": encode_frame(nested(65), compress=True),
    "very deep nesting": encode_frame(nested(20_000), compress=True),
    "no UTF-8": encode_frame(b'{"Domain":"\xff\xfe"}', compress=True),
    "a number of a million digits": encode_frame(
        b'{"Debug":{"SleepSeconds":' + b"9" * (1 << 20) + b"}}", compress=True
    ),
}

HARMLESS: dict[str, dict[str, Any]] = {
    "wrong types everywhere": {
        "Peers": "all", "PeersChanged": {"a": 1}, "PeersRemoved": "2", "OnlineChange": [1], "DNSConfig": 7,
        "DERPMap": [], "UserProfiles": 3, "PacketFilters": [], "Health": 9, "DisplayMessages": [], "ControlTime": {},
        "PingRequest": [], "Debug": "x", "Domain": 4, "PeersChangedPatch": "no", "PeerSeenChange": 0,
    },
    "lists of wrong types": {"PeersChanged": [1, None, "x", []], "PeersRemoved": [None, "x", {}], "UserProfiles": [7]},
    "unknown fields": {"Evil": {"rm": "-rf"}, "Node": {**US, "NewField": [1]}},
    "a peer with our address": joins(Addresses=[f"{OURS}/32"], AllowedIPs=[f"{OURS}/32"]),
    "a peer that routes everything": joins(AllowedIPs=["100.64.0.9/32", "0.0.0.0/0", "::/0"]),
    "a peer that routes our address": joins(AllowedIPs=["100.64.0.9/32", f"{OURS}/32"]),
    "a peer that routes the whole tailnet": joins(AllowedIPs=["100.64.0.9/32", "100.64.0.0/10"]),
    "a peer that routes loopback and metadata": joins(AllowedIPs=["127.0.0.0/8", "169.254.169.254/32", "10.0.0.0/8"]),
    "a peer with the innocent's address": joins(Addresses=[f"{INNOCENT}/32"], AllowedIPs=[f"{INNOCENT}/32"]),
    "a peer that routes the innocent's address": joins(AllowedIPs=["100.64.0.9/32", f"{INNOCENT}/32"]),
    "a peer with an address of the local network": joins(Addresses=["192.168.1.1/32"], AllowedIPs=["10.0.0.1/32"]),
    "ten thousand endpoints": joins(Endpoints=[f"198.51.{n // 256}.{n % 256}:9" for n in range(10_000)]),
    "a peer with our key": joins(Key=NODE_KEY.text()),
    "a peer with a key of zeros": joins(Key=NodeKey.zero().text()),
    "a peer without a key": joins(Key=""),
    "a peer with a key that is too short": joins(Key="nodekey:00"),
    "a peer of a negative number": joins(ID=-9),
    "a peer of a huge number": joins(ID=1 << 70),
    "one number for two peers": {"PeersChanged": [evil(), evil(Name="other.tail.example.")]},
    "endpoints nowhere": joins(Endpoints=["0.0.0.0:0", "255.255.255.255:1", "[::]:1", "x", "1.2.3.4:99999", "", None]),
    "endpoints on this machine": joins(Endpoints=["127.0.0.1:1", "[::1]:1", "169.254.169.254:80"]),
    "times that are none": joins(KeyExpiry="9999-99-99T99:99:99Z", LastSeen="yesterday", Created="0000-00-00"),
    "a home that is no region": joins(HomeDERP=-5, DERP="127.3.3.40:99999999999999"),
    "a name of a mile": joins(Name="a" * 100_000 + "."),
    "a name that is no name": joins(Name="\u0000\n\u001b[2J/../.."),
    "capabilities of any kind": joins(CapMap={"x": "y", "z": {"a": 1}, "": None}),
    "patches of nobody": {"PeersChangedPatch": [{"NodeID": 77, "Key": EVIL_KEY.text()}, {"NodeID": None}, {}]},
    "a filter of nonsense": {"PacketFilters": {"evil": [{"SrcIPs": ["1.2.3.4/99", "b-a", "cap:", 5, None],
                                                        "DstPorts": [{"IP": "x", "Ports": {"First": 9, "Last": -1}}],
                                                        "IPProto": [-1, 999, "tcp"]}]}},
    "relays of nonsense": {"DERPMap": {"Regions": {"x": {}, "-1": None, "7": {"Nodes": [None, {"DERPPort": -1}]}}}},
    "DNS of nonsense": {"DNSConfig": {"Resolvers": [7, {"Addr": []}], "Routes": {"": None, "x": 3},
                                      "ExtraRecords": [{"Name": "friend", "Value": "not an address"}, None]}},
    "clocks from 1970 and 9999": {"ControlTime": "9999-12-31T23:59:59Z"},
    "messages of nonsense": {"DisplayMessages": {"a": {"Title": {}, "Severity": 7, "PrimaryAction": []}, "": {}}},
    "an exit": {"Debug": {"Exit": 7, "SleepSeconds": -1}},
    "a page of another scheme": {"PopBrowserURL": "file:///etc/passwd"},
    "users of nonsense": {"UserProfiles": [{"ID": 1, "LoginName": "\u001b]0;root\u0007"}, {"ID": "x"}]},
}  # fmt: skip


class Scene:
    """A client of a control server that does what the test says, and the node that takes what it tells."""

    def __init__(self) -> None:
        self.control = Scripted()
        self.client = self.control.client(auth_key="key")
        self.control.run()
        self.node: Node = bare()
        self.control.answer("register", b'{"MachineAuthorized":true,"Login":{"ID":1,"LoginName":"u@example.com"}}')
        self.say(GOOD)

    def say(self, document: dict[str, Any]) -> None:
        self.control.send(encode_frame(json.dumps(document).encode(), compress=True))
        self.pass_on()

    def pass_on(self) -> None:
        """The node is given the netmaps, and has as many turns as it takes."""
        for netmap in self.control.told(facts.NetMapChanged):
            self.node.word.tell(told.NetMapChanged(netmap.netmap), NOW)
            while self.node.word.has_more:
                self.node.word.adopt(NOW)
        self.control.facts.clear()
        self.node.take_facts()
        self.node.transmit(NOW, 1 << 20)
        assert self.client.deadline() > self.control.now

    def route(self, address: str) -> bytes | None:
        return self.node.engine.egress.routes.lookup(ip_address(address).packed)

    def check(self) -> None:
        """The innocent are as they were, and nothing has gone where nobody asked for it."""
        assert self.route(INNOCENT) == INNOCENT_KEY
        assert self.node.view is not None
        assert self.node.view.netmap.self_node.ips == (ip_address(OURS),)
        assert ip_address(INNOCENT) in self.node.view.names.resolve("friend")
        for elsewhere in (OURS, "8.8.8.8", "10.0.0.1", "127.0.0.1", "169.254.169.254", "192.168.1.1", "100.100.1.1"):
            assert self.route(elsewhere) is None, elsewhere
        ours = self.node.view.whois.peer(ip_address(OURS))
        assert ours is not None
        assert ours.name.startswith("us"), "nobody is taken for this node"
        peer = self.node.view.whois.peer(ip_address(INNOCENT))
        assert peer is not None
        assert peer.name.startswith("friend")

    def recovers(self) -> None:
        for _ in range(40):
            if self.control.waits("poll"):
                break
            self.control.wind(10.0)
        self.say({**GOOD, "Domain": "again.example"})
        assert self.node.view is not None
        assert self.node.view.netmap.domain == "again.example"
        self.check()


@pytest.mark.parametrize("name", REFUSED)
def test_a_message_that_is_refused(name: str) -> None:
    scene = Scene()
    scene.control.send(REFUSED[name])
    assert scene.client.dropped == {"map-refused": 1}
    (health,) = scene.control.told(facts.MapHealth)
    assert "the map before it stays" in health.message
    assert health.message.isprintable()
    scene.pass_on()
    scene.check()
    scene.recovers()


@pytest.mark.parametrize("name", HARMLESS)
def test_a_message_that_harms_nobody(name: str) -> None:
    scene = Scene()
    scene.say({**HARMLESS[name], "Domain": "taken.example"} if name != "wrong types everywhere" else HARMLESS[name])
    scene.check()
    if "map-refused" not in scene.client.dropped and name != "wrong types everywhere":
        assert scene.node.view is not None
        assert scene.node.view.netmap.domain == "taken.example"
    scene.recovers()


def mutations(scene: Scene, seed: int, rounds: int) -> int:
    """How many damaged messages were taken."""
    chance, taken = Random(seed), 0
    samples = [json.dumps(case).encode() for case in (*HARMLESS.values(), joins())]
    for _ in range(rounds):
        before = scene.client.dropped["map-refused"]
        document = fuzzing.mutated(chance.choice(samples), chance)
        scene.control.send(encode_frame(document, compress=bool(chance.getrandbits(1))))
        scene.pass_on()
        taken += scene.client.dropped["map-refused"] == before
        while not scene.control.waits("poll"):
            scene.control.wind(31.0)
        if scene.client.dropped["map-refused"] != before:
            scene.say(GOOD)
    return taken


def test_messages_that_are_damaged() -> None:
    scene = Scene()
    assert mutations(scene, 1, 60) > 0
    scene.recovers()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(2, 10))
def test_many_messages_that_are_damaged(seed: int) -> None:
    """A control server of its own for each sixty: the double of one counts how often it is left."""
    taken = 0
    for part in range(20):
        scene = Scene()
        taken += mutations(scene, 100 * seed + part, 60)
        scene.recovers()
    assert taken > 0

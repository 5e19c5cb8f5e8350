"""Every door that bytes from the network come in by, under thousands of damaged messages: nothing escapes from it.

What comes is counted, or ends its connection; a decoder raises MalformedError and nothing else, and what is kept
stays within its bounds. Every case follows from its seed.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Callable
from ipaddress import ip_address
from random import Random
from typing import Any

import pytest

from tests import fuzzing
from tests.control import joined as control_joined
from tests.control import scripted as control_scripted
from tests.derp import joined as derp_joined
from tests.derp import scripted as derp_scripted
from tests.netmap.packets import icmp, ip, tcp, udp
from tests.wireguard.pair import Pair
from tsnet.base import jsonobject
from tsnet.base.addresses import DerpAddress, UdpAddress
from tsnet.base.crypto import box_seal, disco_public, machine_public
from tsnet.base.keys import ChallengeKey, DiscoKey, DiscoPrivateKey, MachinePrivateKey, NodeKey
from tsnet.base.links import Accepted, Data, Link, Received
from tsnet.base.malformed import MalformedError
from tsnet.base.timetable import SPARE
from tsnet.control import mapframes, messages
from tsnet.control.client import c2n
from tsnet.control.client.address import ControlAddress
from tsnet.control.client.mapsession import MapSession
from tsnet.control.client.pings import Pings
from tsnet.control.http import HttpClient, HttpServer
from tsnet.control.transport import Initiator, Responder, early_payload
from tsnet.control.upgrade import Answering, upgrade_request
from tsnet.derp import frames, login
from tsnet.derp.facts import Disconnected
from tsnet.derp.upgrade import encode_request
from tsnet.disco import geneve
from tsnet.disco import messages as disco
from tsnet.disco.paths import Paths
from tsnet.disco.peerrelays import RELAY_CAPABLE
from tsnet.edge.io import netlink, proxy
from tsnet.engine import saved
from tsnet.engine.identity import new_identity
from tsnet.http1.asking import Asking
from tsnet.netcheck import stun
from tsnet.netmap.changes import Changes
from tsnet.netmap.model import Node
from tsnet.netmap.names import Names
from tsnet.netmap.packetfilter import PacketFilter
from tsnet.netmap.whois import Whois

NOW = 1000.0
PEER_KEY = NodeKey(b"\2" * 32)
CONTROL = MachinePrivateKey(b"\x22" * 32)
MACHINE = MachinePrivateKey(b"\x11" * 32)

NODE = {
    "ID": 1,
    "StableID": "n1",
    "Name": "shop.example.",
    "User": 1,
    "Key": control_scripted.NODE_KEY.text(),
    "DiscoKey": control_scripted.DISCO_KEY.text(),
    "Addresses": ["100.64.0.1/32", "fd7a:115c:a1e0::1/128"],
    "KeyExpiry": "2030-01-01T00:00:00Z",
}
PEER = {
    **NODE,
    "ID": 2,
    "Name": "db.example.",
    "Key": PEER_KEY.text(),
    "DiscoKey": DiscoKey(b"\3" * 32).text(),
    "Addresses": ["100.64.0.2/32"],
    "AllowedIPs": ["100.64.0.2/32", "10.0.0.0/8"],
    "Endpoints": ["192.0.2.1:41641", "[2001:db8::1]:41641"],
    "HomeDERP": 900,
    "Hostinfo": {"OS": "linux", "Services": [{"Proto": "tcp", "Port": 80}], "RoutableIPs": ["10.0.0.0/8"]},
    "Tags": ["tag:db"],
    "LastSeen": "2020-01-01T00:00:00.123456789Z",
    "Online": True,
    "CapMap": {"cap": [{"x": 1}], "none": None},
}
MAP: dict[str, Any] = {
    "Node": NODE,
    "Peers": [PEER],
    "PeersChanged": [PEER],
    "PeersRemoved": [3],
    "PeerSeenChange": {"2": True},
    "OnlineChange": {"2": False},
    "PeersChangedPatch": [{"NodeID": 2, "DERPRegion": 1, "Cap": 2, "Endpoints": ["192.0.2.2:1"], "KeyExpiry": None}],
    "UserProfiles": [{"ID": 1, "LoginName": "u@example.com", "DisplayName": "U"}],
    "DERPMap": {
        "Regions": {"900": {"RegionID": 900, "Nodes": [{"Name": "900a", "HostName": "relay", "DERPPort": 443}]}},
        "HomeParams": {"RegionScore": {"900": 0.5}},
    },
    "PacketFilter": [
        {"SrcIPs": ["*", "100.64.0.0-100.64.0.9"], "DstPorts": [{"IP": "*", "Ports": {"First": 0, "Last": 65535}}]},
        {"SrcIPs": ["cap:cap"], "IPProto": [6], "CapGrant": [{"Dsts": ["100.64.0.1/32"], "CapMap": {"a": [1]}}]},
    ],
    "PacketFilters": {"more": [], "*": None},
    "DNSConfig": {"Domains": ["example"], "ExtraRecords": [{"Name": "a.example", "Value": "100.64.0.9"}]},
    "Domain": "example",
    "Health": ["ill"],
    "DisplayMessages": {"m": {"Title": "t"}},
    "ControlTime": "2026-01-01T00:00:00Z",
    "Debug": {"SleepSeconds": 1.5},
    "PingRequest": {"URL": "https://control.example:8443/ping", "Types": "c2n", "Payload": "R0VUIC8gSFRUUC8xLjENCg0K"},
}


@contextlib.contextmanager
def only_malformed() -> Any:
    with contextlib.suppress(MalformedError):
        yield


# --- WireGuard and disco ----------------------------------------------------------------------------------------


def test_a_wireguard_device() -> None:
    pair = Pair()
    pair.send(pair.a, b"x" * 100)
    pair.run(pair.now + 0.1)
    samples = [datagram for _at, _name, datagram in pair.log]
    device = pair.b.device
    for number, datagram in enumerate(fuzzing.bad_bytes(samples, seed=1)):
        source = UdpAddress("198.51.100.7", number % 60_000) if number % 2 else DerpAddress(1, PEER_KEY)
        pair.now += 0.01
        pair.inject(pair.b, source, datagram, datagram)
        pair.turn(pair.b)
    assert len(device._indices.owners) <= 4  # as many as one peer can have
    assert sum(device.dropped.values()) > 2 * fuzzing.ROUNDS * 0.8
    assert pair.b.received == [b"x" * 100 + bytes(12)]


def test_disco_paths() -> None:
    ours, theirs = DiscoPrivateKey(b"\5" * 32), DiscoPrivateKey(b"\6" * 32)
    chance = Random(2)
    paths = Paths(ours, entropy=chance.randbytes)
    own, other = disco_public(ours), disco_public(theirs)
    peer = Node(2, "n2", "db", PEER_KEY, disco_key=other, home_region=1, capability_version=RELAY_CAPABLE)
    paths.update_peers([(PEER_KEY, peer)], NOW)
    sender = Paths(theirs, entropy=chance.randbytes).box
    endpoint = UdpAddress("192.0.2.1", 1)
    relay = disco.UDPRelayEndpoint(
        DiscoKey(b"\7" * 32), (min(own, other), max(own, other)), 1, 2, 3_000_000_000, 4, (endpoint,)
    )
    plain = [
        disco.Ping(b"t" * 12, PEER_KEY).encode(),
        disco.Pong(b"t" * 12, endpoint).encode(),
        disco.CallMeMaybe((endpoint,)).encode(),
        disco.CallMeMaybeVia(relay).encode(),
        disco.AllocateUDPRelayEndpointResponse(1, relay).encode(),
        disco.BindUDPRelayEndpointChallenge(2, 1, other).encode(),
    ]
    for number, message in enumerate(fuzzing.bad_bytes(plain, seed=3)):
        sealed = sender.seal(disco_public(ours), message)
        if number % 5 == 0:
            sealed = geneve.header(geneve.DISCO, 2, is_control=number % 2 == 0) + sealed
        datagram = sealed if number % 2 else fuzzing.mutated(sealed, chance)
        paths.receive([(DerpAddress(1, PEER_KEY) if number % 3 else endpoint, [datagram])], NOW)
        if number % 200 == 0:
            answered = sum(len(datagrams) for _to, datagrams in paths.transmit(NOW, 1 << 20))
            assert answered <= 64
    assert set(paths.dropped) <= {
        "short", "unknown sender", "box", "malformed", "wrong node", "repeated", "answers", "Pong",
            "source", "small", "unknown pong", "pace", "pings",
        "unknown allocation", "wrong clients", "called too often", "unusable relay", "too many handshakes",
        "unknown relay", "relay box", "unknown handshake", "unwanted challenge", "key",
        "CallMeMaybe", "CallMeMaybeVia", "BindUDPRelayEndpoint", "BindUDPRelayEndpointChallenge",
        "BindUDPRelayEndpointAnswer", "AllocateUDPRelayEndpointRequest", "AllocateUDPRelayEndpointResponse",
    }  # fmt: skip


def test_stun() -> None:
    samples = [stun.encode_request(b"t" * 12), stun.encode_response(b"t" * 12, UdpAddress("2001:db8::1", 9))]
    for datagram in fuzzing.bad_bytes(samples, seed=4):
        for decode in (stun.decode_request, stun.decode_response):
            with only_malformed():
                decode(datagram)


# --- DERP -------------------------------------------------------------------------------------------------------


def test_a_derp_client() -> None:
    packet = frames.encode_packets(frames.RECV_PACKET, PEER_KEY, [b"p" * 100])
    said = [
        derp_scripted.SWITCHING + derp_scripted.GREETING + derp_scripted.server_info() + packet,
        derp_scripted.GREETING,
        derp_scripted.server_info(login.ServerInfo(rate=1000, burst=2000)),
        packet + frames.encode(frames.PING, b"12345678") + frames.encode(frames.HEALTH, b"ill"),
        frames.encode_peer_gone(PEER_KEY, 1) + frames.encode_restarting(1, 2),
    ]
    now, client = NOW, derp_scripted.new_client()
    for number, stream in enumerate(fuzzing.bad_bytes(said, seed=5)):
        now += 0.05
        if client.link is None:
            now = max(now, client.retry_at)
            derp_scripted.opened(client, now)
            if number % 2 and client.link is not None:
                derp_scripted.hear(client, derp_scripted.SWITCHING + derp_scripted.GREETING, now)
        if client.link is not None:
            derp_scripted.hear(client, stream, now)
            client.send(PEER_KEY, [b"p" * 50], now)
        client.transmit(now, derp_joined.BUDGET)
        assert client.deadline() > now or client.retry_at <= now
        assert sum(isinstance(fact, Disconnected) for fact in client.take_facts()) <= 2
    assert client.dropped


@pytest.mark.parametrize("number", fuzzing.HOSTILE, ids=lambda value: repr(value)[:20])
def test_a_derp_servers_numbers(number: Any) -> None:
    """The login box is JSON by whoever runs the relay."""
    members = {"version": number, "TokenBucketBytesPerSecond": number, "TokenBucketBytesBurst": number}
    box = box_seal(derp_joined.SERVER_PRIVATE, derp_scripted.KEY, bytes(24), jsonobject.encode(members))
    client = derp_scripted.new_client()
    derp_scripted.ready(client)
    derp_scripted.hear(client, frames.encode(frames.SERVER_INFO, bytes(24) + box))
    client.send(PEER_KEY, [b"p"], 1.0)
    client.transmit(1.0, derp_joined.BUDGET)
    assert client.is_connected


def test_a_derp_relay() -> None:
    wire = derp_joined.Joined()
    wire.add(1)
    wire.add(2)
    wire.run()
    relay = wire.relay
    info = login.seal_client_info(derp_scripted.PRIVATE, derp_scripted.SERVER_KEY, bytes(24), login.ClientInfo())
    head, greeting = encode_request("relay.example"), frames.encode(frames.CLIENT_INFO, info)
    packets = frames.encode_packets(frames.SEND_PACKET, wire.peers[0].key, [b"p" * 100])
    said = [head + greeting + packets, head, greeting + packets, frames.encode(frames.PING, b"12345678") + packets]
    for number, stream in enumerate(fuzzing.bad_bytes(said, seed=6)):
        link = Link("fuzz", "", number)
        relay.receive(Accepted(link, ("198.51.100.9", number)), wire.now)
        relay.receive(Received(link, head + greeting if number % 2 else b""), wire.now)
        relay.receive(Received(link, stream), wire.now)
        wire.now += 0.05
        wire.run()
    wire.run(wire.now + 70)
    assert len(relay._sessions) <= 2 + fuzzing.ROUNDS // 2 + 50  # who logged in
    assert len(relay._due) <= 2 * len(relay._sessions) + SPARE
    assert len(relay.dropped) < 40
    assert {peer.key for peer in wire.peers} <= relay.clients


# --- control: what the node hears -------------------------------------------------------------------------------


def test_map_messages_and_all_that_is_made_of_them() -> None:
    session = MapSession(control_scripted.DISCO_KEY, control_scripted.WALL)
    pings = Pings(ControlAddress.parse(control_scripted.URL), lambda what: Link("control", what, 1), Counter())
    accepted = 0
    for number, document in enumerate(fuzzing.bad_documents(MAP, seed=7)):
        if number % 3 == 0:
            session.begin()
        try:
            response = messages.decode_map(document)
            session.apply(response.update, NOW + number)
        except MalformedError:
            continue
        accepted += 1
        assert response.is_empty in (True, False)
        if response.ping is not None:
            pings.requested(response.ping, NOW)
            pings.take_posts()
        session.tick(NOW + number)
        session.take_facts()
        netmap = session.netmap
        assert netmap is not None
        Names(netmap).resolve("db")
        Whois(netmap).peer(ip_address("100.64.0.2"))
        PacketFilter().apply(Changes.between(None, netmap))
        repr(netmap)
    assert accepted > fuzzing.ROUNDS / 2


def test_a_control_client() -> None:
    """Damaged bytes in every layer: around the encryption, in HTTP/2, in the frames, in the JSON."""
    control = control_scripted.Scripted()
    control.join()
    documents = list(fuzzing.bad_documents(MAP, seed=8, rounds=300))
    whole = [mapframes.encode_frame(document, compress=bool(number % 2)) for number, document in enumerate(documents)]
    chance = Random(9)
    for number, frame in enumerate(whole):
        control.wind(1.0)
        for _ in range(40):
            if control.waits("poll"):
                break
            control.wind(40.0)
            if control.waits("register"):
                control.answer("register", control_scripted.WELCOME.encode())
        control.send(frame if number % 3 else fuzzing.mutated(frame, chance))
        control.facts.clear()


LAYERS: dict[str, Callable[[], tuple[Callable[[bytes], object], list[bytes]]]] = {}


def layer(make: Callable[[], tuple[Callable[[bytes], object], list[bytes]]]) -> Any:
    LAYERS[make.__name__] = make
    return make


@layer
def noise_initiator() -> tuple[Callable[[bytes], object], list[bytes]]:
    initiator = Initiator(MACHINE, machine_public(CONTROL), 131, Random(1).randbytes)
    responder = Responder(CONTROL, initiator.initiation, Random(2).randbytes)
    early = responder.seal(early_payload(ChallengeKey(b"\1" * 32)))
    return initiator.receive, [responder.response + early + responder.seal(b"x" * 5000), responder.response]


@layer
def noise_responder() -> tuple[Callable[[bytes], object], list[bytes]]:
    initiator = Initiator(MACHINE, machine_public(CONTROL), 131, Random(1).randbytes)
    responder = Responder(CONTROL, initiator.initiation, Random(2).randbytes)
    initiator.receive(responder.response)
    return responder.receive, [initiator.seal(b"x" * 5000), initiator.seal(b"y")]


@layer
def http2_client() -> tuple[Callable[[bytes], object], list[bytes]]:
    client, server = HttpClient("control"), HttpServer()
    stream = client.request("POST", "/machine/map", b"{}")
    server.receive(client.transmit())
    server.respond(stream, 200, b"x" * 3000, [("content-type", "text/plain")])
    return talking(client), [server.transmit()]


@layer
def http2_server() -> tuple[Callable[[bytes], object], list[bytes]]:
    client, server = HttpClient("control"), HttpServer()
    for _ in range(3):
        client.request("POST", "/machine/map", b"{}" * 50)

    def answered(data: bytes) -> None:
        for request in server.receive(data):
            server.respond(request.stream, 200, b"x" * 100)
        server.transmit()

    return answered, [client.transmit()]


@layer
def http1_client() -> tuple[Callable[[bytes], object], list[bytes]]:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    return Asking("GET", "/key", "control").receive, [answer, chunked, b"HTTP/1.1 101 S\r\nUpgrade: x\r\n\r\nrest"]


@layer
def http1_server() -> tuple[Callable[[bytes], object], list[bytes]]:
    answering = Answering()

    def answered(data: bytes) -> None:
        request = answering.receive(data)
        while request is not None and not answering.closing:
            answering.respond(404, b"no\n")
            request = None if answering.closing else answering.receive()

    get = b"GET /key?v=1 HTTP/1.1\r\nHost: control\r\n\r\n"
    return answered, [get, get * 3, upgrade_request("control", b"\0" * 101).sent, b"GET * HTTP/1.1\r\nHost: a\r\n\r\n"]


@layer
def map_frames() -> tuple[Callable[[bytes], object], list[bytes]]:
    frame = mapframes.encode_frame(b"{}" * 500, compress=True)

    def unpack(data: bytes) -> None:
        for message in mapframes.MapFrames().receive(data):
            messages.decode_map(message)

    return unpack, [frame, mapframes.encode_frame(b"{}", compress=False)]


def talking(client: HttpClient) -> Callable[[bytes], object]:
    def receive(data: bytes) -> None:
        client.receive(data)
        client.transmit()

    return receive


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_of_control(name: str) -> None:
    chance = Random(10)
    for _ in range(fuzzing.ROUNDS // 5):
        receive, samples = LAYERS[name]()
        with only_malformed():
            for _ in range(3):
                receive(fuzzing.mutated(chance.choice(samples), chance) or b"\0")


DECODERS: list[tuple[Callable[[bytes], object], dict[str, Any]]] = [
    (messages.ControlKeys.decode, {"publicKey": machine_public(CONTROL).text()}),
    (messages.RegisterResponse.decode, {"User": {"ID": 1}, "Login": {"ID": 1}, "AuthURL": "https://x", "Error": ""}),
    (messages.RegisterRequest.decode, {"NodeKey": PEER_KEY.text(), "Auth": {"AuthKey": "k"}, "Hostinfo": {"OS": "x"}}),
    (messages.MapRequest.decode, {"NodeKey": PEER_KEY.text(), "Endpoints": ["1.2.3.4:5"], "EndpointTypes": [1]}),
    (saved.decode_identity, json.loads(saved.encode_identity(new_identity(Random(1).randbytes)))),
    (
        saved.decode_control,
        json.loads(saved.encode_control(saved.KnownControl("https://x", machine_public(CONTROL)))),
    ),
]


@pytest.mark.parametrize(("decode", "sample"), DECODERS, ids=[decode.__qualname__ for decode, _ in DECODERS])
def test_a_document(decode: Callable[[bytes], object], sample: dict[str, Any]) -> None:
    for document in fuzzing.bad_documents(sample, seed=11):
        with only_malformed():
            decode(document)
    for document in fuzzing.bad_bytes([json.dumps(sample).encode()], seed=12):
        with only_malformed():
            decode(document)


def test_c2n_requests() -> None:
    get = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
    for payload in fuzzing.bad_bytes([get, b"GET /x HTTP/1.0\r\n\r\n"], seed=13):
        with only_malformed():
            c2n.answer(payload)


# --- control: what the server hears -----------------------------------------------------------------------------


def test_a_control_server() -> None:
    """Strangers talk HTTP/1.1 and what is none of it; the nodes stay connected."""
    wire = control_joined.Joined()
    wire.join("shop", "db")
    initiation = Initiator(MACHINE, wire.server.public_key, 131, Random(1).randbytes).initiation
    get = b"GET /key?v=131 HTTP/1.1\r\nHost: control\r\n\r\n"
    said = [get, get * 5, upgrade_request("control", initiation).sent, b"GET * HTTP/1.1\r\nHost: x\r\n\r\n"]
    for number, stream in enumerate(fuzzing.bad_bytes(said, seed=14)):
        link = Link("fuzz", "", number)
        wire.server.receive(Accepted(link, ("198.51.100.9", number)), wire.now)
        wire.server.receive(Received(link, stream), wire.now)
        wire.server.receive(Received(link, stream[::-1]), wire.now)
        wire.now += 0.01
        wire.run()
    wire.run(60)
    assert wire.server.polling == {1, 2}
    assert len(wire.server.dropped) < 40


class Caller:
    """A machine at a control server whose requests are whatever the test says."""

    def __init__(self, wire: control_joined.Joined, number: int) -> None:
        self._wire, self.link = wire, Link("caller", "", number)
        self.noise = Initiator(MACHINE, wire.server.public_key, 131, Random(number).randbytes)
        self.http = HttpClient("control")
        wire.server.receive(Accepted(self.link, ("198.51.100.9", number)), wire.now)
        self.answers = self._exchange(upgrade_request("control", self.noise.initiation).sent).partition(b"\r\n\r\n")[2]
        self.noise.receive(self.answers)

    def post(self, path: str, body: bytes) -> list[object]:
        self.http.request("POST", path, body)
        found: list[object] = []
        for _ in range(3):
            data = self.noise.receive(self._exchange(self.noise.seal(self.http.transmit())))
            found += self.http.receive(data)
        return found

    def raw(self, data: bytes) -> None:
        self._exchange(self.noise.seal(data))

    def _exchange(self, data: bytes) -> bytes:
        server, now = self._wire.server, self._wire.now
        server.receive(Received(self.link, data), now)
        return b"".join(
            effect.data
            for effect in server.transmit(now, 1 << 20)
            if isinstance(effect, Data) and effect.link == self.link
        )


def test_a_control_servers_calls() -> None:
    """A machine that knows the way in says nonsense; nobody else's map breaks."""
    wire = control_joined.Joined()
    (shop,) = wire.join("shop")
    key = wire.tailnet.create_auth_key(reusable=True).text
    hostinfo = {"Hostname": "evil", "OS": "x", "NetInfo": {"PreferredDERP": 900}, "RequestTags": [], "RoutableIPs": []}
    register = {"NodeKey": PEER_KEY.text(), "Auth": {"AuthKey": key}, "Hostinfo": hostinfo, "Version": 131}
    update = {
        "NodeKey": PEER_KEY.text(),
        "DiscoKey": DiscoKey(b"\3" * 32).text(),
        "Hostinfo": hostinfo,
        "Endpoints": ["1.2.3.4:5"],
        "Version": 131,
        "OmitPeers": True,
    }
    caller = Caller(wire, 1)
    caller.post("/machine/register", json.dumps(register).encode())
    rounds = zip(
        fuzzing.bad_documents(register, seed=15, rounds=300),
        fuzzing.bad_documents(update, seed=16, rounds=300),
        strict=True,
    )
    for one, two in rounds:
        caller.post("/machine/register", one)
        caller.post("/machine/map", two)
        wire.now += 0.01
        wire.run()
    assert wire.server.polling == {1}
    assert "evil" in "".join(shop.peers) or len(wire.tailnet.members) > 1


def test_a_control_servers_connections() -> None:
    wire = control_joined.Joined()
    wire.join("shop")
    client = HttpClient("control")
    for _ in range(3):
        client.request("POST", "/machine/map", b"{}")
    for number, data in enumerate(fuzzing.bad_bytes([client.transmit()], seed=17, rounds=400)):
        Caller(wire, number).raw(data)
    wire.run(1)
    assert wire.server.polling == {1}
    assert len(wire.server.dropped) < 60


# --- packets and the rest ---------------------------------------------------------------------------------------


def test_the_packet_filter() -> None:
    session = MapSession(control_scripted.DISCO_KEY, control_scripted.WALL)
    session.apply(messages.decode_map(json.dumps(MAP).encode()).update, NOW)
    found = PacketFilter()
    assert session.netmap is not None
    found.apply(Changes.between(None, session.netmap))
    a, b, a6, b6 = "100.64.0.2", "100.64.0.1", "fd7a:115c:a1e0::2", "fd7a:115c:a1e0::1"
    samples = [tcp(a, b, 80), udp(a, b, 53), icmp(a, b, 8), tcp(a6, b6, 80), udp(a6, b6, 53), ip(44, a6, b6, bytes(40))]
    for packet in fuzzing.bad_bytes(samples, seed=18):
        found.admit([packet])
    assert len(found._flows) <= 512


def test_what_a_proxy_and_the_kernel_say() -> None:
    for data in fuzzing.bad_bytes([b"HTTP/1.1 200 OK\r\n\r\nrest", b"HTTP/1.0 407 no\r\n\r\n"], seed=19):
        with contextlib.suppress(proxy.ConnectFailed):
            proxy.read_answer(data)
        for _kind, body in netlink.messages(data):
            for parse in (netlink.parse_link, netlink.parse_address, netlink.parse_route, netlink.route_length):
                parse(body)

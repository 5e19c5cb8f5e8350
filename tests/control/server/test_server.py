"""The control server at its wire: pages, the upgrade, calls, who may ask for what; bad bytes; limits of time."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from tests.control.joined import BASE_URL, BUDGET, CONTROL_PRIVATE, DERP_MAP, WALL, Joined, entropy, new_tailnet
from tsnet.base.crypto import machine_public, node_public
from tsnet.base.keys import DiscoKey, MachinePrivateKey, NodeKey, NodePrivateKey
from tsnet.base.links import Accepted, Close, Closed, Data, Full, Link, Received, Room
from tsnet.base.timetable import SPARE
from tsnet.control.client.facts import DuplicateNode, LoggedIn, LoginUrl, NodeKeyRotated, NodeRemoved, Problem
from tsnet.control.http import Body, End, Head, HttpClient, Reset
from tsnet.control.mapframes import MapFrames
from tsnet.control.messages import (
    MAP_PATH,
    REGISTER_PATH,
    MapRequest,
    MapResponse,
    RegisterRequest,
    RegisterResponse,
    decode_map,
)
from tsnet.control.server import server as server_module
from tsnet.control.server.server import PAGE_TIMEOUT, WRITE_TIMEOUT, Server
from tsnet.control.server.streams import DUE_NOW
from tsnet.control.transport import Initiator
from tsnet.control.upgrade import upgrade_request
from tsnet.errors import AuthKeyRejected
from tsnet.http1.asking import Asking, Response

LINK = Link("accepted", "", 1)
NODE = node_public(NodePrivateKey(bytes([9]) * 32))
DISCO = DiscoKey(bytes([5]) * 32)


class Wire:
    """A server and one link of it, worked by hand. `now` stands still unless a test moves it."""

    def __init__(self, server: Server | None = None, link: Link = LINK) -> None:
        self.server = server or Server(
            new_tailnet(), CONTROL_PRIVATE, entropy=entropy(1), base_url=BASE_URL, wall_offset=WALL
        )
        self.tailnet = self.server.tailnet
        self.link = link
        self.now = 0.0
        self.is_open = True
        self.server.receive(Accepted(link, ("192.0.2.1", 5)), self.now)

    def send(self, data: bytes) -> bytes:
        self.server.receive(Received(self.link, data), self.now)
        return self.drain()

    def drain(self, budget: int = BUDGET) -> bytes:
        received = bytearray()
        for _ in range(1000):
            if self.server.deadline() > self.now:
                return bytes(received)
            for effect in self.server.transmit(self.now, budget):
                if effect.link == self.link:
                    received += effect.data if isinstance(effect, Data) else b""
                    self.is_open = self.is_open and not isinstance(effect, Close)
        raise AssertionError("it never settles")

    def get(self, path: str, method: str = "GET") -> Response:
        asking = Asking(method, path, "control")
        response = asking.receive(self.send(asking.sent))
        assert response is not None
        return response


class Caller:
    """A machine on a wire, past its handshake: `call` makes one request and gives its answer."""

    def __init__(self, wire: Wire | None = None, number: int = 1) -> None:
        self.wire = wire or Wire()
        private = MachinePrivateKey(bytes([number]) * 32)
        self.machine = machine_public(private)
        self.noise = Initiator(private, self.wire.server.public_key, 131, entropy(number))
        asking = upgrade_request("control", self.noise.initiation)
        response = asking.receive(self.wire.send(asking.sent))
        assert response is not None
        assert response.status == 101
        self.http = HttpClient("control")
        self.bodies: dict[int, bytearray] = {}
        self.heads: dict[int, int] = {}
        self.ended: set[int] = set()
        self.take(response.rest)

    def take(self, data: bytes) -> None:
        if not data:
            return
        for event in self.http.receive(self.noise.receive(data)):
            if isinstance(event, Head):
                self.heads[event.stream] = event.status
            elif isinstance(event, Body):
                self.bodies.setdefault(event.stream, bytearray()).extend(event.data)
            elif isinstance(event, (End, Reset)):
                self.ended.add(event.stream)

    def turn(self) -> None:
        self.take(self.wire.send(self.noise.seal(self.http.transmit())))

    def begin(self, path: str, body: bytes = b"", method: str = "POST") -> int:
        stream = self.http.request(method, path, body)
        self.turn()
        self.turn()
        return stream

    def call(self, path: str, body: bytes = b"", method: str = "POST") -> tuple[int, bytes]:
        stream = self.begin(path, body, method)
        assert stream in self.ended
        return self.heads[stream], bytes(self.bodies.get(stream, b""))

    def register(self, **fields: Any) -> RegisterResponse:
        fields.setdefault("auth_key", self.wire.tailnet.create_auth_key(reusable=True).text)
        request = RegisterRequest(fields.pop("key", NODE), hostinfo={"Hostname": "shop"}, **fields)
        status, body = self.call(REGISTER_PATH, request.encode())
        assert status == 200
        return RegisterResponse.decode(body)

    def map(self, **fields: Any) -> tuple[int, bytes]:
        request = MapRequest(fields.pop("key", NODE), DISCO, **fields)
        return self.call(MAP_PATH, request.encode())

    def stream(self, **fields: Any) -> int:
        return self.begin(MAP_PATH, MapRequest(NODE, DISCO, stream=True, **fields).encode())

    def messages(self, stream: int) -> list[MapResponse]:
        return [decode_map(message) for message in MapFrames().receive(bytes(self.bodies.get(stream, b"")))]


# --- pages --------------------------------------------------------------------------------------------------------


def test_the_key() -> None:
    response = Wire().get("/key?v=131")
    told = json.loads(response.body)
    assert told["publicKey"] == machine_public(CONTROL_PRIVATE).text()
    assert set(told["legacyPublicKey"].removeprefix("mkey:")) == {"0"}
    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/generate_204", "GET", 204),
        ("/health", "GET", 200),
        ("/health", "HEAD", 200),
        ("/", "GET", 404),
        ("/a/nobody", "GET", 404),
        ("/machine/register", "POST", 404),
        ("/ts2021", "POST", 400),
        ("/ts2021?X-Tailscale-Handshake=AAAA", "GET", 400),
    ],
)
def test_pages(path: str, method: str, status: int) -> None:
    assert Wire().get(path, method).status == status


def test_several_pages_on_one_link() -> None:
    wire = Wire()
    assert [wire.get("/health").status for _ in range(3)] == [200] * 3
    pipelined = Asking("GET", "/health", "control").sent * 3
    assert wire.send(pipelined).count(b"200") == 3


def test_the_page_of_a_login_says_how_but_approves_nothing() -> None:
    wire = Wire()
    login = wire.tailnet.begin_login(machine_public(CONTROL_PRIVATE), NODE, "<b>shop</b>", WALL)
    response = wire.get(f"/a/{login.auth_id}")
    assert response.headers["content-type"].startswith("text/plain")
    assert login.auth_id.encode() in response.body
    assert wire.get(f"/a/{login.auth_id}", "POST").status == 404
    assert login.user is None


@pytest.mark.parametrize("data", [b"\0" * 40, b"GET\r\n\r\n", b"x" * 200_000, b"GET / HTTP/1.1\r\n\r\n"])
def test_what_is_no_http_closes_the_link(data: bytes) -> None:
    wire = Wire()
    wire.send(data)
    assert not wire.is_open
    assert sum(wire.server.dropped.values()) == 1
    assert wire.send(data) == b""


def test_an_initiation_for_another_server_is_refused() -> None:
    wire = Wire()
    other = machine_public(MachinePrivateKey(b"\x44" * 32))
    initiation = Initiator(MachinePrivateKey(b"\1" * 32), other, 131, entropy(1)).initiation
    asking = upgrade_request("control", initiation)
    response = asking.receive(wire.send(asking.sent))
    assert response is not None
    assert response.status == 400
    assert wire.server.dropped == {"bad upgrade": 1}


@pytest.mark.parametrize("seed", range(20))
def test_garbage_inside_ts2021_closes_the_link(seed: int) -> None:
    rng = random.Random(seed)
    caller = Caller()
    garbage = rng.randbytes(rng.randrange(1, 400))
    sealed = garbage if seed % 2 else caller.noise.seal(garbage)
    caller.wire.send(sealed)
    caller.wire.send(sealed * 30)
    assert not caller.wire.is_open


@pytest.mark.parametrize("index", range(0, 90, 3))
def test_a_flipped_bit_in_a_record_ends_the_link(index: int) -> None:
    caller = Caller()
    caller.register()
    caller.http.request("POST", MAP_PATH, MapRequest(NODE, DISCO, stream=True).encode())
    data = bytearray(caller.noise.seal(caller.http.transmit()))
    data[index] ^= 0x10
    answer = caller.wire.send(bytes(data) + bytes(4096))  # what a longer length makes it wait for
    assert (caller.wire.is_open, answer) == (False, b"")
    assert caller.wire.server.polling == frozenset()


# --- calls --------------------------------------------------------------------------------------------------------


def test_register_then_map_as_go_does() -> None:
    caller = Caller()
    response = caller.register()
    assert (response.error, response.user.login_name) == ("", "user@tail.example")
    stream = caller.stream()
    assert caller.heads[stream] == 200
    (first,) = caller.messages(stream)
    node = first.update.node
    assert node is not None
    assert (node.key, node.machine, node.name) == (NODE, caller.machine, "shop.tail.example")
    assert node.machine_authorized
    assert first.update.derp_map is not None
    assert first.update.derp_map.regions == DERP_MAP.regions
    assert caller.map(omit_peers=True, hostinfo={"Hostname": "shop", "NetInfo": {"PreferredDERP": 900}}) == (200, b"")
    assert caller.wire.tailnet.members[1].home_region == 900
    assert stream not in caller.ended


def test_what_a_streaming_request_says_of_the_node_is_not_taken() -> None:
    caller = Caller()
    caller.register()
    caller.stream(hostinfo={"Hostname": "other", "NetInfo": {"PreferredDERP": 900}})
    member = caller.wire.tailnet.members[1]
    assert (member.name, member.disco_key, member.home_region) == ("shop", None, 0)


@pytest.mark.parametrize("compress", [False, True])
def test_one_shot_and_compression(compress: bool) -> None:
    caller = Caller()
    caller.register()
    stream = caller.stream(compress=compress)
    assert (b"PacketFilter" in caller.bodies[stream]) is not compress
    status, body = caller.map(compress=compress)
    (whole,) = [decode_map(message) for message in MapFrames().receive(body)]
    assert (status, whole.update.node is not None, stream in caller.ended) == (200, True, False)


def test_the_first_message_is_what_go_needs() -> None:
    caller = Caller()
    caller.register()
    (message,) = MapFrames().receive(bytes(caller.bodies[caller.stream(compress=False)]))
    told = json.loads(message)
    assert told["Node"]["Name"] == "shop.tail.example."
    assert told["Node"]["StableID"]
    assert told["Node"]["Addresses"] == ["100.64.0.1/32", "fd7a:115c:a1e0::1/128"]
    assert told["PacketFilter"] == [{"SrcIPs": ["*"], "DstPorts": [{"IP": "*", "Ports": {"First": 0, "Last": 65535}}]}]
    assert told["UserProfiles"][0]["LoginName"] == "user@tail.example"
    assert told["DNSConfig"]["Proxied"] is True
    assert told["Debug"] == {"DisableLogTail": True}
    assert "900" in told["DERPMap"]["Regions"]


def test_a_keep_alive_is_not_sent_to_whoever_wants_none() -> None:
    caller = Caller()
    caller.register()
    stream = caller.stream(keep_alive=False)
    caller.wire.now += 300
    caller.take(caller.wire.drain())
    assert len(caller.messages(stream)) == 1


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/machine/update-health", "POST", 204),
        ("/machine/set-dns", "POST", 501),
        ("/machine/id-token", "POST", 400),
        ("/machine/tka/bootstrap", "GET", 404),
        ("/machine/nonsense", "POST", 404),
        ("/c2n/nobody", "POST", 200),
        (REGISTER_PATH, "GET", 404),
        (REGISTER_PATH, "POST", 400),
        (MAP_PATH, "POST", 400),
    ],
)
def test_other_calls(path: str, method: str, status: int) -> None:
    assert Caller().call(path, b"", method)[0] == status


def test_an_unknown_node_key_is_not_found_and_anothers_is_refused() -> None:
    caller = Caller()
    assert caller.map()[0] == 404
    caller.register()
    thief = Caller(Wire(caller.wire.server, Link("accepted", "", 2)), number=2)
    assert thief.map()[0] == 400
    assert "another machine" in thief.register().error


def test_a_machine_may_have_several_links() -> None:
    caller = Caller()
    caller.register()
    other = Caller(Wire(caller.wire.server, Link("accepted", "", 2)))
    assert other.map(omit_peers=True)[0] == 200


def test_a_login_is_held_until_a_person_comes() -> None:
    caller = Caller()
    url = caller.register(auth_key="").auth_url
    assert url.startswith(f"{BASE_URL}/a/")
    request = RegisterRequest(NODE, hostinfo={"Hostname": "shop"}, followup=url)
    stream = caller.begin(REGISTER_PATH, request.encode())
    assert stream not in caller.heads
    caller.wire.tailnet.approve(url.rpartition("/")[2], "carol@example.com")
    assert caller.wire.server.deadline() <= caller.wire.now
    caller.turn()
    assert RegisterResponse.decode(bytes(caller.bodies[stream])).user.login_name == "carol@example.com"


@pytest.mark.parametrize("bound", ["MAX_HELD", "MAX_HELD_BYTES"])
def test_those_who_wait_for_a_person_are_bounded(bound: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stranger, who needs no more than a machine key, could else fill our memory with one connection."""
    caller = Caller()
    url = caller.register(auth_key="").auth_url
    request = RegisterRequest(NODE, hostinfo={"Hostname": "shop"}, followup=url).encode()
    monkeypatch.setattr(server_module, bound, 2 if bound == "MAX_HELD" else 2 * len(request))
    streams = [caller.begin(REGISTER_PATH, request) for _ in range(3)]
    assert [caller.heads.get(stream) for stream in streams] == [None, None, 429]
    caller.http.cancel(streams[0])
    caller.turn()
    streams.append(caller.begin(REGISTER_PATH, request))
    assert streams[3] not in caller.heads
    caller.wire.tailnet.approve(url.rpartition("/")[2], "carol@example.com")
    caller.turn()
    assert [caller.heads.get(stream) for stream in streams[1:]] == [200, 429, 200]


def test_whoever_hangs_up_is_not_waited_for() -> None:
    caller = Caller()
    url = caller.register(auth_key="").auth_url
    request = RegisterRequest(NODE, hostinfo={"Hostname": "shop"}, followup=url)
    caller.http.cancel(caller.begin(REGISTER_PATH, request.encode()))
    caller.turn()
    caller.wire.tailnet.approve(url.rpartition("/")[2], "carol@example.com")
    caller.turn()
    assert not caller.wire.tailnet.members


# --- promises -----------------------------------------------------------------------------------------------------


def kept_caller() -> Caller:
    """A caller of a tailnet whose state rests somewhere, and that is at rest now."""
    caller = Caller()
    caller.wire.tailnet.kept = caller.wire.tailnet.revision
    return caller


def registering(caller: Caller, auth_key: str) -> int:
    return caller.begin(REGISTER_PATH, RegisterRequest(NODE, auth_key=auth_key, hostinfo={}).encode())


def test_a_node_is_told_that_it_is_in_once_that_is_at_rest() -> None:
    caller = kept_caller()
    net = caller.wire.tailnet
    stream = registering(caller, net.create_auth_key().text)
    assert stream not in caller.ended
    assert net.awaited == net.revision
    assert caller.wire.server.deadline() > 0, "nothing to do until then"
    net.kept = net.revision - 1
    caller.turn()
    assert stream not in caller.ended
    net.kept = net.revision
    assert caller.wire.server.deadline() == DUE_NOW
    caller.turn()
    assert caller.heads[stream] == 200
    assert RegisterResponse.decode(bytes(caller.bodies[stream])).user.login_name == "user@tail.example"


def test_promises_are_kept_in_their_order_and_no_sooner() -> None:
    one = kept_caller()
    other = Caller(Wire(one.wire.server, Link("listen", 9, 1)), number=2)
    net = one.wire.tailnet
    first = registering(one, net.create_auth_key().text)
    revision = net.revision
    request = RegisterRequest(NodeKey(b"\x77" * 32), auth_key=net.create_auth_key().text, hostinfo={})
    second = other.begin(REGISTER_PATH, request.encode())
    net.kept = revision
    one.turn()
    assert first in one.ended
    other.turn()
    assert second not in other.ended
    net.kept = net.revision
    other.turn()
    assert second in other.ended


def test_a_promise_that_cannot_be_kept_is_a_request_to_ask_again() -> None:
    caller = kept_caller()
    net = caller.wire.tailnet
    key = net.create_auth_key().text
    stream = registering(caller, key)
    caller.wire.server.break_promises()
    caller.turn()
    assert caller.heads[stream] == 503
    again = registering(caller, key)
    assert again not in caller.ended, "it is a node of ours, but not yet for good"
    net.kept = net.revision
    caller.turn()
    assert caller.heads[again] == 200


def test_no_is_said_at_once() -> None:
    caller = kept_caller()
    caller.wire.tailnet.create_auth_key()
    refused = registering(caller, "tskey-auth-nobody")
    waiting = registering(caller, "")
    assert {refused, waiting} <= caller.ended
    assert RegisterResponse.decode(bytes(caller.bodies[waiting])).auth_url


@pytest.mark.parametrize("how", ["cancel", "hang up", "close"])
def test_nothing_is_promised_to_whoever_has_gone(how: str) -> None:
    caller = kept_caller()
    server = caller.wire.server
    stream = registering(caller, caller.wire.tailnet.create_auth_key().text)
    if how == "cancel":
        caller.http.cancel(stream)
        caller.turn()
    elif how == "hang up":
        server.receive(Closed(LINK, "eof"), 0.0)
    else:
        server.close()
    assert not server._promised
    server.break_promises()


def test_control_asks_and_the_node_answers() -> None:
    caller = Caller()
    caller.register()
    server, member = caller.wire.server, caller.wire.tailnet.members[1]
    assert server.c2n(member, b"GET /echo", caller.wire.now) is None
    stream = caller.stream()
    token = server.c2n(member, b"GET /echo HTTP/1.1\r\n\r\n", caller.wire.now)
    assert token is not None
    caller.turn()
    ping = caller.messages(stream)[-1].ping
    assert ping is not None
    assert (ping.types, ping.url, ping.url_is_noise) == ("c2n", f"{BASE_URL}/c2n/{token}", True)
    caller.call(f"/c2n/{token}", b"HTTP/1.1 200 OK\r\n\r\n")
    assert server.replies == {token: b"HTTP/1.1 200 OK\r\n\r\n"}


# --- links --------------------------------------------------------------------------------------------------------


def test_small_budgets_cut_but_lose_nothing() -> None:
    caller = Caller()
    caller.register()
    stream = caller.http.request("POST", MAP_PATH, MapRequest(NODE, DISCO, stream=True).encode())
    wire = caller.wire
    wire.server.receive(Received(wire.link, caller.noise.seal(caller.http.transmit())), wire.now)
    caller.take(wire.drain(budget=17))
    assert len(caller.messages(stream)) == 1


def test_a_full_link_is_left_alone_until_it_has_room() -> None:
    caller = Caller()
    caller.register()
    stream = caller.stream()
    wire = caller.wire
    wire.server.receive(Full(wire.link), wire.now)
    wire.tailnet.rename(wire.tailnet.members[1], "cafe")
    assert wire.drain() == b""
    assert wire.server.deadline() > wire.now
    wire.server.receive(Room(wire.link), wire.now)
    caller.take(wire.drain())
    assert len(caller.messages(stream)) == 2


def test_a_link_that_stays_full_is_given_up() -> None:
    caller = Caller()
    wire = caller.wire
    wire.server.receive(Full(wire.link), wire.now)
    wire.now += WRITE_TIMEOUT - 1
    wire.server.receive(Room(wire.link), wire.now)
    wire.server.receive(Full(wire.link), wire.now)
    wire.now += 2
    wire.drain()
    assert wire.is_open
    wire.now += WRITE_TIMEOUT
    wire.drain()
    assert not wire.is_open
    assert wire.server.dropped == {"write timeout": 1}


def test_a_link_that_asks_for_nothing_is_given_up() -> None:
    wire, caller = Wire(), Caller()
    for one in (wire, caller.wire):
        one.now += PAGE_TIMEOUT
        one.drain()
    assert (wire.is_open, caller.wire.is_open) == (False, True)


def test_a_link_that_has_gone_leaves_no_time_limit_behind() -> None:
    """Anybody may come and go, as fast as there are ports."""
    wire = Wire()
    for number in range(1000):
        link = Link("accepted", "stranger", number)
        wire.server.receive(Accepted(link, ("198.51.100.9", number)), wire.now)
        wire.server.receive(Full(link), wire.now)
        wire.server.receive(Closed(link, "reset"), wire.now)
    assert len(wire.server._page_limits) <= 1 + SPARE + 1
    assert len(wire.server._write_limits) <= SPARE + 1


def test_a_lost_link_loses_its_streams() -> None:
    caller = Caller()
    caller.register()
    caller.stream()
    assert caller.wire.server.polling == {1}
    caller.wire.server.receive(Closed(caller.wire.link, "reset"), 1.0)
    assert caller.wire.server.polling == frozenset()
    caller.wire.server.receive(Received(caller.wire.link, b"late"), 1.0)


def test_closing_ends_every_link() -> None:
    caller = Caller()
    caller.wire.server.close()
    caller.wire.drain()
    assert not caller.wire.is_open


def test_a_cancelled_stream_is_no_stream() -> None:
    caller = Caller()
    caller.register()
    caller.http.cancel(caller.stream())
    caller.turn()
    assert caller.wire.server.polling == frozenset()


def test_the_client_must_wait_for_the_server_before_it_speaks() -> None:
    wire = Wire()
    noise = Initiator(MachinePrivateKey(b"\1" * 32), wire.server.public_key, 131, entropy(1))
    wire.send(upgrade_request("control", noise.initiation).sent + b"early")
    assert not wire.is_open


# --- our own client -----------------------------------------------------------------------------------------------


def test_a_bad_auth_key_is_told() -> None:
    world = Joined()
    peer = world.add(1, "shop", auth_key="tskey-auth-nobody")
    world.run(5)
    (problem,) = peer.told(Problem)
    assert problem.fatal
    assert isinstance(problem.error, AuthKeyRejected)
    assert "invalid auth key" in str(problem.error)


def test_a_login_through_the_client() -> None:
    world = Joined()
    peer = world.add(1, "shop", auth_key="")
    world.run(1)
    (login,) = peer.told(LoginUrl)
    world.tailnet.approve(login.url.rpartition("/")[2], "carol@example.com")
    world.run(1)
    assert [fact.user.login_name for fact in peer.told(LoggedIn)] == ["carol@example.com"]
    assert peer.netmap.self_node.name == "shop.tail.example"


def test_expiry_and_return_through_the_client() -> None:
    world = Joined()
    one, other = world.join("one", "other")
    world.tailnet.expire(world.member("other"), world.now + WALL)
    world.run(1)
    (peer,) = one.netmap.peers.values()
    assert peer.expired
    other.client.login(world.now, world.tailnet.create_auth_key().text)
    world.run(2)
    assert other.told(NodeKeyRotated)
    (peer,) = one.netmap.peers.values()
    assert (peer.expired, peer.id, peer.key != other.key) == (False, 2, True)


def test_a_deleted_node_learns_it() -> None:
    world = Joined()
    _one, other = world.join("one", "other")
    world.tailnet.delete(world.member("other"))
    world.run(5)
    assert other.told(NodeRemoved)


def test_logout_through_the_client() -> None:
    world = Joined()
    one, other = world.join("one", "other")
    other.client.logout(world.now)
    world.run(1)
    (peer,) = one.netmap.peers.values()
    assert peer.expired
    assert not one.told(DuplicateNode)

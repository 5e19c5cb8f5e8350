"""Every attack of tests/attacks on both sides of control, on a hand clock, with an innocent connection beside it.

The attacker sends as much as the other end reads. It is closed with a GOAWAY after a bounded number of bytes, each turn
stays short, and the innocent connection is answered meanwhile.
"""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from h2.exceptions import StreamClosedError

from tests.attacks import http2
from tests.attacks.ts2021 import Caller
from tests.control.joined import CONTROL_PRIVATE, Joined
from tests.control.scripted import PEER, SELF, WELCOME, Scripted
from tsnet.base.crypto import machine_public
from tsnet.base.links import Accepted, Close, Closed, Data, Effect, Full, Link, Pause, Received, Resume, Room
from tsnet.control.client import controlconnection, facts
from tsnet.control.client.facts import Problem
from tsnet.control.client.mappoll import MESSAGES_A_TURN
from tsnet.control.client.pings import MAX_POSTS
from tsnet.control.mapframes import encode_frame
from tsnet.control.messages import MapResponse, PingRequest, RegisterResponse
from tsnet.control.server import server as server_module
from tsnet.control.server.connection import PAGE_COST
from tsnet.control.server.server import MOST_SHARE, TURN, WRITE_TIMEOUT, Server
from tsnet.netmap.merge import MapUpdate

BUDGET = 1 << 20
GOAWAY = 7
MAX_TURNS = 20_000

CONTROL = machine_public(CONTROL_PRIVATE)

CLOSED_FOR = {
    "rapid_reset": "flood of resets",
    "continuation_flood": "HTTP/2",
    "ping_flood": "flood of pings",
    "settings_flood": "flood of settings",
    "tiny_data": "flood of tiny frames",
    "hpack_bomb": "HTTP/2",
    "window_updates": "flood of window updates",
    "empty_data": "flood of tiny frames",
    "zero_window": "HTTP/2",
    "made_you_reset": "flood of frames of closed streams",
    "patient_hpack_bomb": "HTTP/2",
    "many_settings": "flood of settings",
    "priority_flood": "flood of priorities",
    "unknown_frames": "flood of unknown frames",
    "ping_acks": "flood of pings",
}


class Scene:
    """A control server and the links to it; what each was sent."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.server: Server = Joined().server
        self.sent: dict[Link, bytearray] = {}
        self.paused: set[Link] = set()
        self.closed: set[Link] = set()

    def accept(self, number: int) -> Link:
        link = Link("listen", 80, number)
        self.sent[link] = bytearray()
        self.server.receive(Accepted(link, ("192.0.2.1", number)), self.now)
        return link

    def hear(self, link: Link, data: bytes) -> None:
        if link not in self.closed:
            self.server.receive(Received(link, data), self.now)

    def turn(self) -> None:
        for effect in self.server.transmit(self.now, BUDGET):
            self._perform(effect)

    def _perform(self, effect: Effect) -> None:
        assert effect.link not in self.closed
        match effect:
            case Data(link, data):
                self.sent[link] += data
            case Pause(link):
                assert link not in self.paused
                self.paused.add(link)
            case Resume(link):
                self.paused.remove(link)
            case Close(link):
                self.closed.add(link)

    def take(self, link: Link) -> bytes:
        data = bytes(self.sent[link])
        self.sent[link].clear()
        return data

    def call(self, number: int) -> tuple[Link, Caller]:
        """Past the handshake."""
        link, caller = self.accept(number), Caller(CONTROL)
        self.hear(link, caller.sent)
        self.turn()
        caller.receive(self.take(link))
        assert caller.is_up
        return link, caller

    def flood(self, link: Link, pieces: Iterator[bytes]) -> int:
        """Send whatever is read, until the link is closed; returns the bytes. Somebody asks for a page meanwhile."""
        innocent = self.accept(99)
        sent = 0
        for turn in range(MAX_TURNS):
            if link in self.closed:
                return sent
            if link not in self.paused:
                data = b"".join(itertools.islice(pieces, 10))  # under 256 KiB, which the edge reads in one turn
                sent += len(data)
                self.hear(link, data)
            self.hear(innocent, b"GET /health HTTP/1.1\r\nHost: control\r\n\r\n")
            self.turn()
            assert b'{"status":"pass"}' in self.take(innocent), f"the innocent waits in turn {turn}"
            self.now += 0.005
        raise AssertionError(f"never closed; {sent} bytes were read")


def frames_of(caller: Caller, data: bytes) -> list[int]:
    """The types of the HTTP/2 frames in what a caller was sent."""
    plaintext = caller.receive(data)
    kinds, start = [], 0
    while start + 9 <= len(plaintext):
        kinds.append(plaintext[start + 3])
        start += 9 + int.from_bytes(plaintext[start : start + 3], "big")
    return kinds


@pytest.mark.parametrize("name", http2.ON_SERVER)
def test_an_attack_on_the_server_is_closed_and_the_innocent_are_answered(name: str) -> None:
    scene = Scene()
    link, caller = scene.call(1)
    sent = scene.flood(link, caller.attack(name))
    assert sent < 1 << 20
    assert scene.server.dropped == {CLOSED_FOR[name]: 1}
    assert frames_of(caller, scene.take(link))[-1] == GOAWAY
    assert sum(scene.server.floods.values()) == CLOSED_FOR[name].startswith("flood")


def test_a_flood_of_empty_records_is_closed() -> None:
    scene = Scene()
    link, caller = scene.call(1)
    scene.flood(link, caller.empty_records())
    assert scene.server.floods == {"flood of empty records": 1}


@pytest.mark.slow
@pytest.mark.parametrize("name", http2.ON_SERVER)
def test_what_an_attack_makes_the_server_keep_is_bounded(name: str) -> None:
    Scene().call(1)  # what is imported at first use
    scene = Scene()
    link, caller = scene.call(1)
    tracemalloc.start()
    try:
        scene.flood(link, caller.attack(name))
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_of_many_who_keep_unfinished_requests_those_with_most_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is below what one connection may keep; an innocent's request, half of which has come, is answered."""
    monkeypatch.setattr(server_module, "MAX_BURDEN", 1 << 20)
    scene = Scene()
    opening = http2.PREFACE + http2.settings() + http2.request(1, whole=False)
    link, caller = scene.call(99)
    scene.hear(link, caller.seal(opening + http2.frame(http2.DATA, 0, 1, bytes(1000))))
    scene.turn()
    piece = b"".join(http2.frame(http2.DATA, 0, 1, bytes(1 << 14)) for _ in range(10))
    for number in range(1, 21):
        greedy, stranger = scene.call(number)
        scene.hear(greedy, stranger.seal(opening + piece))
        while scene.server.deadline() <= scene.now:
            scene.turn()
        assert scene.server._burden <= 1 << 20
    assert scene.server.dropped == {"keeps too much": len(scene.closed)}
    assert len(scene.closed) >= 20 - (1 << 20) // (10 << 14)
    caller.receive(scene.take(link))
    scene.hear(link, caller.seal(http2.frame(http2.DATA, http2.END_STREAM, 1, b"x")))
    scene.turn()
    assert http2.HEADERS in frames_of(caller, scene.take(link))
    for greedy in scene.sent:
        scene.server.receive(Closed(greedy, "reset"), scene.now)
    assert scene.server._burden == 0


def test_many_attackers_at_once_leave_the_others_their_turns() -> None:
    """Each turn has work for a part of them only, and goes on with the next ones."""
    scene = Scene()
    attacks = [(*scene.call(number), "rapid_reset") for number in range(1, 13)]
    pieces = {link: caller.attack(name) for link, caller, name in attacks}
    innocent = scene.accept(99)
    waited = []
    for turn in range(20):
        for link, frames in pieces.items():
            if link not in scene.paused:
                scene.hear(link, next(frames))
        if turn % 5 == 0:
            asked = turn
            scene.hear(innocent, b"GET /health HTTP/1.1\r\nHost: control\r\n\r\n")
        scene.turn()
        if scene.take(innocent):
            waited.append(turn - asked)
        scene.now += 0.005
    assert len(waited) == 4
    assert max(waited) <= 12 * MOST_SHARE // TURN


def test_pages_that_come_all_at_once_are_answered_in_turn() -> None:
    scene = Scene()
    link, innocent = scene.accept(1), scene.accept(2)
    page = b"GET /key?v=1 HTTP/1.1\r\nHost: control\r\n\r\n"
    scene.hear(link, page * 500)
    scene.hear(innocent, page)
    scene.turn()
    assert scene.take(innocent)
    assert scene.sent[link].count(b"HTTP/1.1 200") <= MOST_SHARE // PAGE_COST
    assert link in scene.paused
    turns = 0
    while scene.server.deadline() <= scene.now:
        scene.turn()
        turns += 1
    assert scene.sent[link].count(b"HTTP/1.1 200") == 500
    assert link not in scene.paused
    assert turns >= 500 * PAGE_COST // MOST_SHARE - 1


def test_a_client_that_does_not_read_is_not_read_either() -> None:
    """Whatever it asks, our answers do not grow; after a while it is closed."""
    scene = Scene()
    link, caller = scene.call(1)
    scene.server.receive(Full(link), scene.now)
    scene.turn()
    assert link in scene.paused
    pieces = caller.attack("ping_flood")
    scene.hear(link, next(pieces))
    scene.turn()
    assert scene.server.deadline() > scene.now, "what it has sent waits"
    assert scene.take(link) == b""
    scene.server.receive(Room(link), scene.now)
    while scene.server.deadline() <= scene.now:
        scene.turn()
    assert scene.take(link), "now it is answered"
    scene.server.receive(Full(link), scene.now)
    scene.now += WRITE_TIMEOUT
    scene.turn()
    assert link in scene.closed
    assert scene.server.dropped["write timeout"] == 1


def test_what_a_client_said_last_counts_though_it_has_gone() -> None:
    scene = Scene()
    link, caller = scene.call(1)
    opening = http2.PREFACE + http2.settings()
    scene.hear(link, caller.seal(opening + next(http2.rapid_reset())))
    scene.server.receive(Closed(link, "eof"), scene.now)
    scene.turn()
    assert scene.server.dropped == {}


# --- our client, and a control server that attacks it ----------------------------------------------------------------

LOST_FOR = {
    "continuation_flood": "HTTP/2: Too many continuation frames received",
    "hpack_bomb": "HTTP/2: Oversized header block",
    "tiny_data": "flood of tiny frames",
    "empty_data": "flood of tiny frames",
    "hints": "flood of headers",
    "data_after_reset": "flood of frames of closed streams",
    "ping_flood": "flood of pings",
    "ping_acks": "flood of pings",
    "settings_flood": "flood of settings",
    "many_settings": "flood of settings",
    "window_updates": "flood of window updates",
    "stream_window_updates": "flood of window updates",
    "priority_flood": "flood of priorities",
    "unknown_frames": "flood of unknown frames",
}


class Victim:
    """Our client, which polls for its map at a server that the test speaks for."""

    def __init__(self) -> None:
        self.control = Scripted()
        self.client = self.control.client(auth_key="key")
        self.control.run()
        self.control.answer("register", WELCOME.encode())
        waiting = self.control.find("poll")
        self.stream = waiting.request.stream
        self.link = next(link for link, peer in self.control.peers.items() if peer is waiting.peer)
        assert waiting.peer.noise is not None
        self.seal: Callable[[bytes], bytes] = waiting.peer.noise.seal
        assert waiting.peer.http is not None
        self.noise, self.http = waiting.peer.noise, waiting.peer.http
        self.paused = self.closed = False
        self.turns = 0
        self.sent = bytearray()

    def turn(self) -> None:
        self.turns += 1
        for effect in self.client.transmit(self.control.now):
            if effect.link != self.link:
                continue
            if isinstance(effect, Data):
                self.sent += effect.data
            elif isinstance(effect, Close):
                self.closed = True
            elif isinstance(effect, Pause | Resume):
                assert self.paused != isinstance(effect, Pause)
                self.paused = isinstance(effect, Pause)
        self.control.facts += self.client.take_facts()

    def flood(self, frames: Iterator[bytes]) -> int:
        """Send whatever is read, until the client closes the link; returns the bytes."""
        pieces, sent = http2.chunks(frames), 0
        while not self.closed:
            assert sent < 8 << 20, "never closed"
            if not self.paused:
                data = self.seal(next(pieces))
                sent += len(data)
                self.client.receive(Received(self.link, data), self.control.now)
            self.turn()
            self.control.now += 0.005
        return sent


@pytest.mark.parametrize("name", http2.ON_CLIENT)
def test_a_control_server_that_attacks_is_left(name: str) -> None:
    victim = Victim()
    sent = victim.flood(http2.ON_CLIENT[name](victim.stream))
    assert sent < 1 << 19
    problem = victim.control.told(Problem)[-1]
    assert LOST_FOR[name] in str(problem.error)
    is_flood = LOST_FOR[name].startswith("flood")
    assert victim.client.dropped[LOST_FOR[name]] == is_flood
    plaintext = victim.noise.receive(bytes(victim.sent))
    assert plaintext[-17 + 3] == GOAWAY
    assert victim.client.deadline() > victim.control.now, "the next attempt waits"


def test_one_turn_takes_a_bounded_part_of_a_flood_apart() -> None:
    victim = Victim()
    data = victim.seal(http2.frame(http2.PING, payload=bytes(8)) * 900)
    victim.client.receive(Received(victim.link, data), victim.control.now)
    victim.turn()
    assert victim.paused
    while victim.client.deadline() <= victim.control.now:
        victim.turn()
    assert not victim.paused
    assert victim.turns >= 900 // (2 * controlconnection.TURN)
    assert victim.noise.receive(bytes(victim.sent)).count(http2.frame(http2.PING, http2.ACK, payload=bytes(8))) == 900


def test_small_map_messages_are_worked_off_in_turns() -> None:
    victim = Victim()
    victim.http.respond(victim.stream, 200, end=False)
    message = encode_frame(MapResponse(MapUpdate(node=SELF)).encode(), compress=False)
    victim.http.write(victim.stream, message + encode_frame(b'{"OnlineChange":{"9":true}}', compress=False) * 500)
    victim.client.receive(Received(victim.link, victim.seal(victim.http.transmit())), victim.control.now)
    most = 0
    while victim.client.deadline() <= victim.control.now:
        before = len(victim.control.facts)
        victim.turn()
        most = max(most, len(victim.control.facts) - before)
    assert victim.turns >= 500 // (4 * MESSAGES_A_TURN)
    assert most <= 4 * MESSAGES_A_TURN
    assert not victim.paused


def test_control_that_does_not_read_is_not_read_and_then_left() -> None:
    """Our answers to what it asks do not grow."""
    victim = Victim()
    victim.client.receive(Full(victim.link), victim.control.now)
    victim.turn()
    assert victim.paused
    data = victim.seal(http2.frame(http2.PING, payload=bytes(8)) * 900)
    victim.client.receive(Received(victim.link, data), victim.control.now)
    victim.turn()
    assert victim.sent == b""
    assert victim.client.deadline() > victim.control.now
    victim.control.now += controlconnection.WRITE_TIMEOUT
    victim.turn()
    assert victim.closed
    assert "does not read" in str(victim.control.told(Problem)[-1].error)


def test_control_that_reads_again_is_answered() -> None:
    victim = Victim()
    victim.client.receive(Full(victim.link), victim.control.now)
    victim.turn()
    data = victim.seal(http2.frame(http2.PING, payload=bytes(8)))
    victim.client.receive(Received(victim.link, data), victim.control.now)
    victim.client.receive(Room(victim.link), victim.control.now)
    victim.turn()
    victim.turn()
    assert not victim.paused
    assert victim.noise.receive(bytes(victim.sent)).endswith(http2.frame(http2.PING, http2.ACK, payload=bytes(8)))


# --- a server that takes few requests at once ------------------------------------------------------------------------


def ping(number: int, **fields: Any) -> bytes:
    request = PingRequest(f"https://control.example:8443/p{number}", url_is_noise=True, **fields)
    return encode_frame(MapResponse(ping=request).encode(), compress=False)


def pings_asked(control: Scripted) -> list[str]:
    return [path for _at, path in control.asked if path.startswith("/p")]


def test_requests_wait_while_the_map_poll_has_the_only_stream() -> None:
    control = Scripted()
    control.streams = 1
    client = control.join()
    control.send(b"".join(map(ping, range(150))))
    client.set_net_info({"PreferredDERP": 7}, control.now)
    control.wind(60)
    assert pings_asked(control) == []
    assert control.waits("poll")
    assert client.dropped["ping-too-many"] == 150 - MAX_POSTS
    control.take_streams(2)
    control.run()
    assert control.updates[-1].hostinfo["NetInfo"] == {"PreferredDERP": 7}
    answered = 0
    while any(one.kind.startswith("/p") for one in control.waiting):
        control.reply(next(one for one in control.waiting if one.kind.startswith("/p")))
        answered += 1
    assert answered == MAX_POSTS
    assert control.told(facts.Disconnected) == []


def test_a_server_that_lowers_its_streams_keeps_those_that_are_open() -> None:
    control = Scripted()
    control.join()
    control.take_streams(0)
    control.send(ping(1))
    control.wind(100)
    control.send_map(MapResponse(MapUpdate(peers_changed=(PEER,))))
    assert [peer.name for peer in control.netmap.peers.values()] == [PEER.name]
    assert pings_asked(control) == []
    control.take_streams(5)
    assert pings_asked(control) == ["/p1"]


def test_a_server_that_takes_no_request_at_all_is_left() -> None:
    control = Scripted()
    control.streams = 0
    control.client(auth_key="key")
    control.run()
    early = control.find("register")  # it had left before the server's settings came
    assert early.peer.http is not None
    early.peer.http.close(early.request.stream)
    control.waiting.clear()
    control.wind(controlconnection.READY_TIMEOUT - 1)
    assert len([path for _at, path in control.asked if path == "/machine/register"]) == 1
    control.wind(1)
    assert "takes no requests" in str(control.told(Problem)[-1].error)
    control.streams = 1
    control.wind(10)
    assert control.waits("register")


def test_the_map_poll_gives_way_to_a_logout() -> None:
    control = Scripted()
    control.streams = 1
    client = control.join()
    client.logout(control.now, by=control.now + 5)
    control.run()
    assert control.find("register").register.expiry is not None
    control.answer("register", RegisterResponse().encode())
    assert control.told(facts.LoggedOut)


def test_pings_that_control_never_answers_are_few() -> None:
    control = Scripted()
    client = control.join()
    for number in range(0, 300, 10):
        control.send(b"".join(map(ping, range(number, number + 10))))
    assert len(pings_asked(control)) == MAX_POSTS
    assert client.dropped["ping-too-many"] == 300 - 2 * MAX_POSTS
    control.reply(next(one for one in control.waiting if one.kind == "/p0"))
    assert pings_asked(control)[-1] == f"/p{MAX_POSTS}"


def test_a_flood_of_pings_keeps_little() -> None:
    """Each one carries a payload that is to come back; none can be answered."""
    control = Scripted()
    control.streams = 1
    client = control.join()
    payload = b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 30000\r\n\r\n" + bytes(30_000)
    pieces = [
        b"".join(ping(number, types="c2n", payload=payload) for number in range(start, start + 20))
        for start in range(0, 200, 20)
    ]
    tracemalloc.start()
    try:
        for piece in pieces:
            control.send(piece)
        kept = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert kept < 4 << 20
    assert client.dropped["ping-too-many"] == 200 - MAX_POSTS


def test_the_same_ping_waits_once() -> None:
    control = Scripted()
    control.streams = 1
    control.join()
    control.send(b"".join(map(ping, (1, 2, 1, 2, 1))))
    control.take_streams(9)
    assert pings_asked(control) == ["/p1", "/p2"]


@pytest.mark.parametrize("name", ["send_headers", "send_data", "end_stream", "acknowledge_received_data"])
def test_an_error_of_h2_loses_the_connection_and_not_the_node(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No such error is known; this one is made up."""
    control = Scripted()
    client = control.join()
    http2_connection = client._uplink._channel._http._h2  # type: ignore[union-attr]

    def fail(*_arguments: object, **_options: object) -> None:
        raise StreamClosedError(1)

    monkeypatch.setattr(http2_connection, name, fail)
    client.set_net_info({"PreferredDERP": 7}, control.now)
    control.run()
    if control.waits("poll"):
        control.send_map(MapResponse(MapUpdate(peers_changed=(PEER,))))
    (lost,) = control.told(facts.Disconnected)
    assert lost.reason.startswith("HTTP/2 is out of step")
    control.wind(10)
    assert control.waits("poll"), "it has connected again"

"""A control server that does what the test says, on a hand clock: real transport halves, no policy of its own.

control = Scripted()
client = control.client(auth_key="key")
control.run()                                     # connects; the registration is waiting now
control.answer("register", RegisterResponse(...).encode())
control.send_map(MapResponse(...))
control.wind(120)                                 # from deadline to deadline
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, TypeVar

import attrs

from tsnet.base.crypto import disco_public, machine_public, node_public
from tsnet.base.keys import DiscoPrivateKey, MachinePrivateKey, NodeKey, NodePrivateKey
from tsnet.base.links import Close, Closed, Compute, Computed, Data, Effect, Link, Open, Opened, Received
from tsnet.base.malformed import MalformedError
from tsnet.control.client.client import Client
from tsnet.control.client.facts import Fact, NetMapChanged, NodeKeyRotated, Problem
from tsnet.control.http import Cancelled, HttpServer, Request
from tsnet.control.mapframes import encode_frame
from tsnet.control.messages import ControlKeys, MapRequest, MapResponse, RegisterRequest, RegisterResponse
from tsnet.control.transport import Responder
from tsnet.control.upgrade import Answering, initiation_of
from tsnet.netmap.merge import MapUpdate
from tsnet.netmap.model import NetMap, Node, UserProfile

WALL = 1_790_000_000.0
URL = "https://control.example:8443"
CONTROL = MachinePrivateKey(b"\x22" * 32)
MACHINE = MachinePrivateKey(b"\x11" * 32)
NODE_PRIVATE = NodePrivateKey(b"\x66" * 32)
NODE_KEY = node_public(NODE_PRIVATE)
DISCO_KEY = disco_public(DiscoPrivateKey(b"\x77" * 32))
WELCOME = RegisterResponse(user=UserProfile(1, "u@example.com", "U"))
SELF = Node(1, "n1", "shop.example", NODE_KEY, user=1, disco_key=DISCO_KEY)
PEER = Node(2, "n2", "db.example", NodeKey(b"\x08" * 32), created="2026-01-01T00:00:00Z")
MAX_STEPS = 300
MAX_CONCURRENT_STREAMS = 3  # of SETTINGS

_Fact = TypeVar("_Fact")


@attrs.define(eq=False)
class _Peer:
    """The server's end of one link."""

    outer: Answering = attrs.field(factory=Answering)
    noise: Responder | None = None
    http: HttpServer | None = None


@attrs.define(eq=False)
class Waiting:
    """A request that has no answer yet."""

    kind: str
    peer: _Peer
    request: Request
    streams: bool = False

    @property
    def register(self) -> RegisterRequest:
        return RegisterRequest.decode(self.request.body)

    @property
    def map(self) -> MapRequest:
        return MapRequest.decode(self.request.body)


class Scripted:
    """`refuse`: the reason with which links are refused. `pages`: what GET gives. `updates_pass`: lite ones get 200.

    `saves`: a rotated key is saved at once. `asked`: the path of every request that arrived, and when.
    """

    def __init__(self, seed: int = 1) -> None:
        self.now = 1000.0
        self.refuse = ""
        self.streams: int | None = None  # how many requests a new connection takes at once
        self.key_private = CONTROL
        self.pages: dict[str, tuple[int, bytes, dict[str, str]]] = {
            "/key": (200, ControlKeys(machine_public(CONTROL)).encode(), {}),
            "/ts2021": (101, b"", {}),
        }
        self.updates_pass = self.saves = True
        self.updates: list[MapRequest] = []
        self.waiting: list[Waiting] = []
        self.cancelled: list[int] = []
        self.opens: list[Open] = []
        self.heads: list[str] = []
        self.asked: list[tuple[float, str]] = []
        self.facts: list[Fact] = []
        self.peers: dict[Link, _Peer] = {}
        self.compute: Callable[[Compute], None] = self._compute
        self.entropy = random.Random(seed).randbytes
        self.node: Client | None = None

    def client(self, **options: Any) -> Client:
        fixed: dict[str, Any] = {
            "machine_private": MACHINE,
            "node_private": NODE_PRIVATE,
            "disco_key": DISCO_KEY,
            "entropy": self.entropy,
            "wall_offset": WALL - self.now,
            "hostinfo": {"Hostname": "shop"},
        }
        self.node = Client(options.pop("url", URL), **{**fixed, **options})
        return self.node

    @property
    def _client(self) -> Client:
        assert self.node is not None
        return self.node

    # --- what the test says -------------------------------------------------------------------------------------

    def join(self, *, netmap: MapUpdate | None = None, **options: Any) -> Client:
        """A client that is registered, and has its first map."""
        client = self.client(**{"auth_key": "key", **options})
        self.run()
        self.answer("register", WELCOME.encode())
        self.send_map(MapResponse(netmap or MapUpdate(node=SELF)))
        return client

    def find(self, kind: str) -> Waiting:
        """The request of that kind ("register", "poll", "update", or a path) that waits."""
        found = [waiting for waiting in self.waiting if waiting.kind == kind]
        assert len(found) == 1, f"{kind} among {[waiting.kind for waiting in self.waiting]}; told {self.facts[-4:]}"
        return found[0]

    def waits(self, kind: str) -> bool:
        return any(waiting.kind == kind for waiting in self.waiting)

    def answer(self, kind: str, body: bytes = b"", status: int = 200, **headers: str) -> None:
        self.reply(self.find(kind), body, status, **headers)

    def reply(self, waiting: Waiting, body: bytes = b"", status: int = 200, **headers: str) -> None:
        """Answer this one."""
        self.waiting.remove(waiting)
        assert waiting.peer.http is not None
        lines = [(name.replace("_", "-"), value) for name, value in headers.items()]
        waiting.peer.http.respond(waiting.request.stream, status, body, lines)
        self.run()

    def send(self, data: bytes, *, end: bool = False) -> None:
        """Bytes of the map stream's body."""
        waiting = self.find("poll")
        http, stream = waiting.peer.http, waiting.request.stream
        assert http is not None
        if not waiting.streams:
            waiting.streams = True
            http.respond(stream, 200, end=False)
        http.write(stream, data, end=end)
        if end:
            self.waiting.remove(waiting)
        self.run()

    def send_map(self, response: MapResponse, *, compress: bool = True) -> None:
        self.send(encode_frame(response.encode(), compress=compress))

    def cut(self, reason: str = "reset") -> None:
        """Every link breaks."""
        links, self.peers = list(self.peers), {}
        self.waiting.clear()
        for link in links:
            self._client.receive(Closed(link, reason), self.now)
        self.run()

    def take_streams(self, streams: int) -> None:
        """From now on every connection takes so many requests at once."""
        self.streams = streams
        for peer in self.peers.values():
            if peer.http is not None:
                peer.http._h2.update_settings({MAX_CONCURRENT_STREAMS: streams})
        self.run()

    # --- what the client did ------------------------------------------------------------------------------------

    def told(self, kind: type[_Fact]) -> list[_Fact]:
        return [fact for fact in self.facts if isinstance(fact, kind)]

    @property
    def netmap(self) -> NetMap:
        return self.told(NetMapChanged)[-1].netmap

    # --- the wire -----------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Exchange what is due now, until nothing is."""
        for _step in range(MAX_STEPS):
            effects = self._client.transmit(self.now)
            busy = self._listen()
            for effect in effects:
                self._perform(effect)
            busy = self._flush() or busy
            if not effects and not busy and self._client.deadline() > self.now:
                return
        raise AssertionError(f"it never settles: {self._client.why()}")

    def _listen(self) -> bool:
        """Whether that gave the client something to do."""
        told = self._client.take_facts()
        self.facts += told
        saved = self.saves and any(isinstance(fact, NodeKeyRotated) for fact in told)
        if saved:
            self._client.key_saved(self.now)
        return saved

    def wind(self, seconds: float) -> None:
        """Let time pass, from deadline to deadline."""
        until = self.now + seconds
        self.run()
        while (at := self._client.deadline()) <= until:
            self.now = at
            self.run()
        self.now = until
        self.run()

    def _perform(self, effect: Effect) -> None:
        if isinstance(effect, Open):
            self._open(effect)
        elif isinstance(effect, Compute):
            self.compute(effect)
        elif effect.link in self.peers:
            if isinstance(effect, Close):
                gone = self.peers.pop(effect.link)
                self.waiting = [waiting for waiting in self.waiting if waiting.peer is not gone]
            elif isinstance(effect, Data):
                self._take(effect.link, self.peers[effect.link], effect.data)

    def _compute(self, effect: Compute) -> None:
        try:
            value = effect.run()
        except MalformedError as error:
            value = error
        self._client.receive(Computed(effect.link, value), self.now)

    def _open(self, effect: Open) -> None:
        self.opens.append(effect)
        if self.refuse:
            self._client.receive(Closed(effect.link, self.refuse), self.now)
        else:
            self.peers[effect.link] = _Peer()
            self._client.receive(Opened(effect.link), self.now)

    def _take(self, link: Link, peer: _Peer, data: bytes) -> None:
        if peer.noise is None:
            data = self._outer(link, peer, data)
        if peer.noise is not None and peer.http is not None and data:
            for request in peer.http.receive(peer.noise.receive(data)):
                self._asked(peer, request)

    def _outer(self, link: Link, peer: _Peer, data: bytes) -> bytes:
        request = peer.outer.receive(data)
        if request is None:
            return b""
        self.asked.append((self.now, request.path.partition("?")[0]))
        if request.method == "HEAD":
            self.heads.append(request.path)
        status, body, headers = self.pages.get(request.path.partition("?")[0], (404, b"", {}))
        if status == 101:
            try:
                peer.noise = Responder(self.key_private, initiation_of(request), self.entropy)
            except MalformedError:
                status = 400  # it was meant for another key
        if status != 101:
            self._client.receive(Received(link, peer.outer.respond(status, body, list(headers.items()))), self.now)
            return b""
        assert peer.noise is not None
        peer.http = HttpServer()
        if self.streams is not None:
            peer.http._h2.update_settings({MAX_CONCURRENT_STREAMS: self.streams})
        switch, rest = peer.outer.switch()
        self._client.receive(Received(link, switch + peer.noise.response), self.now)
        return rest

    def _asked(self, peer: _Peer, request: Request | Cancelled) -> None:
        if isinstance(request, Cancelled):
            self.cancelled.append(request.stream)
            self.waiting = [one for one in self.waiting if (one.peer, one.request.stream) != (peer, request.stream)]
            return
        assert peer.http is not None
        self.asked.append((self.now, request.path))
        kind = {"/machine/register": "register", "/machine/map": "poll"}.get(request.path, request.path)
        if kind == "poll" and not MapRequest.decode(request.body).stream:
            self.updates.append(MapRequest.decode(request.body))
            if self.updates_pass:
                peer.http.respond(request.stream, 200)
                return
            kind = "update"
        self.waiting.append(Waiting(kind, peer, request))

    def _flush(self) -> bool:
        busy = False
        for link, peer in list(self.peers.items()):
            if peer.noise is not None and peer.http is not None:
                data = peer.noise.seal(peer.http.transmit())
                if data:
                    busy = True
                    self._client.receive(Received(link, data), self.now)
        return busy


def problem(control: Scripted) -> Problem:
    """The last one that the client has told of."""
    return control.told(Problem)[-1]

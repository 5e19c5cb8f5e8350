"""A control server as a byte machine over accepted links. It serves what real clients need.

| outside           | answer                      | inside ts2021           | answer                           |
|-------------------|-----------------------------|-------------------------|----------------------------------|
| POST /ts2021      | 101, then Noise and HTTP/2  | POST /machine/register  | `registration`; held for a login |
| /api/v2/…         | `api`                       | POST /machine/map       | stream: `streams`                |
| other             | one of `pages`              |   lite update           | 200, empty; its state is stored  |
|                   |                             |   one-shot              | one whole map                    |
|                   |                             | POST /c2n/<token>       | 200; the answer to a `c2n`       |
|                   |                             | POST /machine/id-token  | `idtokens`, one of the `answers` |
|                   |                             | other /machine/…        | one of `answers`, 204, 501, 404  |

A test can plan `faults`: requests that are answered late, wrongly or not at all (`suffering`).

The Noise handshake proves the caller's machine key; a node key of another machine is refused. A connection has no
state but the requests that are open on it, since Go opens a second one with the same machine key.

    POST /machine/register ─► decided ─► the tailnet `is_kept`? ─ yes ─► answered
                                          └ no: promised ─► `nodestore` has come that far ─► answered
                                                          └ `break_promises` ─► 503, ask again

A tailnet that is saved survives a crash with every node that was told it is accepted, and with the one-off keys that
they spent. What else a node tells or is told may be lost in a crash; the node says it again when it reconnects.

Source: Go tstest/integration/testcontrol; Headscale hscontrol/noise.go for what may stay unanswered.
Not here: state (`tailnet`), TLS and listeners (the edge).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from operator import attrgetter
from typing import assert_never

import attrs

from tsnet.base.allowance import Flood
from tsnet.base.crypto import machine_public
from tsnet.base.keys import MachineKey, MachinePrivateKey
from tsnet.base.links import (
    Accepted,
    Close,
    Closed,
    Computed,
    Data,
    Datagrams,
    Effect,
    Event,
    Full,
    Link,
    LookedUp,
    Opened,
    Pause,
    Received,
    Resume,
    Room,
)
from tsnet.base.malformed import MalformedError
from tsnet.base.timetable import Timetable
from tsnet.base.work import Work, share
from tsnet.control import http, upgrade
from tsnet.control.apipaths import API_PATH
from tsnet.control.mapframes import encode_frame
from tsnet.control.messages import (
    MAP_PATH,
    REGISTER_PATH,
    MapRequest,
    MapResponse,
    PingRequest,
    RegisterRequest,
)
from tsnet.control.server.answers import ANSWER_COST, ControlRequest, Respond
from tsnet.control.server.api import KeyApi
from tsnet.control.server.connection import UPGRADE_COST, Asked, Connection, Stage
from tsnet.control.server.faults import Asks, Faults, without
from tsnet.control.server.idtokens import IdTokens
from tsnet.control.server.members import Member
from tsnet.control.server.pages import AUTH_PATH, JSON, PLAIN, Pages
from tsnet.control.server.registration import register
from tsnet.control.server.streams import DUE_NOW, MapStreams, Modify
from tsnet.control.server.suffering import Suffering
from tsnet.control.server.tailnet import TailnetState
from tsnet.control.server.view import first, view
from tsnet.control.tokenrequest import ID_TOKEN_PATH

PAGE_TIMEOUT = 10.0
"""Seconds that a link may stay open without an upgrade."""

WRITE_TIMEOUT = 30.0
"""Seconds that a link may stay full."""

MAX_HELD, MAX_HELD_BYTES = 1024, 16 << 20
"""How many register requests may wait for a person, and their bytes. Another one is answered with 429."""

MAX_BURDEN = 256 << 20
"""Bytes of input, unfinished requests and untaken answers of all connections. Above that, those that have most are
closed."""

TURN, LEAST_SHARE, MOST_SHARE = 500, 4, 100
"""Units of work for what clients have sent: of a turn, and the bounds of one connection's share. See `base.work`."""

LAST_WORDS = 1 << 16
"""Bytes at most that a connection is sent before it is closed for what it did: a GOAWAY is behind them."""

OUT_OF_STEP = "HTTP/2 out of step"
PAGES_TOO_LONG, FULL_TOO_LONG = "page timeout", "write timeout"
TOO_MUCH = "keeps too much"

REPLIES_KEPT = 64

C2N_PATH = "/c2n/"

UNANSWERED = {"/machine/update-health": 204, "/machine/audit-log": 200}
NOT_IMPLEMENTED = frozenset({"/machine/set-dns", "/machine/feature/query", "/machine/whoami"})


@attrs.frozen
class _Held:
    """A register request that waits for a person. size: bytes of its encoding.

    lacks: the fields that a planned fault takes out of the answer.
    """

    connection: Connection
    stream: int
    request: RegisterRequest
    size: int
    lacks: tuple[str, ...] = ()


@attrs.frozen
class _Promise:
    """An answer to a register request, which waits until the tailnet is saved at `revision`."""

    connection: Connection
    stream: int
    revision: int
    body: bytes


class Server:
    """base_url: where nodes reach us, for AuthURLs. wall_offset: Unix time = now + wall_offset.
    modify_first_map: for tests of clients; see `streams`. faults: those that a test plans.

    What clients send is read in `transmit`, round robin, and no more in one turn than its share of work; the links of
    those with input left over are paused meanwhile.

    dropped: counts connections by what they did wrong. floods: those among them that sent too much of nothing.
    replies: raw HTTP responses to `c2n`, by token. answers: what else is answered inside ts2021, by path.
    """

    def __init__(
        self,
        tailnet: TailnetState,
        private_key: MachinePrivateKey,
        *,
        entropy: Callable[[int], bytes],
        base_url: str,
        wall_offset: float = 0.0,
        now: float = 0.0,
        modify_first_map: Modify | None = None,
        faults: Faults | None = None,
    ) -> None:
        self.tailnet = tailnet
        self.public_key: MachineKey = machine_public(private_key)
        self.base_url: str = base_url.rstrip("/")
        self.what = "control server"
        self.dropped: Counter[str] = Counter()
        self.floods: Counter[str] = Counter()
        self.replies: dict[str, bytes] = {}
        self.faults: Faults = Faults() if faults is None else faults
        self._suffering = Suffering(self, self.faults)
        id_tokens = IdTokens(tailnet, private_key, issuer=self.base_url, entropy=entropy)
        self.answers: dict[str, Respond] = {ID_TOKEN_PATH: id_tokens.answer}
        self._api = KeyApi(tailnet)
        self._pages = Pages(tailnet, self.public_key, id_tokens.pages)
        self._private_key = private_key
        self._entropy = entropy
        self._wall_offset = wall_offset
        self._connections: dict[Link, Connection] = {}
        self._streams = MapStreams(tailnet, wall_offset, now, modify_first_map)
        self._held: list[_Held] = []
        self._promised: list[_Promise] = []  # by revision
        self._held_at = tailnet.generation
        self._pending: dict[Connection, None] = {}  # those that may have something to send
        self._burden = 0  # of all connections
        self._unread: dict[Connection, None] = {}  # those that have input, in the order of their turns
        self._effects: list[Effect] = []
        self._page_limits = Timetable[Link]()
        self._write_limits = Timetable[Link]()

    @property
    def polling(self) -> frozenset[int]:
        """The ids of the nodes that have a map stream open."""
        return self._streams.nodes

    # --- from below -----------------------------------------------------------------------------------------------

    def receive(self, event: Event, now: float) -> None:
        """Take an event of a listener's link. Events of links that have ended are ignored."""
        if isinstance(event, Accepted):
            self._connections[event.link] = Connection(event.link, now)
            self._page_limits.set(event.link, now + PAGE_TIMEOUT)
            return
        found = self._connections.get(event.link)
        if found is None:
            return
        match event:
            case Received(data=data):
                found.feed(data)
                self._line_up(found)
            case Full():
                found.full_at = now
                self._write_limits.set(found.link, now + WRITE_TIMEOUT)
                self._watch(found)
            case Room():
                found.full_at = math.inf
                self._write_limits.drop(found.link)
                self._pending[found] = None
                self._watch(found)
            case Closed():
                self._read_to_the_end(found, now)
                self._forget(found, now)
            case Opened() | Computed() | Datagrams() | LookedUp():
                pass  # of links that somebody dials
            case _:
                assert_never(event)

    def _line_up(self, connection: Connection) -> None:
        """Read the connection in turn if it has input, and takes our answers."""
        if connection.has_input and not connection.full:
            self._unread.setdefault(connection)
        else:
            self._unread.pop(connection, None)

    def _watch(self, connection: Connection) -> None:
        """Let the edge read more of a connection only once its input is taken apart, and it takes our answers."""
        self._line_up(connection)
        paused = connection.full or connection.has_input
        if paused != connection.is_paused:
            connection.is_paused = paused
            self._effects.append(Pause(connection.link) if paused else Resume(connection.link))

    def _read(self, now: float) -> None:
        """Let the connections with input have their shares, each one once; who gets no turn comes first next time."""
        left = float(TURN)
        most = share(TURN, len(self._unread), LEAST_SHARE, MOST_SHARE)
        for connection in list(self._unread):
            if left > 0:
                del self._unread[connection]
                work = Work(most)
                self._read_one(connection, now, work)
                left -= most - work.left
            if self._connections.get(connection.link) is connection:
                self._watch(connection)

    def _read_to_the_end(self, connection: Connection, now: float) -> None:
        """The client has gone; what it said last still counts, within a share."""
        if connection.has_input and not connection.full:
            self._read_one(connection, now, Work(MOST_SHARE))

    def _read_one(self, connection: Connection, now: float, work: Work) -> None:
        self._pending[connection] = None
        try:
            while connection.has_input and work.left > 0:
                for one in connection.receive(b"", now, work):
                    self._answer(connection, one, now, work)
        except MalformedError as error:
            reason = str(error).partition(":")[0]
            if isinstance(error, Flood):
                self.floods[reason] += 1
            self._close_for(connection, reason, now)
        self._suffering.doom(connection, now)
        self._weigh(connection)

    def _weigh(self, connection: Connection) -> None:
        if self._connections.get(connection.link) is connection:
            self._burden += connection.weigh()

    def _shed(self, now: float) -> None:
        """Those that make us keep most go, so that nobody's small request is refused for what others keep."""
        while self._burden > MAX_BURDEN:
            self._close_for(max(self._connections.values(), key=attrgetter("burden")), TOO_MUCH, now)

    def _close_for(self, connection: Connection, reason: str, now: float) -> None:
        """Close a connection for what it did; the GOAWAY that tells it so leaves first."""
        self.dropped[reason] += 1
        if data := connection.take(LAST_WORDS):
            self._effects.append(Data(connection.link, data))
        self._forget(connection, now)
        self._effects.append(Close(connection.link))

    def _answer(self, connection: Connection, asked: Asked, now: float, work: Work) -> None:
        if isinstance(asked, http.Cancelled):
            self._suffering.forget(connection, asked.stream)
            self._streams.closed(connection, asked.stream, now)
            gone = (connection, asked.stream)
            self._held = [one for one in self._held if (one.connection, one.stream) != gone]
            self._promised = [one for one in self._promised if (one.connection, one.stream) != gone]
        elif isinstance(asked, upgrade.Request):
            self._suffering.meet(connection, asked, now, work)
        else:
            try:
                self._suffering.meet(connection, asked, now, work)
            except MalformedError as error:
                connection.calls.respond(asked.stream, 400, str(error).encode(), PLAIN)

    def serve(
        self, connection: Connection, request: Asks, now: float, work: Work | None = None, lacks: tuple[str, ...] = ()
    ) -> None:
        """Answer a request, now or when a person has decided. lacks: fields that a planned fault takes out."""
        work = Work(MOST_SHARE) if work is None else work
        if isinstance(request, upgrade.Request):
            self._page(connection, request, now, work, lacks)
        else:
            self._call(connection, request, now, work, lacks)

    def drop(self, connection: Connection, reason: str, now: float) -> None:
        """Close a connection for that reason, unless it has ended."""
        if self._connections.get(connection.link) is connection:
            self._close_for(connection, reason, now)

    # --- pages ----------------------------------------------------------------------------------------------------

    def _page(
        self, connection: Connection, request: upgrade.Request, now: float, work: Work, lacks: tuple[str, ...] = ()
    ) -> None:
        path = request.path.partition("?")[0]
        if path == "/ts2021":
            work.spend(UPGRADE_COST)
            self._upgrade(connection, request)
        elif path.startswith(API_PATH):
            connection.respond(*self._api.answer(request, now + self._wall_offset))
        else:
            status, body, headers = self._pages.show(request.method, path)
            connection.respond(status, without(body, lacks) if headers is JSON else body, headers)
        if connection.stage is not Stage.PAGES:
            self._page_limits.drop(connection.link)

    def _upgrade(self, connection: Connection, request: upgrade.Request) -> None:
        try:
            connection.switch(request, self._private_key, self._entropy)
        except MalformedError as error:
            if connection.stage is not Stage.PAGES:
                raise
            self.dropped["bad upgrade"] += 1
            connection.respond(400, f"{error}\n".encode(), PLAIN)

    # --- calls ----------------------------------------------------------------------------------------------------

    def _call(
        self, connection: Connection, request: http.Request, now: float, work: Work, lacks: tuple[str, ...] = ()
    ) -> None:
        path = request.path.partition("?")[0]
        if path == REGISTER_PATH and request.method == "POST":
            held = _Held(connection, request.stream, RegisterRequest.decode(request.body), len(request.body), lacks)
            if not self._register(held, now):
                self._hold(held)
        elif path == MAP_PATH and request.method == "POST":
            self._map(connection, request.stream, MapRequest.decode(request.body), now, lacks)
        elif path.startswith(C2N_PATH) and request.method == "POST":
            self._reply(path.removeprefix(C2N_PATH), request.body)
            connection.calls.respond(request.stream, 200)
        elif path in self.answers and request.method == "POST":
            work.spend(ANSWER_COST)
            self._answer_by(self.answers[path], connection, request, now, lacks)
        elif path in UNANSWERED:
            connection.calls.respond(request.stream, UNANSWERED[path])
        elif path in NOT_IMPLEMENTED:
            connection.calls.respond(request.stream, 501, b"not implemented\n", PLAIN)
        else:
            connection.calls.respond(request.stream, 404, b"not found\n", PLAIN)

    def _answer_by(
        self, respond: Respond, connection: Connection, request: http.Request, now: float, lacks: tuple[str, ...]
    ) -> None:
        assert connection.machine is not None, "calls come after the handshake"
        reply = respond(ControlRequest(connection.machine, request.body, now + self._wall_offset))
        if reply.status == 200:
            connection.calls.respond(request.stream, 200, without(reply.body, lacks), JSON)
        else:
            connection.calls.respond(request.stream, reply.status, reply.body, PLAIN)

    def _register(self, held: _Held, now: float) -> bool:
        """Decide a register request; False if it waits for a person. The answer may still wait for the save."""
        connection = held.connection
        assert connection.machine is not None, "calls come after the handshake"
        response = register(self.tailnet, connection.machine, held.request, self._auth_url, now + self._wall_offset)
        if response is None:
            return False
        body = without(response.encode(), held.lacks)
        promise = _Promise(connection, held.stream, self.tailnet.revision, body)
        if self.tailnet.is_kept or response.error or response.auth_url:
            self._keep(promise)
        else:
            self.tailnet.await_kept()
            self._promised.append(promise)
        return True

    def _keep(self, promise: _Promise) -> None:
        promise.connection.calls.respond(promise.stream, 200, promise.body, JSON)
        self._pending[promise.connection] = None

    def _keep_promises(self) -> None:
        while self._is_promise_due():
            self._keep(self._promised.pop(0))

    def _is_promise_due(self) -> bool:
        return bool(self._promised) and self._promised[0].revision <= self.tailnet.kept

    def break_promises(self) -> None:
        """The tailnet could not be saved: answer those who wait for that with 503, so that they ask again."""
        promised, self._promised = self._promised, []
        for promise in promised:
            promise.connection.calls.respond(promise.stream, 503, b"the tailnet cannot be saved now\n", PLAIN)
            self._pending[promise.connection] = None

    def _hold(self, held: _Held) -> None:
        """Hold a request until a person decides. It is bounded, since strangers can make as many as they like."""
        if len(self._held) >= MAX_HELD or sum(one.size for one in self._held) + held.size > MAX_HELD_BYTES:
            held.connection.calls.respond(held.stream, 429, b"too many wait for a person\n", PLAIN)
        else:
            self._held.append(held)

    def _map(
        self, connection: Connection, stream: int, request: MapRequest, now: float, lacks: tuple[str, ...]
    ) -> None:
        member = self.tailnet.find(request.node_key)
        if member is None:
            connection.calls.respond(stream, 404, b"node not found\n", PLAIN)
        elif member.machine != connection.machine:
            connection.calls.respond(stream, 400, b"this node key belongs to another machine\n", PLAIN)
        elif request.stream:
            self._streams.open(connection, stream, member, request, now, lacks)
        else:
            if not request.read_only:
                self.tailnet.update(member, request)
            body = b"" if request.omit_peers else self._whole_map(member, request, now, lacks)
            connection.calls.respond(stream, 200, body, JSON)

    def _whole_map(self, member: Member, request: MapRequest, now: float, lacks: tuple[str, ...]) -> bytes:
        update = first(view(self.tailnet, member), now + self._wall_offset)
        return encode_frame(without(MapResponse(update).encode(), lacks), compress=request.compress)

    def _auth_url(self, auth_id: str) -> str:
        return f"{self.base_url}{AUTH_PATH}{auth_id}"

    # --- what whoever runs the tailnet asks of nodes ----------------------------------------------------------------

    def c2n(self, member: Member, request: bytes, now: float) -> str | None:
        """Send a node a raw HTTP/1.1 request. Returns a token, or None if the node has no stream.

        The answer appears in `replies` under the token.
        """
        token = self._entropy(16).hex()
        ping = PingRequest(f"{self.base_url}{C2N_PATH}{token}", url_is_noise=True, types="c2n", payload=request)
        if not self._streams.ping(member.id, ping, now):
            return None
        self.replies[token] = b""
        while len(self.replies) > REPLIES_KEPT:
            del self.replies[next(iter(self.replies))]
        return token

    def _reply(self, token: str, body: bytes) -> None:
        if token in self.replies:
            self.replies[token] = body

    # --- to the wire ----------------------------------------------------------------------------------------------

    def transmit(self, now: float, budget: int) -> list[Effect]:
        """Do what is due, answer requests that waited, then send at most `budget` bytes, in one piece a link."""
        self._expire(now)
        self._read(now)
        self._shed(now)
        for connection in self._suffering.serve_due(now):
            self._pending[connection] = None
            self._line_up(connection)
        if self._held and self._held_at != self.tailnet.generation:
            self._held = [held for held in self._held if not self._register(held, now)]
        self._held_at = self.tailnet.generation
        self._keep_promises()
        self._streams.run(now)
        for connection in self._streams.take_touched():
            self._pending[connection] = None
        effects, self._effects = self._effects, []
        for connection in list(self._pending):
            if budget <= 0:
                break
            del self._pending[connection]
            if self._connections.get(connection.link) is not connection:
                continue
            if data := connection.take(budget):
                effects.append(Data(connection.link, data))
                budget -= len(data)
            self._weigh(connection)
            if connection.is_broken:
                self._close_for(connection, OUT_OF_STEP, now)
            elif connection.has_output:
                self._pending[connection] = None
            elif connection.stage is Stage.ENDING and not connection.full:
                self._forget(connection, now)
                effects.append(Close(connection.link))
        return effects

    def deadline(self) -> float:
        """When `transmit` must be called."""
        if self._effects or self._unread or self._pending or self._is_promise_due():
            return DUE_NOW
        if self._held and self._held_at != self.tailnet.generation:
            return DUE_NOW
        return min(
            self._suffering.deadline(),
            self._streams.deadline(),
            self._page_limits.deadline(),
            self._write_limits.deadline(),
        )

    def close(self) -> None:
        """End every connection. The tailnet stays, so that another server can go on with it."""
        self._effects += [Close(link) for link in self._connections]
        for link in list(self._connections):
            self._page_limits.drop(link)
            self._write_limits.drop(link)
        self._connections.clear()
        self._burden = 0
        self._unread.clear()
        self._pending.clear()
        self._held.clear()
        self._promised.clear()
        self._suffering = Suffering(self, self.faults)

    def _expire(self, now: float) -> None:
        for limits, reason in ((self._page_limits, PAGES_TOO_LONG), (self._write_limits, FULL_TOO_LONG)):
            for link in limits.take(now):
                if (connection := self._connections.get(link)) is not None:
                    self.dropped[reason] += 1
                    self._forget(connection, now)
                    self._effects.append(Close(link))

    def _forget(self, connection: Connection, now: float) -> None:
        if self._connections.pop(connection.link, None) is not None:
            self._burden -= connection.burden
        self._page_limits.drop(connection.link)
        self._write_limits.drop(connection.link)
        self._pending.pop(connection, None)
        self._unread.pop(connection, None)
        self._suffering.forget(connection)
        self._held = [held for held in self._held if held.connection is not connection]
        self._promised = [promise for promise in self._promised if promise.connection is not connection]
        self._streams.closed(connection, None, now)

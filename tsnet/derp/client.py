"""The client of one DERP region: it dials, logs in, stays alive and comes back, as a machine over links.

              transmit             Opened              101           ServerKey            ServerInfo
    WAITING ────────────► DIALLING ──────► UPGRADING ──────► GREETING ─────────► LOGGING_IN ─────────► CONNECTED
       ▲     retry_at         │ GET /derp                          ClientInfo, NotePreferred ▲
       │                      └────────────── Opened with the server's key: fast start ──────┘
       └───────────────────────── Closed, too late, dead, broken frame: the next node, else back off ──────┘

Packets may leave right behind ClientInfo. In a fast start, ClientInfo itself leaves right behind the request, sealed
to the key that the relay's meta certificate names; that saves a round trip, and the relay sends no 101. Each new
connection is a new link with a new generation.

Source: Go derp/derp_client.go, derp/derphttp/derphttp_client.go.
Not here: TLS and sockets (the edge), which regions to connect to (`disco.paths`, `netcheck.home`), the order of nodes
and the back-off (`attempts`), when a relay counts as dead (`liveness`).
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from operator import attrgetter
from typing import assert_never

from tsnet.base.addresses import DerpAddress
from tsnet.base.allowance import Allowance, Flood
from tsnet.base.bucket import TokenBucket
from tsnet.base.crypto import BOX_NONCE_SIZE
from tsnet.base.keys import NodeKey, NodePrivateKey
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
    Open,
    Opened,
    Pause,
    Received,
    Resume,
    Room,
)
from tsnet.base.malformed import MalformedError
from tsnet.base.printable import printable
from tsnet.base.trace import Trace
from tsnet.derp import frames
from tsnet.derp.attempts import Attempts
from tsnet.derp.facts import (
    TIMEOUT,
    Cleared,
    Connected,
    Disconnected,
    Fact,
    Left,
    Measured,
    PeerGone,
    RelayHealth,
    Restarting,
    Suspected,
    is_hopeless,
)
from tsnet.derp.liveness import DOUBT_AT_MOST, NO_ANSWER, SILENCE, Liveness
from tsnet.derp.login import (
    MAX_GREETING_SIZE,
    ClientInfo,
    decode_server_key,
    open_server_info,
    seal_client_info,
)
from tsnet.derp.outbox import MAX_QUEUED, MAX_WAITING, Outbox
from tsnet.derp.upgrade import HeadReader, encode_request, parse_status
from tsnet.netmap.derpnodes import dial_hosts, dial_port, dial_tls
from tsnet.netmap.model import DerpNode, DerpRegion

MAX_HEALTH = 1024  # bytes of a relay's report on itself
MAX_REASON = 200  # characters: a proxy writes some of them
HEALTH_RATE, HEALTH_BURST = 0.1, 4.0
"""How many changed reports on itself a relay may send, a second and at once. Further ones are dropped and counted."""

MAX_FACTS = 4096
"""How many facts may wait to be taken when another one comes that the relay can cause at will; that one is dropped
and counted."""

FRAMES_A_TURN = 256
"""Frames taken at once: more than one read of the edge holds of full packets."""

GONE_RATE, GONE_BURST = 1000.0, 20_000.0
"""How many peers may be told gone, a second and at once. All peers of a large tailnet may go together."""

COUNTED = {
    frames.KEEP_ALIVE: "keep-alives",
    frames.PING: "pings",
    frames.PONG: "pongs",
    frames.HEALTH: "health reports",
    frames.RESTARTING: "restarts",
    frames.SERVER_KEY: "greetings",
    frames.SERVER_INFO: "greetings",
}

STABLE_AFTER = 10.0
"""Seconds. After a connection that lasted this long, the back-off starts small again."""

DUE_NOW = -math.inf
TIMERS = ("retry_at", "connect_by")
_timers = attrgetter(*TIMERS)


class Stage(Enum):
    WAITING = "waiting"
    DIALLING = "dialling"
    UPGRADING = "upgrading"
    GREETING = "greeting"
    LOGGING_IN = "logging in"
    CONNECTED = "connected"
    CLOSED = "closed"


class Client:
    """The connection to one region.

    generations: numbers for links, shared by the clients that follow each other for one region.
    dropped: "stale" (an event of an old link), "queue" (packets above the queue's limit), "rate" (the server's limit),
        "oversize" (packets above 64 KiB), "short", "unknown" (frames), "control" (frames for a server that reads
        none), "facts" (nobody took them), "health" (reports above HEALTH_RATE), "flood of …" (connections that were
        ended because the relay sent too much of nothing).

    A turn takes FRAMES_A_TURN frames; while `has_input`, `read` goes on with what is left, and the link is paused.
    """

    def __init__(
        self,
        region: DerpRegion,
        private_key: NodePrivateKey,
        *,
        entropy: Callable[[int], bytes],
        preferred: bool = False,
        use_http: bool = False,
        generations: Iterator[int] | None = None,
        now: float,
        trace: Trace | None = None,
    ) -> None:
        self.region = region
        self._trace = trace
        self.stage: Stage = Stage.WAITING
        self.link: Link | None = None
        self.dropped: Counter[str] = Counter()
        self._private_key = private_key
        self._entropy = entropy
        self._preferred = preferred
        self._use_http = use_http
        self._generations = itertools.count(1) if generations is None else generations
        self._facts: list[Fact] = []
        self._closing: list[Effect] = []

        self._attempts = Attempts(region.nodes, entropy)
        self._node: DerpNode | None = None
        self._start_at = self._ready_at = now

        self._head = HeadReader()
        self._decoder = frames.Decoder()
        self._server_key: NodeKey | None = None
        self._bucket: TokenBucket | None = None
        self._liveness = Liveness()
        self._liveness.set_home(preferred, now)
        self._ping: tuple[bytes, float] | None = None
        self._is_paused = False
        self._allowance, self._gone = Allowance(now), Allowance(now, GONE_RATE, GONE_BURST)
        self._health = ""
        self._health_bucket = TokenBucket(HEALTH_RATE, HEALTH_BURST, now)

        self._out = Outbox(self.dropped)

        self.retry_at: float = now
        self.connect_by: float = math.inf

    # --- from above ---------------------------------------------------------------------------------------------

    @property
    def is_connected(self) -> bool:
        return self.stage is Stage.CONNECTED

    @property
    def is_ready(self) -> bool:
        """Whether packets may leave: ClientInfo has left, or leaves before them."""
        return self.stage is Stage.LOGGING_IN or self.stage is Stage.CONNECTED

    @property
    def host(self) -> str:
        """The name of the node that is connected, or was dialled last; empty if none was."""
        return "" if self._node is None else self._node.host_name

    def is_suspect(self, now: float) -> bool:
        """Whether the relay has left packets unanswered for SUSPECT_AFTER seconds."""
        return self._liveness.is_suspect(now)

    @property
    def has_room(self) -> bool:
        """Whether to send bulk data now: the link is not full; before the login, the queue is not."""
        return not self._out.full if self.is_ready else len(self._out) < MAX_WAITING

    def send(self, key: NodeKey, packets: Sequence[bytes], now: float) -> None:
        """Queue packets for a peer at this relay. Packets over 64 KiB or above the server's rate limit are dropped, and
        the oldest of the queue: above MAX_WAITING before the login, above MAX_QUEUED after it."""
        if self.stage is Stage.CLOSED or not packets:
            return
        if max(map(len, packets)) > frames.MAX_PACKET_SIZE:
            packets = self._without("oversize", packets, lambda packet: len(packet) > frames.MAX_PACKET_SIZE)
        if (bucket := self._bucket) is not None:
            overhead = frames.HEADER_SIZE + frames.KEY_SIZE
            packets = self._without("rate", packets, lambda packet: not bucket.take(overhead + len(packet), now))
        self._out.send(key, packets, MAX_QUEUED if self.is_ready else MAX_WAITING)
        if self.stage is Stage.CONNECTED:
            self._liveness.wrote(now)

    def set_preferred(self, preferred: bool, now: float) -> None:
        """Set whether this region is our home."""
        if preferred != self._preferred:
            self._preferred = preferred
            self._liveness.set_home(preferred, now)
            if self.is_ready:
                self._out.control(_note_preferred(preferred))

    def ping(self, now: float) -> None:
        """Ask the relay for a sign of life. The answer becomes `Measured`; if nothing at all comes for 7 s, the
        connection ends."""
        if self.is_connected and self._liveness.answer_by == math.inf:
            self._ask(now)
            self._liveness.asked(now)

    def _ask(self, now: float) -> None:
        self._ping = self._entropy(8), now
        self._out.control(frames.encode(frames.PING, self._ping[0]))

    def network_changed(self, now: float, *, anew: bool) -> None:
        """A connection must show that it lives, or end; a wait is over. anew: a dial under way begins anew, too.

        A login under way gets no longer than a connection that is doubted may take at most.
        """
        if self.stage is Stage.CONNECTED:
            self._doubt(now)
        elif self.stage is Stage.WAITING or (anew and self.stage is Stage.DIALLING):
            self._attempts.begin_anew()
            self._drop_link()
            self._disarm()
            self.stage, self.retry_at = Stage.WAITING, now
        elif anew and self.stage is not Stage.CLOSED:
            self._attempts.begin_anew()
            self.connect_by = min(self.connect_by, now + DOUBT_AT_MOST)

    def _doubt(self, now: float) -> None:
        if self._ping is None:
            self._ask(now)
        self._attempts.begin_anew()
        self._liveness.doubted(now, self._ready_at - self._start_at)

    def close(self) -> None:
        """End for good: the next `transmit` closes the link."""
        self._say("connection closed", why="it is not needed any more")
        if self.is_connected:
            self._facts.append(Left(self.region.region_id))
        self._drop_link()
        self.stage = Stage.CLOSED
        self._out.shorten(0)
        self._disarm()

    def take_facts(self) -> list[Fact]:
        facts, self._facts = self._facts, []
        return facts

    def _without(self, reason: str, packets: Sequence[bytes], refuse: Callable[[bytes], bool]) -> list[bytes]:
        kept = [packet for packet in packets if not refuse(packet)]
        self.dropped[reason] += len(packets) - len(kept)
        return kept

    # --- from below ---------------------------------------------------------------------------------------------

    def receive(self, event: Event, now: float) -> list[tuple[DerpAddress, list[bytes]]]:
        """Take an event of our link. Returns the packets that came, grouped by source, each group in order."""
        if event.link != self.link:
            self.dropped["stale"] += 1
            return []
        match event:
            case Received(data=data):
                return self._received(data, now)
            case Opened(server_key=server_key):
                if self.stage is Stage.DIALLING:
                    self._opened(server_key, now)
            case Full():
                self._out.full = True
            case Room():
                self._out.full = False
                self._liveness.moved(now)
                self._tell_if_cleared()
            case Closed(reason=reason):
                arrived = self.read(now) if self.has_input else []
                self.link = None
                if self.stage is not Stage.WAITING:  # the frames themselves may have ended it
                    self._lose(reason, now)
                return arrived
            case Accepted() | Computed() | Datagrams() | LookedUp():
                pass  # of listeners, and of those who compute
            case _:
                assert_never(event)
        return []

    def _received(self, data: bytes, now: float) -> list[tuple[DerpAddress, list[bytes]]]:
        if self.stage is Stage.UPGRADING:
            try:
                whole = self._head.feed(data)
                if whole is None:
                    return []
                head, data = whole
                status = parse_status(head)
            except MalformedError as error:
                self._lose(str(error), now)
                return []
            if status != 101:
                self._lose(f"HTTP status {status}", now)
                return []
            self.stage = Stage.GREETING
        if self.stage is Stage.CONNECTED:
            self._liveness.heard(now)
            if self._liveness.is_suspected:
                self._tell_if_cleared()
        self._decoder.hold(data)
        return self.read(now)

    @property
    def has_input(self) -> bool:
        """Whether frames are left over for `read`."""
        return self.link is not None and self._decoder.has_more

    def read(self, now: float) -> list[tuple[DerpAddress, list[bytes]]]:
        """Take the next frames of what has come, FRAMES_A_TURN at most. Returns their packets, as `receive` does."""
        return self._consume(self._decoder.feed(b"", FRAMES_A_TURN), now)

    def _consume(self, batch: list[tuple[int, bytes]], now: float) -> list[tuple[DerpAddress, list[bytes]]]:
        by_source: dict[bytes, list[bytes]] = {}
        for frame_type, payload in batch:
            if frame_type == frames.RECV_PACKET and len(payload) > frames.KEY_SIZE:
                source = payload[: frames.KEY_SIZE]
                packets = by_source.get(source)
                if packets is None:
                    packets = by_source[source] = []
                packets.append(payload[frames.KEY_SIZE :])
                continue
            if frame_type == frames.RECV_PACKET and len(payload) == frames.KEY_SIZE:
                by_source.setdefault(payload, []).append(b"")  # a packet, but it counts
            try:
                self._frame(frame_type, payload, now)
            except Flood as flood:
                self.dropped[str(flood)] += 1
                self._lose(str(flood), now)
            except MalformedError as error:
                self._lose(str(error), now)
            if self.link is None:
                break
        else:
            if self._decoder.refused:
                self._lose("frame too long", now)
        region = self.region.region_id
        return [(DerpAddress(region, NodeKey(source)), packets) for source, packets in by_source.items()]

    def _frame(self, frame_type: int, payload: bytes, now: float) -> None:
        """Take any frame but a packet. Raises MalformedError, which ends the connection."""
        region = self.region.region_id
        self._count(frame_type, now)
        if self.stage is Stage.GREETING:
            self._greeted(frame_type, payload, now)
        elif frame_type == frames.SERVER_INFO:
            self._server_info(payload, now)
        elif frame_type == frames.PING and len(payload) >= 8:
            self._out.control(frames.encode(frames.PONG, payload[:8]))
        elif frame_type == frames.PONG and len(payload) >= 8:
            self._ponged(payload[:8], now)
        elif frame_type == frames.PEER_GONE and len(payload) >= frames.KEY_SIZE:
            reason = payload[frames.KEY_SIZE] if len(payload) > frames.KEY_SIZE else frames.PEER_GONE_DISCONNECTED
            self._tell(PeerGone(region, NodeKey(payload[: frames.KEY_SIZE]), reason))
        elif frame_type == frames.HEALTH:
            self._says(_line(payload[:MAX_HEALTH].decode("utf-8", "replace")), now)
        elif frame_type == frames.RESTARTING and (times := frames.decode_restarting(payload)) is not None:
            self._tell(Restarting(region, *times))
        elif frame_type == frames.RECV_PACKET and len(payload) == frames.KEY_SIZE:
            return  # it has been taken as a packet
        elif frame_type not in (frames.KEEP_ALIVE, frames.SERVER_KEY):
            known = frames.SERVER_KEY <= frame_type <= frames.RESTARTING
            self.dropped["short" if known else "unknown"] += 1

    def _count(self, frame_type: int, now: float) -> None:
        """Raises Flood for a relay that sends too much that is no packet, or empty ones."""
        if frame_type == frames.PEER_GONE:
            self._gone.spend("peers gone", now)
        elif frame_type == frames.RECV_PACKET:
            self._allowance.spend("empty packets", now)  # or too short for a key
        else:
            self._allowance.spend(COUNTED.get(frame_type, "unknown frames"), now)

    def _says(self, text: str, now: float) -> None:
        """Tell what the relay reports on itself, if it is new."""
        if text == self._health:
            return
        if self._health_bucket.take(1, now):
            self._health = text
            self._tell(RelayHealth(self.region.region_id, text))
        else:
            self.dropped["health"] += 1

    def _tell_suspected(self) -> None:
        self._say("relay suspect", host=self.host)
        self._facts.append(Suspected(self.region.region_id))

    def _tell_if_cleared(self) -> None:
        if self._liveness.clears():
            self._say("relay not suspect any more", host=self.host)
            self._facts.append(Cleared(self.region.region_id))

    def _tell(self, fact: Fact) -> None:
        """Tell a fact that the relay can cause as often as it likes."""
        if len(self._facts) < MAX_FACTS:
            self._facts.append(fact)
        else:
            self.dropped["facts"] += 1

    # --- one connection's life ----------------------------------------------------------------------------------

    def _dial(self, now: float) -> list[Effect]:
        """Open a link to the next node of this round, or to the first of a new round."""
        if not self._attempts.has_more:
            self._attempts.begin()
        attempt = self._attempts.take()
        if attempt is None:
            self._lose("no node to dial", now)
            return []
        node, limit = attempt
        self.link = Link("derp", self.region.region_id, next(self._generations))
        port, tls = dial_port(node, use_http=self._use_http), dial_tls(node, use_http=self._use_http)
        self.stage, self._node, self.connect_by = Stage.DIALLING, node, now + limit
        self._say("dialling", host=node.host_name, port=port, limit=limit)
        self._head, self._decoder = HeadReader(), frames.Decoder(MAX_GREETING_SIZE)
        self._allowance, self._gone = Allowance(now), Allowance(now, GONE_RATE, GONE_BURST)
        return [Open(self.link, dial_hosts(node), port, tls, limit)]

    def _opened(self, server_key: bytes, now: float) -> None:
        """The link is open: ask for DERP. If the relay's key is known already, log in right behind the request."""
        assert self._node is not None
        self._say("link opened", host=self._node.host_name, knows_its_key=bool(server_key))
        first = self.region.nodes[0]
        ideal_node = "" if self._node is first else first.name
        self._out.control(encode_request(self._node.host_name, ideal_node, fast_start=bool(server_key)))
        if not server_key:
            self.stage = Stage.UPGRADING
            return
        try:
            self._log_in(NodeKey(server_key), now)
        except MalformedError as error:
            self._lose(str(error), now)

    def _greeted(self, frame_type: int, payload: bytes, now: float) -> None:
        if frame_type != frames.SERVER_KEY:
            raise MalformedError("no DERP greeting")
        self._log_in(decode_server_key(payload), now)

    def _log_in(self, server_key: NodeKey, now: float) -> None:
        """Raises MalformedError for a key of low order."""
        login = seal_client_info(self._private_key, server_key, self._entropy(BOX_NONCE_SIZE), ClientInfo())
        self._server_key = server_key
        self._out.control(frames.encode(frames.CLIENT_INFO, login))
        if self._preferred:
            self._out.control(_note_preferred(True))
        self._decoder.limit = frames.MAX_FRAME_SIZE
        self.stage, self._start_at = Stage.LOGGING_IN, now

    def _server_info(self, payload: bytes, now: float) -> None:
        assert self._server_key is not None
        info = open_server_info(self._private_key, self._server_key, payload)
        self._bucket = TokenBucket(info.rate, info.burst, now) if info.rate else None
        if self.stage is Stage.LOGGING_IN:
            self.stage, self._ready_at, self.connect_by = Stage.CONNECTED, now, math.inf
            self._liveness.begin(now, now - self._start_at)
            self._facts.append(Connected(self.region.region_id, now - self._start_at))
            self._say("connected", host=self.host, login_took=now - self._start_at)

    def _ponged(self, data: bytes, now: float) -> None:
        if self._ping is not None and self._ping[0] == data:
            self._tell(Measured(self.region.region_id, now - self._ping[1]))
            self._ping = None

    def _lose(self, reason: str, now: float) -> None:
        """This attempt or connection is over: dial the next node if one is left, else wait."""
        was_connected = self.is_connected
        if was_connected and now - self._ready_at >= STABLE_AFTER:
            self._attempts.lasted()
        if self._node is not None and (reason in (NO_ANSWER, SILENCE) or reason.startswith("timeout")):
            self._attempts.put_last(self._node)
        self._drop_link(abort=reason in (NO_ANSWER, SILENCE))
        self._disarm()
        self.stage = Stage.WAITING
        if self._attempts.has_more and not was_connected:
            self._say("attempt failed", host=self.host, why=reason, next="another node of the region")
            self.retry_at = now
            return
        self.retry_at = now + self._attempts.pause(hopeless=is_hopeless(reason))
        again = self.retry_at - now
        self._say("connection lost" if was_connected else "attempt failed", host=self.host, why=reason, again_in=again)
        self._facts.append(Disconnected(self.region.region_id, _line(reason[:MAX_REASON]), self.host))

    def _say(self, event: str, **fields: object) -> None:
        """Trace what became of a connection or an attempt."""
        if self._trace is not None:
            self._trace(event, region=self.region.region_id, **fields)

    def _drop_link(self, *, abort: bool = False) -> None:
        """abort: a relay takes who spoke last for the one that is there. If what a dead link still has to say got
        through later, packets for us would go there, and not to the link that has taken its place."""
        if self.link is not None:
            self._closing.append(Close(self.link, abort))
        self.link = self._server_key = self._bucket = self._ping = None
        self._health = ""
        self._is_paused = False
        self._out.new_connection()

    def _disarm(self) -> None:
        self.retry_at = self.connect_by = math.inf
        self._liveness.stop()

    # --- to the wire --------------------------------------------------------------------------------------------

    def transmit(self, now: float, budget: int) -> list[Effect]:
        """The effects that are due: links to open and close, and at most `budget` bytes in one piece."""
        if now >= self.connect_by:
            self._lose(f"{TIMEOUT}{self.stage.value}", now)
        elif verdict := self._liveness.verdict(now):
            self._lose(verdict, now)
        else:
            if now >= self._liveness.probe_at:
                self.ping(now)
            if self._liveness.suspects(now):
                self._tell_suspected()
        effects, self._closing = self._closing, []
        if now >= self.retry_at:
            self.retry_at = math.inf
            effects += self._dial(now)
        if self.link is not None and (data := self._out.take(budget, self.is_ready)):
            effects.append(Data(self.link, data))
        if self.link is not None and self._decoder.has_more != self._is_paused:
            self._is_paused = self._decoder.has_more
            effects.append(Pause(self.link) if self._is_paused else Resume(self.link))
        return effects

    def deadline(self) -> float:
        if self._closing or self.has_input or (self.link is not None and self._out.has_output(self.is_ready)):
            return DUE_NOW
        at: float = min(*_timers(self), self._liveness.deadline())
        return at


def _line(text: str) -> str:
    """Foreign text on one line, with single spaces."""
    return printable(" ".join(text.split()))[:MAX_HEALTH]


def _note_preferred(preferred: bool) -> bytes:
    return frames.encode(frames.NOTE_PREFERRED, b"\1" if preferred else b"\0")

"""Our side of one DERP region: dial, log in, keep alive, come back, as a machine over links.

              transmit             Opened              101           ServerKey            ServerInfo
    WAITING ────────────► DIALLING ──────► UPGRADING ──────► GREETING ─────────► LOGGING_IN ─────────► CONNECTED
       ▲     retry_at         GET /derp                           ClientInfo, NotePreferred
       └───────────────────────────── Closed, watchdog, broken frame: the next node, else back off ───────────┘

Nodes of the region are tried in order, each with its share of the 10 s that one attempt may take. Packets may leave
right behind ClientInfo. A connection that ended is never revived: the next one has a new generation in its link.

Source: Go derp/derp_client.go, derp/derphttp/derphttp_client.go, wgengine/magicsock/derp.go (back-off).
Not here: TLS and sockets (the edge), which regions to hold (`disco.paths`, `netcheck.home`).
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from ipaddress import ip_address
from operator import attrgetter

from tsnet.base.addresses import DerpAddress
from tsnet.base.crypto import BOX_NONCE_SIZE
from tsnet.base.keys import NodeKey, NodePrivateKey
from tsnet.base.links import Close, Closed, Data, Effect, Event, Full, Link, Open, Opened, Received, Room, Tls
from tsnet.base.malformed import MalformedError
from tsnet.derp import frames
from tsnet.derp.bucket import TokenBucket
from tsnet.derp.facts import Connected, Disconnected, Fact, Health, Left, Measured, PeerGone, Restarting
from tsnet.derp.login import (
    MAX_GREETING_SIZE,
    ClientInfo,
    decode_server_key,
    open_server_info,
    seal_client_info,
)
from tsnet.derp.outbox import MAX_QUEUED, MAX_WAITING, Outbox
from tsnet.derp.upgrade import HeadReader, encode_request, parse_status
from tsnet.netmap.model import DerpNode, DerpRegion

CONNECT_TIMEOUT = 10.0
SILENCE_TIMEOUT = 120.0  # twice the server's keepalive
PONG_TIMEOUT = 5.0
MAX_HEALTH = 1024  # bytes of what a relay says of itself
BACKOFF_MIN, BACKOFF_MAX = 0.1, 5.0
STABLE_AFTER = 10.0
"""A connection that lived this long was a good one: the next back-off starts small again."""

DUE_NOW = -math.inf
TIMERS = ("retry_at", "connect_by", "watchdog_at", "pong_by")
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
    """One region's connection.

    generations: numbers for links, shared by clients that may follow each other for one region.
    dropped: "stale" (event of an old link), "queue" (waited too long for a login), "rate" (the server's limit),
        "oversize" (packets above 64 KiB), "short", "unknown" (frames), "control" (pongs nobody reads).
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
    ) -> None:
        self.region = region
        self.stage = Stage.WAITING
        self.link: Link | None = None
        self.dropped: Counter[str] = Counter()
        self._private_key = private_key
        self._entropy = entropy
        self._preferred = preferred
        self._use_http = use_http
        self._generations = itertools.count(1) if generations is None else generations
        self._facts: list[Fact] = []
        self._closing: list[Effect] = []

        self._nodes_left: list[DerpNode] = []
        self._node: DerpNode | None = None
        self._failures = 0
        self._start_at = self._ready_at = now

        self._head = HeadReader()
        self._decoder = frames.Decoder()
        self._server_key: NodeKey | None = None
        self._bucket: TokenBucket | None = None
        self._ping: tuple[bytes, float] | None = None

        self._out = Outbox(self.dropped)

        self.retry_at, self.connect_by, self.watchdog_at, self.pong_by = now, math.inf, math.inf, math.inf

    # --- from above ---------------------------------------------------------------------------------------------

    @property
    def is_connected(self) -> bool:
        return self.stage is Stage.CONNECTED

    @property
    def is_ready(self) -> bool:
        """Whether packets may leave: ClientInfo has gone, or goes in front of them."""
        return self.stage is Stage.LOGGING_IN or self.stage is Stage.CONNECTED

    @property
    def has_room(self) -> bool:
        """Whether bulk is welcome: the link is not full, or the queue for the login is not."""
        return not self._out.full if self.is_ready else len(self._out) < MAX_WAITING

    def send(self, key: NodeKey, packets: Sequence[bytes], now: float) -> None:
        """Queue packets for a peer at this relay. Before the login the oldest give way; after it nothing is lost
        but by the server's rate limit."""
        if self.stage is Stage.CLOSED or not packets:
            return
        if max(map(len, packets)) > frames.MAX_PACKET_SIZE:
            packets = self._without("oversize", packets, lambda packet: len(packet) > frames.MAX_PACKET_SIZE)
        if (bucket := self._bucket) is not None:
            overhead = frames.HEADER_SIZE + frames.KEY_SIZE
            packets = self._without("rate", packets, lambda packet: not bucket.take(overhead + len(packet), now))
        self._out.send(key, packets, MAX_QUEUED if self.is_ready else MAX_WAITING)

    def set_preferred(self, preferred: bool, now: float) -> None:
        """Whether this region is our home."""
        if preferred != self._preferred:
            self._preferred = preferred
            if self.is_ready:
                self._out.control(_note_preferred(preferred))

    def ping(self, now: float) -> None:
        """Ask the relay for a sign of life: `Measured`, or after 5 s the end of this connection."""
        if self.is_connected and self._ping is None:
            self._ping = self._entropy(8), now
            self._out.control(frames.encode(frames.PING, self._ping[0]))
            self.pong_by = now + PONG_TIMEOUT

    def close(self) -> None:
        """The link is closed at the next `transmit`; nothing follows."""
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
        """Take an event of our link. Returns the packets that came, in order, grouped by source."""
        if event.link != self.link:
            self.dropped["stale"] += 1
            return []
        match event:
            case Received(data=data):
                return self._received(data, now)
            case Opened() if self.stage is Stage.DIALLING:
                self._upgrade()
            case Full():
                self._out.full = True
            case Room():
                self._out.full = False
            case Closed(reason=reason):
                self.link = None
                self._lose(reason, now)
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
            self.watchdog_at = now + SILENCE_TIMEOUT
        return self._consume(self._decoder.feed(data), now)

    def _consume(self, batch: list[tuple[int, bytes]], now: float) -> list[tuple[DerpAddress, list[bytes]]]:
        by_source: dict[bytes, list[bytes]] = {}
        for frame_type, payload in batch:
            if frame_type == frames.RECV_PACKET and len(payload) >= frames.KEY_SIZE:
                source = payload[: frames.KEY_SIZE]
                packets = by_source.get(source)
                if packets is None:
                    packets = by_source[source] = []
                packets.append(payload[frames.KEY_SIZE :])
                continue
            try:
                self._frame(frame_type, payload, now)
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
        """Any frame but a packet. MalformedError ends the connection."""
        region = self.region.region_id
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
            self._facts.append(PeerGone(region, NodeKey(payload[: frames.KEY_SIZE]), reason))
        elif frame_type == frames.HEALTH:
            self._facts.append(Health(region, _printable(payload[:MAX_HEALTH])))
        elif frame_type == frames.RESTARTING and (times := frames.decode_restarting(payload)) is not None:
            self._facts.append(Restarting(region, *times))
        elif frame_type not in (frames.KEEP_ALIVE, frames.SERVER_KEY):
            known = frames.SERVER_KEY <= frame_type <= frames.RESTARTING
            self.dropped["short" if known else "unknown"] += 1

    # --- one connection's life ----------------------------------------------------------------------------------

    def _dial(self, now: float) -> list[Effect]:
        """Open a link to the next node that can be dialled at all."""
        while self._nodes_left:
            node = self._nodes_left.pop(0)
            if node.stun_only or not (hosts := dial_hosts(node)):
                continue
            self.link = Link("derp", self.region.region_id, next(self._generations))
            self.stage, self._node = Stage.DIALLING, node
            self._head, self._decoder = HeadReader(), frames.Decoder(MAX_GREETING_SIZE)
            share = (self.connect_by - now) / (1 + len(self._nodes_left))
            return [Open(self.link, hosts, self._port(node), self._tls(node), share)]
        self._lose("no node to dial", now)
        return []

    def _port(self, node: DerpNode) -> int:
        return node.derp_port or (3340 if self._use_http else 443)

    def _tls(self, node: DerpNode) -> Tls | None:
        return None if self._use_http else Tls(node.host_name, node.cert_name, node.insecure_for_tests)

    def _upgrade(self) -> None:
        assert self._node is not None
        first = self.region.nodes[0]
        self._out.control(encode_request(self._node.host_name, "" if self._node is first else first.name))
        self.stage = Stage.UPGRADING

    def _greeted(self, frame_type: int, payload: bytes, now: float) -> None:
        if frame_type != frames.SERVER_KEY:
            raise MalformedError("no DERP greeting")
        self._server_key = decode_server_key(payload)
        nonce = self._entropy(BOX_NONCE_SIZE)
        login = seal_client_info(self._private_key, self._server_key, nonce, ClientInfo())
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
            self.stage, self._ready_at = Stage.CONNECTED, now
            self.connect_by, self.watchdog_at = math.inf, now + SILENCE_TIMEOUT
            self._facts.append(Connected(self.region.region_id, now - self._start_at))

    def _ponged(self, data: bytes, now: float) -> None:
        if self._ping is not None and self._ping[0] == data:
            self._facts.append(Measured(self.region.region_id, now - self._ping[1]))
            self._ping, self.pong_by = None, math.inf

    def _lose(self, reason: str, now: float) -> None:
        """This attempt or connection is over: the next node if one is left and time is, else wait."""
        was_connected = self.is_connected
        self._drop_link()
        if self._nodes_left and not was_connected and now < self.connect_by:
            self.stage, self.retry_at = Stage.WAITING, now
            return
        if was_connected and now - self._ready_at >= STABLE_AFTER:
            self._failures = 0
        delay = min(BACKOFF_MAX, BACKOFF_MIN * 2.0**self._failures)
        self._failures = min(self._failures + 1, 16)
        self._disarm()
        self.stage, self.retry_at = Stage.WAITING, now + delay * (0.5 + self._entropy(1)[0] / 510)
        self._nodes_left = []
        self._facts.append(Disconnected(self.region.region_id, reason))

    def _drop_link(self) -> None:
        if self.link is not None:
            self._closing.append(Close(self.link))
        self.link = self._server_key = self._bucket = self._ping = None
        self._out.new_connection()

    def _disarm(self) -> None:
        self.retry_at = self.connect_by = self.watchdog_at = self.pong_by = math.inf

    # --- to the wire --------------------------------------------------------------------------------------------

    def transmit(self, now: float, budget: int) -> list[Effect]:
        """What must go out: links to open and close, and at most `budget` bytes in one piece."""
        if now >= self.connect_by:
            self._nodes_left = []
            self._lose(f"timeout while {self.stage.value}", now)
        elif now >= self.watchdog_at:
            self._lose("silence", now)
        elif now >= self.pong_by:
            self._lose("no pong", now)
        effects, self._closing = self._closing, []
        if now >= self.retry_at:
            self.retry_at = math.inf
            if not self._nodes_left:
                self._nodes_left = list(self.region.nodes)
                self.connect_by = now + CONNECT_TIMEOUT
            effects += self._dial(now)
        if self.link is not None and (data := self._out.take(budget, self.is_ready)):
            effects.append(Data(self.link, data))
        return effects

    def deadline(self) -> float:
        if self._closing or (self.link is not None and self._out.has_output(self.is_ready)):
            return DUE_NOW
        at: float = min(_timers(self))
        return at


def _printable(text: bytes) -> str:
    """A relay's words on one line, whatever they hold."""
    return "".join(char if char.isprintable() else " " for char in text.decode("utf-8", "replace"))


def dial_hosts(node: DerpNode) -> tuple[str, ...]:
    """What to dial, in order: each family's literal, its name if that is empty, nothing if it is no address."""
    hosts: list[str] = []
    for address, version in ((node.ipv4, 4), (node.ipv6, 6)):
        host = node.host_name if not address else address if _is_literal(address, version) else ""
        if host and host not in hosts:
            hosts.append(host)
    return tuple(hosts)


def _is_literal(address: str, version: int) -> bool:
    try:
        return ip_address(address).version == version
    except ValueError:
        return False


def _note_preferred(preferred: bool) -> bytes:
    return frames.encode(frames.NOTE_PREFERRED, b"\1" if preferred else b"\0")

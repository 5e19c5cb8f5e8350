"""A DERP relay as a byte machine: connections in, frames routed by node key, connections out.

    Accepted ─► HTTP head ─► ServerKey out ─► ClientInfo in ─► ServerInfo out ─► SendPacket in … RecvPacket out

- A packet goes to the newest connection of its destination's key, or to the one that last sent a frame.
- Nobody there: dropped, and for path discovery the sender is told (PeerGone, not here), a few times a second.
- When a key's last connection ends, whoever was sent packets of it is told (PeerGone, disconnected).
- A connection that breaks the rules is closed and counted; the relay has no mesh, so mesh frames break them.

Source: Go derp/derpserver/derpserver.go, handler.go.
Not here: TLS, listeners and the meta certificate (the edge); STUN (`disco.stun`).
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import Counter
from collections.abc import Callable

from tsnet.base.crypto import BOX_NONCE_SIZE, node_public
from tsnet.base.keys import NodeKey, NodePrivateKey
from tsnet.base.links import Accepted, Close, Closed, Data, Effect, Event, Full, Link, Received, Room
from tsnet.base.malformed import MalformedError
from tsnet.derp import frames
from tsnet.derp.login import ServerInfo, encode_server_key, open_client_info, seal_server_info
from tsnet.derp.queues import looks_like_disco
from tsnet.derp.session import LOGIN_TIMEOUT, Session, Stage
from tsnet.derp.upgrade import Request, answer, encode_switching, parse_request

MAX_PING_SIZE = 1000
RESTART_TRY_FOR = 30.0

DUE_NOW = -math.inf


class Relay:
    """One relay, one region of one node.

    private_key: keep it over restarts, so that logins in flight still open.
    admit: whether a node key may log in from an address; None admits all.
    mangle: what becomes of a run of packets from one key to another on its way through, for tests of lossy relays.
    dropped: packets by "no such peer", "queue"; connections by what they did wrong.
    """

    def __init__(
        self,
        private_key: NodePrivateKey,
        *,
        entropy: Callable[[int], bytes],
        admit: Callable[[NodeKey, str], bool] | None = None,
        mangle: Callable[[NodeKey, NodeKey, list[bytes]], list[bytes]] | None = None,
        now: float,
    ) -> None:
        self.public_key = node_public(private_key)
        self.dropped: Counter[str] = Counter()
        self._private_key = private_key
        self._entropy = entropy
        self._admit = admit
        self._mangle = mangle
        self._sessions: dict[Link, Session] = {}
        self._by_key: dict[bytes, list[Session]] = {}  # the last one is active
        self._pending: dict[Link, Session] = {}  # have something to send, and room for it
        self._closing: list[Effect] = []
        self._heap: list[tuple[float, int, Link]] = []
        self._heap_order = itertools.count()

    @property
    def clients(self) -> frozenset[NodeKey]:
        """The keys logged in now."""
        return frozenset(sessions[-1].key for sessions in self._by_key.values() if sessions[-1].key is not None)

    # --- from below ---------------------------------------------------------------------------------------------

    def receive(self, event: Event, now: float) -> None:
        """Take an event of a listener's links; those of links that ended already are ignored."""
        if isinstance(event, Accepted):
            jitter = self._entropy(1)[0] / 255
            session = self._sessions[event.link] = Session(event.link, event.remote, jitter, self.dropped, now)
            self._arm(session)
            return
        found = self._sessions.get(event.link)
        if found is None:
            return
        match event:
            case Received(data=data):
                self._received(found, data, now)
            case Full():
                found.link_is_full(True, now)
                self._pending.pop(found.link, None)
                self._arm(found)
            case Room():
                found.link_is_full(False, now)
                self._touch(found)
            case Closed():
                self._forget(found)

    def close(self) -> None:
        """Tell the clients to come back at once, and end every connection."""
        for session in list(self._sessions.values()):
            if session.stage is Stage.OPEN:
                session.queues.control(frames.encode_restarting(0, RESTART_TRY_FOR))
            self._finish(session)

    def _received(self, session: Session, data: bytes, now: float) -> None:
        try:
            if session.stage is Stage.HEAD:
                data = self._request(session, data, now)
            if session.stage in (Stage.LOGIN, Stage.OPEN):
                self._frames(session, session.decoder.feed(data), now)
                if session.decoder.refused:
                    raise MalformedError("frame too long")
        except MalformedError as error:
            self.dropped[str(error)] += 1
            self._end(session)

    # --- getting in ---------------------------------------------------------------------------------------------

    def _request(self, session: Session, data: bytes, now: float) -> bytes:
        """Read request heads and answer them; returns what came behind the one that asks for DERP.

        A probe may be followed by another once its answer has left; what is pipelined ends the connection.
        """
        while (whole := session.head.feed(data)) is not None:
            head, data = whole
            request = parse_request(head)
            if request.path == "/derp" and request.wants_derp:
                self._upgrade(session, request, now)
                return data
            last = not request.may_be_followed or not session.queues.is_empty
            session.queues.control(answer(request, last=last))
            if last:
                self._finish(session)
                return b""
            session.login_by = now + LOGIN_TIMEOUT
            self._touch(session)
        return b""

    def _upgrade(self, session: Session, request: Request, now: float) -> None:
        if not request.is_fast_start:
            session.queues.control(encode_switching(self.public_key))
        session.queues.control(frames.encode(frames.SERVER_KEY, encode_server_key(self.public_key)))
        session.stage, session.login_by = Stage.LOGIN, now + LOGIN_TIMEOUT
        self._touch(session)

    def _login(self, session: Session, frame_type: int, payload: bytes, now: float) -> None:
        if frame_type != frames.CLIENT_INFO:
            raise MalformedError("no ClientInfo")
        key, _info = open_client_info(self._private_key, payload)
        if self._admit is not None and not self._admit(key, session.remote[0]):
            raise MalformedError("not admitted")
        session.key, session.stage = key, Stage.OPEN
        session.decoder.limit = frames.MAX_FRAME_SIZE
        session.login_by, session.keep_alive_at = math.inf, now + session.keep_alive_every
        self._by_key.setdefault(key, []).append(session)
        info = seal_server_info(self._private_key, key, self._entropy(BOX_NONCE_SIZE), ServerInfo())
        session.queues.control(frames.encode(frames.SERVER_INFO, info))
        self._arm(session)
        self._touch(session)

    # --- frames -------------------------------------------------------------------------------------------------

    def _frames(self, session: Session, batch: list[tuple[int, bytes]], now: float) -> None:
        """Act on a batch; its packets are routed as one run per destination, those before a broken frame too."""
        runs: dict[bytes, list[bytes]] = {}
        try:
            for frame_type, payload in batch:
                if session.stage is Stage.LOGIN:
                    self._login(session, frame_type, payload, now)
                elif frame_type == frames.SEND_PACKET:
                    if not frames.KEY_SIZE <= len(payload) <= frames.KEY_SIZE + frames.MAX_PACKET_SIZE:
                        raise MalformedError("SendPacket of impossible size")
                    runs.setdefault(payload[: frames.KEY_SIZE], []).append(payload[frames.KEY_SIZE :])
                else:
                    self._frame(session, frame_type, payload)
        finally:
            if session.key is not None and batch:
                self._note_active(session, session.key)
                for destination, packets in runs.items():
                    self._relay(session, session.key, destination, packets, now)

    def _frame(self, session: Session, frame_type: int, payload: bytes) -> None:
        if frame_type == frames.NOTE_PREFERRED:
            if len(payload) != 1:
                raise MalformedError("NotePreferred of impossible size")
            session.is_preferred = payload != b"\0"
        elif frame_type == frames.PING:
            if not 8 <= len(payload) <= MAX_PING_SIZE:
                raise MalformedError("Ping of impossible size")
            session.queues.control(frames.encode(frames.PONG, payload[:8]))
            self._touch(session)
        elif frame_type in frames.MESH_FRAMES:
            raise MalformedError("mesh frame")

    def _relay(self, sender: Session, source: NodeKey, destination: bytes, packets: list[bytes], now: float) -> None:
        receivers = self._by_key.get(destination)
        if receivers is None:
            self.dropped["no such peer"] += len(packets)
            if any(map(looks_like_disco, packets)) and sender.not_here.take(1, now):
                sender.queues.control(frames.encode_peer_gone(destination, frames.PEER_GONE_NOT_HERE))
                self._touch(sender)
            return
        if self._mangle is not None:
            packets = self._mangle(source, NodeKey(destination), packets)
        if packets:
            receiver = receivers[-1]
            receiver.sources.add(source)
            receiver.queues.packets(source, packets)
            self._touch(receiver)

    def _note_active(self, session: Session, key: NodeKey) -> None:
        """Of two connections with one key the last to send anything is the one that gets packets."""
        sessions = self._by_key[key]
        if sessions[-1] is not session:
            sessions.remove(session)
            sessions.append(session)

    # --- getting out --------------------------------------------------------------------------------------------

    def _finish(self, session: Session) -> None:
        """Let the last bytes leave, then close the link."""
        self._leave(session)
        session.stage = Stage.ENDING
        self._touch(session)

    def _end(self, session: Session) -> None:
        self._forget(session)
        self._closing.append(Close(session.link))

    def _forget(self, session: Session) -> None:
        self._leave(session)
        self._sessions.pop(session.link, None)
        self._pending.pop(session.link, None)

    def _leave(self, session: Session) -> None:
        """Out of the routing table; if it was the key's last connection, its correspondents are told."""
        key, session.key = session.key, None
        if key is None:
            return
        others = self._by_key[key]
        others.remove(session)
        if others:
            return
        del self._by_key[key]
        for correspondent in self._sessions.values():
            if key in correspondent.sources and correspondent.stage is Stage.OPEN:
                correspondent.sources.discard(key)
                correspondent.queues.control(frames.encode_peer_gone(key, frames.PEER_GONE_DISCONNECTED))
                self._touch(correspondent)

    # --- to the wire --------------------------------------------------------------------------------------------

    def transmit(self, now: float, budget: int) -> list[Effect]:
        """Run what is due, then at most `budget` bytes, one piece a link; links that got some go to the back."""
        while self._heap and self._heap[0][0] <= now:
            at, _order, link = heapq.heappop(self._heap)
            session = self._sessions.get(link)
            if session is not None and at == session.armed_at:  # else superseded by an earlier one, which armed anew
                session.armed_at = math.inf
                self._expire(session, now)
        effects, self._closing = self._closing, []
        for session in list(self._pending.values()):
            if budget <= 0:
                break
            del self._pending[session.link]
            if data := session.queues.take(budget):
                effects.append(Data(session.link, data))
                budget -= len(data)
            if not session.queues.is_empty:
                self._pending[session.link] = session
            elif session.stage is Stage.ENDING:
                self._forget(session)
                effects.append(Close(session.link))
        return effects

    def _expire(self, session: Session, now: float) -> None:
        for slot, reason in (("login_by", "login timeout"), ("write_by", "write timeout")):
            if now >= getattr(session, slot):
                self.dropped[reason] += 1
                self._end(session)
                return
        if now >= session.keep_alive_at:
            session.keep_alive_at = now + session.keep_alive_every
            session.queues.control(frames.encode(frames.KEEP_ALIVE))
            self._touch(session)
        self._arm(session)

    def deadline(self) -> float:
        """May be early by a timer that has moved since; never late."""
        if self._closing or self._pending:
            return DUE_NOW
        return self._heap[0][0] if self._heap else math.inf

    def _touch(self, session: Session) -> None:
        """It may have something to send."""
        if not session.queues.full:
            self._pending[session.link] = session

    def _arm(self, session: Session) -> None:
        at = session.deadline()
        if at < session.armed_at:
            session.armed_at = at
            heapq.heappush(self._heap, (at, next(self._heap_order), session.link))

"""A DERP relay as a byte machine: connections in, frames routed by node key, connections out.

    Accepted ─► HTTP head ─► ServerKey out ─► ClientInfo in ─► ServerInfo out ─► SendPacket in … RecvPacket out

- A packet goes to the newest connection of its destination's key, or to the one that last sent a frame.
- Nobody there: dropped, and for path discovery the sender is told (PeerGone, not here), a few times a second.
- When a key's last connection ends, whoever was sent packets of it is told (PeerGone, disconnected).
- A connection that breaks the rules is closed and counted; the relay has no mesh, so mesh frames break them.
- Frames are taken in `transmit`, round robin: FRAMES_A_TURN in one turn, and of one connection an equal part. A link is
  paused while frames are left over. So no client takes the relay from the others, however small its packets are.
- A client that sends too much of what moves nothing (pings, unknown frames, empty packets, packets for nobody) is
  closed, and counts in `floods`.

Source: Go derp/derpserver/derpserver.go, handler.go.
Not here: TLS, listeners and the meta certificate (the edge); STUN (`netcheck.stun`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import assert_never

from tsnet.base.allowance import Flood
from tsnet.base.crypto import BOX_NONCE_SIZE, node_public
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
    Opened,
    Pause,
    Received,
    Resume,
    Room,
)
from tsnet.base.malformed import MalformedError
from tsnet.base.timetable import Timetable
from tsnet.base.work import share
from tsnet.derp import frames
from tsnet.derp.login import ServerInfo, encode_server_key, open_client_info, seal_server_info
from tsnet.derp.queues import looks_like_disco
from tsnet.derp.session import LOGIN_TIMEOUT, Session, Stage
from tsnet.derp.upgrade import Request, answer, encode_switching, parse_request

MAX_PING_SIZE = 1000

FRAMES_A_TURN, LEAST_SHARE, MOST_SHARE = 1024, 16, 256
"""Frames of one turn, which take some milliseconds, and the bounds of one connection's share. What one read of the edge
holds of full packets is less than that share."""

LOGIN_COST = 32
"""Frames that a login counts for, since its box must be opened and another one sealed."""

COUNTED = {
    frames.PING: "pings",
    frames.PONG: "pongs",
    frames.NOTE_PREFERRED: "notes",
    frames.KEEP_ALIVE: "keep-alives",
}
RESTART_TRY_FOR = 30.0
NOT_ADMITTED = "not admitted"

LONGEST = frames.KEY_SIZE + frames.MAX_PACKET_SIZE

DUE_NOW = -math.inf


class Relay:
    """One relay, one region of one node.

    private_key: keep it over restarts, so that logins in flight still open.
    admit: whether a node key may log in from an address, and stay when its next keep-alive is due; None admits all.
    mangle: what becomes of a run of packets from one key to another on its way through, for tests of lossy relays.
    dropped: packets by "no such peer", "queue"; connections by what they did wrong.
    floods: connections that were closed because they sent too much of nothing, by reason.
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
        self.public_key: NodeKey = node_public(private_key)
        self.what = "relay"
        self.dropped: Counter[str] = Counter()
        self.floods: Counter[str] = Counter()
        self._private_key = private_key
        self._entropy = entropy
        self._admit = admit
        self._mangle = mangle
        self._sessions: dict[Link, Session] = {}
        self._by_key: dict[bytes, list[Session]] = {}  # the last one is active
        self._pending: dict[Link, Session] = {}  # have something to send, and room for it
        self._unread: dict[Link, Session] = {}  # have frames left, in the order of their turns
        self._last_words = FRAMES_A_TURN  # frames of this turn of those who have gone
        self._effects: list[Effect] = []
        self._due = Timetable[Link]()

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
                if found.decoder.has_more and self._last_words > 0:
                    self._last_words -= self._read_one(found, MOST_SHARE, now)  # what it said last still counts
                self._forget(found)
            case Opened() | Computed() | Datagrams() | LookedUp():
                pass  # of links that somebody dials
            case _:
                assert_never(event)

    def close(self) -> None:
        """Tell the clients to come back at once, and end every connection."""
        for session in list(self._sessions.values()):
            if session.stage is Stage.OPEN:
                session.queues.control(frames.encode_restarting(0, RESTART_TRY_FOR))
            self._finish(session)

    def _received(self, session: Session, data: bytes, now: float) -> None:
        if session.stage is Stage.HEAD:
            try:
                data = self._request(session, data, now)
            except MalformedError as error:
                self._end_for(session, error)
                return
        if session.stage in (Stage.LOGIN, Stage.OPEN):
            session.decoder.hold(data)
            if session.decoder.has_more:
                self._unread.setdefault(session.link, session)

    def _read(self, now: float) -> None:
        """Let the connections with frames have their shares, each one once; who gets no turn comes first next time."""
        left = self._last_words = FRAMES_A_TURN
        most = share(FRAMES_A_TURN, len(self._unread), LEAST_SHARE, MOST_SHARE)
        for session in list(self._unread.values()):
            if left > 0:
                del self._unread[session.link]
                left -= self._read_one(session, most, now)
            if self._sessions.get(session.link) is session:
                self._watch(session)

    def _read_one(self, session: Session, most: int, now: float) -> int:
        """Returns what that counts for."""
        cost = LOGIN_COST if session.stage is Stage.LOGIN else 0
        batch = session.decoder.feed(b"", most)
        try:
            self._frames(session, batch, now)
            if session.decoder.refused:
                raise MalformedError("frame too long")
        except MalformedError as error:
            self._end_for(session, error)
        return len(batch) + cost

    def _watch(self, session: Session) -> None:
        """Let the edge read more of a connection only once its frames are taken."""
        waits = session.decoder.has_more and session.stage is not Stage.ENDING
        if waits:
            self._unread.setdefault(session.link, session)
        if waits != session.is_paused:
            session.is_paused = waits
            self._effects.append(Pause(session.link) if waits else Resume(session.link))

    def _end_for(self, session: Session, error: MalformedError) -> None:
        self.dropped[str(error)] += 1
        if isinstance(error, Flood):
            self.floods[str(error)] += 1
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
        if not self._is_admitted(key, session):
            raise MalformedError(NOT_ADMITTED)
        session.key, session.stage = key, Stage.OPEN
        session.decoder.limit = frames.MAX_FRAME_SIZE
        session.login_by, session.keep_alive_at = math.inf, now + session.keep_alive_every
        self._by_key.setdefault(key, []).append(session)
        info = seal_server_info(self._private_key, key, self._entropy(BOX_NONCE_SIZE), ServerInfo())
        session.queues.control(frames.encode(frames.SERVER_INFO, info))
        self._arm(session)
        self._touch(session)

    def _is_admitted(self, key: NodeKey, session: Session) -> bool:
        return self._admit is None or self._admit(key, session.remote[0])

    # --- frames -------------------------------------------------------------------------------------------------

    def _frames(self, session: Session, batch: list[tuple[int, bytes]], now: float) -> None:
        """Act on a batch; its packets are routed as one run per destination, those before a broken frame too."""
        runs: dict[bytes, list[bytes]] = {}
        try:
            for frame_type, payload in batch:
                if session.stage is Stage.LOGIN:
                    self._login(session, frame_type, payload, now)
                elif frame_type == frames.SEND_PACKET:
                    if not frames.KEY_SIZE < len(payload) <= LONGEST:
                        self._odd_packet(session, payload, now)
                    runs.setdefault(payload[: frames.KEY_SIZE], []).append(payload[frames.KEY_SIZE :])
                else:
                    self._frame(session, frame_type, payload, now)
        finally:
            if session.key is not None and batch:
                self._note_active(session, session.key)
                for destination, packets in runs.items():
                    self._relay(session, session.key, destination, packets, now)

    def _odd_packet(self, session: Session, payload: bytes, now: float) -> None:
        """An empty one is relayed, but counts. Raises MalformedError for any other."""
        if len(payload) != frames.KEY_SIZE:
            raise MalformedError("SendPacket of impossible size")
        session.allowance.spend("empty packets", now)

    def _frame(self, session: Session, frame_type: int, payload: bytes, now: float) -> None:
        session.allowance.spend(COUNTED.get(frame_type, "unknown frames"), now)
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
            sender.for_nobody.spend("packets for nobody", now, len(packets))
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
        self._unread.pop(session.link, None)
        session.stage = Stage.ENDING
        self._touch(session)

    def _end(self, session: Session) -> None:
        if session.link in self._sessions:
            self._forget(session)
            self._effects.append(Close(session.link))

    def _forget(self, session: Session) -> None:
        self._leave(session)
        self._sessions.pop(session.link, None)
        self._due.drop(session.link)
        self._pending.pop(session.link, None)
        self._unread.pop(session.link, None)

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
        for link in self._due.take(now):
            if (session := self._sessions.get(link)) is not None:
                self._expire(session, now)
        self._read(now)
        effects, self._effects = self._effects, []
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
            if session.key is not None and not self._is_admitted(session.key, session):
                self.dropped[NOT_ADMITTED] += 1
                self._end(session)
                return
            session.keep_alive_at = now + session.keep_alive_every
            session.queues.control(frames.encode(frames.KEEP_ALIVE))
            self._touch(session)
        self._arm(session)

    def deadline(self) -> float:
        """When `transmit` must be called. It may be early, by a time limit that has moved since, but is never late."""
        if self._effects or self._pending or self._unread:
            return DUE_NOW
        return self._due.deadline()

    def _touch(self, session: Session) -> None:
        """It may have something to send."""
        if not session.queues.full:
            self._pending[session.link] = session

    def _arm(self, session: Session) -> None:
        self._due.set(session.link, session.deadline())

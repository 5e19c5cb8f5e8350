"""One peer: its handshake, its sessions, its timers, and the packets that wait for a session.

    send ──► current session? ── yes ──► seal ──► outbox          stale afterwards? ──► initiate
                 └─ no ──► staged (128, the newest) ──► initiate ──► response ──► staged packets are sealed

    receive_initiation  ─► next session, response                 receive_transport ─► packets
    receive_response    ─► current session, staged or keepalive        └ first one of `next` ─► current, staged

At most one initiation is under way: `request_initiation` sends none while one is out, and waits until REKEY_TIMEOUT
after the last handshake message of ours, which may be a response (with a peer that never answered: until the first of
EARLY_RETRIES). An initiation waits for the saved mark if its time stamp would not lie below it; everything else goes
on meanwhile.

Source: WireGuard §6; wireguard-go device/send.go, receive.go, timers.go.
Not here: which peer a message is from (`device`), when timers are due (`timers`), the order of sessions (`keypairs`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tsnet.base.addresses import Destination
from tsnet.base.crypto import x25519
from tsnet.base.keys import NodeKey, PrivateKey
from tsnet.base.malformed import MalformedError
from tsnet.base.records import record
from tsnet.wireguard import handshake
from tsnet.wireguard.constants import (
    EARLY_RETRIES,
    INITIATION_GAP,
    LONG_ROUND_TRIP,
    LOST_SESSION_WAIT,
    MAX_STAGED_PACKETS,
    REKEY_TIMEOUT,
)
from tsnet.wireguard.cookie import CookieMaker
from tsnet.wireguard.facts import Established, GaveUp, Heard, Unanswered
from tsnet.wireguard.handshake import IDLE, NO_PSK, Consumed, Handshake, Initiated, Keys, Opened, Remote
from tsnet.wireguard.keylog import HandshakeSecrets
from tsnet.wireguard.keypairs import Keypairs
from tsnet.wireguard.local import Local
from tsnet.wireguard.messages import INITIATION_SIZE, RESPONSE_SIZE, CookieReply, Response
from tsnet.wireguard.session import Session
from tsnet.wireguard.timers import TIMERS, Timers

_KEEPALIVE = (b"",)
_NEXT_INITIATION = INITIATION_GAP + 0.005
"""Seconds from one initiation to the next: the least that the responder accepts, and a little more."""


@record
class SessionStatus:
    """last_handshake: when the last session was derived, on the device's clock; None if never."""

    last_handshake: float | None
    sent_bytes: int
    received_bytes: int
    staged_packets: int
    has_session: bool


NEVER_SPOKEN = SessionStatus(None, 0, 0, 0, False)


class Peer:
    __slots__ = (
        "_cookies",
        "_local",
        "_remote",
        "answered",
        "armed_at",
        "handshake",
        "handshake_sent_at",
        "initiation_consumed_at",
        "interval",
        "key",
        "keypairs",
        "last_handshake",
        "latest_timestamp",
        "psk",
        "received_bytes",
        "sent_bytes",
        "staged",
        "timers",
        "why",
    )

    def __init__(
        self, local: Local[Peer], key: NodeKey, *, psk: bytes | None = None, persistent_keepalive: float | None = None
    ) -> None:
        """This is cheap: what needs a hash or a Diffie-Hellman is made at first use."""
        self._local = local
        self.key: NodeKey = key
        self.psk: bytes = psk or NO_PSK
        self.interval: float | None = persistent_keepalive or None
        self._remote: Remote | None = None
        self._cookies: CookieMaker | None = None
        self.handshake: Handshake = IDLE
        self.keypairs: Keypairs = Keypairs()
        self.timers: Timers = Timers(self.interval)
        self.staged: list[bytes] = []
        self.answered: bool = False
        """Whether a handshake with this peer ever completed."""
        self.latest_timestamp: bytes = b""
        self.initiation_consumed_at: float = -math.inf
        self.handshake_sent_at: float = -math.inf
        self.last_handshake: float | None = None
        self.sent_bytes: int = 0
        self.received_bytes: int = 0
        self.armed_at: float = math.inf
        self.why: str = ""
        """Why the handshake that is planned or under way was begun, as words for the trace."""

    def deadline(self) -> float:
        return self.timers.deadline()

    def status(self) -> SessionStatus:
        return SessionStatus(
            self.last_handshake,
            self.sent_bytes,
            self.received_bytes,
            len(self.staged),
            self.keypairs.current is not None,
        )

    # --- packets --------------------------------------------------------------------------------------------

    def send(self, packets: Sequence[bytes], now: float) -> None:
        session = self.keypairs.current
        if session is not None and session.can_send(len(packets), now):
            self._seal(session, packets, now)
        else:
            self._stage(packets)
            self.request_initiation(now, "data waits for a session")

    def send_keepalive(self, now: float) -> None:
        session = self.keypairs.current
        if session is not None and session.can_send(1, now):
            self._seal(session, _KEEPALIVE, now)
        else:
            self.request_initiation(now, "a keepalive is due, and there is no session")

    def receive_transport(self, session: Session, datagrams: Sequence[bytes], now: float) -> list[bytes] | None:
        """The packets without keepalives; None if nothing was authentic."""
        if now >= session.expires_at:
            self._local.dropped["expired session"] += len(datagrams)
            return None
        opened = session.open_run(datagrams, self._local.dropped)
        if not opened:
            return None
        self.received_bytes += sum(map(len, datagrams))
        self.timers.authenticated_received(now)
        packets = opened if all(opened) else [packet for packet in opened if packet]
        if packets:
            self.timers.data_received(now)
        if session is self.keypairs.next:
            self._confirm(now)
        if session is self.keypairs.current and session.is_in_last_minute(now):
            session.renewed = True
            self.request_initiation(now, "the session is in its last minute")
        return packets

    def _seal(self, session: Session, packets: Sequence[bytes], now: float) -> None:
        local, timers = self._local, self.timers
        sealed = session.seal_run(packets, local.mtu)
        self.sent_bytes += sum(map(len, sealed))
        local.outbox.put(self.key, sealed)
        timers.authenticated_sent(now)
        if packets is not _KEEPALIVE and timers.new_handshake_at == math.inf:
            timers.data_sent(now, local.jitter())
        if session.is_stale(now):
            self.request_initiation(now, "the session is two minutes old")

    def _stage(self, packets: Sequence[bytes]) -> None:
        """Let packets wait for a session; the oldest above MAX_STAGED_PACKETS are dropped."""
        staged = self.staged
        excess = len(staged) + len(packets) - MAX_STAGED_PACKETS
        if excess > 0:
            self._local.dropped["staged queue full"] += excess
            del staged[:excess]
        staged.extend(packets[-MAX_STAGED_PACKETS:])

    def _send_staged(self, now: float) -> None:
        """Seal what is staged; if nothing is, a keepalive, which tells the responder that its response arrived."""
        packets, self.staged = self.staged, []
        session = self.keypairs.current
        if not packets or session is None:
            self.send_keepalive(now)
            return
        sealed = session.seal_run(packets, self._local.mtu)
        self.sent_bytes += sum(map(len, sealed))
        self._local.outbox.put_mixed(self.key, sealed)
        self.timers.authenticated_sent(now)
        self.timers.data_sent(now, self._local.jitter())

    # --- handshakes: initiator ------------------------------------------------------------------------------

    def request_initiation(self, now: float, why: str) -> None:
        """Plan an initiation: for this turn, or for when the last handshake message is old enough.

        The initiation itself is made when timers run, after the turn's handshakes have been read. If one of those is
        the peer's initiation, ours is put off, because both in one burst make wireguard-go mix up the two sessions.
        """
        self.timers.handshake_wanted(now)
        if self.timers.is_initiating:
            return
        self.why = why
        earliest = self.handshake_sent_at + self._handshake_gap()
        self.timers.retransmit_at = now if now >= earliest else earliest + self._local.jitter()

    def release_initiation(self, now: float) -> None:
        """Try again to stamp an initiation that waits for the mark: it is saved, or the wall clock was set."""
        self.timers.initiation_released(now)

    def path_gained(self, now: float) -> None:
        """Begin a handshake that is under way anew: what was sent before this path has not arrived."""
        if self.timers.is_initiating:
            self.timers.restart(max(now, self.handshake_sent_at + _NEXT_INITIATION), now)
            self.why = "there is another path"

    def path_restored(self, now: float) -> None:
        """As `path_gained`, but leave a gap. Older initiations may have waited below and go out first: the responder
        answers the first of them, which we have forgotten, and drops one that comes right behind it.

        What went out since the last such event is given LONG_ROUND_TRIP: a path that comes and goes faster would let no
        handshake complete."""
        timers, answered_by = self.timers, self.handshake_sent_at + max(LONG_ROUND_TRIP, self._local.round_trip)
        if not timers.is_initiating:
            return
        if timers.restarted_time <= self.handshake_sent_at and now < answered_by:
            timers.retransmit_at = min(timers.retransmit_at, answered_by)
            return
        self.path_gained(now)
        timers.retransmit_at = max(timers.retransmit_at, now + _NEXT_INITIATION)

    def session_lost(self, now: float) -> None:
        """The peer sends by a session that we do not have: it does not know that we have restarted.

        A handshake tells it. Without one it would find out after NEW_HANDSHAKE_TIME. The peer may be about to initiate
        by itself, so ours waits for LOST_SESSION_WAIT.
        """
        if not self.keypairs.all() and not self.timers.is_initiating:
            self.why = "the peer sends by a session that we do not have"
            self.timers.handshake_wanted(now)
            self.timers.retransmit_at = max(now + LOST_SESSION_WAIT, self.handshake_sent_at + self._handshake_gap())

    def expects_response(self, index: bytes) -> bool:
        """Whether the initiation with this index is under way; if not, the response is dropped."""
        initiated = self.handshake
        if isinstance(initiated, Initiated) and initiated.sender == int.from_bytes(index, "little"):
            return True
        self._local.dropped["unexpected response"] += 1
        return False

    def receive_response(self, message: Response, source: Destination, now: float) -> None:
        local, initiated = self._local, self.handshake
        if not isinstance(initiated, Initiated) or initiated.sender != message.receiver:
            local.dropped["unexpected response"] += 1
            return
        keys = handshake.consume_response(local.identity, self.remote(), initiated, message)
        if keys is None:
            local.dropped["forged response"] += 1
            return
        self.handshake = IDLE
        session = self._derive(keys, initiated.sender, message.sender, now, is_initiator=True)
        self._release(self.keypairs.initiated(session, now))
        self.received_bytes += RESPONSE_SIZE
        self.timers.authenticated_received(now)
        self._completed(source, now, is_initiator=True)

    def receive_cookie(self, message: CookieReply, now: float) -> None:
        """Keep the cookie for the next retry, which is not sent any sooner."""
        if not self._cookie_maker().consume_reply(message, now):
            self._local.dropped["forged cookie"] += 1

    def _initiate(self, now: float) -> None:
        local = self._local
        stamp = local.timestamp(now)
        if stamp is None:
            self.timers.initiation_held(now)
            self._say("handshake waits", why="the mark above its time stamp is not saved yet")
            return
        self._abandon_initiation()
        sender, ephemeral = local.indices.allocate(self), local.ephemeral()
        try:
            initiated, message = handshake.create_initiation(local.identity, self.remote(), sender, ephemeral, stamp)
        except MalformedError:  # a key of low order: no handshake with this peer can succeed
            local.indices.release(sender)
            local.dropped["unusable key"] += 1
            self._say("key of the peer unusable")
            self._give_up(now)
            return
        self.handshake = initiated
        self._log_keys(ephemeral)
        self._send_handshake(message.encode(), now)
        self._say("handshake sent", why=f"no answer yet: {self.why}" if self.timers.is_in_series else self.why)
        if self.timers.is_in_series and self.answered:
            local.facts.append(Unanswered(self.key))
        self.timers.initiation_sent(now, local.jitter(), early=not self.answered, round_trip=local.round_trip)

    def _abandon_initiation(self) -> None:
        if isinstance(self.handshake, Initiated):
            self._local.indices.release(self.handshake.sender)
            self.handshake = IDLE

    # --- handshakes: responder ------------------------------------------------------------------------------

    def receive_initiation(self, opened: Opened, source: Destination, now: float) -> None:
        local = self._local
        try:
            consumed = handshake.open_timestamp(opened, self.remote())
        except MalformedError:
            consumed = None
        if consumed is None:
            local.dropped["forged initiation"] += 1
        elif consumed.timestamp <= self.latest_timestamp:
            local.dropped["replayed initiation"] += 1
        elif now - self.initiation_consumed_at <= INITIATION_GAP:
            local.dropped["initiation too soon"] += 1
        else:
            self._respond(consumed, source, now)

    def _respond(self, consumed: Consumed, source: Destination, now: float) -> None:
        local = self._local
        if self.keypairs.next is not None and self.answered:
            local.facts.append(Unanswered(self.key))
        sender, ephemeral = local.indices.allocate(self), local.ephemeral()
        try:
            responded = handshake.create_response(consumed, self.remote(), sender, ephemeral)
        except MalformedError:
            local.indices.release(sender)
            local.dropped["forged initiation"] += 1
            return
        self.latest_timestamp, self.initiation_consumed_at = consumed.timestamp, now
        session = self._derive(responded.keys, sender, consumed.sender, now, is_initiator=False)
        self._release(self.keypairs.responded(session, now))
        self.received_bytes += INITIATION_SIZE
        self.timers.authenticated_received(now)
        local.facts.append(Heard(self.key, source))
        self._log_keys(ephemeral)
        self._send_handshake(responded.response.encode(), now)
        self._say("handshake answered")
        if self.timers.is_initiating:
            self.timers.initiation_put_off(now + self._handshake_gap() + local.jitter())

    # --- handshakes: both -----------------------------------------------------------------------------------

    def remote(self) -> Remote:
        """The peer's side of handshakes, made once. Raises MalformedError for a key of low order."""
        if self._remote is None:
            self._remote = Remote(self.key, x25519(self._local.identity.private, self.key), self.psk)
        return self._remote

    def _cookie_maker(self) -> CookieMaker:
        if self._cookies is None:
            self._cookies = CookieMaker(self.key)
        return self._cookies

    def _handshake_gap(self) -> float:
        return REKEY_TIMEOUT if self.answered else EARLY_RETRIES[0]

    def _send_handshake(self, message: bytes, now: float) -> None:
        datagram = self._cookie_maker().add_macs(message, now)
        self.sent_bytes += len(datagram)
        self._local.outbox.put(self.key, [datagram])
        self.handshake_sent_at = now
        self.timers.authenticated_sent(now)

    def _log_keys(self, ephemeral: PrivateKey) -> None:
        if self._local.key_log is not None:
            self._local.key_log(HandshakeSecrets(self._local.identity.private, self.key, ephemeral, self.psk))

    def _derive(self, keys: Keys, ours: int, theirs: int, now: float, *, is_initiator: bool) -> Session:
        session = Session(keys, local_index=ours, remote_index=theirs, is_initiator=is_initiator, now=now)
        self._local.indices.promote(session)
        self.timers.session_derived(now)
        self.last_handshake = now
        return session

    def _confirm(self, now: float) -> None:
        """The first packet of `next` confirms its keys: as responder we may send by it from now on."""
        self._release(self.keypairs.confirmed(now))
        self._completed(None, now, is_initiator=False)

    def _completed(self, source: Destination | None, now: float, *, is_initiator: bool) -> None:
        self.answered = True
        self.timers.handshake_completed()
        if source is not None:
            self._local.facts.append(Heard(self.key, source))
        self._local.facts.append(Established(self.key, is_initiator))
        self._say("session made", role="initiator" if is_initiator else "responder")
        if is_initiator or self.staged:
            self._send_staged(now)

    def _release(self, sessions: list[Session]) -> None:
        for session in sessions:
            self._local.indices.release(session.local_index)

    # --- time -----------------------------------------------------------------------------------------------

    def run_timers(self, now: float) -> None:
        """Serve every timer that is due. One that is served may make another one due now."""
        timers = self.timers
        for name in TIMERS:
            if getattr(timers, name) <= now:
                setattr(timers, name, math.inf)
                _ON_TIMER[name](self, now)

    def expire_sending(self, now: float) -> None:
        """Send no more by the present sessions (suspend, cloned machine, new key of ours): a handshake comes first."""
        for session in self.keypairs.all():
            session.stop_sending()
        self.handshake_sent_at = -math.inf
        if self.timers.is_initiating:
            self.timers.series_ended()
            self.timers.retransmit_at = now
        if self.keypairs.current is not None:
            self._say("session given up")

    def identity_changed(self, now: float) -> None:
        """Our static key has changed: forget what was computed with the old one."""
        self._remote = None
        self._abandon_initiation()
        self.expire_sending(now)

    def forget(self) -> None:
        """Release every index, so that late packets find no session. Staged packets stay with this object."""
        self._abandon_initiation()
        self._release(self.keypairs.clear())

    def _give_up(self, now: float) -> None:
        timers = self.timers
        timers.handshake_completed()
        timers.keepalive_at = math.inf
        if timers.wipe_at == math.inf:
            timers.session_derived(now)
        if self.staged:
            self._local.dropped["no answer"] += len(self.staged)
            self.staged = []
        self._local.facts.append(GaveUp(self.key))
        self._say("handshake given up")

    def _stopped_hearing_back(self, now: float) -> None:
        self.request_initiation(now, "no answer to data")

    def _keepalive_due(self, now: float) -> None:
        self.send_keepalive(now)
        self.timers.keepalive_came(now)

    def _persistent_due(self, now: float) -> None:
        self.send_keepalive(now)
        if self.timers.persistent_at == math.inf:  # nothing went out: a handshake is under way
            self.timers.persistent_at = now + self.timers.interval

    def _say(self, event: str, **fields: object) -> None:
        """Trace a decision: a handshake, a session, a timer; never a packet."""
        if self._local.trace is not None:
            self._local.trace(event, peer=self.key, **fields)

    def _wipe(self, now: float) -> None:
        self._say("keys wiped")
        self._release(self.keypairs.clear())
        if not self.timers.is_initiating:
            self._abandon_initiation()


_ON_TIMER = {
    "wipe_at": Peer._wipe,
    "give_up_at": Peer._give_up,
    "retransmit_at": Peer._initiate,
    "new_handshake_at": Peer._stopped_hearing_back,
    "keepalive_at": Peer._keepalive_due,
    "persistent_at": Peer._persistent_due,
}

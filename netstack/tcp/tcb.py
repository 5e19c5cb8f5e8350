"""The transmission control block: all that one connection knows. Only data; what happens to it is elsewhere.

    arrives    `arrive` (a segment), `acknowledge` (what it acknowledges)
    leaves     `emit`
    times out  `timers`
    face       `connection.TcpConnection`, which the application holds

Sequence numbers are unbounded (`netstack.seq`), addresses are packed bytes, times float seconds of the clock that
is passed in. Every slot whose name ends in `_at` is a timer and stands in TIMERS; instants of the past end in
`_time`.

Source: RFC 9293 §3.3.1 for the names.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Final

from netstack.limits import Memory, Shares
from netstack.seq import MASK
from netstack.tcp import states
from netstack.tcp.activity import Activity
from netstack.tcp.buffers import ReceiveBuffer, SendBuffer
from netstack.tcp.congestion import Congestion
from netstack.tcp.cubic import Cubic
from netstack.tcp.reassembly import OutOfOrder
from netstack.tcp.recovery import Recovery
from netstack.tcp.reno import Reno
from netstack.tcp.rtt import RttEstimator
from netstack.tcp.sack import Scoreboard
from netstack.tcp.settings import DEFAULTS, Settings
from netstack.tcp.usage import Usage
from netstack.wire import ipv4, ipv6, tcp

CONGESTION: Final[dict[str, type[Congestion]]] = {"cubic": Cubic, "reno": Reno}

TIMERS = ("rto_at", "tail_at", "reorder_at", "delack_at", "persist_at", "keepalive_at", "linger_at")
"""Retransmission, tail loss probe, RACK's reordering window, delayed acknowledgement, zero-window probe, keepalive,
and the end of a connection that the application has closed."""

INITIAL_RECEIVE_LIMIT = 1024 * 1024
MAX_RECEIVE_LIMIT = 8 * 1024 * 1024
INITIAL_SEND_LIMIT = 256 * 1024
MAX_SEND_LIMIT = 6 * 1024 * 1024
LEAST_LIMIT = 64 * 1024
"""Of either buffer, also when the stack's memory is scarce."""

WINDOW_SCALE = 8
"""The least shift with which MAX_RECEIVE_LIMIT fits into 16 bits."""

QUICK_ACKS = 16
MIN_MSS = 216
"""No peer can make the stack send smaller segments than this."""


class Tcb:
    """One connection, from its first SYN until CLOSED or TIME_WAIT."""

    __slots__ = (
        "ack_now",
        "ack_pending",
        "acked_time",
        "acks",
        "activity",
        "armed_for",
        "autotunes",
        "bytes_received",
        "bytes_sent",
        "challenge_time",
        "charged",
        "congestion",
        "copied",
        "cork",
        "data_received_time",
        "delack_at",
        "delivered",
        "drs_copied",
        "drs_time",
        "dsack",
        "error",
        "face",
        "fin_queued",
        "fin_received",
        "fin_timeout",
        "fixed_send_limit",
        "force",
        "forwarded",
        "heard_time",
        "interface_mtu",
        "irs",
        "iss",
        "keepalive",
        "keepalive_at",
        "key",
        "last_ack_sent",
        "linger",
        "linger_at",
        "link",
        "local",
        "local_port",
        "max_segment",
        "max_snd_wnd",
        "memory",
        "more",
        "more_follows",
        "mss",
        "mtu",
        "nodelay",
        "ooo_segments",
        "opened_time",
        "orphaned",
        "out_of_order",
        "peer_mss",
        "persist_at",
        "persist_backoff",
        "ports",
        "prefix",
        "probe_now",
        "probes",
        "pseudo",
        "quick_acks",
        "rcv_adv",
        "rcv_fin",
        "rcv_mss",
        "rcv_nxt",
        "rcv_rtt",
        "rcv_wscale",
        "receive_buffer",
        "receive_limit",
        "recovery",
        "remote",
        "remote_port",
        "reorder_at",
        "retransmitted",
        "retries",
        "rto_at",
        "rtt",
        "sack_ok",
        "scoreboard",
        "segments_in",
        "segments_out",
        "segments_resent",
        "send_buffer",
        "sent_time",
        "settings",
        "shares",
        "small_end",
        "snd_nxt",
        "snd_una",
        "snd_wl1",
        "snd_wl2",
        "snd_wnd",
        "snd_wscale",
        "soft_error",
        "stalled_time",
        "stamp_offset",
        "state",
        "tail_at",
        "tail_due",
        "ts_ok",
        "ts_recent",
        "ts_recent_time",
        "usage",
        "user_timeout",
        "wants_room",
        "wire_window",
    )

    def __init__(
        self,
        local: bytes,
        local_port: int,
        remote: bytes,
        remote_port: int,
        *,
        iss: int,
        stamp_offset: int,
        mtu: int,
        now: float,
        link: Hashable = None,
        interface_mtu: int = 0,
        memory: Memory | None = None,
        settings: Settings = DEFAULTS,
    ) -> None:
        # Identity
        self.local, self.local_port, self.remote, self.remote_port = local, local_port, remote, remote_port
        self.ports = local_port.to_bytes(2, "big") + remote_port.to_bytes(2, "big")
        self.key = remote + local + remote_port.to_bytes(2, "big") + local_port.to_bytes(2, "big")
        self.link = link
        self.face: object | None = None  # what the application holds of it
        self.forwarded = False  # the local address is somebody else's
        self.shares: tuple[Shares, ...] = ()  # in which the connection counts until it ends
        self.state: int = states.CLOSED
        self.error: str | None = None
        self.soft_error: str | None = None  # what ICMP hinted at
        self.linger: float | None = None  # seconds that what is unsent has after `close`
        self.fin_timeout: float | None = None  # seconds that the peer's FIN has after that; None: as in `settings`
        self.orphaned = False  # closed by the application: the stack alone owns it
        self.pseudo = tcp.pseudo_sum(local, remote) + local_port + remote_port
        self.prefix = (0, b"")  # segment size, IP header and ports: of the last full segment
        self.sack_ok = self.ts_ok = False
        self.stamp_offset = stamp_offset
        self.ts_recent = 0
        self.ts_recent_time = now
        self.bytes_sent = self.bytes_received = self.retransmitted = self.delivered = 0
        self.segments_out = self.segments_in = self.segments_resent = self.ooo_segments = 0
        self.memory = memory if memory is not None else Memory()
        self.charged = 0  # bytes that `memory` knows of
        self.interface_mtu = interface_mtu or mtu
        self.max_segment = 65_535  # the application's limit
        self.settings = settings
        self.nodelay = settings.nodelay
        self._begin_sending(iss, mtu, now)
        self._begin_receiving(now)
        self._begin_timing(now)
        self.set_mss()
        self.congestion: Congestion = CONGESTION[settings.congestion](self.mss)

    def _begin_sending(self, iss: int, mtu: int, now: float) -> None:
        self.iss = self.snd_una = self.snd_nxt = iss
        self.snd_wnd = self.max_snd_wnd = 0
        self.snd_wl1 = self.snd_wl2 = 0
        self.snd_wscale = 0
        self.wire_window = -1  # the field of the last segment that set snd_wnd
        self.send_buffer = SendBuffer(iss + 1)
        self.fin_queued = False
        self.cork = self.more_follows = self.force = False
        self.small_end = iss  # behind the last segment that was not full
        self.fixed_send_limit: int | None = None
        self.wants_room = False  # the application was refused some bytes
        self.more = False  # stopped by the budget or after one run: call `output` again
        self.usage = Usage(now)
        self.mtu = mtu
        self.peer_mss = MIN_MSS
        self.mss = 0
        self.scoreboard = Scoreboard()
        self.recovery = Recovery()
        self.rtt = RttEstimator()
        self.tail_due = False  # the tail is to be probed
        self.retries = 0  # timeouts since something was acknowledged
        self.sent_time = now

    def _begin_receiving(self, now: float) -> None:
        self.irs = self.rcv_nxt = self.rcv_adv = self.last_ack_sent = 0
        self.rcv_wscale = WINDOW_SCALE
        self.rcv_mss = 536
        self.receive_limit = INITIAL_RECEIVE_LIMIT
        self.autotunes = True
        self.receive_buffer = ReceiveBuffer()
        self.out_of_order: OutOfOrder | None = None
        self.rcv_fin: int | None = None  # where the peer's stream ends, once known
        self.fin_received = False
        self.dsack: tuple[int, int] | None = None
        self.acks: list[tuple[int, bytes]] = []  # acknowledgements that are due beside the last: number, SACK option
        self.ack_now = False
        self.ack_pending = 0
        self.quick_acks = QUICK_ACKS
        self.copied = self.drs_copied = 0
        self.drs_time = now
        self.rcv_rtt = math.inf

    def _begin_timing(self, now: float) -> None:
        self.rto_at = self.tail_at = self.reorder_at = self.delack_at = self.persist_at = math.inf
        self.keepalive_at = self.linger_at = math.inf
        self.armed_for = math.inf  # the time of this connection's entry in the layer's heap
        self.persist_backoff = 0
        self.probes = 0  # probes and keepalives since the peer was heard
        self.probe_now = False
        self.keepalive: tuple[float, float, int] | None = None  # idle, interval, count
        self.user_timeout: float | None = None
        self.stalled_time = math.inf  # since when nothing that waits was acknowledged
        self.opened_time = self.heard_time = self.acked_time = self.data_received_time = now
        self.activity = Activity()
        self.challenge_time = -math.inf

    def restart(self, iss: int) -> None:
        """Begin at another sequence number, before anything is sent."""
        self.iss = self.snd_una = self.snd_nxt = self.small_end = iss
        self.send_buffer = SendBuffer(iss + 1)

    def fix_receive_limit(self, size: int) -> None:
        """Buffer so much of what arrives, from now on and for good."""
        self.receive_limit = min(max(size, 2048), MAX_RECEIVE_LIMIT)
        self.autotunes = False

    def deadline(self) -> float:
        """The earliest of TIMERS."""
        return min(
            self.rto_at,
            self.tail_at,
            self.reorder_at,
            self.delack_at,
            self.persist_at,
            self.keepalive_at,
            self.linger_at,
        )

    def arm_rto(self, now: float) -> None:
        """Start the retransmission timer anew; it does not outlast the user's timeout."""
        self.rto_at = now + self.rtt.rto
        if self.user_timeout is not None:
            self.rto_at = min(self.rto_at, max(self.stalled_time + self.user_timeout, now))

    def charge(self) -> None:
        """Tell the stack's memory what the connection holds."""
        held = self.receive_buffer.size + self.send_buffer.end - self.send_buffer.start
        if self.out_of_order is not None:
            held += self.out_of_order.size
        self.memory.held += held - self.charged
        self.charged = held

    def stamp(self, now: float) -> int:
        """Our timestamp clock: milliseconds, with an offset of this connection."""
        return (int(now * 1000) + self.stamp_offset) & MASK

    @property
    def header_size(self) -> int:
        """IP and TCP headers of a segment with data."""
        ip = ipv4.HEADER_SIZE if len(self.local) == 4 else ipv6.HEADER_SIZE
        return ip + tcp.HEADER_SIZE + (tcp.TIMESTAMPS_SIZE if self.ts_ok else 0)

    @property
    def advertised_mss(self) -> int:
        """The MSS option: what fits into the link's MTU, options not counted (RFC 6691)."""
        ip = ipv4.HEADER_SIZE if len(self.local) == 4 else ipv6.HEADER_SIZE
        return min(self.interface_mtu - ip - tcp.HEADER_SIZE, self.max_segment)

    def set_mss(self) -> None:
        """Work out the payload of a full segment; even, so that checksums of its pieces add up."""
        stamps = tcp.TIMESTAMPS_SIZE if self.ts_ok else 0
        size = min(self.mtu - self.header_size, min(self.peer_mss, self.max_segment) - stamps)
        self.mss = max(size & ~1, 2)
        if self.state != states.CLOSED:
            self.congestion.set_mss(self.mss)

    @property
    def send_limit(self) -> int:
        """Bytes that the application may have waiting: twice the window, within bounds."""
        if self.fixed_send_limit is not None:
            return self.fixed_send_limit
        if self.memory.is_scarce:
            return LEAST_LIMIT
        return max(INITIAL_SEND_LIMIT, min(int(2 * self.congestion.cwnd), MAX_SEND_LIMIT))

    @property
    def fin_sent(self) -> bool:
        return self.snd_nxt > self.send_buffer.end

    @property
    def fin_acked(self) -> bool:
        return self.snd_una > self.send_buffer.end

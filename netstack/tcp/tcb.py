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
        "last_prefix",
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
        "packet_size",
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
        "run_size",
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
        self.local: bytes = local
        self.local_port: int = local_port
        self.remote: bytes = remote
        self.remote_port: int = remote_port
        self.ports: bytes = local_port.to_bytes(2, "big") + remote_port.to_bytes(2, "big")
        self.key: bytes = remote + local + remote_port.to_bytes(2, "big") + local_port.to_bytes(2, "big")
        self.link: Hashable = link
        self.face: object | None = None  # what the application holds of it
        self.forwarded: bool = False  # the local address is somebody else's
        self.shares: tuple[Shares, ...] = ()  # in which the connection counts until it ends
        self.state: int = states.CLOSED
        self.error: str | None = None
        self.soft_error: str | None = None  # what ICMP hinted at
        self.linger: float | None = None  # seconds that what is unsent has after `close`
        self.fin_timeout: float | None = None  # seconds that the peer's FIN has after that; None: as in `settings`
        self.orphaned: bool = False  # closed by the application: the stack alone owns it
        self.pseudo: int = tcp.pseudo_sum(local, remote) + local_port + remote_port
        self.prefix: tuple[int, bytes] = (0, b"")  # segment size, IP header and ports: of the last full segment
        self.last_prefix: tuple[int, bytes] = (0, b"")  # the same of the last segment that was made alone
        self.sack_ok: bool = False
        self.ts_ok: bool = False
        self.stamp_offset: int = stamp_offset
        self.ts_recent: int = 0
        self.ts_recent_time: float = now
        self.bytes_sent: int = 0
        self.bytes_received: int = 0
        self.retransmitted: int = 0
        self.delivered: int = 0
        self.segments_out: int = 0
        self.segments_in: int = 0
        self.segments_resent: int = 0
        self.ooo_segments: int = 0
        self.memory: Memory = memory if memory is not None else Memory()
        self.charged: int = 0  # bytes that `memory` knows of
        self.interface_mtu: int = interface_mtu or mtu
        self.max_segment: int = 65_535  # the application's limit
        self.settings: Settings = settings
        self.nodelay: bool = settings.nodelay
        self._begin_sending(iss, mtu, now)
        self._begin_receiving(now)
        self._begin_timing(now)
        self.set_mss()
        self.congestion: Congestion = CONGESTION[settings.congestion](self.mss)

    def _begin_sending(self, iss: int, mtu: int, now: float) -> None:
        self.iss: int = iss
        self.snd_una: int = iss
        self.snd_nxt: int = iss
        self.snd_wnd: int = 0
        self.max_snd_wnd: int = 0
        self.snd_wl1: int = 0
        self.snd_wl2: int = 0
        self.snd_wscale: int = 0
        self.wire_window: int = -1  # the field of the last segment that set snd_wnd
        self.send_buffer: SendBuffer = SendBuffer(iss + 1)
        self.fin_queued: bool = False
        self.cork: bool = False
        self.more_follows: bool = False
        self.force: bool = False
        self.small_end: int = iss  # behind the last segment that was not full
        self.fixed_send_limit: int | None = None
        self.wants_room: bool = False  # the application was refused some bytes
        self.more: bool = False  # stopped by the budget or after one run: call `output` again
        self.usage: Usage = Usage(now)
        self.mtu: int = mtu
        self.peer_mss: int = MIN_MSS
        self.mss: int = 0
        self.packet_size: int = 0  # of a full segment, with its headers
        self.run_size: int = 0  # the most payload of one run
        self.scoreboard: Scoreboard = Scoreboard()
        self.recovery: Recovery = Recovery()
        self.rtt: RttEstimator = RttEstimator()
        self.tail_due: bool = False  # the tail is to be probed
        self.retries: int = 0  # timeouts since something was acknowledged
        self.sent_time: float = now

    def _begin_receiving(self, now: float) -> None:
        self.irs: int = 0
        self.rcv_nxt: int = 0
        self.rcv_adv: int = 0
        self.last_ack_sent: int = 0
        self.rcv_wscale: int = WINDOW_SCALE
        self.rcv_mss: int = 536
        self.receive_limit: int = INITIAL_RECEIVE_LIMIT
        self.autotunes: bool = True
        self.receive_buffer: ReceiveBuffer = ReceiveBuffer()
        self.out_of_order: OutOfOrder | None = None
        self.rcv_fin: int | None = None  # where the peer's stream ends, once known
        self.fin_received: bool = False
        self.dsack: tuple[int, int] | None = None
        self.acks: list[tuple[int, bytes]] = []  # acknowledgements that are due beside the last: number, SACK option
        self.ack_now: bool = False
        self.ack_pending: int = 0
        self.quick_acks: int = QUICK_ACKS
        self.copied: int = 0
        self.drs_copied: int = 0
        self.drs_time: float = now
        self.rcv_rtt: float = math.inf

    def stop_timers(self) -> None:
        """None of TIMERS is set."""
        self.rto_at: float = math.inf
        self.tail_at: float = math.inf
        self.reorder_at: float = math.inf
        self.delack_at: float = math.inf
        self.persist_at: float = math.inf
        self.keepalive_at: float = math.inf
        self.linger_at: float = math.inf

    def _begin_timing(self, now: float) -> None:
        self.stop_timers()
        self.armed_for: float = math.inf  # the time of this connection's entry in the layer's heap
        self.persist_backoff: int = 0
        self.probes: int = 0  # probes and keepalives since the peer was heard
        self.probe_now: bool = False
        self.keepalive: tuple[float, float, int] | None = None  # idle, interval, count
        self.user_timeout: float | None = None
        self.stalled_time: float = math.inf  # since when nothing that waits was acknowledged
        self.opened_time: float = now
        self.heard_time: float = now
        self.acked_time: float = now
        self.data_received_time: float = now
        self.activity: Activity = Activity()
        self.challenge_time: float = -math.inf

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

    def let_go(self) -> None:
        """The connection is over: keep nothing but what the application may still read, which counts no more."""
        self.send_buffer.clear()
        self.scoreboard = Scoreboard()
        self.out_of_order = None
        self.acks = []
        self.memory.held -= self.charged
        self.charged = 0
        self.memory = Memory()

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
        headers = self.header_size
        size = min(self.mtu - headers, min(self.peer_mss, self.max_segment) - stamps)
        self.mss = max(size & ~1, 2)
        self.packet_size = self.mss + headers
        self.run_size = self.settings.runs.count(self.packet_size) * self.mss
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

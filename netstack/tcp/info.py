"""What one connection can tell of itself: `TcpInfo`, with the names of Linux's `tcp_info` where it has them.

Times in seconds, sizes in bytes; counts of segments say so. Instants are of the clock that the stack was given.

Source: include/uapi/linux/tcp.h for the meanings.
"""

from __future__ import annotations

from typing import NamedTuple

from netstack.tcp import states
from netstack.tcp.recovery import LOSS, OPEN
from netstack.tcp.sack import Scoreboard
from netstack.tcp.tcb import Tcb

CA_OPEN, CA_DISORDER, CA_CWR, CA_RECOVERY, CA_LOSS = range(5)


class TcpInfo(NamedTuple):
    """A snapshot."""

    state: str
    srtt: float
    rttvar: float
    min_rtt: float
    rto: float
    mss: int
    cwnd: int
    ssthresh: float
    in_flight: int
    lost: int
    sacked: int
    retransmitted: int
    retries: int
    """Timeouts since something was acknowledged."""
    bytes_sent: int
    """The first time; `retransmitted` is beside it."""
    bytes_acked: int
    bytes_received: int
    send_window: int
    receive_window: int
    unsent: int
    unread: int
    out_of_order: int
    ca_state: int = CA_OPEN
    """CA_OPEN, CA_DISORDER, CA_RECOVERY or CA_LOSS."""
    congestion: str = ""
    probes: int = 0
    """Of a closed window, or keepalives, since the peer was heard."""
    backoff: int = 0
    snd_wscale: int = 0
    rcv_wscale: int = 0
    has_timestamps: bool = False
    has_sack: bool = False
    rcv_mss: int = 0
    advmss: int = 0
    pmtu: int = 0
    packets_out: int = 0
    """Segments not acknowledged; so too the next five."""
    sacked_out: int = 0
    lost_out: int = 0
    retrans_out: int = 0
    total_retrans: int = 0
    """Segments sent again, ever."""
    delivered: int = 0
    """Segments of ours that have arrived, ever."""
    segs_out: int = 0
    segs_in: int = 0
    app_limited: bool = False
    """Whether the application, not a window, is what the sender waits for."""
    reordering: int = 3
    """Segments by which one has been seen to be overtaken, three at least."""
    reord_seen: bool = False
    dsack_dups: int = 0
    """Duplicates that the peer has reported."""
    rcv_ooopack: int = 0
    """Segments that came ahead of their turn."""
    rcv_rtt: float = 0.0
    rcv_space: int = 0
    """The greatest receive window that is offered now."""
    notsent: int = 0
    last_data_sent: float = 0.0
    last_heard: float = 0.0
    send_limit: int = 0


def snapshot(tcb: Tcb) -> TcpInfo:
    board, rtt, mss, rack = tcb.scoreboard, tcb.rtt, tcb.mss, tcb.recovery.rack
    unsent = max(tcb.send_buffer.end - tcb.snd_nxt, 0)
    return TcpInfo(
        state=states.NAMES[tcb.state],
        srtt=rtt.srtt,
        rttvar=rtt.rttvar,
        min_rtt=rtt.min_rtt,
        rto=rtt.rto,
        mss=mss,
        cwnd=int(tcb.congestion.cwnd),
        ssthresh=tcb.congestion.ssthresh,
        in_flight=board.in_flight,
        lost=board.lost_out,
        sacked=board.sacked_out,
        retransmitted=tcb.retransmitted,
        retries=tcb.retries,
        bytes_sent=tcb.bytes_sent,
        bytes_acked=tcb.delivered,
        bytes_received=tcb.bytes_received,
        send_window=tcb.snd_wnd,
        receive_window=tcb.rcv_adv - tcb.rcv_nxt,
        unsent=unsent,
        unread=tcb.receive_buffer.size,
        out_of_order=tcb.out_of_order.size if tcb.out_of_order is not None else 0,
        ca_state=_ca_state(tcb),
        congestion=type(tcb.congestion).__name__.lower(),
        probes=tcb.probes,
        backoff=rtt.backoff,
        snd_wscale=tcb.snd_wscale,
        rcv_wscale=tcb.rcv_wscale,
        has_timestamps=tcb.ts_ok,
        has_sack=tcb.sack_ok,
        rcv_mss=tcb.rcv_mss,
        advmss=tcb.advertised_mss,
        pmtu=tcb.mtu,
        **_segments(board, mss, has_sack=tcb.sack_ok),
        total_retrans=tcb.segments_resent,
        delivered=-(-tcb.delivered // mss),
        segs_out=tcb.segments_out,
        segs_in=tcb.segments_in,
        app_limited=not unsent and not tcb.usage.limited,
        reordering=max(3, -(-rack.reordering // mss)),
        reord_seen=rack.reordering_seen,
        dsack_dups=tcb.recovery.dsacks,
        rcv_ooopack=tcb.ooo_segments,
        rcv_rtt=tcb.rcv_rtt,
        rcv_space=tcb.receive_limit,
        notsent=unsent,
        last_data_sent=tcb.sent_time,
        last_heard=tcb.heard_time,
        send_limit=tcb.send_limit,
    )


def _ca_state(tcb: Tcb) -> int:
    if tcb.recovery.state == OPEN:
        return CA_DISORDER if tcb.scoreboard.sacked_out else CA_OPEN
    return CA_LOSS if tcb.recovery.state == LOSS else CA_RECOVERY


def _segments(board: Scoreboard, mss: int, *, has_sack: bool) -> dict[str, int]:
    """The scoreboard in segments: stretches of several count as many."""
    out = sacked = lost = resent = 0
    for sent in board.segments:
        count = -(-(sent.end - sent.start) // mss)
        out += count
        sacked += count if sent.sacked else 0
        lost += count if sent.lost else 0
        resent += count if sent.resent else 0
    if not has_sack:
        sacked = -(-board.sacked_out // mss)
    return {"packets_out": out, "sacked_out": sacked, "lost_out": lost, "retrans_out": resent}

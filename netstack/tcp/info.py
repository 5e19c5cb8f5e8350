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
    ca_state: str
    """"open", "disorder", "recovery" or "loss"."""
    congestion: str
    probes: int
    """Of a closed window, or keepalives, since the peer was heard."""
    backoff: int
    send_scale: int
    receive_scale: int
    has_timestamps: bool
    has_sack: bool
    receive_mss: int
    """The peer's segments are as long, by what came."""
    advertised_mss: int
    mtu: int
    """Of the path."""
    outstanding: int
    """Sent and not acknowledged."""
    retransmitting: int
    """Sent again and not acknowledged."""
    packets_out: int
    """Segments not acknowledged; segments also in the next three."""
    packets_sacked: int
    packets_lost: int
    packets_retransmitting: int
    packets_retransmitted: int
    """Segments sent again, ever."""
    segments_sent: int
    segments_received: int
    delivered: int
    """Segments of ours that have arrived, ever."""
    app_limited: bool
    """Whether the sender waits for the application, not for a window."""
    reordering: int
    """Segments by which one has been overtaken, three at least."""
    reorderings: int
    dsacks: int
    """Duplicates that the peer has reported."""
    out_of_order_packets: int
    """Segments that came ahead of their turn, ever."""
    receive_rtt: float
    receive_space: int
    """The greatest receive window that is offered now."""
    send_limit: int
    data_sent_time: float
    data_received_time: float
    ack_received_time: float
    busy_time: float
    """Seconds with something to send or to be acknowledged, up to the last segment that came."""
    window_limited_time: float
    """Of these: the peer's window was full."""
    buffer_limited_time: float
    """Of these: our own buffer was, and nothing was left to send."""


def snapshot(tcb: Tcb, now: float) -> TcpInfo:
    """now: up to when the durations count."""
    board, rtt, mss, rack = tcb.scoreboard, tcb.rtt, tcb.mss, tcb.recovery.rack
    busy, by_window, by_buffer = tcb.activity.spent(now)
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
        send_scale=tcb.snd_wscale,
        receive_scale=tcb.rcv_wscale,
        has_timestamps=tcb.ts_ok,
        has_sack=tcb.sack_ok,
        receive_mss=tcb.rcv_mss,
        advertised_mss=tcb.advertised_mss,
        mtu=tcb.mtu,
        outstanding=board.outstanding,
        retransmitting=board.resent_out,
        **_segments(board, mss, has_sack=tcb.sack_ok),
        packets_retransmitted=tcb.segments_resent,
        segments_sent=tcb.segments_out,
        segments_received=tcb.segments_in,
        delivered=-(-max(tcb.delivered - 1, 0) // mss),
        app_limited=not unsent and not tcb.usage.limited,
        reordering=max(tcb.settings.reordering, -(-rack.reordering // mss)),
        reorderings=rack.reorderings,
        dsacks=tcb.recovery.dsacks,
        out_of_order_packets=tcb.ooo_segments,
        receive_rtt=tcb.rcv_rtt,
        receive_space=tcb.receive_limit,
        send_limit=tcb.send_limit,
        data_sent_time=tcb.sent_time,
        data_received_time=tcb.data_received_time,
        ack_received_time=tcb.acked_time,
        busy_time=busy,
        window_limited_time=by_window,
        buffer_limited_time=by_buffer,
    )


def _ca_state(tcb: Tcb) -> str:
    if tcb.recovery.state == OPEN:
        return "disorder" if tcb.scoreboard.sacked_out else "open"
    return "loss" if tcb.recovery.state == LOSS else "recovery"


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
    return {
        "packets_out": out,
        "packets_sacked": sacked,
        "packets_lost": lost,
        "packets_retransmitting": resent,
    }

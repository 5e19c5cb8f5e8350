"""What an acknowledgement says about losses, and how fast the hole is filled.

    OPEN ----- something is lost ----> RECOVERY ---- all sent before it acknowledged ---> OPEN
      \\------- retransmission timer --> LOSS -------- the same -------------------------/

    with SACK     RACK: a segment is lost when one sent `reordering window` later has arrived
    without       three duplicate acknowledgements; then each partial one names the next loss (NewReno)
    meanwhile     PRR lets out about ssthresh / flight of what arrives
    undone        when timestamps show that the original arrived after all (Eifel)

Source: RFC 8985 §6-7 (RACK), RFC 9937 (PRR), RFC 6582 (NewReno), RFC 3522 and RFC 4015 (Eifel), RFC 5681.
Not here: the scoreboard's bookkeeping (`sack`), growing and cutting cwnd (`congestion`), timers' slots (`tcb`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from netstack.seq import is_older, unwrap
from netstack.tcp.sack import Sent
from netstack.wire.tcp import Options

if TYPE_CHECKING:
    from netstack.tcp.tcb import Tcb

OPEN: Final = 0
RECOVERY: Final = 1
LOSS: Final = 2

DUPLICATE_THRESHOLD = 3
_TICK = 1e-6
"""Waits that differ by less are the same: float seconds are not exact."""


class Recovery:
    """RACK, PRR and the episode under way, of one connection."""

    __slots__ = (
        "dupacks",
        "fack",
        "first_resent",
        "high_seq",
        "prr_delivered",
        "prr_out",
        "rack_end",
        "rack_rtt",
        "rack_time",
        "recover_fs",
        "reordering_seen",
        "state",
        "timeout_time",
        "undo",
    )

    def __init__(self) -> None:
        self.state = OPEN
        self.timeout_time = -math.inf  # when the retransmission timer fired last
        self.high_seq = 0  # snd_nxt when the episode began
        self.dupacks = 0
        self.rack_time = -math.inf
        self.rack_end = 0
        self.rack_rtt = 0.0
        self.fack = 0  # the highest sequence number known to have arrived
        self.reordering_seen = False
        self.prr_delivered = self.prr_out = self.recover_fs = 0
        self.undo: tuple[float, float] | None = None  # cwnd and ssthresh before the episode
        self.first_resent: tuple[int, int] | None = None  # end and timestamp of its first retransmission

    def resent(self, sent: Sent, stamp: int) -> None:
        """A lost one went out again, `stamp` in its timestamp."""
        self.prr_out += sent.end - sent.start
        if self.first_resent is None:
            self.first_resent = (sent.end, stamp)


def acknowledge(tcb: Tcb, ack: int, options: Options, *, is_duplicate: bool, now: float) -> None:
    """Apply the acknowledgement number and the SACK blocks of one segment; ack may be old but not above snd_nxt.

    is_duplicate: the segment carried no data and changed no window.
    """
    board, recovery = tcb.scoreboard, tcb.recovery
    flight, in_flight, sacked = board.outstanding, board.in_flight, board.sacked_out
    acked = ack - tcb.snd_una
    delivered = board.acknowledge(ack) if acked > 0 else []
    if acked > 0:
        tcb.snd_una = ack
        tcb.send_buffer.release(ack)
        tcb.retries = 0
        tcb.rtt.progressed()
    if options.sack and tcb.sack_ok:
        for block in _valid_blocks(tcb, ack, options):
            delivered += board.sack(*block, tcb.mss)
    if not flight:
        return
    if delivered:
        _measure(tcb, delivered, options, acked > 0, now)
    size = sum([sent.end - sent.start for sent in delivered])
    tcb.delivered += size
    if recovery.state != OPEN:
        _leave_if_over(tcb, ack, acked, options)
    if tcb.sack_ok:
        if size or recovery.state == RECOVERY:
            detect_losses(tcb, now)
    else:
        size += _count_duplicates(tcb, acked, is_duplicate)
    if recovery.state == OPEN and board.lost_out:
        _enter(tcb, flight, sacked)
    _adjust_window(tcb, size, acked, in_flight, now)
    if acked > 0:
        tcb.rto_at = now + tcb.rtt.rto if board.segments else math.inf
    if not board.segments:
        tcb.reorder_at = math.inf


def detect_losses(tcb: Tcb, now: float) -> None:
    """RACK: mark what should have arrived by now, and set the timer for what should soon."""
    board, recovery = tcb.scoreboard, tcb.recovery
    newest = (recovery.rack_time, recovery.rack_end)
    wait = recovery.rack_rtt + _reordering_window(tcb)
    tcb.reorder_at = math.inf
    for sent in board.by_time():
        if (sent.sent_time, sent.end) > newest:
            break
        if now - sent.sent_time >= wait - _TICK:
            board.mark_lost(sent)
        else:
            tcb.reorder_at = sent.sent_time + wait
            break


def on_reorder_timer(tcb: Tcb, now: float) -> None:
    detect_losses(tcb, now)
    if tcb.recovery.state == OPEN and tcb.scoreboard.lost_out:
        _enter(tcb, tcb.scoreboard.outstanding, tcb.scoreboard.sacked_out)
        tcb.congestion.cwnd = float(tcb.scoreboard.in_flight + tcb.mss)


def on_timeout(tcb: Tcb, now: float) -> None:
    """The retransmission timer fired: everything that is not sacked is lost, and is sent again in slow start."""
    board, recovery = tcb.scoreboard, tcb.recovery
    first = recovery.state != LOSS
    if recovery.state == OPEN:
        recovery.undo = (tcb.congestion.cwnd, tcb.congestion.ssthresh)
        recovery.first_resent = None
    flight = board.outstanding
    board.mark_all_lost()
    tcb.congestion.on_timeout(flight, first=first)
    recovery.state = LOSS
    recovery.timeout_time = now
    recovery.high_seq = tcb.snd_nxt
    recovery.dupacks = 0
    tcb.reorder_at = math.inf
    tcb.rtt.timed_out()
    tcb.rto_at = now + tcb.rtt.rto


def _valid_blocks(tcb: Tcb, ack: int, options: Options) -> list[tuple[int, int]]:
    """SACK blocks inside what is out, unwrapped; a duplicate report (D-SACK) lies below ack and falls away."""
    una, end = tcb.snd_una, tcb.snd_nxt
    blocks = []
    for left, right in options.sack:
        block = unwrap(left, una), unwrap(right, una)
        if ack <= block[0] < block[1] <= end and block[0] >= una:
            blocks.append(block)
    return blocks


def _measure(tcb: Tcb, delivered: list[Sent], options: Options, advanced: bool, now: float) -> None:
    """Take a round-trip sample from the newest segment that was sent once, and tell RACK what arrived.

    An echoed timestamp is a sample only where the acknowledgement advanced and does not answer a duplicate: else it
    is an old one again.
    """
    recovery = tcb.recovery
    newest = -math.inf
    for sent in delivered:
        if sent.transmissions == 1:
            if sent.sent_time > recovery.timeout_time:  # else its acknowledgement was lost, and this is a later one
                newest = max(newest, sent.sent_time)
            recovery.reordering_seen |= sent.end < recovery.fack
        _advance_rack(tcb, sent, now)
        recovery.fack = max(recovery.fack, sent.end)
    if newest > -math.inf:
        tcb.rtt.sample(now - newest, now)
    elif advanced and options.timestamps and options.timestamps[1] and not _reports_duplicate(tcb, options):
        elapsed = (tcb.stamp(now) - options.timestamps[1]) & 0xFFFF_FFFF
        if elapsed < 0x8000_0000:
            tcb.rtt.sample(elapsed / 1000, now)


def _reports_duplicate(tcb: Tcb, options: Options) -> bool:
    """Whether the first block is a D-SACK: it lies below what is acknowledged (RFC 2883 §4)."""
    return bool(options.sack) and unwrap(options.sack[0][0], tcb.snd_una) < tcb.snd_una


def _advance_rack(tcb: Tcb, sent: Sent, now: float) -> None:
    recovery = tcb.recovery
    rtt = now - sent.sent_time
    if sent.transmissions > 1 and rtt < tcb.rtt.min_rtt:
        return  # the original arrived, not what was sent again just now
    if (sent.sent_time, sent.end) > (recovery.rack_time, recovery.rack_end):
        recovery.rack_time, recovery.rack_end, recovery.rack_rtt = sent.sent_time, sent.end, rtt


def _reordering_window(tcb: Tcb) -> float:
    if not tcb.recovery.reordering_seen and (
        tcb.recovery.state != OPEN or tcb.scoreboard.sacked_out >= DUPLICATE_THRESHOLD * tcb.mss
    ):
        return 0.0
    return min(tcb.rtt.min_rtt / 4, tcb.rtt.srtt)


def _count_duplicates(tcb: Tcb, acked: int, is_duplicate: bool) -> int:
    """Without SACK: mark the first segment lost as NewReno does; the bytes that a duplicate says have arrived."""
    board, recovery = tcb.scoreboard, tcb.recovery
    if acked > 0:
        recovery.dupacks = 0
        if recovery.state == RECOVERY and board.segments and not board.to_resend:
            _mark_first_lost(tcb)
        return 0
    if not is_duplicate or not board.segments:
        return 0
    recovery.dupacks += 1
    if recovery.dupacks == DUPLICATE_THRESHOLD and recovery.state == OPEN:
        _mark_first_lost(tcb)
    return min(tcb.mss, board.in_flight)


def _mark_first_lost(tcb: Tcb) -> None:
    board = tcb.scoreboard
    first = board.segments[0]
    if first.end - first.start > tcb.mss:
        first = board.split(first, first.start + tcb.mss)
    board.mark_lost(first)


def _enter(tcb: Tcb, flight: int, sacked: int) -> None:
    """A loss begins an episode. What was outstanding, and sacked of it, before this acknowledgement."""
    recovery, congestion = tcb.recovery, tcb.congestion
    recovery.undo = (congestion.cwnd, congestion.ssthresh)
    recovery.first_resent = None
    congestion.on_loss(flight)
    recovery.state = RECOVERY
    recovery.high_seq = tcb.snd_nxt
    recovery.recover_fs = max(flight - sacked, 1)
    recovery.prr_delivered = recovery.prr_out = 0


def _leave_if_over(tcb: Tcb, ack: int, acked: int, options: Options) -> None:
    recovery = tcb.recovery
    if acked > 0 and _is_spurious(tcb, ack, options) and recovery.undo is not None:
        tcb.congestion.undo(*recovery.undo)
        tcb.scoreboard.unmark_lost()
        recovery.undo = None
        recovery.state = OPEN
    elif ack >= recovery.high_seq:
        if recovery.state == RECOVERY:
            tcb.congestion.cwnd = tcb.congestion.ssthresh
        recovery.state = OPEN
        recovery.undo = None
        recovery.dupacks = 0


def _is_spurious(tcb: Tcb, ack: int, options: Options) -> bool:
    """Whether what was resent first is acknowledged by an answer to its original."""
    resent = tcb.recovery.first_resent
    if resent is None or options.timestamps is None or not options.timestamps[1]:
        return False
    end, stamp = resent
    return ack >= end and is_older(options.timestamps[1], stamp)


def _adjust_window(tcb: Tcb, size: int, acked: int, in_flight_before: int, now: float) -> None:
    """PRR while in recovery, growth else, and only where the window was in use."""
    recovery, congestion = tcb.recovery, tcb.congestion
    if recovery.state == RECOVERY:
        _reduce_proportionally(tcb, size, acked)
    elif acked > 0 and (
        tcb.cwnd_limited or (congestion.cwnd < congestion.ssthresh and 2 * in_flight_before >= congestion.cwnd)
    ):
        congestion.on_ack(acked, now, tcb.rtt.srtt)


def _reduce_proportionally(tcb: Tcb, size: int, acked: int) -> None:
    """RFC 9937: `size` bytes arrived; how many may leave."""
    recovery, board = tcb.recovery, tcb.scoreboard
    if not size and recovery.prr_delivered:
        return
    recovery.prr_delivered += size
    ssthresh, in_flight = int(tcb.congestion.ssthresh), board.in_flight
    if in_flight > ssthresh:
        count = -(-recovery.prr_delivered * ssthresh // recovery.recover_fs) - recovery.prr_out
    else:
        limit = max(recovery.prr_delivered - recovery.prr_out, size)
        if acked > 0 and not board.to_resend:
            limit += tcb.mss  # nothing more is lost: catch up
        count = min(ssthresh - in_flight, limit)
    if not recovery.prr_out:
        count = max(count, tcb.mss)  # the first retransmission always goes
    tcb.congestion.cwnd = float(in_flight + max(count, 0))

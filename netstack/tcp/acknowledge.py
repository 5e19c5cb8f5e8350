"""What an acknowledgement does: data that has arrived, data that has not, and the windows that follow from both.

    scoreboard     what is delivered: cumulatively, by SACK, or (without SACK) by counting duplicates
    samples        round trip, RACK's newest delivery, HyStart++
    tail probe     did it repair a loss?
    the episode    undone, over, or it goes on
    losses         RACK, or the third duplicate; the first one begins an episode
    cwnd           PRR in RECOVERY, else growth where the window was in use
    timers         retransmission, tail probe

Source: RFC 5681, RFC 6675 §5, RFC 8985 §6-7, RFC 6582, RFC 2883; in Linux's order.
Not here: the algorithms' own memory (`recovery` and what it names), the send window (`arrive`).
"""

from __future__ import annotations

import math

from netstack.seq import HALF, MASK, unwrap
from netstack.tcp import tlp
from netstack.tcp.recovery import LOSS, OPEN, RECOVERY
from netstack.tcp.sack import Sent
from netstack.tcp.tcb import Tcb
from netstack.wire.tcp import Options


def acknowledge(tcb: Tcb, ack: int, options: Options, *, is_duplicate: bool, now: float) -> None:
    """Apply the acknowledgement number and the SACK blocks of one segment; ack may be old but not above snd_nxt.

    is_duplicate: the segment carried no data and changed no window.
    """
    board, recovery = tcb.scoreboard, tcb.recovery
    flight, sacked = board.outstanding, board.sacked_out
    acked = ack - tcb.snd_una
    delivered = _advance(tcb, ack) if acked > 0 else []
    duplicate = False
    if options.sack and tcb.sack_ok:
        duplicate = _take_duplicate(tcb, ack, options)
        for block in _valid_blocks(tcb, ack, options):
            delivered += board.sack(*block, tcb.mss)
    if not flight:
        if recovery.tlp.end <= ack:
            _probe_answered(tcb, ack, duplicate, nothing_new=is_duplicate)
        if recovery.undo.all_needless:
            _take_back(tcb)
        return
    if delivered:
        _measure(tcb, delivered, options, acked > 0 and not duplicate, now)
    size = sum([sent.end - sent.start for sent in delivered])
    if not tcb.sack_ok:
        size = _count_duplicates(tcb, acked, is_duplicate)
    tcb.delivered += size
    if recovery.tlp.end <= ack:
        _probe_answered(tcb, ack, duplicate, nothing_new=not size and is_duplicate)
    if recovery.state != OPEN or recovery.undo.all_needless:
        _continue(tcb, ack, acked, options, delivered, is_duplicate=is_duplicate)
    waiting = len(board.to_resend)
    if tcb.sack_ok and (size or recovery.state == RECOVERY):
        detect_losses(tcb, now)
    elif not tcb.sack_ok:
        _mark_duplicates_lost(tcb, acked)
    if recovery.state == OPEN and board.to_resend:
        _enter(tcb, flight, sacked)
    _adjust_window(tcb, size, acked, safe=acked > 0 and len(board.to_resend) == waiting, now=now)
    _set_timers(tcb, acked, size, now)


def _advance(tcb: Tcb, ack: int) -> list[Sent]:
    """The acknowledgement number moves on; what it covers and no SACK had before."""
    delivered = tcb.scoreboard.acknowledge(ack)
    tcb.snd_una = ack
    tcb.send_buffer.release(ack)
    tcb.retries = 0
    tcb.rtt.progressed()
    return delivered


# losses ---------------------------------------------------------------------------------------------------------


def detect_losses(tcb: Tcb, now: float) -> None:
    """RACK: mark what should have arrived by now, and set the timer for what should soon."""
    rack, oldest = tcb.recovery.rack, tcb.scoreboard.oldest
    tcb.reorder_at = math.inf
    if oldest is not None and (oldest.sent_time, oldest.end) <= (rack.time, rack.end):
        tcb.reorder_at = rack.detect(tcb.scoreboard, _reordering_window(tcb), now)


def on_reorder_timer(tcb: Tcb, now: float) -> None:
    detect_losses(tcb, now)
    if tcb.recovery.state == OPEN and tcb.scoreboard.to_resend:
        _enter(tcb, tcb.scoreboard.outstanding, tcb.scoreboard.sacked_out)
        tcb.congestion.cwnd = float(tcb.scoreboard.in_flight + tcb.mss)


def on_timeout(tcb: Tcb, now: float) -> None:
    """The retransmission timer fired: all that had the time to arrive is lost, and is sent again in slow start."""
    board, recovery, congestion = tcb.scoreboard, tcb.recovery, tcb.congestion
    first = recovery.state != LOSS
    if recovery.state == OPEN:
        _remember(tcb)
        _prove(tcb, board.outstanding)
    congestion.on_timeout(first=first)
    rack, window = recovery.rack, _reordering_window(tcb)
    if tcb.sack_ok and rack.rtt:
        board.mark_lost_where(lambda sent: rack.is_overdue(sent, window, now))
    else:
        if not tcb.sack_ok:
            board.assume_sacked(0)
        board.mark_all_lost()
    congestion.cwnd = float(board.in_flight + tcb.mss)
    recovery.frto.begin(first=tcb.settings.frto and (first or tcb.retries > 1))
    recovery.tlp.end = math.inf
    recovery.state = LOSS
    recovery.timeout_time = now
    recovery.high_seq = tcb.snd_nxt
    tcb.reorder_at = tcb.tail_at = math.inf
    tcb.rtt.timed_out()
    tcb.arm_rto(now)


def _reordering_window(tcb: Tcb) -> float:
    return tcb.recovery.rack.window(
        tcb.rtt.min_rtt,
        tcb.rtt.srtt,
        repairing=tcb.recovery.state != OPEN,
        sacked=tcb.scoreboard.sacked_out,
        enough=tcb.settings.reordering * tcb.mss,
    )


def _count_duplicates(tcb: Tcb, acked: int, is_duplicate: bool) -> int:
    """Without SACK: each duplicate says that one more segment has arrived, somewhere. The bytes that are new."""
    board, recovery = tcb.scoreboard, tcb.recovery
    if acked > 0:
        recovery.dupacks = 0
        known = board.sacked_out
        board.assume_sacked(max(known - max(acked - tcb.mss, 0), 0))
        return max(acked - known, min(tcb.mss, acked))
    if not is_duplicate or not board.segments:
        return 0
    recovery.dupacks += 1
    size = min(tcb.mss, board.in_flight)
    board.assume_sacked(board.sacked_out + size)
    return size


def _mark_duplicates_lost(tcb: Tcb, acked: int) -> None:
    """Without SACK: the third duplicate names the first segment, a partial acknowledgement the next (NewReno)."""
    board, recovery = tcb.scoreboard, tcb.recovery
    if acked > 0:
        named = recovery.state == RECOVERY and bool(board.segments) and not board.to_resend
    else:
        enough = recovery.dupacks == tcb.settings.reordering
        named = recovery.state == OPEN and enough and tcb.snd_una > recovery.high_seq
    if named:
        first = board.segments[0]
        if first.end - first.start > tcb.mss:
            first = board.split(first, first.start + tcb.mss)
        board.mark_lost(first)
        board.assume_sacked(board.sacked_out)


# SACK -----------------------------------------------------------------------------------------------------------


def _valid_blocks(tcb: Tcb, ack: int, options: Options) -> list[tuple[int, int]]:
    """SACK blocks inside what is out, unwrapped; a duplicate report (D-SACK) lies below ack and falls away."""
    una, end = tcb.snd_una, tcb.snd_nxt
    blocks = []
    for left, right in options.sack:
        block = unwrap(left, una), unwrap(right, una)
        if ack <= block[0] < block[1] <= end and block[0] >= una:
            blocks.append(block)
    return blocks


def _take_duplicate(tcb: Tcb, ack: int, options: Options) -> bool:
    """Whether the first block is a D-SACK: below what is acknowledged, or inside the second (RFC 2883 §4)."""
    una, recovery = tcb.snd_una, tcb.recovery
    left, right = unwrap(options.sack[0][0], una), unwrap(options.sack[0][1], una)
    if not left < right <= tcb.snd_nxt or left < una - tcb.max_snd_wnd - (tcb.snd_nxt - una):
        return False
    if right > ack:
        if len(options.sack) < 2:
            return False
        outer = unwrap(options.sack[1][0], una), unwrap(options.sack[1][1], una)
        if not outer[0] <= left < right <= outer[1]:
            return False
    recovery.dsacks += 1
    recovery.undo.duplicate(left, right)
    if not (recovery.tlp.is_out and recovery.tlp.is_resend and right >= recovery.tlp.end - 1):
        recovery.rack.duplicate_reported(una, tcb.snd_nxt)
    return True


def resend_too_long(tcb: Tcb) -> bool:
    """What is longer than a full segment may be now counts as lost; no window pays for it. Whether there was any."""
    too_long = [sent for sent in tcb.scoreboard.by_time() if sent.end - sent.start > tcb.mss]
    for sent in too_long:
        tcb.scoreboard.mark_lost(sent)
    if not tcb.sack_ok:
        tcb.scoreboard.assume_sacked(tcb.scoreboard.sacked_out)
    if too_long:
        tcb.recovery.state = LOSS
        tcb.recovery.high_seq = tcb.snd_nxt
        tcb.recovery.undo.forget()
    return bool(too_long)


# samples --------------------------------------------------------------------------------------------------------


def _measure(tcb: Tcb, delivered: list[Sent], options: Options, advanced: bool, now: float) -> None:
    """Take a round-trip sample from the newest segment that was sent once, and tell RACK what arrived.

    An echoed timestamp is a sample only where the acknowledgement advanced and does not answer a duplicate: else it
    is an old one again.
    """
    recovery, rtt = tcb.recovery, tcb.rtt
    rack, fack, lowest = recovery.rack, recovery.rack.fack, -1
    newest = -math.inf
    for sent in delivered:
        answered = -math.inf
        if sent.transmissions == 1:
            if sent.sent_time > recovery.timeout_time:  # else its acknowledgement was lost, and this is a later one
                newest = max(newest, sent.sent_time)
            if sent.end < fack and (lowest < 0 or sent.start < lowest):
                lowest = sent.start
        elif sent.end <= tcb.snd_una:  # what is only sacked echoes what came in order before it (RFC 7323 §4.3)
            answered = _answered_time(tcb, options, now)
        rack.delivered(sent, now, rtt.min_rtt, answered)
    if lowest >= 0:
        rack.note_reordering(fack - lowest)
    if newest > -math.inf:
        rtt.sample(now - newest, now)
        tcb.congestion.on_rtt(now - newest, tcb.snd_una, tcb.snd_nxt)
    elif advanced:
        answered = _answered_time(tcb, options, now)
        if answered > -math.inf:
            rtt.sample(now - answered, now)


def _answered_time(tcb: Tcb, options: Options, now: float) -> float:
    """When what the peer answers was sent, by the timestamp that it echoes; -inf if it does not say."""
    if not options.timestamps or not options.timestamps[1] or not tcb.ts_ok:
        return -math.inf
    elapsed = (tcb.stamp(now) - options.timestamps[1]) & MASK
    return now - elapsed / 1000 if elapsed < HALF else -math.inf


def _probe_answered(tcb: Tcb, ack: int, duplicate: bool, *, nothing_new: bool) -> None:
    """The tail probe's answer; if it repaired a loss, the window hears of it."""
    repaired = tcb.recovery.tlp.acknowledged(ack, duplicate=duplicate, nothing_new=nothing_new)
    if repaired and tcb.recovery.state == OPEN:
        _prove(tcb, tcb.scoreboard.outstanding)
        tcb.congestion.on_loss()
        tcb.congestion.cwnd = tcb.congestion.ssthresh


# the episode ----------------------------------------------------------------------------------------------------


def _remember(tcb: Tcb) -> None:
    probe = tcb.recovery.tlp
    resent = tcb.mss if probe.is_out and probe.is_resend else 0
    tcb.recovery.undo.begin(tcb.congestion.cwnd, tcb.congestion.ssthresh, tcb.snd_una, resent)


def _prove(tcb: Tcb, flight: int) -> None:
    """A window that was not in use is not what the loss is about (RFC 7661 §4.4.1)."""
    congestion = tcb.congestion
    congestion.cwnd = tcb.usage.proven(congestion.cwnd, flight, congestion.initial_window)


def _enter(tcb: Tcb, flight: int, sacked: int) -> None:
    """A loss begins an episode. What was outstanding, and sacked of it, before this acknowledgement."""
    recovery = tcb.recovery
    _remember(tcb)
    _prove(tcb, flight)
    tcb.congestion.on_loss()
    recovery.tlp.end = math.inf
    recovery.state = RECOVERY
    recovery.high_seq = tcb.snd_nxt
    recovery.prr.begin(flight, sacked)


def _continue(tcb: Tcb, ack: int, acked: int, options: Options, delivered: list[Sent], *, is_duplicate: bool) -> None:
    """Was it needless, is it over?"""
    recovery = tcb.recovery
    undo = recovery.undo
    echo = options.timestamps[1] if options.timestamps is not None and tcb.ts_ok else 0
    if (
        undo.all_needless
        or (acked > 0 and undo.original_arrived(ack, echo))
        or (recovery.state == RECOVERY and ack >= recovery.high_seq and undo.nothing_resent)
        or (recovery.state == LOSS and ack < recovery.high_seq and _doubts(tcb, acked, delivered, is_duplicate))
    ):
        _take_back(tcb)
    elif ack >= recovery.high_seq:
        if recovery.state == RECOVERY:
            tcb.congestion.cwnd = tcb.congestion.ssthresh
        recovery.rack.recovered()
        recovery.state = OPEN
        recovery.frto.end()


def _doubts(tcb: Tcb, acked: int, delivered: list[Sent], is_duplicate: bool) -> bool:
    """F-RTO's question: was the timeout spurious?"""
    recovery = tcb.recovery
    before = recovery.timeout_time
    return recovery.frto.acknowledged(
        advanced=acked > 0,
        original=tcb.sack_ok and any(sent.transmissions == 1 and sent.sent_time < before for sent in delivered),
        sacked=bool(delivered) and acked <= 0,
        duplicate=is_duplicate and acked <= 0,
        sent_new=tcb.snd_nxt > recovery.high_seq,
        can_send_new=tcb.snd_nxt < tcb.send_buffer.end and tcb.snd_una + tcb.snd_wnd > tcb.snd_nxt,
    )


def _take_back(tcb: Tcb) -> None:
    recovery = tcb.recovery
    if recovery.undo.before is not None:
        tcb.congestion.undo(*recovery.undo.before)
    tcb.scoreboard.unmark_lost()
    recovery.undo.forget()
    recovery.frto.end()
    recovery.state = OPEN


# windows and timers ---------------------------------------------------------------------------------------------


def _adjust_window(tcb: Tcb, size: int, acked: int, *, safe: bool, now: float) -> None:
    """PRR while in recovery, growth else, and only where the window was in use."""
    recovery, congestion = tcb.recovery, tcb.congestion
    if recovery.state == RECOVERY:
        cwnd = recovery.prr.window(size, tcb.scoreboard.in_flight, int(congestion.ssthresh), tcb.mss, safe=safe)
        if cwnd is not None:
            congestion.cwnd = float(cwnd)
        return
    reorders = recovery.rack.reordering > tcb.settings.reordering * tcb.mss  # then SACKs are progress, too
    if acked <= 0 and not (reorders and size):
        return
    if tcb.usage.allows_growth(congestion.cwnd, slow_start=congestion.cwnd < congestion.ssthresh):
        congestion.on_ack(size, now, tcb.rtt.srtt)
    else:
        congestion.stand_still(now)


def _set_timers(tcb: Tcb, acked: int, size: int, now: float) -> None:
    outstanding = bool(tcb.scoreboard.segments)
    if acked > 0:
        tcb.rto_at = math.inf
        if outstanding:
            tcb.stalled_time = now
            tcb.arm_rto(now)
    if acked > 0 or size:
        schedule_probe(tcb, now)
    if not outstanding:
        tcb.reorder_at = math.inf


def schedule_probe(tcb: Tcb, now: float) -> None:
    """Set the tail probe's timer anew: something was sent or acknowledged."""
    board, recovery = tcb.scoreboard, tcb.recovery
    if (
        not board.segments
        or not tcb.sack_ok
        or recovery.state != OPEN
        or board.sacked_out
        or recovery.tlp.is_out
        or not tcb.settings.tail_loss_probe
    ):
        tcb.tail_at = math.inf
        return
    lone = board.outstanding <= tcb.mss
    tcb.tail_at = min(now + tlp.probe_timeout(tcb.rtt.srtt, lone=lone), tcb.rto_at)

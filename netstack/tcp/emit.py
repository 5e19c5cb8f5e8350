"""What a connection sends in its turn: one call of `output` makes at most one super-segment, and acknowledgements.

    a tail probe that is due -> what is lost -> new data, FIN -> acknowledgements that no data has carried

A super-segment is one stretch of data, as long as a run may be; `_cut` makes packets of it. These differ only in
sequence number, checksum and payload, so a packet costs one `pack`, one `join` and its checksum:

    | prefix: IP header, ports | seq, ack, offset, flags, window, checksum | tail: urgent, options | payload |

Source: RFC 9293 §3.8.6 (windows), RFC 5681, RFC 7323; RFC 9293 §3.8.6.2.1 for silly windows.
Not here: when something is lost (`recovery`), when to acknowledge (`arrive`), timers that fire (`timers`).
"""

from __future__ import annotations

import math
from itertools import accumulate
from struct import Struct

from netstack.seq import MASK
from netstack.tcp import acknowledge, states
from netstack.tcp.activity import BUSY, WINDOW
from netstack.tcp.tcb import LEAST_LIMIT, Tcb
from netstack.wire import checksum, tcp
from netstack.wire.tcp import ACK, FIN, PSH, SYN

PINGPONG = 0.04
SMALL = 4096
"""Bytes. A connection that has no more than this to send goes before the streams."""

SHARED_FOR, SHARED_PART = 0.02, 4
"""Seconds after such a one in which a call has that part of its budget: the next word waits for less then."""

ROOMY = 16
"""Segments. While the peer may send so many, it does not wait to hear of a larger window."""

_WINDOW_MAX = 65_535
_FIELDS = Struct("!I8sH")
_ACK_WINDOW = Struct("!IHH")

Runs = list[tuple[bytes, list[bytes]]]


def output(tcb: Tcb, now: float, budget: int, runs: Runs) -> int:
    """Append what the connection may send now to `runs`, and return its bytes. Sets `tcb.more` if more may follow."""
    tcb.more = False
    if tcb.state <= states.SYN_RECEIVED:
        return _handshake(tcb, now, runs)
    spent = 0
    if tcb.tail_due:
        spent = _probe_tail(tcb, now, runs)
    if not spent and tcb.scoreboard.to_resend:
        spent = _repair(tcb, now, budget, runs)
    elif not spent and (tcb.snd_nxt < tcb.send_buffer.end or tcb.fin_queued):
        spent = _send_new(tcb, now, budget, runs)
    if tcb.probe_now:
        tcb.probe_now = False
        spent += _push(tcb, runs, [_bare(tcb, tcb.snd_una - 1, tcb.rcv_nxt, b"", now)])
    if tcb.acks or tcb.ack_now:
        spent += _send_acks(tcb, now, runs)
    return spent


def small_ones_first(turns: dict[Tcb, None], room: int) -> dict[Tcb, None]:
    """The same connections, those with little to send before the streams; empty unless there are both.

    Whatever one call makes is sealed and sent together: a word would else wait for all that streams may send. The
    first `room` bytes go before; who is beyond that keeps its place, so that very many words starve no stream.
    """
    small = [tcb for tcb in turns if 0 < tcb.send_buffer.end - tcb.snd_nxt <= SMALL]
    if not 0 < len(small) < len(turns):
        return {}
    ends = accumulate(tcb.send_buffer.end - tcb.snd_nxt for tcb in small)
    return dict.fromkeys((*(tcb for tcb, end in zip(small, ends, strict=True) if end <= room), *turns))


def is_idle(tcb: Tcb) -> bool:
    """Whether `output` would send nothing and change nothing."""
    return not (
        tcb.acks
        or tcb.ack_now
        or tcb.snd_nxt < tcb.send_buffer.end
        or tcb.fin_queued
        or tcb.scoreboard.to_resend
        or tcb.tail_due
        or tcb.probe_now
        or tcb.more
        or tcb.state <= states.SYN_RECEIVED
    )


def advertise(tcb: Tcb) -> int:
    """The window field to send now. Moves the advertised right edge, which never moves left."""
    scale = tcb.rcv_wscale
    edge = tcb.rcv_nxt + (_free(tcb) >> scale << scale)
    if edge - tcb.rcv_adv >= _least_update(tcb) or tcb.rcv_adv <= tcb.rcv_nxt + tcb.rcv_mss < edge:
        tcb.rcv_adv = edge
    field = min(-(-(tcb.rcv_adv - tcb.rcv_nxt) >> scale), _WINDOW_MAX)
    tcb.rcv_adv = max(tcb.rcv_adv, tcb.rcv_nxt + (field << scale))
    return field


def wants_window_update(tcb: Tcb) -> bool:
    """Whether the application has read so much that the peer should be told of the larger window."""
    opened = tcb.rcv_nxt + _free(tcb) - tcb.rcv_adv
    left = tcb.rcv_adv - tcb.rcv_nxt
    if left < tcb.rcv_mss:
        return opened >= min(tcb.receive_limit // 2, tcb.rcv_mss)
    if tcb.delack_at < math.inf and left >= ROOMY * tcb.rcv_mss:
        return False  # an acknowledgement follows soon, or at the second segment that comes, and says it as well
    return opened >= max(2 * tcb.rcv_mss, tcb.receive_limit // 4)


def _free(tcb: Tcb) -> int:
    limit = tcb.receive_limit
    if tcb.memory.held > tcb.memory.plenty:
        limit = min(limit, LEAST_LIMIT)
    free = limit - tcb.receive_buffer.size
    if tcb.out_of_order is not None:
        free -= tcb.out_of_order.size
    return min(free, _WINDOW_MAX << tcb.rcv_wscale) if free > 0 else 0


def _least_update(tcb: Tcb) -> int:
    """The smallest step of the right edge that is announced (the receiver's silly window avoidance)."""
    return min(tcb.receive_limit // 2, 2 * tcb.rcv_mss)


def _handshake(tcb: Tcb, now: float, runs: Runs) -> int:
    """Send the SYN or SYN-ACK: the first time, after a timeout, or because the peer asked again."""
    if tcb.state == states.CLOSED:
        return 0
    lost = tcb.scoreboard.first_lost()
    if tcb.snd_nxt == tcb.iss:
        tcb.scoreboard.send(tcb.iss, tcb.iss + 1, now)
        tcb.snd_nxt = tcb.iss + 1
        tcb.arm_rto(now)
        tcb.stalled_time = now
    elif lost is not None:
        tcb.scoreboard.resend(lost, now)
        tcb.segments_resent += 1
    elif not tcb.ack_now:
        return 0
    return _push(tcb, runs, [_syn(tcb, now)])


def _syn(tcb: Tcb, now: float) -> bytes:
    answers = tcb.state == states.SYN_RECEIVED
    window = min(tcb.receive_limit, _WINDOW_MAX)
    tcb.rcv_adv = max(tcb.rcv_adv, tcb.rcv_nxt + window) if answers else tcb.rcv_adv
    settings = tcb.settings
    has_stamps, has_sack = (tcb.ts_ok, tcb.sack_ok) if answers else (settings.timestamps, settings.sack)
    stamps = (tcb.stamp(now), tcb.ts_recent if answers else 0) if has_stamps else None
    has_scale = bool(tcb.rcv_wscale) if answers else settings.window_scaling
    options = tcp.syn_options(tcb.advertised_mss, tcb.rcv_wscale if has_scale else None, has_sack, stamps)
    _acknowledged(tcb)
    return tcp.build(
        tcb.local,
        tcb.local_port,
        tcb.remote,
        tcb.remote_port,
        seq=tcb.iss & MASK,
        ack=tcb.rcv_nxt & MASK if answers else 0,
        flags=SYN | ACK if answers else SYN,
        window=window,
        options=options,
    )


def _repair(tcb: Tcb, now: float, budget: int, runs: Runs) -> int:
    """Send what is lost; where F-RTO asks for new data, that goes first."""
    frto = tcb.recovery.frto
    if frto.wants_new:
        frto.wants_new = False
        return _send_new(tcb, now, budget, runs) or _resend(tcb, now, budget, runs)
    if frto.is_on and tcb.snd_nxt > tcb.recovery.high_seq:
        return 0  # F-RTO's new data is out: its acknowledgement decides
    return _resend(tcb, now, budget, runs)


def _probe_tail(tcb: Tcb, now: float, runs: Runs) -> int:
    """Send one new segment, whatever cwnd says; without new data, the last one again (RFC 8985 §7.3)."""
    board, probe = tcb.scoreboard, tcb.recovery.tlp
    tcb.tail_due = False
    if not board.segments or probe.is_out:
        return 0
    window = tcb.snd_una + tcb.snd_wnd - tcb.snd_nxt
    size = min(tcb.send_buffer.end - tcb.snd_nxt, tcb.mss)
    if 0 < size <= window:
        probe.sent(tcb.snd_nxt + size, is_resend=False)
        return _send_stretch(tcb, tcb.snd_nxt, tcb.snd_nxt + size, now, runs)
    last = board.segments[-1]
    behind = (last.end - last.start - 1) // tcb.mss * tcb.mss
    if behind:
        board.split(last, last.start + behind)
    board.again(last, now)
    probe.sent(tcb.snd_nxt, is_resend=True)
    tcb.retransmitted += last.end - last.start
    tcb.segments_resent += 1
    return _emit(tcb, last.start, last.end, now, runs)


def _resend(tcb: Tcb, now: float, budget: int, runs: Runs) -> int:
    """Send the first lost stretch again, as much of it as cwnd lets out."""
    board, recovery = tcb.scoreboard, tcb.recovery
    in_flight = board.in_flight
    room = int(tcb.congestion.cwnd) - in_flight
    sent = board.first_lost()
    if sent is None:
        return 0
    size = sent.end - sent.start
    if room < min(size, tcb.mss) and in_flight:
        return 0
    limit = min(_run_limit(tcb, budget), max(room // tcb.mss, 1) * tcb.mss)
    if size > limit:
        sent = board.split(sent, sent.start + limit)
    board.resend(sent, now)
    size = sent.end - sent.start
    recovery.resent(size, sent.end, tcb.stamp(now))
    tcb.retransmitted += size
    tcb.segments_resent += -(-size // tcb.mss)
    if sent.start == tcb.snd_una:
        tcb.arm_rto(now)
    return _emit(tcb, sent.start, sent.end, now, runs)


def _send_new(tcb: Tcb, now: float, budget: int, runs: Runs) -> int:
    """Send new data and the FIN, within the peer's window and cwnd."""
    board, congestion = tcb.scoreboard, tcb.congestion
    start, end = tcb.snd_nxt, tcb.send_buffer.end
    if start > end:
        return 0  # the FIN is out
    window = tcb.snd_una + tcb.snd_wnd - start
    idle = now - tcb.sent_time
    if idle > tcb.rtt.rto and not board.segments and window > 0 and tcb.settings.slow_start_after_idle:
        congestion.on_idle(idle, tcb.rtt.rto)
        tcb.sent_time = now
    by_cwnd = int(congestion.cwnd) - board.in_flight
    waiting = end - start
    size = _worth_sending(tcb, min(waiting, window, by_cwnd), waiting)
    size = min(size, _run_limit(tcb, budget))
    finishes = tcb.fin_queued and size == waiting and window > size
    if size <= 0 and not finishes:
        if by_cwnd < min(waiting, window, tcb.mss):
            tcb.usage.sent(tcb.snd_una, start, board.outstanding, True)
        elif not board.segments and (tcb.persist_at == math.inf or not tcb.persist_backoff):
            tcb.persist_at = min(tcb.persist_at, now + tcb.rtt.rto)  # `write` may have set it to the user's timeout
            tcb.stalled_time = min(tcb.stalled_time, now)
        if window < min(waiting, tcb.mss, by_cwnd):
            tcb.activity.change(WINDOW, now)
        return 0
    spent = _send_stretch(tcb, start, start + size + finishes, now, runs)
    # the second argument: cwnd was the limit, and not the data, the peer's window or the caller's budget
    _note_usage(tcb, by_cwnd - size < tcb.mss, now)
    return spent


def _send_stretch(tcb: Tcb, start: int, stop: int, now: float, runs: Runs) -> int:
    """Send [start, stop) of the stream for the first time."""
    board = tcb.scoreboard
    if not board.segments:
        tcb.stalled_time = now
    if tcb.activity.kind != BUSY:
        tcb.activity.change(BUSY, now)
    if now - tcb.data_received_time < PINGPONG:
        tcb.quick_acks = 0  # the application answers, or asks at once: its data carries acknowledgements
    board.send(start, stop, now)
    tcb.recovery.prr.out += stop - start
    tcb.snd_nxt = stop
    tcb.persist_at = math.inf
    tcb.persist_backoff = 0
    tcb.force = False
    if tcb.rto_at == math.inf:
        tcb.arm_rto(now)
    size = min(stop, tcb.send_buffer.end) - start
    if size % tcb.mss:
        tcb.small_end = stop
    tcb.bytes_sent += size
    if tcb.tail_at == math.inf:
        acknowledge.schedule_probe(tcb, now)  # a timer that is set already moves on when it fires
    return _emit(tcb, start, stop, now, runs)


def _note_usage(tcb: Tcb, limited: bool, now: float) -> None:
    usage, congestion = tcb.usage, tcb.congestion
    usage.sent(tcb.snd_una, tcb.snd_nxt, tcb.scoreboard.outstanding, limited)
    if usage.is_stale(congestion.cwnd, now):
        congestion.on_unused()


def _worth_sending(tcb: Tcb, size: int, waiting: int) -> int:
    """How much of `size` to send: full segments, or the rest of the data (silly window avoidance, and Nagle).

    Nagle's algorithm has Minshall's form, as in Linux: a small segment waits only while another small one is out.
    """
    if size <= 0:
        return 0
    is_rest = size == waiting
    if size < tcb.mss or is_rest:
        if tcb.force or (is_rest and tcb.fin_queued):
            return size
        if is_rest and not tcb.cork and not tcb.more_follows and (tcb.nodelay or tcb.small_end <= tcb.snd_una):
            return size
    if size >= tcb.mss:
        return size - size % tcb.mss
    return size if size >= tcb.max_snd_wnd >> 1 and not is_rest else 0


def _run_limit(tcb: Tcb, budget: int) -> int:
    """The most payload of one run: whole segments, at least one."""
    return min(tcb.run_size, max(budget // tcb.packet_size, 1) * tcb.mss)


def _emit(tcb: Tcb, start: int, stop: int, now: float, runs: Runs) -> int:
    """Append [start, stop) as one run of packets that carry the current acknowledgement."""
    end = tcb.send_buffer.end
    flags = ACK
    if stop > end:
        flags |= FIN
        stop = end
    if stop == end and stop > start:
        flags |= PSH
    data = tcb.send_buffer.peek(start, stop - start) if stop > start else b""
    tcb.sent_time = now
    tcb.more = True
    packets = _cut(tcb, start & MASK, data, flags, now)
    if tcb.out_of_order is None and tcb.dsack is None:
        _acknowledged(tcb)
    return _push(tcb, runs, packets)


def _cut(tcb: Tcb, seq: int, data: bytes, last_flags: int, now: float) -> list[bytes]:
    """Cut data into packets of one full segment each; the last one has what is left, and `last_flags`."""
    size = tcb.mss
    full = max((len(data) - 1) // size, 0) * size
    options = tcp.timestamp_options(tcb.stamp(now), tcb.ts_recent) if tcb.ts_ok else b""
    window = advertise(tcb)
    packets: list[bytes] = []
    if full:
        packets = _cut_full(tcb, seq, data, full, _ACK_WINDOW, window, options)
    packets.append(_packet(tcb, (seq + full) & MASK, tcb.rcv_nxt & MASK, last_flags, window, options, data[full:]))
    return packets


def _cut_full(tcb: Tcb, seq: int, data: bytes, full: int, layout: Struct, window: int, options: bytes) -> list[bytes]:
    """Make the full segments, which differ in sequence number, payload and checksum. This is the hot loop."""
    size = tcb.mss
    segment = tcp.HEADER_SIZE + len(options) + size
    if tcb.prefix[0] != segment:
        tcb.prefix = (segment, tcp.ip_header(tcb.local, tcb.remote, segment) + tcb.ports)
    prefix, tail = tcb.prefix[1], b"\0\0" + options
    offset_flags = (tcp.HEADER_SIZE + len(options)) << 10 | ACK
    ack = tcb.rcv_nxt & MASK
    middle = layout.pack(ack, offset_flags, window)
    base = tcb.pseudo + segment + ack + offset_flags + window + int.from_bytes(options, "big")
    pack, join, number = _FIELDS.pack, b"".join, int.from_bytes
    packets: list[bytes] = []
    append = packets.append
    totals = checksum.sums(data, size)
    if totals is not None:
        for total, at in zip(totals, range(0, full, size), strict=False):
            field = -(base + seq + total) % 65535
            append(join((prefix, pack(seq, middle, field), tail, data[at : at + size])))
            seq = (seq + size) & MASK
        return packets
    half, half_mask, quarter, quarter_mask, eighth, eighth_mask = checksum.folds(size)
    for at in range(0, full, size):
        payload = data[at : at + size]
        total = number(payload, "big")
        total = (total >> half) + (total & half_mask)  # % alone would cost twice as much
        total = (total >> quarter) + (total & quarter_mask)
        total = (total >> eighth) + (total & eighth_mask)
        append(join((prefix, pack(seq, middle, -(base + seq + total) % 65535), tail, payload)))
        seq = (seq + size) & MASK
    return packets


def _packet(tcb: Tcb, seq: int, ack: int, flags: int, window: int, options: bytes, payload: bytes) -> bytes:
    """One packet of any kind but SYN. seq and ack are 32-bit, as on the wire."""
    segment = tcp.HEADER_SIZE + len(options) + len(payload)
    offset_flags = (tcp.HEADER_SIZE + len(options)) << 10 | flags
    total = tcb.pseudo + segment + seq + ack + offset_flags + window
    total += checksum.partial(options) + checksum.partial(payload)
    head = _FIELDS.pack(seq, _ACK_WINDOW.pack(ack, offset_flags, window), -total % 65535)
    if tcb.last_prefix[0] != segment:
        tcb.last_prefix = (segment, tcp.ip_header(tcb.local, tcb.remote, segment) + tcb.ports)
    return b"".join((tcb.last_prefix[1], head, b"\0\0", options, payload))


def _bare(tcb: Tcb, seq: int, ack: int, sack: bytes, now: float) -> bytes:
    options = tcp.timestamp_options(tcb.stamp(now), tcb.ts_recent) + sack if tcb.ts_ok else sack
    return _packet(tcb, seq & MASK, ack & MASK, ACK, advertise(tcb), options, b"")


def _send_acks(tcb: Tcb, now: float, runs: Runs) -> int:
    """Send the acknowledgements that were due inside the batch, then the one for everything received."""
    seq = acceptable_seq(tcb)
    packets = [_bare(tcb, seq, ack, sack, now) for ack, sack in tcb.acks]
    packets.append(_bare(tcb, seq, tcb.rcv_nxt, sack_blocks(tcb), now))
    if tcb.quick_acks:
        tcb.quick_acks -= 1
    _acknowledged(tcb)
    return sum([_push(tcb, runs, [packet]) for packet in packets])


def acceptable_seq(tcb: Tcb) -> int:
    """The sequence number of a segment without data: snd_nxt, or the window's end if the peer has shrunk it.

    The peer drops a segment beyond its window, with the acknowledgement that it may be waiting for. A difference below
    one unit of the window scale is only rounding.
    """
    window_end = tcb.snd_una + tcb.snd_wnd
    return window_end if tcb.snd_nxt - window_end >= 1 << tcb.snd_wscale else tcb.snd_nxt


def sack_blocks(tcb: Tcb) -> bytes:
    """The SACK option of an acknowledgement made now: first a duplicate (D-SACK), then what is out of order."""
    if not tcb.sack_ok or (tcb.out_of_order is None and tcb.dsack is None):
        return b""
    blocks = [tcb.dsack] if tcb.dsack is not None else []
    limit = tcp.MAX_SACK_BLOCKS - (1 if tcb.ts_ok else 0) - len(blocks)
    if tcb.out_of_order is not None:
        blocks += tcb.out_of_order.blocks(limit)
    return tcp.sack_option([(left & MASK, right & MASK) for left, right in blocks])


def _acknowledged(tcb: Tcb) -> None:
    """Note that everything received has been acknowledged."""
    tcb.last_ack_sent = tcb.rcv_nxt
    tcb.ack_now = False
    tcb.ack_pending = 0
    tcb.delack_at = math.inf
    tcb.dsack = None
    if tcb.acks:
        tcb.acks = []


def _push(tcb: Tcb, runs: Runs, packets: list[bytes]) -> int:
    runs.append((tcb.remote, packets))
    tcb.segments_out += len(packets)
    return sum(map(len, packets))

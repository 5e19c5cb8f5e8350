"""What a connection sends when it is its turn: `output` once, for at most one super-segment and its acknowledgements.

    what is lost -> new data, FIN -> acknowledgements that no data has carried

A super-segment is one stretch of up to 64 KiB; it is cut into packets here and nowhere earlier. They share all of
their header but sequence number and checksum, so a packet costs one `pack`, one `join` and its checksum:

    | prefix: IP header, ports | seq, ack, offset, flags, window, checksum | tail: urgent, options | payload |

Source: RFC 9293 §3.8.6 (windows), RFC 5681, RFC 7323; RFC 9293 §3.8.6.2.1 for silly windows.
Not here: when something is lost (`recovery`), when to acknowledge (`arrive`), timers that fire (`timers`).
"""

from __future__ import annotations

import math
from struct import Struct

from netstack.seq import MASK
from netstack.tcp import states
from netstack.tcp.tcb import Tcb
from netstack.wire import checksum, tcp
from netstack.wire.tcp import ACK, FIN, PSH, SYN

MAX_RUN_PACKETS = 49
MAX_RUN_BYTES = 65_000
_ENCAPSULATION = 48
"""What WireGuard may add to each packet of a run, which must still fit one UDP_SEGMENT send."""

_WINDOW_MAX = 65_535
_FIELDS = Struct("!I8sH")
_ACK_WINDOW = Struct("!IHH")

Runs = list[tuple[bytes, list[bytes]]]


def output(tcb: Tcb, now: float, budget: int, runs: Runs) -> int:
    """Append what the connection may send now to runs; the bytes of it. Sets `tcb.more` if there may be more."""
    tcb.more = False
    if tcb.state <= states.SYN_RECEIVED:
        return _handshake(tcb, now, runs)
    spent = 0
    if tcb.scoreboard.to_resend:
        spent = _resend(tcb, now, budget, runs)
    if not spent and (tcb.snd_nxt < tcb.send_buffer.end or tcb.fin_queued):
        spent = _send_new(tcb, now, budget, runs)
    if tcb.probe_now:
        tcb.probe_now = False
        spent += _push(tcb, runs, [_bare(tcb, tcb.snd_una - 1, tcb.rcv_nxt, b"", now)])
    if tcb.acks or tcb.ack_now:
        spent += _send_acks(tcb, now, runs)
    return spent


def advertise(tcb: Tcb) -> int:
    """The window field to send now; moves the advertised right edge. The edge never moves left."""
    scale = tcb.rcv_wscale
    edge = tcb.rcv_nxt + (_free(tcb) >> scale << scale)
    if edge - tcb.rcv_adv >= _least_update(tcb) or tcb.rcv_adv <= tcb.rcv_nxt + tcb.rcv_mss < edge:
        tcb.rcv_adv = edge
    field = min(-(-(tcb.rcv_adv - tcb.rcv_nxt) >> scale), _WINDOW_MAX)
    tcb.rcv_adv = max(tcb.rcv_adv, tcb.rcv_nxt + (field << scale))
    return field


def wants_window_update(tcb: Tcb) -> bool:
    """Whether the application has read so much that the peer should hear of it."""
    opened = tcb.rcv_nxt + _free(tcb) - tcb.rcv_adv
    if tcb.rcv_adv - tcb.rcv_nxt < tcb.rcv_mss:
        return opened >= min(tcb.receive_limit // 2, tcb.rcv_mss)
    return opened >= max(2 * tcb.rcv_mss, tcb.receive_limit // 4)


def _free(tcb: Tcb) -> int:
    held = tcb.receive_buffer.size + (tcb.out_of_order.size if tcb.out_of_order is not None else 0)
    free = tcb.receive_limit - held
    return min(free, _WINDOW_MAX << tcb.rcv_wscale) if free > 0 else 0


def _least_update(tcb: Tcb) -> int:
    """Receiver's silly window avoidance: no smaller step of the right edge is announced."""
    return min(tcb.receive_limit // 2, 2 * tcb.rcv_mss)


def _handshake(tcb: Tcb, now: float, runs: Runs) -> int:
    """SYN or SYN-ACK, the first time, after a timeout, or because the peer asked again."""
    if tcb.state == states.CLOSED:
        return 0
    lost = tcb.scoreboard.first_lost()
    if tcb.snd_nxt == tcb.iss:
        tcb.scoreboard.send(tcb.iss, tcb.iss + 1, now)
        tcb.snd_nxt = tcb.iss + 1
        tcb.rto_at = now + tcb.rtt.rto
    elif lost is not None:
        tcb.scoreboard.resend(lost, now)
    elif not tcb.ack_now:
        return 0
    return _push(tcb, runs, [_syn(tcb, now)])


def _syn(tcb: Tcb, now: float) -> bytes:
    answers = tcb.state == states.SYN_RECEIVED
    window = min(tcb.receive_limit, _WINDOW_MAX)
    tcb.rcv_adv = max(tcb.rcv_adv, tcb.rcv_nxt + window) if answers else tcb.rcv_adv
    stamps = (tcb.stamp(now), tcb.ts_recent if answers else 0) if tcb.ts_ok or not answers else None
    scale = tcb.rcv_wscale if tcb.rcv_wscale or not answers else None
    options = tcp.syn_options(tcb.advertised_mss, scale, tcb.sack_ok or not answers, stamps)
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


def _resend(tcb: Tcb, now: float, budget: int, runs: Runs) -> int:
    """The first lost stretch, as much of it as the window lets out."""
    board, recovery = tcb.scoreboard, tcb.recovery
    in_flight = board.in_flight
    room = int(tcb.congestion.cwnd) - in_flight
    sent = board.first_lost()
    if sent is None:
        return 0
    size = sent.end - sent.start
    if room < min(size, tcb.mss) and in_flight:
        tcb.cwnd_limited = True
        return 0
    limit = min(_run_limit(tcb, budget), max(room // tcb.mss, 1) * tcb.mss)
    if size > limit:
        sent = board.split(sent, sent.start + limit)
    board.resend(sent, now)
    recovery.resent(sent, tcb.stamp(now))
    tcb.retransmitted += sent.end - sent.start
    if sent.start == tcb.snd_una:
        tcb.rto_at = now + tcb.rtt.rto
    return _emit(tcb, sent.start, sent.end, now, runs)


def _send_new(tcb: Tcb, now: float, budget: int, runs: Runs) -> int:
    """New data and the FIN, within both windows."""
    board, congestion = tcb.scoreboard, tcb.congestion
    start, end = tcb.snd_nxt, tcb.send_buffer.end
    if start > end:
        return 0  # the FIN is out
    if not board.segments and now - tcb.sent_time > tcb.rtt.rto:
        congestion.on_idle(now - tcb.sent_time, tcb.rtt.rto)
        tcb.sent_time = now
    window = tcb.snd_una + tcb.snd_wnd - start
    by_cwnd = int(congestion.cwnd) - board.in_flight
    waiting = end - start
    size = _worth_sending(tcb, min(waiting, window, by_cwnd), waiting)
    size = min(size, _run_limit(tcb, budget))
    finishes = tcb.fin_queued and size == waiting and window > size
    if size <= 0 and not finishes:
        tcb.cwnd_limited = by_cwnd < min(waiting, window, tcb.mss)
        if not board.segments and tcb.persist_at == math.inf:
            tcb.persist_at = now + tcb.rtt.rto
        return 0
    tcb.cwnd_limited = by_cwnd - size < tcb.mss  # and not by the data, the peer's window or the caller's budget
    stop = start + size + finishes
    board.send(start, stop, now)
    tcb.recovery.prr_out += stop - start
    tcb.snd_nxt = stop
    tcb.persist_at = math.inf
    tcb.persist_backoff = 0
    if tcb.rto_at == math.inf:
        tcb.rto_at = now + tcb.rtt.rto
    tcb.bytes_sent += size
    return _emit(tcb, start, stop, now, runs)


def _worth_sending(tcb: Tcb, size: int, waiting: int) -> int:
    """Silly window avoidance and Nagle's algorithm: full segments, or the rest of the data."""
    if size <= 0:
        return 0
    is_rest = size == waiting
    if is_rest and (tcb.nodelay or tcb.fin_queued or (size < tcb.mss and not tcb.scoreboard.segments)):
        return size
    if size >= tcb.mss:
        return size - size % tcb.mss
    return size if size >= tcb.max_snd_wnd >> 1 and not is_rest else 0


def _run_limit(tcb: Tcb, budget: int) -> int:
    """Payload of one run: whole segments, one at least."""
    packet = tcb.mss + tcb.header_size
    return min(MAX_RUN_PACKETS, MAX_RUN_BYTES // (packet + _ENCAPSULATION), max(budget // packet, 1)) * tcb.mss


def _emit(tcb: Tcb, start: int, stop: int, now: float, runs: Runs) -> int:
    """[start, stop) as one run of packets that carry the current acknowledgement."""
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
    """Data as packets of one full segment each, and the last with its flags and what is left."""
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
    """The hot loop: full segments that differ in sequence number, payload and checksum."""
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
    """One packet of any kind but SYN. seq and ack as on the wire."""
    segment = tcp.HEADER_SIZE + len(options) + len(payload)
    offset_flags = (tcp.HEADER_SIZE + len(options)) << 10 | flags
    total = tcb.pseudo + segment + seq + ack + offset_flags + window
    total += checksum.partial(options) + checksum.partial(payload)
    head = _FIELDS.pack(seq, _ACK_WINDOW.pack(ack, offset_flags, window), -total % 65535)
    return b"".join((tcp.ip_header(tcb.local, tcb.remote, segment), tcb.ports, head, b"\0\0", options, payload))


def _bare(tcb: Tcb, seq: int, ack: int, sack: bytes, now: float) -> bytes:
    options = tcp.timestamp_options(tcb.stamp(now), tcb.ts_recent) + sack if tcb.ts_ok else sack
    return _packet(tcb, seq & MASK, ack & MASK, ACK, advertise(tcb), options, b"")


def _send_acks(tcb: Tcb, now: float, runs: Runs) -> int:
    """Those that were due inside the batch, then the one that says all."""
    seq = _acceptable_seq(tcb)
    packets = [_bare(tcb, seq, ack, sack, now) for ack, sack in tcb.acks]
    packets.append(_bare(tcb, seq, tcb.rcv_nxt, sack_blocks(tcb), now))
    if tcb.quick_acks:
        tcb.quick_acks -= 1
    _acknowledged(tcb)
    return sum([_push(tcb, runs, [packet]) for packet in packets])


def _acceptable_seq(tcb: Tcb) -> int:
    """The number of a segment without data: snd_nxt, but never beyond a window that the peer has taken back.

    It would drop such a segment, with the acknowledgement that it may be waiting for. Less than the window's scale is
    only rounding.
    """
    window_end = tcb.snd_una + tcb.snd_wnd
    return window_end if tcb.snd_nxt - window_end >= 1 << tcb.snd_wscale else tcb.snd_nxt


def sack_blocks(tcb: Tcb) -> bytes:
    """The SACK option of an acknowledgement made now: a duplicate first (D-SACK), then what is out of order."""
    if not tcb.sack_ok or (tcb.out_of_order is None and tcb.dsack is None):
        return b""
    blocks = [tcb.dsack] if tcb.dsack is not None else []
    limit = tcp.MAX_SACK_BLOCKS - (1 if tcb.ts_ok else 0) - len(blocks)
    if tcb.out_of_order is not None:
        blocks += tcb.out_of_order.blocks(limit)
    return tcp.sack_option([(left & MASK, right & MASK) for left, right in blocks])


def _acknowledged(tcb: Tcb) -> None:
    """An acknowledgement of everything is out."""
    tcb.last_ack_sent = tcb.rcv_nxt
    tcb.ack_now = False
    tcb.ack_pending = 0
    tcb.delack_at = math.inf
    tcb.dsack = None
    if tcb.acks:
        tcb.acks = []


def _push(tcb: Tcb, runs: Runs, packets: list[bytes]) -> int:
    runs.append((tcb.remote, packets))
    return sum(map(len, packets))

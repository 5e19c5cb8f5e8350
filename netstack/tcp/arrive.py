"""What a segment does to a connection: RFC 9293 §3.10.7, in its order.

    first     the sequence number: PAWS, the window; what is outside is answered by an acknowledgement
    second    RST      third  (security: none)      fourth  SYN
    fifth     ACK: the send window, `acknowledge`, the handshake's end, the acknowledgement of our FIN
    sixth     (urgent data is data)
    seventh   the text: in order, or into the reassembly queue
    eighth    FIN, when everything before it is here

`take_run` is the short path: it takes as many segments as are exactly what is expected next, and commits them
at once.
Nothing is sent from here: acknowledgements become due (`ack_now`, `acks`, `delack_at`) and leave with the next
turn.

Source: RFC 9293, RFC 5961 (challenge ACKs), RFC 7323 §5 (PAWS), RFC 2883 (D-SACK), RFC 5681 §4.2.
Not here: which connection a segment belongs to (`layer`), SYNs at a listener (`layer`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from netstack import errors
from netstack.seq import HALF, MASK, is_older, unwrap
from netstack.tcp import acknowledge, emit, states
from netstack.tcp.activity import BUFFER, IDLE
from netstack.tcp.owner import Owner
from netstack.tcp.reassembly import OutOfOrder
from netstack.tcp.tcb import LEAST_LIMIT, MAX_RECEIVE_LIMIT, MIN_MSS, QUICK_ACKS, Tcb
from netstack.wire import checksum, tcp
from netstack.wire.tcp import ACK, FIN, NO_OPTIONS, RST, SYN, Layout, Options

DELAYED_ACK = 0.04
CHALLENGE_INTERVAL = 0.5
"""Pure acknowledgements that answer what should not have come: one in this time per connection."""

PAWS_EXPIRES = 24 * 86400.0
SLOW_START_BYTES = 256 * 1024
"""In the first bytes of a connection every second segment is acknowledged, for peers whose window grows per ACK."""

SHORT = 536
"""Bytes. Less than this, in a connection whose application has not answered yet, is a request, and no stream's segment.
"""

MAX_QUEUED_ACKS = 32


def take_run(
    layer: Owner, tcb: Tcb, layout: Layout, packets: Sequence[bytes], index: int, now: float, verified: bool
) -> int:
    """Take packets[index], packets[index + 1], … as long as each is the next data expected; how many that were.

    Expected is: same connection, no flag but ACK and PSH, no options but timestamps, the next sequence number, and room
    for it. Only the first may acknowledge something new or change the window, as an answer does.
    """
    header_size, key_at, unpack_plain, unpack_stamped, (first_mask, first_is), (word_mask, word_is), excluded = layout
    key, with_stamps = tcb.key, tcb.ts_ok
    size = header_size + tcp.TIMESTAMPS_SIZE if with_stamps else header_size
    offset_flags = size - header_size + tcp.HEADER_SIZE << 10 | ACK
    expected, expected_ack, window = tcb.rcv_nxt & MASK, tcb.snd_una & MASK, tcb.wire_window
    recent, room = tcb.ts_recent, tcb.rcv_adv - tcb.rcv_nxt
    option, value, echo = tcp.TIMESTAMPS_WORD, recent, 0
    first_value = -1
    last_echo = 0
    chunks: list[bytes] = []
    for at in range(index, len(packets)):
        packet = packets[at]
        if len(packet) <= size or packet[key_at] != key:
            break
        if with_stamps:
            first, total, word, seq, ack, flags, field, option, value, echo = unpack_stamped(packet)
        else:
            first, total, word, seq, ack, flags, field = unpack_plain(packet)
        total += excluded
        length = total - size
        if (
            seq != expected
            or flags & 0xFFF7 != offset_flags
            or option != tcp.TIMESTAMPS_WORD
            or word & word_mask != word_is
            or first & first_mask != first_is
            or not 0 < length <= room
            or total > len(packet)
            or (value - recent) & MASK >= HALF
            or not (verified or _is_intact(tcb, packet, header_size - tcp.HEADER_SIZE, total))
        ):
            break
        if ack != expected_ack or field != window:
            news = (ack - expected_ack) & MASK
            if chunks or news > tcb.snd_nxt - tcb.snd_una:
                break
            options = Options(timestamps=(value, echo)) if with_stamps else NO_OPTIONS
            _take_acknowledgement(layer, tcb, tcb.rcv_nxt, tcb.snd_una + news, field, options, has_text=True, now=now)
            expected_ack, window = ack, tcb.wire_window
        if first_value < 0:
            first_value = value
        last_echo = echo
        chunks.append(packet[size:total])
        expected = (expected + length) & MASK
        room -= length
    if chunks:
        _commit_run(tcb, chunks, first_value, last_echo, now)
        layer.touch(tcb)
        layer.ready(tcb)
    return len(chunks)


def _is_intact(tcb: Tcb, packet: bytes, ip_size: int, total: int) -> bool:
    """Whether the checksums of IPv4 and TCP are right. tcb.pseudo holds the ports too, which the segment also has."""
    if ip_size == 20 and checksum.partial(packet[:20]) % 65535:
        return False
    pseudo = tcb.pseudo - tcb.local_port - tcb.remote_port
    return not (pseudo + total - ip_size + checksum.partial(packet[ip_size:total])) % 65535


def _commit_run(tcb: Tcb, chunks: list[bytes], first_value: int, echo: int, now: float) -> None:
    size = sum(map(len, chunks))
    start = tcb.rcv_nxt
    tcb.segments_in += len(chunks)
    if tcb.ts_ok:
        if start <= tcb.last_ack_sent:
            tcb.ts_recent, tcb.ts_recent_time = first_value, now
        _measure_receive_rtt(tcb, echo, now)
    if len(chunks[0]) < 256:
        for chunk in chunks:
            tcb.receive_buffer.append(chunk)
    else:
        tcb.receive_buffer.extend(chunks, size)
    tcb.rcv_nxt = start + size
    step = 2 * len(chunks[0])
    if size > step and tcb.bytes_received < SLOW_START_BYTES:
        points = range(start + step, start + size, step)
        tcb.acks += [(point, b"") for point in points[: MAX_QUEUED_ACKS - len(tcb.acks)]]
    _schedule_ack(tcb, size, len(chunks[0]), now)
    _account(tcb, size, now)


def segment_arrives(
    layer: Owner,
    tcb: Tcb,
    wire_seq: int,
    wire_ack: int,
    flags: int,
    window: int,
    option_bytes: bytes,
    payload: bytes,
    now: float,
) -> None:
    """One segment of this connection, numbers as on the wire, checksum already verified."""
    options = tcp.parse_options(option_bytes)
    tcb.segments_in += 1
    layer.touch(tcb)
    if tcb.state == states.SYN_SENT:
        _arrives_in_syn_sent(layer, tcb, wire_seq, wire_ack, flags, window, options, now)
        return
    seq = unwrap(wire_seq, tcb.rcv_nxt)
    if tcb.state == states.SYN_RECEIVED and flags & (SYN | ACK | RST) == SYN | ACK and seq == tcb.irs:
        flags, seq = flags & ~SYN, seq + 1  # both sides opened at once; it acknowledges our SYN
    ack = unwrap(wire_ack, tcb.snd_una)
    if not _check_sequence(layer, tcb, seq, wire_ack, flags, window, options, payload, now):
        if _is_late_news(tcb, seq + len(payload), ack, flags, options):
            _take_acknowledgement(layer, tcb, seq, ack, window, options, has_text=True, now=now)
        return
    if flags & RST:
        _check_reset(layer, tcb, seq, now)
        return
    if flags & SYN:
        layer.count("tcp: SYN in a connection")
        _challenge(tcb, now)  # half-open, that is the SYN-ACK again
        return
    if not flags & ACK:
        layer.count("tcp: no ACK")
        return
    has_text = bool(payload) or bool(flags & FIN)
    if not _check_acknowledgement(layer, tcb, seq, ack, wire_ack, has_text, now):
        return
    _take_acknowledgement(layer, tcb, seq, ack, window, options, has_text=has_text, now=now)
    if tcb.state == states.CLOSED or not has_text:
        return
    if tcb.orphaned and tcb.state in states.RECEIVING and payload and seq + len(payload) > tcb.rcv_nxt:
        layer.send_reset(tcb, seq=wire_ack, now=now)  # data that nobody will read (RFC 2525 §2.17)
        layer.end(tcb, None)
        return
    _take_text(layer, tcb, seq, flags, payload, options, now)


# first ----------------------------------------------------------------------------------------------------------


def _check_sequence(
    layer: Owner,
    tcb: Tcb,
    seq: int,
    wire_ack: int,
    flags: int,
    window: int,
    options: Options,
    payload: bytes,
    now: float,
) -> bool:
    stamps = options.timestamps
    if (
        stamps is not None
        and tcb.ts_ok
        and not flags & RST
        and is_older(stamps[0], tcb.ts_recent)
        and now - tcb.ts_recent_time < PAWS_EXPIRES
        and not _is_overtaken(tcb, seq, wire_ack, flags, window, stamps[0], payload)
    ):
        layer.count("tcp: old timestamp")
        if payload or flags & FIN:
            tcb.ack_now = True
        else:
            _challenge(tcb, now)
        return False
    end = seq + len(payload) + (flags & FIN) + (1 if flags & SYN else 0)
    if seq <= tcb.rcv_adv and end >= tcb.last_ack_sent:
        return True
    layer.count("tcp: outside the window")
    if flags & RST:
        return False
    if payload:
        if end <= tcb.rcv_nxt:
            _note_duplicate(tcb, seq, seq + len(payload))
        tcb.ack_now = True
    else:
        _challenge(tcb, now)
    return False


def _is_overtaken(tcb: Tcb, seq: int, wire_ack: int, flags: int, window: int, stamp: int, payload: bytes) -> bool:
    """Whether it is a duplicate acknowledgement that a younger segment has overtaken: no danger, and PRR needs it."""
    return (
        not payload
        and not flags & (SYN | FIN)
        and seq == tcb.rcv_nxt
        and wire_ack == tcb.snd_una & MASK
        and window == tcb.wire_window
        and (tcb.ts_recent - stamp) & MASK <= int(tcb.rtt.rto * 1200)
    )


def _challenge(tcb: Tcb, now: float) -> None:
    """Acknowledge what should not have come, but not too often: two stacks could go on for ever."""
    if now - tcb.challenge_time >= CHALLENGE_INTERVAL:
        tcb.challenge_time = now
        tcb.ack_now = True


# second ---------------------------------------------------------------------------------------------------------


def _check_reset(layer: Owner, tcb: Tcb, seq: int, now: float) -> None:
    if seq != tcb.rcv_nxt and not _is_behind_everything(tcb, seq):
        layer.count("tcp: RST not at the next sequence number")
        _challenge(tcb, now)
    elif tcb.state == states.SYN_RECEIVED and not layer.is_passive(tcb):
        layer.end(tcb, errors.REFUSED)
    elif tcb.state in (states.CLOSING, states.LAST_ACK):
        layer.end(tcb, None)
    else:
        layer.end(tcb, errors.RESET)


def _is_behind_everything(tcb: Tcb, seq: int) -> bool:
    """Whether the peer resets where its stream ended, though something before is lost: only it knows that place."""
    return tcb.out_of_order is not None and seq == tcb.out_of_order.end


# fifth ----------------------------------------------------------------------------------------------------------


def _check_acknowledgement(
    layer: Owner, tcb: Tcb, seq: int, ack: int, wire_ack: int, has_text: bool, now: float
) -> bool:
    if tcb.state == states.SYN_RECEIVED:
        if not tcb.snd_una < ack <= tcb.snd_nxt:
            layer.send_reset(tcb, seq=wire_ack, now=now)
            return False
        return layer.establish(tcb, now, is_bare=not has_text)
    if ack > tcb.snd_nxt or ack < tcb.snd_una - tcb.max_snd_wnd:
        layer.count("tcp: acknowledges what was not sent" if ack > tcb.snd_nxt else "tcp: acknowledgement too old")
        _challenge(tcb, now)
        return False
    return True


def _is_late_news(tcb: Tcb, end: int, ack: int, flags: int, options: Options) -> bool:
    """Whether a segment left of the window acknowledges what none before it has: its data are old, that is not.

    Only where the peer seems to have taken window back. If the other end believes the same of us, both acknowledge from
    where the other has long been (`emit.acceptable_seq`): who drops such segments whole waits for ever, as both do.
    """
    if tcb.state not in states.SYNCHRONIZED or flags & (SYN | RST | ACK) != ACK:
        return False
    if tcb.ts_ok and options.timestamps and is_older(options.timestamps[0], tcb.ts_recent):
        return False
    if not tcb.rcv_nxt - tcb.receive_limit <= end < tcb.last_ack_sent:
        return False
    return tcb.snd_una < ack <= tcb.snd_nxt and emit.acceptable_seq(tcb) < tcb.snd_nxt


def _take_acknowledgement(
    layer: Owner, tcb: Tcb, seq: int, ack: int, window: int, options: Options, *, has_text: bool, now: float
) -> None:
    tcb.heard_time = tcb.acked_time = now
    tcb.probes = 0
    if (
        options.timestamps
        and tcb.ts_ok
        and seq <= tcb.last_ack_sent
        and not is_older(options.timestamps[0], tcb.ts_recent)
    ):
        tcb.ts_recent, tcb.ts_recent_time = options.timestamps[0], now
    changed = _update_send_window(tcb, seq, ack, window)
    _acknowledge(layer, tcb, ack, options, is_duplicate=not has_text and not changed, now=now)


def _update_send_window(tcb: Tcb, seq: int, ack: int, window: int) -> bool:
    """Whether the window has changed. A window of zero is as good as any other.

    What acknowledges something new always counts, even a segment sent again that others have overtaken: the window
    it leaves out would begin at the new snd_una, and so end too late.
    """
    is_newer = ack > tcb.snd_una or tcb.snd_wl1 < seq or (tcb.snd_wl1 == seq and tcb.snd_wl2 <= ack)
    if ack < tcb.snd_una or not is_newer:
        return False
    tcb.snd_wl1, tcb.snd_wl2 = seq, ack
    tcb.wire_window = window
    scaled = window << tcb.snd_wscale
    if scaled == tcb.snd_wnd:
        return False
    if scaled > tcb.snd_wnd:
        tcb.persist_at = math.inf
    tcb.snd_wnd = scaled
    tcb.max_snd_wnd = max(tcb.max_snd_wnd, scaled)
    return True


def _acknowledge(layer: Owner, tcb: Tcb, ack: int, options: Options, *, is_duplicate: bool, now: float) -> None:
    advanced = ack > tcb.snd_una
    if advanced or options.sack or is_duplicate:
        acknowledge.acknowledge(tcb, ack, options, is_duplicate=is_duplicate, now=now)
    if not advanced:
        return
    tcb.charge()
    tcb.stalled_time = now if tcb.scoreboard.segments else math.inf
    tcb.more_follows = False
    if not tcb.send_buffer.size:
        tcb.activity.change(IDLE, now)
    elif tcb.wants_room and tcb.snd_nxt >= tcb.send_buffer.end:
        tcb.activity.change(BUFFER, now)
    if tcb.wants_room and tcb.send_buffer.size <= tcb.send_limit * 2 // 3:
        tcb.wants_room = False
        layer.ready(tcb)
    if tcb.fin_acked:
        _advance(layer, tcb, states.ACK_OF_FIN, now)


def _advance(layer: Owner, tcb: Tcb, event: str, now: float) -> None:
    """Take the step of the closing handshake that this event asks for, if any."""
    state = states.CLOSING_HANDSHAKE.get(tcb.state, {}).get(event)
    if state is None:
        return
    if state == states.TIME_WAIT:
        layer.enter_time_wait(tcb, now)
    elif state == states.CLOSED:
        layer.end(tcb, None)
    else:
        tcb.state = state
        if state == states.FIN_WAIT_2 and tcb.orphaned:
            layer.linger(tcb, now)


# seventh and eighth ---------------------------------------------------------------------------------------------


def _take_text(layer: Owner, tcb: Tcb, seq: int, flags: int, payload: bytes, options: Options, now: float) -> None:
    if tcb.state not in states.RECEIVING:
        tcb.ack_now = True  # text after the peer's FIN: a retransmission
        return
    end = seq + len(payload)
    if flags & FIN and tcb.rcv_fin is None and end <= tcb.rcv_adv:
        tcb.rcv_fin = end
    if tcb.rcv_fin is not None and end > tcb.rcv_fin:
        payload = payload[: max(tcb.rcv_fin - seq, 0)]  # nothing follows the FIN
    if payload:
        if options.timestamps:
            _measure_receive_rtt(tcb, options.timestamps[1], now)
        _take_payload(layer, tcb, seq, payload, now)
    if tcb.rcv_fin is not None:
        _schedule_ack_of_fin(tcb, now)
        if tcb.rcv_nxt == tcb.rcv_fin:
            tcb.rcv_nxt += 1
            tcb.fin_received = True
            _advance(layer, tcb, states.FIN, now)
            layer.ready(tcb)


def _take_payload(layer: Owner, tcb: Tcb, seq: int, payload: bytes, now: float) -> None:
    end = seq + len(payload)
    if seq < tcb.rcv_nxt:
        _note_duplicate(tcb, seq, min(end, tcb.rcv_nxt))
        tcb.ack_now = True
        payload = payload[tcb.rcv_nxt - seq :]
        seq = tcb.rcv_nxt
    if end > tcb.rcv_adv:
        payload = payload[: max(tcb.rcv_adv - seq, 0)]
        tcb.ack_now = True
    if not payload:
        tcb.ack_now = True
        return
    if tcb.memory.is_full and tcb.charged > LEAST_LIMIT:
        layer.count("tcp: memory full")
        return
    if seq > tcb.rcv_nxt:
        _take_ahead(tcb, seq, payload)
        return
    size = len(payload)
    tcb.receive_buffer.append(payload)
    tcb.rcv_nxt = seq + size
    if tcb.out_of_order is not None:
        _fill_gap(tcb)
        size = tcb.rcv_nxt - seq
    _schedule_ack(tcb, size, len(payload), now)
    _account(tcb, size, now)
    layer.ready(tcb)


def _take_ahead(tcb: Tcb, seq: int, payload: bytes) -> None:
    """Data beyond a gap: keep it, and say so at once. The first three each get their own acknowledgement, for peers
    that count duplicates."""
    if tcb.out_of_order is None:
        tcb.out_of_order = OutOfOrder()
    duplicate = tcb.out_of_order.insert(seq, payload)
    tcb.rcv_mss = max(tcb.rcv_mss, len(payload))
    tcb.ooo_segments += 1
    tcb.charge()
    if duplicate is not None:
        _note_duplicate(tcb, *duplicate)
    if tcb.ack_now and len(tcb.acks) < 3:
        tcb.acks.append((tcb.rcv_nxt, emit.sack_blocks(tcb)))
    tcb.ack_now = True


def _note_duplicate(tcb: Tcb, left: int, right: int) -> None:
    """The next acknowledgement reports it. One can report one stretch: the first, with what joins to it."""
    if not tcb.sack_ok or not tcb.settings.dsack:
        return
    if tcb.dsack is None:
        tcb.dsack = (left, right)
    elif left <= tcb.dsack[1] and right >= tcb.dsack[0]:
        tcb.dsack = (min(left, tcb.dsack[0]), max(right, tcb.dsack[1]))


def _fill_gap(tcb: Tcb) -> None:
    assert tcb.out_of_order is not None
    duplicate = tcb.out_of_order.duplicate(tcb.rcv_nxt)
    if duplicate is not None:
        _note_duplicate(tcb, *duplicate)
    tcb.rcv_nxt, chunks = tcb.out_of_order.take(tcb.rcv_nxt)
    for chunk in chunks:
        tcb.receive_buffer.append(chunk)
    if not len(tcb.out_of_order):
        tcb.out_of_order = None
    tcb.ack_now = True


def _schedule_ack(tcb: Tcb, size: int, segment: int, now: float) -> None:
    """Acknowledge at once from two segments on, else within 40 ms; at first sooner, as Linux does."""
    tcb.rcv_mss = max(tcb.rcv_mss, segment)
    if now - tcb.data_received_time > tcb.rtt.rto:
        tcb.quick_acks = QUICK_ACKS  # after a pause, as at the beginning
    tcb.ack_pending += size
    if tcb.ack_pending >= 2 * tcb.rcv_mss or tcb.out_of_order is not None:
        tcb.ack_now = True
    elif not tcb.quick_acks:
        _acknowledge_within(tcb, DELAYED_ACK, now)
    else:
        _acknowledge_within(tcb, tcb.settings.answer_wait if tcb.ack_pending < SHORT else 0.0, now)


def _acknowledge_within(tcb: Tcb, wait: float, now: float) -> None:
    """Leave the acknowledgement to the data that we send by then, if any."""
    if not wait:
        tcb.ack_now = True
    elif now + wait < tcb.delack_at:
        tcb.delack_at = now + wait


def _schedule_ack_of_fin(tcb: Tcb, now: float) -> None:
    """Leave it to our own FIN for 40 ms where our application has answered so far, as Linux does: it ends as well."""
    at_once = tcb.rcv_nxt != tcb.rcv_fin or tcb.fin_queued or tcb.quick_acks
    _acknowledge_within(tcb, 0.0 if at_once else DELAYED_ACK, now)


def _measure_receive_rtt(tcb: Tcb, echo: int, now: float) -> None:
    """The time from our acknowledgement to data that answers it: an upper bound of the round trip."""
    elapsed = (tcb.stamp(now) - echo) & MASK
    if echo and elapsed < HALF:
        sample = max(elapsed / 1000, 0.001)
        tcb.rcv_rtt = sample if tcb.rcv_rtt == math.inf else min(sample, tcb.rcv_rtt * 1.01 + 0.001)


def _account(tcb: Tcb, size: int, now: float) -> None:
    """Count what came, and once a round trip let the buffer follow what the application takes."""
    tcb.bytes_received += size
    tcb.heard_time = tcb.data_received_time = now
    tcb.probes = 0
    tcb.charge()
    elapsed = now - tcb.drs_time
    if elapsed < tcb.rcv_rtt or elapsed <= 0:
        return
    copied, tcb.copied, tcb.drs_time = tcb.copied, 0, now
    if copied > tcb.drs_copied and elapsed < 4 * tcb.rcv_rtt + 0.01:
        wanted = 2 * copied + 16 * tcb.rcv_mss
        if tcb.drs_copied:
            wanted += 2 * wanted * (copied - tcb.drs_copied) // tcb.drs_copied
        if tcb.rcv_wscale and tcb.autotunes and not tcb.memory.is_scarce:
            tcb.receive_limit = max(tcb.receive_limit, min(wanted, MAX_RECEIVE_LIMIT))
    tcb.drs_copied = copied


# SYN-SENT -------------------------------------------------------------------------------------------------------


def _arrives_in_syn_sent(
    layer: Owner, tcb: Tcb, wire_seq: int, wire_ack: int, flags: int, window: int, options: Options, now: float
) -> None:
    ack = unwrap(wire_ack, tcb.snd_una)
    if flags & ACK and not tcb.iss < ack <= tcb.snd_nxt:
        if not flags & RST:
            layer.send_reset(tcb, seq=wire_ack, now=now)
        return
    if flags & RST:
        if flags & ACK:
            layer.end(tcb, errors.REFUSED)
        return
    if not flags & SYN:
        layer.count("tcp: no SYN in SYN_SENT")
        return
    synchronize(tcb, wire_seq, options, window, now)
    if not flags & ACK:  # simultaneous open
        tcb.state = states.SYN_RECEIVED
        tcb.ack_now = True
        return
    tcb.snd_wl2 = ack
    _acknowledge_within(tcb, tcb.settings.answer_wait, now)
    layer.establish(tcb, now)
    acknowledge.acknowledge(tcb, ack, options, is_duplicate=False, now=now)


def synchronize(tcb: Tcb, wire_seq: int, options: Options, window: int, now: float) -> None:
    """Take the peer's SYN: its sequence number, what it offers, its unscaled window."""
    tcb.irs = wire_seq
    tcb.rcv_nxt = tcb.rcv_adv = tcb.last_ack_sent = wire_seq + 1
    if tcb.state == states.SYN_SENT:
        tcb.rcv_adv += min(tcb.receive_limit, 65_535)
    tcb.snd_wl1 = wire_seq
    tcb.snd_wnd = tcb.max_snd_wnd = window
    tcb.wire_window = window
    default_mss = 536 if len(tcb.local) == 4 else 1220
    tcb.peer_mss = max(default_mss if options.mss is None else options.mss, MIN_MSS)
    settings = tcb.settings
    if options.window_scale is None or not settings.window_scaling:
        tcb.snd_wscale = tcb.rcv_wscale = 0
        tcb.receive_limit = min(tcb.receive_limit, 65_535)
    else:
        tcb.snd_wscale = options.window_scale
    tcb.sack_ok = options.sack_permitted and settings.sack
    tcb.ts_ok = options.timestamps is not None and settings.timestamps
    if options.timestamps is not None:
        tcb.ts_recent, tcb.ts_recent_time = options.timestamps[0], now
    tcb.set_mss()
    tcb.congestion = type(tcb.congestion)(tcb.mss)

"""What happens when one of a connection's timers fires.

| slot          | set                                          | when it fires                               |
|---------------|----------------------------------------------|---------------------------------------------|
| rto_at        | something is out                             | all of it is lost: slow start, or given up  |
| tail_at       | the last of a flight is out                  | probe it                                    |
| reorder_at    | RACK waits for a straggler                   | it is lost                                  |
| delack_at     | data came, too little to acknowledge at once | acknowledge                                 |
| persist_at    | the peer's window is closed, nothing is out  | probe, ever more rarely                     |
| keepalive_at  | keepalive is on                              | probe after `idle`, then each `interval`    |
| linger_at     | closed: in FIN_WAIT_2, or with `linger` set  | forget it in FIN_WAIT_2, else abort it      |

Probes of a closed window and keepalives are empty segments at snd_una - 1, which the peer must answer whatever its
window.

Retransmissions and window probes back off, because silence may mean congestion. If the owner knows that the path was
down instead, `path_restored` undoes the backoff, and no timeout is longer than that of an unknown path.

Source: RFC 6298 §5, RFC 9293 §3.8.6.1 (zero window) and §3.8.4 (keepalive), RFC 1122 §4.2.3.5; Linux for the counts;
RFC 6069 for what follows when a path comes back.
"""

from __future__ import annotations

import math

from netstack import errors
from netstack.tcp import acknowledge, states
from netstack.tcp.owner import Owner
from netstack.tcp.rtt import MAX_RTO
from netstack.tcp.tcb import Tcb

BLACK_HOLE_RETRIES = 4
BLACK_HOLE_MTUS = (1280, 1024)
"""MTUs to try when full segments vanish and no router says why; IPv6 guarantees the first."""


def expire(layer: Owner, tcb: Tcb, now: float) -> None:
    """Act on every timer of this connection that is due."""
    layer.touch(tcb)
    if tcb.delack_at <= now:
        tcb.delack_at = math.inf
        tcb.ack_now = True
    if tcb.reorder_at <= now:
        acknowledge.on_reorder_timer(tcb, now)
    if tcb.tail_at <= now:
        _probe_tail(tcb, now)
    if tcb.rto_at <= now:
        _retransmission(layer, tcb, now)
    if tcb.persist_at <= now:
        _persist(layer, tcb, now)
    if tcb.keepalive_at <= now:
        _keepalive(layer, tcb, now)
    if tcb.linger_at <= now:
        if tcb.state == states.FIN_WAIT_2:
            layer.end(tcb, None)
        else:
            layer.abort(tcb, errors.ABORTED, now)


def start_keepalive(tcb: Tcb, now: float) -> None:
    tcb.heard_time = now
    tcb.keepalive_at = now + tcb.keepalive[0] if tcb.keepalive is not None else math.inf


def path_restored(tcb: Tcb, now: float) -> bool:
    """The path is back after an outage: begin the backoff anew. True if that has moved a timer.

    What was sent during the outage was lost without congestion, so neither the backoff nor the count of retries says
    anything about the path that is there now. Both are reset. The connection sends one segment: now, or `fresh_rto`
    after it was last sent or something was acknowledged. The rest of what is lost follows its acknowledgement, in slow
    start. A connection that has not sent anything again yet does the same, because its timeout was measured on the
    path that is gone. If nothing was lost after all, F-RTO and timestamps take the reduced window back.

    The user's timeout goes on. A connection that nobody waits for (closed by the application, or half-open) keeps its
    count; otherwise a path that comes and goes could keep it for ever.
    """
    awaited = not tcb.orphaned and tcb.state != states.SYN_RECEIVED
    if tcb.scoreboard.segments and (tcb.retries or _silent_since(tcb) + tcb.rtt.fresh_rto < tcb.rto_at):
        tcb.rtt.progressed()
        tcb.retries = 0 if awaited else tcb.retries
        tcb.rto_at = min(tcb.rto_at, max(now, _silent_since(tcb) + tcb.rtt.fresh_rto))
        return True
    if tcb.persist_backoff and tcb.persist_at < math.inf:
        probed_time = tcb.persist_at - _persist_interval(tcb)
        tcb.persist_backoff = 0
        tcb.probes = 0 if awaited else tcb.probes
        tcb.persist_at = min(tcb.persist_at, max(now, probed_time + tcb.rtt.fresh_rto))
        return True
    return False


def _silent_since(tcb: Tcb) -> float:
    """Since when the first segment that is out waits: it was sent last, or the peer acknowledged what was before it."""
    sent_time = tcb.scoreboard.segments[0].sent_time
    return max(sent_time, tcb.stalled_time) if tcb.stalled_time < math.inf else sent_time


def _probe_tail(tcb: Tcb, now: float) -> None:
    acknowledge.schedule_probe(tcb, tcb.sent_time)
    if tcb.tail_at > now:
        return  # more was sent since, so the probe is due later
    tcb.tail_at = math.inf
    if not tcb.scoreboard.segments:
        return
    tcb.tail_due = True
    tcb.arm_rto(now)


def _retransmission(layer: Owner, tcb: Tcb, now: float) -> None:
    tcb.retries += 1
    if tcb.retries > _most_retries(tcb) or _is_out_of_patience(tcb, now):
        _give_up(layer, tcb)
    elif tcb.state in states.SYNCHRONIZED:
        if tcb.retries == BLACK_HOLE_RETRIES:
            _suspect_black_hole(tcb)
        acknowledge.on_timeout(tcb, now)
    else:  # a lost SYN says nothing about congestion
        tcb.scoreboard.mark_all_lost()
        tcb.rtt.timed_out()
        tcb.arm_rto(now)


def _is_out_of_patience(tcb: Tcb, now: float) -> bool:
    return tcb.user_timeout is not None and now >= tcb.stalled_time + tcb.user_timeout


def _suspect_black_hole(tcb: Tcb) -> None:
    """Lower the MTU if full segments stay unacknowledged and no router says that they are too long (RFC 4821 §7.7,
    RFC 2923)."""
    first = tcb.scoreboard.segments[0] if tcb.scoreboard.segments else None
    if first is None or first.end - first.start < tcb.mss:
        return
    mtus = BLACK_HOLE_MTUS if len(tcb.local) == 4 else BLACK_HOLE_MTUS[:1]
    smaller = [mtu for mtu in mtus if mtu < tcb.packet_size]
    if smaller:
        tcb.mtu = smaller[0]
        tcb.set_mss()


def _most_retries(tcb: Tcb) -> int:
    if tcb.state == states.SYN_SENT:
        return tcb.settings.syn_retries
    if tcb.state == states.SYN_RECEIVED:
        return tcb.settings.synack_retries
    return tcb.settings.retries


def _persist(layer: Owner, tcb: Tcb, now: float) -> None:
    if tcb.scoreboard.segments or not (tcb.snd_nxt < tcb.send_buffer.end or (tcb.fin_queued and not tcb.fin_sent)):
        tcb.persist_at = math.inf
        return
    if _is_out_of_patience(tcb, now):
        _give_up(layer, tcb)
        return
    window = tcb.snd_una + tcb.snd_wnd - tcb.snd_nxt
    if window > 0 and not tcb.persist_backoff:
        tcb.force = True  # send what fits, although the data is corked or the window is too small to be worth it
        tcb.persist_at = math.inf
        return
    if tcb.probes >= (tcb.settings.orphan_retries if tcb.orphaned else tcb.settings.retries):
        _give_up(layer, tcb)
        return
    tcb.probes += 1
    tcb.persist_backoff += 1
    tcb.probe_now = True
    tcb.persist_at = now + _persist_interval(tcb)
    if tcb.user_timeout is not None:
        tcb.persist_at = min(tcb.persist_at, tcb.stalled_time + tcb.user_timeout)


def _persist_interval(tcb: Tcb) -> float:
    """Seconds from one probe of a closed window to the next."""
    return min(tcb.rtt.rto * (1 << min(tcb.persist_backoff, 16)), MAX_RTO)


def _keepalive(layer: Owner, tcb: Tcb, now: float) -> None:
    if tcb.keepalive is None:
        tcb.keepalive_at = math.inf
        return
    idle, interval, count = tcb.keepalive
    if tcb.scoreboard.segments or tcb.persist_at < math.inf:
        tcb.keepalive_at = now + idle  # other timers find out whether the peer is there
    elif now < tcb.heard_time + idle:
        tcb.keepalive_at = tcb.heard_time + idle
    elif tcb.probes >= count if tcb.user_timeout is None else now >= tcb.heard_time + tcb.user_timeout and tcb.probes:
        layer.abort(tcb, errors.TIMEOUT, now)
    else:
        tcb.probes += 1
        tcb.probe_now = True
        tcb.keepalive_at = now + interval


def _give_up(layer: Owner, tcb: Tcb) -> None:
    layer.end(tcb, tcb.soft_error or errors.TIMEOUT)

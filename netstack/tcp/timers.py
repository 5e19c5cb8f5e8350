"""What happens when one of a connection's timers has passed.

| slot          | set                                          | when it fires                               |
|---------------|----------------------------------------------|---------------------------------------------|
| rto_at        | something is out                             | all of it is lost: slow start, or given up  |
| reorder_at    | RACK waits for a straggler                   | it is lost                                  |
| delack_at     | data came, too little to acknowledge at once | acknowledge                                 |
| persist_at    | the peer's window is closed, nothing is out  | probe, ever more rarely                     |
| keepalive_at  | keepalive is on                              | probe after `idle`, then each `interval`    |
| linger_at     | FIN_WAIT_2 and closed by the application     | forget the connection                       |

Probes are empty segments at snd_una - 1: the peer must answer, whatever its window.

Source: RFC 6298 §5, RFC 9293 §3.8.6.1 (zero window) and §3.8.4 (keepalive), RFC 1122 §4.2.3.5; counts of Linux.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from netstack import errors
from netstack.tcp import recovery, states
from netstack.tcp.rtt import MAX_RTO
from netstack.tcp.tcb import Tcb

if TYPE_CHECKING:
    from netstack.tcp.layer import TcpLayer

SYN_RETRIES = 6
SYN_ACK_RETRIES = 5
DATA_RETRIES = 15
ORPHAN_PROBES = 8
"""A closed window is probed less long when nobody waits for it to open."""

FIN_WAIT_2_TIMEOUT = 60.0


def expire(layer: TcpLayer, tcb: Tcb, now: float) -> None:
    """Act on every timer of this connection that has passed."""
    layer.touch(tcb)
    if tcb.delack_at <= now:
        tcb.delack_at = math.inf
        tcb.ack_now = True
    if tcb.reorder_at <= now:
        recovery.on_reorder_timer(tcb, now)
    if tcb.rto_at <= now:
        _retransmission(layer, tcb, now)
    if tcb.persist_at <= now:
        _persist(layer, tcb, now)
    if tcb.keepalive_at <= now:
        _keepalive(layer, tcb, now)
    if tcb.linger_at <= now:
        layer.end(tcb, None)


def start_keepalive(tcb: Tcb, now: float) -> None:
    tcb.heard_time = now
    tcb.keepalive_at = now + tcb.keepalive[0] if tcb.keepalive is not None else math.inf


def _retransmission(layer: TcpLayer, tcb: Tcb, now: float) -> None:
    tcb.retries += 1
    if tcb.retries > _most_retries(tcb):
        _give_up(layer, tcb)
    elif tcb.state in states.SYNCHRONIZED:
        recovery.on_timeout(tcb, now)
    else:  # a SYN: nothing is known of congestion
        tcb.scoreboard.mark_all_lost()
        tcb.rtt.timed_out()
        tcb.rto_at = now + tcb.rtt.rto


def _most_retries(tcb: Tcb) -> int:
    if tcb.state == states.SYN_SENT:
        return SYN_RETRIES
    if tcb.state == states.SYN_RECEIVED:
        return SYN_ACK_RETRIES
    return DATA_RETRIES


def _persist(layer: TcpLayer, tcb: Tcb, now: float) -> None:
    if tcb.scoreboard.segments or not (tcb.snd_nxt < tcb.send_buffer.end or (tcb.fin_queued and not tcb.fin_sent)):
        tcb.persist_at = math.inf
        return
    if tcb.probes >= (ORPHAN_PROBES if tcb.orphaned else DATA_RETRIES):
        _give_up(layer, tcb)
        return
    tcb.probes += 1
    tcb.persist_backoff += 1
    tcb.probe_now = True
    tcb.persist_at = now + min(tcb.rtt.rto * (1 << min(tcb.persist_backoff, 16)), MAX_RTO)


def _keepalive(layer: TcpLayer, tcb: Tcb, now: float) -> None:
    if tcb.keepalive is None:
        tcb.keepalive_at = math.inf
        return
    idle, interval, count = tcb.keepalive
    if tcb.scoreboard.segments or tcb.persist_at < math.inf:
        tcb.keepalive_at = now + idle  # other timers find out whether the peer is there
    elif now < tcb.heard_time + idle:
        tcb.keepalive_at = tcb.heard_time + idle
    elif tcb.probes >= count:
        layer.abort(tcb, errors.TIMEOUT, now)
    else:
        tcb.probes += 1
        tcb.probe_now = True
        tcb.keepalive_at = now + interval


def _give_up(layer: TcpLayer, tcb: Tcb) -> None:
    layer.end(tcb, tcb.soft_error or errors.TIMEOUT)

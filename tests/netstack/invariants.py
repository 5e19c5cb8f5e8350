"""What must hold of every connection after every turn, whatever the wires do.

watch(pair)        from now on each turn of the pair is followed by a look at all connections of both stacks
"""

from __future__ import annotations

import math

from netstack import Stack
from netstack.tcp.tcb import Tcb
from tests.netstack.pair import Pair


def watch(pair: Pair) -> None:
    turn, edges = pair.turn, dict[bytes, int]()

    def watched() -> None:
        turn()
        for stack in (pair.a, pair.b):
            check_stack(stack)
            for tcb in stack._tcp.connections.values():
                check(tcb)
                assert tcb.rcv_adv >= edges.get(tcb.key, tcb.rcv_adv), "window was taken back"
                edges[tcb.key] = tcb.rcv_adv

    pair.turn = watched  # type: ignore[method-assign]


def check_stack(stack: Stack) -> None:
    held = sum(tcb.charged for tcb in stack._tcp.connections.values())
    assert stack._tcp.memory.held == held
    by_link = {tcb: link for link, tcbs in stack._tcp._links.items() for tcb in tcbs}
    assert by_link == {tcb: tcb.link for tcb in stack._tcp.connections.values()}
    assert all(stack._tcp._links.values())


def check(tcb: Tcb) -> None:
    board = tcb.scoreboard
    assert tcb.snd_una <= tcb.snd_nxt
    assert board.in_flight >= 0
    assert board.lost_out == sum(sent.end - sent.start for sent in board.segments if sent.lost)
    assert board.resent_out == sum(sent.end - sent.start for sent in board.segments if sent.resent)
    if tcb.sack_ok:
        assert board.sacked_out == sum(sent.end - sent.start for sent in board.segments if sent.sacked)
    waiting = [sent.start for sent in board.segments if sent.lost and not sent.resent]
    assert [sent.start for sent in board.to_resend] == waiting
    assert tcb.congestion.cwnd >= min(tcb.mss, 2)
    assert tcb.rcv_nxt <= tcb.rcv_adv + 1
    if board.segments:
        assert tcb.rto_at < math.inf, "something is out, and nothing will find it lost"
    assert tcb.deadline() >= tcb.armed_for or tcb.armed_for == math.inf

"""Numbers of the script against numbers of the wire."""

from __future__ import annotations

from tests.scripts.flow import REMOTE_ISN, Flow, stamps_of
from tests.scripts.script import ACK, SYN, Segment
from tests.scripts.wire import TCP, Seen

LOCAL, REMOTE = b"\1" * 4, b"\2" * 4
SYN_ACK = Seen(
    0.0,
    LOCAL,
    REMOTE,
    TCP,
    (80, 90),
    seq=5000,
    ack=(REMOTE_ISN + 1) % 2**32,
    flags=SYN | ACK,
    options=(("TS", 777, 3),),
)


def learnt() -> Flow:
    flow = Flow(LOCAL, REMOTE, 80, 90)
    flow.learn(Segment(False, SYN | ACK, 0, 0, 1, options=(("TS", 100, 3),)), SYN_ACK)
    return flow


def test_our_numbers_begin_at_our_syn() -> None:
    flow = learnt()
    assert flow.owns(SYN_ACK)
    seen = flow.as_script(SYN_ACK)
    assert (seen.seq, seen.ack, seen.options) == (0, 1, (("TS", 100, 3),))
    assert flow.ack_to_wire(1) == 5001


def test_the_peers_numbers_cross_the_end_of_the_space() -> None:
    flow = learnt()
    assert flow.seq_to_wire(0) == REMOTE_ISN
    assert flow.seq_to_wire(0x3000) == 0x1000


def test_echoes_are_what_was_sent() -> None:
    flow = learnt()
    assert flow.option_to_wire(("TS", 8, 100)) == ("TS", 8, 777)
    assert flow.option_to_wire(("TS", 8, 150)) == ("TS", 8, 827)
    assert flow.option_to_wire(("TS", 8, 0)) == ("TS", 8, 0)


def test_blocks_name_the_other_sides_numbers() -> None:
    flow = learnt()
    assert flow.option_to_wire(("sack", (1, 2))) == ("sack", (5001, 5002))
    seen = flow.as_script(SYN_ACK._replace(options=(("sack", (REMOTE_ISN + 1, REMOTE_ISN + 2)),)))
    assert seen.options == (("sack", (1, 2)),)
    assert flow.option_to_wire(("nop",)) == ("nop",)


def test_a_repeated_syn_ack_teaches_nothing_new() -> None:
    flow = learnt()
    flow.learn(Segment(False, SYN | ACK, 0, 0, 1), SYN_ACK._replace(seq=6000))
    assert flow.ack_to_wire(0) == 5000


def test_an_acknowledgement_counts_only_with_its_flag() -> None:
    assert learnt().as_script(SYN_ACK._replace(flags=SYN)).ack == 0


def test_stamps() -> None:
    assert stamps_of((("nop",), ("TS", 1, 2))) == (1, 2)
    assert stamps_of((("nop",),)) is None


def test_how_far_we_have_sent() -> None:
    flow = learnt()
    flow.note_sent(flow.as_script(SYN_ACK))
    assert flow.sent_end == 1
    flow.note_sent(flow.as_script(SYN_ACK._replace(seq=5001, size=10, flags=ACK)))
    assert flow.sent_end == 11

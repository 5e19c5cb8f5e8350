"""RACK by numbers: deliveries, the window, losses, D-SACK's influence."""

from __future__ import annotations

import math

import pytest

from netstack.tcp.rack import REO_PERSIST, Rack
from netstack.tcp.sack import Scoreboard, Sent
from tests.netstack.peer import Peer

NEVER = -math.inf


def flight(times: list[float]) -> Scoreboard:
    """Segments of 1000 bytes, each sent at its time."""
    board = Scoreboard()
    for index, at in enumerate(times):
        board.send(index * 1000, index * 1000 + 1000, at)
    return board


def deliver(rack: Rack, board: Scoreboard, left: int, right: int, now: float, min_rtt: float = 0.1) -> None:
    for sent in board.sack(left, right, 1000):
        rack.delivered(sent, now, min_rtt, NEVER)


def test_what_was_sent_before_the_newest_delivery_is_lost_after_the_window() -> None:
    rack, board = Rack(), flight([0.0, 0.01, 0.02])
    deliver(rack, board, 2000, 3000, 0.12)
    assert rack.detect(board, 0.025, 0.12) == pytest.approx(0.125)
    assert board.lost_out == 0
    assert rack.detect(board, 0.025, 0.125) == pytest.approx(0.135)
    assert board.lost_out == 1000
    assert rack.detect(board, 0.025, 0.14) == math.inf
    assert board.lost_out == 2000


def test_equal_times_go_by_sequence() -> None:
    rack, board = Rack(), flight([0.0] * 3)
    deliver(rack, board, 1000, 2000, 0.1)
    rack.detect(board, 0.0, 0.1)
    assert [sent.lost for sent in board.segments] == [True, False, False]


@pytest.mark.parametrize(("repairing", "sacked"), [(True, 0), (False, 3000)])
def test_no_window_while_nothing_was_reordered_and_a_loss_is_likely(repairing: bool, sacked: int) -> None:
    rack = Rack()
    assert rack.window(0.1, 0.1, repairing=repairing, sacked=sacked, enough=3000) == 0
    rack.reorderings = 1
    assert rack.window(0.1, 0.1, repairing=repairing, sacked=sacked, enough=3000) == 0.025


def test_each_round_with_a_duplicate_widens_the_window_up_to_srtt() -> None:
    rack = Rack()
    for number in range(1, 10):
        rack.duplicate_reported(number * 100, number * 100 + 100)
        rack.duplicate_reported(number * 100 + 50, number * 100 + 150)  # the same round
        window = rack.window(0.1, 0.12, repairing=False, sacked=0, enough=3000)
        assert window == pytest.approx(min((number + 1) * 0.025, 0.12))


def test_sixteen_quiet_recoveries_narrow_it_again() -> None:
    assert REO_PERSIST == 16
    rack = Rack()
    rack.duplicate_reported(0, 100)
    for _ in range(REO_PERSIST - 1):
        rack.recovered()
    assert rack.reo_mult == 2
    rack.recovered()
    assert rack.reo_mult == 1


def test_a_retransmission_that_cannot_have_arrived_yet_is_not_the_newest() -> None:
    rack = Rack()
    sent = Sent(0, 1000, 0.2)
    sent.transmissions = 2
    rack.delivered(sent, 0.21, 0.1, NEVER)
    assert rack.time == NEVER
    rack.delivered(sent, 0.4, 0.1, 0.1)  # the echo is older than the retransmission
    assert rack.time == NEVER
    rack.delivered(sent, 0.4, 0.1, 0.2)
    assert rack.time == 0.2
    assert rack.rtt == pytest.approx(0.2)


def test_reordering_is_counted_once_an_acknowledgement_with_its_width() -> None:
    peer = Peer()
    peer.connect(rtt=0.1)
    peer.connection.write(bytes(10 * 1208), peer.now)
    una = peer.take()[0].seq
    peer.clock.advance(0.1)
    peer.send("A", ack=una, blocks=[(una + 9 * 1208, una + 10 * 1208)])
    peer.send("A", ack=una, blocks=[(una + 3 * 1208, una + 4 * 1208), (una + 9 * 1208, una + 10 * 1208)])
    info = peer.connection.info()
    assert (info.reorderings, info.reordering) == (1, 7)
    peer.send("A")
    assert peer.connection.info().reorderings == 2


@pytest.mark.parametrize(
    ("transmissions", "now", "min_rtt", "echo", "counts"),
    [
        (1, 0.25, 0.1, NEVER, True),  # sent once: a round trip that is shorter than all before
        (2, 0.25, 0.1, NEVER, False),
        (2, 0.25, 0.05, NEVER, True),
        (2, 0.4, 0.1, NEVER, True),
        (2, 0.4, 0.1, 0.19, False),
        (2, 0.4, 0.1, 0.199, True),  # timestamps are whole milliseconds
        (3, 0.4, 0.1, 0.3, True),
    ],
)
def test_which_delivery_is_the_newest(
    transmissions: int, now: float, min_rtt: float, echo: float, counts: bool
) -> None:
    """RFC 8985 §6.2, step 2: not the answer to an earlier transmission. What has arrived it is all the same."""
    rack, sent = Rack(), Sent(0, 1000, 0.2)
    sent.transmissions = transmissions
    rack.delivered(sent, now, min_rtt, echo)
    assert (rack.time, rack.rtt) == ((0.2, now - 0.2) if counts else (NEVER, 0.0))
    assert rack.fack == 1000


def test_an_older_delivery_tells_its_round_trip_but_is_not_the_newest() -> None:
    rack = Rack()
    for start, at, now in ((2000, 0.2, 0.3), (1000, 0.1, 0.35), (0, 0.2, 0.4)):
        rack.delivered(Sent(start, start + 1000, at), now, 0.1, NEVER)
    assert (rack.time, rack.end, rack.fack) == (0.2, 3000, 3000)
    assert rack.rtt == pytest.approx(0.2)


@pytest.mark.parametrize(("sacked", "window"), [(2999, 0.025), (3000, 0.0)])
def test_enough_is_three_segments(sacked: int, window: float) -> None:
    assert Rack().window(0.1, 0.1, repairing=False, sacked=sacked, enough=3000) == window


@pytest.mark.parametrize(("now", "overdue"), [(0.3239, False), (0.325, True), (0.4, True)])
def test_what_a_timeout_takes_for_lost_had_a_round_trip_and_the_window(now: float, overdue: bool) -> None:
    rack = Rack()
    rack.delivered(Sent(0, 1000, 0.0), 0.1, 0.1, NEVER)
    assert rack.is_overdue(Sent(1000, 2000, 0.2), 0.025, now) is overdue


def test_the_widest_reordering_is_kept() -> None:
    rack = Rack()
    assert (rack.reordering, rack.reorderings) == (0, 0)
    for width in (1, 3000, 2000):
        rack.note_reordering(width)
    assert (rack.reordering, rack.reorderings) == (3000, 3)


def test_another_duplicate_begins_the_sixteen_anew() -> None:
    rack = Rack()
    rack.recovered()
    rack.duplicate_reported(0, 100)
    rack.recovered()
    rack.duplicate_reported(50, 150)  # the same round: no wider, but longer
    for _ in range(REO_PERSIST - 1):
        rack.recovered()
    assert rack.reo_mult == 2
    rack.recovered()
    assert rack.reo_mult == 1
    for _ in range(REO_PERSIST):
        rack.recovered()
    rack.duplicate_reported(150, 300)
    assert rack.reo_mult == 2

"""PRR by numbers: RFC 9937's two modes and its first retransmission."""

from __future__ import annotations

import pytest

from netstack.tcp.prr import Prr

MSS = 1000


def test_the_first_retransmission_always_leaves() -> None:
    prr = Prr()
    prr.begin(10 * MSS, 0)
    assert prr.window(0, 20 * MSS, 7 * MSS, MSS, safe=False) == 21 * MSS


def test_the_flight_falls_in_proportion_to_ssthresh() -> None:
    """20 out, the first lost, ssthresh 14: of 19 that arrive 13 or 14 are answered."""
    prr = Prr()
    prr.begin(20 * MSS, 0)
    in_flight = 19 * MSS
    for _ in range(19):
        in_flight -= MSS
        cwnd = prr.window(MSS, in_flight, 14 * MSS, MSS, safe=False)
        assert cwnd is not None
        leaving = max((cwnd - in_flight) // MSS, 0) * MSS
        prr.out += leaving
        in_flight += leaving
    assert 13 * MSS <= prr.out <= 14 * MSS
    assert in_flight <= 14 * MSS


def test_below_ssthresh_it_grows_while_nothing_new_is_lost() -> None:
    prr = Prr()
    prr.begin(10 * MSS, 0)
    prr.out = MSS
    assert prr.window(MSS, 3 * MSS, 7 * MSS, MSS, safe=True) == 5 * MSS
    prr.out = 3 * MSS
    assert prr.window(MSS, 4 * MSS, 7 * MSS, MSS, safe=False) == 5 * MSS


def test_never_beyond_ssthresh() -> None:
    prr = Prr()
    prr.begin(10 * MSS, 0)
    prr.out = MSS
    assert prr.window(9 * MSS, 6 * MSS, 7 * MSS, MSS, safe=True) == 7 * MSS


def test_what_says_nothing_changes_nothing() -> None:
    prr = Prr()
    prr.begin(10 * MSS, 2 * MSS)
    prr.window(MSS, 5 * MSS, 7 * MSS, MSS, safe=False)
    assert prr.window(0, 5 * MSS, 7 * MSS, MSS, safe=False) is None


@pytest.mark.parametrize(
    ("delivered", "in_flight", "ssthresh", "out", "safe", "cwnd"),
    [
        (3000, 14_000, 10_000, 1000, True, 15_000),  # 10 of 15 leave: two for three, one has left already
        (1001, 14_000, 10_000, 500, False, 14_168),  # rounded up: 668 - 500
        (1000, 14_000, 10_000, 5000, True, 14_000),  # more has left than arrived: nothing for now
        (1000, 10_000, 10_000, 500, True, 10_000),  # at ssthresh nothing is to be gained
        (1000, 9_999, 10_000, 500, True, 10_000),  # and below no more than up to it
        (1000, 5_000, 10_000, 1000, False, 6_000),  # what arrives
        (1000, 5_000, 10_000, 1000, True, 7_000),  # and a segment more
        (2000, 5_000, 10_000, 500, False, 7_000),
        (2000, 0, 0, 3000, False, 1000),  # never less than a segment
    ],
)
def test_the_window_of_a_flight_of_twenty_of_which_five_were_sacked(
    delivered: int, in_flight: int, ssthresh: int, out: int, safe: bool, cwnd: int
) -> None:
    prr = Prr()
    prr.begin(20 * MSS, 5 * MSS)
    prr.out = out
    assert prr.window(delivered, in_flight, ssthresh, MSS, safe=safe) == cwnd


def test_it_counts_what_has_arrived_in_the_whole_episode() -> None:
    prr = Prr()
    prr.begin(20 * MSS, 0)
    prr.out = MSS
    assert prr.window(2 * MSS, 18 * MSS, 10 * MSS, MSS, safe=True) == 18 * MSS
    assert prr.window(4 * MSS, 14 * MSS, 10 * MSS, MSS, safe=True) == 16 * MSS  # half of six, but one


def test_a_flight_that_was_sacked_whole_still_has_a_rate() -> None:
    prr = Prr()
    prr.begin(5, 5)
    assert prr.window(1, 3, 2, 1, safe=False) == 5


def test_each_episode_begins_with_its_own_first_retransmission() -> None:
    prr = Prr()
    prr.begin(20 * MSS, 0)
    prr.out = MSS
    prr.window(2 * MSS, 18 * MSS, 10 * MSS, MSS, safe=False)
    prr.begin(20 * MSS, 0)
    assert prr.window(MSS, 18 * MSS, 2 * MSS, MSS, safe=False) == 19 * MSS
    prr.out = 3 * MSS
    assert prr.window(9 * MSS, 18 * MSS, 8 * MSS, MSS, safe=False) == 19 * MSS  # 8/20 of ten, but three

"""PRR by numbers: RFC 9937's two modes and its first retransmission."""

from __future__ import annotations

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

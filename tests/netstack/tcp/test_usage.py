"""Only a window that is in use grows; one that long was not shrinks."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from netstack import TcpConnection
from netstack.tcp import usage
from netstack.tcp.cubic import Cubic
from netstack.tcp.usage import NON_VALIDATED_PERIOD, Usage
from tests.netstack.pair import Pair


def once() -> Callable[[bytes], bool]:
    """Loses the next packet, and no other."""
    lost: list[bytes] = []

    def drop(packet: bytes) -> bool:
        lost.append(packet)
        return len(lost) == 1

    return drop


def test_a_full_window_may_grow() -> None:
    use = Usage(0.0)
    use.sent(0, 10_000, 10_000, True)
    assert use.allows_growth(10_000, slow_start=False)


def test_slow_start_may_double_what_was_out() -> None:
    use = Usage(0.0)
    use.sent(0, 6000, 6000, False)
    assert use.allows_growth(10_000, slow_start=True)
    assert not use.allows_growth(12_000, slow_start=True)
    assert not use.allows_growth(10_000, slow_start=False)


def test_a_flight_counts_until_it_is_acknowledged() -> None:
    use = Usage(0.0)
    use.sent(0, 10_000, 10_000, True)
    use.sent(5000, 11_000, 6000, False)
    assert use.limited
    use.sent(10_000, 12_000, 2000, False)
    assert not use.limited


def test_half_of_the_window_out_is_enough_and_two_round_trips_count() -> None:
    use = Usage(0.0)
    use.sent(0, 50_000, 50_000, False)
    assert use.proven(100_000, 0, 0) == 100_000
    assert use.proven(100_002, 0, 0) == 50_000
    use.sent(50_000, 54_000, 4000, False)  # all is acknowledged, and little follows
    assert use.proven(100_002, 0, 0) == 50_000
    use.sent(54_000, 58_000, 4000, False)
    assert use.proven(100_002, 0, 0) == 4000


@pytest.mark.parametrize(("out", "initial", "proven"), [(9000, 0, 9000), (0, 10_000, 10_000), (0, 0, 4000)])
def test_what_was_out_at_the_loss_counts_and_what_a_pause_would_leave(out: int, initial: int, proven: int) -> None:
    use = Usage(0.0)
    use.sent(0, 4000, 4000, False)
    assert use.proven(100_000, out, initial) == proven


def test_a_window_that_stopped_the_sender_is_all_in_use() -> None:
    use = Usage(0.0)
    use.sent(0, 4000, 4000, True)
    assert use.proven(100_000, 0, 0) == 100_000


def test_five_minutes_unused_make_it_stale_and_five_more_again() -> None:
    assert NON_VALIDATED_PERIOD == 300
    use = Usage(0.0)
    use.sent(0, 4000, 4000, False)
    stale = [at for at in range(0, 1000) if use.is_stale(100_000, at)]
    assert stale == [NON_VALIDATED_PERIOD, 2 * NON_VALIDATED_PERIOD, 3 * NON_VALIDATED_PERIOD]


def test_use_begins_the_five_minutes_anew() -> None:
    use = Usage(0.0)
    use.sent(0, 4000, 4000, False)
    assert not use.is_stale(100_000, 200)
    use.sent(4000, 54_000, 50_000, False)
    assert not use.is_stale(100_000, 250)
    use.sent(54_000, 58_000, 4000, False)
    use.sent(58_000, 62_000, 4000, False)
    assert [use.is_stale(100_000, at) for at in (300, 549, 550)] == [False, False, True]


def trickling(pair: Pair, *, every: float, window: int = 200) -> TcpConnection:
    """A connection that has earned `window` segments, of which its application uses one each `every` seconds."""
    client, server = pair.connected()
    client._tcb.congestion.cwnd = float(window * client._tcb.mss)
    due = pair.now

    def act(now: float) -> None:
        nonlocal due
        if now >= due:
            client.write(bytes(1000), now)
            due = now + every
        server.read()

    pair.on_turn, pair.every = act, every
    return client


def test_a_loss_of_a_trickle_is_a_loss_of_the_trickle() -> None:
    """What the window allows beyond it was never tried: a burst of that size would find the same queue."""
    pair = Pair(delay=0.1, seed=1)
    client = trickling(pair, every=0.1)
    pair.run(seconds=5)
    assert client.info().cwnd >= 200 * client.info().mss
    pair.to_b.drop_next = once()
    pair.run(until=lambda: client.info().packets_retransmitted > 0, seconds=5)
    pair.run(seconds=2)
    info = client.info()
    assert (info.ca_state, info.packets_retransmitted) == ("open", 1)
    assert info.ssthresh == 7 * info.mss  # of the initial window, which any pause would leave
    assert info.cwnd < 9 * info.mss


def test_a_long_trickle_halves_what_no_loss_has_ever_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "NON_VALIDATED_PERIOD", 5.0)
    pair = Pair(delay=0.1)
    client = trickling(pair, every=0.15)
    mss = client.info().mss
    seen = []
    for seconds in (4, 2, 3, 2):
        pair.run(seconds=seconds)
        seen.append(client.info().cwnd // mss)
    assert seen == [200, 100, 100, 50]


def test_the_time_of_a_trickle_is_no_time_of_cubics_curve() -> None:
    pair = Pair(delay=0.1)
    client = trickling(pair, every=0.1)
    cubic = client._tcb.congestion
    assert isinstance(cubic, Cubic)
    cubic.on_loss()
    cubic.cwnd = cubic.ssthresh
    cubic.avoid(1.0, pair.now, 0.2)
    pair.run(seconds=5)
    assert pair.now - cubic._epoch < 0.5

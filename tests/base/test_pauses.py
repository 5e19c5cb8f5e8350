from __future__ import annotations

import random

from tsnet.base.pauses import Pauses


def longest(_size: int) -> bytes:
    return b"\xff"


def test_a_pause_doubles_up_to_the_longest() -> None:
    pauses = Pauses(0.5, longest)
    assert [pauses.next(4.0) for _ in range(6)] == [0.5, 1.0, 2.0, 4.0, 4.0, 4.0]
    assert pauses.next(1e9) == 32.0
    pauses.begin_anew()
    assert pauses.next(4.0) == 0.5


def test_it_never_overflows() -> None:
    pauses = Pauses(1.0, longest)
    assert [pauses.next(30.0) for _ in range(5_000)][-1] == 30.0
    assert pauses.next(1e9) == 65_536.0


def test_it_is_shortened_by_up_to_a_half() -> None:
    entropy = random.Random(1).randbytes
    waits = [Pauses(1.0, entropy).next(30.0) for _ in range(2_000)]
    assert 0.5 <= min(waits) < 0.51
    assert 0.99 < max(waits) <= 1.0

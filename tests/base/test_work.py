from __future__ import annotations

import pytest

from tsnet.base.work import Work, share


def test_the_last_piece_may_overdraw() -> None:
    work = Work(10)
    work.spend(9)
    assert work.left > 0
    work.spend(20)
    assert work.left <= 0


@pytest.mark.parametrize(("waiting", "units"), [(0, 100), (1, 100), (5, 100), (10, 50), (250, 4), (4096, 4)])
def test_everybody_gets_an_equal_part_within_bounds(waiting: int, units: int) -> None:
    assert share(500, waiting, 4, 100) == units

"""When a router counts as restarted."""

from __future__ import annotations

import pytest

from tsnet.portmap.epoch import Epoch


@pytest.mark.parametrize(
    ("first", "elapsed", "second", "restarted"),
    [
        (100, 0.0, 100, False),
        (100, 0.0, 99, False),  # within the slack
        (100, 0.0, 97, True),
        (100, 1000.0, 1100, False),
        (100, 1000.0, 976, False),  # a slow clock
        (100, 1000.0, 970, True),
        (100, 1000.0, 50_000, False),  # a fast one
        (100, 1000.0, 5, True),
        (2**32 - 1, 10.0, 0, True),
    ],
)
def test_it_has_restarted_if_it_counts_from_further_back(
    first: int, elapsed: float, second: int, restarted: bool
) -> None:
    epoch = Epoch()
    assert not epoch.heard(first, 1000.0)
    assert epoch.heard(second, 1000.0 + elapsed) is restarted

"""Unwrapping against the definition: the nearest number with those low bits."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from netstack.seq import HALF, MASK, is_older, unwrap


@given(st.integers(0, 2**40), st.integers(-(2**31), 2**31 - 1))
def test_unwraps_what_is_nearest(near: int, distance: int) -> None:
    assert unwrap((near + distance) & MASK, near) == near + distance


def test_at_the_wrap() -> None:
    assert unwrap(0, MASK) == MASK + 1
    assert unwrap(MASK, MASK + 1) == MASK
    assert unwrap(HALF, 0) == -HALF


@given(st.integers(0, MASK), st.integers(1, HALF - 1))
def test_stamps_are_ordered_on_the_circle(stamp: int, later: int) -> None:
    assert is_older(stamp, (stamp + later) & MASK)
    assert not is_older((stamp + later) & MASK, stamp)
    assert not is_older(stamp, stamp)

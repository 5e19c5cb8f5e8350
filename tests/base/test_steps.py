"""Long computations in steps."""

from __future__ import annotations

import pytest

from tsnet.base.steps import Steps, finish


def counting(to: int) -> Steps[int]:
    for number in range(to):
        if number == 7:
            raise ValueError("seven")
        yield
    return to


def test_finish_takes_the_steps_that_are_left() -> None:
    steps = counting(5)
    next(steps)
    assert finish(steps) == 5


def test_something_is_done_after_each_step() -> None:
    done: list[int] = []
    assert finish(counting(3), lambda: done.append(1)) == 3
    assert len(done) == 3


def test_finish_raises_what_a_step_raises() -> None:
    with pytest.raises(ValueError, match="seven"):
        finish(counting(8))

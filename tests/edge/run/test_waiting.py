from __future__ import annotations

import math
from collections.abc import Callable

from tsnet.edge.pipes.operations import Operation
from tsnet.edge.run.alarms import Alarm, Alarms
from tsnet.edge.run.waiting import Waiting
from tsnet.errors import NotUp, UpTimeout


class Loop:
    def __init__(self) -> None:
        self.alarms = Alarms()

    def at(self, when: float, function: Callable[[], object]) -> Alarm:
        return self.alarms.at(when, function)

    def call(self, function: Callable[[], None]) -> None:
        function()


def late() -> UpTimeout:
    return UpTimeout("too late")


def test_everybody_goes_on_when_released() -> None:
    loop = Loop()
    waiting, first, second = Waiting(loop), Operation[int](), Operation[int]()
    waiting.add(first, 5.0, lambda: first.resolve(1), late)
    waiting.add(second, math.inf, lambda: second.resolve(2), late)
    assert len(waiting) == 2
    waiting.release()
    assert (first.outcome(), second.outcome(), len(waiting)) == (1, 2, 0)
    loop.alarms.ring(9.0)


def test_whose_time_is_up_is_told_so_and_the_others_wait_on() -> None:
    loop = Loop()
    waiting, first, second = Waiting(loop), Operation[int](), Operation[int]()
    waiting.add(first, 5.0, lambda: first.resolve(1), late)
    waiting.add(second, 6.0, lambda: second.resolve(2), late)
    loop.alarms.ring(5.0)
    assert isinstance(first._error, UpTimeout)
    assert not second.done
    assert len(waiting) == 1


def test_nobody_goes_on_when_it_has_failed() -> None:
    waiting, operation = Waiting(Loop()), Operation[int]()
    waiting.add(operation, 5.0, lambda: operation.resolve(1), late)
    waiting.fail(NotUp("closed"))
    assert isinstance(operation._error, NotUp)


def test_who_fails_to_go_on_ends_with_that_error_and_the_others_go_on() -> None:
    waiting, first, second = Waiting(Loop()), Operation[int](), Operation[int]()
    waiting.add(first, 5.0, lambda: 1 / 0, late)
    waiting.add(second, 5.0, lambda: second.resolve(2), late)
    waiting.release()
    assert isinstance(first._error, ZeroDivisionError)
    assert second.outcome() == 2


def test_who_was_cancelled_is_forgotten_before_and_after_it_was_added() -> None:
    waiting, early, afterwards = Waiting(Loop()), Operation[int](), Operation[int]()
    early.cancel()
    waiting.add(early, math.inf, lambda: early.resolve(1), late)
    waiting.add(afterwards, math.inf, lambda: afterwards.resolve(1), late)
    assert len(waiting) == 1
    afterwards.cancel()
    assert len(waiting) == 0
    waiting.release()
    assert not early.done


def test_who_begins_to_wait_while_the_others_are_released_waits() -> None:
    waiting, first, second = Waiting(Loop()), Operation[int](), Operation[int]()
    waiting.add(first, 5.0, lambda: waiting.add(second, 5.0, lambda: second.resolve(2), late), late)
    waiting.release()
    assert len(waiting) == 1
    waiting.release()
    assert second.outcome() == 2

from __future__ import annotations

import sys
from typing import Any

import pytest

from tests.interrupts import interrupted
from tsnet.edge.pipes import waiters
from tsnet.edge.pipes.waiters import Waiters, Wake, WakeQueue, completed
from tsnet.errors import Error, NotUp


class Door(Waiters):
    """Neither news nor room unless `open`; the runner of itself. happened: what was called, in order."""

    __slots__ = ("error", "happened", "look", "open")

    def __init__(self) -> None:
        super().__init__(self)
        self.happened: list[str] = []
        self.open = False
        self.error: Error | None = None
        self.look: Any = bool

    @property
    def has_news(self) -> bool:
        self.look()
        return self.open

    @property
    def has_room(self) -> bool:
        self.look()
        return self.open

    def wake(self, name: str) -> Any:
        return lambda: self.happened.append(name)

    def schedule(self, pipe: Any) -> None:
        assert pipe is self
        self.happened.append("scheduled")

    def forget(self, endpoint: Any) -> None:
        self.happened.append("forgotten")

    def service(self, now: float) -> None:
        self.scheduled = False

    def end(self, now: float) -> None:
        self.wake_all()

    def fail(self, error: Error) -> None:
        self.error = error
        self.wake_all()


def test_a_waiter_is_woken_once() -> None:
    door = Door()
    assert door.when_readable(door.wake("read"))
    assert door.when_writable(door.wake("write"))
    assert door.writer.waiter is not None
    door.wake_all()
    door.wake_all()
    assert door.happened == ["read", "write"]
    assert door.writer.waiter is None


def test_who_need_not_wait_is_not_woken() -> None:
    door = Door()
    door.open = True
    assert not door.when_readable(door.wake("read"))
    assert not door.when_writable(door.wake("write"))
    door.wake_all()
    assert door.happened == []


@pytest.mark.parametrize("kind", ["reader", "writer"])
def test_news_between_the_look_and_the_wait_are_not_lost(kind: str) -> None:
    """The wake is there before the last look: whoever brings news after that look finds it."""
    door = Door()
    door.look = door.wake_all  # the other side, at the worst moment
    wait = door.when_readable if kind == "reader" else door.when_writable
    assert wait(door.wake(kind))
    assert door.happened == [kind]


def test_the_last_to_wait_is_woken() -> None:
    door = Door()
    door.when_readable(door.wake("gone"))
    door.when_readable(door.wake("here"))
    door.reader.wake()
    assert door.happened == ["here"]


def test_any_number_of_requests_is_one_until_it_is_served() -> None:
    door = Door()
    door._request()
    door._request()
    assert door.happened == ["scheduled"]
    door.service(0.0)
    door._request()
    assert door.happened == ["scheduled", "scheduled"]


def test_in_a_forked_child_nobody_is_woken() -> None:
    door, error = Door(), NotUp("forked")
    door.direct = door.wake("bridge")
    door.when_readable(door.wake("read"))
    door.when_writable(door.wake("write"))
    door.orphan(error)
    assert door.happened == []
    assert door.error is error
    assert door.direct is None


def test_what_each_stream_has_one_of_has_no_dictionary() -> None:
    assert not hasattr(Door(), "__dict__")


# --- interrupts -------------------------------------------------------------------------------------------------


def test_an_interrupted_request_leaves_the_next_one_heard() -> None:
    for door in interrupted(Door, Door._request, waiters):
        assert door.happened or not door.scheduled
        door._request()
        assert "scheduled" in door.happened


def test_an_interrupted_wake_wakes() -> None:
    def waiting() -> Door:
        door = Door()
        door.when_readable(door.wake("read"))
        door.when_writable(door.wake("write"))
        return door

    for door in interrupted(waiting, Door.wake_all, waiters):
        door.wake_all()
        assert set(door.happened) == {"read", "write"}


def test_an_interrupted_wait_leaves_the_next_one_whole() -> None:
    for wait in (Door.when_readable, Door.when_writable):
        for door in interrupted(Door, lambda door, wait=wait: wait(door, door.wake("first")), waiters):  # type: ignore[misc]
            assert wait(door, door.wake("second"))
            door.wake_all()
            assert door.happened == ["second"]


class Calls:
    """What a call that may run twice does. made: its steps, in order."""

    def __init__(self) -> None:
        self.made: list[int] = []

    @completed
    def call(self) -> None:
        """A call of two steps."""
        self.made.append(1)
        self.made.append(2)


def test_what_is_to_be_completed_is_done_to_its_end() -> None:
    for moment, calls in enumerate(interrupted(Calls, Calls.call, waiters, sys.modules[__name__])):
        assert calls.made[-2:] == [1, 2] or moment == 0  # then it had not begun
    assert calls.made == [1, 2]
    assert Calls.call.__doc__ == "A call of two steps."


# --- several waiters --------------------------------------------------------------------------------------------


class Crowd:
    """A queue of wakes, whether there are news, and whom it has woken."""

    def __init__(self, *names: str) -> None:
        self.queue = WakeQueue()
        self.news = False
        self.woken: list[str] = []
        self.wakes = {name: self.wake(name) for name in names}
        for wake in self.wakes.values():
            assert self.queue.enter(wake, self.has_news)

    def wake(self, name: str) -> Wake:
        return lambda: self.woken.append(name)

    def has_news(self) -> bool:
        return self.news


def test_each_piece_of_news_wakes_the_one_that_has_waited_longest() -> None:
    crowd = Crowd("one", "two", "three")
    crowd.queue.wake_one()
    assert crowd.woken == ["one"]
    crowd.queue.wake_all()
    crowd.queue.wake_all()
    crowd.queue.wake_one()
    assert crowd.woken == ["one", "two", "three"]


def test_who_finds_news_does_not_wait() -> None:
    crowd = Crowd("one")
    crowd.news = True
    assert not crowd.queue.enter(crowd.wake("two"), crowd.has_news)
    crowd.queue.wake_all()
    assert crowd.woken == ["one"]


def test_who_leaves_after_a_wake_hands_it_on() -> None:
    crowd = Crowd("one", "two", "three")
    crowd.queue.leave(crowd.wakes["two"], crowd.has_news)
    crowd.news = True
    crowd.queue.wake_one()
    crowd.queue.leave(crowd.wakes["one"], crowd.has_news)
    assert crowd.woken == ["one", "three"]


def test_forgotten_waiters_are_not_called() -> None:
    crowd = Crowd("one", "two")
    crowd.queue.clear()
    crowd.queue.wake_all()
    assert crowd.woken == []


def test_an_interrupted_waiter_uses_up_no_wake() -> None:
    def enter(crowd: Crowd) -> None:
        crowd.queue.enter(crowd.wake("interrupted"), crowd.has_news)

    last = False
    for crowd in interrupted(Crowd, enter, waiters):
        last = len(crowd.queue._wakes) == 1
        assert last or not crowd.queue._wakes
    assert last


def test_an_interrupted_farewell_hands_the_wake_on() -> None:
    def woken() -> Crowd:
        crowd = Crowd("one", "two")
        crowd.news = True
        crowd.queue.wake_one()
        return crowd

    def leave(crowd: Crowd) -> None:
        crowd.queue.leave(crowd.wakes["one"], crowd.has_news)

    for moment, crowd in enumerate(interrupted(woken, leave, waiters)):
        assert "two" in crowd.woken or moment == 0  # then the waiter had not begun to leave


def test_an_interrupted_wake_of_many_loses_nobody() -> None:
    for crowd in interrupted(lambda: Crowd("one", "two"), lambda crowd: crowd.queue.wake_all(), waiters):
        crowd.queue.wake_all()
        assert set(crowd.woken) == {"one", "two"}

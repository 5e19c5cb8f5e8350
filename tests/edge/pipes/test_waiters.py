from __future__ import annotations

from typing import Any

import pytest

from tsnet.edge.pipes.waiters import Waiters
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
    assert door.writer_waits
    door.wake_all()
    door.wake_all()
    assert door.happened == ["read", "write"]
    assert not door.writer_waits


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
    door.wake_reader()
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

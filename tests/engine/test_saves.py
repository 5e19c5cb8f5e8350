from __future__ import annotations

import math

from tsnet.engine.saves import RETRY_FIRST, RETRY_LAST, Saves
from tsnet.errors import StateError

FULL = StateError("the disk is full")


def test_a_thing_comes_back_once_it_is_at_rest() -> None:
    saves = Saves()
    save = saves.want("identity", b"one", "the first")
    assert (save.key, save.value) == ("identity", b"one")
    assert not saves.is_idle
    assert saves.answered(save.ticket, None, 5.0) == "the first"
    assert saves.is_idle
    assert saves.answered(save.ticket, None, 5.0) is None
    assert saves.retry_at == math.inf


def test_what_failed_is_tried_again_less_and_less_often() -> None:
    saves, now, pauses = Saves(), 100.0, list[float]()
    save = saves.want("identity", b"one", "the first")
    for _ in range(9):
        assert saves.answered(save.ticket, FULL, now) is None
        pauses.append(saves.retry_at - now)
        assert saves.tick(math.nextafter(saves.retry_at, 0)) == []
        now = saves.retry_at
        (save,) = saves.tick(now)
        assert save.value == b"one"
    assert (pauses[0], pauses[-1]) == (RETRY_FIRST, RETRY_LAST)
    assert pauses == sorted(pauses)
    assert saves.answered(save.ticket, None, now) == "the first"
    again = saves.want("identity", b"two", "the second")
    saves.answered(again.ticket, FULL, now)
    assert saves.retry_at == now + RETRY_FIRST


def test_only_the_newest_is_tried_again() -> None:
    saves = Saves()
    old, new = saves.want("identity", b"old", 1), saves.want("identity", b"new", 2)
    saves.answered(old.ticket, FULL, 0.0)
    assert saves.retry_at == math.inf  # the newer one is under way
    saves.answered(new.ticket, FULL, 0.0)
    (again,) = saves.tick(RETRY_FIRST)
    assert again.value == b"new"


def test_what_is_under_way_is_not_asked_twice() -> None:
    saves = Saves()
    failed = saves.want("identity", b"i", 1)
    saves.want("control-key", b"k", 2)
    saves.answered(failed.ticket, FULL, 0.0)
    assert [save.key for save in saves.tick(RETRY_FIRST)] == ["identity"]


def test_at_the_end_what_waits_is_tried_at_once_and_once() -> None:
    saves = Saves()
    save = saves.want("identity", b"one", "the first")
    saves.try_last()
    assert not saves.awaits_last_try, "it is under way"
    saves.answered(save.ticket, FULL, 5.0)
    saves.try_last()
    assert saves.awaits_last_try
    (again,) = saves.tick(5.0)
    assert again.value == b"one"
    assert not saves.awaits_last_try
    saves.answered(again.ticket, FULL, 5.0)
    assert not saves.awaits_last_try
    assert saves.tick(5.0) == []


def test_a_value_is_not_shown() -> None:
    assert "secret" not in repr(Saves().want("identity", b"secret", 1))


def test_whether_a_key_is_saved_and_why_not() -> None:
    saves = Saves()
    assert saves.is_saved("a")
    save = saves.want("a", b"1", "one")
    assert not saves.is_saved("a")
    assert saves.failure("a") is None
    saves.answered(save.ticket, FULL, 5.0)
    assert (saves.is_saved("a"), saves.failure("a"), saves.failure("b")) == (False, FULL, None)
    newer = saves.want("a", b"2", "two")
    assert saves.failure("a") is None, "the newer value has not failed yet"
    saves.answered(newer.ticket, None, 6.0)
    assert (saves.is_saved("a"), saves.failure("a")) == (True, None)

"""The timetable against a plain dictionary, and what whoever comes and goes leaves in it."""

from __future__ import annotations

import math
import random

import pytest

from tsnet.base.timetable import SPARE, Earliest, Timetable


def test_each_key_has_its_last_instant() -> None:
    table = Timetable[str]()
    assert table.deadline() == math.inf
    table.set("a", 3.0)
    table.set("b", 2.0)
    table.set("a", 1.0)
    assert table.deadline() == 1.0
    table.set("a", 4.0)
    assert (table.deadline(), table.take(1.9), table.take(9.0)) == (2.0, [], ["b", "a"])
    assert (table.deadline(), table.take(9.0)) == (math.inf, [])


def test_never_is_no_instant() -> None:
    table = Timetable[str]()
    table.set("a", 1.0)
    table.set("a", math.inf)
    table.drop("unknown")
    assert table.deadline() == math.inf


def test_an_instant_that_was_left_and_taken_again_comes_once() -> None:
    table = Timetable[str]()
    for at in (1.0, 2.0, 1.0):
        table.set("a", at)
    assert table.take(9.0) == ["a"]


@pytest.mark.parametrize("seed", range(10))
def test_it_says_what_a_dictionary_says(seed: int) -> None:
    chance, table, plain, now = random.Random(seed), Timetable[int](), dict[int, float](), 0.0
    for _ in range(500):
        key, at = chance.randrange(20), now + chance.randrange(5)
        if chance.random() < 0.8:
            table.set(key, at)
            plain[key] = at
        else:
            table.drop(key)
            plain.pop(key, None)
        assert table.deadline() == min(plain.values(), default=math.inf)
        now += chance.choice((0.0, 0.5))
        due = {key for key, at in plain.items() if at <= now}
        assert set(taken := table.take(now)) == due
        assert len(taken) == len(due)
        plain = {key: at for key, at in plain.items() if key not in due}


def test_whoever_comes_and_goes_leaves_nothing() -> None:
    table = Timetable[int]()
    for key in range(10_000):
        table.set(key, key + 1000.0)
        table.drop(key)
    for number in range(10_000):
        table.set(-1, float(number))
    for _ in range(10_000):
        table.set(-2, 5.0)
        table.drop(-2)
    assert len(table) <= SPARE + 2


@pytest.mark.parametrize("seed", range(10))
def test_the_earliest_of_several_is_never_too_late(seed: int) -> None:
    chance, earliest, now, looks = random.Random(seed), Earliest(), 0.0, 0
    tables = [Timetable[int](earliest) for _ in range(3)]
    for _ in range(500):
        table, key = chance.choice(tables), chance.randrange(20)
        if chance.random() < 0.7:
            table.set(key, now + chance.randrange(1, 50))
        else:
            table.drop(key)
        assert earliest.at <= min(each.deadline() for each in tables)
        now += 0.5
        if earliest.at <= now:
            looks += 1
            for each in tables:
                each.take(now)
            earliest.at = min(each.deadline() for each in tables)
    assert looks < 400


def test_a_later_instant_changes_nothing() -> None:
    earliest = Earliest()
    assert earliest.at == math.inf
    for at, expected in ((5.0, 5.0), (6.0, 5.0), (4.0, 4.0)):
        earliest.by(at)
        assert earliest.at == expected

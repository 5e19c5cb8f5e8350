from __future__ import annotations

import pytest

from tests.engine.alone import A
from tests.engine.pair import netmap, node
from tsnet.engine import factqueue, facts
from tsnet.engine.differences import differences
from tsnet.engine.factqueue import FactQueue
from tsnet.netmap.changes import Changes


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(factqueue, "FACTS_A_TURN", 4)


def notices(*texts: str) -> list[facts.Notice]:
    return [facts.Notice(text) for text in texts]


def changes(count: int) -> Changes:
    return Changes.between(netmap(A), netmap(A, *(node(number, f"n{number}") for number in range(3, 3 + count))))


def all_of(told: FactQueue) -> list[facts.Fact]:
    """At most four at a time, and `has_more` until there are none."""
    found: list[facts.Fact] = []
    while some := told.take():
        assert len(some) <= 4
        found += some
        assert told.has_more or not told
    assert not told.has_more
    return found


def test_what_there_is_is_taken_at_once() -> None:
    told = FactQueue()
    assert told.take() == []
    told += notices("a", "b")
    assert told.take() == notices("a", "b")
    assert not told.has_more


@pytest.mark.parametrize("count", [0, 1, 4, 5, 20])
def test_a_change_is_told_between_what_was_told_before_and_after_it(count: int) -> None:
    told, change = FactQueue(), changes(count)
    told += notices("before")
    told.change(change)
    told += notices("after")
    assert all_of(told) == [*notices("before"), *differences(change), *notices("after")]


def test_one_large_change_follows_the_other() -> None:
    told, first, second = FactQueue(), changes(9), changes(7)
    told.change(first)
    told += notices("between")
    told.take()
    told.change(second)
    rest = all_of(told)
    assert rest == [*[*differences(first)][4:], *notices("between"), *differences(second)]

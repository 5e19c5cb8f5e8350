from __future__ import annotations

from tsnet.engine.facts import Fact, Health
from tsnet.engine.healthmessages import MAX_MESSAGES, HealthMessages


def said(health: HealthMessages) -> list[str]:
    return list(health.messages)


def test_nothing_is_wrong_at_first() -> None:
    told: list[Fact] = []
    health = HealthMessages(told)
    assert said(health) == []
    health.set("control", ())
    assert told == []


def test_no_source_overwrites_another_and_each_takes_its_own_away() -> None:
    told: list[Fact] = []
    health = HealthMessages(told)
    health.set("relays", ["relay region 1 cannot be reached"])
    health.set("control", ["the clock is wrong"])
    assert said(health) == ["the clock is wrong", "relay region 1 cannot be reached"]
    health.set("control", ())
    assert said(health) == ["relay region 1 cannot be reached"]
    health.set("relays", ())
    assert said(health) == []
    assert vars(health) == vars(HealthMessages(told))
    assert [len(fact.messages) for fact in told if isinstance(fact, Health)] == [1, 2, 1, 0]


def test_the_same_again_is_no_change() -> None:
    told: list[Fact] = []
    health = HealthMessages(told)
    health.set("relays", ["a", "b"])
    health.set("relays", ["a", "b"])
    assert told == [Health(("a", "b"))]
    health.set("relays", ["b"])
    assert said(health) == ["b"]


def test_one_source_has_a_bounded_number_of_messages() -> None:
    health = HealthMessages([])
    health.set("relays", map(str, range(1000)))
    health.set("control", ["mine"])
    assert len(health.messages) == MAX_MESSAGES + 1
    assert health.messages[0] == "mine"
    assert health.messages[-1] == f"and {1000 - MAX_MESSAGES + 1} more of this kind"
    health.set("relays", map(str, range(MAX_MESSAGES)))
    assert health.messages[1:] == tuple(map(str, range(MAX_MESSAGES)))

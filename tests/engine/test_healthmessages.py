from __future__ import annotations

from typing import Any

import pytest

from tsnet.base.keys import NodeKey
from tsnet.engine.facts import Fact, Health
from tsnet.engine.healthmessages import MAX_MESSAGES, HealthMessages, sentences_of
from tsnet.netmap.model import NetMap, Node


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


def said_by_control(health: tuple[str, ...] = (), **messages: Any) -> list[str]:
    return sentences_of(NetMap(Node(1, "n1", "a", NodeKey(b"\1" * 32)), health=health, display_messages=messages))


def test_what_control_displays_comes_gravest_first() -> None:
    low = {"Title": "Old client", "Severity": "low"}
    high = {"Title": "Key expires", "Text": "Log in again.", "Severity": "high"}
    assert said_by_control(a=low, c=high, b={"Title": "Odd", "Severity": "?"}) == [
        "Key expires: Log in again.",
        "Old client",
        "Odd",
    ]


def test_display_messages_take_the_place_of_health() -> None:
    assert said_by_control(("old",)) == ["old"]
    assert said_by_control(("old",), new={"Title": "New"}) == ["New"]


def test_where_to_act_is_part_of_the_sentence() -> None:
    page = {"URL": "https://control.example/", "Label": "Log in"}
    assert said_by_control(a={"Title": "T", "PrimaryAction": page}) == ["T (Log in: https://control.example/)"]
    assert said_by_control(a={"Title": "T", "PrimaryAction": {**page, "Label": ""}}) == ["T (https://control.example/)"]


@pytest.mark.parametrize(
    "message", [{}, {"Title": 7, "Text": None, "Severity": [], "PrimaryAction": "x"}, {"PrimaryAction": {"URL": "u"}}]
)
def test_a_message_without_words_is_told_by_its_name(message: dict[str, Any]) -> None:
    assert said_by_control(odd=message) == ["odd"]


def test_what_control_displays_cannot_move_the_cursor() -> None:
    (found,) = said_by_control(a={"Title": "a\x1b[2J\nb", "Text": "x" * 10_000})
    assert found.isprintable()
    assert len(found) < 3000

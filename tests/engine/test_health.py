from __future__ import annotations

from tsnet.engine.health import MAX_MESSAGES, Health


def test_nothing_is_wrong_at_first() -> None:
    health = Health()
    assert seen(health) == ()
    assert not health.set("control", ())


def seen(health: Health) -> tuple[str, ...]:
    return health.messages


def test_no_source_overwrites_another_and_each_takes_its_own_away() -> None:
    health = Health()
    assert health.set("relays", ["relay region 1 cannot be reached"])
    assert health.set("control", ["the clock is wrong"])
    assert seen(health) == ("the clock is wrong", "relay region 1 cannot be reached")
    assert health.set("control", ())
    assert seen(health) == ("relay region 1 cannot be reached",)
    assert health.set("relays", ())
    assert seen(health) == ()
    assert vars(health) == vars(Health())


def test_the_same_again_is_no_change() -> None:
    health = Health()
    assert health.set("relays", ["a", "b"])
    assert not health.set("relays", ["a", "b"])
    assert health.set("relays", ["b"])
    assert seen(health) == ("b",)


def test_one_source_has_a_bounded_number_of_messages() -> None:
    health = Health()
    health.set("relays", map(str, range(1000)))
    health.set("control", ["mine"])
    assert len(health.messages) == MAX_MESSAGES + 1
    assert health.messages[0] == "mine"
    assert health.messages[-1] == f"and {1000 - MAX_MESSAGES + 1} more of this kind"
    health.set("relays", map(str, range(MAX_MESSAGES)))
    assert health.messages[1:] == tuple(map(str, range(MAX_MESSAGES)))

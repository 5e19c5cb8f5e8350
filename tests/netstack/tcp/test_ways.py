"""What waits for room, and what goes on: against a twin that judges every connection anew after every call."""

from __future__ import annotations

import random
from collections.abc import Hashable, Iterable
from typing import Any

import pytest

from netstack.tcp.ways import Ways


class Sender:
    """As much of a connection as this asks for."""

    def __init__(self, link: Hashable) -> None:
        self.link = link


class Twin:
    """The same, slowly: after every call each waiting connection is judged again."""

    def __init__(self) -> None:
        self.full: set[Hashable] = set()
        self.ways: dict[Hashable, set[Hashable]] = {}
        self.waiting: set[Any] = set()

    def is_held(self, link: Hashable) -> bool:
        return all(way in self.full for way in self.ways.get(link, {link}))

    def go_on(self) -> set[Any]:
        freed = {sender for sender in self.waiting if not self.is_held(sender.link)}
        self.waiting -= freed
        return freed

    def set_ways(self, link: Hashable, ways: Iterable[Hashable]) -> set[Any]:
        self.ways[link] = set(ways) or {link}
        return self.go_on()

    def release(self, way: Hashable) -> set[Any]:
        self.full.discard(way)
        return self.go_on()


def keeps_nothing(ways: Ways) -> bool:
    return not (ways._waiting or ways._behind)


@pytest.mark.parametrize("seed", range(20))
def test_in_any_order_of_calls_it_holds_what_the_slow_twin_holds(seed: int) -> None:
    choose = random.Random(seed)
    links, paths = [f"link {number}" for number in range(6)], list(range(4))
    senders: list[Any] = [Sender(link) for link in links for _ in range(2)]
    ways, twin = Ways(), Twin()
    seen = 0
    for _ in range(600):
        way = choose.choice([*paths, *links])
        match choose.randrange(6):
            case 0:
                ways.hold(way)
                twin.full.add(way)
            case 1:
                freed = ways.release(way)
                assert set(freed) == twin.release(way)
                assert len(freed) == len(set(freed))
                seen += len(freed)
            case 2:
                link, some = choose.choice(links), choose.sample(paths, choose.randrange(4))
                assert set(ways.set_ways(link, some)) == twin.set_ways(link, some)
            case 3:
                sender = choose.choice(senders)
                ways.discard(sender)
                twin.waiting.discard(sender)
            case _:
                sender = choose.choice(senders)
                held = twin.is_held(sender.link)
                assert ways.waits(sender) is held
                if held:
                    twin.waiting.add(sender)
        assert ways.full == twin.full
        assert {sender for waiting in ways._waiting.values() for sender in waiting} == twin.waiting
    assert seen, "nothing ever waited"
    for way in [*paths, *links]:
        ways.release(way)
    assert keeps_nothing(ways)


def test_a_link_with_two_ways_waits_only_while_both_are_full() -> None:
    ways, sender = Ways(), Sender("peer")
    some: Any = sender
    assert ways.set_ways("peer", ("udp", 7)) == []
    ways.hold("udp")
    assert not ways.waits(some)
    ways.hold(7)
    assert ways.waits(some)
    assert ways.release("udp") == [some]
    assert not ways.waits(some)


def test_those_that_share_a_way_go_on_together() -> None:
    ways = Ways()
    senders: list[Any] = [Sender(number) for number in range(5)]
    for number in range(5):
        ways.set_ways(number, (7,))
    ways.hold(7)
    assert all(map(ways.waits, senders))
    assert ways.release(7) == senders
    assert keeps_nothing(ways)


def test_what_is_forgotten_is_not_full_and_what_waited_is_given_back() -> None:
    ways = Ways()
    some: Any = Sender("peer")
    ways.hold("peer")
    assert ways.waits(some)
    assert ways.forget("peer") == [some]
    assert not ways.waits(some)
    ways.set_ways("peer", (7,))
    ways.hold(7)
    assert ways.waits(some)
    ways.forget("peer")
    assert not ways.waits(some)  # a later link of that name has no ways yet
    assert keeps_nothing(ways)


class Counted(dict[Any, Any]):
    """Counts who looks into it."""

    looks = 0

    def get(self, key: Any, default: Any = None) -> Any:
        self.looks += 1
        return super().get(key, default)


def test_what_a_flip_costs_does_not_depend_on_how_many_links_there_are() -> None:
    ways = Ways()
    ways._of = counted = Counted()
    for number in range(1000):
        ways.set_ways(number, (7,))
    waiting: list[Any] = [Sender(number) for number in (3, 500)]
    counted.looks = 0
    for _ in range(10):
        ways.hold(7)
        for sender in waiting:
            assert ways.waits(sender)
        assert len(ways.release(7)) == 2
    assert counted.looks == 10 * 2 * 2

from __future__ import annotations

import random

import attrs
import pytest

from tests.netmap.test_merge import node
from tsnet.netmap.index import Index
from tsnet.netmap.model import Node


def tags(node: Node) -> tuple[str, ...]:
    return node.tags


def tagged(number: int, *names: str) -> Node:
    return node(number, tags=names)


EMPTY: Index[str] = Index(tags)
SOME = EMPTY.after({2: (None, tagged(2, "a", "b")), 1: (None, tagged(1, "b"))})


def test_the_lowest_id_comes_first_whoever_came_first() -> None:
    assert (SOME.ids("a"), SOME.ids("b"), SOME.ids("c")) == ((2,), (1, 2), ())
    assert repr(SOME) == "<Index of 2 keys>"


def test_when_an_owner_goes_the_next_one_has_the_key() -> None:
    after = SOME.after({1: (tagged(1, "b"), None)})
    assert after.ids("b") == (2,)
    assert SOME.ids("b") == (1, 2)
    assert after.after({2: (tagged(2, "a", "b"), tagged(2))}) == EMPTY


def test_a_change_that_leaves_the_keys_alone_leaves_the_index_alone() -> None:
    before = tagged(2, "a", "b")
    assert SOME.after({2: (before, attrs.evolve(before, online=True))}) is SOME


def test_a_key_can_move_in_one_change_from_one_node_to_another() -> None:
    after = SOME.after({1: (tagged(1, "b"), tagged(1, "a")), 2: (tagged(2, "a", "b"), tagged(2, "b"))})
    assert (after.ids("a"), after.ids("b")) == ((1,), (2,))


@pytest.mark.parametrize("seed", range(10))
def test_after_many_changes_it_equals_one_made_anew(seed: int) -> None:
    chance = random.Random(seed)
    index, nodes = EMPTY, dict[int, Node]()
    for _ in range(100):
        changes: dict[int, tuple[Node | None, Node | None]] = {}
        for number in chance.sample(range(8), 3):
            after = tagged(number, *chance.sample("abcd", 2)) if chance.random() < 0.7 else None
            changes[number] = nodes.get(number), after
            nodes.pop(number, None)
            if after is not None:
                nodes[number] = after
        index = index.after(changes)
    assert index == EMPTY.after({number: (None, known) for number, known in nodes.items()})
    for key in "abcd":
        assert index.ids(key) == tuple(sorted(number for number, known in nodes.items() if key in known.tags))

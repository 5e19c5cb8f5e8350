"""A mapping that never changes, beside a plain dictionary that does."""

from __future__ import annotations

import random
from operator import is_

import pytest

from tsnet.base.steps import finish
from tsnet.netmap.persistent import (
    CHUNKS,
    ENTRIES_A_STEP,
    KEPT,
    Differences,
    PersistentMap,
    differences,
    differences_in_steps,
    is_mostly_new,
)


def test_it_is_a_mapping() -> None:
    some = PersistentMap([(1, "a"), (2, "b"), (1, "c")])
    assert (len(some), some[1], some.get(2), some.get(3), some.get(3, "no")) == (2, "c", "b", None, "no")
    assert 1 in some
    assert 3 not in some
    assert some == {1: "c", 2: "b"} == some
    assert some != {1: "c"}
    assert some == PersistentMap([(2, "b"), (1, "c")])
    assert repr(some) == "<PersistentMap of 2>"
    with pytest.raises(KeyError):
        _ = some[3]
    with pytest.raises(TypeError):
        hash(some)


def test_the_order_is_that_of_the_numbers_as_long_as_they_are_few() -> None:
    assert list(PersistentMap((number, None) for number in (7, 3, 100, 5))) == [3, 5, 7, 100]


def test_removal_comes_before_what_is_set_and_may_be_of_nothing() -> None:
    some = PersistentMap([(1, "a"), (2, "b")])
    assert some.changed({1: "z"}, [1, 2, 9]) == {1: "z"}
    assert some == {1: "a", 2: "b"}


def test_no_change_is_the_same_mapping_and_a_change_shares_the_rest() -> None:
    some = PersistentMap((number, number) for number in range(10 * CHUNKS))
    assert some.changed({}) is some
    changed = some.changed({5: -5})
    assert sum(old is not new for old, new in zip(some._chunks, changed._chunks, strict=True)) == 1
    assert differences(some, changed) == {5: (5, -5)}


def test_what_is_replaced_whole_shares_the_chunks_that_are_equal() -> None:
    before = PersistentMap((number, [number]) for number in range(1000))
    entries = [(number, [number]) for number in range(1000) if number != 500]
    after = before.replaced([*entries, (7, [8])])
    assert after == before.changed({7: [8]}, [500])
    assert sum(old is not new for old, new in zip(before._chunks, after._chunks, strict=True)) == 2
    assert before.replaced(()) == PersistentMap()


def test_it_is_mostly_new_if_more_than_half_of_its_chunks_are() -> None:
    before = PersistentMap((number, 0) for number in range(1000))
    assert not is_mostly_new(before, before.changed(dict.fromkeys(range(CHUNKS // 2), 1)))
    assert is_mostly_new(before, before.changed(dict.fromkeys(range(CHUNKS // 2 + 1), 1)))
    assert is_mostly_new({}, before)
    assert is_mostly_new(before, {})


def test_its_views_are_those_of_a_mapping() -> None:
    some = PersistentMap((number, str(number)) for number in range(300))
    assert list(some.items()) == [(number, some[number]) for number in some]
    assert list(some.values()) == [some[number] for number in some]
    assert (len(some.items()), len(some.values())) == (300, 300)
    assert (7, "7") in some.items()
    assert "7" in some.values()


def test_differences_are_of_values_and_not_of_objects() -> None:
    some = PersistentMap([(1, "a"), (2, "b"), (1 + CHUNKS, "c")])
    assert differences(some, some.changed({1: "".join("a")})) == {}
    assert differences(some, some.changed({1: "z", 3: "new"}, [1 + CHUNKS])) == {
        1: ("a", "z"),
        1 + CHUNKS: ("c", None),
        3: (None, "new"),
    }


def test_any_mappings_can_be_told_apart() -> None:
    assert differences({1: "a", 2: "b"}, {2: "c", 3: "d"}) == {1: ("a", None), 2: ("b", "c"), 3: (None, "d")}
    assert differences({1: "a"}, PersistentMap([(1, "a")])) == {}


def test_what_is_empty_is_shared() -> None:
    one, other = PersistentMap([(1, "a"), (2, "b")]), PersistentMap([(1, "a")])
    assert sum(old is not new for old, new in zip(one._chunks, other._chunks, strict=True)) == 2
    assert one.changed({}, [2])._chunks[2] is other._chunks[2] is PersistentMap()._chunks[0]
    assert PersistentMap[int, str]().changed({5: "c"}) == {5: "c"}
    assert PersistentMap() == {}


@pytest.mark.parametrize("seed", range(10))
def test_many_changes_leave_every_mapping_before_them_as_it_was(seed: int) -> None:
    chance = random.Random(seed)
    plain: dict[int, int] = {}
    kept: list[tuple[PersistentMap[int, int], dict[int, int]]] = [(PersistentMap(), {})]
    for step in range(60):
        removed = [chance.randrange(300) for _ in range(chance.randrange(4))]
        entries = {chance.randrange(300): step for _ in range(chance.randrange(6))}
        for key in removed:
            plain.pop(key, None)
        plain.update(entries)
        kept.append((kept[-1][0].changed(entries, removed), plain.copy()))
    for made, expected in kept:
        assert made == expected
        assert len(made) == len(expected)
        assert sorted(made.items()) == sorted(expected.items())
    first, last = chance.choice(kept), chance.choice(kept)
    assert differences(first[0], last[0]) == differences(first[1], last[1])


def test_thousands_of_differences_are_found_in_steps() -> None:
    count = 4 * ENTRIES_A_STEP
    before, after = (PersistentMap((number, sign) for number in range(count)) for sign in ("a", "b"))
    assert sum(1 for _ in differences_in_steps(before, after)) == 4
    assert finish(differences_in_steps(before, after)) == differences(before, after)
    assert not list(differences_in_steps(before, before.changed({5: "c"}))), "a small change is one step"


def test_of_thousands_of_differences_no_pair_is_kept() -> None:
    before: PersistentMap[int, int] = PersistentMap((number, number) for number in range(2 * KEPT))
    after = before.changed(dict.fromkeys(range(KEPT // 2, 3 * KEPT), -1), range(9))
    found = differences(before, after)
    assert isinstance(found, Differences)
    assert found == {
        number: (before.get(number), after.get(number))
        for number in range(3 * KEPT)
        if before.get(number) != after.get(number)
    }
    assert len(found) == len(list(found)) == len(list(found.values())) == len(list(found.items()))
    assert found[0] == (0, None)
    assert found[KEPT] == (KEPT, -1)
    assert found[2 * KEPT] == (None, -1)
    for same in (3 * KEPT, KEPT // 2 - 1):
        assert same not in found
        with pytest.raises(KeyError):
            found[same]
    assert isinstance(differences(before, before.changed({1: 2})), dict)


def test_what_counts_as_the_same_may_be_the_object_alone() -> None:
    one, other = [1], [1]
    pair = PersistentMap([(1, one)]), PersistentMap([(1, other)])
    assert differences(*pair) == {}
    assert finish(differences_in_steps(*pair, same=is_)) == {1: (one, other)}

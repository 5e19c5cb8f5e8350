"""The store of early bytes against a dictionary of bytes; SACK blocks."""

from __future__ import annotations

import random

import pytest

from netstack.tcp.reassembly import MAX_STRETCHES, OutOfOrder


@pytest.mark.parametrize("seed", range(40))
def test_it_is_a_dictionary_of_bytes_where_the_first_copy_stays(seed: int) -> None:
    chance = random.Random(seed)
    store, twin, rcv_nxt = OutOfOrder(), dict[int, int](), 1000
    for _ in range(200):
        if chance.random() < 0.85:
            start = rcv_nxt + chance.randrange(1, 300)
            data = chance.randbytes(chance.randrange(1, 60))
            known = [start + n for n in range(len(data)) if start + n in twin]
            duplicate = store.insert(start, data)
            assert (duplicate is not None) is bool(known)
            if duplicate is not None:
                assert duplicate[0] == known[0]
                assert all(at in twin for at in range(*duplicate))
            for offset, byte in enumerate(data):
                twin.setdefault(start + offset, byte)
        else:
            rcv_nxt += chance.randrange(0, 80)
            after, chunks = store.take(rcv_nxt)
            expected = bytearray()
            for at in [at for at in twin if at < rcv_nxt]:
                del twin[at]
            while rcv_nxt in twin:
                expected.append(twin.pop(rcv_nxt))
                rcv_nxt += 1
            assert (after, b"".join(chunks)) == (rcv_nxt, bytes(expected))
        assert store.size == len(twin)
        for left, right in store.blocks(8):
            assert all(at in twin for at in range(left, right))
            assert left - 1 not in twin
            assert right not in twin


def test_the_latest_block_comes_first() -> None:
    store = OutOfOrder()
    for start in (100, 300, 500, 700):
        store.insert(start, b"x" * 10)
    assert store.blocks(3) == [(700, 710), (500, 510), (300, 310)]
    store.insert(310, b"y")
    assert store.blocks(3) == [(300, 311), (700, 710), (500, 510)]
    store.insert(510, b"z" * 190)
    assert store.blocks(4) == [(500, 710), (300, 311), (100, 110)]


def test_covering() -> None:
    store = OutOfOrder()
    store.insert(100, b"x" * 10)
    assert store.covering(105) == (100, 110)
    assert store.covering(110) is None
    assert store.covering(99) is None


def test_stretches_are_bounded_and_the_highest_goes() -> None:
    store = OutOfOrder()
    for number in range(MAX_STRETCHES + 100):
        store.insert(number * 10 + 5, b"x")
    assert len(store) == MAX_STRETCHES
    assert store.size == MAX_STRETCHES
    store.insert(0, b"y")
    assert len(store) == MAX_STRETCHES
    assert store.take(0)[0] == 1
    for left, right in store.blocks(8):
        assert right == left + 1


def test_the_end_is_behind_the_last_of_what_is_kept() -> None:
    queue = OutOfOrder()
    for start, end in ((50, 53), (10, 53), (80, 83)):
        queue.insert(start, b"xyz")
        assert queue.end == end


def test_what_came_again_in_order() -> None:
    store = OutOfOrder()
    store.insert(10, bytes(5))
    store.insert(20, bytes(5))
    assert [store.duplicate(end) for end in (9, 10, 11, 15, 22, 30)] == [None, None, (10, 11), *[(10, 15)] * 3]


def test_what_has_been_passed_leaves_no_chunk() -> None:
    for upto in (103, 104):
        queue = OutOfOrder()
        queue.insert(100, b"xyz")
        queue.insert(200, b"abc")
        assert queue.take(upto) == (upto, [])
        assert (len(queue), queue.size, queue.blocks(4)) == (1, 3, [(200, 203)])


def test_a_stretch_that_is_passed_in_part_gives_the_rest() -> None:
    queue = OutOfOrder()
    queue.insert(100, b"xyz")
    queue.insert(103, b"abc")
    assert queue.take(102) == (106, [b"zabc"])
    assert (len(queue), queue.size) == (0, 0)


def test_the_blocks_are_those_of_the_eight_stretches_that_grew_last() -> None:
    queue = OutOfOrder()
    for start in range(100, 1100, 100):
        queue.insert(start, b"x")
    assert [left for left, _ in queue.blocks(20)] == list(range(1000, 200, -100))


def test_the_first_duplicate_of_several_is_reported() -> None:
    queue = OutOfOrder()
    queue.insert(100, b"x" * 10)
    queue.insert(120, b"y" * 10)
    assert queue.insert(105, b"z" * 20) == (105, 110)
    assert queue.size == 30
    assert queue.insert(90, b"w" * 10) is None  # it touches, and no more
    assert queue.blocks(4) == [(90, 130)]


def test_the_store_has_room_for_256_stretches() -> None:
    assert MAX_STRETCHES == 256

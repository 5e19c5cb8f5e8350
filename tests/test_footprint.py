"""What counts as a trace that something has left."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.footprint import MEMORY, OBJECTS, Footprint, Watch

CYCLES = 20


class Thing:
    pass


@pytest.fixture
def watch() -> Iterator[Watch]:
    with Watch() as watching:
        yield watching


def test_what_has_gone_leaves_nothing(watch: Watch) -> None:
    watch.begin()
    for _ in range(CYCLES):
        os.close(os.dup(0))
        threading.Thread(target=int).start()
        circle: list[object] = [Thing()]
        circle.append(circle)
    del circle
    assert watch.left_over(CYCLES) == {}


def test_descriptors_and_threads_are_counted(watch: Watch) -> None:
    watch.begin()
    go_on = threading.Event()
    descriptor, thread = os.dup(0), threading.Thread(target=go_on.wait)
    thread.start()
    grown = watch.left_over(CYCLES, 0.0)
    go_on.set()
    thread.join()
    os.close(descriptor)
    assert (grown["descriptors"], grown["threads"]) == (1, 1)


def test_objects_and_bytes_are_counted(watch: Watch) -> None:
    watch.begin()
    kept = [(Thing(), bytes(5000)) for _ in range(CYCLES)]
    grown = watch.left_over(CYCLES, 0.0)
    assert grown[f"{__name__}.Thing"] == len(kept)
    assert grown["memory"] > 5000 * CYCLES


def test_the_end_of_what_goes_on_in_the_background_is_awaited(watch: Watch) -> None:
    watch.begin()
    end = threading.Event()
    threading.Thread(target=end.wait, args=(0.1,)).start()
    assert watch.left_over(CYCLES) == {}


def test_chance_is_allowed_for() -> None:
    before = Footprint(3, 1, 0, 0, Counter({Thing: 5}))
    assert Footprint(2, 1, MEMORY, 0, Counter({Thing: 5 + OBJECTS, int: OBJECTS})).more_than(before, 0) == {}
    assert Footprint(4, 1, MEMORY + 1, 0, Counter({Thing: 6 + OBJECTS})).more_than(before, 0) == {
        "descriptors": 1,
        "memory": MEMORY + 1,
        f"{__name__}.Thing": OBJECTS + 1,
    }

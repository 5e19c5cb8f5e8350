"""Both kinds of bell: who waits for its descriptor hears a ring, however many there were."""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Iterator

import pytest

from tsnet.edge.io.bell import Bell

KINDS = [pytest.param(True, marks=pytest.mark.skipif(not hasattr(os, "eventfd"), reason="no eventfd here")), False]


@pytest.fixture(params=KINDS, ids=["eventfd", "sockets"])
def bell(request: pytest.FixtureRequest) -> Iterator[Bell]:
    bell = Bell(eventfd=request.param)
    yield bell
    bell.close()


def is_rung(bell: Bell) -> bool:
    return bool(select.select([bell], [], [], 0)[0])


def test_a_ring_is_heard_until_it_is_silenced(bell: Bell) -> None:
    assert not is_rung(bell)
    for _ in range(3):
        bell.ring()
    assert is_rung(bell)
    bell.silence()
    assert not is_rung(bell)
    bell.ring()
    assert is_rung(bell)


def test_it_wakes_who_waits_in_another_thread(bell: Bell) -> None:
    heard: list[bool] = []
    waiter = threading.Thread(target=lambda: heard.append(bool(select.select([bell], [], [], 5)[0])))
    waiter.start()
    bell.ring()
    waiter.join()
    assert heard == [True]


def test_silence_without_a_ring_says_so(bell: Bell) -> None:
    with pytest.raises(BlockingIOError):
        bell.silence()


def test_no_number_of_rings_blocks_or_is_lost(bell: Bell) -> None:
    for _ in range(100_000):
        with contextlib.suppress(BlockingIOError):
            bell.ring()
    assert is_rung(bell)


def test_close_frees_the_descriptor_once(bell: Bell) -> None:
    descriptor = bell.fileno()
    bell.close()
    with pytest.raises(OSError):
        os.fstat(descriptor)
    other = os.open(os.devnull, os.O_RDONLY)
    bell.close()  # the number belongs to another now
    os.fstat(other)
    os.close(other)

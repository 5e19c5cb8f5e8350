from __future__ import annotations

import random
from collections import Counter

import pytest

from tsnet.testing.cable import Cable, on_the_wire

DRAW = random.Random("cable")


def test_a_plain_one_only_takes_time() -> None:
    cable = Cable(0.25)
    assert [cable.delay(1500, 1.0, DRAW, upward=upward) for upward in (True, False)] == [0.25, 0.25]
    assert not cable.counts


def test_headers_count() -> None:
    assert (on_the_wire(1472, "192.0.2.1"), on_the_wire(1452, "2001:db8::1")) == (1500, 1500)


def test_what_is_too_big_is_lost() -> None:
    cable = Cable(mtu=1280)
    assert cable.delay(1280, 1.0, DRAW, upward=True) is not None
    assert cable.delay(1281, 1.0, DRAW, upward=True) is None
    assert cable.counts == {"too big": 1}


def test_a_cable_that_is_down_carries_nothing() -> None:
    cable = Cable()
    cable.is_up = False
    assert cable.delay(100, 1.0, DRAW, upward=True) is None
    assert cable.counts == {"down": 1}


def test_loss() -> None:
    cable = Cable(loss=0.2)
    found = [cable.delay(100, 1.0, DRAW, upward=True) for _ in range(1000)]
    assert cable.counts["lost"] == found.count(None)
    assert abs(found.count(None) - 200) < 60


def test_jitter_is_added() -> None:
    cable = Cable(0.1, jitter=0.05)
    found = [cable.delay(100, 1.0, DRAW, upward=True) or 0.0 for _ in range(100)]
    assert 0.1 <= min(found) < 0.11
    assert 0.14 < max(found) <= 0.15


def test_a_rate_makes_a_queue_with_an_end_each_way() -> None:
    cable = Cable(0.0, rate=10_000, buffer=0.35)
    found = [cable.delay(1000, 1.0, DRAW, upward=True) for _ in range(5)]
    assert found[:4] == [pytest.approx(0.1 * number) for number in (1, 2, 3, 4)]
    assert found[4] is None
    assert cable.counts == Counter({"buffer full": 1})
    assert cable.delay(1000, 1.0, DRAW, upward=False) == pytest.approx(0.1)
    assert cable.delay(1000, 1.4, DRAW, upward=True) == pytest.approx(0.1)


def test_a_byte_stream_waits_as_long_as_it_must() -> None:
    cable = Cable(0.0, rate=10_000, buffer=0.1)
    assert cable.queue(50_000, 1.0, upward=True) == pytest.approx(5.0)
    assert cable.queue(1000, 1.0, upward=True) == pytest.approx(5.1)

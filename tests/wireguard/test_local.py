"""What all peers share: stamps with their marks, ephemerals, jitter."""

from __future__ import annotations

from tests.wireguard.pair import entropy, private_key
from tsnet.base.keys import PrivateKey
from tsnet.wireguard.constants import REKEY_JITTER
from tsnet.wireguard.facts import MarkMoved
from tsnet.wireguard.local import Local
from tsnet.wireguard.tai64n import encode


def local(mark: float | None = None) -> Local[str]:
    return Local(private_key(1), entropy(1), mtu=1280, wall_offset=500.0, timestamp_mark=mark)


def stamp(ours: Local[str], now: float) -> bytes | None:
    """As a device with a disk gets it: the mark is saved when it is wanted."""
    found = ours.timestamp(now)
    if found is None:
        ours.timestamps.mark_saved(ours.timestamps.wanted)
        found = ours.timestamp(now)
    return found


def test_a_stamp_is_of_the_wall_clock() -> None:
    ours = local()
    ours.timestamps.mark_saved(2000.0)
    assert ours.timestamp(100.0) == encode(600_000_000_000)
    ours.wall_offset = 900.0
    assert ours.timestamp(100.0) == encode(1_000_000_000_000)


def test_a_moved_mark_becomes_a_fact_once() -> None:
    ours = local()
    for second in range(700):
        assert stamp(ours, float(second))
    assert ours.facts == [MarkMoved(1100.0), MarkMoved(1700.0)]


def test_a_mark_is_where_a_new_life_begins() -> None:
    ours = local(mark=5000.0)
    assert stamp(ours, 0.0) == encode(5_000_000_000_000)
    assert ours.facts == [MarkMoved(5600.0)]


def test_a_mark_that_is_not_saved_is_asked_for_again_after_a_while() -> None:
    ours = local()
    for tenth in range(200):
        assert ours.timestamp(tenth / 10) is None
    assert ours.facts == [MarkMoved(1100.0)] * 4


def test_a_mark_that_does_not_suffice_any_more_is_followed_by_another_at_once() -> None:
    ours = local()
    assert ours.timestamp(0.0) is None
    ours.wall_offset += 3600
    assert ours.timestamp(1.0) is ours.timestamp(1.5) is None
    assert ours.facts == [MarkMoved(1100.0), MarkMoved(4701.0)]


def test_jitter_is_spread_over_its_range() -> None:
    ours = local()
    draws = [ours.jitter() for _ in range(500)]
    assert 0 <= min(draws) < 0.02
    assert REKEY_JITTER - 0.02 < max(draws) < REKEY_JITTER


def test_ephemerals_come_from_the_entropy() -> None:
    assert local().ephemeral() == PrivateKey(entropy(1)(32))


def test_a_mark_can_be_asked_for_before_it_is_needed() -> None:
    ours = local()
    ours.want_mark(1.0)
    ours.want_mark(1.1)
    assert ours.timestamp(1.2) is None
    assert ours.facts == [MarkMoved(1101.0)], "it is asked for once"
    ours.timestamps.mark_saved(1101.0)
    ours.want_mark(1.3)
    assert ours.timestamp(1.3) is not None
    assert ours.facts == [MarkMoved(1101.0)]

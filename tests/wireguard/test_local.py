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


def test_a_stamp_is_of_the_wall_clock() -> None:
    ours = local()
    assert ours.timestamp(100.0) == encode(600_000_000_000)
    ours.wall_offset = 900.0
    assert ours.timestamp(100.0) == encode(1_000_000_000_000)


def test_a_moved_mark_becomes_a_fact_once() -> None:
    ours = local()
    for second in range(700):
        ours.timestamp(float(second))
    assert ours.facts == [MarkMoved(1100.0), MarkMoved(1700.0)]


def test_a_mark_is_where_a_new_life_begins() -> None:
    ours = local(mark=5000.0)
    assert ours.timestamp(0.0) == encode(5_000_000_000_000)
    assert ours.facts == [MarkMoved(5600.0)]


def test_jitter_is_spread_over_its_range() -> None:
    ours = local()
    draws = [ours.jitter() for _ in range(500)]
    assert 0 <= min(draws) < 0.02
    assert REKEY_JITTER - 0.02 < max(draws) < REKEY_JITTER


def test_ephemerals_come_from_the_entropy() -> None:
    assert local().ephemeral() == PrivateKey(entropy(1)(32))

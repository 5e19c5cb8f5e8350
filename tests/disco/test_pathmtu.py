"""PathMtu: what a pong proves, when sizes are asked, and how a path that carries less is noticed."""

from __future__ import annotations

import math

import pytest

from tsnet.base.addresses import UdpAddress
from tsnet.disco.constants import DATAGRAM_SIZE, HEARTBEAT_INTERVAL, PING_SIZE, PINGS_PER_SECOND, UPGRADE_INTERVAL
from tsnet.disco.pathmtu import (
    ANSWER_WITHIN,
    BASE,
    INNER_BASE,
    INNER_MOST,
    LARGER,
    SIZES,
    PacketSizes,
    PathMtu,
    payload_of,
)

V4, V6 = UdpAddress("192.0.2.1", 41641), UdpAddress("2001:db8::1", 41641)


def sizes(mtu: PathMtu, until: float, address: UdpAddress = V4) -> list[tuple[float, int]]:
    """The sizes that are asked up to that time, and when."""
    asked = []
    while (at := mtu.deadline()) <= until:
        found = mtu.run(at)
        assert mtu.deadline() > at
        asked += [(at, padding + PING_SIZE + (48 if ":" in address.host else 28)) for padding in found]
    return asked


def pong(mtu: PathMtu, size: int, sent_at: float, address: UdpAddress = V4) -> None:
    mtu.ponged(address, payload_of(size, address.host) - PING_SIZE, sent_at)


def carrying(size: int) -> PathMtu:
    """A path that was trusted at 10.0 and carries that size."""
    mtu = PathMtu()
    mtu.use(V4, 10.0)
    for at, asked in sizes(mtu, 20.0):
        if asked <= size:
            pong(mtu, asked, at)
    assert mtu.mtu == size
    return mtu


def test_the_base_is_what_wireguards_datagrams_need_over_v6() -> None:
    assert payload_of(BASE, V6.host) == DATAGRAM_SIZE
    assert (INNER_BASE, INNER_MOST) == (1280, 8920)
    assert sorted(SIZES) == list(SIZES)


@pytest.mark.parametrize("address", [V4, V6])
def test_a_trusted_path_is_asked_what_it_carries_each_size_twice_and_slowly(address: UdpAddress) -> None:
    mtu = PathMtu()
    assert mtu.deadline() == math.inf
    mtu.use(address, 10.0)
    asked = sizes(mtu, 100.0, address)
    assert [size for _at, size in asked] == [*LARGER, *LARGER]
    for at, _size in asked:
        assert len([each for each, _ in asked if at <= each < at + 1.0]) < PINGS_PER_SECOND
    assert mtu.deadline() == math.inf
    assert (mtu.mtu, mtu.inner) == (BASE, INNER_BASE)


def test_a_pong_proves_its_size_and_smaller_ones_are_not_asked_again() -> None:
    mtu = PathMtu()
    mtu.use(V4, 10.0)
    assert sizes(mtu, 10.0) == [(10.0, 1400)]
    pong(mtu, 1400, 10.0)
    assert (mtu.mtu, mtu.inner) == (1400, 1320)
    mtu.ponged(V4, 0, 10.1)
    pong(mtu, BASE, 10.1)
    assert mtu.mtu == 1400
    mtu.ponged(V6, 9000, 10.1)
    assert mtu.mtu == 1400
    pong(mtu, 9000, 10.2)
    assert sizes(mtu, 100.0) == []
    assert mtu.inner == INNER_MOST


def test_each_heartbeat_asks_the_size_in_use_and_once_more_until_it_is_answered() -> None:
    mtu = carrying(1500)
    mtu.heartbeat(20.0)
    assert sizes(mtu, 20.5) == [(20.0, 1500)]
    pong(mtu, 1500, 20.0)
    assert sizes(mtu, 23.0) == []
    mtu.heartbeat(23.0)
    assert sizes(mtu, 24.9) == [(23.0, 1500), (24.0, 1500)]
    pong(mtu, 1500, 24.0)
    assert sizes(mtu, 26.0) == []
    assert mtu.mtu == 1500


def test_a_size_that_is_answered_no_more_is_given_up_and_looked_for_anew() -> None:
    mtu = carrying(1500)
    mtu.heartbeat(20.0)
    asked = sizes(mtu, 20.0 + ANSWER_WITHIN)
    assert (asked[-1], mtu.mtu) == ((22.0, 1400), BASE)
    pong(mtu, 1500, 20.0)
    assert mtu.mtu == BASE, "a pong for a ping from before proves nothing"
    pong(mtu, 1400, 22.0)
    assert mtu.mtu == 1400


def test_a_path_that_shrinks_is_noticed_within_a_heartbeat_and_the_time_to_answer() -> None:
    assert HEARTBEAT_INTERVAL + ANSWER_WITHIN <= 5.0


def test_a_size_that_the_system_refuses_is_given_up_at_once() -> None:
    mtu = carrying(8000)
    mtu.refused(8972, 20.0)
    assert mtu.mtu == 8000, "a larger one was refused"
    mtu.refused(1472, 20.0)
    assert mtu.mtu == BASE
    assert {size for _at, size in sizes(mtu, 100.0)} == {1400}


def test_what_is_refused_while_sizes_are_asked_is_not_asked_again() -> None:
    mtu = PathMtu()
    mtu.refused(1400, 9.0)
    mtu.use(V4, 10.0)
    mtu.refused(payload_of(8000, V4.host), 10.0)
    assert [size for _at, size in sizes(mtu, 100.0)] == [1400, 1500] * 2


def test_larger_sizes_are_tried_again_once_a_minute() -> None:
    mtu = carrying(1500)
    for now in range(20, 70):
        mtu.heartbeat(float(now))
        assert [size for _at, size in sizes(mtu, now) if size > 1500] == []
        pong(mtu, 1500, float(now))
    mtu.heartbeat(10.0 + UPGRADE_INTERVAL)
    assert {size for _at, size in sizes(mtu, 71.5)} == {1500, 8000, 9000}


def test_without_trust_nothing_is_known_and_another_path_is_asked_anew() -> None:
    mtu = carrying(1500)
    mtu.use(V4, 20.0)
    assert (mtu.mtu, mtu.deadline()) == (1500, math.inf)
    mtu.use(V6, 21.0)
    assert (mtu.mtu, mtu.deadline()) == (BASE, 21.0)
    mtu.lose()
    mtu.heartbeat(22.0)
    assert (mtu.mtu, mtu.deadline(), mtu.run(22.0)) == (BASE, math.inf, [])


def test_sizes_that_change_are_told_once() -> None:
    sizes = PacketSizes()
    sizes.note(b"a", None)
    assert sizes.take() == {}
    sizes.note(b"a", carrying(1500))
    sizes.note(b"a", carrying(1500))
    sizes.note(b"b", carrying(9000))
    assert sizes.take() == {b"a": 1420, b"b": 8920}
    sizes.note(b"a", None)
    sizes.forget(b"b")
    assert sizes.take() == {b"a": 1280}
    assert not sizes._larger

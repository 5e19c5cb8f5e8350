from __future__ import annotations

import math
import random

from tsnet.base.addresses import UdpAddress
from tsnet.testing.cable import Cable
from tsnet.testing.parcels import Parcel, cross
from tsnet.testing.timeline import START, Timeline

HERE, THERE = UdpAddress("198.18.0.2", 1), UdpAddress("198.18.0.3", 2)


class Origin:
    def __init__(self) -> None:
        self.chain = ["origin"]
        self.told: list[tuple[UdpAddress, int]] = []

    def told_too_big(self, destination: UdpAddress, mtu: int) -> None:
        self.told.append((destination, mtu))


def run(cable: Cable, *datagrams: bytes, late: float = 0.0) -> tuple[list[tuple[float, list[bytes]]], Origin, float]:
    """What arrives and when; and when everything was over."""
    timeline, origin = Timeline(), Origin()
    arrived: list[tuple[float, list[bytes]]] = []
    timeline.wait(START + late)
    cross(
        Parcel(HERE, THERE, list(datagrams), origin, THERE, START),
        cable,
        timeline,
        random.Random("parcels"),
        lambda parcel: arrived.append((timeline.now - START, parcel.datagrams)),
        upward=True,
    )
    while timeline.next_event() < math.inf:
        timeline.wait(math.inf)
    return arrived, origin, timeline.now - START


def test_datagrams_that_take_equally_long_stay_together() -> None:
    arrived, _, _ = run(Cable(0.25), b"one", b"two")
    assert arrived == [(0.25, [b"one", b"two"])]


def test_a_rate_draws_them_apart() -> None:
    arrived, _, _ = run(Cable(0.0, rate=512, buffer=1.0), bytes(100), bytes(100))
    assert arrived == [(0.25, [bytes(100)]), (0.5, [bytes(100)])]


def test_who_sent_too_much_is_told_as_late_as_it_was_under_way() -> None:
    arrived, origin, end = run(Cable(0.125, mtu=100), bytes(73), bytes(72), late=0.5)
    assert arrived == [(0.625, [bytes(72)])]
    assert origin.told == [(THERE, 100)]
    assert end == 1.0


def test_nobody_is_told_by_a_black_hole_or_by_a_cable_that_is_down() -> None:
    hole, down = Cable(mtu=100, tells_too_big=False), Cable(mtu=100)
    down.is_up = False
    for cable in (hole, down):
        arrived, origin, _ = run(cable, bytes(1000))
        assert (arrived, origin.told) == ([], [])

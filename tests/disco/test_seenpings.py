"""SeenPings: one answer for each place, few places for one ping, few pings remembered."""

from __future__ import annotations

from tsnet.base.addresses import UdpAddress
from tsnet.disco.constants import MAX_SEEN, MAX_SOURCES
from tsnet.disco.seenpings import SeenPings

PLACES = [UdpAddress("192.0.2.1", number) for number in range(20)]


def test_each_place_is_answered_once() -> None:
    seen = SeenPings()
    assert seen.is_fresh(b"a")
    assert seen.add(b"a", PLACES[0])
    assert not seen.is_fresh(b"a")
    assert not seen.add(b"a", PLACES[0])
    assert seen.add(b"a", PLACES[1])
    assert seen.add(b"b", PLACES[0])


def test_a_ping_that_is_sent_again_from_everywhere_is_answered_in_few_places() -> None:
    seen = SeenPings()
    assert sum(seen.add(b"a", place) for place in PLACES) == MAX_SOURCES


def test_the_oldest_are_forgotten() -> None:
    seen = SeenPings()
    for number in range(MAX_SEEN + 1):
        seen.add(bytes([number]), PLACES[0])
    assert len(seen) == MAX_SEEN
    assert seen.is_fresh(bytes([0]))
    assert not seen.is_fresh(bytes([1]))

"""SYNs that wait for a place: in turn by peer, bounded, forgotten when nobody repeats them."""

from __future__ import annotations

from netstack.limits import FULL, SHARE
from netstack.tcp.parking import MAX_PARKED, PATIENCE, Parked, Syn
from netstack.wire.tcp import SYN, Header


def syn(peer: str, port: int, now: float = 0.0) -> Syn:
    header = Header(port, 80, 0, 0, 20, SYN, 1000)
    return Syn(peer, b"\x64\x40\0\2", b"\x64\x40\0\1", header, port.to_bytes(2, "big") + bytes(18), None, now)


def parked(*syns: Syn) -> Parked:
    waiting = Parked()
    for one in syns:
        assert waiting.add(one, one.arrived_time)
    return waiting


def anybody(peer: object) -> bool:
    return True


def test_peers_take_turns_each_with_its_oldest() -> None:
    waiting = parked(*(syn("many", port) for port in range(1, 4)), syn("one", 9))
    found = [waiting.next(anybody, 0.0) for _ in range(5)]
    assert [(one.link, one.header.source_port) if one else None for one in found] == [
        ("many", 1),
        ("one", 9),
        ("many", 2),
        ("many", 3),
        None,
    ]
    assert len(waiting) == 0


def test_a_peer_without_a_place_is_passed_over() -> None:
    waiting = parked(syn("full", 1), syn("other", 2))
    found = waiting.next(lambda peer: peer != "full", 0.0)
    assert found is not None
    assert found.link == "other"
    assert waiting.next(lambda peer: peer != "full", 0.0) is None
    assert len(waiting) == 1


def test_the_same_syn_again_is_the_same_one() -> None:
    waiting = parked(syn("a", 1))
    assert waiting.renew(syn("a", 1, now=70.0))
    assert not waiting.renew(syn("a", 2))
    assert not waiting.renew(syn("b", 1))
    assert len(waiting) == 1
    assert waiting.next(anybody, PATIENCE + 1) is not None  # it was there at 70


def test_one_that_nobody_repeats_is_forgotten() -> None:
    waiting = parked(syn("a", 1), syn("a", 2, now=10.0))
    found = waiting.next(anybody, PATIENCE)
    assert found is not None
    assert found.header.source_port == 2
    assert len(waiting) == 0


def test_one_that_has_got_its_place_otherwise_waits_no_longer() -> None:
    waiting = parked(syn("a", 1), syn("a", 2))
    waiting.discard(syn("a", 1))
    assert [one.header.source_port for one in waiting.clear()] == [2]


def test_nobody_parks_more_than_two_thirds_and_old_ones_make_room() -> None:
    waiting = Parked()
    taken = [waiting.add(syn("flood", port), 0.0) for port in range(1, 1001)]
    assert sum(taken) == MAX_PARKED * 2 // 3
    assert waiting.add(syn("other", 1), 0.0)
    assert waiting.places.refused == {SHARE: 1000 - MAX_PARKED * 2 // 3}
    assert waiting.add(syn("flood", 2000, now=PATIENCE), PATIENCE)
    assert len(waiting) == 1


def test_all_together_are_bounded() -> None:
    waiting = Parked()
    for peer in ("a", "b"):
        for port in range(1, 601):
            waiting.add(syn(peer, port), 0.0)
    assert len(waiting) == MAX_PARKED
    assert waiting.places.refused[FULL] == 1200 - MAX_PARKED
    assert len(waiting.clear()) == MAX_PARKED
    assert len(waiting) == 0

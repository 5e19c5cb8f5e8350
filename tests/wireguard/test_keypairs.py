"""The table of keypairs.py, row by row, over every sequence of events, and in crossed rekeys of two devices."""

from __future__ import annotations

import itertools
import random

import pytest

from tests.wireguard.crossing import Crossing
from tsnet.wireguard.constants import REJECT_AFTER_TIME
from tsnet.wireguard.handshake import Keys
from tsnet.wireguard.keypairs import MAX_PREVIOUS, Keypairs
from tsnet.wireguard.session import Session


def session(name: int, now: float = 0.0) -> Session:
    return Session(Keys(bytes(32), bytes(32)), local_index=name, remote_index=0, is_initiator=True, now=now)


def names(keypairs: Keypairs) -> tuple[list[int], int | None, int | None]:
    """Previous ones, current, next."""
    current, following = (None if slot is None else slot.local_index for slot in (keypairs.current, keypairs.next))
    return [session.local_index for session in keypairs.previous], current, following


def out(sessions: list[Session]) -> set[int]:
    return {session.local_index for session in sessions}


def test_as_initiator_the_new_session_is_current_at_once() -> None:
    keypairs = Keypairs()
    assert out(keypairs.initiated(session(1), 0.0)) == set()
    assert names(keypairs) == ([], 1, None)
    assert out(keypairs.initiated(session(2), 0.0)) == set()
    assert names(keypairs) == ([1], 2, None)


def test_as_responder_it_waits_as_next() -> None:
    keypairs = Keypairs()
    keypairs.initiated(session(1), 0.0)
    keypairs.initiated(session(2), 0.0)
    assert out(keypairs.responded(session(3), 0.0)) == set()
    assert names(keypairs) == ([1], 2, 3)
    assert out(keypairs.responded(session(4), 0.0)) == {3}
    assert names(keypairs) == ([1], 2, 4)


def test_confirmation_moves_all_up() -> None:
    keypairs = Keypairs()
    keypairs.initiated(session(1), 0.0)
    keypairs.responded(session(2), 0.0)
    assert out(keypairs.confirmed(0.0)) == set()
    assert names(keypairs) == ([1], 2, None)


def test_as_initiator_an_unconfirmed_next_becomes_previous_and_so_does_the_current_one() -> None:
    """Both initiated. The peer sends with the current session until ours is confirmed, then perhaps with that which
    we answered."""
    keypairs = Keypairs()
    keypairs.initiated(session(1), 0.0)
    keypairs.responded(session(2), 0.0)
    assert out(keypairs.initiated(session(3), 0.0)) == set()
    assert names(keypairs) == ([2, 1], 3, None)


def test_the_oldest_falls_out() -> None:
    keypairs = Keypairs()
    for number in range(MAX_PREVIOUS + 1):
        assert out(keypairs.initiated(session(number), 0.0)) == set()
    assert out(keypairs.initiated(session(9), 0.0)) == {0}
    assert names(keypairs) == ([3, 2, 1], 9, None)


@pytest.mark.parametrize("event", ["initiated", "responded", "confirmed"])
def test_a_previous_session_falls_out_when_it_has_expired(event: str) -> None:
    keypairs = Keypairs()
    keypairs.initiated(session(1, now=0.0), 0.0)
    keypairs.initiated(session(2, now=1.0), 1.0)
    keypairs.initiated(session(3, now=2.0), 2.0)
    keypairs.responded(session(4, now=2.0), 2.0)
    assert names(keypairs)[0] == [2, 1]
    now = REJECT_AFTER_TIME
    if event == "confirmed":
        assert out(keypairs.confirmed(now)) == {1}
    else:
        assert out(getattr(keypairs, event)(session(5, now), now)) - {4} == {1}


def test_clear() -> None:
    keypairs = Keypairs()
    keypairs.initiated(session(1), 0.0)
    keypairs.initiated(session(2), 0.0)
    keypairs.responded(session(3), 0.0)
    assert out(keypairs.clear()) == {1, 2, 3}
    assert names(keypairs) == ([], None, None)
    assert keypairs.all() == []


def test_no_sequence_of_events_loses_or_doubles_a_session() -> None:
    for events in itertools.product("irc", repeat=6):
        keypairs, alive = Keypairs(), set[int]()
        for number, event in enumerate(events):
            if event == "i":
                gone = keypairs.initiated(session(number), 0.0)
                alive.add(number)
            elif event == "r":
                gone = keypairs.responded(session(number), 0.0)
                alive.add(number)
            elif keypairs.next is None:
                continue
            else:
                gone = keypairs.confirmed(0.0)
            assert out(gone) <= alive
            alive -= out(gone)
            previous, current, following = names(keypairs)
            held = [*previous, *(name for name in (current, following) if name is not None)]
            assert sorted(held) == sorted(alive)
            assert out(keypairs.all()) == alive
            assert len(keypairs.all()) == len(alive) <= MAX_PREVIOUS + 2


# --- two devices ------------------------------------------------------------------------------------------------


def check(crossing: Crossing) -> None:
    """Everything has arrived, once; each side has made one session of each role; and nobody waits for a retry."""
    crossing.finish()
    pair = crossing.pair
    for side in (pair.a, pair.b):
        assert sorted(side.received) == crossing.sent[side.name]
        assert not side.device.dropped
        assert pair.kinds(side).count("initiation") == pair.kinds(side).count("response") == 1
        assert side.device.deadline() > pair.now + 1


@pytest.mark.parametrize(
    "order", list(itertools.combinations(range(10), 5)), ids=lambda order: "".join(map(str, order))
)
def test_crossed_rekeys_lose_nothing_in_whichever_order_the_two_directions_arrive(order: tuple[int, ...]) -> None:
    """order: which of ten deliveries are to a. Each direction keeps its order; both handshakes are over after five."""
    crossing = Crossing()
    for place in range(10):
        crossing.deliver(crossing.pair.a if place in order else crossing.pair.b)
    for side in (crossing.pair.a, crossing.pair.b):
        assert side.received == crossing.sent[side.name][: len(side.received)]
    check(crossing)


@pytest.mark.parametrize("seed", range(300))
def test_crossed_rekeys_lose_nothing_when_datagrams_overtake_each_other(seed: int) -> None:
    chance = random.Random(seed)
    crossing = Crossing(seed)
    for _ in range(14):
        side = chance.choice((crossing.pair.a, crossing.pair.b))
        crossing.deliver(side, chance.randrange(max(len(crossing.flying[side.name]), 1)))
    check(crossing)

"""The table of keypairs.py, row by row, and over every sequence of events."""

from __future__ import annotations

import itertools

from tsnet.wireguard.handshake import Keys
from tsnet.wireguard.keypairs import Keypairs
from tsnet.wireguard.session import Session


def session(name: int) -> Session:
    return Session(Keys(bytes(32), bytes(32)), local_index=name, remote_index=0, is_initiator=True, now=0.0)


def names(keypairs: Keypairs) -> tuple[int | None, int | None, int | None]:
    slots = (keypairs.previous, keypairs.current, keypairs.next)
    previous, current, following = (None if slot is None else slot.local_index for slot in slots)
    return previous, current, following


def out(sessions: list[Session]) -> set[int]:
    return {session.local_index for session in sessions}


def test_as_initiator_the_new_session_is_current_at_once() -> None:
    keypairs = Keypairs()
    assert out(keypairs.initiated(session(1))) == set()
    assert names(keypairs) == (None, 1, None)
    assert out(keypairs.initiated(session(2))) == set()
    assert names(keypairs) == (1, 2, None)
    assert out(keypairs.initiated(session(3))) == {1}
    assert names(keypairs) == (2, 3, None)


def test_as_responder_it_waits_as_next() -> None:
    keypairs = Keypairs()
    keypairs.initiated(session(1))
    keypairs.initiated(session(2))
    assert out(keypairs.responded(session(3))) == {1}
    assert names(keypairs) == (None, 2, 3)
    assert out(keypairs.responded(session(4))) == {3}
    assert names(keypairs) == (None, 2, 4)


def test_confirmation_moves_all_up() -> None:
    keypairs = Keypairs()
    keypairs.initiated(session(1))
    keypairs.responded(session(2))
    assert out(keypairs.confirmed()) == set()
    assert names(keypairs) == (1, 2, None)


def test_as_initiator_an_unconfirmed_next_becomes_previous() -> None:
    """Both initiated: the session that we answered may be the one that the peer sends with."""
    keypairs = Keypairs()
    keypairs.initiated(session(1))
    keypairs.responded(session(2))
    assert out(keypairs.initiated(session(3))) == {1}
    assert names(keypairs) == (2, 3, None)


def test_clear() -> None:
    keypairs = Keypairs()
    keypairs.initiated(session(1))
    keypairs.responded(session(2))
    assert out(keypairs.clear()) == {1, 2}
    assert names(keypairs) == (None, None, None)
    assert keypairs.all() == []


def test_no_sequence_of_events_loses_or_doubles_a_session() -> None:
    for events in itertools.product("irc", repeat=6):
        keypairs, alive = Keypairs(), set[int]()
        for number, event in enumerate(events):
            if event == "i":
                gone = keypairs.initiated(session(number))
                alive.add(number)
            elif event == "r":
                gone = keypairs.responded(session(number))
                alive.add(number)
            elif keypairs.next is None:
                continue
            else:
                gone = keypairs.confirmed()
            assert out(gone) <= alive
            alive -= out(gone)
            held = [name for name in names(keypairs) if name is not None]
            assert sorted(held) == sorted(alive)
            assert keypairs.all() == [s for s in (keypairs.previous, keypairs.current, keypairs.next) if s]

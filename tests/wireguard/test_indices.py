"""Indices: unique, inherited by the session, gone when released."""

from __future__ import annotations

from tests.wireguard.pair import entropy
from tsnet.wireguard.handshake import Keys
from tsnet.wireguard.indices import IndexTable
from tsnet.wireguard.messages import transport_prefix
from tsnet.wireguard.session import Session


def session(index: int) -> Session:
    return Session(Keys(bytes(32), bytes(32)), local_index=index, remote_index=0, is_initiator=True, now=0.0)


def test_a_taken_index_is_not_given_again() -> None:
    draws = iter([b"\1\0\0\0", b"\1\0\0\0", b"\2\0\0\0"])
    table: IndexTable[str] = IndexTable(lambda size: next(draws))
    assert (table.allocate("a"), table.allocate("b")) == (1, 2)
    assert table.owners == {1: "a", 2: "b"}


def test_a_session_inherits_the_index_of_its_handshake() -> None:
    table: IndexTable[str] = IndexTable(entropy(1))
    index = table.allocate("a")
    assert table.sessions == {}
    held = session(index)
    table.promote(held)
    assert table.sessions == {transport_prefix(index): ("a", held)}
    assert table.owners == {index: "a"}


def test_a_released_index_leads_nowhere() -> None:
    table: IndexTable[str] = IndexTable(entropy(1))
    index = table.allocate("a")
    table.promote(session(index))
    table.release(index)
    table.release(index)
    assert not table.owners
    assert not table.sessions

"""Facts are values, and their order is that of events."""

from __future__ import annotations

from tests.wireguard.pair import UNIX_TIME, Pair
from tsnet.wireguard.facts import Established, GaveUp, Heard, MarkMoved


def test_a_first_contact_told_in_order() -> None:
    pair = Pair()
    pair.send(pair.a, b"hello")
    pair.run(pair.now + 0.1)
    assert pair.a.facts == [
        MarkMoved(UNIX_TIME + 600),
        Heard(pair.b.key, pair.b.address),
        Established(pair.b.key, is_initiator=True),
    ]
    assert pair.b.facts == [Heard(pair.a.key, pair.a.address), Established(pair.a.key, is_initiator=False)]


def test_each_fact_is_told_once() -> None:
    pair = Pair()
    pair.establish()
    assert pair.a.device.take_facts() == pair.b.device.take_facts() == []


def test_facts_name_the_peer() -> None:
    key = Pair().a.key
    assert GaveUp(key) == GaveUp(key)
    assert "nodekey" not in repr(GaveUp(key))

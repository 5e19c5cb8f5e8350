"""PingsInFlight: answered once, or expired in the order of sending; bounded for one and all, with a share for each."""

from __future__ import annotations

import math

import pytest

from tsnet.base.addresses import UdpAddress
from tsnet.base.keys import NodeKey
from tsnet.disco import pings
from tsnet.disco.constants import MAX_PINGS, OWN_PINGS, PING_SIZE, PING_TIMEOUT, TRUSTED_PINGS
from tsnet.disco.pings import PingsInFlight, SentPing

ADDRESS = UdpAddress("192.0.2.1", 41641)
ONE, OTHER = NodeKey(b"1" * 32), NodeKey(b"2" * 32)


def ping(at: float, peer: NodeKey = ONE) -> SentPing:
    return SentPing(peer, ADDRESS, at, 0)


def test_a_ping_is_in_flight_until_it_is_answered() -> None:
    flying = PingsInFlight()
    flying.sent(b"a", ping(1.0))
    assert flying.get(b"a") == ping(1.0)
    flying.answered(b"a")
    assert (flying.get(b"a"), flying.get(b"b"), len(flying)) == (None, None, 0)


def test_pings_expire_in_the_order_of_sending() -> None:
    flying = PingsInFlight()
    assert flying.deadline() == math.inf
    for number, tx_id in enumerate((b"a", b"b", b"c")):
        flying.sent(tx_id, ping(float(number)))
    flying.answered(b"a")
    assert flying.deadline() == 1.0 + PING_TIMEOUT
    assert flying.expire(5.9) == []
    assert flying.expire(6.0) == [ping(1.0)]
    assert flying.expire(100.0) == [ping(2.0)]
    assert flying.deadline() == math.inf


def test_one_peers_many_pings_leave_room_for_anothers() -> None:
    flying = PingsInFlight()
    for number in range(MAX_PINGS):
        assert flying.has_room(ONE)
        flying.sent(bytes([number]), ping(1.0))
    assert not flying.has_room(ONE)
    assert flying.has_room(OTHER)
    flying.answered(bytes([7]))
    assert flying.has_room(ONE)


def test_all_together_have_a_bound_and_each_has_a_share_beyond_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pings, "MAX_ALL_PINGS", 2)
    flying = PingsInFlight()
    flying.sent(b"a", ping(1.0))
    flying.sent(b"b", ping(1.0, OTHER))
    for number in range(1, OWN_PINGS):
        assert flying.has_room(OTHER)
        flying.sent(b"o%d" % number, ping(1.0, OTHER))
    assert not flying.has_room(OTHER)
    assert flying.has_room(ONE)
    flying.expire(10.0)
    assert flying.has_room(OTHER)


def test_the_address_in_use_may_be_pinged_however_many_others_are() -> None:
    flying = PingsInFlight()
    for number in range(MAX_PINGS):
        flying.sent(b"a%d" % number, ping(1.0))
    for number in range(TRUSTED_PINGS):
        assert not flying.has_room(ONE)
        assert flying.has_room(ONE, is_trusted=True)
        flying.sent(b"t%d" % number, ping(1.0))
    assert not flying.has_room(ONE, is_trusted=True)


def test_pings_that_could_not_be_sent_are_in_flight_no_more() -> None:
    flying, small, large = PingsInFlight(), ping(1.0), SentPing(ONE, ADDRESS, 1.0, 1000)
    elsewhere = SentPing(OTHER, UdpAddress("192.0.2.9", 1), 1.0, 1000)
    for tx_id, each in ((b"a", small), (b"b", large), (b"c", elsewhere)):
        flying.sent(tx_id, each)
    assert flying.unsent({ADDRESS: PING_SIZE + 1001}) == []
    assert flying.unsent({ADDRESS: PING_SIZE + 1000}) == [large]
    assert flying.unsent({ADDRESS: 0}) == [small]
    assert len(flying) == 1


def test_forgetting_one_peer_or_all() -> None:
    flying = PingsInFlight()
    flying.sent(b"a", ping(1.0))
    flying.sent(b"b", ping(1.0, OTHER))
    flying.forget(ONE)
    assert flying.get(b"b") == ping(1.0, OTHER)
    assert len(flying) == 1
    flying.forget()
    assert (len(flying), len(flying._by_peer)) == (0, 0)

"""Outgoing: sealed in order, cut by the budget; pongs bounded for one peer and for all."""

from __future__ import annotations

from collections import Counter

import pytest

from tsnet.base.addresses import PeerRelayAddress, UdpAddress
from tsnet.base.crypto import disco_public
from tsnet.base.keys import DiscoKey, DiscoPrivateKey
from tsnet.disco import geneve, outgoing
from tsnet.disco.box import Box
from tsnet.disco.constants import MAX_ANSWERS
from tsnet.disco.messages import BindUDPRelayEndpoint, Ping, Pong, decode
from tsnet.disco.outgoing import Outgoing

OURS, THEIRS = DiscoPrivateKey(b"\1" * 32), DiscoPrivateKey(b"\2" * 32)
PEER, OTHER = disco_public(THEIRS), DiscoKey(disco_public(DiscoPrivateKey(b"\3" * 32)))
PLACE = UdpAddress("192.0.2.1", 1)
PONG = Pong(bytes(12), PLACE)


def new() -> Outgoing:
    return Outgoing(Box(OURS, bytes), Counter())


def test_what_is_sent_can_be_opened_by_its_recipient() -> None:
    out = new()
    out.send(PEER, PLACE, Ping(bytes(12)))
    assert len(out) == 1
    ((to, (sealed,)),) = out.take(1000)
    assert (to, decode(Box(THEIRS, bytes).open(sealed))) == (PLACE, Ping(bytes(12)))
    assert len(out) == 0


def test_the_budget_cuts_between_datagrams() -> None:
    out = new()
    for _ in range(5):
        out.send(PEER, PLACE, PONG)
    assert [len(out.take(budget)) for budget in (109, 110, 250, 1000)] == [0, 1, 2, 2]


def test_one_peers_pongs_leave_room_for_anothers() -> None:
    out = new()
    assert [out.answer(PEER, PLACE, PONG) for _ in range(MAX_ANSWERS + 1)] == [True] * MAX_ANSWERS + [False]
    assert out.answer(OTHER, PLACE, PONG)
    out.take(1 << 20)
    assert out.answer(PEER, PLACE, PONG)


def test_all_pongs_together_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outgoing, "MAX_ALL_ANSWERS", 2)
    out = new()
    assert [out.answer(key, PLACE, PONG) for key in (PEER, OTHER, PEER)] == [True, True, False]


def test_nothing_is_sealed_for_a_key_of_low_order_and_nobody_else_suffers() -> None:
    dropped = Counter[str]()
    out = Outgoing(Box(OURS, bytes), dropped)
    for key in (bytes(32), b"\1" + bytes(31)):
        out.send(key, PLACE, Ping(bytes(12)))
    out.send(PEER, PLACE, Ping(bytes(12)))
    assert (len(out.take(1000)), dropped) == (1, {"key": 2})


def test_what_goes_by_a_peer_relay_or_to_one_says_for_which_session() -> None:
    session = PeerRelayAddress("198.51.100.7", 7777, 5)
    out = new()
    out.send(PEER, session, PONG)
    out.send(PEER, session, BindUDPRelayEndpoint(5, 1, PEER))
    sent = out.take(1 << 20)
    assert [to for to, _datagrams in sent] == [session.relay, session.relay]
    headers = [geneve.decode(datagram) for _to, (datagram,) in sent]
    assert [header.is_control for header in headers if header is not None and header.vni == 5] == [False, True]

"""PingAnswers: one pong for each place, and none for whom there is no room."""

from __future__ import annotations

from collections import Counter

from tsnet.base.addresses import UdpAddress
from tsnet.base.crypto import disco_public
from tsnet.base.keys import DiscoPrivateKey
from tsnet.disco.box import Box
from tsnet.disco.constants import MAX_ANSWERS
from tsnet.disco.messages import Ping, Pong, decode
from tsnet.disco.outgoing import Outgoing
from tsnet.disco.pinganswers import PingAnswers

OURS, THEIRS = DiscoPrivateKey(b"\1" * 32), DiscoPrivateKey(b"\2" * 32)
PEER = disco_public(THEIRS)
HERE, THERE = UdpAddress("192.0.2.1", 1), UdpAddress("192.0.2.2", 2)
PING = Ping(b"t" * 12)


def new() -> tuple[PingAnswers, Outgoing]:
    outgoing = Outgoing(Box(OURS, bytes), Counter())
    return PingAnswers(outgoing), outgoing


def test_a_ping_is_answered_once_where_it_came_from_and_is_fresh_before_that() -> None:
    answers, outgoing = new()
    assert answers.is_fresh(PING, PEER)
    assert answers.answer(PING, PEER, HERE, HERE) is None
    assert not answers.is_fresh(PING, PEER)
    assert answers.answer(PING, PEER, HERE, HERE) == "repeated"
    assert answers.answer(PING, PEER, THERE, THERE) is None
    sent = outgoing.take(1000)
    assert [to for to, _datagrams in sent] == [HERE, THERE]
    assert decode(Box(THEIRS, bytes).open(sent[1][1][0])) == Pong(PING.tx_id, THERE)


def test_there_is_room_for_so_many() -> None:
    answers, _outgoing = new()
    found = [answers.answer(Ping(bytes([number]) * 12), PEER, HERE, HERE) for number in range(MAX_ANSWERS + 1)]
    assert found == [None] * MAX_ANSWERS + ["answers"]


def test_who_is_gone_leaves_nothing() -> None:
    answers, _outgoing = new()
    answers.answer(PING, PEER, HERE, HERE)
    assert len(answers) == 1
    answers.forget(PEER)
    answers.forget(PEER)
    assert len(answers) == 0

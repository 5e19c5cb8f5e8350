from __future__ import annotations

from tsnet.base.addresses import DerpAddress, UdpAddress
from tsnet.base.keys import NodeKey
from tsnet.disco.constants import PING_TIMEOUT
from tsnet.disco.diagnostic import MAX_ASKED, DiagnosticPings, PathAnswered

PEER = NodeKey(b"p" * 32)
DIRECT = PathAnswered(PEER, UdpAddress("192.0.2.7", 41641), b"direct")
RELAYED = PathAnswered(PEER, DerpAddress(1, PEER), b"relayed")


def test_each_ping_is_answered_once() -> None:
    pings = DiagnosticPings()
    pings.sent(b"1", DIRECT, 0.0)
    pings.sent(b"2", RELAYED, 0.0)
    assert pings.ponged(b"2", PEER, 1)
    assert pings.answered(b"1")
    assert not pings.answered(b"1")
    assert not pings.ponged(b"2", PEER, 1)
    assert pings.take() == [RELAYED, DIRECT]
    assert pings.take() == []


def test_a_relay_cannot_answer_for_another_peer_region_or_path() -> None:
    pings = DiagnosticPings()
    pings.sent(b"1", DIRECT, 0.0)
    pings.sent(b"2", RELAYED, 0.0)
    assert not pings.ponged(b"1", PEER, 1)
    assert not pings.ponged(b"2", PEER, 2)
    assert not pings.ponged(b"2", bytes(32), 1)
    assert not pings.ponged(b"3", PEER, 1)
    assert pings.take() == []
    assert pings.ponged(b"2", PEER, 1)


def test_what_nobody_answers_is_forgotten() -> None:
    pings = DiagnosticPings()
    pings.sent(b"1", DIRECT, 0.0)
    pings.sent(b"2", DIRECT, PING_TIMEOUT - 0.1)
    assert len(pings) == 2
    pings.sent(b"3", DIRECT, PING_TIMEOUT)
    assert len(pings) == 2
    for number in range(2 * MAX_ASKED):
        pings.sent(str(number).encode(), DIRECT, PING_TIMEOUT)
    assert len(pings) == MAX_ASKED

"""F-RTO: a timeout is doubted, and the answer to new data decides."""

from __future__ import annotations

from typing import Any

from netstack.tcp.frto import Frto
from tests.netstack.peer import Peer

MSS = 1220


def ask(frto: Frto, **said: Any) -> bool:
    fields = {"advanced": False, "original": False, "sacked": False, "duplicate": False}
    return frto.acknowledged(**{**fields, "sent_new": False, "can_send_new": True, **said})


def begun() -> Frto:
    frto = Frto()
    frto.begin(first=True)
    return frto


def test_what_was_sent_once_proves_it_spurious() -> None:
    frto = begun()
    assert ask(frto, original=True)
    assert not frto.is_on


def test_an_advance_asks_for_new_data_then_a_duplicate_ends_it() -> None:
    frto = begun()
    assert not ask(frto, advanced=True)
    assert frto.wants_new
    assert not ask(frto, duplicate=True, sent_new=True)
    assert not frto.is_on


def test_without_new_data_there_is_no_question() -> None:
    frto = begun()
    ask(frto, advanced=True, can_send_new=False)
    assert not frto.is_on


def test_a_timeout_inside_an_episode_is_not_doubted() -> None:
    frto = Frto()
    frto.begin(first=False)
    assert not ask(frto, original=True)


def timed_out() -> Peer:
    """Without timestamps, so that only F-RTO can tell: ten segments out, probe and timeout passed."""
    peer = Peer(stamps=False)
    peer.connect(rtt=0.1)
    peer.connection.write(bytes(30 * MSS), peer.now)
    peer.take()
    while not peer.connection.info().retries:
        peer.next()
    assert peer.connection.info().ca_state == "loss"
    return peer


def test_a_pause_of_the_path_is_taken_back() -> None:
    peer = timed_out()
    peer.send("A", ack=1 + MSS)  # the retransmission, or the original: who knows
    assert next(seen.seq for seen in peer.take()) >= 1 + 10 * MSS  # new data asks
    peer.send("A", ack=1 + 2 * MSS)  # sent once only: the original has arrived
    info = peer.connection.info()
    assert info.ca_state == "open"
    assert info.cwnd >= 10 * MSS


def test_a_real_loss_is_repaired() -> None:
    peer = timed_out()
    peer.send("A", ack=1 + MSS)
    new = peer.take()
    peer.send("A", ack=1 + MSS, blocks=[(new[0].seq, new[0].seq + MSS)])
    assert 1 + MSS in [seen.seq for seen in peer.take()]
    assert peer.connection.info().ca_state == "loss"

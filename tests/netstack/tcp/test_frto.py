"""F-RTO: a timeout is doubted, and the answer to new data decides."""

from __future__ import annotations

from typing import Any

import pytest

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
    assert [seen.seq for seen in peer.take()] == [1 + 11 * MSS, 1 + 12 * MSS]  # new data asks, behind the probe
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


@pytest.mark.parametrize(
    ("said", "spurious", "goes_on", "wants_new"),
    [
        ({}, False, True, False),  # it says nothing
        ({"advanced": True}, False, True, True),  # RFC 5682 §2.1, step 2b
        ({"advanced": True, "can_send_new": False}, False, False, False),
        ({"duplicate": True}, False, False, False),  # step 2a
        ({"sacked": True}, False, False, False),
        ({"sacked": True, "original": True}, True, False, False),  # §3.1, step 2: the SACK-enhanced form
        ({"advanced": True, "original": True}, True, False, False),
        ({"advanced": True, "sent_new": True}, False, True, False),
        ({"duplicate": True, "sent_new": True}, False, False, False),  # step 3a
        ({"sacked": True, "sent_new": True}, False, False, False),
        ({"original": True, "sent_new": True}, True, False, False),  # step 3b
    ],
)
def test_what_one_acknowledgement_says(said: dict[str, bool], spurious: bool, goes_on: bool, wants_new: bool) -> None:
    frto = begun()
    assert ask(frto, **said) is spurious
    assert (frto.is_on, frto.wants_new) == (goes_on, wants_new)


def test_it_begins_without_a_question_and_nothing_is_left_of_it_at_its_end() -> None:
    frto = Frto()
    assert (frto.is_on, frto.wants_new) == (False, False)
    frto.begin(first=True)
    assert (frto.is_on, frto.wants_new) == (True, False)
    ask(frto, advanced=True)
    frto.end()
    assert (frto.is_on, frto.wants_new) == (False, False)


@pytest.mark.parametrize("closed", [True, False])
def test_without_room_for_new_data_the_repair_goes_on(closed: bool) -> None:
    """RFC 5682 §2.1, step 2b: nothing to ask with, be it for want of data or of a window."""
    peer = Peer(stamps=False, scale=0)
    peer.window = 10 * MSS if closed else 65_535
    peer.connect(rtt=0.1)
    peer.connection.write(bytes((30 if closed else 10) * MSS), peer.now)
    assert len(peer.take()) == 10
    while not peer.connection.info().retries:
        peer.next()
    peer.send("A", ack=1 + MSS, window=9 * MSS if closed else 65_535)
    assert [seen.seq for seen in peer.take()] == [1 + MSS, 1 + 2 * MSS]

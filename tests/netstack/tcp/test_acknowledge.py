"""What an acknowledgement does: RFC 3042, RFC 6582, D-SACK, samples; in the order that matters."""

from __future__ import annotations

import pytest

from tests.netstack.peer import Peer

MSS = 1208


def sender(segments: int = 10, **options: bool) -> tuple[Peer, int]:
    """So many segments are out; the first one's number."""
    peer = Peer(**options)
    peer.connect(rtt=0.1)
    peer.send("A")  # the first window with its scale
    peer.connection.write(bytes(40 * MSS), peer.now)
    una = peer.take()[0].seq
    peer.clock.advance(0.1)
    return peer, una


@pytest.mark.parametrize("sack", [True, False])
def test_limited_transmit(sack: bool) -> None:
    """The first two duplicates each let out a new segment."""
    peer, una = sender(sack=sack)
    for count in (1, 2):
        peer.send("A", ack=una, blocks=[(una + MSS, una + (1 + count) * MSS)] if sack else ())
        assert [(seen.seq, seen.size) for seen in peer.take()] == [(una + (9 + count) * MSS, MSS)]


def test_a_duplicate_report_is_no_sack() -> None:
    peer, una = sender()
    peer.send("A", ack=una + 2 * MSS, blocks=[(una, una + MSS)])
    info = peer.connection.info()
    assert (info.dsacks, info.sacked) == (1, 0)


def test_a_duplicate_inside_what_is_sacked_is_reported_with_its_block() -> None:
    peer, una = sender()
    peer.send("A", ack=una, blocks=[(una + 2 * MSS, una + 3 * MSS), (una + MSS, una + 4 * MSS)])
    info = peer.connection.info()
    assert (info.dsacks, info.sacked) == (1, 3 * MSS)


@pytest.mark.parametrize("block", [(-5000, -4000), (30 * MSS, 31 * MSS), (3 * MSS, 2 * MSS), (MSS, MSS)])
def test_blocks_that_cannot_be_are_ignored(block: tuple[int, int]) -> None:
    peer, una = sender()
    peer.send("A", ack=una, blocks=[(una + block[0], una + block[1])])
    info = peer.connection.info()
    assert (info.sacked, info.lost) == (0, 0)


def test_a_timeout_spares_what_was_sent_just_now() -> None:
    """RFC 8985 §6.3: it has not had the time to arrive."""
    peer, una = sender()
    peer.send("A", ack=una + MSS)
    peer.clock.advance(0.25)  # just before the timer
    peer.send("A", ack=una + MSS, blocks=[(una + 2 * MSS, una + 3 * MSS)])
    peer.take()
    while not peer.connection.info().retries:
        peer.next()
    assert peer.connection.info().ca_state == "loss"
    assert peer.connection.info().packets_lost < peer.connection.info().packets_out


def test_without_sack_no_second_episode_before_the_first_ones_end() -> None:
    peer, una = sender(sack=False)
    for _ in range(3):
        peer.send("A", ack=una)
    peer.take()
    high = peer.received
    peer.send("A", ack=high)
    ssthresh = peer.connection.info().ssthresh
    for _ in range(4):
        peer.send("A", ack=high)
    assert peer.connection.info().ssthresh == ssthresh


@pytest.mark.parametrize("duplicates", [0, 1])
def test_a_duplicate_report_widens_the_reordering_window(duplicates: int) -> None:
    """RFC 8985 §6.2: a quarter of the round trip more for each round with one."""
    peer, una = sender()
    peer.send("A", ack=una + 2 * MSS, blocks=[(una, una + MSS)] * duplicates)
    peer.send("A", ack=una + 2 * MSS, blocks=[(una + 3 * MSS, una + 4 * MSS)])
    peer.wait(0.03)
    assert peer.connection.info().packets_retransmitted == 1 - duplicates
    peer.wait(0.03)
    assert peer.connection.info().packets_retransmitted == 1


def test_without_sack_a_partial_acknowledgement_takes_from_the_duplicates() -> None:
    """RFC 6675's pipe without its blocks: of three segments, the first was the hole and two had been counted."""
    peer, una = sender(sack=False)
    for _ in range(4):
        peer.send("A", ack=una)
    assert peer.connection.info().sacked == 4 * MSS
    peer.send("A", ack=una + 3 * MSS)
    assert peer.connection.info().sacked == 2 * MSS

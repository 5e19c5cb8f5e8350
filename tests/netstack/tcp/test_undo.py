"""A reduction taken back: by timestamps, by duplicates; and on a wire that only reorders."""

from __future__ import annotations

import pytest

from netstack.tcp.undo import Undo
from tests.netstack.peer import Peer

MSS = 1208


def begun(resent: int = 0) -> Undo:
    undo = Undo()
    undo.begin(10.0, 20.0, 1000, resent)
    return undo


def test_nothing_resent_is_nothing_to_take_back() -> None:
    assert not Undo().all_needless
    assert not begun().all_needless
    assert not begun().original_arrived(5000, 1)


def test_an_episode_without_a_retransmission_was_reordering() -> None:
    assert not Undo().nothing_resent
    undo = begun()
    assert undo.nothing_resent
    undo.resent(1000, 2000, 50)
    assert not undo.nothing_resent
    undo.duplicate(1000, 2000)
    assert not undo.nothing_resent


def test_all_duplicates_reported() -> None:
    undo = begun()
    undo.resent(2000, 3000, 50)
    undo.duplicate(1000, 2000)
    assert not undo.all_needless
    undo.duplicate(2000, 3000)
    assert undo.all_needless
    assert undo.before == (10.0, 20.0)
    undo.forget()
    assert not undo.all_needless


def test_a_duplicate_of_earlier_times_does_not_count() -> None:
    undo = begun()
    undo.resent(1000, 2000, 50)
    undo.duplicate(0, 1000)
    assert not undo.all_needless


def test_a_probe_before_the_episode_counts_as_resent() -> None:
    undo = begun(resent=1000)
    undo.duplicate(5000, 6000)
    assert undo.all_needless


def test_an_older_echo_is_the_originals() -> None:
    undo = begun()
    undo.resent(1000, 2000, 50)
    undo.resent(1000, 3000, 90)
    assert undo.original_arrived(2000, 49)
    assert not undo.original_arrived(1999, 49)
    assert not undo.original_arrived(2000, 50)
    assert not undo.original_arrived(2000, 0)


def test_dsack_undo() -> None:
    """Three overtook one: it was resent for nothing, which the peer says."""
    peer = Peer(stamps=False)
    peer.connect(rtt=0.1)
    peer.connection.write(bytes(10 * 1220), peer.now)
    una = peer.take()[0].seq
    before = peer.connection.info()
    peer.clock.advance(0.1)
    peer.send("A", ack=una, blocks=[(una + 1220, una + 4 * 1220)])
    assert peer.take()[0].seq == una
    assert peer.connection.info().ca_state == "recovery"
    peer.send("A", ack=una + 4 * 1220)
    peer.send("A", ack=una + 4 * 1220, blocks=[(una, una + 1220)])
    after = peer.connection.info()
    assert after.ca_state == "open"
    assert after.cwnd >= before.cwnd
    assert after.ssthresh == before.ssthresh
    assert after.dsacks == 1


@pytest.mark.parametrize(
    ("resent", "duplicates", "needless"),
    [
        ([1000], [(1000, 2000)], True),
        ([1], [(1000, 1001)], True),
        ([1000], [(1000, 1999)], False),
        ([1000], [(900, 1001)], False),  # it counts as far as it goes
        ([1000], [(500, 1000)], False),  # ends where the episode began: an earlier one's
        ([1000], [(0, 3000)], True),  # more than was sent again
        ([1000, 1], [(1000, 2000)], False),
        ([1000, 500], [(1000, 1500), (2000, 3000)], True),
        ([], [(1000, 2000)], False),
    ],
)
def test_duplicates_are_weighed_against_what_was_sent_again(
    resent: list[int], duplicates: list[tuple[int, int]], needless: bool
) -> None:
    undo = begun()
    for size in resent:
        undo.resent(size, 3000, 50)
    for left, right in duplicates:
        undo.duplicate(left, right)
    assert undo.all_needless is needless
    assert undo.nothing_resent is (not resent)


def test_a_duplicate_before_anything_was_sent_again_is_no_credit() -> None:
    undo = begun()
    undo.duplicate(1000, 2000)
    undo.resent(1000, 2000, 50)
    assert not undo.all_needless


def test_each_episode_has_its_own_first_retransmission() -> None:
    undo = begun()
    undo.resent(1000, 2000, 50)
    undo.begin(10.0, 20.0, 5000, 0)
    assert not undo.original_arrived(6000, 49)
    undo.resent(1000, 6000, 90)
    assert undo.original_arrived(6000, 60)


def test_what_was_taken_back_is_not_taken_back_again() -> None:
    undo = begun()
    undo.resent(1000, 2000, 50)
    undo.forget()
    assert not undo.original_arrived(2000, 49)
    assert not undo.nothing_resent


def test_dsack_undo_when_nothing_is_out_any_more() -> None:
    """The report comes a round trip after the end of the episode, and of the transfer."""
    peer = Peer(stamps=False)
    peer.connect(rtt=0.1)
    peer.connection.write(bytes(10 * 1220), peer.now)
    una = peer.take()[0].seq
    before = peer.connection.info()
    peer.clock.advance(0.1)
    peer.send("A", ack=una, blocks=[(una + 1220, una + 4 * 1220)])
    assert peer.take()[0].seq == una
    peer.send("A", ack=una + 10 * 1220)
    assert peer.connection.info().cwnd < before.cwnd
    peer.clock.advance(0.1)
    peer.send("A", ack=una + 10 * 1220, blocks=[(una, una + 1220)])
    after = peer.connection.info()
    assert (after.cwnd, after.ssthresh) == (before.cwnd, before.ssthresh)

"""A reduction taken back: by timestamps, by duplicates; and on a wire that only reorders."""

from __future__ import annotations

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

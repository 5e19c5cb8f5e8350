"""Segments outside the window, acknowledgements of what was not sent, old timestamps."""

from __future__ import annotations

from itertools import combinations

import pytest

from netstack.wire import tcp
from tests.netstack.packetimpact.states import MSS, established, in_state

FLAG_SETS = ["".join(flags) for size in range(6) for flags in combinations("FSPAU", size)]


CLOSING = ["ESTABLISHED", "FIN_WAIT_1", "FIN_WAIT_2", "CLOSING", "CLOSE_WAIT", "LAST_ACK"]


@pytest.mark.parametrize("flags", FLAG_SETS)
@pytest.mark.parametrize("state", CLOSING)
@pytest.mark.parametrize("distance", [-(2 << 20), -10, 2 << 20])
def test_out_of_window_segments_are_answered_by_one_ack(state: str, flags: str, distance: int) -> None:
    peer = in_state(state)
    before = peer.connection.info().bytes_received
    peer.send(flags, seq=peer.seq + distance, payload=b"x" if "P" in flags else b"")
    seen = peer.take()
    assert [segment.flags for segment in seen] == ["A"]
    assert (seen[0].ack, peer.connection.info().bytes_received) == (peer.seq, before)
    assert peer.connection.state == state


@pytest.mark.parametrize("flags", [flags for flags in FLAG_SETS if "A" in flags])
@pytest.mark.parametrize("state", CLOSING)
@pytest.mark.parametrize("distance", [-(2 << 20), -10, 2 << 20])
def test_out_of_window_resets_are_not_answered(state: str, flags: str, distance: int) -> None:
    peer = in_state(state)
    peer.send("R" + flags, seq=peer.seq + distance)
    assert peer.take() == []
    assert peer.connection.state == state


@pytest.mark.parametrize("state", CLOSING)
@pytest.mark.parametrize("distance", [1, 1000, -(32 << 20)], ids=["next", "beyond", "too-old"])
def test_unacceptable_ack_in_each_closing_path(state: str, distance: int) -> None:
    """Nothing of such a segment counts, not even its data."""
    peer = in_state(state)
    before = peer.connection.info().bytes_received
    ack = peer.connection.info().bytes_sent + 1 + (state in ("FIN_WAIT_1", "FIN_WAIT_2", "CLOSING", "LAST_ACK"))
    peer.send("PA", ack=ack + distance, seq=peer.seq, payload=b"x")
    seen = peer.take()
    assert [segment.flags for segment in seen] == ["A"]
    assert (seen[0].seq, seen[0].ack) == (ack, peer.seq)
    assert (peer.connection.state, peer.connection.info().bytes_received) == (state, before)


@pytest.mark.parametrize("distance", [-10, 0, 1, 2 << 20])
def test_unacceptable_seq_and_ack_in_time_wait(distance: int) -> None:
    peer = in_state("FIN_WAIT_2")
    peer.send("FA")
    peer.take()
    peer.send("PA", seq=peer.seq + distance, payload=b"x")
    assert [(segment.flags, segment.ack) for segment in peer.take()] == [("A", peer.seq)]
    peer.send("A", ack=peer.received + 9)
    assert [segment.flags for segment in peer.take()] in ([], ["A"])
    assert peer.stack.connections == {"TIME_WAIT": 1}


@pytest.mark.parametrize("state", CLOSING)
@pytest.mark.parametrize(("offset", "ends"), [(0, True), (1, False), (-1, False), (1000, False)])
def test_only_an_exact_rst_ends(state: str, offset: int, ends: bool) -> None:
    peer = in_state(state)
    peer.send("R", seq=peer.seq + offset)
    assert bool(not peer.stack.connections) is ends
    assert [segment.flags for segment in peer.take()] == (["A"] if offset > 0 else [])


def test_challenges_are_limited_for_each_connection() -> None:
    peer = established()
    for _ in range(100):
        peer.send("S", seq=peer.seq + 1)
    assert len(peer.take()) == 1
    peer.clock.advance(0.6)
    peer.send("S", seq=peer.seq + 1)
    assert len(peer.take()) == 1


def test_paws_monotonic_tsval_and_tsecr_echo() -> None:
    peer = established()
    last = -1
    for number in range(5):
        peer.clock.advance(0.01)
        stamp = peer.stamp()
        peer.send("A", payload=b"x" * 10, stamp=stamp)
        peer.connection.write(b"y", peer.now)
        (seen, *_) = peer.take()
        assert seen.options.timestamps is not None
        assert seen.options.timestamps[1] == stamp
        assert seen.options.timestamps[0] > last or number == 0
        last = seen.options.timestamps[0]


def test_paws_drops_old_data_and_says_so() -> None:
    peer = established()
    peer.clock.advance(10)
    peer.send("A", payload=b"new")
    peer.take()
    peer.send("A", seq=peer.seq, payload=b"old", stamp=peer.stamp() - 5000)
    assert [seen.ack for seen in peer.take()] == [peer.seq]
    assert peer.connection.read() == b"new"


def test_paws_lets_an_overtaken_duplicate_acknowledgement_count() -> None:
    peer = established()
    peer.connection.write(bytes(5 * MSS), peer.now)
    una = peer.take()[0].seq
    peer.clock.advance(0.05)
    peer.send("A", ack=una, blocks=[(una + 2 * MSS, una + 3 * MSS)])
    stamps = tcp.timestamp_options(peer.stamp() - 3, peer.echo)
    blocks = tcp.sack_option([(peer.wire(una + MSS), peer.wire(una + 2 * MSS))])
    peer.send("A", ack=una, options=stamps + blocks)
    assert peer.connection.info().sacked == 2 * MSS


def test_paws_expires_after_24_days() -> None:
    peer = established()
    peer.clock.advance(25 * 86_400)
    peer.send("A", payload=b"again", stamp=0)
    assert peer.connection.read() == b"again"

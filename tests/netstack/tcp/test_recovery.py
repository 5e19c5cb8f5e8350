"""Losses found and repaired: RACK, NewReno, PRR, the retransmission timer, and taking it back."""

from __future__ import annotations

import pytest

from netstack.tcp import recovery
from tests.netstack.pair import Pair
from tests.netstack.peer import Peer, Seen

MSS = 1208


def sender(**options: bool) -> Peer:
    """A connection that has measured 100 ms and has 20 segments out."""
    peer = Peer(**options)
    peer.connect(rtt=0.1)
    peer.connection.write(b"r" * MSS, peer.now)
    peer.take()
    peer.clock.advance(0.1)
    peer.send("A")
    peer.connection.write(bytes(20 * MSS), peer.now)
    return peer


def time_out(peer: Peer) -> list[Seen]:
    """What the retransmission timer sends, after the tail probe."""
    seen: list[Seen] = []
    while not peer.connection.info().retries:
        seen = peer.next()
    return seen


def acknowledge(peer: Peer, ack: int, *blocks: tuple[int, int]) -> list[Seen]:
    peer.send("A", ack=ack, blocks=blocks)
    return peer.take()


def test_three_sacked_segments_make_one_lost() -> None:
    peer = sender()
    sent = peer.take()
    una = sent[0].seq
    peer.clock.advance(0.1)
    assert acknowledge(peer, una, (una + MSS, una + 4 * MSS))[0].seq == una
    info = peer.connection.info()
    assert (info.lost, info.sacked) == (MSS, 3 * MSS)
    assert peer.connection._tcb.recovery.state == recovery.RECOVERY


def test_one_sacked_segment_waits_for_a_quarter_round_trip() -> None:
    peer = sender()
    sent = peer.take()
    una = sent[0].seq
    peer.clock.advance(0.1)
    seen = acknowledge(peer, una, (una + MSS, una + 2 * MSS))
    assert una not in [segment.seq for segment in seen]
    seen = peer.wait(0.03)
    assert una in [segment.seq for segment in seen]


def test_reordering_within_the_window_is_no_loss() -> None:
    peer = sender()
    sent = peer.take()
    una = sent[0].seq
    peer.clock.advance(0.1)
    acknowledge(peer, una, (una + MSS, una + 2 * MSS))
    peer.clock.advance(0.01)
    acknowledge(peer, una + 2 * MSS)
    peer.wait(0.05)
    assert peer.connection.info().retransmitted == 0
    assert peer.connection._tcb.recovery.rack.reorderings == 1


def test_without_sack_the_third_duplicate_counts() -> None:
    peer = sender(sack=False)
    una = peer.take()[0].seq
    for count in range(3):
        seen = acknowledge(peer, una)
        assert (una in [segment.seq for segment in seen]) is (count == 2)
    assert peer.connection.info().lost == MSS


def test_without_sack_a_partial_acknowledgement_names_the_next() -> None:
    peer = sender(sack=False)
    sent = peer.take()
    una = sent[0].seq
    for _ in range(3):
        acknowledge(peer, una)
    seen = acknowledge(peer, una + 5 * MSS)
    assert seen[0].seq == una + 5 * MSS
    acknowledge(peer, peer.received)
    assert peer.connection._tcb.recovery.state == recovery.OPEN


def test_acknowledgements_with_data_or_a_new_window_are_no_duplicates() -> None:
    peer = sender(sack=False)
    una = peer.take()[0].seq
    for number in range(5):
        peer.send("PA", ack=una, payload=b"x", window=60_000 - number)
    peer.take()
    assert peer.connection.info().retransmitted == 0


def test_recovery_lets_out_about_seven_tenths() -> None:
    peer = sender()
    sent = peer.take()
    una, count = sent[0].seq, len(sent)
    before = peer.connection.info().cwnd
    out = 0
    for number in range(2, count + 1):
        peer.clock.advance(0.001)
        out += sum(segment.size for segment in acknowledge(peer, una, (una + MSS, una + number * MSS)))
    assert out <= 0.8 * count * MSS
    acknowledge(peer, peer.received)
    info = peer.connection.info()
    assert info.cwnd == pytest.approx(0.7 * before, rel=0.25)
    assert info.lost == info.sacked == 0


def test_a_lost_retransmission_is_lost_again_without_a_timeout() -> None:
    pair = Pair(delay=0.02)
    client, server = pair.connected()
    payload = bytes(200_000)
    client.write(payload, pair.now)
    count, seq, losses = 0, b"", 0

    def drop(packet: bytes) -> bool:
        """The tenth data packet, and its first retransmission."""
        nonlocal count, seq, losses
        if len(packet) < 1000:
            return False
        count += 1
        if count == 10:
            seq = packet[24:28]
        if packet[24:28] == seq and losses < 2:
            losses += 1
            return True
        return False

    pair.to_b.drop_next = drop
    began = pair.now
    received = 0

    def read(now: float) -> None:
        nonlocal received
        received += len(server.read())

    pair.on_turn = read
    pair.run(until=lambda: received == len(payload))
    assert pair.to_b.counts["lost"] == 2
    assert client.info().retries == 0
    assert pair.now - began < 0.5


def test_a_timeout_starts_over_with_one_segment() -> None:
    peer = sender()
    una = peer.take()[0].seq
    seen = time_out(peer)
    assert [(segment.seq, segment.size) for segment in seen] == [(una, MSS)]
    info = peer.connection.info()
    assert (info.cwnd, info.retries) == (MSS, 1)
    assert peer.connection._tcb.recovery.state == recovery.LOSS


def test_a_timeout_that_was_none_is_taken_back() -> None:
    """The path got slow: the answer to the original comes after the retransmission left."""
    peer = sender()
    sent = peer.take()
    before = peer.connection.info()
    echo = peer.echo
    time_out(peer)
    assert peer.connection.info().cwnd == MSS
    peer.clock.advance(0.01)
    peer.echo = echo
    acknowledge(peer, sent[0].seq + 2 * MSS)
    after = peer.connection.info()
    assert after.cwnd >= before.cwnd
    assert after.ssthresh >= before.ssthresh
    assert after.lost <= MSS


def test_an_answer_to_the_retransmission_takes_nothing_back() -> None:
    peer = sender()
    sent = peer.take()
    time_out(peer)
    peer.clock.advance(0.1)
    acknowledge(peer, sent[0].seq + MSS)
    assert peer.connection.info().cwnd <= 3 * MSS


def test_an_old_acknowledgement_still_brings_its_blocks() -> None:
    peer = sender()
    una = peer.take()[0].seq
    acknowledge(peer, una + MSS)
    peer.send("A", ack=una, blocks=[(una + 3 * MSS, una + 4 * MSS)])
    assert peer.connection.info().sacked == MSS


def test_a_sample_is_not_taken_from_what_was_sent_twice() -> None:
    peer = sender(stamps=False)
    una = peer.take()[0].seq
    before = peer.connection.info().srtt
    time_out(peer)
    peer.clock.advance(5)
    acknowledge(peer, una + MSS)
    assert peer.connection.info().srtt == before


def test_the_window_does_not_grow_while_the_application_is_slow() -> None:
    pair = Pair(delay=0.02)
    client, server = pair.connected()
    for _ in range(50):
        client.write(bytes(1000), pair.now)
        pair.run(seconds=0.1)
        server.read()
    assert client.info().cwnd <= 12 * MSS


@pytest.mark.parametrize("burst", [1, 5, 10])
def test_a_burst_is_repaired_without_a_timeout(burst: int) -> None:
    pair = Pair(delay=0.02)
    client, server = pair.connected()
    payload = bytes(500_000)
    count = 0

    def drop(packet: bytes) -> bool:
        nonlocal count
        count += len(packet) > 1000
        return 60 <= count < 60 + burst and len(packet) > 1000

    pair.to_b.drop_next = drop
    sent = received = 0

    def act(now: float) -> None:
        nonlocal sent, received
        sent += client.write(payload[sent:], now)
        received += len(server.read())
        assert client.info().retries == 0

    pair.on_turn = act
    pair.run(until=lambda: received == len(payload))
    assert pair.to_b.counts["lost"] == burst
    assert client.info().retransmitted == pytest.approx(burst * MSS, abs=2 * 1228)

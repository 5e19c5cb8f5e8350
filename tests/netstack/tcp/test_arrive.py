"""What segments do: state by event, the short path against the long one, hostile numbers."""

from __future__ import annotations

import random

import pytest

from netstack import TcpConnection
from netstack.tcp import arrive
from tests.netstack.peer import ISS, Peer

MODES = pytest.mark.parametrize("v6", [False, True], ids=["v4", "v6"])


def to_fin_wait_1(peer: Peer) -> None:
    peer.connect()
    peer.connection.shutdown_write(peer.now)
    assert [seen.flags for seen in peer.take()] == ["FA"]


def to_fin_wait_2(peer: Peer) -> None:
    to_fin_wait_1(peer)
    peer.send("A")


def to_close_wait(peer: Peer) -> None:
    peer.connect()
    peer.send("FA")
    peer.take()


def to_closing(peer: Peer) -> None:
    to_fin_wait_1(peer)
    peer.send("FA", ack=1)
    peer.take()


def to_last_ack(peer: Peer) -> None:
    to_close_wait(peer)
    peer.connection.shutdown_write(peer.now)
    peer.take()


def to_time_wait(peer: Peer) -> None:
    to_fin_wait_2(peer)
    peer.send("FA")
    peer.take()


def to_established(peer: Peer) -> None:
    peer.connect()


STATES = {
    "ESTABLISHED": to_established,
    "FIN_WAIT_1": to_fin_wait_1,
    "FIN_WAIT_2": to_fin_wait_2,
    "CLOSE_WAIT": to_close_wait,
    "CLOSING": to_closing,
    "LAST_ACK": to_last_ack,
}
SYNCHRONIZED = pytest.mark.parametrize("state", STATES)


def peer_in(state: str, **options: bool) -> Peer:
    peer = Peer(**options)
    STATES[state](peer)
    assert peer.connection.state == state
    return peer


# SYN_SENT -------------------------------------------------------------------------------------------------------


@MODES
def test_syn_sent_syn_ack(v6: bool) -> None:
    peer = Peer(v6=v6)
    peer.connect()
    assert peer.connection.connected


def test_syn_sent_bad_ack_is_reset() -> None:
    peer = Peer()
    peer.dial()
    peer.send("SA", seq=0, ack=7)
    (reset,) = peer.take()
    assert (reset.flags, reset.seq) == ("R", 7)
    assert peer.connection.state == "SYN_SENT"


def test_syn_sent_ack_alone_is_ignored() -> None:
    peer = Peer()
    peer.dial()
    peer.send("A")
    assert peer.take() == []
    assert peer.connection.state == "SYN_SENT"


def test_syn_sent_rst_with_good_ack_refuses() -> None:
    peer = Peer()
    peer.dial()
    peer.send("RA", seq=0)
    assert (peer.connection.state, peer.connection.error) == ("CLOSED", "refused")
    assert peer.stack.take_ready() == [peer.connection]
    assert not peer.stack.connections


@pytest.mark.parametrize("ack", [None, 9])
def test_syn_sent_rst_of_somebody_else_is_ignored(ack: int | None) -> None:
    peer = Peer()
    peer.dial()
    peer.send("R" if ack is None else "RA", ack=ack)
    assert peer.take() == []
    assert peer.connection.state == "SYN_SENT"


def test_syn_sent_syn_opens_simultaneously() -> None:
    peer = Peer()
    peer.dial()
    peer.answer("S")
    (answer,) = peer.take()
    assert (answer.flags, answer.seq, answer.ack) == ("SA", 0, 1)
    assert peer.connection.state == "SYN_RECEIVED"
    peer.send("A")
    assert peer.connection.state == "ESTABLISHED"


@pytest.mark.parametrize("feature", ["stamps", "sack", "scale"])
def test_what_the_peer_does_not_offer_is_not_used(feature: str) -> None:
    peer = Peer(**{feature: None if feature == "scale" else False})  # type: ignore[arg-type]
    peer.connect()
    peer.connection.write(b"x" * 3000, peer.now)
    seen = peer.take()
    assert (seen[0].options.timestamps is None) is (feature == "stamps")
    peer.send("A")
    peer.send("A", seq=peer.seq + 10, payload=b"y")
    (ack,) = peer.take()
    assert bool(ack.options.sack) is (feature != "sack")
    assert (ack.window == 65_535) is (feature == "scale")


# SYN_RECEIVED ---------------------------------------------------------------------------------------------------


def half_open() -> Peer:
    peer = Peer()
    peer.stack.listen(8080)
    peer.port, peer.their_port = 5000, 8080
    peer.send("S", seq=0, options=peer.syn_options())
    peer.seq = 1
    assert [seen.flags for seen in peer.take()] == ["SA"]
    return peer


def test_syn_received_syn_again_is_answered_again() -> None:
    peer = half_open()
    peer.send("S", seq=0, options=peer.syn_options())
    (answer,) = peer.take()
    assert (answer.flags, answer.seq, answer.ack) == ("SA", 0, 1)


def test_syn_received_unacceptable_ack_is_reset() -> None:
    peer = half_open()
    peer.send("A", ack=9)
    (reset,) = peer.take()
    assert (reset.flags, reset.seq) == ("R", 9)
    assert peer.stack.connections["SYN_RECEIVED"] == 1


def test_syn_received_rst_is_forgotten_silently() -> None:
    peer = half_open()
    peer.send("R")
    assert peer.take() == []
    assert not peer.stack.connections


def test_syn_received_fin_with_the_ack() -> None:
    peer = half_open()
    peer.send("FPA", payload=b"all")
    assert peer.stack.connections["CLOSE_WAIT"] == 1


# synchronized states --------------------------------------------------------------------------------------------


@SYNCHRONIZED
def test_rst_at_the_next_number_ends_it(state: str) -> None:
    peer = peer_in(state)
    peer.send("R")
    assert peer.connection.state == "CLOSED"
    assert peer.connection.error == (None if state in ("CLOSING", "LAST_ACK") else "reset")
    assert peer.take() == []
    assert not peer.stack.connections


@SYNCHRONIZED
def test_rst_elsewhere_in_the_window_is_challenged(state: str) -> None:
    peer = peer_in(state)
    peer.send("R", seq=peer.seq + 5)
    (challenge,) = peer.take()
    assert (challenge.flags, challenge.ack) == ("A", peer.seq)
    assert peer.connection.state == state
    peer.send("R", seq=peer.seq + 6)
    assert peer.take() == []  # not more than one in half a second


@SYNCHRONIZED
@pytest.mark.parametrize("offset", [-100_000, 100_000_000])
def test_rst_outside_the_window_is_dropped(state: str, offset: int) -> None:
    peer = peer_in(state)
    peer.send("R", seq=peer.seq + offset)
    assert peer.take() == []
    assert peer.connection.state == state


@SYNCHRONIZED
def test_syn_is_challenged(state: str) -> None:
    peer = peer_in(state)
    peer.send("S", seq=peer.seq + 10)
    assert [seen.flags for seen in peer.take()] == ["A"]
    assert peer.connection.state == state


@SYNCHRONIZED
def test_no_ack_flag_is_dropped(state: str) -> None:
    peer = peer_in(state)
    peer.send("", payload=b"x", seq=peer.seq)
    assert peer.take() == []
    assert peer.connection.read() == b""


@SYNCHRONIZED
def test_ack_of_what_was_not_sent_is_challenged(state: str) -> None:
    peer = peer_in(state)
    peer.send("A", ack=peer.received + 1000, payload=b"x", seq=peer.seq)
    assert [seen.flags for seen in peer.take()] == ["A"]
    assert peer.connection.read() == b""


@SYNCHRONIZED
@pytest.mark.parametrize("flags", ["A", "FA", "PA", "SA"])
@pytest.mark.parametrize("offset", [-3000, 100_000_000])
def test_outside_the_window_is_acknowledged_once(state: str, flags: str, offset: int) -> None:
    peer = peer_in(state)
    for _ in range(3):
        peer.send(flags, seq=peer.seq + offset, payload=b"xyz" if flags == "PA" else b"")
    (answer,) = peer.take()
    assert (answer.flags, answer.ack) == ("A", peer.seq)
    assert peer.connection.state == state


@SYNCHRONIZED
def test_fin(state: str) -> None:
    peer = peer_in(state)
    after = {"ESTABLISHED": "CLOSE_WAIT", "FIN_WAIT_1": "TIME_WAIT", "FIN_WAIT_2": "TIME_WAIT"}
    peer.send("FA")  # acknowledges all, our FIN too
    if state in after:
        assert peer.connection.state == after[state]
        assert peer.connection.eof
        assert [seen.ack for seen in peer.take()] == [peer.seq]


def test_fin_wait_1_fin_without_ack_of_ours_is_closing() -> None:
    peer = peer_in("CLOSING")
    peer.send("A")
    assert peer.connection.state == "TIME_WAIT"


def test_last_ack_ack_is_closed() -> None:
    peer = peer_in("LAST_ACK")
    peer.send("A")
    assert (peer.connection.state, peer.connection.error) == ("CLOSED", None)
    assert not peer.stack.connections


def test_fin_wait_1_is_left_by_the_ack_of_the_fin_alone() -> None:
    peer = Peer()
    peer.connect()
    peer.connection.write(b"data", peer.now)
    peer.connection.shutdown_write(peer.now)
    (seen,) = peer.take()
    assert (seen.flags, seen.size) == ("FPA", 4)
    peer.send("A", ack=5)
    assert peer.connection.state == "FIN_WAIT_1"
    peer.send("A", ack=6)
    assert peer.connection.state == "FIN_WAIT_2"


# text -----------------------------------------------------------------------------------------------------------


def test_fin_waits_for_the_gap_before_it() -> None:
    peer = peer_in("ESTABLISHED")
    peer.send("FPA", seq=4, payload=b"def")
    (ack,) = peer.take()
    assert (ack.ack, list(ack.options.sack)) == (1, [(_wire(peer, 4), _wire(peer, 7))])
    assert peer.connection.state == "ESTABLISHED"
    peer.send("A", seq=1, payload=b"abc")
    assert peer.connection.state == "CLOSE_WAIT"
    assert peer.connection.read() == b"abcdef"
    assert peer.connection.eof
    assert [seen.ack for seen in peer.take()] == [8]


def test_fin_that_comes_again_with_more_behind_it_ends_where_it_ended_first() -> None:
    peer = peer_in("ESTABLISHED")
    peer.send("FPA", seq=4, payload=b"def")
    peer.send("PA", seq=1, payload=b"abcdefghij")
    assert peer.connection.read() == b"abcdef"
    assert peer.connection.eof


def test_overlapping_text_is_taken_once() -> None:
    peer = peer_in("ESTABLISHED")
    for seq, payload in ((1, b"abc"), (2, b"bcde"), (1, b"ab"), (4, b"def"), (9, b"ij"), (6, b"fghij")):
        peer.send("PA", seq=seq, payload=payload)
    assert peer.connection.read() == b"abcdefghij"


def test_a_duplicate_is_reported() -> None:
    peer = peer_in("ESTABLISHED")
    peer.send("PA", payload=b"abc")
    peer.take()
    peer.send("PA", seq=1, payload=b"abc")
    (ack,) = peer.take()
    assert list(ack.options.sack) == [(_wire(peer, 1), _wire(peer, 4))]
    peer.send("PA", seq=10, payload=b"xyz")
    peer.take()
    peer.send("PA", seq=10, payload=b"xyz")
    (ack,) = peer.take()
    assert list(ack.options.sack) == [(_wire(peer, 10), _wire(peer, 13))] * 2


def test_text_after_the_fin_is_not_taken() -> None:
    peer = peer_in("CLOSE_WAIT")
    peer.send("PA", payload=b"more")
    assert peer.connection.read() == b""
    assert [seen.flags for seen in peer.take()] == ["A"]


def test_text_beyond_the_window_is_cut() -> None:
    peer = Peer(scale=None)
    peer.connect()
    window = peer.connection.info().receive_window
    packets = [peer.packet("A", seq=1 + at, payload=b"x" * 1200) for at in range(0, window + 4800, 1200)]
    peer.stack.receive([("peer", packets)], peer.now)
    assert len(peer.connection.read()) == window


def test_text_to_an_application_that_has_closed_is_reset() -> None:
    peer = peer_in("ESTABLISHED")
    peer.connection.close(peer.now)
    peer.take()
    peer.send("PA", payload=b"too late")
    assert [seen.flags for seen in peer.take()] == ["R"]
    assert not peer.stack.connections


def test_a_pure_acknowledgement_is_not_acknowledged() -> None:
    peer = peer_in("ESTABLISHED")
    for _ in range(5):
        peer.send("A")
    assert peer.take() == []


# acknowledging --------------------------------------------------------------------------------------------------


def test_one_acknowledgement_a_batch_once_the_peer_is_under_way() -> None:
    peer = peer_in("ESTABLISHED")
    for _ in range(10):
        _bulk(peer, 25)
        seen = peer.take()
    assert len(seen) == 1
    assert seen[0].ack == peer.seq
    assert len(peer.connection.read()) == 250 * 1200


def test_every_second_segment_is_acknowledged_at_first() -> None:
    peer = peer_in("ESTABLISHED")
    _bulk(peer, 10)
    assert [seen.ack for seen in peer.take()] == [1 + 2400 * n for n in range(1, 6)]


def test_a_little_is_acknowledged_within_40_ms() -> None:
    peer = peer_in("ESTABLISHED")
    peer.connection._tcb.quick_acks = 0  # the application has answered before
    peer.send("A", payload=b"x")
    assert peer.take() == []
    assert peer.stack.deadline() == pytest.approx(peer.now + arrive.DELAYED_ACK)
    (ack,) = peer.wait(0.05)
    assert ack.ack == 2


def test_data_carries_the_acknowledgement() -> None:
    peer = peer_in("ESTABLISHED")
    peer.send("A", payload=b"question")
    peer.connection.write(b"answer", peer.now)
    (seen,) = peer.take()
    assert (seen.payload, seen.ack) == (b"answer", peer.seq)
    assert peer.wait(0.1) == []


def test_three_out_of_order_segments_make_three_duplicates() -> None:
    peer = peer_in("ESTABLISHED")
    packets = [peer.packet("A", seq=1 + 1200 * n, payload=b"x" * 1200) for n in range(1, 8)]
    peer.stack.receive([("peer", packets)], peer.now)
    seen = peer.take()
    assert len(seen) >= 3
    assert {ack.ack for ack in seen} == {1}
    assert list(seen[-1].options.sack) == [(_wire(peer, 1201), _wire(peer, 9601))]


# timestamps -----------------------------------------------------------------------------------------------------


def test_an_old_timestamp_is_dropped_and_acknowledged() -> None:
    peer = peer_in("ESTABLISHED")
    peer.send("PA", payload=b"new", stamp=peer.stamp() + 10)
    peer.take()
    peer.send("PA", payload=b"old", stamp=peer.stamp() - 10, seq=peer.seq)
    assert [seen.flags for seen in peer.take()] == ["A"]
    assert peer.connection.read() == b"new"
    assert peer.stack.dropped["tcp: old timestamp"] == 1


def test_after_24_days_any_timestamp_is_new() -> None:
    peer = peer_in("ESTABLISHED")
    peer.connection.set_keepalive(None, peer.now)
    peer.clock.advance(25 * 86_400)
    peer.send("PA", payload=b"late", stamp=1)
    assert peer.connection.read() == b"late"


def test_the_echo_is_of_the_earliest_segment_not_yet_acknowledged() -> None:
    peer = peer_in("ESTABLISHED")
    peer.send("A", payload=b"a", stamp=peer.stamp() + 1)
    peer.send("A", payload=b"b", stamp=peer.stamp() + 2)
    (ack,) = peer.wait(0.05)
    assert ack.options.timestamps is not None
    assert ack.options.timestamps[1] == (int(1000.0 * 1000) + 1) & 0xFFFF_FFFF


# the short path -------------------------------------------------------------------------------------------------


def _bulk(peer: Peer, count: int, size: int = 1200) -> None:
    packets = []
    for _ in range(count):
        packets.append(peer.packet("A", payload=b"x" * size))
        peer.seq += size
    peer.stack.receive([("peer", packets)], peer.now)


def _wire(peer: Peer, seq: int) -> int:
    return (ISS + seq) & 0xFFFF_FFFF


def _random_packets(peer: Peer, chance: random.Random) -> list[bytes]:
    """Mostly what is expected; sometimes what the short path must refuse."""
    packets = []
    for _ in range(40):
        payload = chance.randbytes(chance.choice([1, 100, 1200]))
        odd = chance.random()
        if odd < 0.05:
            packets.append(peer.packet("A", payload=payload, seq=peer.seq + chance.choice([-50, 50, 5000])))
            continue
        if odd < 0.1:
            packets.append(peer.packet("A", payload=payload, stamp=peer.stamp() - 5))
            continue
        packet = peer.packet("PA" if odd < 0.2 else "A", payload=payload, window=1000 if odd < 0.25 else None)
        if odd > 0.95:
            packet = packet[:-1] + bytes((packet[-1] ^ 1,))
        elif odd > 0.9:
            packet += bytes(chance.randrange(1, 16))
            peer.seq += len(payload)
        else:
            peer.seq += len(payload)
        packets.append(packet)
    return packets


@MODES
@pytest.mark.parametrize("stamps", [True, False])
@pytest.mark.parametrize("seed", range(20))
def test_a_batch_is_as_its_packets_one_by_one(
    v6: bool, stamps: bool, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def play(*, short: bool) -> tuple[bytes, int, TcpConnection]:
        peer = Peer(v6=v6, stamps=stamps)
        peer.connect()
        packets = _random_packets(peer, random.Random(seed))
        with monkeypatch.context() as patch:
            if not short:
                patch.setattr(arrive, "take_run", lambda *_: 0)
            peer.stack.receive([("peer", packets)], peer.now)
        acks = [seen.ack for seen in peer.take()]
        return peer.connection.read(), acks[-1], peer.connection

    fast, slow = play(short=True), play(short=False)
    assert fast[:2] == slow[:2]
    # how many acknowledgements a batch gets is not the same
    infos = [played[2].info()._replace(srtt=0, segments_sent=0) for played in (fast, slow)]
    assert infos[0] == infos[1]


def test_the_short_path_is_what_takes_bulk(monkeypatch: pytest.MonkeyPatch) -> None:
    peer = peer_in("ESTABLISHED")
    monkeypatch.setattr(arrive, "segment_arrives", None)  # would raise if it were called
    _bulk(peer, 30)
    assert len(peer.connection.read()) == 36_000


# hostile numbers ------------------------------------------------------------------------------------------------


@SYNCHRONIZED
def test_no_segment_raises(state: str) -> None:
    chance = random.Random(state)
    peer = peer_in(state)
    for _ in range(300):
        flags = "".join(flag for flag in "FSPAU" if chance.random() < 0.4)
        peer.send(
            flags,
            seq=peer.seq + chance.choice([0, 0, 1, -1, 1000, chance.randrange(2**32)]),
            ack=peer.received + chance.choice([0, 0, 1, -1, chance.randrange(2**32)]),
            payload=chance.randbytes(chance.choice([0, 0, 5, 500])),
            window=chance.choice([0, 1, 65_535]),
            options=chance.choice([None, chance.randbytes(chance.randrange(0, 40, 4))]),
        )
        peer.take()
        peer.clock.advance(chance.random())


@pytest.mark.parametrize("blocks", [[(5, 5)], [(9, 4)], [(0, 1)], [(5, 99_999)], [(-9, 9)], [(2, 4), (3, 9)]])
def test_sack_blocks_that_cannot_be(blocks: list[tuple[int, int]]) -> None:
    peer = peer_in("ESTABLISHED")
    peer.connection.write(b"0123456789", peer.now)
    peer.take()
    peer.send("A", ack=1, blocks=blocks)
    assert 0 <= peer.connection.info().in_flight <= 10
    peer.send("A", ack=11)
    assert peer.connection.info().in_flight == 0


def test_what_lies_beyond_the_fin_is_not_kept() -> None:
    peer = Peer()
    connection = peer.connect()
    peer.send("FA", seq=11)
    peer.send("A", seq=15, payload=b"beyond")
    assert connection.info().out_of_order_packets == 0
    peer.send("A", seq=1, payload=b"0123456789")
    assert connection.read(100) == b"0123456789"
    assert (connection.eof, connection.state) == (True, "CLOSE_WAIT")
    assert connection.info().bytes_received == 10


def test_after_a_gap_acknowledgements_are_delayed_again() -> None:
    peer = Peer()
    peer.connect()
    for _ in range(32):  # past the quick ones of the beginning
        peer.send("A", payload=bytes(100))
        peer.take()
    peer.send("A", seq=peer.seq + 100, payload=bytes(100))
    peer.send("A", payload=bytes(100))
    assert peer.take()[-1].ack == peer.seq + 100
    peer.seq += 100
    peer.send("A", payload=b"one small segment")
    assert peer.take() == []
    assert [seen.ack for seen in peer.wait(arrive.DELAYED_ACK)] == [peer.seq]


@pytest.mark.parametrize(("seq", "ends"), [(19, False), (20, True), (21, False)])
def test_a_reset_behind_all_that_came_ends_it_though_something_is_missing(seq: int, ends: bool) -> None:
    peer = Peer()
    peer.connect()
    peer.send("A", seq=10, payload=b"0123456789")
    peer.take()
    peer.send("R", seq=seq)
    assert peer.connection.error == ("reset" if ends else None)


def test_an_in_order_segment_may_repeat_what_was_out_of_order() -> None:
    """RFC 2883 4.2: it is reported, although no gap is left."""
    peer = Peer()
    peer.connect()
    peer.send("AP", seq=101, payload=bytes(100))
    peer.take()
    peer.send("AP", seq=1, payload=bytes(150))
    (ack,) = peer.take()
    assert (ack.ack, list(ack.options.sack)) == (201, [(_wire(peer, 101), _wire(peer, 151))])


def test_duplicates_that_join_are_reported_as_one() -> None:
    """One acknowledgement answers a batch: it names the first stretch that came again, all of it."""
    peer = Peer()
    peer.connect()
    peer.send("AP", payload=bytes(1000))
    peer.take()
    again = [peer.packet("AP", seq=at, payload=bytes(100)) for at in (1, 101, 201, 501)]
    peer.stack.receive([("peer", again)], peer.now)
    (ack,) = peer.take()
    assert (ack.ack, list(ack.options.sack)) == (1001, [(_wire(peer, 1), _wire(peer, 301))])


def test_segments_out_of_order_tell_how_long_the_peers_are() -> None:
    peer = Peer()
    peer.connect()
    peer.send("AP", seq=2001, payload=bytes(1000))
    assert peer.connection.info().receive_mss == 1000


# what waits for data that carries it ----------------------------------------------------------------------------


@pytest.mark.parametrize("speaks", [False, True])
def test_the_first_data_carries_the_handshakes_last_acknowledgement(speaks: bool) -> None:
    peer = Peer()
    peer.stack.options.answer_wait = 0.003
    peer.dial()
    peer.answer()
    assert peer.connection.connected
    assert peer.take() == []
    if speaks:
        peer.connection.write(b"hello", peer.now)
        (seen,) = peer.take()
        assert (seen.flags, seen.ack, seen.payload) == ("PA", 1, b"hello")
        assert peer.stack.deadline() > peer.now + 0.1
    else:
        assert peer.stack.deadline() == pytest.approx(peer.now + 0.003)
        (seen,) = peer.wait(0.003)
        assert (seen.flags, seen.ack, seen.payload) == ("A", 1, b"")


@pytest.mark.parametrize("answers", [False, True])
def test_an_answer_carries_the_acknowledgement_of_a_first_short_request(answers: bool) -> None:
    """Nor is there a word of the window, which has become larger than that of the SYN: the peer has room enough."""
    peer = Peer()
    peer.stack.options.answer_wait = 0.003
    connection = peer.listen()
    peer.send("PA", payload=b"question")
    assert connection.read() == b"question"
    assert peer.take() == []
    if answers:
        connection.write(b"answer", peer.now)
        (seen,) = peer.take()
        assert (seen.flags, seen.ack, seen.payload) == ("PA", peer.seq, b"answer")
    else:
        (seen,) = peer.wait(0.003)
        assert (seen.flags, seen.ack, seen.payload) == ("A", peer.seq, b"")


@pytest.mark.parametrize(("sizes", "acknowledged"), [([535], 0), ([536], 1), ([300, 235], 0), ([300, 236], 1)])
def test_what_is_no_short_request_is_acknowledged_at_once(sizes: list[int], acknowledged: int) -> None:
    peer = Peer()
    peer.stack.options.answer_wait = 0.003
    peer.listen()
    for size in sizes:
        peer.send("A", payload=bytes(size))
    assert len(peer.take()) == acknowledged

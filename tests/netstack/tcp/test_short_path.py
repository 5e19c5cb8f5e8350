"""What the short path of `arrive` may take: exactly the next data of an open connection, which may answer what was
sent, and nothing that only looks like it. Everything else goes the long way, where it is judged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from netstack.seq import HALF
from netstack.tcp import arrive
from netstack.wire import checksum, tcp
from tests.netstack.peer import Peer

BOTH = pytest.mark.parametrize("v6", [False, True], ids=["v4", "v6"])


def established(**options: Any) -> Peer:
    peer = Peer(**options)
    peer.connect()
    return peer


def taken(peer: Peer, *packets: bytes, verified: bool = True) -> int:
    """How many the short path takes."""
    return peer.stack._tcp.take_run(list(packets), 0, peer.now, verified)


def changed(packet: bytes, at: int, *values: int) -> bytes:
    return packet[:at] + bytes(values) + packet[at + len(values) :]


@BOTH
@pytest.mark.parametrize("stamps", [True, False])
def test_the_next_data_is_taken(v6: bool, stamps: bool) -> None:
    peer = established(v6=v6, stamps=stamps)
    packet = peer.packet("A", payload=b"x")
    assert taken(peer, packet, verified=False) == 1
    assert peer.connection.read() == b"x"
    assert taken(peer, packet) == 0  # it is not the next any more


@BOTH
def test_padding_behind_it_is_no_part_of_it(v6: bool) -> None:
    peer = established(v6=v6)
    assert taken(peer, peer.packet("A", payload=b"x") + bytes(3), verified=False) == 1
    assert peer.connection.read() == b"x"


@pytest.mark.parametrize(
    ("flags", "takes"), [("A", 1), ("PA", 1), ("FA", 0), ("SA", 0), ("RA", 0), ("UA", 0), ("P", 0), ("", 0)]
)
def test_its_flags_are_ack_and_push(flags: str, takes: int) -> None:
    peer = established()
    assert taken(peer, peer.packet(flags, payload=b"x", ack=1)) == takes


@pytest.mark.parametrize(
    ("fields", "takes"),
    [
        ({}, 1),
        ({"payload": b""}, 0),
        ({"seq": 0}, 0),
        ({"seq": 2}, 0),
        ({"ack": 0}, 0),
        ({"ack": 2}, 0),
        ({"window": 65_534}, 1),
        ({"options": bytes((1,)) * 12}, 0),
        ({"options": b""}, 0),
        ({"options": tcp.timestamp_options(0x7000_0000, 0)[:-4]}, 0),
        ({"blocks": [(5, 9)]}, 0),
    ],
)
def test_its_numbers_are_those_expected_and_its_options_stamps_alone(fields: dict[str, Any], takes: int) -> None:
    peer = established()
    assert taken(peer, peer.packet("A", **{"payload": b"x", **fields})) == takes


@pytest.mark.parametrize(
    ("later", "takes"), [(0, 1), (1, 1), (-1, 0), (HALF - 1, 1), (HALF, 0), (HALF + 1, 0)], ids=hex
)
def test_its_timestamp_is_not_older_than_the_last(later: int, takes: int) -> None:
    peer = established()
    recent = peer.connection._tcb.ts_recent
    assert taken(peer, peer.packet("A", payload=b"x", stamp=(recent + later) & 0xFFFF_FFFF)) == takes


@pytest.mark.parametrize("beyond", [0, 1])
def test_it_fits_into_what_was_offered(beyond: int) -> None:
    peer = established(scale=None)
    room = peer.connection.info().receive_window
    packets = [peer.packet("A", payload=bytes(room - 40_000))]
    peer.seq += room - 40_000
    packets.append(peer.packet("A", payload=bytes(40_000 + beyond)))
    assert taken(peer, *packets) == (1 if beyond else 2)


@pytest.mark.parametrize(
    ("at", "values", "takes"),
    [
        (0, (0x46,), 0),  # with IP options: the rest lies elsewhere
        (6, (0x00, 0x00), 1),  # may be fragmented
        (6, (0x20, 0x00), 0),  # more fragments follow
        (6, (0x00, 0x01), 0),  # is a fragment
        (9, (17,), 0),  # UDP
        (33, (0x50,), 0),  # ECE
        (32, (0x81,), 0),  # reserved bits
    ],
)
def test_its_v4_header_is_that_of_a_whole_packet(at: int, values: tuple[int, ...], takes: int) -> None:
    peer = established()
    assert taken(peer, changed(peer.packet("A", payload=bytes(30)), at, *values)) == takes


@pytest.mark.parametrize(("at", "values", "takes"), [(0, (0x6F,), 1), (0, (0x40,), 0), (6, (17,), 0), (6, (44,), 0)])
def test_its_v6_header_may_have_any_class(at: int, values: tuple[int, ...], takes: int) -> None:
    peer = established(v6=True)
    assert taken(peer, changed(peer.packet("A", payload=bytes(30)), at, *values)) == takes


@BOTH
def test_it_is_whole(v6: bool) -> None:
    peer = established(v6=v6)
    packet = peer.packet("A", payload=b"abc")
    assert taken(peer, packet[:-1]) == 0
    assert taken(peer, packet[:39]) == 0
    assert taken(peer, packet) == 1


@BOTH
def test_unverified_its_checksums_are_right(v6: bool) -> None:
    peer = established(v6=v6)
    packet = peer.packet("A", payload=b"abc")
    damaged = [changed(packet, len(packet) - 1, packet[-1] ^ 1)]
    if not v6:
        damaged.append(changed(packet, 8, packet[8] ^ 1))  # the time to live: in the header's sum alone
    for bad in damaged:
        assert taken(peer, bad, verified=False) == 0
    assert taken(peer, packet, verified=False) == 1


def test_a_sum_that_wraps_is_right_too() -> None:
    """All ones and zero are the same number (RFC 1071)."""
    peer = established(stamps=False)
    packet = peer.packet("A", payload=b"\0\0")
    field = int.from_bytes(packet[36:38], "big")
    whole = peer.packet("A", payload=field.to_bytes(2, "big"))
    assert whole[36:38] in (b"\0\0", b"\xff\xff")
    assert checksum.partial(whole[:20]) % 65535 == 0
    for zero in (b"\0\0", b"\xff\xff"):
        assert taken(established(stamps=False), changed(whole, 36, *zero), verified=False) == 1


def test_only_an_open_connection_without_gaps_takes_any() -> None:
    peer = established()
    packet = peer.packet("A", payload=b"x")
    tcb = peer.connection._tcb
    assert peer.stack._tcp.take_run([peer.packet("A", payload=b"x", seq=90), packet], 1, peer.now, True) == 1
    peer.send("A", seq=90, payload=b"beyond a gap")
    assert taken(peer, peer.packet("A", payload=b"x", seq=2)) == 0
    assert tcb.out_of_order is not None
    peer = established()
    peer.connection.close(peer.now)
    assert taken(peer, packet) == 0  # nobody will read it
    peer = established()
    peer.send("FA")
    assert taken(peer, peer.packet("A", payload=b"x")) == 0
    peer = established()
    peer.stack._tcp.memory.held = peer.stack._tcp.memory.ceiling
    assert taken(peer, packet) == 0
    assert taken(established(), changed(packet, 20, 0, 9)) == 0  # of another connection


def test_a_run_ends_where_the_order_does() -> None:
    peer = established()
    packets = [peer.packet("A", seq=1 + at, payload=b"x" * 10) for at in (0, 10, 30, 20)]
    assert taken(peer, *packets) == 2
    assert peer.connection.info().segments_received == 1 + 2
    assert peer.connection.info().bytes_received == 20


def test_the_first_segment_of_a_run_tells_how_long_they_are() -> None:
    peer = established()
    assert taken(peer, peer.packet("A", payload=bytes(1000)), peer.packet("A", seq=1001, payload=bytes(10))) == 2
    assert peer.connection.info().receive_mss == 1000


def test_the_first_stamp_of_a_run_is_echoed_the_last_echo_measures() -> None:
    peer = established()
    peer.clock.advance(0.5)
    early, late = peer.stamp(), peer.stamp() + 7
    ours = peer.echo  # of the handshake's acknowledgement, half a second ago
    packets = []
    for stamp, echo in ((early, ours), (late, ours + 400)):
        peer.echo = echo & 0xFFFF_FFFF
        packets.append(peer.packet("A", payload=b"x" * 1200, stamp=stamp))
        peer.seq += 1200
    assert taken(peer, *packets) == 2
    (ack,) = peer.take()
    assert ack.options.timestamps is not None
    assert ack.options.timestamps[1] == early
    assert peer.connection.info().receive_rtt == pytest.approx(0.1, abs=0.002)


def test_what_is_already_acknowledged_tells_the_stamp_not_what_waits_for_its_acknowledgement() -> None:
    peer = established()
    peer.connection._tcb.quick_acks = 0
    assert taken(peer, peer.packet("A", payload=b"a", stamp=peer.stamp() + 1)) == 1
    peer.seq += 1
    assert taken(peer, peer.packet("A", payload=b"b", stamp=peer.stamp() + 2)) == 1
    (ack,) = peer.wait(0.04)
    assert ack.options.timestamps is not None
    assert ack.options.timestamps[1] == 1_000_001


@pytest.mark.parametrize(("size", "chunks"), [(255, 1), (256, 4)])
def test_small_segments_are_kept_joined(size: int, chunks: int) -> None:
    peer = established()
    assert taken(peer, *[peer.packet("A", seq=1 + size * n, payload=bytes(size)) for n in range(4)]) == 4
    assert len(peer.connection.read_chunks()) == chunks


def in_batches(peer: Peer, count: int, size: int) -> list[int]:
    """One batch of segments; what was acknowledged."""
    packets = []
    for _ in range(count):
        packets.append(peer.packet("A", payload=bytes(size)))
        peer.seq += size
    assert taken(peer, *packets) == count
    peer.connection.read()
    return [seen.ack for seen in peer.take()]


@pytest.mark.parametrize(("first", "more"), [(8, 32), (7, 33)], ids=["begins at 256 KiB", "begins one segment before"])
def test_in_the_first_256_kib_every_second_segment_is_acknowledged(first: int, more: int) -> None:
    peer = established()
    in_batches(peer, first, 1024)
    counts: list[int] = []
    while len(set(counts)) < 2:
        counts.append(len(in_batches(peer, 8, 1024)))
    assert counts == [4] * (more - 1) + [1]
    assert peer.seq > 256 * 1024


def test_an_odd_batch_ends_with_what_it_ends_with() -> None:
    peer = established()
    assert in_batches(peer, 1, 1024) == [1025]
    assert in_batches(peer, 2, 1024) == [3073]
    assert in_batches(peer, 3, 1024) == [5121, 6145]


def test_a_batch_makes_32_acknowledgements_and_the_last_at_most() -> None:
    peer = established()
    peer.connection._tcb.rcv_adv += 200_000  # as if the window were open already
    assert len(in_batches(peer, 65, 1024)) == 33
    assert len(in_batches(peer, 67, 1024)) == 33
    assert len(in_batches(peer, 63, 1024)) == 32


def answered(packets_of: Callable[[Peer], list[bytes]], **options: Any) -> tuple[Any, ...]:
    """The stack has sent 30 of 100 bytes, for lack of window; 50 ms later these packets come. What follows."""
    peer = Peer(scale=None, **options)
    peer.window = 30
    connection = peer.connect()
    connection.write(bytes(100), peer.now)
    assert [seen.size for seen in peer.take()] == [30]
    peer.clock.advance(0.05)
    peer.stack.receive([("peer", packets_of(peer))], peer.now, verified=True)
    sent, deadline = peer.take(), peer.stack.deadline()
    return connection.info(peer.now), sent, deadline, connection.read()


@BOTH
@pytest.mark.parametrize("stamps", [True, False])
def test_an_answer_acknowledges_as_by_the_long_way(v6: bool, stamps: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def play(way: str, stand_in: Any) -> tuple[Any, ...]:
        def packets(peer: Peer) -> list[bytes]:
            patch.setattr(arrive, way, stand_in)
            numbers = ((11, 1, 40), (11, 10, 40), (31, 19, 40), (31, 28, 50))
            return [
                peer.packet("PA", ack=ack, seq=seq, payload=b"x" * 9, window=window) for ack, seq, window in numbers
            ]

        with monkeypatch.context() as patch:
            return answered(packets, v6=v6, stamps=stamps)

    by_short = play("segment_arrives", None)  # it would raise if it were called
    assert by_short == play("take_run", lambda *_: 0)
    assert by_short[0].bytes_received == 36
    assert [seen.size for seen in by_short[1]] == [50]


@pytest.mark.parametrize(("ack", "takes"), [(0, 0), (1, 1), (31, 1), (32, 0), (HALF, 0)], ids=hex)
def test_it_acknowledges_nothing_but_what_was_sent(ack: int, takes: int) -> None:
    count: list[int] = []

    def packets(peer: Peer) -> list[bytes]:
        count.append(taken(peer, peer.packet("A", ack=ack, payload=b"x", window=31)))
        return []

    answered(packets)
    assert count == [takes]

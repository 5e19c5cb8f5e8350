from __future__ import annotations

import pytest

from netstack.limits import DATAGRAM_COST
from tests.edge.turns import Turns
from tests.interrupts import interrupted
from tests.netstack.pair import A4, B4, B6
from tsnet.edge.pipes import packets as module
from tsnet.edge.pipes import waiters
from tsnet.edge.pipes.packets import MAX_PAYLOAD, QUEUE_BYTES, PacketPipe
from tsnet.errors import DialRefused, NotUp

HERE, THERE = (str(A4), 1000), (str(B4), 53)


class Packets(Turns):
    """A pipe on each stack: a at port 1000, b at port 53."""

    def __init__(self, *, dialled: bool = False) -> None:
        super().__init__()
        self.pair.on_turn = self.service
        a, b = self.pair.a.open_udp(1000), self.pair.b.open_udp(53)
        if dialled:
            a.connect(B4, 53)
        self.a = PacketPipe(a, self, HERE, THERE if dialled else None)
        self.b = PacketPipe(b, self, THERE, None)
        self.owners |= {a: self.a, b: self.b}


def test_datagrams_keep_their_borders_and_name_their_sender() -> None:
    packets = Packets()
    for data in (b"one", b"", b"three"):
        assert packets.a.give(data, THERE)
    packets.settle()
    assert [packets.b.take() for _ in range(4)] == [(b"one", HERE), (b"", HERE), (b"three", HERE), None]
    packets.b.give(b"answer", HERE)
    packets.settle()
    assert packets.a.take() == (b"answer", THERE)


def test_the_largest_datagram() -> None:
    packets = Packets()
    data = bytes(range(256)) * 255 + bytes(MAX_PAYLOAD - 256 * 255)
    packets.a.give(data, THERE)
    packets.settle()
    assert packets.b.take() == (data, HERE)


def test_more_than_the_stack_takes_at_once_goes_out_all_the_same() -> None:
    packets = Packets()
    for number in range(16):
        assert packets.a.give(number.to_bytes(1, "big") * 60_000, THERE)
    received = []
    for _ in range(20):
        packets.settle(0.02)
        while (datagram := packets.b.take()) is not None:
            received.append(datagram[0][0])
    assert packets.a._given == packets.a._taken
    assert received == sorted(received)  # the receiver's queue may drop, the sender's does not
    assert len(received) >= 4


def test_a_full_outbox_says_so_and_when_there_is_room() -> None:
    packets = Packets()
    while packets.a.give(bytes(60_000), THERE):
        pass
    assert packets.a._given <= QUEUE_BYTES
    assert packets.a.when_writable(packets.wake("writer"))
    packets.settle()
    assert packets.woken == ["writer"]
    assert not packets.a.when_writable(packets.wake("needless"))


def test_empty_datagrams_are_bounded_too() -> None:
    packets = Packets()
    most = QUEUE_BYTES // DATAGRAM_COST
    arrived = 0
    for _ in range(3):
        given = 0
        while given < 2 * most and packets.a.give(b"", THERE):
            given += 1
        assert given <= most
        arrived += given
        packets.settle()
    assert len(packets.b._inbox) <= most < arrived
    while packets.b.take() is not None:
        packets.settle(0.0)
    packets.a.give(b"after them", THERE)
    packets.settle()
    assert packets.b.take() == (b"after them", HERE)


def test_with_a_full_inbox_datagrams_wait_in_the_endpoint_which_drops_the_newest() -> None:
    packets = Packets()
    for number in range(60):
        packets.a.give(number.to_bytes(1, "big") * 30_000, THERE)
        packets.settle(0.02)
    assert packets.b.endpoint.dropped > 0
    kept = 60 - packets.b.endpoint.dropped
    received = []
    for _ in range(60):
        datagram = packets.b.take()
        packets.settle(0.02)
        if datagram is not None:
            received.append(datagram[0][0])
    assert received == list(range(kept))
    packets.a.give(b"again", THERE)
    packets.settle(0.1)
    assert packets.b.take() == (b"again", HERE)


def test_a_reader_is_woken() -> None:
    packets = Packets()
    assert packets.b.when_readable(packets.wake("reader"))
    packets.a.give(b"x", THERE)
    packets.settle()
    assert packets.woken == ["reader"]
    assert not packets.b.when_readable(packets.wake("needless"))


def test_a_family_that_we_have_no_address_of_is_as_lost_as_on_any_network() -> None:
    packets = Packets()
    packets.pair.a.set_addresses([A4], packets.pair.now)
    packets.a.give(b"lost", (str(B6), 53))
    packets.a.give(b"kept", THERE)
    packets.settle()
    assert packets.a.dropped == 1
    assert packets.b.take() == (b"kept", HERE)


def test_a_dialled_port_where_nobody_listens_is_an_error_once() -> None:
    packets = Packets(dialled=True)
    packets.b.close()
    packets.settle()
    packets.a.give(b"anyone?", THERE)
    assert packets.a.when_readable(packets.wake("reader"))
    packets.settle()
    assert packets.woken == ["reader"]
    with pytest.raises(DialRefused, match="nothing listens"):
        packets.a.take()
    assert packets.a.take() is None
    assert packets.a.give(b"again", THERE)


def test_close_sends_what_was_given_and_frees_the_port() -> None:
    packets = Packets()
    packets.a.give(b"parting", THERE)
    packets.a.when_readable(packets.wake("reader"))
    packets.a.close()
    assert packets.woken == ["reader"]
    packets.settle()
    assert packets.b.take() == (b"parting", HERE)
    assert packets.a.endpoint not in packets.owners
    packets.pair.a.open_udp(1000)


@pytest.mark.parametrize("end", ["end", "fail"])
def test_once_the_node_is_gone_every_use_says_so_every_time(end: str) -> None:
    packets = Packets()
    packets.a.when_readable(packets.wake("reader"))
    argument: object = packets.pair.now if end == "end" else NotUp("gone")
    getattr(packets.a, end)(argument)
    assert packets.woken == ["reader"]
    for _ in range(3):
        with pytest.raises(NotUp):
            packets.a.take()
        with pytest.raises(NotUp):
            packets.a.give(b"x", THERE)
    assert packets.a.error is not None
    assert packets.a.error.__traceback__ is None  # what was raised were copies: it would keep the callers' frames


def test_in_a_forked_child_nobody_is_woken() -> None:
    packets = Packets()
    packets.a.when_readable(packets.wake("reader"))
    packets.a.orphan(NotUp("the parent's"))
    assert packets.woken == []
    with pytest.raises(NotUp):
        packets.a.take()


def test_a_bridge_is_called_when_something_came() -> None:
    packets, calls = Packets(), []
    packets.b.direct = lambda: calls.append(packets.b.take())
    packets.a.give(b"x", THERE)
    packets.settle()
    assert calls == [(b"x", HERE)]


# --- interrupts -------------------------------------------------------------------------------------------------


def test_an_interrupted_take_loses_at_most_the_one_that_it_took_and_counts_it() -> None:
    def received() -> Packets:
        packets = Packets()
        packets.b.give(b"one", HERE)
        packets.b.give(b"two", HERE)
        packets.settle()
        return packets

    for packets in interrupted(received, lambda packets: packets.a.take(), module):
        left = []
        while (datagram := packets.a.take()) is not None:
            left.append(datagram[0])
        assert left in ([b"one", b"two"], [b"two"])
        assert packets.a._produced == packets.a._consumed


def test_an_interrupted_give_gives_all_or_nothing_and_is_heard() -> None:
    for packets in interrupted(Packets, lambda packets: packets.a.give(b"hello", THERE), module, waiters):
        assert packets.a in packets.scheduled or not packets.a._outbox
        packets.settle()
        assert packets.b.take() in (None, (b"hello", HERE))
        assert packets.a.has_room
        assert packets.a.give(bytes(MAX_PAYLOAD), THERE)
        assert packets.a._given - packets.a._taken == MAX_PAYLOAD + DATAGRAM_COST


def test_an_interrupted_close_frees_the_port() -> None:
    for moment, packets in enumerate(interrupted(Packets, lambda packets: packets.a.close(), module, waiters)):
        if moment == 0:  # it had not begun: a second call does it
            packets.a.close()
        packets.settle()
        packets.pair.a.open_udp(1000)


# --- bridges ----------------------------------------------------------------------------------------------------


def test_a_bridge_hands_over_what_its_application_sent_before_it_closed() -> None:
    packets = Packets()

    def hand_over() -> None:
        packets.a.give(b"last words", THERE)

    packets.a.direct = hand_over
    packets.a.close()
    packets.settle()
    assert packets.b.take() == (b"last words", HERE)
    packets.pair.a.open_udp(1000)


def test_a_node_that_closes_takes_what_a_bridge_holds_and_one_that_fails_calls_it() -> None:
    packets, errors = Packets(), []
    packets.a.direct = lambda: errors.append(packets.a.error)
    packets.a.end(packets.pair.now)
    assert errors[0] is None
    assert isinstance(errors[1], NotUp)

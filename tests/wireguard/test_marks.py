"""No initiation leaves that is stamped above the saved mark; stamps follow the wall clock, and never go back."""

from __future__ import annotations

import pytest

from tests.wireguard.pair import UNIX_TIME, Pair, entropy, flood, private_key
from tsnet.base.crypto import node_public
from tsnet.base.keys import NodeKey
from tsnet.wireguard.constants import UNDER_LOAD_HANDSHAKES
from tsnet.wireguard.device import Device
from tsnet.wireguard.facts import MarkMoved
from tsnet.wireguard.tai64n import encode

DATA = b"data".ljust(16, b"\0")


@pytest.fixture
def pair() -> Pair:
    return Pair()


# --- the mark -----------------------------------------------------------------------------------------------------


def test_a_restart_with_its_mark_is_accepted_under_a_clock_that_went_back(pair: Pair) -> None:
    pair.establish()
    for timestamp_mark, accepted in ((None, False), (UNIX_TIME + 600, True)):
        reborn = Device(
            private_key(2),
            entropy=entropy(7),
            wall_offset=UNIX_TIME - pair.now - 3600,
            timestamp_mark=timestamp_mark,
        )
        reborn.add_peer(pair.b.key)
        reborn.send([(pair.b.key, [DATA])], pair.now + 1)
        assert reborn.transmit(pair.now + 1, 10_000) == []
        (moved,) = reborn.take_facts()
        assert isinstance(moved, MarkMoved)
        reborn.mark_saved(moved.timestamp_mark)
        ((_, datagrams),) = reborn.transmit(pair.now + 1, 10_000)
        pair.b.device.receive([(pair.a.address, datagrams)], pair.now + 1)
        assert bool(pair.b.device.transmit(pair.now + 1, 10_000)) is accepted


def marks(pair: Pair) -> list[float]:
    """Those that a has asked for, since the start of the test."""
    return [fact.timestamp_mark for fact in pair.a.facts if isinstance(fact, MarkMoved)]


def test_no_initiation_leaves_before_its_mark_is_saved(pair: Pair) -> None:
    pair.a.saves_marks = False
    start = pair.now
    pair.send(pair.a, DATA)
    assert pair.log == []
    assert marks(pair) == [UNIX_TIME + 600]
    pair.run(start + 1)
    assert pair.log == []
    pair.a.device.mark_saved(UNIX_TIME + 600)
    assert pair.a.device.deadline() <= pair.now
    pair.run(pair.now + 0.1)
    assert pair.times(pair.a, "initiation") == [start + 1]
    assert pair.b.received == [DATA]


def test_a_mark_that_is_not_saved_is_asked_for_again_until_nobody_wants_the_session(pair: Pair) -> None:
    """And nothing is due in between: `Pair.turn` would not end."""
    pair.a.saves_marks = False
    start = pair.now
    pair.send(pair.a, DATA)
    pair.run(start + 300)
    assert pair.log == []
    assert marks(pair) == [UNIX_TIME + 600] * 18  # every five seconds, up to REKEY_ATTEMPT_TIME
    assert pair.a.device.dropped == {"no answer": 1}
    assert "retransmit_at" not in pair.a.device.why()
    pair.a.saves_marks = True
    pair.send(pair.a, DATA)
    pair.run(pair.now + 0.1)
    assert pair.b.received == [DATA]


def test_many_that_wait_for_a_mark_ask_for_it_once_and_go_together(pair: Pair) -> None:
    pair.a.saves_marks = False
    others = [NodeKey(node_public(private_key(seed))) for seed in range(10, 20)]
    pair.a.device.set_peers([pair.b.key, *others])
    pair.a.device.send([(key, [DATA]) for key in (pair.b.key, *others)], pair.now)
    pair.turn(pair.a)
    assert marks(pair) == [UNIX_TIME + 600]
    pair.a.device.mark_saved(UNIX_TIME + 600)
    pair.turn(pair.a)
    assert pair.kinds() == ["a initiation"] * 11


def test_what_needs_no_stamp_goes_on_while_a_mark_is_saved(pair: Pair) -> None:
    pair.establish()
    pair.run(pair.now + 121)
    pair.a.saves_marks = False
    pair.a.device.set_wall_offset(UNIX_TIME, pair.now)  # so far ahead that the rekey needs a new mark
    pair.log.clear()
    pair.send(pair.a, DATA)
    assert len(marks(pair)) == 1
    pair.send(pair.b, DATA)
    pair.run(pair.now + 1)
    assert pair.kinds(pair.a) == ["transport"]
    assert pair.b.received == pair.a.received == [DATA]
    pair.b.device.suspended(pair.now)
    pair.send(pair.b, DATA)
    pair.run(pair.now + 1)
    assert pair.kinds(pair.a) == ["transport", "response"]
    assert pair.a.received == [DATA, DATA]
    flood(pair, UNDER_LOAD_HANDSHAKES + 5, receiver=pair.a)
    pair.turn(pair.a)
    assert pair.kinds(pair.a)[2:] == ["cookie"] * 5


def test_the_peers_handshake_makes_one_that_waits_for_its_mark_needless(pair: Pair) -> None:
    pair.a.saves_marks = False
    pair.send(pair.a, DATA)
    pair.send(pair.b, DATA)
    pair.run(pair.now + 1)
    assert pair.b.received == pair.a.received == [DATA]
    pair.a.device.mark_saved(UNIX_TIME + 600)
    pair.run(pair.now + 30)
    assert "initiation" not in pair.kinds(pair.a)


def test_an_answer_to_an_earlier_initiation_counts_while_the_retry_waits_for_its_mark(pair: Pair) -> None:
    pair.drop = lambda sender, datagram: True
    pair.send(pair.a, DATA)
    pair.run(pair.now + 1)
    first = pair.sent(pair.a, "initiation")
    pair.a.saves_marks = False
    pair.a.device.set_wall_offset(UNIX_TIME, pair.now)
    pair.run(pair.now + 1)
    assert pair.sent(pair.a, "initiation") == first
    pair.drop = lambda sender, datagram: False
    pair.inject(pair.b, pair.a.address, first[-1])
    pair.run(pair.now + 0.1)
    assert pair.b.received == [DATA]


# --- the wall clock ---------------------------------------------------------------------------------------------


def stamp_of(pair: Pair) -> bytes:
    """The time stamp that a's last initiation carries, as b has read it."""
    return pair.b.device._peers[pair.a.key].latest_timestamp


def again(pair: Pair, now: float) -> None:
    """A new handshake of a."""
    pair.a.device.suspended(now)
    pair.send(pair.a, DATA)
    pair.run(now + 0.1)


def test_stamps_follow_the_wall_clock_when_it_is_set_forward(pair: Pair) -> None:
    pair.establish()
    pair.run(pair.now + 10)
    pair.a.device.set_wall_offset(UNIX_TIME + 3600 - pair.now, pair.now)
    again(pair, pair.now)
    assert stamp_of(pair) == encode((int(UNIX_TIME) + 3600) * 1_000_000_000)
    assert marks(pair) == [UNIX_TIME + 4200]


def test_stamps_never_go_back_when_the_wall_clock_does(pair: Pair) -> None:
    pair.establish()
    before = stamp_of(pair)
    pair.run(pair.now + 10)
    pair.a.device.set_wall_offset(0.0, pair.now)
    again(pair, pair.now)
    assert before < stamp_of(pair) < encode((int(UNIX_TIME) + 1) * 1_000_000_000)
    assert pair.b.received == [DATA]
    assert marks(pair) == []


def test_a_clock_set_right_releases_what_a_wrong_one_has_made_wait(pair: Pair) -> None:
    """The mark of the wrong clock is never saved; the right one needs none."""
    pair.establish()
    pair.a.saves_marks = False
    pair.a.device.set_wall_offset(UNIX_TIME + 86_400, pair.now)
    again(pair, pair.now)
    assert pair.b.received == []
    pair.a.device.set_wall_offset(UNIX_TIME - 1000, pair.now)
    assert pair.a.device.deadline() <= pair.now
    pair.run(pair.now + 0.1)
    assert pair.b.received == [DATA]

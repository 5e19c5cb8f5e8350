from __future__ import annotations

import math

import pytest

from tsnet.base.links import Link
from tsnet.base.malformed import MalformedError
from tsnet.control.client.mappoll import BYTES_A_TURN, COMPUTE_ABOVE, MESSAGES_A_TURN, WATCHDOG, MapPoll
from tsnet.control.mapframes import encode_frame
from tsnet.control.messages import MapResponse
from tsnet.netmap.merge import MapUpdate
from tsnet.netmap.model import UserProfile

LINK = Link("control", "map", 1)
SMALL = MapResponse(MapUpdate(domain="d"))
LARGE = MapResponse(
    MapUpdate(users=tuple(UserProfile(number, "u" * 1000) for number in range(1, COMPUTE_ABOVE // 1000)))
)


def frame(response: MapResponse, *, compress: bool = True) -> bytes:
    return encode_frame(response.encode(), compress=compress)


def decoded_alone(response: MapResponse) -> bytes:
    return frame(response)[4:]


def test_messages_in_order_from_any_pieces() -> None:
    poll = MapPoll(1, LINK, 0.0)
    wire = frame(SMALL) + frame(MapResponse(keep_alive=True))
    found = [one for index in range(len(wire)) for one in poll.receive(wire[index : index + 1], 1.0)]
    assert found == [SMALL, MapResponse(keep_alive=True)]
    assert poll.effects == []


def test_every_piece_arms_the_watchdog() -> None:
    poll = MapPoll(1, LINK, 5.0)
    assert poll.watchdog_at == 5.0 + WATCHDOG
    poll.receive(frame(SMALL)[:3], 50.0)
    assert poll.watchdog_at == 50.0 + WATCHDOG


@pytest.mark.parametrize("compress", [True, False])
def test_a_large_message_is_computed_and_others_wait(compress: bool) -> None:
    poll = MapPoll(1, LINK, 0.0)
    assert poll.receive(frame(SMALL) + frame(LARGE, compress=compress) + frame(SMALL), 1.0) == [SMALL]
    (effect,) = poll.effects
    assert effect.link == LINK
    assert poll.watchdog_at == math.inf
    assert poll.receive(frame(SMALL), 2.0) == []
    assert poll.computed(effect.run(), 3.0) == [LARGE, SMALL, SMALL]
    assert poll.watchdog_at == 3.0 + WATCHDOG


def test_two_large_messages_are_computed_one_after_the_other() -> None:
    poll = MapPoll(1, LINK, 0.0)
    poll.receive(frame(LARGE) + frame(LARGE), 1.0)
    assert len(poll.effects) == 1
    assert poll.computed(LARGE, 2.0) == [LARGE]
    assert len(poll.effects) == 2


def test_an_exception_computed_is_malformed() -> None:
    poll = MapPoll(1, LINK, 0.0)
    poll.receive(frame(LARGE), 1.0)
    with pytest.raises(MalformedError, match="too deep"):
        poll.computed(ValueError("too deep"), 2.0)


@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff", b"\x02\0\0\0[]", b"\0\0\0\0", b"\x04\0\0\0\x28\xb5\x2f\xfd"])
def test_bad_messages_are_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError):
        MapPoll(1, LINK, 0.0).receive(data, 1.0)


def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tsnet.control.client.mappoll.MAX_MESSAGE", 1000)
    poll = MapPoll(1, LINK, 0.0)
    poll.receive(frame(LARGE), 1.0)
    size = len(decoded_alone(SMALL))
    assert poll.receive(frame(SMALL) * (1000 // size), 1.0) == []
    with pytest.raises(MalformedError, match="faster"):
        poll.receive(frame(SMALL), 1.0)


def test_small_messages_are_decoded_some_at_a_time() -> None:
    poll = MapPoll(1, Link("control", "map", 1), 0.0)
    assert len(poll.receive(encode_frame(b"{}", compress=False) * (2 * MESSAGES_A_TURN + 1), 0.0)) == MESSAGES_A_TURN
    assert poll.has_more
    assert len(poll.go_on()) == MESSAGES_A_TURN
    assert len(poll.go_on()) == 1
    assert not poll.has_more


@pytest.mark.parametrize("compress", [False, True])
def test_of_larger_ones_fewer_are_decoded_at_once(compress: bool) -> None:
    """Large is what they are when they are unpacked."""
    poll = MapPoll(1, Link("control", "map", 1), 0.0)
    message = encode_frame(b'{"Domain":"%s"}' % (b"x" * (BYTES_A_TURN // 2)), compress=compress)
    assert len(poll.receive(message * 5, 0.0)) == 2
    assert len(poll.go_on()) == 2
    assert len(poll.go_on()) == 1


def test_pieces_that_come_in_one_turn_share_what_is_decoded_in_it() -> None:
    poll = MapPoll(1, LINK, 0.0)
    message = encode_frame(b'{"Domain":"%s"}' % (b"x" * (BYTES_A_TURN // 2)), compress=True)
    assert [len(poll.receive(message, 0.0)) for _ in range(4)] == [1, 1, 0, 0]
    assert poll.has_more
    assert len(poll.go_on()) == 2


def test_what_came_before_arms_no_watchdog() -> None:
    poll = MapPoll(1, LINK, 0.0)
    poll.receive(frame(SMALL) * (MESSAGES_A_TURN + 1), 5.0)
    poll.go_on()
    assert poll.watchdog_at == 5.0 + WATCHDOG

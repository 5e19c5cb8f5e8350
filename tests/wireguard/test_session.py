"""Sealing and opening runs: golden bytes, padding, every wrong datagram, and the limits."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from tests.wireguard import vectors
from tsnet.wireguard.constants import REJECT_AFTER_MESSAGES, REKEY_AFTER_MESSAGES
from tsnet.wireguard.handshake import Keys
from tsnet.wireguard.session import Session

MTU = 1280


def sessions(now: float = 0.0) -> tuple[Session, Session]:
    """The initiator's, the responder's."""
    there, back = vectors.INITIATOR_TO_RESPONDER, vectors.RESPONDER_TO_INITIATOR
    ours, theirs = vectors.INITIATOR_INDEX, vectors.RESPONDER_INDEX
    return (
        Session(Keys(there, back), local_index=ours, remote_index=theirs, is_initiator=True, now=now),
        Session(Keys(back, there), local_index=theirs, remote_index=ours, is_initiator=False, now=now),
    )


def state(session: Session) -> tuple[int, int, int]:
    return session.send_counter, session.replay.highest, session.replay.seen


def test_the_computed_keepalive_both_ways() -> None:
    initiator, responder = sessions()
    dropped: Counter[str] = Counter()
    assert initiator.seal_run([b""], MTU) == [vectors.KEEPALIVE]
    assert responder.open_run([vectors.KEEPALIVE], dropped) == [b""]
    assert not dropped


def test_a_run_goes_through_in_order_with_counters_that_follow() -> None:
    initiator, responder = sessions()
    packets = [random.Random(n).randbytes(MTU) for n in range(49)]
    sealed = initiator.seal_run(packets, MTU)
    assert [int.from_bytes(datagram[8:16], "little") for datagram in sealed] == list(range(49))
    assert {len(datagram) for datagram in sealed} == {MTU + 32}
    dropped: Counter[str] = Counter()
    assert responder.open_run(sealed, dropped) == packets
    assert responder.open_run(initiator.seal_run(packets, MTU), dropped) == packets
    assert not dropped


@pytest.mark.parametrize("size", [1, 15, 16, 17, 32, 1263, 1264, 1265, 1272, 1273, 1279, 1280, 1281, 1500])
def test_padding_is_zeros_to_sixteen_but_never_past_the_mtu(size: int) -> None:
    initiator, responder = sessions()
    packet = b"\xff" * size
    (opened,) = responder.open_run(initiator.seal_run([packet], MTU), Counter())
    assert opened == packet.ljust(len(opened), b"\0")
    assert len(opened) == (size if size >= MTU else min((size + 15) // 16 * 16, MTU))


def test_padding_keeps_a_run_a_run() -> None:
    initiator, _ = sessions()
    for mtu in (1280, 1279, 1275):
        lengths = [len(d) for d in initiator.seal_run([b"x" * 1275] * 5 + [b"x" * 3], mtu)]
        assert len(set(lengths[:-1])) == 1
        assert lengths[-1] <= lengths[0]


@pytest.mark.parametrize("length", range(48))
def test_a_truncated_datagram_changes_nothing(length: int) -> None:
    initiator, responder = sessions()
    (sealed,) = initiator.seal_run([b"x" * 16], MTU)
    dropped: Counter[str] = Counter()
    before = state(responder)
    assert responder.open_run([sealed[:length]], dropped) == []
    assert state(responder) == before
    assert dropped == {"forged": 1}


@pytest.mark.parametrize("place", range(8, 48))
def test_a_flipped_bit_changes_nothing(place: int) -> None:
    initiator, responder = sessions()
    (sealed,) = initiator.seal_run([b"x" * 16], MTU)
    broken = bytearray(sealed)
    broken[place] ^= 1 << place % 8
    dropped: Counter[str] = Counter()
    before = state(responder)
    assert responder.open_run([bytes(broken)], dropped) == []
    assert state(responder) == before
    assert dropped == {"forged": 1}


def test_one_bad_datagram_costs_only_itself() -> None:
    initiator, responder = sessions()
    packets = [bytes([n]) * 32 for n in range(5)]
    sealed = initiator.seal_run(packets, MTU)
    sealed[2] = sealed[2][:-1] + bytes([sealed[2][-1] ^ 1])
    dropped: Counter[str] = Counter()
    assert responder.open_run(sealed, dropped) == packets[:2] + packets[3:]
    assert dropped == {"forged": 1}


def test_replays_are_dropped_within_a_run_and_across() -> None:
    initiator, responder = sessions()
    packets = [bytes([n]) * 16 for n in range(3)]
    first, second, third = initiator.seal_run(packets, MTU)
    dropped: Counter[str] = Counter()
    assert responder.open_run([first, third, first], dropped) == [packets[0], packets[2]]
    assert responder.open_run([third, second], dropped) == [packets[1]]
    assert dropped == {"replayed": 2}


def test_a_forged_counter_does_not_move_the_window() -> None:
    initiator, responder = sessions()
    (sealed,) = initiator.seal_run([b"x"], MTU)
    far = sealed[:8] + (2**60).to_bytes(8, "little") + sealed[16:]
    assert responder.open_run([far], Counter()) == []
    assert len(responder.open_run([sealed], Counter())) == 1


def test_the_other_direction_has_another_key() -> None:
    initiator, _ = sessions()
    assert initiator.open_run(initiator.seal_run([b"mirror"], MTU), Counter()) == []


def test_the_message_limit() -> None:
    session, _ = sessions()
    session.send_counter = REJECT_AFTER_MESSAGES - 49
    assert session.can_send(49, 1.0)
    assert not session.can_send(50, 1.0)


def test_rekey_after_messages_concerns_both_roles() -> None:
    for session in sessions():
        session.send_counter = REKEY_AFTER_MESSAGES
        assert not session.is_stale(1.0)
        session.send_counter += 1
        assert session.is_stale(1.0)


def test_rekey_after_time_concerns_the_initiator() -> None:
    initiator, responder = sessions(now=1000.0)
    assert not initiator.is_stale(1119.9)
    assert initiator.is_stale(1120.0)
    assert not responder.is_stale(1179.0)


def test_the_last_minute_comes_once_and_to_the_initiator() -> None:
    initiator, responder = sessions(now=1000.0)
    assert not initiator.is_in_last_minute(1164.9)
    assert initiator.is_in_last_minute(1165.0)
    assert not responder.is_in_last_minute(1170.0)
    initiator.renewed = True
    assert not initiator.is_in_last_minute(1170.0)


def test_reject_after_time_and_stop_sending() -> None:
    session, _ = sessions(now=1000.0)
    assert session.can_send(1, 1179.9)
    assert not session.can_send(1, 1180.0)
    session.stop_sending()
    assert not session.can_send(1, 1000.0)
    assert session.expires_at == 1180.0

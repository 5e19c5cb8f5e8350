"""Binding: what a relay is told and when, the one challenge that counts, and how long it may take."""

from __future__ import annotations

import math
from typing import Any

import attrs
import pytest

from tsnet.base.addresses import PeerRelayAddress, UdpAddress
from tsnet.base.keys import DiscoKey
from tsnet.disco.binding import Binding, is_sound
from tsnet.disco.constants import BIND_RETRIES, MAX_BIND_LIFETIME, MAX_BIND_PINGS
from tsnet.disco.geneve import MAX_VNI
from tsnet.disco.messages import (
    BindUDPRelayEndpoint,
    BindUDPRelayEndpointAnswer,
    BindUDPRelayEndpointChallenge,
    UDPRelayEndpoint,
)

OURS, THEIRS, SERVER = (DiscoKey(bytes([number]) * 32) for number in (1, 2, 3))
NEAR, FAR = UdpAddress("192.0.2.9", 7), UdpAddress("198.51.100.9", 7)
SECOND = 1_000_000_000
RELAY = UDPRelayEndpoint(SERVER, (OURS, THEIRS), 1, 5, 20 * SECOND, 300 * SECOND, (NEAR, FAR))
CHALLENGE = BindUDPRelayEndpointChallenge(5, 77, THEIRS, b"c" * 32)


def binding(now: float = 0.0, relay: UDPRelayEndpoint = RELAY) -> Binding:
    return Binding(b"p" * 32, THEIRS, relay, (NEAR, FAR), 77, now)


def test_every_address_is_asked_and_again_until_one_challenges_us() -> None:
    bound, now = binding(), 0.0
    bind = BindUDPRelayEndpoint(5, 77, THEIRS)
    for pause in (*BIND_RETRIES, math.inf):
        assert bound.messages(now) == [(NEAR, bind), (FAR, bind)]
        assert bound.next_at == now + pause
        now += pause
    assert bound.deadline() == bound.ends_at == 20.0


def test_the_first_challenge_is_answered_to_where_it_came_from_and_again() -> None:
    bound = binding()
    bound.messages(0.0)
    assert bound.challenged(FAR, CHALLENGE, 0.1)
    assert (bound.address, bound.deadline()) == (PeerRelayAddress(*FAR, 5), 0.1)
    answer = BindUDPRelayEndpointAnswer(5, 77, THEIRS, b"c" * 32)
    assert bound.messages(0.1) == [(FAR, answer)]
    assert bound.next_at == 0.1 + BIND_RETRIES[0]
    assert bound.messages(0.6) == [(FAR, answer)]
    assert not bound.challenged(NEAR, CHALLENGE, 0.7)
    assert bound.address == PeerRelayAddress(*FAR, 5)


@pytest.mark.parametrize("field", ["vni", "generation", "remote_key"])
def test_a_challenge_of_something_else_changes_nothing(field: str) -> None:
    bound = binding()
    bound.messages(0.0)
    changed: Any = {field: SERVER if field == "remote_key" else 6}
    other = attrs.evolve(CHALLENGE, **changed)
    assert not bound.challenged(NEAR, other, 0.1)
    assert (bound.address, bound.next_at) == (None, BIND_RETRIES[0])


def test_a_pong_tells_how_long_it_took_and_a_strange_one_nothing() -> None:
    bound = binding()
    bound.pinged(b"one", 1.0)
    assert bound.ponged(b"one", 1.25) == 0.25
    assert bound.ponged(b"other", 1.25) is None


def test_pings_are_bounded() -> None:
    bound = binding()
    for number in range(MAX_BIND_PINGS):
        assert bound.may_ping
        bound.pinged(bytes([number]), 0.0)
    assert not bound.may_ping


@pytest.mark.parametrize(("lifetime", "ends"), [(20 * SECOND, 120.0), (1 << 62, 100 + MAX_BIND_LIFETIME), (1, 100.0)])
def test_it_lasts_as_long_as_the_relay_says_and_no_longer_than_we_wait(lifetime: int, ends: float) -> None:
    assert binding(100.0, attrs.evolve(RELAY, bind_lifetime_ns=lifetime)).ends_at == pytest.approx(ends)


@pytest.mark.parametrize(
    ("changed", "sound"),
    [
        ({}, True),
        ({"vni": 0}, False),
        ({"vni": MAX_VNI}, True),
        ({"vni": MAX_VNI + 1}, False),
        ({"bind_lifetime_ns": 0}, False),
        ({"bind_lifetime_ns": -1}, False),
        ({"steady_state_lifetime_ns": -(1 << 63)}, False),
        ({"lamport_id": (1 << 64) - 1}, True),
    ],
)
def test_absurd_numbers_are_no_session(changed: Any, sound: bool) -> None:
    assert is_sound(attrs.evolve(RELAY, **changed)) is sound

"""Allocations: who was asked for what, once more, in vain; and the only answer that counts."""

from __future__ import annotations

import math
from typing import Any

import attrs
import pytest

from tsnet.base.addresses import UdpAddress
from tsnet.base.keys import DiscoKey
from tsnet.disco import allocations
from tsnet.disco.allocations import Allocation, Allocations
from tsnet.disco.constants import ALLOCATION_TIMEOUT, ASK_RELAY_AGAIN
from tsnet.disco.messages import AllocateUDPRelayEndpointResponse, UDPRelayEndpoint

ONE, OTHER, THIRD = (DiscoKey(bytes([number]) * 32) for number in (1, 2, 3))
SERVER, PEER = b"s" * 32, b"p" * 32
ENDPOINT = UDPRelayEndpoint(THIRD, (ONE, OTHER), 1, 5, 30, 300, (UdpAddress("192.0.2.9", 7),))


def begin(all_: Allocations, now: float = 0.0, *, server: bytes = SERVER, peer: bytes = PEER) -> Allocation:
    begun = all_.begin(server, peer, (ONE, OTHER), now)
    assert begun is not None
    return begun


def response(begun: Allocation, **more: Any) -> AllocateUDPRelayEndpointResponse:
    return AllocateUDPRelayEndpointResponse(begun.request.generation, attrs.evolve(ENDPOINT, **more))


def test_the_answer_says_which_peer_it_is_for_and_counts_once() -> None:
    all_ = Allocations()
    begun = begin(all_)
    assert all_.answered(SERVER, response(begun)) == PEER
    assert all_.answered(SERVER, response(begun)) is None
    assert (len(all_), all_.deadline()) == (0, math.inf)


def test_the_order_of_the_clients_does_not_matter() -> None:
    all_ = Allocations()
    assert all_.answered(SERVER, response(begin(all_), client_keys=(OTHER, ONE))) == PEER


def test_no_other_node_other_generation_or_other_client_is_believed() -> None:
    all_ = Allocations()
    begun = begin(all_)
    assert all_.answered(b"x" * 32, response(begun)) is None
    assert all_.answered(SERVER, response(begun, client_keys=(ONE, THIRD))) is None
    assert all_.answered(SERVER, AllocateUDPRelayEndpointResponse(begun.request.generation + 1, ENDPOINT)) is None
    assert len(all_) == 1


def test_it_is_asked_once_more_and_then_given_up() -> None:
    all_ = Allocations()
    begun = begin(all_, 100.0)
    assert all_.deadline() == 100.0 + ASK_RELAY_AGAIN
    assert all_.run(100.0 + ASK_RELAY_AGAIN) == [begun]
    assert all_.deadline() == 100.0 + ALLOCATION_TIMEOUT
    assert all_.run(100.0 + ALLOCATION_TIMEOUT) == []
    assert (len(all_), all_.deadline()) == (0, math.inf)
    assert all_.answered(SERVER, response(begun)) is None


def test_what_is_asked_already_is_not_asked_again_and_generations_differ() -> None:
    all_ = Allocations()
    first = begin(all_)
    assert all_.begin(SERVER, PEER, (ONE, OTHER), 1.0) is None
    second = begin(all_, server=b"t" * 32)
    assert first.request.generation != second.request.generation
    assert list(all_) == [first, second]


def test_a_peer_is_forgotten_or_all_are() -> None:
    all_ = Allocations()
    begin(all_)
    kept = all_.begin(SERVER, b"q" * 32, (ONE, THIRD), 0.0)
    all_.forget(PEER)
    assert list(all_) == [kept]
    all_.forget()
    assert (len(all_), all_.deadline()) == (0, math.inf)


def test_no_more_wait_than_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocations, "MAX_ALLOCATIONS", 2)
    all_ = Allocations()
    begin(all_)
    begin(all_, server=b"t" * 32)
    assert all_.begin(b"u" * 32, PEER, (ONE, OTHER), 0.0) is None

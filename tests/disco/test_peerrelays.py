"""PeerRelays: who is asked for sessions, which handshakes are begun, and the bounds of one and of all."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest

from tests.disco.relaykit import OURS, PEER, SERVER, Kit, disco, node
from tsnet.base.addresses import PeerRelayAddress, UdpAddress
from tsnet.base.crypto import disco_public
from tsnet.disco import allocations, geneve
from tsnet.disco.box import Box
from tsnet.disco.constants import (
    ALLOCATION_TIMEOUT,
    MAX_BINDINGS,
    MAX_DIRECT,
    MAX_RELAY_ADDRESSES,
    MAX_RELAYS,
)
from tsnet.disco.messages import (
    AllocateUDPRelayEndpointRequest,
    AllocateUDPRelayEndpointResponse,
    CallMeMaybeVia,
    Ping,
    decode,
)
from tsnet.disco.peerrelays import RELAY_CAPABLE

# --- who is asked -------------------------------------------------------------------------------------------------


def test_every_relay_is_asked_for_a_session_with_the_peer() -> None:
    kit = Kit().granted(SERVER, b"t" * 32)
    kit.relays.sent(PEER.raw_key, PEER, 10.0)
    assert kit.relays.deadline() == 10.0
    kit.relays.run(10.0)
    letters = kit.letters()
    assert [server for server, _request in letters] == [SERVER, b"t" * 32]
    assert all(isinstance(request, AllocateUDPRelayEndpointRequest) for _server, request in letters)
    keys = letters[0][1].client_keys
    assert keys == tuple(sorted(keys))
    assert set(keys) == {kit.box.public_key, PEER.disco_key}


def test_no_more_relays_than_a_limit_are_asked() -> None:
    kit = Kit().granted(*(bytes([number]) * 32 for number in range(200)))
    kit.relays.sent(PEER.raw_key, PEER, 10.0)
    kit.relays.run(10.0)
    assert len(kit.letters()) == MAX_RELAYS


@pytest.mark.parametrize(
    "more", [{"capability_version": RELAY_CAPABLE - 1}, {"is_wireguard_only": True}, {"disco_key": None}]
)
def test_who_cannot_be_relayed(more: dict[str, Any]) -> None:
    peer = node(2, **more)
    kit = Kit(peer).granted()
    kit.relays.sent(peer.raw_key, peer, 10.0)
    assert (len(kit.relays), kit.relays.deadline()) == (0, math.inf)


def test_without_a_relay_a_peer_costs_nothing_until_it_calls() -> None:
    kit = Kit()
    kit.relays.sent(PEER.raw_key, PEER, 10.0)
    kit.relays.called(PEER.raw_key, 10.0)
    assert (len(kit.relays), kit.relays.deadline()) == (0, math.inf)
    assert kit.called() is None
    assert len(kit.relays) == 1


def test_the_table_of_peers_is_bounded_and_one_that_is_sent_to_is_not_displaced() -> None:
    peers = [node(number) for number in range(2, MAX_DIRECT + 12)]
    kit = Kit(*peers).granted()
    for peer in peers[:MAX_DIRECT]:
        kit.relays.sent(peer.raw_key, peer, 10.0)
    kit.relays.sent(peers[-1].raw_key, peers[-1], 10.0)
    assert kit.relays.get(peers[-1].raw_key) is None
    kit.relays.sent(peers[1].raw_key, peers[1], 60.0)
    kit.relays.sent(peers[-1].raw_key, peers[-1], 60.0)
    assert len(kit.relays) == MAX_DIRECT
    assert kit.relays.get(peers[1].raw_key) is not None
    assert kit.relays.get(peers[0].raw_key) is None


# --- answers ------------------------------------------------------------------------------------------------------


def test_an_answer_begins_a_handshake_and_the_peer_is_told() -> None:
    kit = Kit().granted()
    kit.relays.sent(PEER.raw_key, PEER, 10.0)
    kit.relays.run(10.0)
    ((_server, request),) = kit.letters()
    response = AllocateUDPRelayEndpointResponse(request.generation, kit.endpoint())
    assert kit.relays.allocated(b"t" * 32, response, kit.nodes.get, 10.1) == "unknown allocation"
    assert kit.relays.allocated(SERVER, response, kit.nodes.get, 10.1) is None
    assert kit.letters() == [(PEER.raw_key, CallMeMaybeVia(response.relay))]
    assert len(kit.exchange(10.2)) == 1
    assert kit.server.got == Counter({"challenged": 1, "bound": 1, "not bound": 1})
    assert kit.relays.allocated(SERVER, response, kit.nodes.get, 10.1) == "unknown allocation"


def test_a_peer_for_whom_there_is_no_room_is_asked_for_when_the_others_have_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(allocations, "MAX_ALLOCATIONS", 2)
    peers = [node(number) for number in (2, 3, 4)]
    kit = Kit(*peers).granted()
    for peer in peers:
        kit.relays.sent(peer.raw_key, peer, 10.0)
    kit.relays.run(10.0)
    assert len(kit.letters()) == 2
    assert kit.dropped["requests"] == 1
    assert kit.relays.deadline() > 10.0
    asked = list[float]()
    while not asked:
        now = kit.relays.deadline()
        kit.relays.run(now)
        asked = [now for _server, request in kit.letters() if peers[2].disco_key in request.client_keys]
    assert asked == [10.0 + ALLOCATION_TIMEOUT]


def test_an_answer_that_never_comes_is_asked_for_once_more() -> None:
    kit = Kit().granted()
    kit.relays.sent(PEER.raw_key, PEER, 10.0)
    for now in range(10, 30):
        kit.relays.run(now)
    assert len(kit.letters()) == 2


def test_a_session_in_use_is_not_bound_again() -> None:
    kit = Kit()
    relay = kit.endpoint()
    assert kit.called() is None
    path = kit.relays.get(PEER.raw_key)
    assert path is not None
    path.ready(PeerRelayAddress(*kit.server.address, relay.vni), relay.server_key, 0.1, 300.0, 1.0)
    kit.relays._stop(PEER.raw_key)
    kit.sent()
    assert kit.called(now=2.0) is None
    assert kit.sent() == []


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"client_keys": (disco_public(disco(7)), disco_public(disco(8)))}, "wrong clients"),
        ({"endpoints": ()}, "unusable relay"),
        ({"endpoints": (UdpAddress("224.0.0.1", 7), UdpAddress("127.0.0.1", 7))}, "unusable relay"),
        ({"server_key": disco_public(OURS)}, "unusable relay"),
        ({"vni": 0}, "unusable relay"),
        ({"vni": 1 << 24}, "unusable relay"),
        ({"bind_lifetime_ns": -5}, "unusable relay"),
        ({"steady_state_lifetime_ns": 0}, "unusable relay"),
    ],
)
def test_what_a_peer_names_in_vain(more: dict[str, Any], reason: str) -> None:
    kit = Kit()
    assert kit.called(**more) == reason
    assert (kit.sent(), len(kit.relays._bindings)) == ([], 0)


# --- bounds -------------------------------------------------------------------------------------------------------


def test_a_peer_that_calls_without_end_has_few_handshakes_and_another_ones_goes_on() -> None:
    greedy, quiet = node(2), node(3)
    kit = Kit(greedy, quiet)
    refused: Counter[str | None] = Counter()
    for number in range(1000):
        victims = tuple(UdpAddress(f"203.0.{number % 250}.{each}", 9) for each in range(1, 40))
        key = disco_public(disco(1000 + number))
        refused[kit.called(greedy, number / 100, server_key=key, endpoints=victims)] += 1
    assert refused[None] <= MAX_BINDINGS + 3
    assert len(kit.relays._bindings) <= MAX_BINDINGS
    assert len(kit.sent()) <= (MAX_BINDINGS + 3) * MAX_RELAY_ADDRESSES
    assert kit.called(quiet, 10.0) is None
    assert len(kit.sent()) == 1


def test_relays_that_control_grants_us_are_asked_for_as_many_peers_as_there_are() -> None:
    peers = [node(number) for number in range(2, 60)]
    kit = Kit(*peers).granted()
    for peer in peers:
        kit.relays.sent(peer.raw_key, peer, 10.0)
    kit.relays.run(10.0)
    for peer, (_server, request) in zip(peers, kit.letters(), strict=True):
        response = AllocateUDPRelayEndpointResponse(request.generation, kit.endpoint(peer))
        assert kit.relays.allocated(SERVER, response, kit.nodes.get, 10.0) is None
    assert len(kit.sent()) == len(peers)


def test_another_network_and_a_peer_that_goes_end_all_that_is_under_way() -> None:
    kit = Kit().granted()
    kit.relays.sent(PEER.raw_key, PEER, 10.0)
    kit.relays.run(10.0)
    kit.called(now=10.0)
    kit.relays.network_changed(11.0)
    assert (len(kit.relays._bindings), len(kit.relays)) == (0, 1)
    kit.relays.forget(PEER.raw_key)
    assert (len(kit.relays), kit.relays.deadline(), kit.relays.changed) == (0, math.inf, {PEER.raw_key: None})


def test_a_session_that_is_doubted_is_bound_anew_without_asking_anybody() -> None:
    kit = Kit()
    kit.relays.sent(PEER.raw_key, PEER, 0.0)
    assert kit.called() is None
    (theirs,) = kit.exchange(0.1)
    path = kit.relays.get(PEER.raw_key)
    assert path is not None
    path.sent(0.1)
    ping = decode(Box(disco(2), bytes).open(theirs[8:]))
    assert isinstance(ping, Ping)
    session = PeerRelayAddress(*kit.server.address, 1)
    assert kit.relays.ponged(ping.tx_id, [PEER.raw_key], session, 0.2)
    assert (path.best, path.is_trusted, kit.sent()) == (session, True, [])
    now = kit.relays.deadline()
    while path.is_trusted:
        now = kit.relays.deadline()
        kit.relays.run(now)
    headers = [geneve.decode(datagram) for _to, datagram in kit.sent()]
    assert any(header is not None and header.is_control for header in headers)
    assert kit.letters() == []
    kit.relays.restarted(PEER.raw_key, now)
    kit.sent()
    kit.relays.network_changed(now + 1.0)
    assert kit.sent() == []


def test_another_network_binds_the_session_anew_at_once() -> None:
    kit = Kit()
    relay = kit.endpoint()
    assert kit.called() is None
    path = kit.relays.get(PEER.raw_key)
    assert path is not None
    path.sent(0.0)
    kit.relays._sessions[PEER.raw_key] = relay
    kit.sent()
    kit.relays.network_changed(1.0)
    assert len(kit.exchange(1.1)) == 1
    assert kit.server.got["bound"] == 1

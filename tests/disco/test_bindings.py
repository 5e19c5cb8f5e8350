"""Bindings: which handshakes are begun, what is asked how often, and whom nobody can disturb."""

from __future__ import annotations

import math

import attrs
import pytest

from tests.disco.relaykit import PEER, Kit, disco, node
from tsnet.base.addresses import PeerRelayAddress, UdpAddress
from tsnet.disco import bindings, geneve
from tsnet.disco.box import Box
from tsnet.disco.constants import (
    MAX_ALL_BINDINGS,
    MAX_BIND_LIFETIME,
    MAX_BIND_PINGS,
    MAX_BINDINGS,
    PINGS_PER_SECOND,
)


def test_of_one_relay_an_older_session_changes_nothing_and_a_newer_one_begins_anew() -> None:
    kit = Kit()
    assert kit.called(lamport_id=5) is None
    assert len(kit.sent()) == 1
    assert kit.called(lamport_id=5, vni=9) is None
    assert kit.called(lamport_id=4, vni=9) is None
    assert kit.sent() == []
    assert kit.called(lamport_id=6, vni=9) is None
    ((_to, datagram),) = kit.sent()
    header = geneve.decode(datagram)
    assert header is not None
    assert (header.vni, len(kit.relays._bindings)) == (9, 1)


def test_a_handshake_without_an_answer_ends_in_time_and_leaves_nothing() -> None:
    kit = Kit()
    kit.called(bind_lifetime_ns=1 << 62)
    count, now = 0, 0.0
    while kit.relays._bindings:
        now = kit.relays.deadline()
        kit.relays.run(now)
        count += len(kit.sent())
    assert now == MAX_BIND_LIFETIME
    assert count <= 5
    assert kit.relays.deadline() == math.inf
    assert kit.relays._bindings._asked == {}
    assert kit.endpoint().server_key not in kit.box._shared


def test_many_that_name_one_victim_do_not_flood_it() -> None:
    peers = [node(number) for number in range(2, 60)]
    kit = Kit(*peers)
    victim = UdpAddress("203.0.113.9", 9)
    for peer in peers:
        assert kit.called(peer, 0.0, endpoints=(victim,)) is None
    assert 0 < len(kit.sent()) <= PINGS_PER_SECOND
    assert kit.dropped["pace"] >= len(peers) - PINGS_PER_SECOND


def test_a_relay_of_ours_that_names_a_victim_has_us_send_one_message_for_each_handshake() -> None:
    peers = [node(number) for number in range(2, 60)]
    kit = Kit(*peers).granted()
    victim = UdpAddress("203.0.113.9", 9)
    for peer in peers:
        relay = kit.endpoint(peer, endpoints=(victim,))
        kit.relays._bindings.trust(relay)
        assert kit.relays.called_via(peer.raw_key, peer, relay, 0.0) is None
    assert len(kit.sent()) == len(peers)
    kit.relays.run(0.5)
    assert len(kit.sent()) <= PINGS_PER_SECOND


def test_a_relay_of_ours_that_has_challenged_us_is_asked_again_for_every_peer() -> None:
    peers = [node(number) for number in range(2, 60)]
    kit = Kit(*peers).granted()
    for peer in peers:
        relay = kit.endpoint(peer)
        kit.relays._bindings.trust(relay)
        assert kit.relays.called_via(peer.raw_key, peer, relay, 0.0) is None
    (to, bind), *_lost = kit.sent()
    ((_to, challenge),) = kit.server.receive(UdpAddress("192.0.2.1", 1), bind)
    header = geneve.decode(challenge)
    assert header is not None
    assert kit.relays.receive_control(to, challenge[8:], header.vni, 0.1) is None
    kit.sent()
    kit.relays.run(0.5)
    assert len(kit.sent()) == len(peers) - 1


def test_all_handshakes_together_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bindings, "MAX_ALL_BINDINGS", 3)
    peers = [node(number) for number in range(2, 7)]
    kit = Kit(*peers)
    found = [kit.called(peer, 0.0) for peer in peers]
    assert found == [None, None, None, "too many handshakes", "too many handshakes"]
    assert MAX_ALL_BINDINGS > MAX_BINDINGS


def test_pings_in_a_handshake_are_bounded() -> None:
    kit = Kit()
    assert kit.called() is None
    kit.exchange(0.1)
    session = PeerRelayAddress(*kit.server.address, 1)
    for _ in range(100):
        kit.relays.pinged([PEER.raw_key], session, 0.2)
    assert len(kit.sent()) == MAX_BIND_PINGS - 1


def test_a_peer_that_names_the_relay_and_session_of_another_one_does_not_disturb_it() -> None:
    evil, quiet = node(2), node(3)
    kit = Kit(evil, quiet)
    relay = kit.endpoint(quiet)
    assert kit.called(quiet) is None
    stolen = attrs.evolve(kit.endpoint(evil), vni=relay.vni, server_key=relay.server_key, lamport_id=(1 << 64) - 1)
    assert kit.relays.called_via(evil.raw_key, evil, stolen, 0.0) is None
    assert {binding.peer for binding in kit.relays._bindings} == {evil.raw_key, quiet.raw_key}
    assert len(kit.exchange(0.1)) == 1
    (bound,) = [each for each in kit.relays._bindings if each.address is not None]
    assert bound.peer == quiet.raw_key


def test_what_is_no_challenge_of_ours_is_dropped_and_changes_nothing() -> None:
    kit = Kit()
    assert kit.called() is None
    ((to, bind),) = kit.sent()
    ((_to, challenge),) = kit.server.receive(UdpAddress("192.0.2.1", 1), bind)
    inner, before = challenge[8:], dict(kit.box._shared)
    stranger = Box(disco(99), kit.random_bytes).seal(kit.box.public_key, b"\5\0" + bytes(72))
    assert kit.relays.receive_control(to, b"TS", 1, 0.1) == "short"
    assert kit.relays.receive_control(to, stranger, 1, 0.1) == "unknown relay"
    assert kit.relays.receive_control(to, inner[:-1], 1, 0.1) == "relay box"
    assert kit.relays.receive_control(to, inner, 2, 0.1) == "unknown handshake"
    assert kit.relays.receive_control(to, bind[8:], 1, 0.1) == "unknown relay"
    assert kit.relays.receive_control(UdpAddress("224.0.0.1", 1), inner, 1, 0.1) == "unwanted challenge"
    (binding,) = kit.relays._bindings
    assert (binding.address, kit.sent(), kit.box._shared) == (None, [], before)
    assert kit.relays.receive_control(to, inner, 1, 0.1) is None
    assert len(kit.sent()) == 2
    assert kit.relays.receive_control(UdpAddress("203.0.113.1", 1), inner, 1, 0.2) == "unwanted challenge"
    assert kit.sent() == []

"""DirectPaths: who has a path of his own, which addresses are asked, and the bounds of one and of all."""

from __future__ import annotations

import contextlib
import math
import random
from typing import Any

import pytest

from tsnet.base.addresses import UdpAddress
from tsnet.base.crypto import disco_public
from tsnet.base.keys import DiscoPrivateKey, NodeKey
from tsnet.base.malformed import MalformedError
from tsnet.disco import directpaths, pings
from tsnet.disco.box import Box
from tsnet.disco.constants import MAX_CANDIDATES, PING_TIMEOUT, PINGS_PER_SECOND
from tsnet.disco.directpaths import DirectPaths
from tsnet.disco.equipment import Equipment
from tsnet.disco.messages import Ping, decode
from tsnet.disco.modes import DiscoModes
from tsnet.netmap.model import Node

OURS, OWN = DiscoPrivateKey(b"\1" * 32), NodeKey(b"o" * 32)
ADDRESS, OTHER = UdpAddress("192.0.2.1", 41641), UdpAddress("192.0.2.2", 41641)


def disco(number: int) -> DiscoPrivateKey:
    return DiscoPrivateKey(bytes([number]) * 32)


def node(number: int, *endpoints: UdpAddress, **more: Any) -> Node:
    more = {"disco_key": disco_public(disco(number)), **more}
    return Node(number, f"n{number}", "x", NodeKey(bytes([number]) * 32), endpoints=endpoints or (ADDRESS,), **more)


class Kit:
    def __init__(self) -> None:
        equipment = Equipment.of(OURS, random.Random(1).randbytes)
        self.dropped, self.senders, self.outgoing = equipment.dropped, equipment.senders, equipment.outgoing
        self.directs = DirectPaths(OWN, equipment)

    def know(self, *nodes: Node) -> Kit:
        for each in nodes:
            self.senders.control_says(each.key, each.disco_key)
        return self

    def pings(self, number: int = 2) -> list[tuple[Any, Ping]]:
        """What has been sent to that peer."""
        opened = []
        for to, (datagram,) in self.outgoing.take(1 << 20):
            message = decode(Box(disco(number), bytes).open(datagram))
            assert isinstance(message, Ping)
            opened.append((to, message))
        return opened


def test_a_peer_that_is_sent_to_is_pinged_with_our_node_key() -> None:
    kit = Kit().know(node(2))
    assert kit.directs.get(node(2).key) is None
    kit.directs.sent(node(2).key, node(2), 10.0)
    assert kit.directs.deadline() == 10.0
    kit.directs.run(10.0)
    ((to, ping),) = kit.pings()
    assert (to, ping.node_key, ping.padding) == (ADDRESS, OWN, 0)
    assert kit.directs.calls == {node(2).key: None}
    assert kit.directs.deadline() > 10.0


def test_a_pong_is_taken_from_the_peer_that_was_asked_and_once() -> None:
    kit = Kit().know(node(2), node(3))
    kit.directs.sent(node(2).key, node(2), 10.0)
    kit.directs.run(10.0)
    ((_to, ping),) = kit.pings()
    assert not kit.directs.ponged(ping.tx_id, (node(3).key,), 10.1)
    assert kit.directs.ponged(ping.tx_id, (node(3).key, node(2).key), 10.1)
    assert not kit.directs.ponged(ping.tx_id, (node(2).key,), 10.1)
    direct = kit.directs.get(node(2).key)
    assert direct is not None
    assert direct.best == ADDRESS


def test_a_ping_that_nobody_answers_is_forgotten_in_time() -> None:
    kit = Kit().know(node(2))
    kit.directs.sent(node(2).key, node(2), 10.0)
    kit.directs.run(10.0)
    ((_to, ping),) = kit.pings()
    kit.directs.run(10.0 + PING_TIMEOUT)
    assert not kit.directs.ponged(ping.tx_id, (node(2).key,), 15.1)


@pytest.mark.parametrize("more", [{"disco_key": None}, {"is_wireguard_only": True}])
def test_who_can_have_no_direct_path(more: dict[str, Any]) -> None:
    peer = node(2, **more)
    kit = Kit().know(peer)
    kit.directs.sent(peer.key, peer, 10.0)
    assert (len(kit.directs), kit.directs.deadline()) == (0, math.inf)


def test_without_udp_nobody_has_one() -> None:
    kit = Kit().know(node(2))
    kit.directs.sent(node(2).key, node(2), 10.0)
    kit.directs.set_modes(DiscoModes(udp=False), 11.0)
    kit.directs.sent(node(2).key, node(2), 12.0)
    assert (len(kit.directs), kit.directs.deadline()) == (0, math.inf)
    assert not kit.directs.may_answer(ADDRESS)
    kit.directs.set_modes(DiscoModes(), 13.0)
    kit.directs.sent(node(2).key, node(2), 13.0)
    assert len(kit.directs) == 1


def test_a_peer_that_has_changed_its_kind_loses_its_path() -> None:
    kit = Kit().know(node(2))
    kit.directs.sent(node(2).key, node(2), 10.0)
    kit.directs.update(node(2, is_wireguard_only=True).key, node(2, is_wireguard_only=True), 11.0)
    assert (len(kit.directs), kit.directs.deadline()) == (0, math.inf)


def test_a_list_is_read_so_far_and_what_may_not_be_asked_is_left_out() -> None:
    never = [UdpAddress("224.0.0.1", 1), UdpAddress("192.0.2.1", 0), UdpAddress("127.0.0.1", 9), OTHER]
    peer = node(2, *never, *(UdpAddress(f"10.0.{number >> 8}.{number & 255}", 9) for number in range(10_000)))
    kit = Kit().know(peer)
    kit.directs.set_endpoints((OTHER,), 1.0)
    kit.directs.sent(peer.key, peer, 10.0)
    kit.directs.run(10.0)
    asked = {to for to, _ping in kit.pings()}
    assert 0 < len(asked) <= MAX_CANDIDATES
    assert not asked & set(never)


def test_many_peers_that_name_one_victim_do_not_flood_it() -> None:
    peers = [node(number) for number in range(2, 60)]
    kit = Kit().know(*peers)
    for peer in peers:
        kit.directs.called(peer.key, peer, (ADDRESS,), 10.0)
    assert len(kit.outgoing.take(1 << 20)) == PINGS_PER_SECOND - 1
    assert kit.dropped["pace"] == len(peers) - PINGS_PER_SECOND + 1


def test_who_names_the_address_of_another_peer_keeps_no_ping_of_that_one_away() -> None:
    greedy, quiet = node(2), node(3)
    kit = Kit().know(greedy, quiet)
    pings: list[float] = []
    for number in range(200):
        now = 10.0 + number / 20
        kit.directs.called(greedy.key, greedy, (ADDRESS,), now)
        if number % 60 == 0:
            kit.directs.sent(quiet.key, quiet, now)
        kit.directs.run(now)
        for to, (datagram,) in kit.outgoing.take(1 << 20):
            pings += [now] * (to == ADDRESS)
            assert len([at for at in pings if at > now - 1.0]) <= PINGS_PER_SECOND
            with contextlib.suppress(MalformedError):
                message = decode(Box(disco(3), bytes).open(datagram))
                assert isinstance(message, Ping)
                kit.directs.ponged(message.tx_id, (quiet.key,), now)
        direct = kit.directs.get(quiet.key)
        assert direct is not None
        assert direct.is_trusted


def test_one_peers_lists_leave_room_for_anothers_pings() -> None:
    greedy, quiet = node(2), node(3, OTHER)
    kit = Kit().know(greedy, quiet)
    for number in range(400):
        victims = [UdpAddress(f"10.1.{number % 200}.{each}", 9) for each in range(1, 30)]
        kit.directs.called(greedy.key, greedy, victims, 10.0 + number / 400)
    provoked = len(kit.outgoing.take(1 << 20))
    assert provoked < 64
    kit.directs.sent(quiet.key, quiet, 11.0)
    kit.directs.run(11.0)
    assert [to for to, _ping in kit.pings(3)] == [OTHER]


def test_an_idle_path_makes_room_for_a_new_one_and_an_active_one_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directpaths, "MAX_DIRECT", 2)
    kit = Kit().know(*(node(number) for number in range(2, 6)))
    kit.directs.sent(node(2).key, node(2), 10.0)
    kit.directs.heard(node(3).key, node(3), ADDRESS, 10.0, is_fresh=True)
    kit.directs.heard(node(4).key, node(4), ADDRESS, 10.0, is_fresh=True)
    assert [kit.directs.get(node(number).key) is not None for number in (2, 3, 4)] == [True, False, True]
    kit.directs.sent(node(4).key, node(4), 11.0)
    kit.directs.sent(node(5).key, node(5), 11.0)
    assert kit.directs.get(node(5).key) is None


def test_who_found_no_room_has_a_path_once_another_peer_is_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directpaths, "MAX_DIRECT", 1)
    kit = Kit().know(node(2), node(3))
    kit.directs.sent(node(2).key, node(2), 10.0)
    for now in range(11, 54):
        kit.directs.run(now)
        kit.directs.sent(node(3).key, node(3), now)
        assert kit.directs.get(node(3).key) is None
    for now in range(54, 60):
        kit.directs.run(now)
        kit.directs.sent(node(3).key, node(3), now)
    assert kit.directs.get(node(3).key) is not None


def test_another_process_at_the_peer_is_asked_anew() -> None:
    kit = Kit().know(node(2))
    kit.directs.sent(node(2).key, node(2), 10.0)
    kit.directs.run(10.0)
    ((_to, ping),) = kit.pings()
    kit.directs.restarted(node(2).key, 10.1)
    kit.directs.restarted(node(3).key, 10.1)
    assert not kit.directs.ponged(ping.tx_id, (node(2).key,), 10.2)
    kit.directs.run(10.2)
    assert len(kit.pings()) == 1


def test_on_another_network_pongs_of_the_old_one_mean_nothing() -> None:
    kit = Kit().know(node(2))
    kit.directs.sent(node(2).key, node(2), 10.0)
    kit.directs.run(10.0)
    ((_to, ping),) = kit.pings()
    kit.directs.network_changed(10.1)
    assert not kit.directs.ponged(ping.tx_id, (node(2).key,), 10.2)
    assert kit.directs.deadline() <= 10.1


def test_thousands_of_idle_peers_wake_nobody() -> None:
    kit = Kit()
    for number in range(2, 252):
        kit.know(node(number))
        kit.directs.update(node(number).key, node(number), 1.0)
    kit.directs.set_endpoints((OTHER,), 2.0)
    kit.directs.network_changed(3.0)
    assert (len(kit.directs), kit.directs.deadline()) == (0, math.inf)


def test_peers_that_take_all_pings_neither_end_anothers_path_nor_keep_one_from_finding_his(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Colluding peers name places of which each is pinged seldom, and none answers."""
    monkeypatch.setattr(pings, "MAX_ALL_PINGS", 64)
    friend, newcomer, crowd = node(2), node(3, OTHER), [node(number) for number in range(10, 22)]
    kit = Kit().know(friend, newcomer, *crowd)
    places = iter(UdpAddress(f"10.{number >> 8}.{number & 255}.1", 9) for number in range(1 << 16))
    kit.directs.sent(friend.key, friend, 10.0)
    for tick in range(56):
        now = 10.0 + tick / 4
        kit.directs.run(now)
        for peer in crowd if tick > 2 else ():
            kit.directs.called(peer.key, peer, [next(places) for _ in range(10)], now)
        if tick == 40:
            kit.directs.sent(newcomer.key, newcomer, now)
        kit.directs.sent(friend.key, friend, now)
        kit.directs.run(now)
        answer(kit, (friend, newcomer), now)
        direct = kit.directs.get(friend.key)
        assert direct is not None
        assert direct.is_trusted
    found = kit.directs.get(newcomer.key)
    assert found is not None
    assert found.is_trusted
    assert kit.dropped["pings"] > 100


def answer(kit: Kit, peers: tuple[Node, ...], now: float) -> None:
    """These peers answer every ping to their first endpoint."""
    for to, (datagram,) in kit.outgoing.take(1 << 24):
        for peer in peers:
            with contextlib.suppress(MalformedError):
                message = decode(Box(disco(peer.id), bytes).open(datagram))
                assert isinstance(message, Ping)
                if to == peer.endpoints[0]:
                    kit.directs.ponged(message.tx_id, (peer.key,), now)


def test_what_the_system_cannot_send_is_not_awaited_and_its_path_not_trusted() -> None:
    kit = Kit().know(node(2), node(3, OTHER))
    for number in (2, 3):
        kit.directs.sent(node(number).key, node(number, *((OTHER,) if number == 3 else ())), 10.0)
    kit.directs.run(10.0)
    answer(kit, (node(2), node(3, OTHER)), 10.0)
    kit.directs.changed.clear()
    kit.directs.unsent({ADDRESS: 0}, 10.2)
    refused, other = kit.directs.get(node(2).key), kit.directs.get(node(3).key)
    assert refused is not None
    assert other is not None
    assert (refused.is_trusted, other.is_trusted, list(kit.directs.changed)) == (False, True, [node(2).key])
    ((to, _ping),) = kit.pings()
    assert to == ADDRESS
    kit.directs.unsent({ADDRESS: 0}, 10.2)
    assert refused.best is None
    assert kit.directs.deadline() > 10.2

"""Map streams: everything at first, then what changed, signs of life, and who counts as online."""

from __future__ import annotations

import random

import attrs
import pytest

from tests.control.joined import WALL, Joined, Peer, new_tailnet
from tsnet.base.addresses import UdpAddress
from tsnet.base.crypto import node_public
from tsnet.base.timetable import SPARE
from tsnet.control.client.facts import Connected, Disconnected, DuplicateNode, NetMapChanged
from tsnet.control.messages import MapRequest, MapResponse
from tsnet.control.server.members import MAX_ENDPOINTS
from tsnet.control.server.streams import BACKLOG, EPHEMERAL_AFTER, KEEP_ALIVE, OFFLINE_AFTER
from tsnet.netmap.model import Node


def seen(by: Peer, name: str) -> Node:
    return next(peer for peer in by.netmap.peers.values() if peer.name == f"{name}.tail.example")


def test_a_newcomer_appears_at_the_others_at_once() -> None:
    world = Joined()
    (one,) = world.join("one")
    assert one.peers == []
    (other,) = world.join("other")
    assert (one.peers, other.peers) == (["other"], ["one"])
    peer = seen(one, "other")
    assert (peer.home_region, peer.online, peer.disco_key) == (900, True, other.disco_key)
    assert one.netmap.users[peer.user].login_name == "user@tail.example"


def test_where_a_node_is_now_is_told_to_the_others_in_the_turn_that_learns_of_it() -> None:
    """A node with far too many endpoints is cut short; the one beside it is as it was."""
    world = Joined()
    one, other, third = world.join("one", "other", "third")
    member = world.member("other")
    before = seen(one, "third")
    many = tuple(UdpAddress("192.0.2.1", port) for port in range(1, 2000))
    request = MapRequest(node_key=member.key, disco_key=other.disco_key, endpoints=many)
    world.sent.clear()
    at = world.now
    world.tailnet.update(member, request)
    world.run(0.2)
    assert [sent for sent, _peer, _size in world.sent] == [at, at]
    for peer in (one, third):
        assert seen(peer, "other").endpoints == many[:MAX_ENDPOINTS]
    assert seen(one, "third") == before


def test_silence_is_filled_with_signs_of_life() -> None:
    world = Joined()
    (one,) = world.join("one")
    world.sent.clear()
    start = world.now
    world.run(3.5 * KEEP_ALIVE)
    assert [at - start for at, _peer, _size in world.sent] == pytest.approx(
        [KEEP_ALIVE, 2 * KEEP_ALIVE, 3 * KEEP_ALIVE]
    )
    assert not one.told(Disconnected)


def test_news_put_the_sign_of_life_off() -> None:
    world = Joined()
    (one,) = world.join("one")
    world.run(KEEP_ALIVE - 5)
    world.sent.clear()
    world.tailnet.rename(world.member("one"), "two")
    world.run(KEEP_ALIVE - 5)
    assert len(world.sent) == 1
    assert one.netmap.self_node.name == "two.tail.example"


def test_a_lost_node_is_offline_after_a_while() -> None:
    world = Joined()
    one, other = world.join("one", "other")
    world.cut(other, for_good=True)
    world.run(OFFLINE_AFTER - 0.1)
    assert seen(one, "other").online
    world.run(0.2)
    assert seen(one, "other").online is False
    assert seen(one, "other").last_seen == pytest.approx(WALL + world.now, abs=1)
    assert world.server.polling == {1}


def test_a_node_that_comes_back_in_time_was_never_away() -> None:
    world = Joined()
    one, other = world.join("one", "other")
    before = len(one.told(NetMapChanged))
    for _ in range(3):
        world.cut(other)
        world.run(OFFLINE_AFTER - 1)
    world.run(2 * OFFLINE_AFTER)
    assert seen(one, "other").online
    assert len(one.told(NetMapChanged)) == before


def test_an_ephemeral_node_is_forgotten_only_after_longer() -> None:
    world = Joined()
    (one,) = world.join("one")
    (other,) = world.join("other", ephemeral=True)
    world.cut(other, for_good=True)
    world.run(OFFLINE_AFTER + EPHEMERAL_AFTER - 1)
    assert one.peers == ["other"]
    world.run(2)
    assert one.peers == []


def test_an_ephemeral_node_that_returns_stays() -> None:
    world = Joined()
    (one,) = world.join("one")
    (other,) = world.join("other", ephemeral=True)
    world.cut(other)
    world.run(OFFLINE_AFTER + EPHEMERAL_AFTER + 10)
    assert one.peers == ["other"]


def test_a_node_that_comes_and_goes_leaves_no_timer_behind() -> None:
    world = Joined()
    (one,) = world.join("one")
    streams = world.server._streams
    (stream,) = streams._streams.values()
    request = MapRequest(node_public(one.private), one.disco_key, stream=True)
    for number in range(1000):
        streams.closed(stream.connection, None, world.now + number / 1000)
        streams.open(stream.connection, stream.number, stream.member, request, world.now + number / 1000)
    assert len(streams._keep_alives) <= SPARE + 3
    assert len(streams._offlines) <= SPARE + 3


def test_a_new_poll_ends_the_old_one() -> None:
    world = Joined()
    (one,) = world.join("one")
    twin = Peer(1, "one", enrolled=True)
    world.nodes.append(twin)
    world.run(2)
    assert len(world.server.polling) == 1
    world.run(120)
    assert one.told(DuplicateNode) or twin.told(DuplicateNode)


def test_a_lite_update_does_not_end_the_poll() -> None:
    world = Joined()
    (one,) = world.join("one")
    for region in (901, 902):
        one.client.set_net_info({"PreferredDERP": region}, world.now)
        world.run(1)
    assert len(one.told(Connected)) == 1
    assert world.member("one").home_region == 902


def test_another_server_goes_on_with_the_same_tailnet() -> None:
    world = Joined()
    one, other = world.join("one", "other")
    world.restart()
    world.run(3)
    assert world.server.polling == {1, 2}
    world.run(2 * OFFLINE_AFTER)
    assert (one.peers, seen(one, "other").online, seen(other, "one").online) == (["other"], True, True)


def test_whoever_does_not_return_after_a_restart_goes_offline() -> None:
    world = Joined()
    one, other = world.join("one", "other")
    world.nodes.remove(other)
    world.restart()
    world.run(2 * OFFLINE_AFTER)
    assert seen(one, "other").online is False


def test_a_deleted_nodes_stream_ends() -> None:
    world = Joined()
    one, _other = world.join("one", "other")
    world.tailnet.delete(world.member("other"))
    world.run()
    assert world.server.polling == {1}
    assert one.peers == []


def test_a_stream_that_does_not_read_is_told_later_and_at_once() -> None:
    world = Joined()
    (one,) = world.join("one")
    connection = next(iter(world.server._streams._streams.values())).connection
    connection.full_at = world.now
    for number in range(2, 30):
        world.tailnet.rename(world.member("one" if number == 2 else f"name{number - 1}"), f"name{number}")
        world.run()
    before = len(one.told(NetMapChanged))
    connection.full_at = float("inf")
    assert world.server.deadline() <= world.now
    world.run()
    assert one.netmap.self_node.name == "name29.tail.example"
    assert len(one.told(NetMapChanged)) == before + 1


def test_a_backlog_withholds_news() -> None:
    world = Joined()
    world.join("one")
    (stream,) = world.server._streams._streams.values()
    assert stream.is_ready
    stream.connection.calls.write(stream.number, bytes(BACKLOG + (5 << 20)))
    stream.connection.calls.transmit()
    assert not stream.is_ready


def test_a_crowd_changes_at_random_and_all_agree() -> None:
    rng = random.Random(7)
    world = Joined(budget=700)
    world.join(*(f"n{number}" for number in range(8)))
    for _ in range(30):
        peer = rng.choice(world.nodes)
        match rng.randrange(4):
            case 0:
                world.cut(peer)
            case 1:
                peer.client.set_net_info({"PreferredDERP": rng.randrange(900, 910)}, world.now)
            case 2:
                world.tailnet.rename(world.tailnet.members[rng.randrange(1, 9)], f"m{rng.randrange(20)}")
            case _:
                world.run(rng.random() * 10)
    world.run(30)
    for peer in world.nodes:
        member = world.tailnet.find(peer.netmap.self_node.key)
        assert member is not None
        assert {node.id: (node.name, node.home_region, node.online) for node in peer.netmap.peers.values()} == {
            node.id: (node.name, node.home_region, True) for node in world.tailnet.peers_of(member).values()
        }


def test_a_first_message_can_lack_what_a_test_takes_away() -> None:
    """As testcontrol's ModifyFirstMapResponse; what follows is whole."""
    world = Joined()
    world.join("one")

    def without_a_filter(message: MapResponse) -> MapResponse:
        return attrs.evolve(message, update=attrs.evolve(message.update, packet_filter=None, packet_filters={}))

    world.server = world.new_server(modify_first_map=without_a_filter)
    one = world.nodes[0]
    world.cut(one)
    world.run(5)
    assert not one.netmap.packet_filter
    world.join("other", hostinfo={"OS": "x"})
    assert one.peers == ["other"]


@pytest.mark.parametrize("comes_back", [True, False])
def test_an_ephemeral_node_of_an_earlier_life_has_the_usual_time_to_come_back(comes_back: bool) -> None:
    world = Joined()
    key = world.tailnet.create_auth_key(ephemeral=True).text
    world.join("one", auth_key=key)
    again = new_tailnet()
    again.restore(world.tailnet.contents(WALL + world.now))
    if not comes_back:
        world.nodes.clear()
    world.tailnet = again
    world.restart()
    world.run(OFFLINE_AFTER + EPHEMERAL_AFTER - 1)
    assert world.member("one").is_online is comes_back
    world.run(2)
    assert (again.named("one") is not None) is comes_back

from __future__ import annotations

import attrs

from tests.netmap.test_merge import NOW, node
from tsnet.netmap.changes import Changes
from tsnet.netmap.merge import MapUpdate, begin, merge
from tsnet.netmap.model import DnsConfig, FilterRule, NetMap

FIRST = MapUpdate(node=node(1), peers=(node(2), node(3)), packet_filter=(FilterRule(("*",)),))


def test_everything_of_a_first_netmap_is_new() -> None:
    netmap = begin(None, FIRST, NOW)
    changes = Changes.between(None, netmap)
    assert changes.peers == {2: (None, node(2)), 3: (None, node(3))}
    assert changes.after is netmap
    assert all(changes.of(field.name) for field in attrs.fields(NetMap))


def test_the_peers_that_a_message_changes_and_no_others() -> None:
    before = begin(None, FIRST, NOW)
    news = MapUpdate(peers_removed=(2,), online={3: True}, peers_changed=(node(4),))
    changes = Changes.between(before, merge(before, news, NOW))
    assert changes.peers == {2: (node(2), None), 3: (node(3), node(3, online=True)), 4: (None, node(4))}
    assert [field.name for field in attrs.fields(NetMap) if changes.of(field.name)] == ["peers"]


def test_news_that_change_nothing_are_none() -> None:
    before = begin(None, FIRST, NOW)
    after = merge(before, MapUpdate(online={9: True}, peers_changed=(node(2),), dns=DnsConfig()), NOW)
    assert Changes.between(before, after).peers == {}
    assert not Changes.between(before, after).of("dns")


def test_several_messages_are_one_change() -> None:
    before = after = begin(None, FIRST, NOW)
    for number in (5, 6, 5):
        after = merge(after, MapUpdate(peers_removed=(number,), peers_changed=(node(number + 1),)), NOW)
    assert Changes.between(before, after).peers == {6: (None, node(6)), 7: (None, node(7))}


def test_a_whole_map_again_is_no_change() -> None:
    before = begin(None, FIRST, NOW)
    after = begin(before, attrs.evolve(FIRST, peers=(node(2), node(3, online=True))), NOW)
    assert Changes.between(before, after).peers == {3: (node(3), node(3, online=True))}
    assert after.peers[2] is before.peers[2]

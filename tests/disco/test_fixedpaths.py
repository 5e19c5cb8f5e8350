"""FixedPaths: all endpoints until one answers, that one until it does not, and all of them again."""

from __future__ import annotations

from tsnet.base.addresses import UdpAddress
from tsnet.base.keys import NodeKey
from tsnet.disco.fixedpaths import MAX_FIXED, FixedPaths
from tsnet.netmap.model import Node

KEY = NodeKey(b"k" * 32)
ALL = tuple(UdpAddress(f"192.0.2.{number}", 51820) for number in range(1, 8))


def node(*endpoints: UdpAddress, is_wireguard_only: bool = True) -> Node:
    return Node(1, "n1", "x", KEY, endpoints=endpoints, is_wireguard_only=is_wireguard_only)


def test_the_first_to_answer_carries_everything() -> None:
    fixed = FixedPaths()
    assert fixed.routes(KEY, node(*ALL[:3])) == ALL[:3]
    assert fixed.heard(KEY, ALL[1])
    assert not fixed.heard(KEY, ALL[1])
    assert fixed.routes(KEY, node(*ALL[:3])) == ALL[1:2]


def test_very_many_endpoints_are_not_all_asked_and_none_is_asked_twice() -> None:
    assert FixedPaths().routes(KEY, node(*ALL)) == ALL[:MAX_FIXED]
    assert FixedPaths().routes(KEY, node(ALL[0], ALL[0])) == ALL[:1]
    assert FixedPaths().routes(KEY, node()) == ()


def test_where_it_does_not_answer_any_more_the_others_are_tried() -> None:
    fixed = FixedPaths()
    assert not fixed.unanswered(KEY, node(*ALL[:3]))
    fixed.heard(KEY, ALL[1])
    assert fixed.unanswered(KEY, node(*ALL[:3]))
    assert fixed.routes(KEY, node(*ALL[:3])) == ALL[:3]


def test_a_peer_with_one_endpoint_stays_there_and_one_that_roamed_is_looked_for_at_home() -> None:
    fixed = FixedPaths()
    fixed.heard(KEY, ALL[0])
    assert not fixed.unanswered(KEY, node(ALL[0]))
    fixed.heard(KEY, ALL[5])
    assert not fixed.unanswered(KEY, node())
    assert fixed.unanswered(KEY, node(ALL[0]))
    assert fixed.routes(KEY, node(ALL[0])) == (ALL[0],)


def test_other_endpoints_from_control_end_the_roaming() -> None:
    fixed, before = FixedPaths(), node(*ALL[:2])
    fixed.update(KEY, None, before)
    fixed.heard(KEY, ALL[5])
    fixed.update(KEY, before, before)
    assert fixed.routes(KEY, before) == (ALL[5],)
    fixed.update(KEY, before, node(*ALL[1:3]))
    assert fixed.routes(KEY, node(*ALL[1:3])) == ALL[1:3]
    fixed.heard(KEY, ALL[5])
    fixed.forget(KEY)
    assert fixed.routes(KEY, before) == ALL[:2]

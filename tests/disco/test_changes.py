"""RoutesChanged: a value."""

from __future__ import annotations

from tsnet.base.addresses import DerpAddress, UdpAddress
from tsnet.base.keys import NodeKey
from tsnet.disco.changes import RoutesChanged


def test_two_changes_that_tell_the_same_are_equal() -> None:
    key = NodeKey(bytes(32))
    direct, relayed = UdpAddress("192.0.2.1", 41641), DerpAddress(1, key)
    change = RoutesChanged(key, (relayed,), (direct,), "pong")
    assert change == RoutesChanged(key, (relayed,), (direct,), "pong")
    assert change != RoutesChanged(key, (direct,), (relayed,), "pong")

"""PathChanged: a value."""

from __future__ import annotations

from tsnet.base.addresses import DerpAddress, UdpAddress
from tsnet.base.keys import NodeKey
from tsnet.disco.changes import PathChanged


def test_two_changes_that_tell_the_same_are_equal() -> None:
    key = NodeKey(bytes(32))
    direct, relayed = UdpAddress("192.0.2.1", 41641), DerpAddress(1, key)
    change = PathChanged(key, (relayed,), (direct,), "pong")
    assert change == PathChanged(key, (relayed,), (direct,), "pong")
    assert change != PathChanged(key, (direct,), (relayed,), "pong")

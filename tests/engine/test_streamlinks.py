"""Streams outlive the end of their peer's key, and its replacement; they end with the peer."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from netstack import Stack
from tests.engine.pair import Pair, apply, netmap, node, secret
from tsnet.base.crypto import node_public
from tsnet.base.keys import NodeKey, NodePrivateKey
from tsnet.engine.streamlinks import StreamLinks
from tsnet.netmap.model import Node

NEW = NodePrivateKey(secret("another key of b"))


class Streams(Pair):
    """A stream from b, which has another key by and by, to a."""

    def __init__(self) -> None:
        super().__init__()
        listener = self.a.engine.stack.listen(80)
        self.client = self.b.engine.stack.connect(self.nodes[0].ips[0], 80, self.now, link=self.nodes[0].key)
        self.reach(lambda: listener.readable)
        self.server: Any = listener.accept()
        listener.close(self.now)

    def tell_a(self, *peers: Node) -> None:
        apply(self.a.engine, netmap(self.nodes[0], *peers), self.now)

    def check(self) -> None:
        """Both ways, within two seconds."""
        for sender, receiver in ((self.server, self.client), (self.client, self.server)):
            assert sender.write(b"still there", self.now) == 11
            self.reach(lambda: receiver.readable, 2.0)  # noqa: B023
            assert receiver.read(100) == b"still there"


@pytest.fixture
def streams() -> Streams:
    return Streams()


def test_an_expired_key_is_extended(streams: Streams) -> None:
    streams.tell_a(attrs.evolve(streams.nodes[1], expired=True))
    assert len(streams.a.engine.stream_links) == 1
    streams.server.write(b"in vain, for now", streams.now)
    streams.run(seconds=300)
    assert streams.server.error is None
    streams.tell_a(streams.nodes[1])
    streams.b.engine.sessions_lost(streams.now)
    streams.reach(lambda: streams.client.readable, 2.0)
    assert streams.client.read(100) == b"in vain, for now"
    streams.check()
    assert len(streams.a.engine.stream_links) == 0


@pytest.mark.parametrize("expires", [False, True])
def test_a_key_is_replaced_again_and_again(streams: Streams, expires: bool) -> None:
    for number in range(3):
        if expires:
            streams.tell_a(attrs.evolve(streams.nodes[1], expired=True))
            streams.run(seconds=10)
        private = NodePrivateKey(secret(f"key {number} of b"))
        streams.b.engine.set_node_key(private, streams.now)
        streams.tell_a(attrs.evolve(streams.nodes[1], key=node_public(private)))
        streams.check()
    assert len(streams.a.engine.stream_links) == 1


def test_what_waits_for_a_path_goes_on_under_the_new_key(streams: Streams) -> None:
    """The paths of the new key are the paths of the old one's streams."""
    streams.b.engine.set_node_key(NEW, streams.now)
    streams.tell_a(attrs.evolve(streams.nodes[1], key=node_public(NEW)))
    streams.check()
    streams.a.engine.hold(0)
    streams.server.write(b"held", streams.now)
    streams.run(seconds=1)
    assert not streams.client.readable
    streams.a.engine.release(0)
    streams.reach(lambda: streams.client.readable, 1.0)


def test_under_a_new_key_packets_are_as_long_as_every_path_carries_until_its_own_is_measured(streams: Streams) -> None:
    links, old, new = streams.a.engine.stream_links, streams.nodes[1].key, node_public(NEW)
    links.set_mtu(old, 8920, streams.now)
    assert streams.server._tcb.mtu == 8920
    streams.b.engine.set_node_key(NEW, streams.now)
    streams.tell_a(attrs.evolve(streams.nodes[1], key=new))
    assert streams.server._tcb.mtu == 1280
    links.set_mtu(new, 1420, streams.now)
    assert streams.server._tcb.mtu == 1420


def test_a_peer_that_leaves_takes_them_along_whatever_its_key(streams: Streams) -> None:
    streams.tell_a(attrs.evolve(streams.nodes[1], expired=True))
    streams.tell_a()
    assert streams.server.error == "unreachable"
    streams = Streams()
    streams.tell_a(attrs.evolve(streams.nodes[1], key=node_public(NEW)))
    streams.tell_a()
    assert streams.server.error == "unreachable"
    assert len(streams.a.engine.stream_links) == 0


MOVED = node(3, "c").addresses


@pytest.mark.parametrize("key", [node(2, "b").key, node_public(NEW)], ids=["the same key", "another key"])
@pytest.mark.parametrize("expires", ["never", "before", "meanwhile"])
def test_a_peer_with_other_addresses_is_another_one(streams: Streams, key: NodeKey, expires: str) -> None:
    """Its old address may be somebody else's, who must not get what its streams still send."""
    peer = streams.nodes[1]
    if expires != "never":
        streams.tell_a(attrs.evolve(peer, expired=True))
    if expires == "meanwhile":
        streams.tell_a(attrs.evolve(peer, expired=True, addresses=MOVED))
        assert streams.server.error == "unreachable"
    streams.tell_a(attrs.evolve(peer, key=key, addresses=MOVED))
    assert streams.server.error == "unreachable"
    assert len(streams.a.engine.stream_links) == 0


def test_another_address_that_comes_and_goes_changes_nothing(streams: Streams) -> None:
    peer = streams.nodes[1]
    more = attrs.evolve(peer, addresses=(*peer.addresses, *MOVED))
    streams.tell_a(more)
    streams.check()
    streams.tell_a(peer)
    streams.check()


def test_a_key_that_another_node_has_takes_no_streams_along(streams: Streams) -> None:
    """As the same machine has that control has forgotten meanwhile."""
    streams.tell_a(attrs.evolve(streams.nodes[1], id=9, addresses=MOVED))
    assert streams.server.error == "unreachable"


def test_an_expired_key_lets_nobody_in(streams: Streams) -> None:
    streams.tell_a(attrs.evolve(streams.nodes[1], expired=True))
    streams.client.write(b"let me in", streams.now)
    streams.run(seconds=10)
    assert not streams.server.readable


def test_without_streams_nothing_is_kept() -> None:
    links = StreamLinks(Stack(entropy=bytes, now=1000.0))
    before = node(2, "b")
    links.left(before.raw_key, before, attrs.evolve(before, expired=True))
    assert len(links) == 0

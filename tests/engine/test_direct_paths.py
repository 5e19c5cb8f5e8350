"""Two whole engines that meet at a relay, and go on directly: what the data path does at each change of a path."""

from __future__ import annotations

import random
from typing import Any

import attrs
import pytest

from tests.engine.pair import REGION, Pair, Side, apply, netmap
from tests.engine.test_engine import connected, send_all
from tests.wire import Wire
from tsnet.base.addresses import DerpAddress, UdpAddress
from tsnet.engine.engine import UDP


class Met:
    """`pair`, with a wire for UDP each way beside the relay's, which takes longer."""

    def __init__(self, *, knows_disco: bool = True, loss: float = 0.0) -> None:
        self.pair = pair = Pair(relayed=True)
        for number, (side, other) in enumerate(((pair.a, pair.b), (pair.b, pair.a))):
            (udp,) = side.node.endpoints
            pair.wires[side.address].delay = 0.05
            pair.wires[udp] = Wire(number, delay=0.01, loss=loss)
            side.doors[udp] = other.node.endpoints[0]
            peer = other.node if knows_disco else attrs.evolve(other.node, disco_key=None)
            apply(side.engine, netmap(side.node, peer), pair.now)
            side.engine.relay_connected(REGION, 0.0, pair.now)
            side.engine.paths.set_endpoints([udp], pair.now)

    @property
    def udp(self) -> list[Wire[bytes]]:
        return [wire for address, wire in self.pair.wires.items() if isinstance(address, UdpAddress)]

    @property
    def relay(self) -> list[Wire[bytes]]:
        return [wire for address, wire in self.pair.wires.items() if isinstance(address, DerpAddress)]

    def routes(self, side: Side) -> tuple[Any, ...]:
        other = self.pair.b if side is self.pair.a else self.pair.a
        return side.engine.paths.routes(other.node.key)

    def is_direct(self) -> bool:
        return all([type(one) for one in self.routes(side)] == [UdpAddress] for side in self.pair.sides)

    def relayed(self) -> int:
        return sum(wire.counts["sent"] for wire in self.relay)


def test_a_stream_begins_at_the_relay_and_goes_on_without_it() -> None:
    met = Met()
    client, server = connected(met.pair)
    met.pair.reach(met.is_direct, 2.0)
    relayed = met.relayed()
    payload = random.Random(1).randbytes(300_000)
    assert send_all(met.pair, client, server, payload) == payload
    assert met.relayed() == relayed
    changes = met.pair.b.engine.take_path_changes()
    assert [(change.after, change.why) for change in changes] == [(met.routes(met.pair.b), "a pong came")]
    assert met.pair.b.engine.take_path_changes() == []


def test_while_the_path_is_not_trusted_both_ways_carry_all_and_the_stream_hears_it_once() -> None:
    met = Met()
    client, server = connected(met.pair)
    met.pair.reach(met.is_direct, 2.0)
    met.pair.run(seconds=60.0)
    assert [type(one) for one in met.routes(met.pair.b)] == [UdpAddress, DerpAddress]
    met.pair.b.sent.clear()
    client.write(b"twice", met.pair.now)
    met.pair.drain(met.pair.b)
    ways = {type(to) for to, datagram in met.pair.b.sent if datagram[:1] in (b"\1", b"\4")}
    assert ways == {UdpAddress, DerpAddress}
    met.pair.reach(lambda: server.readable)
    assert server.read() == b"twice"
    met.pair.run(seconds=1.0)
    assert server.read() == b""
    assert met.is_direct()


def test_a_stream_goes_on_by_the_relay_when_the_direct_path_dies() -> None:
    met = Met()
    client, server = connected(met.pair)
    met.pair.reach(met.is_direct, 2.0)
    for wire in met.udp:
        wire.loss = 1.0
    client.write(b"over the relay", met.pair.now)
    begun = met.pair.now
    met.pair.reach(lambda: server.readable, 8.0)
    assert met.pair.now - begun < 5.5
    assert server.read() == b"over the relay"
    assert met.pair.b.engine.take_path_changes()[-1].why == "data went out, and nothing came back"
    for wire in met.udp:
        wire.loss = 0.0
    for _ in range(80):
        client.write(b"x", met.pair.now)
        met.pair.run(seconds=0.1)
    assert met.is_direct()


def test_without_any_relay_a_handshake_goes_on_as_soon_as_a_pong_comes() -> None:
    met = Met()
    for side in met.pair.sides:
        side.engine.paths.disconnected(REGION, met.pair.now)
    for wire in met.relay:
        wire.loss = 1.0
    begun = met.pair.now
    connected(met.pair)
    assert met.pair.now - begun < 1.0


def test_a_disco_key_told_in_the_tunnel_is_enough() -> None:
    met = Met(knows_disco=False)
    client, server = connected(met.pair)
    for _ in range(20):
        client.write(b"x", met.pair.now)
        server.write(b"y", met.pair.now)
        met.pair.run(seconds=0.1)
        for side in met.pair.sides:
            side.engine.take_messages(met.pair.now)
    assert met.is_direct()


def test_a_peer_whose_direct_path_is_full_waits_and_is_released() -> None:
    met = Met()
    client, server = connected(met.pair)
    met.pair.reach(met.is_direct, 2.0)
    met.pair.b.engine.set_full({UDP})
    client.write(bytes(3000), met.pair.now)
    met.pair.b.sent.clear()
    met.pair.drain(met.pair.b)
    assert not [datagram for _to, datagram in met.pair.b.sent if datagram[:1] == b"\4"]
    met.pair.b.engine.set_full(set())
    met.pair.reach(lambda: server.readable, 1.0)


@pytest.mark.parametrize("loss", [0.02, 0.1])
def test_a_transfer_with_loss_on_the_direct_path_is_whole(loss: float) -> None:
    met = Met(loss=loss)
    client, server = connected(met.pair)
    payload = random.Random(2).randbytes(200_000)
    assert send_all(met.pair, client, server, payload) == payload

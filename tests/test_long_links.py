"""A node at home far away dials as soon as it is up: each round trip that it takes is one that it needs.

Before it can send, its relay must be dialled, which takes four. A handshake and a SYN go to the peer and back, two
round trips of the relay each. Initiations that went out faster than answers can come would void each other's answers.
"""

from __future__ import annotations

import pytest

from tests.house import House


@pytest.mark.parametrize("round_trip", [0.04, 0.2, 0.6, 0.9])
def test_a_dial_right_after_up(round_trip: float) -> None:
    house = House(1, relays_only=True)
    house.world.wire.latency = round_trip / 2
    server, client = house.up("server"), house.handle("client")
    house.run(5.0)
    house.finish(server.listen(80, None, 60.0))
    house.finish(client.up(60.0))
    begun = house.now
    house.finish(client.dial(str(server.node.addresses[0]), 80, 60.0))
    assert house.now - begun < 8 * round_trip + 0.1

"""How many round trips follow one another until a node is up, reachable, and talks: counted under virtual time.

| round trips one after the other       | first join, TLS | in the clear | again, TLS | in the clear |
|---------------------------------------|-----------------|--------------|------------|--------------|
| TCP (two links at once), TLS          | 2               | 1            | 2          | 1            |
| GET /key                              | 1               | 1            | beside     | beside       |
| the upgrade, with the Noise handshake | 1               | 1            | 1          | 1            |
| register                              | 1               | 1            | 1          | 1            |
| the first map                         | 1               | 1            | beside     | beside       |
| up                                    | 6               | 5            | 4          | 3            |
| the relay: TCP, TLS, upgrade, login   | 4               | 4            | beside     | 1 more       |
| the home relay, told to control       | beside          | beside       | beside     | beside       |
| reachable                             | 10              | 9            | 4          | 4            |

What is simulated here speaks to control in the clear, and to the relay by TLS. A name that must be looked up takes one
more; a relay that names its key in its certificate takes one less.
"""

from __future__ import annotations

import anyio
import pytest

from tests.virtual import VirtualTailnet

ROUND_TRIP = 0.08


async def count(virtual: VirtualTailnet, name: str) -> tuple[float, float]:
    begun = virtual.world.clock()
    node = await virtual.join(name)
    up = virtual.world.clock() - begun
    await node.reachable()
    return up / ROUND_TRIP, (virtual.world.clock() - begun) / ROUND_TRIP


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_round_trips_of_a_join(backend: str) -> None:
    async def main() -> None:
        async with VirtualTailnet() as virtual:
            virtual.world.wire.latency = ROUND_TRIP / 2
            first = await count(virtual, "shop")
            await count(virtual, "laptop")
            await virtual.crash("shop")
            again = await count(virtual, "shop")
            begun = virtual.world.clock()
            async with await virtual.nodes["shop"].listen(80) as listener:
                address = str(virtual.nodes["shop"].addresses[0])
                async with await virtual.nodes["laptop"].dial(address, 80) as stream:
                    await stream.send(b"hello")
                    async with await listener.accept() as accepted:
                        assert await accepted.receive() == b"hello"
            spoken = (virtual.world.clock() - begun) / ROUND_TRIP
        print(f"up {first[0]:.1f}, reachable {first[1]:.1f}; again {again[0]:.1f}, {again[1]:.1f}; heard {spoken:.1f}")
        assert first == pytest.approx((5, 9), abs=0.1)
        assert again == pytest.approx((3, 4), abs=0.1)
        assert spoken < 4.1

    anyio.run(main, backend=backend)

"""A tailnet under virtual time: nodes on machines of their own, and a sleep that costs nothing."""

from __future__ import annotations

from typing import Any

import anyio

import tsnet
from tsnet.edge.io.store import MemoryStore
from tsnet.testing.simulated import SimulatedWorld
from tsnet.testing.tailnet import Tailnet


class VirtualTailnet:
    """`async with` starts the embedded tailnet; `server` makes nodes that have not started."""

    def __init__(self, seed: int = 0, **options: Any) -> None:
        self.world = SimulatedWorld(seed)
        self.tailnet = Tailnet(world=self.world, host=self.world.v4, **options)

    def server(self, name: str, **options: Any) -> tsnet.AsyncServer:
        settings: dict[str, Any] = {
            "control_url": self.tailnet.control_url,
            "auth_key": self.tailnet.auth_key,
            "state": MemoryStore(),
            "ephemeral": True,
            "world": self.world.machine(name),
        }
        return tsnet.AsyncServer(name, **{**settings, **options})

    async def sleep(self, seconds: float) -> None:
        """In virtual time."""
        event = anyio.Event()
        self.world._timeline.at(self.world.clock() + seconds, event.set)
        await event.wait()

    async def __aenter__(self) -> VirtualTailnet:
        await self.tailnet.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.tailnet.__aexit__(*exc)

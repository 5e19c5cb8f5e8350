"""What a call that was given up may have left in a tailnet under virtual time.

    leftovers.begin()                 what is there now may be there
    await leftovers.check("when")     whatever is there beside it has ended, or does so within PATIENCE

Not here: what of a node grows in a long life (`growth`), what a process holds in real time (`footprint`).
"""

from __future__ import annotations

import os
import sys
import threading
from collections import Counter

import anyio

from tests.growth import measure
from tests.virtual import VirtualTailnet

BEGUN: tuple[str, ...] = (
    "tsnet.edge.pipes.",
    "tsnet.edge.run.",
    "tsnet.adapters.",
    "tsnet.sockets.",
    "tsnet.control.client.requests",
)
BEGUN += ("netstack.tcp.tcb", "netstack.tcp.connection", "netstack.tcp.listener", "netstack.udp", "netstack.icmp")
"""The modules whose objects come and go with calls. What others keep was found out about peers and paths."""
KEPT = ("tsnet.edge.run.alarms",)
"""A cancelled alarm stays where it is until its time comes. Those that will ring are counted by themselves."""
SOON = 0.2
PATIENCE = 40.0
"""Seconds of virtual time."""


class Leftovers:
    def __init__(self, virtual: VirtualTailnet) -> None:
        self._virtual = virtual
        self._before: Counter[str] = Counter()
        self._names: dict[str, set[str]] = {}

    def begin(self) -> None:
        self._before = self.held()

    def forget(self) -> None:
        """Until `begin`, everything may be there."""
        self._before.clear()

    def held(self) -> Counter[str]:
        nodes = [node._handle for node in self._virtual.nodes.values()]
        begun = self._begun()
        held = Counter({name: count for name, count in measure(*nodes).items() if name in begun})
        alarms = [self._virtual.tailnet._host._alarms, *(each._pump._alarms for each in nodes if each._pump)]
        held["alarms"] = sum(alarm.function is not None for each in alarms for *_, alarm in each._heap)
        held["tasks"] = len(anyio.get_running_tasks())
        held["threads"] = threading.active_count()
        held["descriptors"] = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
        return held

    async def check(self, when: str) -> None:
        if not self._before:
            return
        until = self._virtual.world.clock() + PATIENCE
        while left := self.held() - self._before:
            assert self._virtual.world.clock() < until, f"{when}: {dict(left)} is left"
            await self._virtual.sleep(SOON)

    def _begun(self) -> set[str]:
        """The classes of those modules, as `measure` names them."""
        for name, module in tuple(sys.modules.items()):
            if name.startswith(BEGUN) and name not in KEPT and name not in self._names:
                own = (each for each in vars(module).values() if isinstance(each, type) and each.__module__ == name)
                self._names[name] = {f"{each.__name__} ×" for each in own}
        return set().union(*self._names.values())

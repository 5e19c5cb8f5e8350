"""A tailnet under virtual time: nodes on machines of their own, a sleep that costs nothing, and all that can go wrong.

    async with VirtualTailnet(seed) as virtual:
        shop = await virtual.join("shop")
        await virtual.restart_control(without=("DERPMap",), down=30)
        virtual.kill_relay(silently=True)
        await virtual.sleep(3600)
        await virtual.revive_relay()

| verb                          | what a node sees                                                                    |
|-------------------------------|-------------------------------------------------------------------------------------|
| join, leave, crash            | a peer that comes; that says goodbye; whose process is killed                       |
| restart_control               | control that was away, and is as before, lacks fields, or has forgotten everything  |
| kill_relay, revive_relay      | a relay that resets or says nothing, STUN likewise; the same relay again            |
| expire, extend, remove        | what an administrator does                                                          |
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from typing import Any

import anyio
import attrs

import tsnet
from tsnet.control.messages import MapResponse
from tsnet.control.snapshot import decode, encode
from tsnet.edge.io.store import MemoryStore
from tsnet.netmap.merge import DerpMapUpdate, MapUpdate
from tsnet.testing.bytestreams import SimulatedListener
from tsnet.testing.simulated import SimulatedWorld
from tsnet.testing.tailnet import RELAY, Tailnet

NOTHING: dict[str, dict[str, Any]] = {
    "Node": {"node": None},
    "Peers": {"peers": ()},
    "UserProfiles": {"users": ()},
    "DERPMap": {"derp_map": None},
    "DERPMap.Regions": {"derp_map": DerpMapUpdate(regions={})},
    "PacketFilter": {"packet_filter": None},
    "DNSConfig": {"dns": None},
    "Domain": {"domain": ""},
    "ControlTime": {"control_time": None},
}
"""What a field of MapResponse is when a message lacks it (or, of DERPMap, has it without a region)."""


class VirtualTailnet:
    """`async with` starts the embedded tailnet; `server` makes nodes that have not started.

    nodes: those that `join` has started and that have not left, by name. stores: the identity of each that ever
    joined, so that it may come back as who it was. first_maps: the last first messages of map streams, as sent.
    """

    def __init__(self, seed: int = 0, **options: Any) -> None:
        self.world = SimulatedWorld(seed)
        self.tailnet = Tailnet(world=self.world, host=self.world.v4, **options)
        self.nodes: dict[str, tsnet.AsyncServer] = {}
        self.stores: dict[str, MemoryStore] = {}
        self.first_maps: deque[MapResponse] = deque(maxlen=64)
        self._without: Collection[str] = ()
        self._silent: SimulatedListener | None = None
        self.tailnet._modify_first_map = self._modify

    async def __aenter__(self) -> VirtualTailnet:
        await self.tailnet.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        with anyio.CancelScope(shield=True):
            for name in tuple(self.nodes):
                await self.leave(name)
            await self.tailnet.__aexit__(*exc)

    async def sleep(self, seconds: float) -> None:
        """In virtual time."""
        event = anyio.Event()
        self.world._timeline.at(self.world.clock() + seconds, event.set)
        await event.wait()

    async def until(self, condition: Callable[[], object], seconds: float = 120.0, every: float = 0.1) -> None:
        """Look now and then until it holds, which it must, by then."""
        limit = self.world.clock() + seconds
        while not condition():
            assert self.world.clock() < limit, "it did not come true"
            await self.sleep(every)

    # --- nodes ----------------------------------------------------------------------------------------------------

    def server(self, name: str, **options: Any) -> tsnet.AsyncServer:
        settings: dict[str, Any] = {
            "control_url": self.tailnet.control_url,
            "auth_key": self.tailnet.auth_key,
            "state": MemoryStore(),
            "ephemeral": True,
            "world": self.world.machine(name),
        }
        return tsnet.AsyncServer(name, **{**settings, **options})

    async def join(self, name: str, *, timeout: float = 120.0, **options: Any) -> tsnet.AsyncServer:
        """A node that is up; who it was before, if a node of that name has been here, and not an ephemeral one."""
        store = self.stores.setdefault(name, MemoryStore())
        node = self.nodes[name] = self.server(name, **{"state": store, "ephemeral": False, **options})
        await node.up(timeout=timeout)
        return node

    async def leave(self, name: str) -> None:
        """In order: it says what it has to say."""
        await self.nodes.pop(name).close()

    async def crash(self, name: str) -> None:
        """Its process is killed: it says nothing more, and its sockets are closed."""
        node = self.nodes.pop(name)
        pump = node._handle.pump
        node._handle.host.remove(pump)
        pump.crash(RuntimeError("killed"))
        await node.close()

    # --- control --------------------------------------------------------------------------------------------------

    async def restart_control(
        self, *, keep_state: bool = True, without: Collection[str] = (), down: float = 0.0
    ) -> None:
        """Its process ends, and after `down` seconds another one listens at the same port.

        keep_state: it knows what the one before had written down; else it has another key, and knows no node.
        without: the fields (as in MapResponse: "DERPMap", …) that the first message of each stream lacks from now on.
        """
        tailnet = self.tailnet
        assert tailnet._keeper is None, "its state is kept by hand here"
        document = encode(tailnet._snapshot())
        tailnet._stop(tailnet._control)
        tailnet._control = None
        if down:
            await self.sleep(down)
        derp_map, relay_key = tailnet._state.derp_map, tailnet._derp_key
        tailnet._begin_anew()
        if keep_state:
            tailnet._restore(decode(document))
        tailnet._state.derp_map, tailnet._derp_key = derp_map, relay_key  # the relay is another process
        self._without = tuple(without)
        tailnet._start_control()
        tailnet._choose_auth_key()
        tailnet._host.wake()

    def _modify(self, message: MapResponse) -> MapResponse:
        lacking = {name: value for field in self._without for name, value in NOTHING[field].items()}
        update: MapUpdate = attrs.evolve(message.update, **lacking)
        self.first_maps.append(attrs.evolve(message, update=update))
        return self.first_maps[-1]

    def expire(self, name: str, after: float = 0.0) -> None:
        """Its key expires, now by hand or by the clock after that many seconds."""
        if not after:
            self.tailnet.expire(name)
            return
        state = self.tailnet._state
        until = self.world.wall() + after
        self.tailnet._do(lambda: state.change(self.tailnet._member(name), key_expiry=until))

    def extend(self, name: str, seconds: float | None = None) -> None:
        """Its key is good again, without a login: for that long, or for ever."""
        until = None if seconds is None else self.world.wall() + seconds
        self.tailnet._do(lambda: self.tailnet._state.extend(self.tailnet._member(name), until))

    def remove(self, name: str) -> None:
        self.tailnet.remove(name)

    # --- the relay ------------------------------------------------------------------------------------------------

    def kill_relay(self, *, silently: bool = False) -> None:
        """The relay and STUN end. Their links are reset and dials refused; silently: nobody hears anything any more."""
        tailnet = self.tailnet
        assert tailnet._relay is not None
        (listener,) = tailnet._relay._ports
        assert isinstance(listener, SimulatedListener)
        tailnet._host.remove(tailnet._relay)  # a process that is killed says no goodbye
        tailnet._stop(tailnet._stun)
        tailnet._relay = tailnet._stun = None
        if silently:
            listener.is_silent = True
            self._silent = listener
        else:
            listener.cut()
            listener.close()
        tailnet._host.wake()

    async def revive_relay(self, after: float = 0.0) -> None:
        """The same relay, with the same key, at the same port; links from before are reset."""
        if after:
            await self.sleep(after)
        if self._silent is not None:
            self._silent.is_silent = False
            self._silent.cut()
            self._silent.close()
            self._silent = None
        self.tailnet._start_relay()
        self.tailnet._start_stun()
        self.tailnet._host.wake()

    @property
    def relay_port(self) -> int:
        return self.tailnet._ports[RELAY]

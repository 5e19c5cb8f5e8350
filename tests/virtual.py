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
| suspend                       | a machine that sleeps: afterwards every link is gone, and hours have passed         |
| restart_control               | control that was away or asks for patience, and then is as before, is as it was     |
|                               | long ago, lacks fields, or has forgotten everything                                 |
| kill_relay, revive_relay      | a relay that resets or says nothing, STUN likewise; the same relay again            |
| expire, extend, renew, remove | what an administrator does, and a login                                             |

A store's `fails` is a full disk, `set_clock` makes a machine's wall clock wrong.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection
from typing import Any, Self

import anyio
import attrs

import tsnet
from tsnet.base.links import Close, Data, Effect, Event, Received
from tsnet.control.messages import MapResponse
from tsnet.control.server.snapshot import decode, encode
from tsnet.edge.io.store import MemoryStore
from tsnet.errors import StateError
from tsnet.netmap.merge import DerpMapUpdate, MapUpdate
from tsnet.testing.bytestreams import SimulatedLinks
from tsnet.testing.simulated import SimulatedWorld
from tsnet.testing.tailnet import Tailnet
from tsnet.testing.wire import SimulatedUdp

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

GIVEN_UP_AFTER = 900.0
"""When a system tells the servers that nobody acknowledges what they send to a machine that sleeps."""


class FailingStore(MemoryStore):
    """fails: whether nothing can be written at present."""

    fails = False

    def write(self, key: str, value: bytes) -> None:
        if self.fails:
            raise StateError("no space is left on this device, for a test")
        super().write(key, value)


class Unavailable:
    """A server in front of one that is away: it answers every request with 503 and Retry-After."""

    def __init__(self, retry_after: int) -> None:
        head = f"HTTP/1.1 503 Service Unavailable\r\nRetry-After: {retry_after}\r\n"
        self.what, self.floods = "server that is away", Counter[str]()
        self.answered = 0
        self._answer = f"{head}Content-Length: 0\r\nConnection: close\r\n\r\n".encode()
        self._effects: list[Effect] = []

    def receive(self, event: Event, now: float) -> None:
        if isinstance(event, Received):
            self.answered += 1
            self._effects += [Data(event.link, self._answer), Close(event.link)]

    def transmit(self, now: float, budget: int) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects

    def deadline(self) -> float:
        return float("inf")

    def close(self) -> None: ...


class VirtualTailnet:
    """`async with` starts the embedded tailnet; `server` makes nodes that have not started.

    nodes: those that `join` has started and that have not left, by name. stores: the identity of each that ever
    joined, so that it may come back as who it was. first_maps: the last first messages of map streams, as sent.
    """

    def __init__(self, seed: int = 0, **options: Any) -> None:
        self.seed = seed
        self.world = SimulatedWorld(seed)
        self.tailnet = self.make_tailnet(**options)
        self.nodes: dict[str, tsnet.AsyncServer] = {}
        self.stores: dict[str, FailingStore] = {}
        self.first_maps: deque[MapResponse] = deque(maxlen=64)
        self._without: Collection[str] = ()
        self.tailnet._modify_first_map = self._modify

    def make_tailnet(self, **options: Any) -> Tailnet:
        """The embedded tailnet, which `async with` starts."""
        return Tailnet(world=self.world, host=self.world.v4, **options)

    async def __aenter__(self) -> Self:
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
        self.at(seconds, event.set)
        await event.wait()

    def at(self, seconds: float, function: Callable[[], None]) -> None:
        """Call it after that time."""
        self.world._timeline.at(self.world.clock() + seconds, function)

    async def until(self, condition: Callable[[], object], seconds: float = 120.0) -> None:
        """Look now and then until it holds, which it must, by then."""
        limit = self.world.clock() + seconds
        while not condition():
            assert self.world.clock() < limit, "it did not come true"
            await self.sleep(0.1)

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
        node = self.make(name, **options)
        await node.up(timeout=timeout)
        return node

    def make(self, name: str, **options: Any) -> tsnet.AsyncServer:
        """The node that `join` starts, which nobody has started."""
        store = self.stores.setdefault(name, FailingStore())
        self.nodes[name] = self.server(name, **{"state": store, "ephemeral": False, **options})
        return self.nodes[name]

    async def leave(self, name: str) -> None:
        """In order: it says what it has to say."""
        await self.nodes.pop(name).close()

    async def crash(self, name: str) -> None:
        """Its process is killed: it says nothing more, and its sockets are closed."""
        node = self.nodes.pop(name)
        pump = node._handle._pump
        if pump is not None:
            node._handle.host.remove(pump)
            pump.crash(RuntimeError("killed"))
        await node.close()

    async def suspend(self, name: str, seconds: float) -> None:
        """Its machine sleeps that long. What is sent to it is lost, and whoever was connected to it finds out."""
        pump, host = self.nodes[name]._handle.pump, self.tailnet._host
        links, udp = pump._links, pump._udp
        assert isinstance(links, SimulatedLinks)
        assert isinstance(udp, SimulatedUdp)
        host.remove(pump)
        links.is_silent, udp.is_open = True, False
        await self.sleep(min(seconds, GIVEN_UP_AFTER))
        _reset_others(links, "timeout" if seconds > GIVEN_UP_AFTER else "reset")
        await self.sleep(max(0.0, seconds - GIVEN_UP_AFTER))
        links.is_silent = False
        for end in tuple(links.ends.values()):
            links.end(end, "reset")
        udp.is_open = True
        host.add(pump)
        pump.mark()
        host.wake()

    def set_clock(self, name: str, error: float) -> None:
        """The wall clock of that machine is wrong by so many seconds from now on; 0 sets it right."""
        timeline = self.world._timeline
        self.world.machine(name).wall = lambda: timeline.wall + error  # type: ignore[method-assign]

    # --- control --------------------------------------------------------------------------------------------------

    def backup(self) -> bytes:
        """What control would write down now."""
        return encode(self.tailnet._snapshot())

    async def restart_control(
        self,
        *,
        keep_state: bool = True,
        keep_key: bool | None = None,
        backup: bytes = b"",
        without: Collection[str] = (),
        down: float = 0.0,
        retry_after: int = 0,
    ) -> None:
        """Its process ends, and after `down` seconds another one listens at the same port.

        keep_state: it knows what the one before had written down; else it knows no node. backup: what it knows instead.
        keep_key: whether it has the key of the one before; if not said, that is as keep_state.
        without: the fields (as in MapResponse: "DERPMap", …) that the first message of each stream lacks from now on.
        retry_after: meanwhile somebody in front of it answers, and asks for that many seconds of patience.
        """
        tailnet = self.tailnet
        assert tailnet._keeper is None, "its state is kept by hand here"
        document = backup or self.backup()
        tailnet._stop(tailnet._control)
        tailnet._control = None
        if down:
            await self._be_away(down, retry_after)
        derp_map, told, key = tailnet._state.derp_map, tailnet._told_regions, tailnet._machine_key
        relays = [(relay, relay.kept()) for relay in tailnet._relays.values()]
        tailnet._begin_anew()
        if keep_state:
            tailnet._restore(decode(document))
        elif keep_key:
            tailnet._machine_key = key
        tailnet._state.derp_map, tailnet._told_regions = derp_map, told
        for relay, kept in relays:  # they are other processes
            relay.take_on(kept)
        self._without = tuple(without)
        tailnet._start_control()
        tailnet._choose_auth_key()
        tailnet._host.wake()

    async def _be_away(self, seconds: float, retry_after: int) -> None:
        tailnet, front = self.tailnet, None
        if retry_after:
            front = tailnet._port.listen(
                self.world, (self.world.v4,), lambda _port: Unavailable(retry_after), limits=tailnet._link_limits
            )
            tailnet._host.add(front)
        await self.sleep(seconds)
        tailnet._stop(front)

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

    def renew(self, name: str) -> None:
        """It logs in anew with the auth key, and gets another node key."""
        pump = self.nodes[name]._handle.pump
        pump.node._control.wake().login(self.world.clock(), self.tailnet.auth_key)
        pump.mark()
        self.tailnet._host.wake()

    def remove(self, name: str) -> None:
        self.tailnet.remove(name)

    # --- the relay ------------------------------------------------------------------------------------------------

    def kill_relay(self, *, silently: bool = False) -> None:
        """The relay and STUN end. Their links are reset and dials refused; silently: nobody hears anything any more."""
        (relay,) = self.tailnet.relays
        relay.silence() if silently else relay.kill()

    async def revive_relay(self, after: float = 0.0) -> None:
        """The same relay, with the same key, at the same port; links from before are reset."""
        if after:
            await self.sleep(after)
        self.tailnet.relays[0].start()

    @property
    def relay_port(self) -> int:
        return self.tailnet.relays[0].derp_port


def _reset_others(links: SimulatedLinks, reason: str) -> None:
    """The other ends of these links are told that this is over."""
    for end in links.ends.values():
        if end.other is not None:
            end.other.port.end(end.other, reason)

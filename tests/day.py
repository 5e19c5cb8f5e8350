"""A day of ten nodes under virtual time: they do what they like, while everything around them fails and is mended.

    storm (40 minutes or more) ─► everything is mended ─► every node gets up, is reachable, and echoes
        ─► streams outlive a short outage ─► nobody does anything for 20 minutes ─► what is held is measured
        ─► the next storm

`asyncio.run(Day(seed, hours=24).run())` raises AssertionError for whatever must not be; `measures` and `trace` tell.

Not here: what the nodes do (`inhabitants`), what is measured (`growth`).
"""

from __future__ import annotations

import gc
import logging
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio

import tsnet
from tests.growth import growth, measure, objects
from tests.inhabitants import PORT, Inhabitant, exchange
from tests.virtual import NOTHING, VirtualTailnet
from tsnet.control.server.tailnet import AuthKey

HOUR = 3600.0
STORM = 2400.0
QUIET = 1200.0
SETTLED_AFTER = 200.0
"""When all that a storm leaves behind is done: lost links, guests that are forgotten, TIME_WAIT."""
MENDED_BY = 700.0
"""Control may ask a node to be patient for five minutes, and twice in a row."""
TURNS = 0.3
"""Turns a second that a node may take while nobody does anything: every ten seconds it asks whether its home relay is
there, and is answered."""
STILL = 3000
"""Steps of the loop in which no time passes, for ten nodes: more is one that waits for itself."""
USER = "you@tailnet.test"
OUTAGES = (0.0, 1.0, 5.0, 20.0)
LATENCY = 0.005


class Faults(logging.Handler):
    """What the library's log says of its own faults: an exception that nobody was told of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info or "please report" in record.getMessage():
            self.found.append(self.format(record))

    @contextmanager
    def listening(self) -> Iterator[None]:
        log = logging.getLogger("tsnet")
        log.addHandler(self)
        log.propagate = False  # whoever keeps records of a test keeps their errors, and all that hangs on them
        try:
            yield
        finally:
            log.removeHandler(self)
            log.propagate = True


class Day(VirtualTailnet):
    """weather: the troubles that are everybody's, since the world was last in order."""

    def __init__(self, seed: int, hours: float, nodes: int = 10) -> None:
        super().__init__(seed, tag_owners={"tag:web": [USER]}, user=USER)
        self.random = random.Random(f"weather {seed}")
        self.weather: set[str] = set()
        self.happened: list[str] = []
        self.measures: list[dict[str, int]] = []
        self.inhabitants: list[Inhabitant] = []
        self.faults = Faults()
        self._hours = hours
        self._count = nodes
        self._is_storm = False
        self._auth_key: AuthKey | None = None
        self._still = 0
        self._watch_the_clock()

    async def run(self) -> None:
        with self.faults.listening():
            await self._live()
        assert not growth(self.measures), growth(self.measures)

    async def _live(self) -> None:
        begun = self.world.clock()
        async with self, anyio.create_task_group() as group:
            self._settle_in(group)
            await self.check_nodes()  # who meets control for the first time should not meet a stranger
            while not self.measures or self.world.clock() - begun < self._hours * HOUR:
                await self.storm()
                await self.mend()
                await self.check_nodes()
                await self.check_streams()
                await self.be_quiet()
            group.cancel_scope.cancel()

    def _settle_in(self, group: anyio.abc.TaskGroup) -> None:
        kinds: list[dict[str, Any]] = [{}, {"ephemeral": True}, {"person": True}, {"tags": ["tag:web"]}, {}]
        key = self._auth_key = self.tailnet._state.auth_keys[self.tailnet.auth_key]
        for number in range(self._count):
            self.inhabitants.append(
                Inhabitant(self, group, f"n{number}", auth_key=key.text, **kinds[number % len(kinds)])
            )

    def _watch_the_clock(self) -> None:
        wait = self.world.wait

        def watched(until: float) -> None:
            before = self.world.clock()
            wait(until)
            self._still = self._still + 1 if self.world.clock() == before else 0
            if self._still > STILL:
                raise SystemExit(f"time stands still at {before}")

        self.world.wait = watched  # type: ignore[method-assign]

    # --- the storm ------------------------------------------------------------------------------------------------

    async def storm(self) -> None:
        until = self.world.clock() + STORM
        self._is_storm = True
        for each in self.inhabitants:
            each.hurries = False
        async with anyio.create_task_group() as group:
            for each in self.inhabitants:
                group.start_soon(each.live, lambda: self._is_storm, self.inhabitants, self.weather)
            await self.sleep(self.random.uniform(0, 120))
            while self.world.clock() < until:
                event = self.random.choices(tuple(EVENTS), tuple(EVENTS.values()))[0]
                self.happened.append(f"{self.world.clock():.0f} {event.__name__}")
                await event(self)
                self.check_always()
                await self.sleep(self.random.expovariate(1 / 180))
            self._is_storm = False
            await self.calm_down()

    async def calm_down(self) -> None:
        """Control and the relay are there again, so that nobody waits for them for long."""
        self.weather.add("control")
        if not self.tailnet.relays[0].is_running:
            await self.revive_relay()
        await self.restart_control()

    def check_always(self) -> None:
        """What holds in the middle of everything, too."""
        assert not self.faults.found, self.faults.found[0]
        for node in self.nodes.values():
            status = node.status()
            assert (status.state == "running") <= bool(node.addresses), f"{status} has no address"

    def someone(self) -> Inhabitant:
        return self.random.choice(self.inhabitants)

    def befalls(self, who: Inhabitant, trouble: str) -> str:
        """Whose node it is, under the name that control knows; "" if control does not know it."""
        who.troubles.add(trouble)
        return who.node.name if who.node is not None and self.tailnet._state.named(who.node.name) else ""

    # --- afterwards -----------------------------------------------------------------------------------------------

    async def mend(self) -> None:
        """The administrator and the owners of the machines put everything in order."""
        self.world.wire.latency = LATENCY
        self.hand_out_the_key()
        for member in tuple(self.tailnet._state.members.values()):
            if member.is_expired(self.world.wall()):
                self.extend(member.name)
        for each in self.inhabitants:
            each.visit_the_page()
            self.set_clock(each.name, 0.0)
            if each.name in self.stores:
                self.stores[each.name].fails = False

    def hand_out_the_key(self) -> None:
        """A control that has forgotten everything is told the auth key that everybody has."""
        assert self._auth_key is not None
        self.tailnet._state.add_user(USER)
        self.tailnet._state.auth_keys[self._auth_key.text] = self._auth_key
        self.tailnet.auth_key = self._auth_key.text

    async def check_nodes(self) -> None:
        async with anyio.create_task_group() as group:
            for each in self.inhabitants:
                group.start_soon(self._gets_up, each)
        async with anyio.create_task_group() as group:
            for each in self.inhabitants:
                other = self.random.choice([one for one in self.inhabitants if one is not each])
                group.start_soon(self._echoes, each, other)
        for each in self.inhabitants:
            each.troubles.clear()
        self.weather.clear()

    async def _gets_up(self, who: Inhabitant) -> None:
        """No state but closed is one that a later `up` cannot leave."""
        limit = self.world.clock() + MENDED_BY
        node = who.node or who.make()
        while (error := await _refusal(node)) is not None:
            assert self.world.clock() < limit, f"{who} of seed {self.seed} does not get up: {error!r}"
            await self.sleep(5.0)

    async def _echoes(self, one: Inhabitant, other: Inhabitant) -> None:
        assert one.node is not None
        assert other.node is not None
        await self.until(lambda: other.node and any(True for _ in self._listening(other)))
        async with await one.node.dial(str(other.node.addresses[0]), PORT, timeout=60.0) as stream:
            with one.within(60.0) as waited:
                await exchange(stream, b"good morning")
            assert not waited.cancelled_caught, f"{one} hears no echo of {other}"

    def _listening(self, who: Inhabitant) -> Any:
        assert who.node is not None
        return (True for endpoint in who.node._handle.pump.owners if getattr(endpoint, "port", 0) == PORT)

    async def check_streams(self) -> None:
        """Those that are open before a short outage are still there after it."""
        streams = []
        for _ in range(3):
            one, other = self.random.sample(self.inhabitants, 2)
            assert one.node is not None
            assert other.node is not None
            stream = await one.node.dial(str(other.node.addresses[0]), PORT, timeout=60.0)
            await exchange(stream, b"before")
            streams.append((one, other, stream))
        self.kill_relay(silently=self.random.random() < 0.5)
        await self.restart_control(down=self.random.choice(OUTAGES))
        await self.revive_relay(after=self.random.choice(OUTAGES))
        for one, other, stream in streams:
            with one.within(120.0) as waited:
                await exchange(stream, b"after")
            assert not waited.cancelled_caught, f"{one} of seed {self.seed} has lost its stream to {other}"
            await stream.aclose()

    async def be_quiet(self) -> None:
        await self.sleep(SETTLED_AFTER)
        turns = {each.name: self._pump(each).turns for each in self.inhabitants}
        begun = self.world.clock()
        await self.sleep(QUIET - SETTLED_AFTER)
        spent = self.world.clock() - begun
        for each in self.inhabitants:
            taken = self._pump(each).turns - turns[each.name]
            assert taken < TURNS * spent, f"{each} of seed {self.seed} took {taken} turns in {spent} s without work"
        self.first_maps.clear()
        gc.collect()
        handles = [each.node._handle for each in self.inhabitants if each.node is not None]
        self.check_always()
        self.measures.append(measure(handles, self.tailnet, self.world, self.tailnet._host) | objects())

    def _pump(self, who: Inhabitant) -> Any:
        assert who.node is not None
        return who.node._handle.pump


async def _refusal(node: tsnet.AsyncServer) -> tsnet.Error | None:
    """Why it does not get up, or cannot be reached, within a minute."""
    try:
        await node.up(timeout=60.0)
        await node.reachable(timeout=60.0)
    except tsnet.Error as error:
        return error
    return None


# --- what happens to everybody --------------------------------------------------------------------------------------

Event = Callable[[Day], Awaitable[None]]
A_WHILE = (0.0, 2.0, 10.0, 60.0, 300.0, 3600.0)
OFTEN = (16, 16, 16, 12, 6, 1)


def a_while(day: Day) -> float:
    return day.random.choices(A_WHILE, OFTEN)[0] * day.random.uniform(0.5, 1.0)


async def control_restarts(day: Day) -> None:
    day.weather.add("control")
    await day.restart_control(down=a_while(day))


async def control_asks_for_patience(day: Day) -> None:
    day.weather.add("control")
    await day.restart_control(down=10.0 + a_while(day), retry_after=day.random.choice((1, 10, 60, 600)))


async def control_sends_less(day: Day) -> None:
    day.weather.add("control")
    lacking = day.random.sample(sorted(NOTHING), day.random.randint(1, len(NOTHING)))
    if "Node" in lacking:
        day.weather.add("no node")
    await day.restart_control(down=a_while(day), without=lacking)
    await day.sleep(day.random.uniform(10, 300))
    await day.restart_control()


async def control_forgets(day: Day) -> None:
    """Once or twice; the auth key is known again at once, or later."""
    day.weather |= {"control", "forgotten", "locked out"}
    for _ in range(day.random.randint(1, 2)):
        await day.restart_control(keep_state=False, keep_key=True, down=a_while(day))
        if day.random.random() < 0.5:
            await day.sleep(day.random.uniform(0, 120))
        day.hand_out_the_key()


async def control_is_a_stranger(day: Day) -> None:
    """Somebody sets it up anew, and then restores the backup."""
    day.weather |= {"control", "forgotten", "locked out", "stranger"}
    backup = day.backup()
    await day.restart_control(keep_state=False, down=a_while(day))
    await day.sleep(day.random.uniform(10, 200))
    await day.restart_control(backup=backup, down=a_while(day))


async def the_relay_dies(day: Day) -> None:
    day.weather.add("relay")
    day.kill_relay(silently=day.random.random() < 0.5)
    await day.revive_relay(after=a_while(day))


async def both_die(day: Day) -> None:
    day.weather |= {"control", "relay"}
    day.kill_relay(silently=day.random.random() < 0.5)
    await day.restart_control(down=a_while(day))
    await day.revive_relay(after=a_while(day))


async def the_network_is_slow(day: Day) -> None:
    day.weather.add("slow")
    day.world.wire.latency = day.random.uniform(0.05, 0.5)
    await day.sleep(a_while(day))
    day.world.wire.latency = LATENCY


async def a_key_expires(day: Day) -> None:
    """By hand or by the clock; it is extended, by and by."""
    name = day.befalls(day.someone(), "expired")
    if not name:
        return
    day.expire(name, after=day.random.choice((0.0, 30.0)))
    await day.sleep(a_while(day))
    if day.random.random() < 0.7 and day.tailnet._state.named(name) is not None:
        day.extend(name, day.random.choice((None, 60.0, 86_400.0)))


async def a_node_is_removed(day: Day) -> None:
    name = day.befalls(day.someone(), "removed")
    if name:
        day.remove(name)


async def a_disk_is_full(day: Day) -> None:
    who = day.someone()
    who.troubles.add("store")
    if who.name in day.stores:
        day.stores[who.name].fails = True
        await day.sleep(a_while(day))
        day.stores[who.name].fails = False


async def a_clock_is_wrong(day: Day) -> None:
    who = day.someone()
    who.troubles.add("clock")
    day.set_clock(who.name, day.random.choice((-1, 1)) * day.random.choice((2.0, 300.0, 86_400.0, 3e7)))
    await day.sleep(a_while(day))
    if day.random.random() < 0.5:
        day.set_clock(who.name, 0.0)


EVENTS: dict[Event, float] = {
    control_restarts: 3,
    control_asks_for_patience: 2,
    control_sends_less: 3,
    control_forgets: 1,
    control_is_a_stranger: 1,
    the_relay_dies: 4,
    both_die: 1,
    the_network_is_slow: 1,
    a_key_expires: 3,
    a_node_is_removed: 1.5,
    a_disk_is_full: 2,
    a_clock_is_wrong: 2,
}
"""And how often, beside the others."""

"""A week of twenty nodes on the simulated internet: they roam, sleep, restart and renew their keys, and hold streams.

    a day: everybody lives, pairs talk now and then ─► everybody is awake and mended ─► nobody says anything for 20 min
        ─► what is held is measured ─► the next day

| what happens                                              | how often, on average                              |
|-----------------------------------------------------------|----------------------------------------------------|
| a node moves to another home                              | every 4 hours, each                                |
| its machine sleeps, for 10 minutes to 8 hours             | every 12 hours, each                               |
| its process restarts: the same node has a new disco key   | every 2 days, each                                 |
| its key expires; it is renewed, or the same one extended  | every 2 days, each                                 |
| a relay restarts, dies or falls silent, up to 2 minutes   | every 4 hours                                      |
| a router restarts, or gets another outside address        | every 4 hours                                      |
| a pair says something, two to eight times                 | every 30 minutes, each                             |

What must hold: a stream is lost only where Go's design loses it (`Pair.loses`), what is said is answered `PATIENCE`
seconds after the last trouble at the latest, no address is pinged more often than five times a second (`PingWatch`),
and from the second day on nothing that is held grows.

`hurry` divides all times: an hour then has what a day has.

Not here: what is measured (`growth`), the homes (`homes`).
"""

from __future__ import annotations

import contextlib
import gc
import os
import random
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import anyio

import tsnet
from netstack.tcp.listener import KEEPALIVE
from tests.day import Faults
from tests.growth import growth, measure, objects
from tests.homes import PORT, Homes
from tests.inhabitants import exchange
from tsnet.base.addresses import UdpAddress
from tsnet.disco.box import looks_like_disco
from tsnet.disco.constants import PINGS_PER_SECOND
from tsnet.testing.internethost import InternetHost
from tsnet.testing.router import Router, Site

HOUR = 3600.0
DAY = 24 * HOUR
QUIET = 1200.0
PATIENCE = 120.0
"""Seconds after the last trouble by when everything said is answered."""
RETRANSMITS = 900.0
"""Seconds for which what was said is sent again at least, before a stream ends without an answer."""
ASKS = KEEPALIVE[0] + KEEPALIVE[1] * (KEEPALIVE[2] - 1)
"""Seconds after which a stream may end because it is not used, and its other end does not answer for it."""
PLACES = ("public", "full cone", "address", "easy", "hard", "provider", "blocked")
PONG_SIZE = 110
TALK = HOUR / 2


class PingWatch:
    """Disco datagrams by UDP, as the wire sees them. worst: the most pings of one host to one address in a second."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.pings: int = 0
        self.pongs: int = 0
        self.worst: int = 0
        self.by_hour: Counter[tuple[str, int]] = Counter()
        self._clock = clock
        self._last: deque[tuple[float, tuple[str, UdpAddress]]] = deque()
        self._counts: Counter[tuple[str, UdpAddress]] = Counter()

    def watch(self, host: InternetHost) -> None:
        carry = host.carry_udp

        def watched(port: int, destination: UdpAddress, datagrams: Sequence[bytes], *more: Any) -> None:
            for datagram in datagrams:
                if looks_like_disco(datagram):
                    self._see(host.name, destination, len(datagram))
            carry(port, destination, datagrams, *more)

        host.carry_udp = watched  # type: ignore[assignment,method-assign]

    def _see(self, name: str, destination: UdpAddress, size: int) -> None:
        if size == PONG_SIZE:
            self.pongs += 1
            return
        now, last, counts = self._clock(), self._last, self._counts
        while last and last[0][0] <= now - 1.0:
            key = last.popleft()[1]
            counts[key] -= 1
            if not counts[key]:
                del counts[key]
        self.pings += 1
        self.by_hour[name, int(now // HOUR)] += 1
        last.append((now, (name, destination)))
        counts[name, destination] += 1
        self.worst = max(self.worst, counts[name, destination])


class Resident:
    """One node. troubled_until: when the last thing that keeps it from answering was over, inf while it is not.

    lately: what has happened to it last. processes: how many it has had. slept: from when to when, last time.
    """

    def __init__(self, week: Week, name: str) -> None:
        self.week, self.name = week, name
        self.random = random.Random(f"{week.seed} {name}")
        self.troubled_until: float = 0.0
        self.processes: int = 0
        self.slept: tuple[float, float] = (0.0, 0.0)
        self.lately: deque[str] = deque(maxlen=5)

    @property
    def node(self) -> tsnet.AsyncServer:
        return self.week.nodes[self.name]

    async def begin(self) -> None:
        """Another process of it."""
        node = await self.week.join_at(self.name, self.week.net.hosts[self.name])
        self.week.group.start_soon(self._serve, node)

    async def _serve(self, node: tsnet.AsyncServer) -> None:
        with contextlib.suppress(tsnet.Error):
            async with await node.listen(PORT, timeout=None) as listener:
                await listener.serve(_echo)

    async def live(self, until: float) -> None:
        means = {event: mean / self.week.hurry for event, mean in EVENTS.items()}
        rate = sum(1 / mean for mean in means.values())
        while True:
            if not await self.week.pauses(self.random.expovariate(rate), until):
                return
            (event,) = self.random.choices(tuple(means), [1 / mean for mean in means.values()])
            self.week.happened[event.__name__] += 1
            began, self.troubled_until = self.week.now, float("inf")
            await event(self, until)
            self.troubled_until = self.week.now
            self.lately.append(f"{event.__name__} {began:.0f}-{self.week.now:.0f}")

    def some_time(self, shortest: float, longest: float, until: float) -> float:
        """So many seconds, in a hurry fewer, and no more than are left."""
        wanted = self.random.uniform(shortest, longest) / self.week.hurry
        return max(1.0, min(wanted, until - self.week.now))


Event = Callable[[Resident, float], Awaitable[None]]


async def moves(who: Resident, until: float) -> None:
    who.week.net.hosts[who.name].move(who.week.places[who.random.choice(PLACES)])


async def sleeps(who: Resident, until: float) -> None:
    seconds = who.some_time(600.0, who.random.choice((3600.0, 8 * HOUR)), until)
    who.slept = who.week.now, who.week.now + seconds
    await who.week.suspend(who.name, seconds)


async def restarts(who: Resident, until: float) -> None:
    who.processes += 1
    if who.random.random() < 0.5:
        await who.week.leave(who.name)
    else:
        await who.week.crash(who.name)
    await who.week.sleep(who.some_time(1.0, 60.0, until))
    await who.begin()


async def key_ends(who: Resident, until: float) -> None:
    """An administrator lets it expire. A new login brings another key, or the administrator extends the one it has."""
    week, node = who.week, who.node
    week.expire(node.name)
    await week.sleep(who.some_time(60.0, 600.0, until))
    if who.random.random() < 0.5:
        week.extend(node.name)
    else:
        week.renew(who.name)
    await week.until(lambda: node.status().state == "running")


EVENTS: dict[Event, float] = {moves: 4 * HOUR, sleeps: 12 * HOUR, restarts: 2 * DAY, key_ends: 2 * DAY}
"""And after how many seconds each comes, on average."""


class Pair:
    """A stream between two that is used now and then. longest: the longest that anything said was under way after the
    last trouble. lost: streams that ended, by why they may."""

    def __init__(self, week: Week, one: Resident, other: Resident) -> None:
        self.week, self.ends = week, (one, other)
        self.random = random.Random(f"{week.seed} {one.name} {other.name}")
        self.longest: float = 0.0
        self.lost: Counter[str] = Counter()
        self.exchanges = self.dials = 0
        self._stream: tsnet.Stream | None = None
        self._opened: tuple[float, list[int]] = (0.0, [])
        self._used_at = self._said_at = 0.0

    async def live(self, until: float) -> None:
        while True:
            if not await self.week.pauses(self.random.expovariate(self.week.hurry / TALK), until):
                return
            if self._is_ready():
                await self.talk()

    def _is_ready(self) -> bool:
        return max(each.troubled_until for each in self.ends) < self.week.now

    async def talk(self) -> None:
        for _ in range(self.random.randint(2, 8)):
            if self._stream is None and not await self._dial():
                return
            await self._say(self.random.randbytes(self.random.choice((1, 100, 5000))))
            await self.week.sleep(self.random.uniform(0.5, 3.0))

    async def _dial(self) -> bool:
        """Whether there is a stream now; if not, somebody is in trouble."""
        one, other = self.ends
        begun = self.week.now
        if not self._is_ready():
            return False
        try:
            self._stream = await one.node.dial(str(other.node.addresses[0]), PORT, timeout=PATIENCE)
        except tsnet.Error as error:
            return self._gives_up(error, begun)
        self.dials += 1
        self._used_at = self.week.now
        self._opened = self.week.now, self._processes()
        return True

    def _processes(self) -> list[int]:
        return [each.processes for each in self.ends]

    async def _say(self, data: bytes) -> None:
        begun = self._said_at = self.week.now
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._be_impatient)
                assert self._stream is not None
                await exchange(self._stream, data)
                tasks.cancel_scope.cancel()
        except* (tsnet.Error, anyio.BrokenResourceError, anyio.EndOfStream, anyio.ClosedResourceError) as errors:
            self._give_it_up(errors.exceptions[0])
        else:
            self.exchanges += 1
            self._used_at = self.week.now
            self.longest = max(self.longest, self.week.now - max(begun, min(self.week.now, self.week.trouble_of(self))))

    def _gives_up(self, error: tsnet.Error, begun: float) -> bool:
        """There is no stream, which somebody's trouble explains."""
        assert self.week.trouble_of(self) > begun, f"{self} has no stream: {error!r}"
        return False

    def _give_it_up(self, error: BaseException) -> None:
        reason = self.loses()
        assert reason, f"{self} has lost its stream: {error!r}, {error.__cause__!r}"
        self.lost[reason] += 1
        assert self._stream is not None
        self._stream.abort()
        self._stream = None

    async def _be_impatient(self) -> None:
        """Not while there is trouble."""
        begun = self.week.now
        while self.week.now < (limit := max(begun, self.week.trouble_of(self)) + PATIENCE):
            await self.week.sleep(min(PATIENCE, max(1.0, limit - self.week.now)))
        raise AssertionError(f"{self} hears no answer, {PATIENCE} s after the last trouble")

    def loses(self) -> str:
        """Why this stream may be lost, in Go's design too; "" if it may not."""
        if self._opened[1] != self._processes():
            return "restarts"
        for begun, ended in (each.slept for each in self.ends):
            if ended > self._used_at + ASKS or (begun <= self._said_at < ended - RETRANSMITS):
                return "sleeps"
        return ""

    async def close(self) -> None:
        if self._stream is not None:
            await self._stream.aclose()
            self._stream = None

    def __repr__(self) -> str:
        names = " and ".join(f"{each.name} ({', '.join(each.lately)})" for each in self.ends)
        return f"<{names} of seed {self.week.seed} at {self.week.now:.3f}, opened at {self._opened[0]:.0f}>"


class Week(Homes):
    """happened: how often what. measures: one for each day, after everything was calm."""

    def __init__(self, seed: int, *, days: int = 7, nodes: int = 20, hurry: float = 1.0) -> None:
        super().__init__(seed)
        self.random = random.Random(f"week {seed}")
        self.hurry = hurry
        self.happened: Counter[str] = Counter()
        self.measures: list[dict[str, int]] = []
        self.watch: PingWatch = PingWatch(self.world.clock)
        self.residents = [Resident(self, f"node-{number}") for number in range(nodes)]
        self.pairs = [Pair(self, *ends) for ends in zip(self.residents[::2], self.residents[1::2], strict=True)]
        self.relays_troubled_until: float = 0.0
        self.faults = Faults()
        self._days = days
        self.places: dict[str, Site] = {}
        self.group: anyio.abc.TaskGroup

    @property
    def now(self) -> float:
        return self.world.clock()

    def trouble_of(self, pair: Pair) -> float:
        """When the last one was over."""
        return max(self.relays_troubled_until, *(each.troubled_until for each in pair.ends))

    async def pauses(self, seconds: float, until: float) -> bool:
        """Let that time pass. Whether it is not yet that late then."""
        await self.sleep(min(seconds, max(0.0, until - self.now)))
        return self.now < until

    async def run(self) -> None:
        with self.faults.listening():
            async with self, anyio.create_task_group() as self.group:
                await self._settle()
                for _ in range(self._days):
                    await self._day()
                    await self._be_quiet()
                for pair in self.pairs:
                    await pair.close()
                self.group.cancel_scope.cancel()
        self.judge()

    def judge(self) -> None:
        assert not self.faults.found, self.faults.found[0]
        grown = growth(self.measures[1:] if len(self.measures) > 2 else self.measures)
        assert not grown, grown
        assert self.watch.worst <= PINGS_PER_SECOND
        assert self.watch.pongs <= self.watch.pings

    async def _settle(self) -> None:
        for kind in PLACES:
            place = self.build(kind, f"at {kind}").place
            assert isinstance(place, Site)
            self.places[kind] = place
        for each in self.residents:
            host = self.places[self.random.choice(PLACES)].host(each.name)
            self.watch.watch(host)
            await each.begin()

    async def _day(self) -> None:
        until = self.now + DAY / self.hurry
        async with anyio.create_task_group() as tasks:
            for live in [each.live for each in self.residents] + [each.live for each in self.pairs]:
                tasks.start_soon(live, until)
            tasks.start_soon(self._weather, until)

    async def _weather(self, until: float) -> None:
        """What happens to the relays and the routers."""
        while True:
            if not await self.pauses(self.random.expovariate(self.hurry / (2 * HOUR)), until):
                return
            what = self.random.choice((self._relay_fails, self._router_fails))
            self.happened[what.__name__.strip("_")] += 1
            self.relays_troubled_until = float("inf")
            await what(until)
            self.relays_troubled_until = self.now

    async def _relay_fails(self, until: float) -> None:
        relay = self.random.choice(self.tailnet.relays)
        self.random.choice((relay.stop, relay.kill, relay.silence))()
        await self.sleep(min(self.random.uniform(0.0, 120.0), max(0.0, until - self.now)))
        relay.start()

    async def _router_fails(self, until: float) -> None:
        router: Router = self.random.choice(list(self.net.routers.values()))
        self.random.choice((router.restart, router.renumber) if router.wan_v4 else (router.restart,))()

    async def _be_quiet(self) -> None:
        await self.sleep(QUIET)
        assert not self.faults.found, self.faults.found[0]
        for router in self.net.routers.values():
            if router.table is not None:
                router.table.expire(self.now)  # or those of the day's last hour are counted or not, by chance
        gc.collect()
        handles = [each.node._handle for each in self.residents]
        sizes = measure(handles, self.tailnet, self.tailnet._host) | objects()
        self.measures.append(sizes | {"descriptors": len(os.listdir("/proc/self/fd"))})

    def figures(self) -> dict[str, Any]:
        """What there was, for a report."""
        lost: Counter[str] = sum((pair.lost for pair in self.pairs), Counter())
        return {
            "happened": dict(self.happened),
            "exchanges": sum(pair.exchanges for pair in self.pairs),
            "streams": sum(pair.dials for pair in self.pairs),
            "lost": dict(lost),
            "longest": round(max(pair.longest for pair in self.pairs), 1),
            "pings": self.watch.pings,
            "pongs": self.watch.pongs,
            "pings to one address in a second": self.watch.worst,
            "pings of one node in an hour": max(self.watch.by_hour.values(), default=0),
            "turns": sum(each.node._handle.pump.turns for each in self.residents) if self.nodes else 0,
            "objects": [sum(n for name, n in each.items() if name.endswith("in memory")) for each in self.measures],
            "descriptors": [each["descriptors"] for each in self.measures],
        }


async def _echo(stream: Any) -> None:
    with contextlib.suppress(tsnet.Error, anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
        async with stream:
            while True:
                await stream.send(await stream.receive())

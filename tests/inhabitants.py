"""Who lives in a tailnet under virtual time: each has one node, does with it what applications do, and judges errors.

    up, dial and echo, hold a stream, datagrams, ping, listen, give up halfway, idle, sleep
    leave and come back, crash and come back, as who it was

Whatever a verb raises must be an `Error` that something which really happened explains (`EXPLANATIONS`), and must come
by the verb's timeout.

Not here: what happens to them (`day`).
"""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import anyio
from anyio.abc import TaskGroup

import tsnet
from tests.virtual import VirtualTailnet
from tsnet import errors
from tsnet.base_server import CLOSE_TIMEOUT

PORT = 7
LATE = 0.5
"""Seconds by which an error may come after its timeout."""

TROUBLE = {"control", "no node", "relay", "asleep", "clock", "store", "expired", "removed"}
TROUBLE |= {"forgotten", "locked out", "stranger", "slow"}

EXPLANATIONS: dict[type[errors.Error], set[str]] = {
    errors.UpTimeout: TROUBLE,
    errors.ControlUnreachable: {"control", "asleep", "slow"},
    errors.NotAControlServer: {"no node"},
    errors.AuthKeyRejected: {"locked out"},
    errors.ControlKeyChanged: {"stranger"},
    errors.NodeRemoved: {"removed", "forgotten"},
    errors.KeyExpired: {"expired", "clock"},
    errors.NeedsLogin: {"person"},
    errors.StateError: {"store"},
    errors.NotOnTailnet: {"neighbour"},
    errors.DialTimeout: {*TROUBLE, "neighbour"},
    errors.DialRefused: {*TROUBLE, "neighbour"},
    errors.HostUnreachable: {*TROUBLE, "neighbour"},
    errors.StreamReset: {*TROUBLE, "neighbour"},
}
"""What can be the reason for an error; "neighbour": the other node was not there, or went away, or does not listen."""


class Inhabitant:
    """person: nobody has given it an auth key, and a person visits its login URLs, sooner or later.

    troubles: what has befallen it since the world was last in order. did: how often which verb ended how.
    hurries: whether that person comes at once.
    """

    def __init__(
        self, virtual: VirtualTailnet, group: TaskGroup, name: str, *, person: bool = False, **options: Any
    ) -> None:
        self.name = name
        self.random = random.Random(f"{virtual.seed} {name}")
        self.troubles: set[str] = set()
        self.did: Counter[str] = Counter()
        self.hurries = True
        self.virtual = virtual
        self._group = group
        self._person = person
        self._options = options
        if person:
            self._options |= {"auth_key": "", "on_auth_url": self._somebody_comes}

    @property
    def node(self) -> tsnet.AsyncServer | None:
        return self.virtual.nodes.get(self.name)

    def make(self) -> tsnet.AsyncServer:
        """Another process of it, which has not started."""
        node = self.virtual.make(self.name, **self._options)
        self._group.start_soon(self.serve, node)
        return node

    @property
    def now(self) -> float:
        return self.virtual.world.clock()

    async def sleep(self, seconds: float) -> None:
        await self.virtual.sleep(seconds)

    def _somebody_comes(self, url: str) -> None:
        delay = 5.0 if self.hurries else self.random.choice((5.0, 60.0, 2000.0))
        self.virtual.at(delay, lambda: self._approve(url))

    def visit_the_page(self) -> None:
        """From now on without delay."""
        self.hurries = True
        if self._person and self.node is not None:
            self._approve(self.node._handle.login_url)

    def _approve(self, url: str) -> None:
        with contextlib.suppress(KeyError):  # control has forgotten it: there will be another
            self.virtual.tailnet.approve(url)

    # --- its life -------------------------------------------------------------------------------------------------

    async def live(self, goes_on: Callable[[], bool], others: list[Inhabitant], weather: set[str]) -> None:
        """One verb after the other, as long as it goes on. weather: the troubles of everybody."""
        verbs = tuple(VERBS)
        while goes_on():
            verb = self.random.choices(verbs, tuple(VERBS.values()))[0]
            other = self.random.choice([each for each in others if each is not self])
            await self.attempt(verb, other, weather)
            await self.virtual.sleep(self.random.expovariate(1 / 45))

    async def attempt(self, verb: Verb, other: Inhabitant, weather: set[str]) -> None:
        timeout = self.random.choice((0.5, 5.0, 30.0, 60.0))
        begun = self.now
        outcome = "done"
        try:
            await verb(self, other, timeout)
        except (tsnet.Error, anyio.BrokenResourceError) as failure:
            error = failure if isinstance(failure, tsnet.Error) else failure.__cause__
            outcome = type(error).__name__
            reasons = self.troubles | weather | ({"person"} if self._person else set())
            assert explains(reasons | {"neighbour"}, error), f"{self}, {verb.__name__}: {error!r}, {sorted(reasons)}"
        self.did[f"{verb.__name__}: {outcome}"] += 1
        spent = self.now - begun
        assert spent <= timeout + LATE or verb in PATIENT, f"{self}, {verb.__name__}: {spent} s, not {timeout}"

    async def serve(self, node: tsnet.AsyncServer) -> None:
        """Echo whatever comes, for as long as that process lives."""
        while self.node is node:
            try:
                listener = await node.listen(PORT, timeout=None)
                packets = await node.listen_packet(PORT, timeout=None)
            except tsnet.Error:
                await self.sleep(20.0)
                continue
            async with listener, packets, anyio.create_task_group() as group:
                group.start_soon(_echo_datagrams, packets)
                await listener.serve(_echo)

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[anyio.CancelScope]:
        """Leave the block when that time is up, which `cancelled_caught` tells."""
        with anyio.CancelScope() as scope:
            self.virtual.at(seconds, scope.cancel)
            yield scope

    def __repr__(self) -> str:
        state = "gone" if self.node is None else self.node._handle.state
        return f"<{self.name}: {state} at {self.now:.3f}>"


def explains(reasons: set[str], error: BaseException | None) -> bool:
    return any(reasons & EXPLANATIONS.get(cls, set()) for cls in type(error).__mro__)


# --- verbs: each ends by its timeout, except those in PATIENT -------------------------------------------------------

Verb = Callable[[Inhabitant, Inhabitant, float], Awaitable[None]]


def verb_of_a_node(verb: Callable[[Inhabitant, tsnet.AsyncServer, str, float], Awaitable[None]]) -> Verb:
    """With its node, which begins if there is none, and what the other one's is called."""

    async def begin(who: Inhabitant, other: Inhabitant, timeout: float) -> None:
        node = who.node or who.make()
        name = other.name if other.node is None or not other.node.addresses else str(other.node.addresses[-1])
        await verb(who, node, who.random.choice((name, other.name)), timeout)

    begin.__name__ = verb.__name__
    return begin


@verb_of_a_node
async def up(who: Inhabitant, node: tsnet.AsyncServer, other: str, timeout: float) -> None:
    await node.up(timeout=timeout)


@verb_of_a_node
async def be_reachable(who: Inhabitant, node: tsnet.AsyncServer, other: str, timeout: float) -> None:
    await node.reachable(timeout=timeout)


@verb_of_a_node
async def echo(who: Inhabitant, node: tsnet.AsyncServer, other: str, timeout: float) -> None:
    with who.within(timeout):
        async with await node.dial(other, PORT, timeout=timeout) as stream:
            await exchange(stream, who.random.randbytes(who.random.choice((1, 1000, 30_000))))


async def exchange(stream: tsnet.Stream, data: bytes) -> None:
    """There and back: what is small enough for the buffers on the way."""
    await stream.send(data)
    received = b""
    while len(received) < len(data):
        received += await _receive(stream)
    assert received == data


async def _receive(stream: tsnet.Stream) -> bytes:
    try:
        return await stream.receive()
    except anyio.EndOfStream:  # the other one closed while we spoke
        raise anyio.BrokenResourceError from errors.StreamReset("the end came early")


@verb_of_a_node
async def hold(who: Inhabitant, node: tsnet.AsyncServer, other: str, timeout: float) -> None:
    """A stream that is used now and then, and read with little patience."""
    stream = await node.dial(other, PORT, timeout=timeout)
    try:
        for number in range(who.random.randrange(1, 6)):
            with who.within(timeout) as answered:
                await exchange(stream, b"still there? %d" % number)
            with who.within(who.random.uniform(1, 200)) as heard:
                await stream.receive()
            if answered.cancelled_caught or not heard.cancelled_caught:
                return
    except anyio.EndOfStream:
        return
    finally:
        stream.abort() if who.random.random() < 0.3 else await stream.aclose()


@verb_of_a_node
async def datagrams(who: Inhabitant, node: tsnet.AsyncServer, other: str, timeout: float) -> None:
    begun = who.now
    packets = await node.dial_packet(other, PORT, timeout=timeout)
    try:
        with who.within(timeout - (who.now - begun)):
            for number in range(20):
                await packets.send(bytes(100 * number))
                await packets.receive()
    finally:
        await packets.aclose()


@verb_of_a_node
async def ping(who: Inhabitant, node: tsnet.AsyncServer, other: str, timeout: float) -> None:
    await node.ping(other, kind=who.random.choice(("icmp", "tsmp")), timeout=timeout)


@verb_of_a_node
async def listen(who: Inhabitant, node: tsnet.AsyncServer, other: str, timeout: float) -> None:
    begun = who.now
    async with await node.listen(0, timeout=timeout) as listener:
        with who.within(max(0.0, timeout - (who.now - begun))):
            await listener.accept()


@verb_of_a_node
async def give_up(who: Inhabitant, node: tsnet.AsyncServer, other: str, timeout: float) -> None:
    """Before the library does."""
    with who.within(who.random.uniform(0, timeout)):
        match who.random.randrange(5):
            case 0:
                await node.up(timeout=timeout)
            case 1:
                await node.reachable(timeout=timeout)
            case 2:
                await node.ping(other, timeout=timeout)
            case 3:
                async for _ in node.events():
                    pass
            case _:
                await (await node.dial(other, PORT, timeout=timeout)).aclose()


async def idle(who: Inhabitant, other: Inhabitant, timeout: float) -> None:
    await who.sleep(who.random.uniform(0, 400))


async def leave(who: Inhabitant, other: Inhabitant, timeout: float) -> None:
    """It is away for a while; then it comes back."""
    if who.node is not None:
        begun = who.now
        await who.virtual.leave(who.name)
        assert who.now - begun <= CLOSE_TIMEOUT + LATE
    await who.sleep(who.random.choice((0.0, 1.0, 30.0, 300.0, 1800.0)))
    await who.make().up(timeout=timeout)


async def crash(who: Inhabitant, other: Inhabitant, timeout: float) -> None:
    if who.node is not None:
        await who.virtual.crash(who.name)
    await who.sleep(who.random.choice((0.0, 1.0, 30.0, 300.0)))
    await who.make().up(timeout=timeout)


async def fall_asleep(who: Inhabitant, other: Inhabitant, timeout: float) -> None:
    if who.node is None or who.node._handle._pump is None:
        return
    who.troubles.add("asleep")
    await who.virtual.suspend(who.name, who.random.choice((20.0, 120.0, 1000.0, 1000.0, 7200.0)))


PATIENT = {hold, idle, leave, crash, fall_asleep}
VERBS: dict[Verb, float] = {
    up: 2,
    be_reachable: 1,
    echo: 8,
    hold: 3,
    datagrams: 2,
    ping: 3,
    listen: 1,
    give_up: 3,
    idle: 3,
    leave: 1.5,
    crash: 1,
    fall_asleep: 0.15,
}
"""What an inhabitant does, and how often beside the others."""


# --- what listens at every node ------------------------------------------------------------------------------------


async def _echo(stream: Any) -> None:
    with contextlib.suppress(tsnet.Error, anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
        async with stream:
            while True:
                await stream.send(await stream.receive())


async def _echo_datagrams(packets: tsnet.PacketConn) -> None:
    with contextlib.suppress(tsnet.Error, anyio.ClosedResourceError):
        async for data, address in packets:
            await packets.send_to(data, address)

"""A machine sleeps, for minutes or days, and wakes: what a node does then, in virtual time.

| while it slept                                | then                                                               |
|-----------------------------------------------|--------------------------------------------------------------------|
| its clock went on (CLOCK_BOOTTIME)            | all its timers are due at once; no key from before seals anything  |
| its relay and control gave its links up       | they are dialled again                                             |
| what was measured around it grew old          | it is measured anew, all of it                                     |
| its clock stood still, and the wall's went on | the same, as soon as the node looks at both                        |
| a stream stood still                          | it goes on, or ends with an error where the peer has given up      |

Seals are watched: each one must be by a key that is younger than REJECT_AFTER_TIME on the clock that went on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import anyio
import pytest

from tests.test_virtual import online, pair, run
from tests.virtual import VirtualTailnet
from tsnet.errors import Error
from tsnet.netcheck.checker import Checker
from tsnet.wireguard.constants import REJECT_AFTER_TIME
from tsnet.wireguard.session import Session

MINUTES, HOUR, DAYS = 300.0, 3600.0, 3 * 86_400.0
NIGHTLY = os.environ.get("TSNET_NIGHTLY") == "1"
SOON = 2.0
"""Seconds to the first byte."""

each_sleep = pytest.mark.parametrize(
    ("seconds", "is_alone"),
    [
        pytest.param(MINUTES, True, id="minutes"),
        pytest.param(HOUR, False, id="an hour, both"),
        pytest.param(DAYS, False, id="days, both"),
        pytest.param(HOUR, True, id="an hour", marks=pytest.mark.slow),
        pytest.param(
            DAYS,
            True,
            id="days",
            marks=[pytest.mark.slow, pytest.mark.skipif(not NIGHTLY, reason="a minute long: TSNET_NIGHTLY=1")],
        ),
    ],
)
"""is_alone: the peer is awake all the time, which takes a while; else both machines sleep and wake together."""


async def suspend(virtual: VirtualTailnet, sleeper: str, seconds: float, *, is_alone: bool) -> None:
    async with anyio.create_task_group() as group:
        for name in [sleeper] if is_alone else ["a", "b"]:
            group.start_soon(virtual.suspend, name, seconds)


@pytest.fixture
def seals(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[VirtualTailnet], list[float]]]:
    """Watches every seal of a tailnet: the ages of the keys that were used."""
    ages: list[float] = []
    watched: list[VirtualTailnet] = []
    seal = Session.seal_run

    def seal_run(session: Session, packets: Sequence[bytes], mtu: int) -> list[bytes]:
        (virtual,) = watched
        now = virtual.world.clock()
        assert now < session.send_until, "this key was given up"
        ages.append(now - session.created_at)
        return seal(session, packets, mtu)

    def watch(virtual: VirtualTailnet) -> list[float]:
        watched.append(virtual)
        return ages

    monkeypatch.setattr(Session, "seal_run", seal_run)
    yield watch
    assert ages
    assert max(ages) < REJECT_AFTER_TIME


async def first_byte(virtual: VirtualTailnet, client: str, server: str, port: int = 80) -> float:
    """Dial and wait for the first byte of an answer: the seconds that took."""
    begun = virtual.world.clock()
    address = str(virtual.nodes[server].addresses[0])
    async with await virtual.nodes[client].dial(address, port, timeout=60) as stream:
        await stream.send(b"?")
        assert await stream.receive(1) == b"?"
    return virtual.world.clock() - begun


async def echo(stream: Any) -> None:
    async with stream:
        async for data in stream:
            await stream.send(data)


@each_sleep
def test_an_idle_node_wakes_and_dials(seconds: float, is_alone: bool, seals: Any) -> None:
    """By itself, and is dialled: both have the first byte in time, and all around it is measured anew."""

    async def test(virtual: VirtualTailnet) -> None:
        seals(virtual)
        await pair(virtual)
        nodes = virtual.nodes
        async with (
            await nodes["a"].listen(80) as one,
            await nodes["b"].listen(80) as other,
            anyio.create_task_group() as group,
        ):
            for listener in (one, other):
                group.start_soon(listener.serve, echo)
            await first_byte(virtual, "a", "b")
            await first_byte(virtual, "b", "a")
            await virtual.sleep(60)
            node = virtual.nodes["b"]._handle.node
            before = node.surroundings.checker.last
            await suspend(virtual, "b", seconds, is_alone=is_alone)
            woke = virtual.world.clock()
            assert await first_byte(virtual, "b", "a") < SOON
            await virtual.until(lambda: node.surroundings.checker.last is not before, 10)
            report = node.surroundings.checker.last
            assert report is not None
            assert report.is_full
            assert report.at >= woke
            await virtual.until(lambda: online(virtual) == {"a", "b"}, 30)
            assert await first_byte(virtual, "a", "b") < SOON
            group.cancel_scope.cancel()

    run(test)


@each_sleep
def test_a_peer_dials_a_machine_that_has_just_woken(seconds: float, is_alone: bool, seals: Any) -> None:
    async def test(virtual: VirtualTailnet) -> None:
        seals(virtual)
        await pair(virtual)
        async with await virtual.nodes["b"].listen(80) as listener, anyio.create_task_group() as group:
            group.start_soon(listener.serve, echo)
            await first_byte(virtual, "a", "b")
            await suspend(virtual, "b", seconds, is_alone=is_alone)
            await virtual.nodes["b"].reachable(timeout=SOON)
            assert await first_byte(virtual, "a", "b") < SOON
            group.cancel_scope.cancel()

    run(test)


@each_sleep
@pytest.mark.parametrize("sleeper", ["a", "b"])
def test_mid_stream(seconds: float, is_alone: bool, sleeper: str, seals: Any) -> None:
    """Data flows from b to a when one of them falls asleep. Afterwards a new connection has its first byte in time; the
    old one goes on where neither side has given it up, and else ends with an error: it never hangs."""

    async def test(virtual: VirtualTailnet) -> None:
        seals(virtual)
        await pair(virtual)
        a, b = virtual.nodes["a"], virtual.nodes["b"]
        sent = received = 0
        ended: list[str] = []

        async def send(stream: Any) -> None:
            nonlocal sent
            try:
                while True:
                    await stream.send(bytes(4000))
                    sent += 4000
                    await virtual.sleep(0.05)
            except (OSError, Error, anyio.BrokenResourceError) as error:
                ended.append(type(error).__name__)

        async def receive(stream: Any) -> None:
            nonlocal received
            try:
                async for data in stream:
                    received += len(data)
            except (OSError, Error, anyio.BrokenResourceError) as error:
                ended.append(type(error).__name__)

        async with (
            await a.listen(9) as sink,
            await a.listen(80) as echoes,
            await b.listen(80) as back,
            anyio.create_task_group() as group,
        ):
            for listener in (echoes, back):
                group.start_soon(listener.serve, echo)
            group.start_soon(sink.serve, receive)
            stream = await b.dial(str(a.addresses[0]), 9)
            group.start_soon(send, stream)
            await virtual.until(lambda: received > 20_000)
            await suspend(virtual, sleeper, seconds, is_alone=is_alone)
            other = "b" if sleeper == "a" else "a"
            assert await first_byte(virtual, sleeper, other) < SOON
            before = received
            await virtual.until(lambda: received > before + 20_000 or ended, 120)
            if seconds == MINUTES:
                assert not ended
            group.cancel_scope.cancel()

    run(test)


def test_what_the_machine_was_doing_is_begun_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """One whole measurement begins, however many timers are due."""
    begun: list[bool] = []
    begin = Checker.begin

    def count(checker: Checker, *args: Any, full: bool, **options: Any) -> None:
        begun.append(full)
        begin(checker, *args, full=full, **options)

    async def test(virtual: VirtualTailnet) -> None:
        await pair(virtual)
        await virtual.sleep(60)
        monkeypatch.setattr(Checker, "begin", count)
        await virtual.suspend("b", HOUR)
        await virtual.sleep(1)
        assert begun.count(True) == 1

    run(test)


@pytest.mark.parametrize("seconds", [MINUTES, DAYS])
def test_a_machine_whose_clock_stands_still_in_its_sleep(seconds: float, seals: Any) -> None:
    """Only the wall clock tells. By our own clock the session is new, and the peer would not open it any more."""

    async def test(virtual: VirtualTailnet) -> None:
        seals(virtual)
        await pair(virtual)
        async with await virtual.nodes["a"].listen(80) as listener, anyio.create_task_group() as group:
            group.start_soon(listener.serve, echo)
            await first_byte(virtual, "b", "a")
            virtual.world.machine("b").counts_sleep = False
            virtual.set_clock("b", seconds)
            node = virtual.nodes["b"]._handle.node
            woke = virtual.world.clock()
            assert await first_byte(virtual, "b", "a") < SOON
            (peer,) = node.netmap.peers.values()  # type: ignore[union-attr]
            status = node.engine.device.status(peer.key)
            assert status is not None
            assert status.last_handshake is not None
            assert status.last_handshake >= woke
            await virtual.until(
                lambda: node.surroundings.checker.last and node.surroundings.checker.last.at >= woke, 10
            )
            group.cancel_scope.cancel()

    run(test)


def test_a_clock_that_counts_sleep_is_not_taken_in_by_one_that_is_set() -> None:
    async def test(virtual: VirtualTailnet) -> None:
        await pair(virtual)
        node = virtual.nodes["b"]._handle.node
        slept: list[float] = []
        node.engine.suspended = slept.append  # type: ignore[method-assign, assignment]
        virtual.set_clock("b", HOUR)
        await virtual.sleep(120)
        assert slept == []

    run(test)

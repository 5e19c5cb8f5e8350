"""Events: counted from the call, in order, ended with the node."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import anyio
import pytest

import tsnet
from tsnet import events
from tsnet.edge.io.store import MemoryStore
from tsnet.edge.pipes.subscriptions import LIMIT, Subscription
from tsnet.events import AsyncEvents, Events
from tsnet.testing import Tailnet


def test_events_come_in_order_and_end_with_the_node() -> None:
    source = Subscription()
    source.put(events.HomeChanged(1))
    source.put(events.HomeChanged(2))
    source.end()
    with Events(source) as read:
        assert list(read) == [events.HomeChanged(1), events.HomeChanged(2)]


def test_a_reader_waits_for_the_next_event() -> None:
    source = Subscription()
    threading.Timer(0.01, source.put, [events.HomeChanged(7)]).start()
    assert next(Events(source)) == events.HomeChanged(7)


def test_what_nobody_reads_is_counted() -> None:
    source = Subscription()
    for number in range(LIMIT + 3):
        source.put(events.HomeChanged(number))
    read = Events(source)
    assert read.missed == 3
    assert next(read) == events.HomeChanged(3)


def test_close_ends_a_reader_in_another_thread() -> None:
    read = Events(Subscription())
    waiting = threading.Event()
    heard: list[object] = []
    when_ready = read._subscription.when_ready

    def told(wake: Callable[[], None]) -> bool:
        waits = when_ready(wake)
        waiting.set()
        return waits

    read._subscription.when_ready = told  # type: ignore[method-assign]
    thread = threading.Thread(target=lambda: heard.extend(read))
    thread.start()
    assert waiting.wait(10)
    read.close()
    thread.join(10)
    assert not thread.is_alive()
    assert heard == []


@pytest.mark.parametrize("kind", [Events, AsyncEvents])
def test_a_dropped_reader_lets_the_subscription_go(kind: Callable[[Subscription], object]) -> None:
    source = Subscription()
    reference = weakref.ref(source)
    read = kind(source)
    gc.disable()
    try:
        del source, read
        assert reference() is None
    finally:
        gc.enable()


def test_an_interrupted_read_leaves_no_waiter() -> None:
    class Interrupting(Subscription):
        """A subscription whose reader is interrupted as soon as it waits."""

        def when_ready(self, wake: Callable[[], None]) -> bool:
            super().when_ready(wake)
            raise KeyboardInterrupt

    source = Interrupting()
    with pytest.raises(KeyboardInterrupt):
        next(Events(source))
    assert not source._readers._wakes


@pytest.mark.anyio
async def test_a_cancelled_read_hands_its_event_on_to_another_task() -> None:
    source = Subscription()
    seen: list[object] = []
    scopes: list[anyio.CancelScope] = []

    async def read() -> None:
        with anyio.CancelScope() as scope:
            scopes.append(scope)
            seen.append(await anext(AsyncEvents(source), None))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        tasks.start_soon(read)
        await anyio.wait_all_tasks_blocked()
        source.put(events.Reachable(900))
        scopes[0].cancel()
        await anyio.wait_all_tasks_blocked()
        assert seen == [events.Reachable(900)]
        source.end()


@pytest.mark.anyio
async def test_async_events_wait_and_end() -> None:
    source = Subscription()
    seen: list[object] = []

    async def read() -> None:
        async with AsyncEvents(source) as stream:
            seen.extend([event async for event in stream])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await anyio.wait_all_tasks_blocked()
        source.put(events.Reachable(900))
        await anyio.wait_all_tasks_blocked()
        source.end()
    assert seen == [events.Reachable(900)]
    assert AsyncEvents(source).missed == 0


def test_a_node_tells_what_happened_since_the_call() -> None:
    with Tailnet() as tailnet:
        options: dict[str, Any] = {"control_url": tailnet.control_url, "auth_key": tailnet.auth_key, "ephemeral": True}
        node = tsnet.Server("one", state=MemoryStore(), **options)
        heard = node.events()
        with node:
            node.reachable(timeout=10)
            with tsnet.Server("two", state=MemoryStore(), **options):
                appeared = next(event for event in heard if isinstance(event, events.PeerAppeared))
            left = next(event for event in heard if isinstance(event, events.PeerLeft))
        assert appeared.peer.name == left.peer.name == "two.tailnet.test"
        assert not any(isinstance(event, events.PeerAppeared) for event in heard)


# --- the events of a node that is no more, and those that nobody reads ------------------------------------------


def make(kind: type[Any], tailnet: Tailnet) -> Any:
    return kind("one", control_url=tailnet.control_url, auth_key=tailnet.auth_key, state=MemoryStore(), ephemeral=True)


def read_all(node: Any) -> list[object]:
    if isinstance(node, tsnet.Server):
        return list(node.events())

    async def main() -> list[object]:
        with anyio.fail_after(5):
            return [event async for event in node.events()]

    return anyio.run(main)


@pytest.mark.parametrize("kind", [tsnet.Server, tsnet.AsyncServer])
def test_those_of_a_node_that_was_closed_before_it_started_end(kind: type[Any], tailnet: Tailnet) -> None:
    node = make(kind, tailnet)
    if kind is tsnet.Server:
        node.close()
    else:
        anyio.run(node.close)
    assert read_all(node) == []


@pytest.mark.parametrize("kind", [tsnet.Server, tsnet.AsyncServer])
def test_those_of_a_node_that_failed_end(kind: type[Any], tailnet: Tailnet) -> None:
    node = make(kind, tailnet)

    async def up() -> None:
        await node.up()

    node.up() if kind is tsnet.Server else anyio.run(up)
    before = node.events()
    node._handle.host.call(lambda: node._handle.crashed(ValueError("a bug")))

    async def drain() -> None:
        async for _event in before:
            pass

    list(before) if kind is tsnet.Server else anyio.run(drain)  # ends when the node has failed, and not earlier
    assert read_all(node) == []


@pytest.mark.parametrize("kind", [tsnet.Server, tsnet.AsyncServer])
def test_thousands_that_nobody_holds_are_gone(kind: type[Any], tailnet: Tailnet) -> None:
    node = make(kind, tailnet)
    for _ in range(5000):
        node.events()
    assert not node._handle.reports._subscriptions

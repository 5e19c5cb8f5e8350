"""The events of a node: their classes, and the two ways to read them.

    with node.events() as events:           async with node.events() as events:
        for event in events: …                  async for event in events: …

Most are facts of the node. `ServiceEnded` tells of what the node serves, `StateMoved` of what it was started from.

Events are kept from the call of `events()` on, not from the first read. They end when the node has failed or is closed.
At most 1,024 wait; the oldest is dropped for one more, and `missed` counts it. An object that is dropped without
`close` is freed.

Not here: when an event happens (`engine.node`).
"""

from __future__ import annotations

from functools import partial
from queue import SimpleQueue

import attrs

from tsnet.edge.io.whereabouts import StateMoved
from tsnet.edge.pipes.operations import async_event
from tsnet.edge.pipes.subscriptions import Subscription
from tsnet.engine.facts import (
    ApprovalPending,
    ControlChanged,
    DuplicateNode,
    Expired,
    Fact,
    Health,
    HomeChanged,
    KeyExpiring,
    LoggedIn,
    LoggedOut,
    LoginUrl,
    NetMapChanged,
    NetMapStale,
    PathChanged,
    PeerAppeared,
    PeerChanged,
    PeerLeft,
    PrefsChanged,
    Problem,
    Reachable,
    RelayChanged,
    Removed,
    Running,
)

__all__ = [
    "ApprovalPending",
    "AsyncEvents",
    "ControlChanged",
    "DuplicateNode",
    "Event",
    "Events",
    "Expired",
    "Fact",
    "Health",
    "HomeChanged",
    "KeyExpiring",
    "LoggedIn",
    "LoggedOut",
    "LoginUrl",
    "NetMapChanged",
    "NetMapStale",
    "PathChanged",
    "PeerAppeared",
    "PeerChanged",
    "PeerLeft",
    "PrefsChanged",
    "Problem",
    "Reachable",
    "RelayChanged",
    "Removed",
    "Running",
    "ServiceEnded",
    "StateMoved",
]


@attrs.frozen
class ServiceEnded:
    """A service or a forward of this node serves no longer.

    service: the method that served it ("serve_wsgi"). port: None for a forward from a Unix socket. error: what ended
    it; None if it was closed, or ended with the node.
    """

    service: str
    port: int | None
    address: str
    error: Exception | None


Event = Fact | ServiceEnded | StateMoved


class AsyncEvents:
    """Events for the tasks of an asyncio or trio loop. If several tasks read, each event goes to one of them."""

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription

    @property
    def missed(self) -> int:
        """Events lost because nobody read."""
        return self._subscription.missed

    def __aiter__(self) -> AsyncEvents:
        return self

    async def __anext__(self) -> Event:
        while True:
            event: Event | None = self._subscription.take()
            if event is not None:
                return event
            if self._subscription.ended:
                raise StopAsyncIteration
            await self._wait()

    async def _wait(self) -> None:
        """Until there is an event or the end."""
        news, wake = async_event()
        try:
            if self._subscription.when_ready(wake):
                await news.wait()
        except BaseException:
            self._subscription.forget(wake)
            raise

    async def aclose(self) -> None:
        """End the events. A task that waits for one finds the end."""
        self._subscription.close()

    async def __aenter__(self) -> AsyncEvents:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()


class Events:
    """Events for threads. If several threads read, each event goes to one of them."""

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription

    @property
    def missed(self) -> int:
        """Events lost because nobody read."""
        return self._subscription.missed

    def __iter__(self) -> Events:
        return self

    def __next__(self) -> Event:
        while True:
            event: Event | None = self._subscription.take()
            if event is not None:
                return event
            if self._subscription.ended:
                raise StopIteration
            self._wait()

    def _wait(self) -> None:
        """Until there is an event or the end."""
        news: SimpleQueue[None] = SimpleQueue()  # not threading.Event, whose lock an interrupt can leave locked
        wake = partial(news.put, None)
        try:
            if self._subscription.when_ready(wake):
                news.get()
        except BaseException:
            self._subscription.forget(wake)
            raise

    def close(self) -> None:
        """End the events. A thread that waits for one finds the end."""
        self._subscription.close()

    def __enter__(self) -> Events:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

"""An async service for a program without an event loop: one thread, one asyncio loop, until `close`.

    background = Background(make)      make: builds the service inside the loop (listens there, for instance)
    background.start()                 returns once the service has started, or raises what kept it from starting
    background.wait(), .close()        from any thread

The blocking twin runs ASGI apps and forwards this way. A `start` that is interrupted leaves nothing behind: the service
ends as soon as it can.

Not here: the services (`asgi.AsgiServer`, `forward.Forward`).
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Generic, Protocol, TypeVar

import anyio
import anyio.abc

from tsnet.edge.io.threads import start_thread
from tsnet.edge.pipes.operations import Operation
from tsnet.errors import NotUp


class Service(Protocol):
    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve until `close`; started once it can be reached."""
        ...

    def close(self) -> None: ...


S = TypeVar("S", bound=Service)


class Background(Generic[S]):
    """ended: done when nothing of the service runs any more; failed with what ended it, if that was an error."""

    def __init__(self, make: Callable[[], Awaitable[S]], *, name: str = "tsnet-service") -> None:
        self.service: S
        self.ended: Operation[None] = Operation[None]()
        self._make: Callable[[], Awaitable[S]] | None = make
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_made = self._closing = False
        self._started = Operation[None]()
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)

    def start(self) -> None:
        """Run it in its thread. Raises what the service raised before it had started, and NotUp without a thread."""
        try:
            start_thread(self._thread, "a service")
        except NotUp as error:
            self.ended.fail(error)
            raise
        try:
            self._started.wait()
        except BaseException:
            self.close(0)
            raise
        self._started.outcome()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end; whether it has come. A failure while serving is raised here."""
        has_ended = self.ended.wait(timeout)
        if has_ended:
            self.ended.outcome()
        return has_ended

    def close(self, timeout: float | None = None) -> None:
        """End the service in order and wait for it. May be called twice, and by the service's own thread."""
        self._closing = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # its loop is closed: it has ended
                self._loop.call_soon_threadsafe(self._close_service)
        if threading.current_thread() is not self._thread:
            self.ended.wait(timeout)

    def _close_service(self) -> None:
        """Now, or as soon as there is one (`_run`)."""
        if self._is_made:
            self.service.close()

    def _main(self) -> None:
        failure: BaseException | None = None
        try:
            asyncio.run(self._run())
        except BaseException as error:
            failure = error
        for operation in (self.ended, self._started):
            operation.resolve(None) if failure is None else operation.fail(failure)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        make, self._make = self._make, None  # what it refers to must not live as long as this object
        assert make is not None, "a service in the background starts once"
        self.service = await make()
        self._is_made = True
        if self._closing:
            self.service.close()
        await self.service.run(task_status=StartedStatus(self._started))

    def __enter__(self) -> Background[S]:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class StartedStatus(anyio.abc.TaskStatus[None]):
    """Tells an operation that a service has started."""

    def __init__(self, operation: Operation[None]) -> None:
        self._operation = operation

    def started(self, value: None = None) -> None:
        self._operation.resolve(None)

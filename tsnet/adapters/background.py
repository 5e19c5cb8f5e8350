"""An async service for a program without an event loop: one thread, one asyncio loop, until `close`.

    background = Background(make)      make: builds the service inside the loop (listens there, for instance)
    background.start()                 returns once the service has started, or raises what kept it from starting
    background.wait(), .close()        from any thread

The blocking twin runs ASGI apps and forwards this way.

Not here: the services (`asgi.AsgiServer`, `forward.Forward`).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Generic, Protocol, TypeVar

import anyio
import anyio.abc


class Service(Protocol):
    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve until `close`; started once it can be reached."""
        ...

    def close(self) -> None: ...


S = TypeVar("S", bound=Service)


class Background(Generic[S]):
    def __init__(self, make: Callable[[], Awaitable[S]], *, name: str = "tsnet-service") -> None:
        self.service: S
        self._make = make
        self._loop: asyncio.AbstractEventLoop
        self._started, self._ended = threading.Event(), threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)

    def start(self) -> None:
        """Run it in its thread. Raises what the service raised before it had started."""
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            raise self._failure

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end; whether it has come. A failure while serving is raised here."""
        ended = self._ended.wait(timeout)
        if ended and self._failure is not None:
            raise self._failure
        return ended

    def close(self, timeout: float | None = None) -> None:
        """End the service in order and wait for it. May be called twice, and by the service's own thread."""
        try:
            self._loop.call_soon_threadsafe(self.service.close)
        except RuntimeError:  # its loop is closed: it has ended
            return
        if threading.current_thread() is not self._thread:
            self._ended.wait(timeout)

    def _main(self) -> None:
        try:
            asyncio.run(self._run())
        except BaseException as error:
            self._failure = error
        finally:
            self._ended.set()
            self._started.set()

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.service = await self._make()
        await self.service.run(task_status=_Started(self._started))

    def __enter__(self) -> Background[S]:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class _Started(anyio.abc.TaskStatus[None]):
    def __init__(self, event: threading.Event) -> None:
        self._event = event

    def started(self, value: None = None) -> None:
        self._event.set()

"""Handles for what a node serves: its port, how to wait for its end, and how to end it.

                    runs in                                      returned by
    AsyncServing    a task of the caller's loop (asyncio, trio)  AsyncServer.serve_*, .forward_*
    Serving         a thread (`WsgiServer`, `Background`)        Server.serve_*, .forward_*

`AsyncServing` runs a `Service`; `WsgiService` makes one of a WSGI server, whose threads are its own.

Not here: the services (`asgi`, `wsgi`, `forward`).
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from typing import Protocol

import anyio
import anyio.abc

from tsnet.adapters.background import Service
from tsnet.adapters.wsgi import WsgiServer
from tsnet.edge.pipes.operations import Operation, async_event, scheduler

_log = logging.getLogger("tsnet.serving")


class Runner(Protocol):
    """What runs in threads and can be ended from any thread: a `WsgiServer`, a `Background`."""

    def wait(self, timeout: float | None = None, /) -> bool: ...
    def close(self, grace: float, /) -> None: ...


class Serving:
    """Something that a blocking `Server` serves. `with` closes it, and so does closing the node.

    port: the actual port; None for a forward from a Unix socket. address: where it listens, as text.
    """

    def __init__(self, runner: Runner, port: int | None, address: str) -> None:
        self.port, self.address = port, address
        self._runner = runner

    @property
    def ended(self) -> bool:
        return self._runner.wait(0)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end. Returns whether it has come. Raises the failure that ended it (not of a WSGI server)."""
        return self._runner.wait(timeout)

    def close(self, timeout: float = 2.0) -> None:
        """Accept no more, let requests under way finish within the timeout. From any thread; may be called twice."""
        self._runner.close(timeout)

    def __enter__(self) -> Serving:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.address}>"


class AsyncServing:
    """Something that an `AsyncServer` serves. `async with` closes it, and so does closing the node.

    port, address: as of `Serving`. Make it in the loop that is to run it; any loop may close it and wait for it.
    """

    def __init__(self, service: Service, port: int | None, address: str) -> None:
        self.port, self.address = port, address
        self._service = service
        self._schedule = scheduler()
        self._started, self._ended = Operation[None](), Operation[None]()
        self._task: asyncio.Task[None] | None = None

    @property
    def ended(self) -> bool:
        return self._ended.done

    async def run(self) -> None:
        """Serve in this task, until closed or cancelled."""
        try:
            await self._service.run(task_status=_Started(self._started))
        except Exception as error:
            self._finish(error)
            raise
        finally:
            self._finish(None)

    async def start(self) -> None:
        """Serve in a task of its own. Returns once it accepts connections; raises what kept it from starting."""
        if "trio" in sys.modules and sys.modules["trio"].lowlevel.in_trio_run():
            sys.modules["trio"].lowlevel.spawn_system_task(self._alone)
        else:
            self._task = asyncio.get_running_loop().create_task(self._alone())
        await _until(self._started)
        self._started.outcome()

    async def _alone(self) -> None:
        """Run in a task that nobody awaits: a failure is logged, and `wait` raises it."""
        try:
            await self.run()
        except Exception as error:
            if not isinstance(self._failure_at_start, type(error)):
                _log.error("%s: no longer served: %r", self.address, error)

    @property
    def _failure_at_start(self) -> Exception | None:
        try:
            self._started.outcome()
        except Exception as error:
            return error
        return None

    def _finish(self, error: Exception | None) -> None:
        for operation in (self._started, self._ended):
            operation.resolve(None) if error is None else operation.fail(error)

    async def wait(self) -> None:
        """Wait for the end. Raises the failure that ended it, if it was one."""
        await _until(self._ended)
        self._ended.outcome()

    async def aclose(self, timeout: float = 2.0) -> None:
        """Accept no more, and wait at most `timeout` seconds for requests under way. May be called twice."""
        self._schedule(self._service.close)
        with anyio.move_on_after(timeout, shield=True):
            await _until(self._ended)

    async def __aenter__(self) -> AsyncServing:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.address}>"


class WsgiService:
    """A WSGI server as a service of an event loop. It runs in a thread, and ends with the task."""

    def __init__(self, server: WsgiServer) -> None:
        self._server = server

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        ended, wake = async_event()

        def serve() -> None:
            try:
                self._server.run()
            finally:
                wake()

        threading.Thread(target=serve, name=f"tsnet-wsgi-{self._server.port}", daemon=True).start()
        task_status.started()
        try:
            await ended.wait()
        finally:
            self.close()
            with anyio.CancelScope(shield=True):
                await ended.wait()

    def close(self) -> None:
        """Close in another thread and return at once: waiting for requests under way would block the loop."""
        threading.Thread(target=self._server.close, name="tsnet-wsgi-close", daemon=True).start()


class _Started(anyio.abc.TaskStatus[None]):
    def __init__(self, operation: Operation[None]) -> None:
        self._operation = operation

    def started(self, value: None = None) -> None:
        self._operation.resolve(None)


async def _until(operation: Operation[None]) -> None:
    """Wait until the operation is done. Cancelling this wait does not cancel the operation: others may wait for it."""
    while not operation.done:
        event, wake = async_event()
        operation.add_done_callback(wake)
        await event.wait()

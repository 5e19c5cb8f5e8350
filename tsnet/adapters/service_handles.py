"""Handles for what a node serves: its port, how to wait for its end, and how to end it.

                    runs in                                      returned by
    AsyncServing    a task of the caller's loop (asyncio, trio)  AsyncServer.serve_*, .forward_*
    Serving         a thread (`WsgiServer`, `Background`)        Server.serve_*, .forward_*

`AsyncServing` runs a `Service`; `WsgiService` makes one of a WSGI server, whose threads are its own.

Not here: the services (`asgi`, `wsgi`, `forward`), how an end is told (`services`).
"""

from __future__ import annotations

import asyncio
import threading
from typing import Protocol

import anyio
import anyio.abc

from tsnet.adapters.background import Service, StartedStatus
from tsnet.adapters.services import Served, Services, single
from tsnet.adapters.wsgi import WsgiServer
from tsnet.edge.io.threads import start_thread
from tsnet.edge.pipes.operations import Operation, async_event, in_trio, scheduler
from tsnet.errors import NotUp

TOLD_WITHIN = 1.0
"""Seconds that a call waits for what it has ended to be over."""


class Runner(Protocol):
    """What runs in threads and can be ended from any thread: a `WsgiServer`, a `Background`.

    ended: done when it has ended, failed if an error ended it.
    """

    @property
    def ended(self) -> Operation[None]: ...
    def start(self) -> None: ...
    def close(self, grace: float, /) -> None: ...


class Serving(Served):
    """Something that a blocking `Server` serves. `with` closes it, and so does closing the node.

    port: the actual port; None for a forward from a Unix socket. address: where it listens, as text.
    """

    def __init__(
        self,
        runner: Runner,
        port: int | None,
        address: str,
        *,
        services: Services | None = None,
        name: str = "",
        awaited: bool = False,
    ) -> None:
        super().__init__(port, address, services=services, name=name, awaited=awaited)
        self._runner = runner
        runner.ended.add_done_callback(self._runner_ended)
        if services is not None:
            services.add(self)  # last: one that is interrupted on the way is told of its end, and leaves them
        if self.ended and services is not None:
            services.discard(self)

    def _runner_ended(self) -> None:
        try:
            self._runner.ended.outcome()
        except Exception as error:
            self._end(error)
        except BaseException as error:  # SystemExit, say: it ends a thread, and must not end whoever waits for it
            self._end(RuntimeError(f"the service was ended by {error!r}"))
        else:
            self._end(None)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end. Returns whether it has come. Raises what ended it, if that was an error."""
        has_ended = self._over.wait(timeout)
        if has_ended:
            self._over.outcome()
        return has_ended

    def close(self, timeout: float = 2.0) -> None:
        """Accept no more, let requests under way finish within the timeout. From any thread; may be called twice."""
        self._closed_by("it was closed")
        self._runner.close(timeout)
        if self._runner.ended.done:
            self._over.wait(TOLD_WITHIN)  # the thread that ran it is telling everybody just now

    def _begin_close(self) -> None:
        self._runner.close(0.0)

    def __enter__(self) -> Serving:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class AsyncServing(Served):
    """Something that an `AsyncServer` serves. `async with` closes it, and so does closing the node.

    port, address: as of `Serving`. Make it in the loop that is to run it; any loop may close it and wait for it.
    """

    def __init__(
        self,
        service: Service,
        port: int | None,
        address: str,
        *,
        services: Services | None = None,
        name: str = "",
        awaited: bool = False,
    ) -> None:
        super().__init__(port, address, services=services, name=name, awaited=awaited)
        self._service = service
        self._schedule = scheduler()
        self._started = Operation[None]()
        self._scope = anyio.CancelScope()
        self._task: asyncio.Task[None] | None = None
        if services is not None:
            services.add(self)

    async def run(self) -> None:
        """Serve in this task, until closed or cancelled. Raises what ended it, if that was an error."""
        failure: Exception | None = None
        try:
            with self._scope:
                await self._service.run(task_status=StartedStatus(self._started))
        except Exception as error:
            failure = single(error)
        finally:
            self._finish(failure)
        self._over.outcome()

    def _finish(self, failure: Exception | None) -> None:
        """A failure before the start is the caller's to hear; whatever comes after it is told to everybody."""
        if failure is not None and self._started.fail(failure):
            self._leave(failure)
        else:
            self._end(failure)
            self._started.resolve(None)

    async def start(self) -> None:
        """Serve in a task of its own. Returns once it accepts connections; raises what kept it from starting.

        Cancelled, it leaves nothing behind, and ends when its port is free, or after TOLD_WITHIN: an app may take
        longer to end what it has begun.
        """
        if in_trio():
            import trio

            trio.lowlevel.spawn_system_task(self._alone)
        else:
            self._task = asyncio.get_running_loop().create_task(self._alone())
        try:
            await until(self._started)
        except BaseException:
            self._scope.cancel()
            with anyio.move_on_after(TOLD_WITHIN, shield=True):
                await until(self._over)
            raise
        self._started.outcome()

    async def _alone(self) -> None:
        """Run in a task that nobody awaits: `wait` raises a failure."""
        try:
            await self.run()
        except Exception:
            """Whoever wants to know was told."""

    async def wait(self) -> None:
        """Wait for the end. Raises what ended it, if that was an error."""
        await until(self._over)
        self._over.outcome()

    async def aclose(self, timeout: float = 2.0) -> None:
        """Accept no more, and wait at most `timeout` seconds for requests under way. May be called twice."""
        self._closed_by("it was closed")
        self._begin_close()
        with anyio.move_on_after(timeout, shield=True):
            await until(self._over)

    def _begin_close(self) -> None:
        self._schedule(self._service.close)

    async def __aenter__(self) -> AsyncServing:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()


class WsgiService:
    """A WSGI server as a service of an event loop. It runs in a thread, and ends with the task."""

    def __init__(self, server: WsgiServer) -> None:
        self._server = server
        self._ended = Operation[None]()

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        thread = threading.Thread(target=self._serve, name=f"tsnet-wsgi-{self._server.port}", daemon=True)
        try:
            start_thread(thread, "a service")
        except NotUp:
            self.close()
            raise
        task_status.started()
        try:
            await until(self._ended)
        finally:
            self.close()
            with anyio.CancelScope(shield=True):
                await until(self._ended)
        self._ended.outcome()

    def _serve(self) -> None:
        try:
            self._server.run()
        except BaseException as error:
            self._ended.fail(error)
        else:
            self._ended.resolve(None)

    def close(self) -> None:
        self._server.begin_close()


async def until(operation: Operation[None]) -> None:
    """Wait until the operation is done. Cancelling this wait does not cancel the operation: others may wait for it."""
    while not operation.done:
        event, wake = async_event()
        operation.add_done_callback(wake)
        try:
            await event.wait()
        except BaseException:
            operation.remove_done_callback(wake)
            raise

from __future__ import annotations

import logging
import threading
from typing import Any

import anyio
import anyio.abc
import pytest

from tests.adapters.loopback import LoopbackTailnet
from tsnet.adapters.background import Background
from tsnet.adapters.service_handles import AsyncServing, Serving, WsgiService
from tsnet.adapters.wsgi import WsgiServer

BACKENDS = ["asyncio", "trio"]


class Waiting:
    """A service that waits for its end, or fails on the way."""

    def __init__(self, *, fail: str = "") -> None:
        self.fail, self.event = fail, anyio.Event()
        self.cancelled = False

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        if self.fail == "before":
            raise ZeroDivisionError
        task_status.started()
        try:
            await self.event.wait()
        except anyio.get_cancelled_exc_class():
            self.cancelled = True
            raise
        if self.fail == "after":
            raise ZeroDivisionError

    def close(self) -> None:
        self.event.set()


@pytest.mark.parametrize("anyio_backend", BACKENDS)
class TestAsyncServing:
    pytestmark = pytest.mark.anyio

    async def test_it_runs_until_closed_from_inside(self) -> None:
        async with AsyncServing(Waiting(), 80, "100.64.0.1:80") as serving:
            await serving.start()
            assert not serving.ended
            assert "100.64.0.1:80" in repr(serving)
        assert serving.ended
        await serving.wait()
        await serving.aclose()

    async def test_what_keeps_it_from_starting_is_raised_by_start(self, caplog: pytest.LogCaptureFixture) -> None:
        serving = AsyncServing(Waiting(fail="before"), 80, "here")
        with pytest.raises(ZeroDivisionError):
            await serving.start()
        assert serving.ended
        assert not caplog.records

    async def test_a_later_failure_is_logged_and_raised_by_wait(self, caplog: pytest.LogCaptureFixture) -> None:
        service = Waiting(fail="after")
        serving = AsyncServing(service, 80, "here")
        await serving.start()
        service.close()
        with caplog.at_level(logging.ERROR), pytest.raises(ZeroDivisionError):
            await serving.wait()
        await anyio.wait_all_tasks_blocked()
        assert "here: no longer served" in caplog.text

    async def test_a_cancelled_wait_leaves_it_running(self) -> None:
        async with AsyncServing(Waiting(), 80, "here") as serving:
            await serving.start()
            with anyio.move_on_after(0):
                await serving.wait()
            assert not serving.ended

    async def test_in_the_callers_task_it_ends_with_that(self) -> None:
        service = Waiting()
        serving = AsyncServing(service, 80, "here")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serving.run)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        assert service.cancelled
        assert serving.ended

    async def test_another_loop_may_close_it(self, anyio_backend: str) -> None:
        serving = AsyncServing(Waiting(), 80, "here")
        await serving.start()
        await anyio.to_thread.run_sync(lambda: anyio.run(serving.aclose, backend=anyio_backend))
        assert serving.ended

    async def test_a_service_that_does_not_end_is_not_waited_for_long(self) -> None:
        class Stubborn(Waiting):
            def close(self) -> None:
                """Nothing."""

        service = Stubborn()
        serving = AsyncServing(service, 80, "here")
        await serving.start()
        await serving.aclose(0.01)
        assert not serving.ended
        service.event.set()
        await serving.wait()

    async def test_a_wsgi_server_is_a_service(self) -> None:
        server = FakeWsgi()
        serving = AsyncServing(WsgiService(server), server.port, "here")  # type: ignore[arg-type]
        await serving.start()
        await serving.aclose()
        assert serving.ended

    async def test_a_wsgi_server_ends_with_the_task(self) -> None:
        server = FakeWsgi()
        async with anyio.create_task_group() as tasks:
            await tasks.start(WsgiService(server).run)  # type: ignore[arg-type]
            tasks.cancel_scope.cancel()
        assert server.closing.is_set()

    async def test_closing_a_wsgi_server_needs_no_thread(
        self, port: Any, tailnet: LoopbackTailnet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def none_left(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        server = WsgiServer(app, port.socket, tailnet)
        serving = AsyncServing(WsgiService(server), server.port, "here")
        await serving.start()
        monkeypatch.setattr(threading.Thread, "start", none_left)
        await serving.aclose()
        assert serving.ended
        assert port.socket.fileno() == -1


class FakeWsgi:
    """A server without a socket, which ends when it is told to."""

    port = 80

    def __init__(self) -> None:
        self.closing = threading.Event()

    def run(self) -> None:
        self.closing.wait()

    def begin_close(self) -> None:
        self.closing.set()


def test_a_blocking_handle_over_an_event_loop() -> None:
    async def make() -> Waiting:
        return Waiting()

    background = Background(make)
    background.start()
    with Serving(background, 80, "100.64.0.1:80") as serving:
        assert not serving.ended
        assert not serving.wait(0)
        assert serving.port == 80
        assert repr(serving) == "<Serving 100.64.0.1:80>"
    assert serving.ended
    assert serving.wait()
    serving.close()


def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [b"here"]


def test_a_blocking_handle_over_threads(port: Any, tailnet: LoopbackTailnet) -> None:
    server = WsgiServer(app, port.socket, tailnet)
    server.start()
    with Serving(server, server.port, "100.64.0.1:80") as serving:
        assert not serving.ended
    assert serving.ended


def test_a_service_that_would_end_its_thread_does_not_end_whoever_waits() -> None:
    class Exiting(Waiting):
        async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
            task_status.started()
            await self.event.wait()
            raise SystemExit(3)

    async def make() -> Exiting:
        return Exiting()

    background = Background(make)
    background.start()
    serving = Serving(background, 80, "here")
    background.close(10)
    with pytest.raises(RuntimeError, match="SystemExit"):
        serving.wait(10)
    assert serving.ended

from __future__ import annotations

import threading

import anyio
import anyio.abc
import pytest

from tests.adapters.loopback import LAPTOP, LoopbackTailnet
from tsnet.adapters.background import Background
from tsnet.adapters.forward import Forward, forward_remote


class Waiting:
    """A service that waits, or fails on the way."""

    def __init__(self, *, fail: str = "") -> None:
        self.fail, self.event = fail, anyio.Event()
        self.threads: list[threading.Thread] = []

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        self.threads.append(threading.current_thread())
        if self.fail == "before":
            raise ZeroDivisionError
        task_status.started()
        if self.fail == "after":
            raise ZeroDivisionError
        await self.event.wait()

    def close(self) -> None:
        self.threads.append(threading.current_thread())
        self.event.set()


async def waiting() -> Waiting:
    return Waiting()


def test_it_runs_and_ends_in_its_own_thread() -> None:
    with Background(waiting) as background:
        assert not background.wait(0)
        service = background.service
    assert background.wait(0)
    assert service.threads[0] is service.threads[1] is not threading.current_thread()
    background.close()


def test_what_keeps_it_from_starting_is_raised_by_start() -> None:
    async def failing() -> Waiting:
        return Waiting(fail="before")

    async def impossible() -> Waiting:
        raise OSError("the port is in use")

    with pytest.raises(ZeroDivisionError):
        Background(failing).start()
    with pytest.raises(OSError, match="in use"):
        Background(impossible).start()


def test_a_failure_while_serving_is_raised_by_wait() -> None:
    async def failing() -> Waiting:
        return Waiting(fail="after")

    background = Background(failing)
    try:
        background.start()
    except ZeroDivisionError:
        return  # it failed before start looked
    with pytest.raises(ZeroDivisionError):
        background.wait(10)


def test_a_forward_for_a_blocking_program(tailnet: LoopbackTailnet) -> None:
    async def make() -> Forward:
        return await forward_remote(tailnet, 80, 1)

    with Background(make) as background:
        assert background.service.port == 80
        with pytest.raises(ConnectionResetError), tailnet.dialer_of(LAPTOP).dial_socket("shop", 80) as sock:
            sock.recv(1)  # the reset may be faster than the end of `connect`
    assert tailnet.ports == {}

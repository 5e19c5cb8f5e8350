from __future__ import annotations

import logging
import math
import threading
import time
from typing import Any

import pytest

from tests.edge.run.tenants import Guest
from tsnet.edge.io.system import SystemWorld
from tsnet.edge.run.host import Host, default_host
from tsnet.errors import Error


class Worker:
    """Something to turn: counts, and tells in which thread."""

    def __init__(self) -> None:
        self.due = math.inf
        self.turned = threading.Event()
        self.threads: list[threading.Thread] = []
        self.crashes: list[Exception] = []
        self.error: Exception | None = None

    def turn(self) -> None:
        self.due = math.inf
        self.threads.append(threading.current_thread())
        self.turned.set()
        if self.error is not None:
            raise self.error

    def crash(self, error: Exception) -> None:
        self.crashes.append(error)

    def orphan(self, error: Error) -> None: ...


class Running:
    """A host with its own thread, and one worker."""

    def __init__(self) -> None:
        self.host = Host(SystemWorld, own_thread=True)
        self.worker = Worker()
        self.guest = Guest()

    def __enter__(self) -> Running:
        self.host.acquire(self.guest)
        self.do(lambda: self.host.add(self.worker))
        return self

    def __exit__(self, *exc: object) -> None:
        thread = self.host._thread
        assert thread is not None
        self.do(lambda: self.host.release(self.guest))
        thread.join(5)
        assert not thread.is_alive()
        self.host.world.close()

    def do(self, function: Any) -> None:
        done = threading.Event()

        def run() -> None:
            function()
            done.set()

        self.host.call(run)
        assert done.wait(5)

    def make_due(self) -> None:
        self.worker.due = -math.inf
        self.host.wake()


def test_nothing_is_opened_before_it_is_needed() -> None:
    made: list[int] = []

    def make() -> SystemWorld:
        made.append(1)
        return SystemWorld()

    host = Host(make, own_thread=True)
    assert made == []
    assert host.world is host.world
    assert made == [1]
    host.world.close()


def test_the_thread_turns_what_is_due_and_ends_with_the_last_node() -> None:
    with Running() as running:
        running.make_due()
        assert running.worker.turned.wait(5)
        assert running.worker.threads[0].name == "tsnet"
        assert running.worker.threads[0].daemon


def test_a_wake_reaches_a_sleeping_loop_from_any_thread() -> None:
    with Running() as running:
        for _ in range(50):
            running.worker.turned.clear()
            threading.Thread(target=running.make_due).start()
            assert running.worker.turned.wait(5)


def test_a_deadline_in_the_future_is_kept() -> None:
    with Running() as running:
        running.do(lambda: setattr(running.worker, "due", running.host.world.clock() + 0.02))
        begun = time.monotonic()
        assert running.worker.turned.wait(5)
        assert time.monotonic() - begun < 2


def test_one_that_fails_is_ended_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    with Running() as running:
        other = Worker()
        running.do(lambda: running.host.add(other))
        running.worker.error = ValueError("a bug")
        with caplog.at_level(logging.CRITICAL, "tsnet"):
            running.make_due()
            assert running.worker.turned.wait(5)
            running.do(lambda: None)
        assert [str(error) for error in running.worker.crashes] == ["a bug"]
        assert running.host._pumps == [other]
        other.due = -math.inf
        running.host.wake()
        assert other.turned.wait(5)


def test_a_call_that_fails_does_not_end_the_loop(caplog: pytest.LogCaptureFixture) -> None:
    with Running() as running:
        with caplog.at_level(logging.ERROR, "tsnet"):
            running.host.call(lambda: int("x"))  # type: ignore[arg-type]
            running.do(lambda: None)
        assert "please report it" in caplog.text


def test_a_new_node_at_once_after_the_last_has_one_loop_at_a_time() -> None:
    host = Host(SystemWorld, own_thread=True)
    inside, most = 0, 0
    step = host.step

    def counted(until: float = math.inf) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        step(until)
        inside -= 1

    host.step = counted  # type: ignore[method-assign]
    ended: set[threading.Thread] = set()
    for _ in range(100):
        guest, released = Guest(), threading.Event()
        host.acquire(guest)
        assert host._thread is not None
        ended.add(host._thread)

        def leave(guest: Guest = guest, released: threading.Event = released) -> None:
            host.release(guest)
            released.set()

        host.call(leave)
        assert released.wait(5)
    for thread in ended:
        thread.join(5)
        assert not thread.is_alive()
    assert most == 1
    host.world.close()


def test_the_default_host_is_one() -> None:
    hosts: list[Host] = []
    threads = [threading.Thread(target=lambda: hosts.append(default_host())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(hosts) == {default_host()}


def test_a_loop_that_sleeps_elsewhere_is_woken_for_nothing_by_its_own_thread_and_by_a_byte_from_another() -> None:
    host = Host(SystemWorld, own_thread=False)
    woken: list[str] = []
    host.fall_asleep(lambda: woken.append("here"))
    host.wake()
    host.wake()
    assert woken == ["here"]
    host.fall_asleep(lambda: woken.append("never"))
    thread = threading.Thread(target=host.wake)
    thread.start()
    thread.join()
    host.awake()
    assert woken == ["here"]
    begun = time.monotonic()
    host.world.wait(host.world.clock() + 5)  # the byte is there
    assert time.monotonic() - begun < 2
    host.world.close()


def test_a_host_for_one_node_closes_its_world_with_it() -> None:
    host = Host(SystemWorld, own_thread=False, ends_world=True)
    guest = Guest()
    host.acquire(guest)
    host.ended()
    world = host.world
    assert world.fileno() >= 0
    host.release(guest)
    host.ended()
    with pytest.raises((ValueError, OSError)):
        world.fileno()
    assert host.world is not world  # who begins again gets another
    host.world.close()

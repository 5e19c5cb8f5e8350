from __future__ import annotations

import contextlib
import gc
import logging
import math
import threading
import time
import weakref
from typing import Any

import pytest

from tests.edge.run.tenants import Guest
from tests.faults import interrupted
from tsnet.edge.io.system import SystemWorld
from tsnet.edge.pipes.operations import Operation
from tsnet.edge.run import host as module
from tsnet.edge.run.host import MAX_STUMBLES, Host, default_host
from tsnet.errors import Error, NotUp


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


def test_alarms_that_nobody_waits_for_end_with_the_thread_and_let_go_of_what_they_hold() -> None:
    with Running() as running:
        planned = Worker()
        held = weakref.ref(planned)
        running.do(lambda planned=planned: running.host.at(running.host.now() + 1000, planned.turn))
        del planned
        gc.collect()
        assert held() is not None
    gc.collect()
    assert held() is None
    assert running.host.due() == math.inf


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


# --- operations -------------------------------------------------------------------------------------------------


def never(operation: Operation[Any]) -> None:
    """Nobody answers."""


def test_an_operation_begins_when_somebody_waits_for_it_and_runs_in_the_loop() -> None:
    with Running() as running:
        operation: Operation[str] = running.host.operation(
            lambda made: made.resolve(threading.current_thread().name), running.guest
        )
        running.do(lambda: None)
        assert not operation.done
        assert operation.result() == "tsnet"
        assert not running.host._open


def test_a_function_that_raises_is_the_end_of_its_operation() -> None:
    with Running() as running:
        operation: Operation[int] = running.host.operation(lambda _: int("x"), running.guest)
        with pytest.raises(ValueError, match="invalid literal"):
            operation.result()


def test_what_was_begun_for_somebody_who_is_gone_ends_and_what_waits_for_its_turn_does_not() -> None:
    with Running() as running:
        other = Guest()
        begun = [running.host.operation(never, guest).begin() for guest in (running.guest, other)]
        running.do(lambda: None)
        late: Operation[int] = running.host.operation(lambda made: made.resolve(1), running.guest)

        def abandon() -> None:
            late.begin()  # it is asked for, and not yet begun
            running.host.abandon(running.guest, NotUp("gone"))

        running.do(abandon)
        with pytest.raises(NotUp, match="gone"):
            begun[0].result()
        assert late.result() == 1
        assert not begun[1].done
        begun[1].cancel()


def test_a_loop_that_has_ended_or_never_began_answers_at_once() -> None:
    host = Host(SystemWorld, own_thread=True)
    with pytest.raises(NotUp):
        host.operation(never, Guest()).result()
    with Running() as running:
        pass
    with pytest.raises(NotUp):
        running.host.operation(never, running.guest).result()


def test_what_is_asked_while_the_last_tenant_leaves_is_answered() -> None:
    """Between `release` and the end of the thread."""
    for _ in range(100):
        host, guest = Host(SystemWorld, own_thread=True), Guest()
        host.acquire(guest)
        host.call(lambda host=host, guest=guest: host.release(guest))  # type: ignore[misc]
        operation: Operation[int] = host.operation(lambda made: made.resolve(1), guest)
        with contextlib.suppress(NotUp):  # it has ended already
            assert operation.result() == 1
        until_ended(host)
        host.world.close()


def until_ended(host: Host) -> None:
    thread = host._thread
    if thread is not None:
        thread.join(5)
        assert not thread.is_alive()


# --- a thread that cannot start ---------------------------------------------------------------------------------


def test_a_thread_that_cannot_start_is_an_error_and_the_next_one_may(monkeypatch: pytest.MonkeyPatch) -> None:
    host, guest = Host(SystemWorld, own_thread=True), Guest()
    start = threading.Thread.start

    def fail_once(thread: threading.Thread) -> None:
        monkeypatch.setattr(threading.Thread, "start", start)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail_once)
    operation: Operation[int] = host.operation(lambda made: made.resolve(1), guest, acquire=True)
    with pytest.raises(NotUp, match="no thread can be started"):
        operation.result()
    assert (host.users, host._open, host._thread) == (0, {}, None)
    operation = host.operation(lambda made: made.resolve(1), guest, acquire=True)
    assert operation.result() == 1
    host.call(lambda: host.release(guest))
    until_ended(host)
    host.world.close()


def test_an_interrupt_at_any_moment_of_beginning_leaves_nobody_who_waits() -> None:
    host = Host(SystemWorld, own_thread=True)
    host.world  # noqa: B018  # made before
    operations: list[Operation[int]] = []

    def call(guest: Guest) -> None:
        operations.append(host.operation(lambda made: made.resolve(1), guest, acquire=True))
        operations[-1].result()

    for guest, came in interrupted(Guest, call, module):
        again: Operation[int] = host.operation(lambda made: made.resolve(2), guest, acquire=True)
        assert again.result() == 2
        released: Operation[None] = host.operation(
            lambda made, guest=guest: made.resolve(host.release(guest)),  # type: ignore[misc, func-returns-value]
            guest,
        )
        released.result()
        until_ended(host)
        assert (host.users, host._open) == (0, {})
        assert came or operations[-1].outcome() == 1
    host.world.close()


# --- a loop that dies -------------------------------------------------------------------------------------------


def test_an_interrupt_of_whoever_begins_while_it_runs_brings_no_second_loop() -> None:
    """Up to CPython 3.12 an interrupt in `Thread.is_alive` makes a thread that runs count as one that has ended."""
    with Running() as running:
        thread = running.host._thread
        begin: Any = lambda host: host.acquire(running.guest)  # noqa: E731
        for host, _came in interrupted(lambda: running.host, begin, module, threading):
            host.acquire(running.guest)
            assert host._thread is thread


class Silent(logging.Handler):
    """What an application has installed, and what cannot be told anything."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def emit(self, record: logging.LogRecord) -> None:
        raise self.error


@pytest.fixture
def broken_log() -> Any:
    handler = Silent(RuntimeError("the disk is full"))
    logging.getLogger("tsnet").addHandler(handler)
    yield handler
    logging.getLogger("tsnet").removeHandler(handler)


def test_a_log_that_raises_ends_nothing(broken_log: Silent) -> None:
    with Running() as running:
        thread = running.host._thread
        running.host.call(lambda: int("x"))  # type: ignore[arg-type]
        running.do(lambda: None)
        running.worker.error = ValueError("a bug")
        running.make_due()
        assert running.worker.turned.wait(5)
        running.do(lambda: None)
        assert [str(error) for error in running.worker.crashes] == ["a bug"]
        assert running.host._thread is thread


def fatal() -> None:
    raise SystemExit("of an application's callback")


@pytest.mark.parametrize("log_ends", [False, True])
def test_when_the_loop_dies_everybody_is_told_and_the_next_tenant_gets_a_new_one(
    log_ends: bool, broken_log: Silent
) -> None:
    broken_log.error = SystemExit("a log that ends its caller") if log_ends else broken_log.error
    with Running() as running:
        host, thread = running.host, running.host._thread
        other = Worker()
        running.do(lambda: host.add(other))
        waiting: Operation[int] = host.operation(never, running.guest).begin()
        running.do(lambda: None)
        host.call(fatal)
        with pytest.raises(NotUp, match="of an application's callback"):
            waiting.result()
        assert thread is not None
        thread.join(5)
        assert not thread.is_alive()
        assert len(running.worker.crashes) == len(other.crashes) == len(running.guest.told) == 1
        assert (host.users, host._open, host._pumps) == (0, {}, [])
        again: Operation[int] = host.operation(lambda made: made.resolve(1), running.guest, acquire=True)
        assert again.result() == 1
        assert host._thread is not thread


def test_one_that_cannot_be_told_does_not_keep_the_others_from_it(caplog: pytest.LogCaptureFixture) -> None:
    class Deaf(Guest):
        def lost(self, error: Error) -> None:
            raise SystemExit

    class Stuck(Worker):
        def crash(self, error: Exception) -> None:
            raise SystemExit

    with Running() as running:
        host, deaf, stuck = running.host, Deaf(), Stuck()
        host.acquire(deaf)
        running.do(lambda: host._pumps.insert(0, stuck))
        waiting: Operation[int] = host.operation(never, deaf).begin()
        host.call(fatal)
        with pytest.raises(NotUp):
            waiting.result()
        host.acquire(running.guest)  # waits until the last one was told
        assert len(running.worker.crashes) == len(running.guest.told) == 1


def test_waits_that_fail_again_and_again_end_the_loop(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(SystemWorld):
        def __init__(self) -> None:
            super().__init__()
            self.failed = 0

        def wait(self, until: float) -> None:
            if 0 < self.failed <= MAX_STUMBLES:
                self.failed += 1
                raise OSError("no such poll set")
            super().wait(until)

    host, guest, world = Host(Broken, own_thread=True), Guest(), None
    world = host.world
    assert isinstance(world, Broken)
    waiting: Operation[int] = host.operation(lambda made: setattr(world, "failed", 1), guest, acquire=True)
    with pytest.raises(NotUp, match="in a row"):
        waiting.result()
    assert world.failed == MAX_STUMBLES + 1
    again: Operation[int] = host.operation(lambda made: made.resolve(1), guest, acquire=True)
    assert again.result() == 1
    assert len(guest.told) == 1
    host.call(lambda: host.release(guest))
    until_ended(host)
    world.close()


def test_the_loops_own_thread_is_known() -> None:
    with Running() as running:
        here: list[bool] = []
        running.do(lambda: here.append(running.host.is_here()))
        assert here == [True]
        assert not running.host.is_here()


def test_who_waits_in_the_loops_own_thread_is_told() -> None:
    def ask() -> None:
        with pytest.raises(NotUp, match="call from another thread"):
            running.host.check_caller()
        asked.append(True)

    asked: list[bool] = []
    with Running() as running:
        running.do(ask)
        running.host.check_caller()
    assert asked == [True]

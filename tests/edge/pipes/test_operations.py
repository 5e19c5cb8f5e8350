from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from types import ModuleType

import anyio
import pytest

from tests.faults import interrupted
from tsnet.edge.pipes import operations
from tsnet.edge.pipes.operations import Operation, async_event, failed, in_trio, resolved, scheduler, wait
from tsnet.errors import NotUp, StateError

BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])


def later(function: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=function)
    thread.start()
    return thread


def finish(operation: Operation[int], how: str) -> None:
    if how == "resolve":
        operation.resolve(7)
    else:
        operation.fail(NotUp("no"))


@pytest.mark.parametrize("how", ["resolve", "fail"])
@pytest.mark.parametrize("before", [True, False])
def test_a_thread_waits_for_the_value_or_the_error(how: str, before: bool) -> None:
    operation: Operation[int] = Operation()
    if before:
        finish(operation, how)
    thread = later(lambda: None if before else finish(operation, how))
    if how == "resolve":
        assert operation.result() == 7
    else:
        with pytest.raises(NotUp):
            operation.result()
    thread.join()


@BACKENDS
@pytest.mark.parametrize("how", ["resolve", "fail"])
@pytest.mark.parametrize("place", ["before", "same thread", "other thread"])
def test_a_task_waits_for_it(backend: str, how: str, place: str) -> None:
    async def main() -> None:
        operation: Operation[int] = Operation()
        if place == "before":
            finish(operation, how)
        elif place == "other thread":
            later(lambda: finish(operation, how))
        else:
            scheduler()(lambda: finish(operation, how))
        if how == "resolve":
            assert await wait(operation) == 7
        else:
            with pytest.raises(NotUp):
                await wait(operation)

    anyio.run(main, backend=backend)


def test_whoever_comes_second_has_no_effect() -> None:
    operation: Operation[int] = Operation()
    assert operation.resolve(1)
    assert not operation.resolve(2)
    assert not operation.fail(NotUp("no"))
    assert operation.outcome() == 1


def test_callbacks_are_called_once_each_also_late_ones() -> None:
    operation: Operation[int] = Operation()
    called: list[str] = []
    operation.add_done_callback(lambda: called.append("early"))
    operation.resolve(1)
    operation.add_done_callback(lambda: called.append("late"))
    assert called == ["early", "late"]


def test_a_bounded_wait() -> None:
    operation: Operation[int] = Operation()
    assert not operation.wait(0.0)
    operation.resolve(1)
    assert operation.wait(0.0)


# --- cancellation -----------------------------------------------------------------------------------------------


@BACKENDS
def test_a_cancelled_wait_undoes_what_was_begun(backend: str) -> None:
    undone: list[object] = []

    async def main() -> None:
        operation: Operation[int] = Operation(undone.append)
        operation.on_cancel = lambda: undone.append("begun")
        with anyio.move_on_after(0):
            await wait(operation)
        assert undone == ["begun"]
        assert not operation.resolve(7)
        assert undone == ["begun", 7]

    anyio.run(main, backend=backend)


@BACKENDS
def test_a_value_that_came_just_before_the_cancellation_is_not_lost(backend: str) -> None:
    wasted: list[int] = []

    async def main() -> None:
        operation: Operation[int] = Operation(wasted.append)
        operation.on_cancel = lambda: wasted.append(-1)
        with anyio.CancelScope() as scope:
            operation.add_done_callback(scope.cancel)
            scheduler()(lambda: operation.resolve(7))
            await wait(operation)
        assert scope.cancelled_caught

    anyio.run(main, backend=backend)
    assert wasted == [7]


def test_an_interrupted_thread_cancels() -> None:
    class Interrupted(Operation[int]):
        def wait(self, timeout: float | None = None) -> bool:
            raise KeyboardInterrupt  # what Ctrl-C raises in the main thread

    undone: list[int] = []
    operation = Interrupted()
    operation.on_cancel = lambda: undone.append(1)
    with pytest.raises(KeyboardInterrupt):
        operation.result()
    assert undone == [1]


def test_cancelling_twice_or_after_an_error_wastes_nothing() -> None:
    wasted: list[int] = []
    operation: Operation[int] = Operation(wasted.append)
    operation.fail(NotUp("no"))
    operation.cancel()
    operation.cancel()
    assert wasted == []


def test_resolve_and_cancel_at_once_end_in_exactly_one_hand() -> None:
    for _ in range(300):
        wasted: list[int] = []
        operation: Operation[int] = Operation(wasted.append)
        start = threading.Barrier(2)

        def resolve(operation: Operation[int] = operation, start: threading.Barrier = start) -> None:
            start.wait()
            operation.resolve(7)

        thread = later(resolve)
        start.wait()
        operation.cancel()
        thread.join()
        assert wasted == [7]


# --- waking a loop ----------------------------------------------------------------------------------------------


@BACKENDS
def test_an_event_is_set_from_its_own_thread_and_from_another(backend: str) -> None:
    async def main() -> None:
        for run in (lambda wake: wake(), lambda wake: later(wake).join()):
            event, wake = async_event()
            run(wake)
            with anyio.fail_after(5):
                await event.wait()

    anyio.run(main, backend=backend)


@BACKENDS
def test_a_loop_that_has_ended_is_no_error(backend: str) -> None:
    async def main() -> tuple[Callable[[], None], Callable[[Callable[[], object]], None]]:
        return async_event()[1], scheduler()

    wake, schedule = anyio.run(main, backend=backend)
    wake()
    later(wake).join()
    schedule(lambda: pytest.fail("nobody runs this"))


# --- interrupts -------------------------------------------------------------------------------------------------


def test_it_begins_once_and_only_when_somebody_waits() -> None:
    begun: list[Operation[int]] = []

    def start(operation: Operation[int]) -> None:
        begun.append(operation)
        operation.resolve(7)

    operation: Operation[int] = Operation(start=start)
    assert begun == []
    assert operation.result() == 7
    assert operation.begin().result() == 7
    assert begun == [operation]


@BACKENDS
def test_a_task_that_waits_begins_it(backend: str) -> None:
    async def main() -> None:
        operation: Operation[int] = Operation(start=lambda operation: operation.resolve(7))
        assert await wait(operation) == 7

    anyio.run(main, backend=backend)


class Opening:
    """A node's side in a thread of its own. left: what it has opened, and neither undone nor handed to who waits."""

    def __init__(self, comes_at_once: bool) -> None:
        self.left: list[int] = []
        self.operation: Operation[int] = Operation(self.left.remove, start=self.begin)
        self._go = threading.Event()
        self._thread = threading.Thread(target=self.finish)
        if comes_at_once:
            self._go.set()

    def begin(self, operation: Operation[int]) -> None:
        operation.on_cancel = self._go.set
        self._thread.start()

    def finish(self) -> None:
        self._go.wait(0.01)
        self.left.append(7)
        self.operation.resolve(7)

    def join(self) -> None:
        if self._thread.ident is not None:
            self._thread.join()


@pytest.mark.parametrize("comes_at_once", [True, False])
def test_an_interrupt_at_any_moment_of_the_wait_is_raised_and_leaves_nothing(comes_at_once: bool) -> None:
    moments = 0
    for opening, came in interrupted(
        lambda: Opening(comes_at_once), lambda opening: opening.operation.result(), operations
    ):
        opening.join()
        assert opening.left == ([] if came else [7])
        moments += 1
    assert moments > 10


def test_whoever_was_told_in_part_is_told_in_full_by_the_next_call() -> None:
    """A thread that dies while it tells leaves nobody waiting."""
    operation: Operation[int] = Operation()
    called: list[str] = []

    def fatal() -> None:
        raise SystemExit

    operation.add_done_callback(lambda: called.append("first"))
    operation.add_done_callback(fatal)
    with pytest.raises(SystemExit):
        operation.resolve(1)
    assert called == ["first"]


def test_when_it_is_over_somebody_hears_last() -> None:
    heard: list[str] = []
    for how, expected in (("resolve", ["told", "over"]), ("cancel", ["over"])):
        heard.clear()
        operation: Operation[int] = Operation()
        operation.on_over = lambda over: heard.append("over")
        operation.add_done_callback(lambda: heard.append("told"))
        if how == "resolve":
            operation.resolve(1)
        operation.cancel()
        assert heard == expected


def test_one_waiter_that_cannot_be_told_does_not_keep_the_others_waiting(caplog: pytest.LogCaptureFixture) -> None:
    operation: Operation[int] = Operation()
    called: list[str] = []

    def broken() -> None:
        raise RuntimeError("its loop is gone")

    operation.add_done_callback(broken)
    operation.add_done_callback(lambda: called.append("second"))
    operation.resolve(1)
    assert called == ["second"]
    assert "its loop is gone" in caplog.text


@pytest.mark.parametrize("half_made", ["trio", "trio.lowlevel"])
def test_a_module_that_another_thread_imports_just_now_is_not_read(
    half_made: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "trio", ModuleType("trio"))
    monkeypatch.setitem(sys.modules, half_made, ModuleType(half_made))

    async def main() -> int:
        assert not in_trio()
        operation: Operation[int] = Operation()
        later(lambda: operation.resolve(7))
        return await wait(operation)

    assert asyncio.run(main()) == 7


def test_waits_that_time_out_leave_nothing_behind() -> None:
    operation: Operation[int] = Operation()
    for _ in range(3):
        assert not operation.wait(0)
    assert not operation._callbacks
    operation.resolve(7)
    assert operation.wait(0)


def test_operations_that_are_done_from_the_beginning() -> None:
    assert resolved(7).result() == 7
    with pytest.raises(StateError, match="full"):
        failed(StateError("full")).result()
    with pytest.raises(NotUp, match="the node was closed"):
        failed(None).result()

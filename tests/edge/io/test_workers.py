from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tsnet.base.steps import Steps
from tsnet.edge.io import workers
from tsnet.edge.io.reactor import Reactor
from tsnet.edge.io.workers import Workers


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    reactor = Reactor(time.monotonic)
    yield reactor
    reactor.close()


def workers_are_gone() -> bool:
    return not [thread for thread in threading.enumerate() if thread.name == "tsnet-worker"]


def test_the_job_runs_elsewhere_and_its_result_comes_back_here(reactor: Reactor) -> None:
    results: list[tuple[Any, int]] = []
    Workers(reactor).run(threading.get_ident, lambda result: results.append((result, threading.get_ident())))
    while not results:
        reactor.wait(math.inf)
    (there, here) = results[0]
    assert here == threading.get_ident() != there


def test_an_exception_is_the_result(reactor: Reactor) -> None:
    results: list[Any] = []
    Workers(reactor).run(lambda: int("x"), results.append)
    while not results:
        reactor.wait(math.inf)
    assert isinstance(results[0], ValueError)


def test_a_slow_job_does_not_hold_up_another(reactor: Reactor) -> None:
    results: list[str] = []
    release = threading.Event()
    jobs = Workers(reactor)
    jobs.run(lambda: release.wait(5) and "slow", results.append)
    jobs.run(lambda: "fast", results.append)
    while not results:
        reactor.wait(math.inf)
    assert results == ["fast"]
    release.set()
    while len(results) < 2:
        reactor.wait(math.inf)
    assert results == ["fast", "slow"]


def test_steps_are_taken_elsewhere_with_rests_in_between(reactor: Reactor, monkeypatch: pytest.MonkeyPatch) -> None:
    rests: list[float] = []
    monkeypatch.setattr(workers, "WORK", 0.0)
    monkeypatch.setattr("tsnet.edge.io.workers.time.sleep", rests.append)
    results: list[Any] = []

    def steps() -> Steps[int]:
        for _ in range(5):
            yield
        return threading.get_ident()

    Workers(reactor).run_steps(steps, results.append)
    while not results:
        reactor.wait(math.inf)
    assert results[0] != threading.get_ident()
    assert rests == [workers.REST] * 5


def test_an_exception_in_a_step_is_the_result(reactor: Reactor) -> None:
    results: list[Any] = []

    def steps() -> Steps[int]:
        yield
        return int("x")

    Workers(reactor).run_steps(steps, results.append)
    while not results:
        reactor.wait(math.inf)
    assert isinstance(results[0], ValueError)


@pytest.mark.parametrize("close_reactor", [False, True])
def test_after_close_no_result_is_heard(close_reactor: bool) -> None:
    reactor = Reactor(time.monotonic)
    release, ran = threading.Event(), threading.Event()
    jobs = Workers(reactor)

    def job() -> None:
        release.wait(5)
        ran.set()

    jobs.run(job, lambda result: pytest.fail("heard"))
    jobs.close()
    if close_reactor:
        reactor.close()
    release.set()
    assert ran.wait(5)
    while not workers_are_gone():
        threading.Event().wait(0.001)
    if not close_reactor:
        reactor.wait(0)
        reactor.close()

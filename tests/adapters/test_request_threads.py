"""Threads for requests: as many as needed, none for nothing, and none of a caller's is everybody's."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.waits import until
from tsnet.adapters import request_threads
from tsnet.adapters.request_threads import RequestThreads


class Job:
    def __init__(self) -> None:
        self.begun, self.may_end, self.done = threading.Event(), threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.begun.set()
        self.may_end.wait(10)
        self.done.set()


class Office:
    """Threads, and all jobs that they were given."""

    def __init__(self, limit: int) -> None:
        self.threads: RequestThreads[Job] = RequestThreads(lambda job: job(), limit)
        self.jobs: list[Job] = []

    def add(self, caller: str, count: int = 1) -> list[Job]:
        jobs = [Job() for _ in range(count)]
        self.jobs += jobs
        for job in jobs:
            self.threads.add(caller, job)
        return jobs

    def close(self) -> None:
        for job in self.jobs:
            job.may_end.set()
        self.threads.close(10)


@pytest.fixture
def office(request: pytest.FixtureRequest) -> Iterator[Office]:
    office = Office(getattr(request, "param", 6))
    yield office
    office.close()


def begun(jobs: list[Job]) -> int:
    return sum(job.begun.is_set() for job in jobs)


def test_threads_come_when_they_are_needed_and_are_used_again(office: Office) -> None:
    assert office.threads._alive == 0
    for _ in range(5):
        [job] = office.add("ann")
        job.may_end.set()
        assert job.done.wait(10)
        until(lambda: not office.threads._shares.taken)
    assert office.threads._alive == 1


def test_two_jobs_at_once_get_two_threads_although_one_is_idle(office: Office) -> None:
    [first] = office.add("ann")
    first.may_end.set()
    until(lambda: not office.threads._shares.taken)
    jobs = office.add("ann", 2)
    until(lambda: begun(jobs) == 2)


def test_an_idle_thread_ends(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_threads, "IDLE", 0.01)
    [job] = office.add("ann")
    job.may_end.set()
    until(lambda: not office.threads._alive)


def test_a_caller_has_two_thirds_and_another_ones_request_begins_at_once(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    held = office.add("ann", 10)
    until(lambda: begun(held) == 4)
    [other] = office.add("bob")
    assert other.begun.wait(10)
    assert begun(held) == 4
    [warning] = caplog.messages
    assert "two thirds, which is one caller's share, of the 6 threads" in warning
    assert "threads=" in warning


def test_who_waits_takes_turns(office: Office) -> None:
    full = office.add("ann", 4) + office.add("bob", 2)
    until(lambda: begun(full) == 6)
    waiting = {name: office.add(name, 2) for name in ("carol", "dan")}
    for job in full[:2]:
        job.may_end.set()
    until(lambda: sum(map(begun, waiting.values())) == 2)
    assert [begun(jobs) for jobs in waiting.values()] == [1, 1]


@pytest.mark.parametrize("office", [1], indirect=True)
def test_when_all_are_busy_one_warning_says_what_to_do(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    office.add("ann")
    office.add("bob")
    office.add("carol")
    [warning] = caplog.messages
    assert "the 1 threads are busy" in warning


@pytest.mark.parametrize("office", [1], indirect=True)
def test_a_slow_log_holds_up_no_request(office: Office) -> None:
    reached, may_go_on = threading.Event(), threading.Event()

    class Slow(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            reached.set()
            may_go_on.wait(10)

    handler = Slow()
    log = logging.getLogger("tsnet.wsgi")
    log.addHandler(handler)
    try:
        [first] = office.add("ann")
        late = threading.Thread(target=office.add, args=("bob",))
        late.start()
        assert reached.wait(10)
        first.may_end.set()
        until(lambda: len(office.jobs) == 2 and office.jobs[1].begun.is_set())
    finally:
        may_go_on.set()
        log.removeHandler(handler)
    late.join(10)


def test_a_job_that_fails_costs_no_thread(caplog: pytest.LogCaptureFixture) -> None:
    def fail(job: object) -> None:
        raise SystemExit

    threads: RequestThreads[object] = RequestThreads(fail, 3)
    threads.add("ann", object())
    threads.add("ann", object())
    until(lambda: len(caplog.records) == 2 and not threads._shares.taken)
    assert threads.close(10) == []


@pytest.mark.parametrize("office", [1], indirect=True)
def test_close_returns_what_has_not_begun_and_waits_for_the_rest(office: Office) -> None:
    [running] = office.add("ann")
    assert running.begun.wait(10)
    [waiting] = office.add("ann")
    assert office.threads.close(0) == [waiting]
    running.may_end.set()
    assert office.threads.close(10) == []
    assert running.done.is_set()
    assert not waiting.begun.is_set()


def test_a_job_waits_while_no_thread_can_be_started(
    office: Office, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    [running] = office.add("ann")
    assert running.begun.wait(10)

    def fail(thread: threading.Thread) -> Any:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        [waiting] = office.add("bob")
    assert "can't start new thread" in caplog.text
    assert not waiting.begun.is_set()
    running.may_end.set()
    assert waiting.begun.wait(10)

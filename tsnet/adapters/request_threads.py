"""The threads that handle a WSGI app's requests: made when they are needed, ended when they are idle, shared fairly.

    add(caller, job) ─> an idle thread, or a new one, or the job waits its turn

A request may last for hours (an event stream) and costs a thread all that time. So there may be many threads, of which
no caller has more than two thirds; callers whose requests wait take turns. When all are busy, the log says so once a
minute, and what to do.

Not here: what a job is (`wsgi_waitress`, `wsgi_wsgiref`).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from netstack.limits import FULL, Shares
from tsnet.base.wording import Wording, api
from tsnet.edge.io.log import Log, Seldom

IDLE = 10.0
"""Seconds after which a thread ends that has nothing to do."""

J = TypeVar("J")
_log = Log("tsnet.wsgi")


class RequestThreads(Generic[J]):
    """At most `limit` threads that call `work(job)`. Any thread may use it."""

    def __init__(self, work: Callable[[J], object], limit: int) -> None:
        self._work = work
        self._shares = Shares(limit)
        self._granted: deque[tuple[Hashable, J]] = deque()
        """Jobs that have their share of the threads, and begin as soon as one of these looks."""
        self._waiting: dict[Hashable, deque[J]] = {}
        """The others, by caller, in the order in which callers take turns."""
        self._alive = 0
        self._closed = False
        self._news = threading.Condition()
        self._warnings = Seldom(_log)

    def add(self, caller: Hashable, job: J) -> None:
        """Do it as soon as a thread is free for this caller. After `close` it is not done."""
        with self._news:
            reason = self._shares.refusal(caller)
            if reason is None:
                self._grant(caller, job)
                self._wake_or_start()
            else:
                self._waiting.setdefault(caller, deque()).append(job)
        if reason is not None:  # outside the lock: a log handler may take its time
            self._warn(reason)

    def close(self, timeout: float) -> list[J]:
        """Begin no more, and wait so many seconds for those under way. Returns the jobs that have not begun."""
        with self._news:
            self._closed = True
            left = [job for _, job in self._granted] + [job for jobs in self._waiting.values() for job in jobs]
            self._granted.clear()
            self._waiting.clear()
            self._news.notify_all()
            self._news.wait_for(lambda: not self._alive, timeout)
        return left

    def _grant(self, caller: Hashable, job: J) -> None:
        self._shares.take(caller)
        self._granted.append((caller, job))

    def _wake_or_start(self) -> None:
        if self._alive >= self._shares.taken:
            self._news.notify()
            return
        try:
            threading.Thread(target=self._run, name="tsnet-wsgi-request", daemon=True).start()
        except (RuntimeError, MemoryError) as error:  # the job waits until another one is done
            self._warnings.warning(time.monotonic(), "no more threads can be started for requests: %s", error)
        else:
            self._alive += 1

    def _warn(self, reason: str) -> None:
        whose = "all" if reason == FULL else "two thirds, which is one caller's share, of"
        self._warnings.warning(
            time.monotonic(),
            Wording(
                "a request waits its turn: %s the %d threads are busy. If requests last long (event streams, long "
                "polls),",
                api("threads=", before=" allow more with ", after=", or"),
                " serve an ASGI app",
            ),
            whose,
            self._shares.total,
        )

    # --- in its threads -----------------------------------------------------------------------------------------

    def _run(self) -> None:
        while (granted := self._next()) is not None:
            caller, job = granted
            del granted
            try:
                self._work(job)
            except BaseException:
                _log.exception("a request could not be handled")
            del job  # it must not live as long as this thread is idle
            self._done(caller)

    def _next(self) -> tuple[Hashable, J] | None:
        """A job to do; None at the end, or after a while without one."""
        with self._news:
            while not self._granted:
                if self._closed or (not self._news.wait(IDLE) and not self._granted):
                    self._alive -= 1
                    self._news.notify_all()
                    return None
            return self._granted.popleft()

    def _done(self, caller: Hashable) -> None:
        with self._news:
            self._shares.give_back(caller)
            for other, jobs in self._waiting.items():
                if self._shares.refusal(other) is None:
                    self._grant(other, jobs.popleft())
                    del self._waiting[other]
                    if jobs:
                        self._waiting[other] = jobs  # at the end of the row: the next turn is another caller's
                    return

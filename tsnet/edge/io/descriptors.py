"""What peers make this process open: descriptors, of which the process has only so many.

    borrow(peer, n) ─> a lease   they count for the peer until it gives them back
                    ─> None      what wants them waits in a backlog: `when_free` calls back, and a timer tries again

The budget follows the soft limit of the process (RLIMIT_NOFILE), as it is when it is asked. It leaves half of the
limit, at most RESERVE, to the node itself and to the application. No peer has more than two thirds of the budget. There
is one budget for all nodes of a process (`BUDGET`): a descriptor that one of them takes is missed by all.

The budget is a bound and no promise: the application may have opened more than is left to it. So every place that
makes a descriptor also knows what it does when the kernel has none (`is_out`): an error for whoever asked, or a wait;
never the end of anything else.

Not here: what the descriptors are for (`sockets`, `adapters.forward`, `listeners`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator

from netstack.limits import Shares
from tsnet.edge.io.log import Seldom, log
from tsnet.errors import OutOfDescriptors

RESERVE = 256
"""The most that is left to the node and the application: half of a limit of 512 or less."""

PLENTY = 1 << 20
"""The budget where there is no limit."""

RETRY = 0.5
"""Seconds after which what waits tries again by itself: the application closes descriptors that nobody counts here."""

WAKES = 8
"""How many of those who wait are called when something is given back. The others' timers come soon."""

OUT = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))


def is_out(error: BaseException) -> bool:
    """Whether the kernel said that it has no descriptor, or no memory for one."""
    return isinstance(error, OSError) and error.errno in OUT


@contextlib.contextmanager
def told_when_out(what: str) -> Iterator[None]:
    """Say to the caller what could not be made for want of a descriptor: raises OutOfDescriptors instead of OSError."""
    try:
        yield
    except OSError as error:
        if not is_out(error) or isinstance(error, OutOfDescriptors):
            raise
        number = error.errno or errno.EMFILE
        raise OutOfDescriptors(
            f"there is no descriptor left for {what}: {os.strerror(number)}; close something, or raise the limit "
            "(ulimit -n)",
            number,
        ) from None


def soft_limit() -> int:
    """How many descriptors this process may have now."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return 2 * PLENTY
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 2 * PLENTY if soft == resource.RLIM_INFINITY else soft


class Descriptors:
    """Any thread may call everything here."""

    def __init__(self, limit: Callable[[], int] = soft_limit) -> None:
        self._limit = limit
        self._begin()

    def _begin(self) -> None:
        self._shares = Shares(1)
        self._waiting: deque[Callable[[], None]] = deque()
        self._lock = threading.RLock()  # reentrant: the collector may run a `give_back` inside a call
        self._warning = Seldom(log)

    def forked(self) -> None:
        """Begin anew in a child: the connections are the parent's, and another thread may have held the lock."""
        self._begin()

    @property
    def taken(self) -> int:
        return self._shares.taken

    @property
    def total(self) -> int:
        """How many all peers together may have, now."""
        limit = self._limit()
        return min(limit - min(limit // 2, RESERVE), PLENTY)

    @property
    def is_full(self) -> bool:
        return self._shares.taken >= self.total

    def borrow(self, peer: Hashable, count: int = 1) -> Lease | None:
        """Count that many for the peer, until they are given back; a peer of None is nobody in particular.

        None if there is no room: whoever asks waits, and the log says so at most once a minute.
        """
        with self._lock:
            shares = self._shares
            shares.total = max(self.total, 1)
            if shares.take(peer, count):
                return Lease(self, shares, peer, count)
        self.say_out()
        return None

    def take_back(self, shares: Shares, peer: Hashable, count: int, *, used: bool) -> None:
        """For the lease. Of a parent's shares, in a forked child, nobody asks any more."""
        with self._lock:
            shares.give_back(peer, count)
            wakes = [self._waiting.popleft() for _ in range(min(WAKES, len(self._waiting)))] if used else []
        for wake in wakes:
            wake()

    def when_free(self, wake: Callable[[], None]) -> None:
        """Call `wake` once when something is given back, in the thread that does so. It may be for nothing."""
        with self._lock:
            if wake not in self._waiting:
                self._waiting.append(wake)

    def forget(self, wake: Callable[[], None]) -> None:
        """Whoever waited has gone."""
        with self._lock, contextlib.suppress(ValueError):
            self._waiting.remove(wake)

    def say_out(self) -> None:
        self._warning.warning(
            time.monotonic(),
            "descriptors are running out: connections from peers wait until some are closed; raise the limit "
            "(ulimit -n, now %d), or let fewer connections in",
            self._limit(),
        )


class Lease:
    """Descriptors that count for one connection. Giving them back twice is as good as once."""

    __slots__ = ("_budget", "_count", "_peer", "_shares")

    def __init__(self, budget: Descriptors, shares: Shares, peer: Hashable, count: int) -> None:
        self._budget, self._shares, self._peer, self._count = budget, shares, peer, count

    def give_back(self, *, used: bool = True) -> None:
        """used: False if there were none after all. Then nobody is called: two that wait would call each other."""
        count, self._count = self._count, 0
        if count:
            self._budget.take_back(self._shares, self._peer, count, used=used)


BUDGET = Descriptors()
"""Of this process."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=BUDGET.forked)

"""One selector, one wake-up and one heap of timers, all for the thread that waits.

    add(socket, interest, callback)   level-triggered; stays until `remove`
    call_soon(function)               from any thread; wakes the waiter, one wake-up for any number of calls
    call_at(when, function)           the edge's own timers (a dial's timeout), few and short
    wait(until)                       poll once, then run what is ready, due and called

The selector's descriptor is readable when a socket is ready or a call waits, so a foreign loop can wait on it.

Not here: the nodes' timers, which are `deadline()` and reach `wait` as `until`.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import math
import selectors
import socket
import threading
from collections import deque
from collections.abc import Callable

from tsnet.edge.io.bell import Bell

READ = selectors.EVENT_READ
WRITE = selectors.EVENT_WRITE

MAX_WAIT = 60.0
"""Seconds. No wait is longer: our clock counts the time that the machine sleeps, the kernel's timeout does not."""

Callback = Callable[[int], None]


class Timer:
    """One `call_at`. After `cancel` it does nothing; its heap entry is removed when its time comes."""

    __slots__ = ("function", "when")

    def __init__(self, when: float, function: Callable[[], None]) -> None:
        self.when: float = when
        self.function: Callable[[], None] | None = function

    def cancel(self) -> None:
        self.function = None


class Watch:
    """What the selector keeps for a socket. `remove` empties it, so that a poll which has reported it calls nobody."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callback) -> None:
        self.callback: Callback | None = callback


class Reactor:
    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self._selector = selectors.DefaultSelector()
        self._resting: dict[socket.socket, Watch] = {}
        """Those of which nothing is waited for: the selector takes no such socket."""
        self._timers: list[tuple[float, int, Timer]] = []
        self._numbers = itertools.count()
        self._calls: deque[Callable[[], None]] = deque()
        self._lock = threading.RLock()  # reentrant: inside it, the collector may run a __del__ that calls `call_soon`
        self._closed = False
        self._woken = False
        try:
            self._bell = Bell()
        except BaseException:  # no descriptor is left
            self._selector.close()
            raise
        self._selector.register(self._bell.fileno(), READ, Watch(self._on_wake))

    # --- sockets ------------------------------------------------------------------------------------------------

    def add(self, sock: socket.socket, interest: int, callback: Callback) -> None:
        self._selector.register(sock, interest, Watch(callback))

    def change(self, sock: socket.socket, interest: int) -> None:
        """Wait for something else of the socket; with 0, for nothing until the next `change`."""
        resting = self._resting.pop(sock, None)
        if resting is None and interest:
            self._selector.modify(sock, interest, self._selector.get_key(sock).data)
        elif interest:
            self._selector.register(sock, interest, resting)
        else:
            self._resting[sock] = resting or self._selector.unregister(sock).data

    def remove(self, sock: socket.socket) -> None:
        """Forget a socket. Call this before the socket is closed. An unknown socket is no error."""
        self._resting.pop(sock, None)
        with contextlib.suppress(KeyError, ValueError, RuntimeError):
            self._selector.unregister(sock).data.callback = None

    # --- calls and timers ---------------------------------------------------------------------------------------

    def call_soon(self, function: Callable[[], None]) -> None:
        """Run the function in the next (or the present) `wait`. From any thread; after `close` it is not run.

        If this call is interrupted (Ctrl-C), the function may run or not, but the waiter is woken.
        """
        try:
            self._calls.append(function)
            if not self._woken:
                self._ring()
        except BaseException:  # if the flag were set and no byte sent, no later call would wake anybody
            self._ring()
            raise

    def _ring(self) -> None:
        with self._lock:
            if not self._closed:
                self._woken = True
                try:  # noqa: SIM105  # each wake goes through here
                    self._bell.ring()
                except BlockingIOError:
                    pass  # it rings already

    def call_at(self, when: float, function: Callable[[], None]) -> Timer:
        timer = Timer(when, function)
        heapq.heappush(self._timers, (when, next(self._numbers), timer))
        return timer

    def next_event(self) -> float:
        """The earliest timer; inf if there is none."""
        while self._timers and self._timers[0][2].function is None:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else math.inf

    # --- waiting ------------------------------------------------------------------------------------------------

    def wait(self, until: float) -> None:
        """Block until something is ready, called or due, or the clock passes `until`; at most MAX_WAIT. Then run it."""
        timeout = min(until, self.next_event()) - self.clock()
        timeout = 0.0 if self._calls or timeout <= 0 else min(timeout, MAX_WAIT)
        for key, mask in self._selector.select(timeout):
            callback = key.data.callback
            if callback is not None:
                callback(mask)
        self._run_timers()
        self._run_calls()

    def fileno(self) -> int:
        fileno: Callable[[], int] | None = getattr(self._selector, "fileno", None)
        if fileno is None:
            raise OSError("this platform's selector has no descriptor that another loop could wait on")
        return fileno()

    @property
    def is_closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._bell.close()
        self._selector.close()
        self._resting.clear()
        self._timers.clear()
        self._calls.clear()

    def orphan(self) -> None:
        """Close every descriptor's copy in a forked child. Takes no lock, calls nobody, sends nothing.

        Nothing may be unregistered: the kernel's poll set is shared with the parent, which would lose the socket.
        """
        if self._closed:
            return
        self._closed = self._woken = True
        watched = [*self._resting, *(key.fileobj for key in self._selector.get_map().values())]
        self._selector.close()
        self._bell.close()
        for sock in watched:
            if isinstance(sock, socket.socket):
                socket.socket.close(sock)
        self._timers.clear()
        self._calls.clear()

    def _on_wake(self, mask: int) -> None:
        try:  # noqa: SIM105
            self._bell.silence()
        except BlockingIOError:
            pass
        self._woken = False  # before the calls are taken, so that a later call wakes again, at worst for nothing

    def _run_calls(self) -> None:
        for _ in range(len(self._calls)):  # calls that these add wait for the next round
            self._calls.popleft()()

    def _run_timers(self) -> None:
        if not self._timers:
            return
        now = self.clock()
        while self.next_event() <= now:
            function = heapq.heappop(self._timers)[2].function
            if function is not None:
                function()

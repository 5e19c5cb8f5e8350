"""The loop that runs the nodes of a process: one thread for all of them, or the caller's own loop.

    own thread      run(): wait for ports, calls and deadlines; turn every pump that is due; end with the last node
    caller's loop   step(): the same, once, when the caller's loop says that `world.fileno()` is readable or time is up

Only this loop touches a node. Applications speak to it through `call` and through pipes. After `fork` the child has no
such thread: `forked` closes its copies of the sockets, so that not one datagram leaves it, and every use raises NotUp.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import threading
import weakref
from collections.abc import Callable
from typing import Protocol

from tsnet.edge.world import World

log = logging.getLogger("tsnet")
_hosts: weakref.WeakSet[Host] = weakref.WeakSet()


class Turning(Protocol):
    """What a host runs: a node's pump, a server's. `due` is when the next turn must be."""

    @property
    def due(self) -> float: ...

    def turn(self) -> None: ...

    def crash(self, error: Exception) -> None:
        """A turn failed, which is a fault of this library: end this one, the others go on."""
        ...

    def drop(self) -> None:
        """Close descriptors, say nothing."""
        ...


class Host:
    """Runs pumps over one world. `acquire` starts the thread, the last `release` ends it."""

    def __init__(self, world: World, *, own_thread: bool) -> None:
        self.world = world
        self.own_thread = own_thread
        self.forked = False
        self.driven = False
        self.on_wake: Callable[[], None] | None = None
        self.pumps: list[Turning] = []
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._asleep = False
        self.users = 0
        _hosts.add(self)

    # --- from any thread ------------------------------------------------------------------------------------

    def acquire(self) -> None:
        """One more node will run here; the thread starts with the first."""
        with self._lock:
            self.users += 1
            if self.own_thread and self._thread is None:
                self._thread = threading.Thread(target=self._run, name="tsnet", daemon=True)
                self._thread.start()

    def release(self) -> None:
        """One node fewer, said in the loop's own thread; with the last one it ends after this step."""
        with self._lock:
            self.users -= 1
            if self.users == 0:
                self._thread = None

    def call(self, function: Callable[[], None]) -> None:
        """Run the function in the loop's thread, soon."""
        self.world.call_soon(function)
        self._notify()

    def wake(self) -> None:
        """Something was scheduled. Costs a system call only while the loop sleeps; wakes are one or none."""
        if self._asleep:
            self._asleep = False
            self.world.call_soon(_nothing)
        self._notify()

    def _notify(self) -> None:
        """A driver in a foreign loop sleeps on an event of that loop."""
        wake = self.on_wake
        if wake is not None:
            self.on_wake = None
            wake()

    # --- the loop -------------------------------------------------------------------------------------------

    def due(self) -> float:
        return min((pump.due for pump in self.pumps), default=math.inf)

    def step(self, until: float = math.inf) -> None:
        """Wait until something is due, at most until then; turn every pump that is."""
        self._asleep = True
        due = self.due()  # after the flag: what is scheduled from here on wakes
        self.world.wait(min(due, until))
        self._asleep = False
        now = self.world.clock()
        for pump in tuple(self.pumps):
            if pump.due <= now:
                self._turn(pump)

    def _turn(self, pump: Turning) -> None:
        try:
            pump.turn()
        except Exception as error:
            log.exception("a node of this process failed and is ended; the others go on")
            if pump in self.pumps:
                self.pumps.remove(pump)
            pump.crash(error)

    def _run(self) -> None:
        mine = threading.current_thread()
        while self._thread is mine:
            self.step()

    def after_fork(self) -> None:
        """In the child: no thread runs here, and the sockets are the parent's."""
        self.forked = True
        self.world.abandon()  # first: the kernel's selector is shared, and a port would unregister the parent's sockets
        pumps, self.pumps = self.pumps, []
        for pump in pumps:
            with contextlib.suppress(OSError):
                pump.drop()


_default: Host | None = None
_default_lock = threading.Lock()


def default_host() -> Host:
    """The one host of this process that has its own thread."""
    global _default
    with _default_lock:
        if _default is None or _default.forked:
            from tsnet.edge.system import SystemWorld

            _default = Host(SystemWorld(), own_thread=True)
        return _default


def _nothing() -> None:
    """A call that only wakes."""


def _after_fork() -> None:
    for host in tuple(_hosts):
        host.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

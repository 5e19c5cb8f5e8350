"""The loop that runs the nodes of a process: one thread for all of them, or the caller's own loop.

    own thread      run(): wait for ports, calls and deadlines; turn every pump that is due; end with the last node
    caller's loop   step(): the same, once, when the caller's loop says that `world.fileno()` is readable or time is up

Only this loop touches a node. Applications speak to it through `call` and through pipes. After `fork` the child has no
such thread: it closes its copies of the sockets, so that not one datagram leaves it, and every use raises NotUp.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import weakref
from collections.abc import Callable
from typing import Protocol

from tsnet.edge.io.world import World
from tsnet.errors import Error, NotUp

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

    def orphan(self, error: Error) -> None:
        """This is a forked child: the sockets are closed, the threads are the parent's. Wake nobody."""
        ...


class Host:
    """Runs pumps over one world. `acquire` starts the thread, the last `release` ends it.

    make_world: called at first need, so that a Server that never starts opens nothing. ends_world: the world is closed
    with the last node, for a host that serves one.
    """

    def __init__(self, make_world: Callable[[], World], *, own_thread: bool, ends_world: bool = False) -> None:
        self.own_thread = own_thread
        self.ends_world = ends_world
        self.forked = False
        self.driven = False
        self._pumps: list[Turning] = []
        self.users = 0
        self._make_world = make_world
        self._world: World | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.RLock()
        self._asleep = False
        self._wake: Callable[[], object] | None = None
        self._driver = 0
        _hosts.add(self)

    # --- from any thread ------------------------------------------------------------------------------------

    @property
    def world(self) -> World:
        world = self._world
        if world is None:
            with self._lock:
                world = self._world = self._world or self._make_world()
        return world

    def acquire(self) -> None:
        """One more node will run here; the thread starts with the first."""
        with self._lock:
            self.users += 1
            if self.own_thread and self.users == 1:
                self._thread = threading.Thread(target=self._run, args=(self._thread,), name="tsnet", daemon=True)
                self._thread.start()

    def release(self) -> None:
        """One node fewer, said in the loop's own thread; with the last one it ends after this step."""
        with self._lock:
            self.users -= 1

    def call(self, function: Callable[[], None]) -> None:
        """Run the function in the loop's thread, soon."""
        self.world.call_soon(function)
        self._wake_driver()

    def wake(self) -> None:
        """Something was scheduled. Costs a system call only while the loop sleeps; wakes are one or none."""
        if not self._wake_driver() and self._asleep:
            self._asleep = False
            self.world.call_soon(_nothing)

    # --- in the caller's loop -------------------------------------------------------------------------------

    def fall_asleep(self, wake: Callable[[], object]) -> None:
        """The driver waits in its loop. From that loop's thread `wake` ends it; from others, the world's descriptor."""
        self._driver, self._wake, self._asleep = threading.get_ident(), wake, True

    def awake(self) -> None:
        self._wake, self._asleep = None, False

    def _wake_driver(self) -> bool:
        wake = self._wake
        if wake is None or threading.get_ident() != self._driver:
            return False
        self._wake = None
        wake()
        return True

    def ended(self) -> None:
        """The driver is gone, with its loop or with the last node."""
        if self.ends_world and not self.users:
            self.world.close()

    # --- the loop -------------------------------------------------------------------------------------------

    def add(self, pump: Turning) -> None:
        """Turn it from now on; in the loop's thread."""
        self._pumps.append(pump)

    def remove(self, pump: Turning) -> bool:
        """Turn it no more; in the loop's thread. Returns whether it was turned until now."""
        if pump not in self._pumps:
            return False
        self._pumps.remove(pump)
        return True

    def due(self) -> float:
        return min((pump.due for pump in self._pumps), default=math.inf)

    def step(self, until: float = math.inf) -> None:
        """Wait until something is due, at most until then; turn every pump that is."""
        self._asleep = True
        due = self.due()  # after the flag: what is scheduled from here on wakes
        try:
            self.world.wait(min(due, until))
        except Exception:  # of a callback: its port or call is lost, the loop is not
            log.exception("a call in the node's thread failed; please report it")
        self._asleep = False
        now = self.world.clock()
        for pump in tuple(self._pumps):
            if pump.due <= now:
                self._turn(pump)

    def _turn(self, pump: Turning) -> None:
        try:
            pump.turn()
        except Exception as error:
            log.exception("a node of this process failed and is ended; the others go on")
            self.remove(pump)
            pump.crash(error)

    def _run(self, previous: threading.Thread | None) -> None:
        """previous: a thread that has ended its work, though perhaps not quite itself."""
        if previous is not None:
            previous.join()
        while not self._is_over():
            self.step()

    def _is_over(self) -> bool:
        """Whether the last node has gone, and no new thread has been started for another."""
        with self._lock:
            return self.users == 0 or self._thread is not threading.current_thread()

    def after_fork(self) -> None:
        """In the child: no thread runs here, and the sockets are the parent's."""
        self.forked = True
        self._lock = threading.RLock()
        pumps, self._pumps = self._pumps, []
        if self._world is not None and self._world.reactor is not None:
            self._world.reactor.orphan()
        error = NotUp("this node belongs to the parent process: after fork, create a new Server in the child")
        for pump in pumps:
            pump.orphan(error)


_default: Host | None = None
_default_lock = threading.Lock()


def default_host() -> Host:
    """The one host of this process that has its own thread."""
    global _default
    with _default_lock:
        if _default is None or _default.forked:
            from tsnet.edge.io.system import SystemWorld

            _default = Host(SystemWorld, own_thread=True)
        return _default


def host_for(world: World) -> Host:
    """The one host of an injected world: its nodes share a loop, and its clock."""
    host = world.host
    if not isinstance(host, Host):
        host = world.host = Host(lambda: world, own_thread=False)
    return host


def private_host() -> Host:
    """A host in the caller's loop, for one node."""
    from tsnet.edge.io.system import SystemWorld

    return Host(SystemWorld, own_thread=False, ends_world=True)


def _nothing() -> None:
    """A call that only wakes."""


def _after_fork() -> None:
    global _default_lock
    _default_lock = threading.Lock()  # another thread of the parent may have held it
    for host in tuple(_hosts):
        host.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

"""The loop that runs the nodes of a process: one thread for all of them, or the caller's own loop.

    own thread      run(): wait for ports, calls and deadlines; turn every pump that is due; end with the last tenant
    caller's loop   step(): the same, once, when the caller's loop says that `world.fileno()` is readable or time is up

Only this loop touches a node. Applications speak to it through `operation`, the one place that makes them, and by
pipes. Nobody waits for it in vain: an operation whose function raises ends with that error; when its node is gone, or
the loop has ended, it ends with the reason; and when the loop dies, every pump and every tenant is told as well. After
`fork` the child has no such thread: it closes its copies of the sockets, so that not one datagram leaves it, and every
use raises NotUp.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import threading
import weakref
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

from tsnet.edge.io.descriptors import is_out
from tsnet.edge.io.log import log
from tsnet.edge.io.threads import start_thread
from tsnet.edge.io.world import World
from tsnet.edge.pipes.operations import Operation
from tsnet.edge.run.alarms import Alarm, Alarms
from tsnet.edge.run.endings import end_all
from tsnet.errors import Error, NotUp

T = TypeVar("T")
MAX_STUMBLES = 100
"""Waits in a row that may fail before the loop gives up: a fault that stays would otherwise fill a core and the log."""

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


class Tenant(Protocol):
    """Who keeps a host's loop running: a node's handle, an embedded tailnet."""

    def lost(self, error: Error) -> None:
        """The loop has died. Said by whoever noticed, after every pump has crashed; the tenant is none any more."""
        ...


class Host:
    """Runs pumps over one world. The first tenant's `acquire` starts the thread, the last one's `release` ends it.

    make_world: called at first need, so that a Server that never starts opens nothing. ends_world: the world is closed
    with the last tenant, for a host that serves one.
    """

    def __init__(self, make_world: Callable[[], World], *, own_thread: bool, ends_world: bool = False) -> None:
        self.own_thread = own_thread
        self.ends_world = ends_world
        self.forked: bool = False
        self.driven = False
        self._make_world = make_world
        self._world: World | None = None
        self._pumps: list[Turning] = []
        self._tenants: set[Tenant] = set()
        self._alarms = Alarms()
        self._open: dict[Operation[Any], Tenant | None] = {}
        """The operations that have no answer yet, and whose they are, once this loop has begun them."""
        self._thread: threading.Thread | None = None
        self._lock = threading.RLock()
        self._stumbles = 0
        self._asleep = False
        self._wake: Callable[[], object] | None = None
        self._driver = 0
        _hosts.add(self)

    # --- from any thread ------------------------------------------------------------------------------------

    @property
    def world(self) -> World:
        """Made at first need."""
        return self._world or self._open_world()

    def _open_world(self) -> World:
        """Raises NotUp if there is no descriptor for it; the next call tries again."""
        with self._lock:
            try:
                self._world = self._world or self._make_world()
            except OSError as error:
                if not is_out(error):
                    raise
                raise NotUp(
                    f"the node cannot begin: {error.strerror}; close something, or raise the limit (ulimit -n)"
                ) from None
            return self._world

    @property
    def users(self) -> int:
        """How many tenants keep the loop running."""
        return len(self._tenants)

    def holds(self, tenant: Tenant) -> bool:
        with self._lock:  # not while the loop dies: a tenant that it has ended with is told first
            return tenant in self._tenants

    def is_here(self) -> bool:
        """Whether the caller runs in this host's own thread, where waiting for the host would last for ever."""
        return self.own_thread and threading.current_thread() is self._thread

    def check_process(self) -> None:
        """Raise NotUp in a forked child."""
        if self.forked:
            raise _forked()

    def check_caller(self) -> None:
        """Raise NotUp where nobody could answer: in a forked child, and in the thread that would have to."""
        self.check_process()
        if self.is_here():
            raise NotUp("the node's own thread cannot wait for the node: call from another thread")

    def acquire(self, tenant: Tenant) -> None:
        """Run for this tenant until its `release`; twice is as good as once. Raises NotUp if no thread can start."""
        if tenant in self._tenants and self._runs:
            return
        self._open_world()  # whoever asks for a thread is told that there is none, and not the thread
        with self._lock:
            is_new = tenant not in self._tenants
            self._tenants.add(tenant)
            if not self._runs:
                try:
                    self._start_thread()
                except BaseException:  # also an interrupt: a thread that has begun all the same finds itself replaced
                    self._thread = None
                    if is_new:
                        self._tenants.discard(tenant)
                    raise

    @property
    def _runs(self) -> bool:
        """Whether somebody will run what is called; a loop of the caller's is theirs to run.

        The thread says itself when it ends. `Thread.is_alive` is not asked: up to CPython 3.12 an interrupt there makes
        it say of a thread that runs that it has ended, and a second one would turn the same nodes.
        """
        return not self.own_thread or self._thread is not None

    def _start_thread(self) -> None:
        thread = self._thread = threading.Thread(target=self._run, name="tsnet", daemon=True)
        start_thread(thread, "the node")

    def release(self, tenant: Tenant) -> None:
        """One tenant fewer, said in the loop's own thread; with the last one it ends after this step."""
        with self._lock:
            self._tenants.discard(tenant)

    def abandon(self, tenant: Tenant, error: Error) -> None:
        """Nothing will answer what was begun for this tenant; said in the loop's own thread."""
        _fail([operation for operation, whose in self._open.copy().items() if whose is tenant], error)

    def operation(
        self, function: Callable[[Operation[T]], object], tenant: Tenant, *, acquire: bool = False
    ) -> Operation[T]:
        """An operation that the function, called in the loop's thread, will finish or see to, for the tenant.

        It begins when somebody waits for it, or says so. acquire: the loop is then acquired for the tenant first.
        Whatever goes wrong on the way ends the operation with that error: the function raises, the tenant is abandoned,
        no loop runs, or the loop ends or dies first.
        """

        def start(operation: Operation[T]) -> None:
            try:
                if acquire:
                    self.acquire(tenant)
                self._register(operation)
                self.call(functools.partial(self._begin, operation, function, tenant))
            except Exception as error:
                operation.fail(error)
            except BaseException:  # an interrupt: the function may never be called
                operation.cancel()
                raise

        return Operation(start=start)

    def _register(self, operation: Operation[Any]) -> None:
        """From now on the loop cannot end without a word to whoever waits."""
        with self._lock:
            if not self._runs:
                raise NotUp("the node does not run: nobody is there to ask")
            operation.on_over = self._forget
            self._open[operation] = None

    def _forget(self, operation: Operation[Any]) -> None:
        self._open.pop(operation, None)

    def _begin(self, operation: Operation[T], function: Callable[[Operation[T]], object], tenant: Tenant) -> None:
        """In the loop's thread."""
        if operation.done or operation.cancelled:
            return
        self._open[operation] = tenant
        try:
            function(operation)
        except Exception as error:
            operation.fail(error)

    def call(self, function: Callable[[], None]) -> None:
        """Run the function in the loop's thread, soon."""
        self.world.call_soon(function)
        self._wake_driver()

    def wake(self) -> None:
        """Something was scheduled. Costs a system call only while the loop sleeps; wakes are one or none."""
        if not self._wake_driver() and self._asleep:
            try:
                self._asleep = False
                self.world.call_soon(_nothing)
            except BaseException:  # Ctrl-C in between: who is not woken now would sleep on
                self.world.call_soon(_nothing)
                raise

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
        """The driver is gone, with its loop or with the last tenant."""
        if not self._tenants:
            _fail(self._take_open(), _over())
            if self.ends_world and self._world is not None:
                self._world.close()
                self._world = None  # whoever begins again gets another

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

    def at(self, when: float, function: Callable[[], object]) -> Alarm:
        """Call the function once in the loop's thread, from then on; said in that thread."""
        return self._alarms.at(when, function)

    def now(self) -> float:
        return self.world.clock()

    def due(self) -> float:
        due = self._alarms.due()
        for pump in self._pumps:
            at = pump.due
            if at < due:
                due = at
        return due

    def step(self, until: float = math.inf) -> None:
        """Wait until something is due, at most until then; turn every pump that is."""
        world = self.world
        self._asleep = True
        due = self.due()  # after the flag: what is scheduled from here on wakes
        try:
            world.wait(due if due < until else until)
            self._stumbles = 0
        except Exception:  # of a callback: its port or call is lost, the loop is not
            self._stumble("a call in the node's thread failed; please report it")
        self._asleep = False
        now = world.clock()
        try:
            self._alarms.ring(now)
        except Exception:
            self._stumble("an alarm in the node's thread failed; please report it")
        for pump in tuple(self._pumps):
            if pump.due <= now:
                self._turn(pump)

    def _stumble(self, what: str) -> None:
        log.exception(what)
        self._stumbles += 1
        if self._stumbles >= MAX_STUMBLES:
            raise RuntimeError(f"{what}; {MAX_STUMBLES} in a row")

    def _turn(self, pump: Turning) -> None:
        try:
            pump.turn()
        except Exception as error:
            log.exception("a node of this process failed and is ended; the others go on")
            self.remove(pump)
            _crash([pump], error)

    def _run(self) -> None:
        try:
            with self._lock:  # not before `acquire` has ended: it may be interrupted, and take this thread back
                thread = threading.current_thread()
            while not self._is_over(thread):
                self.step()
        except BaseException as error:
            self.died(error)

    def _is_over(self, thread: threading.Thread) -> bool:
        """Whether the last tenant has gone, or another thread was started in place of this one."""
        if self._tenants and self._thread is thread:
            return False
        with self._lock:
            if self._thread is not thread:
                return True
            if self._tenants or not all(operation.done for operation in self._open.copy()):
                return False  # what was asked a moment ago may want it again
            self._alarms = Alarms()  # nobody waits for those that are left, and they hold on to nodes that have ended
            self._thread = None
        return True

    def _take_open(self) -> Iterable[Operation[Any]]:
        taken, self._open = self._open, {}
        return tuple(taken)

    def died(self, error: BaseException) -> None:
        """The loop cannot go on: whoever counted on it is told, and only then the next tenant gets a new thread."""
        failure = NotUp(f"the node's thread has ended by an internal error, please report it: {error!r}")
        with self._lock:
            self._thread = None
            pumps, self._pumps = self._pumps, []
            tenants, self._tenants = self._tenants, set()
            self._alarms = Alarms()
            self._stumbles = 0
            _crash(pumps, RuntimeError(f"the node's thread has ended: {error!r}"))
            end_all("a node without a thread", [functools.partial(tenant.lost, failure) for tenant in tenants])
            _fail(self._take_open(), failure)
        with contextlib.suppress(BaseException):
            log.exception("the nodes of this process have lost their thread")

    def after_fork(self) -> None:
        """In the child: no thread runs here, and the sockets are the parent's."""
        self.forked = True
        self._lock = threading.RLock()
        self._thread = None
        pumps, self._pumps = self._pumps, []
        self._tenants = set()
        self._open = {}
        if self._world is not None:
            self._world.abandon()
        for pump in pumps:
            pump.orphan(_forked())


def _fail(operations: Iterable[Operation[Any]], error: Error) -> None:
    end_all("somebody's wait", [functools.partial(operation.fail, error) for operation in operations])


def _crash(pumps: Iterable[Turning], error: Exception) -> None:
    end_all("a failed node", [functools.partial(pump.crash, error) for pump in pumps])


def _forked() -> NotUp:
    return NotUp("this node belongs to the parent process: after fork, create a new Server in the child")


def _over() -> NotUp:
    return NotUp("the node was closed: create a new Server to join again")


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

"""One running node, for any thread: what `AsyncServer` and `Server` are two thin faces of.

Every method that waits returns an `Operation`, which the node's thread finishes; every time limit runs on the node's
clock. Threads and ports are kept here; how a node's life goes is `engine.lifecycle`'s to say, everything else the
node's.

    up, dial, … ─► host's thread ─► store read ─► ports, Node, Pump ─► facts ─► lifecycle ─► whoever waits
    close       ─► streams end in order, an ephemeral node logs out ─► what is saved is written ─► ports closed

Not here: bytes (`pipes`), the loop (`host`), what is asked of a running node (`verbs`), files (`io.directory`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from tsnet.config import Config, seconds
from tsnet.edge.io.reactor import Reactor
from tsnet.edge.io.saver import Saver
from tsnet.edge.io.store import Store
from tsnet.edge.io.workers import run_job
from tsnet.edge.io.world import World
from tsnet.edge.pipes.operations import Operation
from tsnet.edge.pipes.pipes import Pipe
from tsnet.edge.pipes.subscriptions import Subscription
from tsnet.edge.pipes.unbuffered import UnbufferedPipe
from tsnet.edge.run import process_end
from tsnet.edge.run.dialing import Attempts
from tsnet.edge.run.host import Host
from tsnet.edge.run.opening import Kept, Options, as_error, open_kept, open_pump
from tsnet.edge.run.pump import Pump
from tsnet.edge.run.reports import Reports
from tsnet.edge.run.verbs import Verbs
from tsnet.edge.run.waiting import Waiting
from tsnet.engine import facts
from tsnet.engine.lifecycle import Lifecycle, News
from tsnet.engine.node import Node
from tsnet.errors import ConfigError, Error, NotUp, UpTimeout

if TYPE_CHECKING:
    from tsnet.netmap.model import NetMap
    from tsnet.netmap.names import Names
    from tsnet.netmap.whois import Whois

T = TypeVar("T")


class Handle(Verbs):
    """world: the machine it runs on, if not the host's own (simulated machines share a host)."""

    def __init__(self, config: Config, host: Host, store: Store, options: Options, world: World | None = None) -> None:
        self.config = config
        self.host = host
        self.attempts = Attempts()
        self._world = world
        self._store = store
        self._options = options
        self._life = Lifecycle(config.hostname, config.control_url)
        self._pump: Pump | None = None
        self._saver: Saver | None = None
        self._opening: object = None
        """The reading of the store that is under way."""
        self.reports = Reports(config.hostname, self._life, self.attempts, options.on_login_url)
        self._joining, self._reaching = Waiting(host), Waiting(host)
        self._closing: list[Operation[None]] = []

    # --- the way up -----------------------------------------------------------------------------------------

    def up(self, timeout: float | None) -> Operation[None]:
        """Join, and wait until names, addresses and peers are known."""
        return self.when_running(timeout, lambda operation, left: operation.resolve(None))

    def reachable(self, timeout: float | None) -> Operation[None]:
        """Wait until peers can reach this node: its home relay is up, and control knows of it."""

        def wait(operation: Operation[None], left: float) -> None:
            until = self.world.clock() + left
            self._reaching.add(
                operation, until, lambda: operation.resolve(None), lambda: self._not_reachable(seconds(timeout))
            )
            self._settle()

        return self.when_running(timeout, wait)

    def when_running(self, timeout: float | None, begin: Callable[[Operation[T], float], object]) -> Operation[T]:
        """Start the node if need be; call `begin` in its thread once it runs, with the seconds that are left.

        Raises ConfigError for a timeout that is none, NotUp where nobody could answer.
        """
        limit = seconds(timeout)
        self._check_caller()
        if not self._life.is_over:
            self.host.acquire(self)
        return self.host.begin(lambda operation: self._await_running(operation, limit, begin))

    def _await_running(
        self, operation: Operation[T], limit: float, begin: Callable[[Operation[T], float], object]
    ) -> None:
        if self._life.can_start:
            self._start()
        world = self.world
        until = world.clock() + limit
        self._joining.add(
            operation,
            until,
            lambda: begin(operation, max(until - world.clock(), 0.0)),
            lambda: self._life.too_late(limit, self._waiting_for),
        )
        self._settle()

    def _start(self) -> None:
        self._life.told(News.STARTED)
        if self._pump is not None:  # it is there, and control has refused it: perhaps no longer
            self._pump.node.retry(self._pump.now())
            self._pump.mark()
        elif self._opening is None:
            self._opening = opening = object()
            world, config, store = self.world, self.config, self._store
            try:
                run_job(
                    world, lambda: open_kept(store, config, world.entropy), lambda kept: self._opened(kept, opening)
                )
            except Exception as error:
                self._opened(error, opening)

    def _opened(self, kept: Kept | Exception, opening: object) -> None:
        """The store was read, in a thread of its own, or could not be."""
        if self._opening is not opening:  # the node was closed meanwhile, or lost its thread
            if not isinstance(kept, Exception):
                self._store.close()
            return
        self._opening = None
        if isinstance(kept, Exception):
            self._gone(as_error(kept))
            return
        self._saver = Saver(self._store, self.host.call, in_thread=not self.world.is_virtual)
        try:
            self._pump = open_pump(self.config, kept, self.world, self._options, self)
        except Exception as error:
            self._gone(as_error(error))
            return
        self.host.add(self._pump)
        if self.host.own_thread:
            process_end.add(self)

    @property
    def _waiting_for(self) -> str:
        return "waiting for its saved state" if self._pump is None else self._pump.node.waiting_for

    def _not_reachable(self, limit: float) -> Error:
        return self._life.trouble or UpTimeout(
            f"{self.config.hostname} runs, but peers could not reach it within {limit:g} s: "
            f"{self.node.unreachable_because}; see status().health, or allow more time with timeout="
        )

    def _settle(self) -> None:
        """Whoever waits is told what the node's state means for them."""
        refusal = self._life.refusal()
        if refusal is not None:
            self._joining.fail(refusal)
            self._reaching.fail(refusal)
        elif self._life.is_running:
            self._joining.release()
            if self._pump is not None and self._pump.node.is_reachable:
                self._reaching.release()

    # --- the way down ---------------------------------------------------------------------------------------

    def close(self, timeout: float | None) -> Operation[None]:
        """End every stream in order, log an ephemeral node out, free everything. Idempotent.

        Within the node's own thread it begins, and is not waited for.
        """
        limit = seconds(timeout)
        done: Operation[None] = Operation()
        done.resolve(None)
        if self.host.forked or not self.host.holds(self):
            self._life.told(News.CLOSED)
            self.reports.end()
            return done
        closing: Operation[None] = self.host.begin(lambda operation: self._begin_close(operation, limit))
        return done if self.host.is_here() else closing

    def _begin_close(self, operation: Operation[None], limit: float) -> None:
        self._closing.append(operation)
        if len(self._closing) > 1:
            return
        self._life.told(News.CLOSING)
        self._settle()
        self.attempts.fail(NotUp("the node is closing"))
        pump = self._pump
        if pump is None:
            self._gone(NotUp("the node was closed"))
            return
        now = pump.now()
        for owner in tuple(pump.owners.values()):
            owner.end(now)
        pump.node.begin_close(now, limit / 2)
        pump.after_turn = lambda: self._check_closed(pump, now + limit)
        pump.at(now + limit, pump.mark)
        pump.mark()

    def _check_closed(self, pump: Pump, until: float) -> None:
        is_saved = self._saver is None or self._saver.is_idle
        if (pump.node.is_closed and is_saved) or pump.now() >= until:
            pump.after_turn = None
            pump.last_words()
            pump.close()
            self._gone(NotUp("the node was closed"))

    def crashed(self, error: Exception) -> None:
        """The pump has failed, which is a fault of this library: every stream and every waiter is told."""
        self._gone(NotUp(f"the node ended by an internal error, please report it: {error!r}"))

    def wake(self) -> None:
        self.host.wake()

    def lost(self, error: Error) -> None:
        """The host's loop has died, and the pump with it, if there was one."""
        self._gone(error)

    def _gone(self, error: Error) -> None:
        """Nothing of the node is left: whoever waits is told, and a later `up` begins anew, unless it was closed."""
        pump, self._pump = self._pump, None
        saver, self._saver = self._saver, None
        self._opening = None
        self._life.told(News.LOST, error)
        if pump is not None:
            self.host.remove(pump)
            pump.abandon(error)
        if saver is not None:
            saver.close()
        self.attempts.fail(error)
        self._settle()
        self.reports.end()
        process_end.remove(self)
        self.host.release(self)
        closing, self._closing = self._closing, []
        for operation in closing:
            operation.resolve(None)

    def subscribe(self) -> Subscription:
        """Every event from now on. It ends with the node, and is forgotten when nobody holds it. Raises NotUp."""
        self._check_process()
        return self.reports.subscribe()

    def on_facts(self, found: list[facts.Fact]) -> None:
        """What the node tells after a turn."""
        if self._pump is not None and self._saver is not None:
            self.reports.take(found, self._pump, self._saver)
            self._settle()

    # --- what it looks like from outside --------------------------------------------------------------------

    @property
    def state(self) -> str:
        """As `Lifecycle.state`: "stopped", "starting", "needs-login", "running", "expired", "failed", …"""
        return self._life.state.value

    @property
    def home_region(self) -> int:
        return self.reports.home_region

    @property
    def health(self) -> tuple[str, ...]:
        return self.reports.health

    @property
    def login_url(self) -> str:
        return self._life.login_url

    @property
    def reactor(self) -> Reactor:
        reactor = self.world.reactor
        if reactor is None:
            raise ConfigError("a simulated world has no descriptors: use streams")
        return reactor

    def unbuffered(self, pipe: Pipe) -> UnbufferedPipe:
        return UnbufferedPipe(pipe, self.pump)

    @property
    def world(self) -> World:
        return self._world or self.host.world

    @property
    def netmap(self) -> NetMap | None:
        return None if self._pump is None else self._pump.node.netmap

    @property
    def names(self) -> Names | None:
        return None if self._pump is None else self._pump.node.endpoints.names

    @property
    def whois(self) -> Whois | None:
        return None if self._pump is None else self._pump.node.whois

    @property
    def pump(self) -> Pump:
        if self._pump is None:
            raise NotUp("the node is not running")
        return self._pump

    @property
    def node(self) -> Node:
        return self.pump.node

    def _check_caller(self) -> None:
        """Raise NotUp where nobody could answer: in a forked child, and in the thread that would have to."""
        self._check_process()
        if self.host.is_here():
            raise NotUp("the node's own thread cannot wait for the node: call from another thread")

    def _check_process(self) -> None:
        if self.host.forked:
            raise NotUp("this node belongs to the parent process: after fork, create a new Server in the child")

"""One running node, for any thread: what `AsyncServer` and `Server` are two thin faces of.

Every method that waits returns an `Operation`, which the node's thread finishes; every time limit runs on the node's
clock. Threads and ports are kept here; how a node's life goes is `engine.lifecycle`'s to say, everything else the
node's.

    up, dial, … ─► host's thread ─► store read ─► ports, Node, Pump ─► facts ─► lifecycle ─► whoever waits
    close       ─► streams end in order, an ephemeral node logs out ─► what is saved is written ─► ports closed

Not here: bytes (`pipes`), the loop (`host`), what is asked of a running node (`verbs`), files (`io.directory`).
"""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from tsnet.config import Config, seconds
from tsnet.edge.io.log import log
from tsnet.edge.io.store import Store
from tsnet.edge.io.world import World
from tsnet.edge.pipes.operations import Operation, failed, resolved
from tsnet.edge.pipes.subscriptions import Subscription
from tsnet.edge.run import process_end
from tsnet.edge.run.alarms import Alarm
from tsnet.edge.run.dialing import Attempts
from tsnet.edge.run.endings import end_all
from tsnet.edge.run.host import Host
from tsnet.edge.run.logins import AT_CONTROL, Logins
from tsnet.edge.run.nodestore import NodeStore, StoreOpening
from tsnet.edge.run.opening import Kept, Options, as_error, open_pump, preconnect
from tsnet.edge.run.pump import Pump, pause
from tsnet.edge.run.reports import Reports
from tsnet.edge.run.setting import Setting
from tsnet.edge.run.verbs import Verbs
from tsnet.edge.run.visible import Visible
from tsnet.edge.run.waiting import Waiting
from tsnet.engine.lifecycle import Lifecycle, News, State
from tsnet.errors import Error, NotUp
from tsnet.prefs import Choices

if TYPE_CHECKING:
    from tsnet.edge.run.warming import Warming
    from tsnet.engine import facts

T = TypeVar("T")

WARM_JOINING_AFTER = 0.003
"""Seconds from a node's first turn until it prepares for control's answer: what it asks goes first."""
WARM_AFTER = 0.1
"""Seconds from when the node runs until it prepares for its first dial: whoever waited for it to run goes first."""


class Handle(Visible, Verbs):
    """world: the machine it runs on, if not the host's own (simulated machines share a host).

    was_up: its application was told that it runs.
    """

    def __init__(
        self,
        config: Config,
        choices: Choices,
        host: Host,
        store: Store,
        options: Options,
        world: World | None = None,
    ) -> None:
        self.config = config
        self.host = host
        self.attempts: Attempts = Attempts()
        self._world = world
        self._kept = NodeStore(store, config)
        self._options = options
        self._life = Lifecycle(choices.prefs.hostname, config.control_url)
        self.setting: Setting = Setting(host, self._life, choices)
        self._pump: Pump | None = None
        self._logins = Logins(host, self._life)
        self.reports: Reports = Reports(self._life, self.attempts, self._logins, options.on_login_url)
        self._joining, self._dialling, self._reaching = Waiting(host), Waiting(host), Waiting(host)
        self._closing: list[Operation[None]] = []
        self._close_by = math.inf
        self.was_up: bool = False
        self.soon: tuple[str, ...] = ()
        """Modules that this node's application will probably need (`warming`)."""
        self.warming: Warming | None = None
        self._warm_alarm: Alarm | None = None
        self._close_alarms: list[Alarm] = []
        self._give_up_connections: Callable[[], None] = lambda: None

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

    def when_running(
        self, timeout: float | None, begin: Callable[[Operation[T], float], object], *, patient: bool = True
    ) -> Operation[T]:
        """Start the node if need be; call `begin` in its thread once it runs, with the seconds that are left.

        patient: whether to wait for the approval of an administrator, too. Raises ConfigError for a timeout that is
        none, NotUp where nobody could answer.
        """
        limit = seconds(timeout)
        self.host.check_caller()
        if self._life.is_over:
            return failed(self._life.refusal())
        waiting = self._joining if patient else self._dialling
        return self.host.operation(
            lambda operation: self._await_running(operation, limit, begin, waiting), self, acquire=True
        )

    def start(self) -> None:
        """Begin to join, and wait for nothing. How it goes `state` and events tell. Raises as `when_running` does."""
        operation: Operation[None] = self.when_running(None, lambda operation, left: operation.resolve(None))
        if operation.done:
            operation.outcome()  # raises: nothing has begun, and nothing will
        operation.add_done_callback(lambda: self._tell_log(operation))
        operation.begin()

    def _tell_log(self, operation: Operation[None]) -> None:
        """Nobody waits for it, so an error that the log does not have yet is logged."""
        try:
            operation.outcome()
        except Error as error:
            if str(error) != str(self._life.trouble) and not self._life.is_over:
                log.say(logging.ERROR, "%s: %s", self._life.hostname, error)

    def login(self, auth_key: str, force: bool, timeout: float | None) -> Operation[None]:
        """Log in, if the node is not logged in, or with this key, or all the same; and wait until it runs."""
        limit = seconds(timeout)

        def begin(operation: Operation[None], until: float) -> None:
            if force or auth_key or self._life.state in AT_CONTROL:
                self._logins.log_in(operation, self.pump, auth_key, until, limit)
            else:
                left = until - self.world.clock()
                self._await_running(operation, left, lambda *_: operation.resolve(None), self._joining)

        return self._when_there(limit, begin)

    def logout(self, timeout: float | None) -> Operation[None]:
        """Have control forget the node, whatever its state is. It logs in again when it is asked to (`login`)."""
        limit = seconds(timeout)
        return self._when_there(
            limit, lambda operation, until: self._logins.log_out(operation, self.pump, until, limit)
        )

    def _when_there(self, limit: float, begin: Callable[[Operation[None], float], object]) -> Operation[None]:
        """Call `begin` in the node's thread once there is a node, with the instant at which the time is up."""
        self.host.check_caller()
        if self._life.is_over:
            return failed(self._life.refusal())

        def wait(operation: Operation[None]) -> None:
            if not self._life.is_over:
                self.host.acquire(self)
            if self._pump is None and self._life.can_start:
                self._start()
            until = self.world.clock() + limit
            late = functools.partial(self._life.too_late, limit, self._waiting_for)
            self._logins.when_there(operation, until, lambda: begin(operation, until), late)
            self._settle()

        return self.host.operation(wait, self, acquire=True)

    def when_begun(self, timeout: float | None, begin: Callable[[Operation[T], float], object]) -> Operation[T]:
        """As `when_running`; a node that has begun is asked at once, wherever it is on its way."""
        limit = seconds(timeout)
        self.host.check_caller()
        if self._pump is None:
            return self.when_running(timeout, begin)
        return self.host.operation(lambda operation: begin(operation, limit), self)

    def _await_running(
        self,
        operation: Operation[T],
        limit: float,
        begin: Callable[[Operation[T], float], object],
        waiting: Waiting,
    ) -> None:
        if not self._life.is_over:
            self.host.acquire(self)  # a failure may have let the loop go since this was asked
        if self._life.is_running:
            begin(operation, limit)  # most often: nobody waits, and no alarm is set
            return
        if self._life.can_start:
            self._start()
        elif self._life.may_be_outdated:
            self._retry()
        world = self.world
        until = world.clock() + limit
        waiting.add(
            operation,
            until,
            lambda: begin(operation, max(until - world.clock(), 0.0)),
            lambda: self._life.too_late(limit, self._waiting_for),
        )
        self._settle()

    def _start(self) -> None:
        try:
            self._life.told(News.STARTED)
            if self._pump is None:
                self._give_up_connections = preconnect(self.world, self.config)
                self._kept.begin(self.world, self._opened)
            else:  # it is there, and control has refused it: perhaps no longer
                self._retry()
        except Exception as error:
            self._gone(as_error(error))

    def _retry(self) -> None:
        """Ask control again, if the node is there."""
        if self._pump is not None:
            self._pump.node.retry(self._pump.now())
            self._pump.mark()

    def _opened(self, beginning: StoreOpening, kept: Kept | Exception) -> None:
        """The store was read, in a thread of its own, or could not be."""
        try:
            if not self._kept.is_beginning(beginning):
                return
            if isinstance(kept, Exception):
                raise kept
            self._kept.opened(kept, self._call, noted=self._look_closed, in_thread=not self.world.is_virtual)
            if kept.moved:
                self.reports.moved(kept.moved)
            if self._life.is_over or not self.host.holds(self):
                raise NotUp("the node was closed")
            prefs = self.setting.read(kept.prefs)
            self._pump = open_pump(self.config, prefs, kept, self.world, self._options, self)
            self.setting.begin(self._pump, self)
            self.host.add(self._pump)
            self._settle()
            if self.host.own_thread:
                self._pump.pause = pause
                process_end.add(self)
                self.host.at(self.world.clock() + WARM_JOINING_AFTER, self._warm_joining)
        except Exception as error:
            self._gone(as_error(error))

    def _call(self, function: Callable[[], None]) -> None:
        """Run it in the node's thread, soon. If it fails, the node does: what was to happen would never happen."""

        def run() -> None:
            try:
                function()
            except Exception as error:
                self.crashed(error)

        self.host.call(run)

    @property
    def _waiting_for(self) -> str:
        return "waiting for its saved state" if self._pump is None else self._pump.node.waiting_for

    def _not_reachable(self, limit: float) -> Error:
        return self._life.not_reachable(limit, self.node.unreachable_because)

    def _settle(self) -> None:
        """Whoever waits is told what the node's state means for them."""
        self.setting.settle()
        self._logins.settle(is_there=self._pump is not None)
        if (no_dial := self._life.dial_refusal()) is not None:
            self._dialling.fail(no_dial)
        refusal = self._life.refusal()
        if refusal is not None:
            self._joining.fail(refusal)
            self._reaching.fail(refusal)
        elif self._life.is_running:
            self.was_up = self.was_up or len(self._joining) > 0
            self._joining.release()
            self._dialling.release()
            if self._pump is not None and self._pump.node.is_reachable:
                self._reaching.release()
            if self._warm_alarm is None and self.host.own_thread:
                self._warm_alarm = self.host.at(self.world.clock() + WARM_AFTER, self._warm)

    def _warm_joining(self) -> None:
        """Control has been asked: what its answers need is made ready."""
        from tsnet.edge.run import warming  # only a node that begins needs it

        warming.Warming(self.host, warming.joining(), lambda: self._life.state is State.STARTING).step()

    def _warm(self) -> None:
        """It runs, and whoever waited for that has been told: what will be needed next is made ready."""
        from tsnet.edge.run import warming

        self.warming = warming.Warming(self.host, warming.talking(self.soon), lambda: self._life.is_running)
        self.warming.step()

    # --- the way down ---------------------------------------------------------------------------------------

    def close(self, timeout: float | None) -> Operation[None]:
        """End every stream in order, log an ephemeral node out, free everything. Idempotent.

        Within the node's own thread it begins at once, and is not waited for.
        """
        limit = seconds(timeout)
        done: Operation[None] = resolved(None)
        if self.host.forked or not self.host.holds(self):
            self._life.told(News.CLOSED)
            self.reports.end()
            return done
        closing: Operation[None] = self.host.operation(lambda operation: self._begin_close(operation, limit), self)
        if not self.host.is_here():
            return closing
        closing.begin()
        return done

    def _begin_close(self, operation: Operation[None], limit: float) -> None:
        by = self.world.clock() + limit
        self._closing.append(operation)
        self._close_by = min(self._close_by, by)  # of several calls, the shortest patience counts
        self._close_alarms.append(self.host.at(by, self._check_closed))
        try:
            if not self._life.is_over:
                self._end_in_order(limit)
            self._check_closed()
        except Exception as error:
            self.crashed(error)

    def _end_in_order(self, limit: float) -> None:
        self._life.told(News.CLOSING)
        self._settle()
        self.attempts.fail(NotUp("the node is closing"))
        pump = self._pump
        if pump is not None:
            now = pump.now()
            for owner in tuple(pump.owners.values()):
                owner.end(now)
            pump.node.begin_close(now, limit / 2)
            pump.after_turn = self._check_closed
            pump.mark()

    def _look_closed(self) -> None:
        """What a close waits for beside the node has happened, which no turn of the node would tell."""
        if self._closing:
            self._check_closed()

    def _check_closed(self) -> None:
        pump = self._pump
        is_done = (pump is None or pump.node.is_closed) and self._kept.is_idle
        if not is_done and self.world.clock() < self._close_by:
            return
        if pump is not None:
            pump.after_turn = None
            pump.last_words()
        self._gone(NotUp("the node was closed"))

    def crashed(self, error: Exception) -> None:
        """The node has failed, which is a fault of this library: every stream and every waiter is told."""
        self._gone(NotUp(f"the node ended by an internal error, please report it: {error!r}"))

    def wake(self) -> None:
        self.host.wake()

    def lost(self, error: Error) -> None:
        """The host's loop has died, and the pump with it, if there was one."""
        self._gone(error)

    def _gone(self, error: Error) -> None:
        """Nothing of the node is left: whoever waits is told, and a later `up` begins anew, unless it was closed.

        Each step is taken, whatever another one raises; and may be taken again.
        """
        self._life.told(News.LOST, error)
        pump, self._pump = self._pump, None
        drop_pump = (
            ()
            if pump is None
            else (functools.partial(pump.abandon, error), functools.partial(self.host.remove, pump), pump.close)
        )
        end_all(
            self._life.hostname,
            (
                *drop_pump,
                self._give_up_connections,
                self._kept.drop,
                functools.partial(self.setting.end, error),
                functools.partial(self.attempts.fail, error),
                self._settle,
                self.reports.end,
                functools.partial(process_end.remove, self),
                functools.partial(self.host.release, self),
                self._tell_closed,
                functools.partial(self.host.abandon, self, error),
            ),
        )

    def _tell_closed(self) -> None:
        while self._close_alarms:
            self._close_alarms.pop().cancel()
        while self._closing:
            self._closing.pop().resolve(None)

    def subscribe(self) -> Subscription:
        """Every event from now on. It ends with the node, and is forgotten when nobody holds it. Raises NotUp."""
        self.host.check_process()
        return self.reports.subscribe()

    def on_facts(self, found: list[facts.Fact]) -> None:
        """What the node tells after a turn."""
        if self._pump is not None and self._kept.saver is not None:
            self.reports.take(found, self._pump, self._kept.saver)
            self._settle()

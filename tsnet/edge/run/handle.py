"""One running node, for any thread: what `AsyncServer` and `Server` are two thin faces of.

Every method that waits returns an `Operation`, which the node's thread finishes; every time limit runs on the node's
clock. Nothing is decided here: which address a name has, when a node is up, what a problem means is the node's word.

    start ─► ports, Node, Pump ─► facts ─► up | NeedsLogin | a typed error
    dial, listen, … ─► (wait until running) ─► stack endpoint ─► Pipe
    close ─► streams end in order, an ephemeral node logs out ─► ports closed

Not here: bytes (`pipes`), the loop (`host`), files (`io.directory`).
"""

from __future__ import annotations

import atexit
import logging
import threading
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any, TypeVar

import attrs

from netstack import TcpConnection
from tsnet.base.addresses import IPAddress
from tsnet.config import Config
from tsnet.edge.io.place import load
from tsnet.edge.io.reactor import Reactor
from tsnet.edge.io.store import Store
from tsnet.edge.io.world import World
from tsnet.edge.pipes.listening import ListenPipe
from tsnet.edge.pipes.operations import Operation
from tsnet.edge.pipes.packets import PacketPipe
from tsnet.edge.pipes.pipes import Pipe
from tsnet.edge.pipes.subscriptions import Subscription
from tsnet.edge.pipes.unbuffered import UnbufferedPipe
from tsnet.edge.run.dialing import DialAttempt, PingAttempt, PingResult
from tsnet.edge.run.host import Host
from tsnet.edge.run.pump import Alarm, Pump
from tsnet.engine import facts
from tsnet.engine.identity import Identity, check_ephemeral, new_identity
from tsnet.engine.node import Node
from tsnet.engine.saved import IDENTITY, decode_identity, encode_identity
from tsnet.errors import AddressInUse, ConfigError, Error, NeedsLogin, NotUp, UpTimeout
from tsnet.netmap.model import NetMap
from tsnet.netmap.names import Names
from tsnet.netmap.whois import Whois

T = TypeVar("T")
log = logging.getLogger("tsnet")
BACKLOG = 128
EXIT_TIMEOUT = 2.0
_running: set[Handle] = set()
"""Those that would be left behind if the process ended now."""


@attrs.frozen
class Options:
    """What of a server's options concerns the edge alone.

    on_login_url: called in the node's thread, must not block; whether somebody will see to that URL.
    """

    ssl_context: Any = None
    proxy: str | None = None
    on_login_url: Callable[[str], bool] | None = None
    hostinfo: dict[str, Any] = attrs.field(factory=dict)


class Handle:
    """state: "stopped", "starting", "needs-login", "running", "failed", "closed".

    world: the machine it runs on, if not the host's own (simulated machines share a host).
    """

    def __init__(self, config: Config, host: Host, store: Store, options: Options, world: World | None = None) -> None:
        self.config = config
        self.host = host
        self.state = "stopped"
        self.login_url = ""
        self.home_region = 0
        self.health: tuple[str, ...] = ()
        self._world = world
        self._store = store
        self._options = options
        self._pump: Pump | None = None
        self._lock = threading.Lock()
        self._failure: Error | None = None
        self._problem: Error | None = None
        self._waiting: list[Callable[[Error | None], None]] = []
        self._reaching: dict[Operation[None], Alarm] = {}
        self._closing: list[Operation[None]] = []
        self._operations: set[DialAttempt | PingAttempt] = set()
        self._subscriptions: list[Subscription] = []

    # --- start and stop -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to join, once; returns at once. Raises StateError, StateLocked, ConfigError, NotUp."""
        self._check_fork()
        with self._lock:
            if self.state == "closed":
                raise NotUp("this node was closed: create a new Server to join again")
            if self.state != "stopped":
                return
            self._store.open()
            try:
                identity = self._load_identity()
                self.host.acquire()
            except BaseException:
                self._store.close()
                raise
            self.state = "starting"
            _running.add(self)
        self._in_loop(lambda: self._begin(identity))

    def _load_identity(self) -> Identity:
        """The kept one, or a new one. Whether the node is ephemeral is as its kept identity says."""
        identity = load(self._store, IDENTITY, decode_identity) or new_identity(self.world.entropy)
        ephemeral = check_ephemeral(identity, self.config.ephemeral)
        self.config = attrs.evolve(self.config, ephemeral=ephemeral)
        return attrs.evolve(identity, ephemeral=ephemeral)

    def _begin(self, identity: Identity) -> None:
        world = self.world
        try:
            udp = world.open_udp(self.config.port, self._mark)
        except OSError as error:
            self._fail(AddressInUse(f"cannot bind UDP port {self.config.port}: {error}; choose another port= or 0"))
            return
        links = world.open_links(self._mark, ssl_context=self._options.ssl_context, proxy=self._options.proxy)
        node = Node(
            self.config,
            identity,
            entropy=world.entropy,
            now=world.clock(),
            wall=world.wall(),
            hostinfo=self._options.hostinfo,
        )
        self._pump = Pump(node, world, self._on_fact, self.host.wake, udp, links, self._crashed)
        self.host.add(self._pump)

    def _crashed(self, error: Exception) -> None:
        """The pump is gone: every stream and every waiter is told."""
        failure = NotUp(f"the node ended by an internal error, please report it: {error!r}")
        self.state = "failed"
        self._fail(failure)
        self._end_pump(failure)
        for subscription in self._subscriptions:
            subscription.end()
        if self._closing:
            self._finish_close()

    def _mark(self) -> None:
        if self._pump is not None:
            self._pump.mark()

    def up(self, timeout: float) -> Operation[None]:
        """Join, and wait until names, addresses and peers are known."""
        return self._when_running(timeout, lambda operation, left: operation.resolve(None))

    def reachable(self, timeout: float) -> Operation[None]:
        """Wait until peers can reach this node: its home relay is up, and control knows of it."""

        def wait(operation: Operation[None], left: float) -> None:
            if self.node.is_reachable:
                operation.resolve(None)
            else:
                self._reaching[operation] = self.pump.at(self.pump.now() + left, lambda: give_up(operation))

        def give_up(operation: Operation[None]) -> None:
            del self._reaching[operation]
            operation.fail(self._problem or self._unreachable(timeout))

        return self._when_running(timeout, wait)

    def close(self, timeout: float) -> Operation[None]:
        """End every stream in order, log an ephemeral node out, free everything. Idempotent, never fails."""
        operation: Operation[None] = Operation()
        if self._is_idle():
            self.state = "closed"
            operation.resolve(None)
        else:
            self._in_loop(lambda: self._begin_close(operation, timeout))
        return operation

    def _is_idle(self) -> bool:
        """Whether nothing of this node runs in this process."""
        if self.host.forked:
            return True
        with self._lock:
            return self not in _running

    def _begin_close(self, operation: Operation[None], timeout: float) -> None:
        self._closing.append(operation)
        if len(self._closing) > 1:
            return
        self.state = "closed"
        error = NotUp("the node is closing")
        self._release_waiters(error)
        for pending in tuple(self._operations):
            pending.fail(error)
        pump = self._pump
        if pump is None:
            self._finish_close()
            return
        now = pump.now()
        for owner in tuple(pump.owners.values()):
            owner.end(now)
        self.node.begin_close(now, timeout / 2)
        pump.after_turn = lambda: self._check_closed(now + timeout)
        pump.at(now + timeout, pump.mark)
        pump.mark()

    def _check_closed(self, until: float) -> None:
        if self.node.is_closed or self.pump.now() >= until:
            self._finish_close()

    def _finish_close(self) -> None:
        """Once."""
        pump = self._pump
        if pump is not None:
            pump.after_turn = None
            pump.last_words()
            pump.close()
            self.host.remove(pump)
            self._end_pump(NotUp("the node was closed"))
        self._store.close()
        for subscription in self._subscriptions:
            subscription.end()
        closing, self._closing = self._closing, []
        if self in _running:
            _running.discard(self)
            self.host.release()
        for operation in closing:
            operation.resolve(None)

    def _end_pump(self, error: Error) -> None:
        """Everything that lived on the pump fails."""
        pump, self._pump = self._pump, None
        if pump is not None:
            for owner in tuple(pump.owners.values()):
                owner.fail(error)
            pump.owners.clear()
        for pending in tuple(self._operations):
            pending.fail(error)

    # --- the application's verbs ----------------------------------------------------------------------------

    def dial(self, host: str, port: int, timeout: float) -> Operation[Pipe]:
        def begin(operation: Operation[Pipe], left: float) -> None:
            connection = self.node.connect(self.node.resolve(host), port, self.pump.now())
            self._run(DialAttempt(operation, self.pump, connection, f"{host}:{port}", left))

        return self._when_running(timeout, begin)

    def listen(self, port: int, address: IPAddress | None, timeout: float) -> Operation[ListenPipe]:
        def begin(operation: Operation[ListenPipe], left: float) -> None:
            self.pump.catch_up(self.pump.now())  # a port that was closed a moment ago is free
            listener = self.node.listen(port, address)
            addresses = (address,) if address is not None else self.node.addresses
            pipe = ListenPipe(listener, self.pump, tuple(map(str, addresses)), BACKLOG)
            self.pump.own(listener, pipe)
            operation.on_waste = ListenPipe.close
            operation.resolve(pipe)

        return self._when_running(timeout, begin)

    def listen_packet(self, port: int, address: IPAddress | None, timeout: float) -> Operation[PacketPipe]:
        def begin(operation: Operation[PacketPipe], left: float) -> None:
            self.pump.catch_up(self.pump.now())
            self._packets(operation, port, address, None)

        return self._when_running(timeout, begin)

    def dial_packet(self, host: str, port: int, timeout: float) -> Operation[PacketPipe]:
        def begin(operation: Operation[PacketPipe], left: float) -> None:
            remote = self.node.resolve(host)
            self._packets(operation, 0, self.node.address_towards(remote), (str(remote), port))

        return self._when_running(timeout, begin)

    def _packets(
        self,
        operation: Operation[PacketPipe],
        port: int,
        address: IPAddress | None,
        remote: tuple[str, int] | None,
    ) -> None:
        endpoint = self.node.open_udp(port, address)
        if remote is not None:
            endpoint.connect(ip_address(remote[0]), remote[1])
        local = (str(address if address is not None else self.node.addresses[0]), endpoint.port)
        pipe = PacketPipe(endpoint, self.pump, local, remote)
        self.pump.own(endpoint, pipe)
        operation.on_waste = PacketPipe.close
        operation.resolve(pipe)

    def ping(self, host: str, kind: str, timeout: float) -> Operation[PingResult]:
        def begin(operation: Operation[PingResult], left: float) -> None:
            self._run(PingAttempt(operation, self.pump, self.node.resolve(host), host, kind, left))

        return self._when_running(timeout, begin)

    def _run(self, pending: DialAttempt | PingAttempt) -> None:
        self._operations.add(pending)
        pending.when_over = lambda: self._operations.discard(pending)
        pending.begin()

    def subscribe(self) -> Subscription:
        """Every event from now on."""
        self._check_fork()
        subscription = Subscription(self._unsubscribe)
        self._subscriptions.append(subscription)
        if self.state == "closed":
            subscription.end()
        return subscription

    def _unsubscribe(self, subscription: Subscription) -> None:
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)

    # --- waiting --------------------------------------------------------------------------------------------

    def _when_running(self, timeout: float, begin: Callable[[Operation[T], float], object]) -> Operation[T]:
        """Start the node if need be; call `begin` in its thread once it runs, with the time that is left.

        Errors of either go to the operation.
        """
        operation: Operation[T] = Operation()
        try:
            self.start()
        except Error as error:
            operation.fail(error)
            return operation
        self._in_loop(lambda: self._await_running(operation, timeout, begin))
        return operation

    def _await_running(
        self, operation: Operation[T], timeout: float, begin: Callable[[Operation[T], float], object]
    ) -> None:
        if self._failure is not None:
            operation.fail(self._failure)
            return
        if self.state == "closed" or self._pump is None:
            operation.fail(NotUp("the node was closed"))
            return
        until = self._pump.now() + timeout

        def go(error: Error | None) -> None:
            alarm.cancel()
            if operation.done or operation.cancelled:
                return
            try:
                if error is not None:
                    raise error
                begin(operation, max(until - self.pump.now(), 0.0))
            except Exception as problem:
                operation.fail(problem)

        def give_up() -> None:
            self._waiting.remove(go)
            operation.fail(self._too_late(timeout, self.node.waiting_for))

        alarm = self._pump.at(until, give_up)
        if self.state == "running":
            go(None)
            self._pump.mark()
        else:
            self._waiting.append(go)

    def _too_late(self, timeout: float, waiting_for: str) -> Error:
        if self._problem is not None:
            return self._problem
        if self.login_url:
            return NeedsLogin(
                f"nobody logged the node in within {timeout:g} s: visit {self.login_url} and start it again, "
                "or pass auth_key= (TS_AUTHKEY)",
                self.login_url,
            )
        return UpTimeout(
            f"{self.config.hostname} was {self.state} but not done after {timeout:g} s, {waiting_for}: "
            "check the network between this machine and control, or allow more time with timeout="
        )

    def _unreachable(self, timeout: float) -> Error:
        return UpTimeout(
            f"{self.config.hostname} runs, but peers could not reach it within {timeout:g} s: "
            f"{self.node.unreachable_because}; see status().health, or allow more time with timeout="
        )

    def _release_waiters(self, error: Error | None) -> None:
        waiting, self._waiting = self._waiting, []
        for go in waiting:
            go(error)
        if error is not None:
            for operation in self._take_reaching():
                operation.fail(error)

    def _take_reaching(self) -> list[Operation[None]]:
        reaching, self._reaching = self._reaching, {}
        for alarm in reaching.values():
            alarm.cancel()
        return list(reaching)

    # --- facts ----------------------------------------------------------------------------------------------

    def _on_fact(self, fact: facts.Fact) -> None:
        match fact:
            case facts.IdentityChanged(identity):
                self._save(identity)
                return
            case facts.PingAnswered():
                for pending in tuple(self._operations):
                    if isinstance(pending, PingAttempt):
                        pending.answered(fact)
                return
            case facts.Running():
                self.state, self.login_url, self._problem, self._failure = "running", "", None, None
                self._release_waiters(None)
            case facts.LoginUrl(url):
                self._login(url)
            case facts.Problem(error, fatal):
                self._trouble(error, fatal)
            case facts.NetMapChanged():
                self._problem = None
            case facts.HomeChanged(region):
                self.home_region = region
            case facts.Health(messages):
                self._set_health(messages)
            case facts.Reachable():
                for operation in self._take_reaching():
                    operation.resolve(None)
        for subscription in tuple(self._subscriptions):
            subscription.put(fact)

    def _set_health(self, messages: tuple[str, ...]) -> None:
        """Each complaint is logged when it appears, not as often as it is repeated."""
        for message in messages:
            if message not in self.health:
                log.warning("%s: %s", self.config.hostname, message)
        self.health = messages

    def _trouble(self, error: Error, fatal: bool) -> None:
        """Said once, not with every attempt; while the node closes nobody needs to hear."""
        if self.state != "closed" and str(error) != str(self._problem):
            log.log(logging.ERROR if fatal else logging.WARNING, "%s: %s", self.config.hostname, error)
        self._problem = error
        if fatal:
            self._fail(error)

    def _save(self, identity: Identity) -> None:
        try:
            self._store.write(IDENTITY, encode_identity(identity))
        except Error as error:
            log.error("%s: the node's state is not saved: %s", self.config.hostname, error)
            if not self.node.is_registered:
                self._fail(error)

    def _login(self, url: str) -> None:
        self.login_url = url
        if self.state == "starting":
            self.state = "needs-login"
        wanted = self._options.on_login_url
        if wanted is None or not wanted(url):
            self._fail(
                NeedsLogin(
                    f"control at {self.config.control_url} wants a person to log this node in: visit {url}, "
                    "or pass auth_key= (TS_AUTHKEY), or on_auth_url= to be handed the URL and wait",
                    url,
                )
            )

    def _fail(self, error: Error) -> None:
        """Something that waiting cannot mend. The node stays as it is; whoever waits is told, and later callers too."""
        self._failure = error
        if self.state in ("starting", "needs-login"):
            self.state = "failed"
        self._release_waiters(error)

    # --- descriptors ----------------------------------------------------------------------------------------

    @property
    def reactor(self) -> Reactor:
        reactor = self.world.reactor
        if reactor is None:
            raise ConfigError("a simulated world has no descriptors: use streams")
        return reactor

    def direct(self, pipe: Pipe) -> UnbufferedPipe:
        return UnbufferedPipe(pipe, self.pump)

    # --- the node -------------------------------------------------------------------------------------------

    @property
    def world(self) -> World:
        return self._world or self.host.world

    @property
    def netmap(self) -> NetMap | None:
        return None if self._pump is None else self._pump.node.netmap

    @property
    def names(self) -> Names | None:
        return None if self._pump is None else self._pump.node.names

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

    def adopt(self, connection: TcpConnection) -> Pipe:
        return self.pump.adopt(connection)

    def _in_loop(self, function: Callable[[], None]) -> None:
        self._check_fork()
        self.host.call(function)

    def _check_fork(self) -> None:
        if self.host.forked:
            raise NotUp("this node belongs to the parent process: after fork, create a new Server in the child")


def close_all() -> None:
    """At the end of the process: what its program did not close. In silence, within a bounded time."""
    closing = [handle.close(EXIT_TIMEOUT) for handle in tuple(_running) if handle.host.own_thread]
    for operation in closing:
        operation.wait(EXIT_TIMEOUT)


atexit.register(close_all)

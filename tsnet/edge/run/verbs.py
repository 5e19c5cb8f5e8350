"""What an application asks of a node: connections, listeners, datagrams, pings, netcheck, and what control is asked.

`wrap` turns a pipe into what the application will hold, a stream or a real socket, while the pipe is still the node's
thread's: an application that is interrupted then never leaves a pipe behind that nobody holds.

Not here: waiting until the node runs (`handle`), the attempts themselves (`dialing`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, TypeVar

from tsnet.base.addresses import IPAddress
from tsnet.config import HostLike, check_audience, host_text, parse_target
from tsnet.edge.pipes.listening import ListenPipe
from tsnet.edge.pipes.operations import Operation
from tsnet.edge.pipes.packets import PacketPipe
from tsnet.edge.pipes.pipes import Pipe
from tsnet.edge.run.dialing import Attempts, DialAttempt, PingAttempt, PingResult
from tsnet.edge.run.netchecking import NetcheckAttempt
from tsnet.edge.run.pump import Pump
from tsnet.edge.run.requesting import ControlAnswer, RequestAttempt
from tsnet.engine.facts import NetcheckDone
from tsnet.errors import ConfigError

if TYPE_CHECKING:
    from tsnet.engine.debug.plain import Plain
    from tsnet.engine.explanation import Explanation

P = TypeVar("P", Pipe, ListenPipe, PacketPipe)
T = TypeVar("T")
BACKLOG = 128


def itself(pipe: P) -> P:
    """For an application that holds the pipe as it is."""
    return pipe


class Verbs(ABC):
    """Every method may be called from any thread, starts the node if need be, and returns an operation.

    timeout: seconds for all of it, None for no limit. Raises ConfigError and NotUp as `when_running` does; what the
    node says is the operation's: NotOnTailnet, AddressInUse, DialTimeout, …
    """

    attempts: Attempts

    @property
    @abstractmethod
    def pump(self) -> Pump:
        """The running node's."""

    @abstractmethod
    def when_running(
        self, timeout: float | None, begin: Callable[[Operation[T], float], object], *, patient: bool = True
    ) -> Operation[T]:
        """Call `begin` in the node's thread once the node runs, with the seconds that are left.

        patient: whether to wait for the approval of an administrator, too.
        """

    def dial(
        self, host: HostLike, port: int, timeout: float | None, wrap: Callable[[Pipe], Any] = itself
    ) -> Operation[Any]:
        host = host_text(host)

        def begin(operation: Operation[Any], left: float) -> None:
            pump = self.pump
            connection = pump.node.calls.connect(pump.node.calls.resolve(host), port, pump.now())
            try:
                self.attempts.begin(
                    DialAttempt(
                        operation,
                        pump,
                        connection,
                        f"{host}:{port}",
                        left,
                        lambda pipe: hand_over(operation, pipe, wrap),
                    )
                )
            except BaseException:
                connection.abort(pump.now())
                raise

        return self.when_running(timeout, begin, patient=False)

    def listen(
        self,
        port: int,
        address: IPAddress | None,
        timeout: float | None,
        wrap: Callable[[ListenPipe], Any] = itself,
        *,
        backlog: int = BACKLOG,
        max_connections: int | None = None,
    ) -> Operation[Any]:
        def begin(operation: Operation[Any], left: float) -> None:
            pump = self.pump
            pump.catch_up(pump.now())  # a port that was closed a moment ago is free
            listener = pump.node.calls.listen(port, address, backlog=backlog, max_connections=max_connections)
            try:
                addresses = (address,) if address is not None else pump.node.addresses
                pipe = ListenPipe(listener, pump, tuple(map(str, addresses)))
                pump.own(listener, pipe)
                hand_over(operation, pipe, wrap)
            except BaseException:
                pump.forget(listener)
                listener.close(pump.now())
                raise

        return self.when_running(timeout, begin)

    def listen_packet(
        self, port: int, address: IPAddress | None, timeout: float | None, wrap: Callable[[PacketPipe], Any] = itself
    ) -> Operation[Any]:
        def begin(operation: Operation[Any], left: float) -> None:
            self.pump.catch_up(self.pump.now())
            open_packets(operation, self.pump, port, address, None, wrap)

        return self.when_running(timeout, begin)

    def dial_packet(
        self, host: HostLike, port: int, timeout: float | None, wrap: Callable[[PacketPipe], Any] = itself
    ) -> Operation[Any]:
        host = host_text(host)

        def begin(operation: Operation[Any], left: float) -> None:
            remote = self.pump.node.calls.resolve(host)
            own = self.pump.node.calls.address_towards(remote)
            open_packets(operation, self.pump, 0, own, (str(remote), port), wrap)

        return self.when_running(timeout, begin, patient=False)

    def find(self, host: HostLike, timeout: float | None) -> Operation[IPAddress]:
        """The address that a dial of this host would be to."""
        host = host_text(host)

        def begin(operation: Operation[IPAddress], left: float) -> None:
            operation.resolve(self.pump.node.calls.resolve(host))

        return self.when_running(timeout, begin, patient=False)

    def ping(self, host: HostLike, kind: str, timeout: float | None) -> Operation[PingResult]:
        host = host_text(host)

        def begin(operation: Operation[PingResult], left: float) -> None:
            address = self.pump.node.calls.resolve(host)
            if kind != "icmp" and address in self.pump.node.addresses:
                raise ConfigError(f"{host} is this node itself, which only a ping of the kind icmp can reach")
            self.attempts.begin(PingAttempt(operation, self.pump, address, host, kind, left))

        return self.when_running(timeout, begin, patient=False)

    @abstractmethod
    def when_begun(self, timeout: float | None, begin: Callable[[Operation[T], float], object]) -> Operation[T]:
        """As `when_running`, but a node that has begun is not waited for: it may be stuck on its way up."""

    def look(self, what: str, check: tuple[str, str] | None, timeout: float | None) -> Operation[Callable[[], Plain]]:
        """What `debug` shows. The result is to be called outside the node's thread, and then gives plain values."""

        def begin(operation: Operation[Callable[[], Plain]], left: float) -> None:
            from tsnet.engine.debug.looks import take

            operation.resolve(take(what, self.pump.node, self.pump.now(), check))

        return self.when_begun(timeout, begin)

    def netcheck(self, timeout: float | None, shown: Callable[[NetcheckDone], T]) -> Operation[T]:
        """Look at the network around the node. shown: what the application gets of it; called in the node's thread."""

        def begin(operation: Operation[T], left: float) -> None:
            self.attempts.begin(NetcheckAttempt(operation, self.pump, left, shown))

        return self.when_running(timeout, begin)

    def explain(self, target: str, timeout: float | None) -> Operation[Explanation]:
        """What a dial of this target would meet. A node that cannot begin ends it with the error of `up`."""
        host, port = parse_target(target)

        def begin(operation: Operation[Explanation], left: float) -> None:
            from tsnet.edge.run.explaining import ExplainAttempt

            self.attempts.begin(ExplainAttempt(operation, self.pump, host, port, left))

        return self.when_running(timeout, begin, patient=False)

    def ask_control(
        self, path: str, body: bytes, timeout: float | None, *, method: str = "POST", repeatable: bool = False
    ) -> Operation[ControlAnswer]:
        """Ask control for anything. It is no verb of the public API: those that need control ask through it.

        repeatable: whether control may be asked twice if the connection ends before its answer. Whatever status control
        answers with is a result; ControlTimeout, ControlUnreachable, TooManyRequests and MessageTooLong are errors.
        """

        def begin(operation: Operation[ControlAnswer], left: float) -> None:
            self._ask(operation, path, body, left, method=method, repeatable=repeatable, made=lambda answer: answer)

        return self.when_running(timeout, begin)

    def issue_id_token(self, audience: str, timeout: float | None) -> Operation[str]:
        """A JWT of control's for that audience, about this node."""
        check_audience(audience)

        def begin(operation: Operation[str], left: float) -> None:
            from tsnet.control.tokenrequest import ID_TOKEN_PATH, TokenRequest, token_of

            node = self.pump.node
            request, url = TokenRequest(node.identity.public, audience), node.config.control_url

            def made(answer: ControlAnswer) -> str:
                return token_of(answer.status, answer.body, url)

            self._ask(operation, ID_TOKEN_PATH, request.encode(), left, method="POST", repeatable=True, made=made)

        return self.when_running(timeout, begin)

    def _ask(self, operation: Operation[T], path: str, body: bytes, left: float, **how: Any) -> None:
        self.attempts.begin(RequestAttempt(operation, self.pump, path, body, left, **how))


def open_packets(
    operation: Operation[T],
    pump: Pump,
    port: int,
    address: IPAddress | None,
    remote: tuple[str, int] | None,
    wrap: Callable[[PacketPipe], T],
) -> None:
    """Hand over a UDP endpoint. remote: the only address it will speak with, if there is one."""
    endpoint = pump.node.calls.open_udp(port, address)
    try:
        if remote is not None:
            endpoint.connect(ip_address(remote[0]), remote[1])
        local = (str(address if address is not None else pump.node.addresses[0]), endpoint.port)
        pipe = PacketPipe(endpoint, pump, local, remote)
        pump.own(endpoint, pipe)
        hand_over(operation, pipe, wrap)
    except BaseException:
        pump.forget(endpoint)
        endpoint.close()
        raise


def hand_over(operation: Operation[T], pipe: P, wrap: Callable[[P], T]) -> None:
    """Give the application what it will hold. If nobody takes it any more, it is let go."""
    held = wrap(pipe)
    try:
        operation.on_waste = let_go
        operation.resolve(held)
    except BaseException:
        if not operation.done:
            let_go(held)
        raise


def let_go(held: object) -> None:
    """Close what nobody holds; a connection is reset."""
    close = getattr(held, "abort", None) or getattr(held, "close", None)
    if close is not None:
        close()

"""Dials and pings under way: each a small object in the node's thread that finishes an `Operation`.

A dial owns its connection until it is established; then a pipe does. Time is up, or the waiter went away: reset.

Not here: requests to control and netchecks, which are attempts, too (`requesting`, `netchecking`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from netstack import errors
from tsnet.base.addresses import IPAddress
from tsnet.base.wording import Wording, api
from tsnet.edge.pipes.operations import Operation
from tsnet.edge.pipes.pipes import Pipe
from tsnet.edge.run.endings import end_all
from tsnet.edge.run.pump import Pump
from tsnet.engine.facts import Answer, PingAnswered
from tsnet.engine.peerpath import NO_PATH, PeerPath
from tsnet.errors import DeniedByPolicy, DialRefused, DialTimeout, Error, HostUnreachable, NotUp, StreamReset

if TYPE_CHECKING:
    from netstack import TcpConnection

RETRY = 1.0
MAX_PINGS_OUT = 64
"""Echoes of one ping that may still be answered: one without a time limit sends for ever."""


class Attempt(Protocol):
    """when_over: called with the attempt itself when it has ended in whatever way, perhaps more than once."""

    when_over: Callable[[Attempt], object]

    def begin(self) -> None: ...

    def answered(self, fact: Answer) -> None:
        """An answer came. Whose it is, its data or its ticket tells."""

    def give_up(self) -> None:
        """Nobody waits any more: undo what was begun."""

    def fail(self, error: Error) -> None: ...


class DialAttempt:
    """hand_over: gives the established connection's pipe to the operation."""

    def __init__(
        self,
        operation: Operation[Any],
        pump: Pump,
        connection: TcpConnection,
        target: str,
        timeout: float,
        hand_over: Callable[[Pipe], object],
    ) -> None:
        self.when_over: Callable[[Attempt], object] = bool
        self._operation = operation
        self._pump = pump
        self._connection = connection
        self._target = target
        self._timeout = timeout
        self._hand_over = hand_over
        self._begun_at = pump.now()
        self._alarm = pump.at(self._begun_at + timeout, self._too_late)
        self._over = False

    def begin(self) -> None:
        self._operation.on_cancel = lambda: self._pump.call(self.give_up)
        self._pump.own(self._connection, self)
        self._pump.mark()
        if self._operation.cancelled:
            self.give_up()

    def service(self, now: float) -> None:
        """The connection has something to say: it is up, or it has failed."""
        if self._over:
            return
        connection = self._connection
        if connection.error is not None:
            self.fail(self._error(connection.error))
        elif connection.connected:
            self._say("connection open", after=now - self._begun_at)
            self._end()
            try:
                self._hand_over(self._pump.adopt(connection))
            except Exception as error:  # no descriptor is left for its socket, say
                connection.abort(now)
                self._operation.fail(error)

    def answered(self, fact: Answer) -> None:
        """It is the connection that tells a dial of its end."""

    def _error(self, code: str) -> Error:
        from tsnet.engine import tsmp  # with the packets' layout: only a dial that fails needs it

        match code:
            case errors.REFUSED:
                return DialRefused(f"{self._target} refused the connection: nothing listens there")
            case errors.TIMEOUT:
                return self._timed_out()
            case errors.UNREACHABLE:
                return HostUnreachable(f"{self._target} cannot be reached")
            case _ if code.startswith(tsmp.DENIED):
                return DeniedByPolicy(f"{self._target} denied the connection: {tsmp.denial(code)}")
            case _:
                return StreamReset(f"{self._target} reset the connection while it was opened")

    def _timed_out(self) -> DialTimeout:
        advice = "check that the peer is online and that the tailnet's policy lets this node reach that port"
        address = self._connection.remote[0]
        return DialTimeout(_no_answer(self._target, "", self._timeout, self._pump.node.relay_trouble(address), advice))

    def _too_late(self) -> None:
        if not self._over:
            self.fail(self._timed_out())

    def give_up(self) -> None:
        """Nobody waits any more: undo what was begun."""
        if not self._over:
            self._end()
            self._connection.abort(self._pump.now())

    def fail(self, error: Error) -> None:
        if self._over:
            return
        self._say("connection failed", why=str(error))
        self._end()
        self._connection.abort(self._pump.now())
        self._operation.fail(error)

    def end(self, now: float) -> None:
        """The node closes."""
        self.fail(NotUp("the node is closing"))

    def orphan(self, error: Error) -> None:
        """In a forked child: nobody waits."""

    def _say(self, event: str, **fields: object) -> None:
        if (trace := self._pump.node.trace) is not None:
            trace(event, to=self._target, **fields)

    def _end(self) -> None:
        self._over = True
        self._alarm.cancel()
        self._pump.forget(self._connection)
        self.when_over(self)


def _no_answer(target: str, what: str, seconds: float, trouble: str, advice: str) -> str:
    """A relay in the way comes before all guesses about the peer."""
    health = api("status().health", before=", see ")
    why = Wording(f"{trouble}; that relay is on the way between the two nodes", health) if trouble else advice
    more = api("explain()", before="; ", after=f" tells more of {target}")
    return Wording(f"{target} did not answer{what} within {seconds:.3g} s: ", why, more)


@attrs.frozen
class PingResult:
    """seconds: the round trip. kind: "icmp", "tsmp" or "disco". path: how the ping was sent; of several that a disco
    ping asks at once, the one that answered first."""

    address: IPAddress
    seconds: float
    kind: str
    path: PeerPath = NO_PATH


class PingAttempt:
    """One echo, sent again each second until it is answered. TSMP is answered by the peer's data path itself, disco by
    what finds its paths."""

    def __init__(
        self, operation: Operation[PingResult], pump: Pump, address: IPAddress, target: str, kind: str, timeout: float
    ) -> None:
        self.when_over: Callable[[Attempt], object] = bool
        self._operation = operation
        self._pump = pump
        self._address = address
        self._target = target
        self._kind = kind
        self._timeout = timeout
        self._sent: dict[bytes, tuple[float, PeerPath]] = {}
        self._sequence = 0
        self._over = False
        self._endpoint = pump.node.calls.open_ping(address) if kind == "icmp" else None
        self._alarms = [pump.at(pump.now() + timeout, self._too_late)]

    def begin(self) -> None:
        self._operation.on_cancel = lambda: self._pump.call(self.give_up)
        if self._endpoint is not None:
            self._pump.own(self._endpoint, self)
        if self._operation.cancelled:
            self.give_up()
        self._send()

    def _send(self) -> None:
        if self._over:
            return
        now = self._pump.now()
        data = self._pump.node.calls.ping_data()
        self._sent[data] = now, self._pump.node.path_towards(self._address)
        self._sequence += 1
        if len(self._sent) > MAX_PINGS_OUT:
            del self._sent[next(iter(self._sent))]
        if self._kind == "disco":
            self._pump.node.ping_disco(self._address, data, now)
        elif self._endpoint is None:
            self._pump.node.ping_tsmp(self._address, data, now)
        else:
            self._endpoint.send(now, self._sequence & 0xFFFF, data)
        self._alarms[1:] = [self._pump.at(now + RETRY, self._send)]
        self._pump.mark()

    def service(self, now: float) -> None:
        if self._endpoint is None or self._over:
            return
        while (reply := self._endpoint.receive()) is not None:
            if reply.error is None:
                self._finish(reply.payload)

    def answered(self, fact: Answer) -> None:
        if isinstance(fact, PingAnswered):
            self._finish(fact.data, fact.path)

    def _finish(self, data: bytes, answered_by: PeerPath = NO_PATH) -> None:
        """A ping for which there was no path at first has waited for the one that there is now."""
        sent = self._sent.get(data)
        if sent is not None and not self._over:
            self._end()
            at, sent_by = sent
            path = answered_by or sent_by or self._pump.node.path_towards(self._address)
            self._operation.resolve(PingResult(self._address, self._pump.now() - at, self._kind, path))

    def _too_late(self) -> None:
        advice = "check that the peer is online and that the tailnet's policy allows it"
        trouble = self._pump.node.relay_trouble(self._address)
        self.fail(DialTimeout(_no_answer(self._target, f" a {self._kind} ping", self._timeout, trouble, advice)))

    def fail(self, error: Error) -> None:
        if not self._over:
            self._end()
            self._operation.fail(error)

    def end(self, now: float) -> None:
        """The node closes."""
        self.fail(NotUp("the node is closing"))

    def orphan(self, error: Error) -> None:
        """In a forked child: nobody waits."""

    def give_up(self) -> None:
        """Nobody waits any more: undo what was begun."""
        self._end()

    def _end(self) -> None:
        if self._over:
            return
        self._over = True
        for alarm in self._alarms:
            alarm.cancel()
        if self._endpoint is not None:
            self._pump.forget(self._endpoint)
            self._endpoint.close()
        self.when_over(self)


class Attempts:
    """The dials, pings, netchecks and requests of one node that are under way."""

    def __init__(self) -> None:
        self._under_way: set[Attempt] = set()

    def __len__(self) -> int:
        return len(self._under_way)

    def begin(self, attempt: Attempt) -> None:
        self._under_way.add(attempt)
        attempt.when_over = self._ended  # no closure over the attempt: such a circle would keep what it has made
        try:
            attempt.begin()
        except BaseException:
            attempt.give_up()
            raise

    def _ended(self, attempt: Attempt) -> None:
        self._under_way.discard(attempt)

    def answered(self, fact: Answer) -> None:
        for attempt in tuple(self._under_way):
            attempt.answered(fact)

    def fail(self, error: Error) -> None:
        attempts, self._under_way = self._under_way, set()
        end_all("a dial, a ping or a request", [functools.partial(attempt.fail, error) for attempt in attempts])

"""Nodes, control and a relay in the test's own thread, turn by turn: no loop, no thread, no real time.

house = House()
a, b = house.up("a"), house.up("b")
listener = house.finish(a.listen(80, None, 5))
pipe = house.finish(b.dial("a", 80, 5))
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from tsnet.config import LOOKS, configure
from tsnet.edge.io.store import MemoryStore, Store
from tsnet.edge.pipes.operations import Operation
from tsnet.edge.pipes.subscriptions import Subscription
from tsnet.edge.run.handle import Handle
from tsnet.edge.run.host import host_for
from tsnet.edge.run.opening import Options
from tsnet.errors import Error
from tsnet.prefs import choose
from tsnet.testing.simulated import SimulatedWorld
from tsnet.testing.tailnet import Tailnet

T = TypeVar("T")
PATIENCE = 120.0


class Eager(Handle):
    """A handle whose operations begin at once, as if somebody waited for each."""

    def when_running(
        self, timeout: float | None, begin: Callable[[Operation[T], float], object], *, patient: bool = True
    ) -> Operation[T]:
        return super().when_running(timeout, begin, patient=patient).begin()

    def close(self, timeout: float | None) -> Operation[None]:
        return super().close(timeout).begin()


class House:
    """One embedded tailnet in a simulated world; every node has a machine of its own.

    relays_only: its nodes use no direct paths.
    """

    def __init__(self, seed: int = 0, *, relays_only: bool = False, **options: Any) -> None:
        self._environ = {"TS_DEBUG_ALWAYS_USE_DERP": "1"} if relays_only else {}
        self.world = SimulatedWorld(seed)
        self.tailnet = Tailnet(world=self.world, host=self.world.v4, **options)
        self.host = host_for(self.world)
        self.finish(self.tailnet._begin())

    @property
    def now(self) -> float:
        return self.world.clock()

    def handle(
        self,
        name: str,
        *,
        store: Store | None = None,
        options: Options | None = None,
        auth_key: str | None = None,
        shields_up: bool | None = None,
        defaults: bool = False,
        maps_port: bool = False,
        **more: Any,
    ) -> Handle:
        """A node that has not started. defaults: nobody asks for its name, which is only that of the script.

        maps_port: it asks the router of its network, which nobody plays in most tests.
        """
        settings = {"ephemeral": True, "control_url": self.tailnet.control_url, **more}
        key = self.tailnet.auth_key if auth_key is None else auth_key
        environ = self._environ if maps_port else {"TS_DISABLE_PORTMAPPER": "1", **self._environ}
        config = configure(environ=environ, auth_key=key or None, **settings)
        asked = {} if defaults else {"hostname": name}
        choices = choose(environ={}, script=name, shields_up=shields_up, **asked)
        world: Any = self.world.machine(name)
        return Eager(config, choices, self.host, store or MemoryStore(), options or Options(), world)

    def up(self, name: str, **options: Any) -> Handle:
        """A node that can be reached."""
        handle = self.handle(name, **options)
        self.finish(handle.reachable(PATIENCE))
        return handle

    # --- time ---------------------------------------------------------------------------------------------------

    def until(self, condition: Callable[[], object], seconds: float = PATIENCE) -> None:
        """Turn until it holds, which it must, by then."""
        limit = self.now + seconds
        while not condition():
            assert self.now < limit, "it did not come true"
            self.host.step(limit)

    def run(self, seconds: float) -> None:
        """Let that much time pass."""
        limit = self.now + seconds
        while self.now < limit:
            self.host.step(limit)

    def finish(self, operation: Operation[T]) -> T:
        operation.begin()
        self.until(lambda: operation.done)
        return operation.outcome()

    def failure(self, operation: Operation[Any]) -> Error:
        """The error that the operation ends in, which it must."""
        self.until(lambda: operation.done)
        error = operation._error
        assert isinstance(error, Error), f"{error!r}"
        return error

    def connect(self, client: Handle, server: Handle, port: int = 80) -> tuple[Any, Any, Any]:
        """(the dialled pipe, the accepted pipe, the listener)."""
        listener = self.finish(server.listen(port, None, PATIENCE))
        dialled = self.finish(client.dial(str(server.node.addresses[0]), port, PATIENCE))
        self.until(lambda: listener._queue)
        return dialled, listener.accept_nowait(), listener


def events_of(subscription: Subscription) -> list[Any]:
    """The events that wait there, which are taken."""
    return list(iter(subscription.take, None))


def looks_of_a_talker() -> dict[str, dict[str, Any]]:
    """All that `debug` shows of a node that has talked to a peer."""
    house = House()
    a, b = house.up("a"), house.up("b")
    house.run(5)
    house.connect(b, a)
    house.run(1)
    check = {"filter": ("b", ":80")}
    return {what: house.finish(a.look(what, check.get(what), 10))() for what in LOOKS}

"""Pipes over two stacks on a hand clock, serviced once a turn as a pump would.

turns = Turns()
left, right = turns.connected()
left.give(b"hello")
turns.settle()
"""

from __future__ import annotations

from typing import Any

from netstack import TcpConnection
from tests.netstack.pair import Pair
from tsnet.edge.pipes.pipes import Pipe


class Turns:
    """A runner for pipes of both stacks. wakes: how often a waiter was woken, by the name it gave."""

    def __init__(self, **wire: Any) -> None:
        self.pair = Pair(**wire)
        self.owners: dict[Any, Any] = {}
        self.scheduled: list[Any] = []
        self.forgotten: list[Any] = []
        self.woken: list[str] = []

    # --- what a pump is to them -----------------------------------------------------------------------------

    def schedule(self, pipe: Any) -> None:
        self.scheduled.append(pipe)

    def forget(self, endpoint: Any) -> None:
        self.owners.pop(endpoint, None)
        self.forgotten.append(endpoint)

    def adopt(self, connection: TcpConnection) -> Pipe:
        local, remote = connection.local, connection.remote
        pipe = Pipe(connection, self, (str(local[0]), local[1]), (str(remote[0]), remote[1]))
        self.owners[connection] = pipe
        return pipe

    def wake(self, name: str) -> Any:
        return lambda: self.woken.append(name)

    # --- driving --------------------------------------------------------------------------------------------

    def connected(self) -> tuple[Pipe, Pipe]:
        client, server = self.pair.connected()
        self.pair.on_turn = self.service
        return self.adopt(client), self.adopt(server)

    def service(self, now: float) -> None:
        scheduled, self.scheduled = self.scheduled, []
        for pipe in scheduled:
            pipe.service(now)
        for stack in (self.pair.a, self.pair.b):
            for endpoint in stack.take_ready():
                if endpoint in self.owners:
                    self.owners[endpoint].service(now)

    def settle(self, seconds: float = 1.0) -> None:
        """Let that much time pass, and everything that follows from it."""
        limit = self.pair.now + seconds
        self.pair.turn()
        while self.scheduled or self.pair.next_event() <= limit:
            if not self.scheduled:
                self.pair.step(limit)
            self.pair.turn()
        self.pair.clock.advance_to(limit)

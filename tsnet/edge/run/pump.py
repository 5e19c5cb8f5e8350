"""Pump.turn: the one place where a node meets its sockets.

    ports.receive -> Node.receive -> pipes.service -> Node.transmit -> ports.send -> wake who can go on

Synchronous and in one thread: nothing below needs a lock. What to send and when is the node's to say.
"""

from __future__ import annotations

import functools
import math
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from tsnet.edge.io.log import log
from tsnet.edge.io.world import LinkPort, UdpPort, World
from tsnet.edge.pipes.pipes import Pipe
from tsnet.edge.pipes.waiters import Serviced
from tsnet.edge.run.alarms import Alarm, Alarms
from tsnet.edge.run.endings import end_all
from tsnet.errors import Error

if TYPE_CHECKING:
    from netstack import TcpConnection
    from netstack.stack import Endpoint
    from tsnet.engine.facts import Fact
    from tsnet.engine.node import Node

BUDGET = 256 * 1024
"""Bytes pulled from the node in one turn: ACKs of the other direction and other nodes get theirs in between.

Chosen by round trips beside a stream (benchmarks.exchanges): 512 KiB saves a stream 7 % of its CPU, and makes every
round trip of its neighbours a fifth longer; 128 KiB costs 10 % and shortens none.
"""


MANY = 48
"""Datagrams. If a turn has moved more, there is a stream, and whoever is woken in the next one is let go first."""

PAUSE = 0.00002
"""Seconds; with the kernel's own slack some 70 us. A thread that was woken takes the interpreter's lock meanwhile."""

WALL_STEP = 1.0
"""Seconds by which the two clocks must part before the wall clock counts as set: it is slewed all the time by less."""


def pause() -> None:
    """Give the interpreter's lock to the threads that wait for it. Without a pause the node takes it again at once."""
    time.sleep(PAUSE)


class Pump:
    """One node and its ports. `due` is when the next turn must be; `mark` makes it now."""

    def __init__(
        self,
        node: Node,
        world: World,
        on_facts: Callable[[list[Fact]], None],
        wake: Callable[[], None],
        udp: UdpPort,
        links: LinkPort,
        on_crash: Callable[[Exception], None],
        chosen_port: int = 0,
    ) -> None:
        """chosen_port: the number of the UDP port if it was configured or saved; 0 if it is any."""
        self.node = node
        self.owners: dict[Endpoint, Serviced] = {}
        self.turns: int = 0
        self.after_turn: Callable[[], None] | None = None
        self.pause: Callable[[], None] | None = None
        """Lets the application's threads run, in a node's own thread: else those that were woken wait for the turn."""
        self._moved = 0
        self._world = world
        self._udp, self._links = udp, links
        self._on_facts, self._wake, self._on_crash = on_facts, wake, on_crash
        self._scheduled: deque[Serviced] = deque()
        self._alarms = Alarms()
        self._wall_offset = world.wall() - world.clock()
        self._due = -math.inf
        self._network_changed, self._whole_datagrams = True, False
        self._chosen_port, self._has_any_port = chosen_port, False
        self._attributes, self._offload = node.attributes, (True, True)
        self._stop_watching = world.watch_network(self._on_network)

    # --- from any thread ------------------------------------------------------------------------------------

    def schedule(self, pipe: Serviced) -> None:
        self._scheduled.append(pipe)
        self._wake()

    def call(self, function: Callable[[], None]) -> None:
        """Run the function in the node's thread; from any thread."""

        def run() -> None:
            try:
                function()
            except Exception as error:  # what it was to do is lost, and somebody may wait for that
                log.exception("a node of this process failed and is ended; the others go on")
                self.crash(error)
            self.mark()

        self._world.call_soon(run)

    # --- in the node's thread -------------------------------------------------------------------------------

    def mark(self) -> None:
        """A port has something: turn as soon as possible."""
        self._due = -math.inf

    def _on_network(self) -> None:
        self._network_changed = True
        self.mark()

    @property
    def due(self) -> float:
        if self._scheduled:
            return -math.inf
        alarm = self._alarms.due()
        return alarm if alarm < self._due else self._due

    def at(self, when: float, function: Callable[[], object]) -> Alarm:
        """Call the function in the first turn from then on."""
        return self._alarms.at(when, function)

    def now(self) -> float:
        return self._world.clock()

    def turn(self) -> None:
        self.turns += 1
        now = self._world.clock()
        node = self.node
        self._compare_clocks(now)
        if self._network_changed:
            self._tell_network(now)
        runs = self._udp.receive()
        node.receive(runs, self._links.receive(), now)
        self._alarms.ring(now)
        found = self._service(now)
        self._tell_ports()
        due, moved = node.deadline(), sum([len(datagrams) for _, datagrams in runs]) if runs else 0
        if due <= now or node.is_touched(now):
            if found and self._moved > MANY and self.pause is not None:
                self.pause()
            moved += self._send(now)
            due = -math.inf if self._service(now) else node.deadline()
        facts = node.take_facts()
        if facts:
            self._on_facts(facts)
            due = min(due, node.deadline())
        self._due, self._moved = due, moved
        if self.after_turn is not None:
            self.after_turn()

    def _compare_clocks(self, now: float) -> None:
        """Tell the node when somebody has set the wall clock, or when it alone has gone on while the machine slept."""
        offset = self._world.wall() - now
        ahead = offset - self._wall_offset
        if abs(ahead) >= WALL_STEP:
            self._wall_offset = offset
            self.node.set_wall_offset(offset, now, slept=0.0 if self._world.counts_sleep else ahead)

    def _tell_network(self, now: float) -> None:
        """The ports first: the node then knows which of its links have ended."""
        self._network_changed = False
        network = self._world.network()
        self._links.network_changed(network)
        self.node.receive((), self._links.receive(), now)
        if not self._udp.suits(network):
            self._rebind(None)
        self.node.network_changed(network, now)

    def _tell_ports(self) -> None:
        self.node.udp_room, self.node.udp_port = self._udp.has_room, self._udp.local_port

    def _send(self, now: float) -> int:
        """How many datagrams were sent."""
        node = self.node
        if node.wants_whole_datagrams is not self._whole_datagrams:
            self._set_whole_datagrams(now)
        if node.attributes is not self._attributes:
            self._obey_attributes()
        runs, effects = node.transmit(now, BUDGET)
        count = 0
        for destination, datagrams in runs:
            count += len(datagrams)
            self._udp.send(destination, datagrams)
        if refused := self._udp.take_unsent():
            node.unsent(refused, now)
        for effect in effects:
            self._links.apply(effect)
        self._links.flush()
        return count

    def _obey_attributes(self) -> None:
        """Control may want something else of the UDP port than before."""
        self._attributes = self.node.attributes
        if self.node.wants_any_port is not self._has_any_port:
            self._choose_port()
        if self.node.wants_offload != self._offload:
            self._offload = gso, gro = self.node.wants_offload
            self._udp.set_offload(gso=gso, gro=gro)

    def _choose_port(self) -> None:
        """Control wants another UDP port than the one that was chosen, or that one again."""
        self._has_any_port = self.node.wants_any_port
        if self._chosen_port:
            self._rebind(0 if self._has_any_port else self._chosen_port)
            self._tell_ports()

    def _rebind(self, port: int | None) -> None:
        self._udp.rebind(port)
        self._whole_datagrams = False  # if they are wanted whole, the new sockets are asked: they may be of other kinds

    def _set_whole_datagrams(self, now: float) -> None:
        self._whole_datagrams = self.node.wants_whole_datagrams
        if not self._udp.set_dont_fragment(wanted=self._whole_datagrams):
            self.node.surroundings.fragments_anyway(now)
            self._whole_datagrams = False

    def _service(self, now: float) -> bool:
        """Every pipe whose application or connection has something to say; returns whether there was any."""
        found = self.catch_up(now) if self._scheduled else False
        for endpoint in self.node.take_ready():
            owner = self.owners.get(endpoint)
            if owner is not None:
                found = True
                owner.service(now)
        return found

    def catch_up(self, now: float) -> bool:
        """Do what the application has asked of its pipes so far; returns whether it had."""
        scheduled = self._scheduled
        asked = len(scheduled)
        for _ in range(asked):
            scheduled.popleft().service(now)
        return asked > 0

    def adopt(self, connection: TcpConnection) -> Pipe:
        """A pipe for a connection that has just come into being, serviced from now on."""
        local, remote = connection.local, connection.remote
        pipe = Pipe(connection, self, (str(local[0]), local[1]), (str(remote[0]), remote[1]))
        self.owners[connection] = pipe
        pipe.service(self._world.clock())
        return pipe

    def own(self, endpoint: Endpoint, owner: Serviced) -> None:
        """Call `owner.service` whenever the endpoint has something to say."""
        self.owners[endpoint] = owner

    def forget(self, endpoint: Endpoint) -> None:
        self.owners.pop(endpoint, None)

    def last_words(self) -> None:
        """Reset what is still open, and hand that to the ports: nobody is left waiting for a node that is gone."""
        now = self._world.clock()
        self.node.shut(now)
        self._tell_ports()
        self._send(now)

    def crash(self, error: Exception) -> None:
        """Whoever waits is told first: what closes the ports may fail as well."""
        try:
            self._on_crash(error)
        finally:
            self.close()

    def abandon(self, error: Error) -> None:
        """Everything that lived on this pump fails."""
        owners = tuple(self.owners.values())
        self.owners.clear()
        end_all("a stream", [functools.partial(owner.fail, error) for owner in owners])

    def close(self) -> None:
        """Free the ports; twice is as good as once."""
        self._stop_watching()
        try:
            self._links.close()
        finally:
            self._udp.close()

    def orphan(self, error: Error) -> None:
        """In a forked child: whatever belongs to this node fails from now on."""
        for owner in tuple(self.owners.values()):
            owner.orphan(error)

"""Server machines behind their ports: what a Pump is to a node, these are to control, a relay and STUN.

A machine closes connections that send too much of nothing, and counts them; here one line of the log a minute says so.

Source: Go net/stunserver/stunserver.go for STUN.
Not here: the machines (`control.server`, `derp.server`, `netcheck.stun`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Protocol

from tsnet.base.links import Close, Closed, Effect, Event, Link, Pause
from tsnet.base.malformed import MalformedError
from tsnet.edge.io.log import Seldom, log
from tsnet.edge.io.world import LinkPort, UdpPort, World
from tsnet.errors import Error
from tsnet.netcheck.stun import decode_request, encode_response

BUDGET = 1024 * 1024


class Machine(Protocol):
    """A server as a byte machine over accepted links. what: it in a word or two, for the log.

    floods: the connections that it closed because they sent too much of nothing, by reason.
    """

    @property
    def what(self) -> str: ...

    @property
    def floods(self) -> Counter[str]: ...

    def receive(self, event: Event, now: float) -> None: ...

    def transmit(self, now: float, budget: int) -> list[Effect]: ...

    def deadline(self) -> float: ...

    def close(self) -> None: ...


class ServerPump:
    """One machine, any number of listening ports. Links are told apart by the port that accepted them.

    is_silent: its links stay and new ones are taken in, but it reads and sends nothing any more.
    """

    def __init__(self, machine: Machine, world: World) -> None:
        self.machine = machine
        self.is_silent: bool = False
        self._world = world
        self._ports: list[LinkPort] = []
        self._port_of: dict[Link, LinkPort] = {}
        self._floods: Counter[str] = Counter()
        self._warnings = Seldom(log)
        self._due = -math.inf

    @property
    def ports(self) -> tuple[LinkPort, ...]:
        return tuple(self._ports)

    def add(self, port: LinkPort) -> None:
        self._ports.append(port)

    def silence(self) -> None:
        """Read and send nothing from now on. Only `drop` ends that: what comes meanwhile is lost to the machine."""
        self.is_silent = True
        for link, port in self._port_of.items():
            port.apply(Pause(link))
        self._due = math.inf

    def mark(self) -> None:
        self._due = -math.inf

    @property
    def due(self) -> float:
        return self._due

    def turn(self) -> None:
        if self.is_silent:
            self._ignore()
            return
        now = self._world.clock()
        for port in self._ports:
            for event in port.receive():
                if isinstance(event, Closed):
                    self._port_of.pop(event.link, None)
                else:
                    self._port_of[event.link] = port
                self.machine.receive(event, now)
                if isinstance(event, Closed):
                    self._port_of.pop(event.link, None)
        self._apply(self.machine.transmit(now, BUDGET))
        if self.machine.floods != self._floods:
            self._tell_floods(now)
        self._due = self.machine.deadline()

    def _ignore(self) -> None:
        """Leave what comes to a link with the network, so that it takes no more."""
        self._due = math.inf
        for port in self._ports:
            for event in port.receive():
                if not isinstance(event, Closed):
                    port.apply(Pause(event.link))

    def _tell_floods(self, now: float) -> None:
        new = self.machine.floods - self._floods
        self._floods = self.machine.floods.copy()
        message = "the %s of an embedded tailnet has closed a connection: %s"
        for reason, times in new.items():
            self._warnings.warning(now, message, self.machine.what, reason, times=times)

    def _apply(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            find = self._port_of.pop if isinstance(effect, Close) else self._port_of.get
            port = find(effect.link, None)
            if port is not None:
                port.apply(effect)
                if isinstance(effect, Close):
                    self._port_of.pop(effect.link, None)
        for port in self._ports:
            port.flush()

    def close(self) -> None:
        """The machine says goodbye; then every link and port is closed."""
        self.machine.close()
        self._apply(self.machine.transmit(self._world.clock(), BUDGET))
        self.drop()

    def crash(self, error: Exception) -> None:
        self.drop()

    def orphan(self, error: Error) -> None:
        """In a forked child: no link is served here."""
        self._ports.clear()

    def drop(self) -> None:
        """Close every link and port without a word."""
        for port in self._ports:
            port.close()
        self._ports.clear()
        self._port_of.clear()


class StunPump:
    """Answers binding requests with the address they came from. is_silent: it takes them, and answers none."""

    def __init__(self) -> None:
        self.udp: UdpPort | None = None
        self.is_silent: bool = False
        self.answered: int = 0
        self.dropped: int = 0
        self._due = math.inf

    def mark(self) -> None:
        self._due = -math.inf

    @property
    def due(self) -> float:
        return self._due

    def turn(self) -> None:
        self._due = math.inf
        if self.udp is None:
            return
        for source, datagrams in self.udp.receive():
            for datagram in () if self.is_silent else datagrams:
                try:
                    tx_id = decode_request(datagram)
                except MalformedError:
                    self.dropped += 1
                    continue
                self.answered += 1
                self.udp.send(source, [encode_response(tx_id, source)])

    def crash(self, error: Exception) -> None:
        self.close()

    def orphan(self, error: Error) -> None:
        """In a forked child: nobody is answered here."""
        self.udp = None

    def close(self) -> None:
        if self.udp is not None:
            self.udp.close()
            self.udp = None

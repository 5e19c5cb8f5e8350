"""The simulated network for datagrams: latency, and faults that a seed decides and that are counted.

    SimulatedUdp.send ──> Wire.carry: lost? twice? late? ──(latency)──> the destination's inbox ──> on_ready

Not here: byte streams (`bytestreams`), who is where (`simulated`).
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Protocol

from tsnet.base.addresses import UdpAddress, into_runs
from tsnet.base.network import Network
from tsnet.base.unsent import SendRefusals, Unsent
from tsnet.testing.timeline import Timeline

REFUSAL = 0.001
"""Seconds for which a port that refused a run has no room."""
MAX_RECEIVE = 64
"""How many queued batches one `receive` takes, as a system's port has a bound, too."""


class Wire:
    """loss, duplication, reordering, no_room: the probability for each datagram (no_room: for each run that is sent).

    They may be changed at any time. latency: seconds one way, also for byte streams. reordering delays a datagram by up
    to `reorder_delay` seconds, so that later ones pass it.
    counts: sent, delivered, lost, duplicated, reordered, no room, unreachable.
    """

    def __init__(self, timeline: Timeline, seed: object) -> None:
        self.latency: float = 0.005
        self.loss: float = 0.0
        self.duplication: float = 0.0
        self.reordering: float = 0.0
        self.reorder_delay: float = 0.02
        self.no_room: float = 0.0
        self.counts: Counter[str] = Counter()
        self._timeline = timeline
        self._random = random.Random(f"wire {seed}")

    def refuses(self) -> bool:
        return bool(self.no_room) and self._random.random() < self.no_room

    def carry(self, source: UdpAddress, port: SimulatedUdp | None, run: Sequence[bytes]) -> None:
        """Take a run to a port, or to nobody. Datagrams without extra delay stay together, as GRO would join them."""
        self.counts["sent"] += len(run)
        if port is None:
            self.counts["unreachable"] += len(run)
            return
        at_once: list[bytes] = []
        for datagram in run:
            for delay in self.fates():
                if delay:
                    self._deliver(delay, source, port, [datagram])
                else:
                    at_once.append(datagram)
        if at_once:
            self._deliver(0.0, source, port, at_once)

    def fates(self) -> Sequence[float]:
        """The extra delay in seconds of each copy that arrives; none if the datagram is lost."""
        draw = self._random.random
        if self.loss and draw() < self.loss:
            self.counts["lost"] += 1
            return ()
        delay = 0.0
        if self.reordering and draw() < self.reordering:
            self.counts["reordered"] += 1
            delay = self.reorder_delay * (1.0 - draw())
        if self.duplication and draw() < self.duplication:
            self.counts["duplicated"] += 1
            return (delay, self.reorder_delay * (1.0 - draw()))
        return (delay,)

    def _deliver(self, delay: float, source: UdpAddress, port: SimulatedUdp, datagrams: list[bytes]) -> None:
        def arrive() -> None:
            self.counts["delivered"] += len(datagrams)
            self._timeline.record("udp", source, port.machine.name, port.local_port, b"".join(datagrams))
            port.arrive(source, datagrams)

        self._timeline.at(self._timeline.now + self.latency + delay, arrive)


class DatagramMachine(Protocol):
    """What a UDP port asks of the machine that it belongs to."""

    name: str

    def carry_udp(
        self, port: int, destination: UdpAddress, datagrams: Sequence[bytes], refusals: SendRefusals | None = None
    ) -> None:
        """Send datagrams from that port on their way. refusals: where to note those that do not leave."""

    def forget_udp(self, port: SimulatedUdp) -> None: ...

    def take_udp(self, number: int, port: SimulatedUdp) -> int:
        """Give the port that number, or any if it is 0 or taken; returns which."""


class SimulatedUdp:
    """A `UdpPort` of a machine, on all its addresses."""

    def __init__(
        self, machine: DatagramMachine, port: int, on_ready: Callable[[], None], wire: Wire, timeline: Timeline
    ) -> None:
        self.machine = machine
        self.local_port: int = port
        self.is_open: bool = True
        self._on_ready = on_ready
        self._wire = wire
        self._timeline = timeline
        self._refusals = SendRefusals()
        self._inbox: deque[tuple[UdpAddress, list[bytes]]] = deque()
        self._refused: deque[tuple[UdpAddress, Sequence[bytes]]] = deque()

    @property
    def has_room(self) -> bool:
        return not self._refused

    def receive(self) -> list[tuple[UdpAddress, list[bytes]]]:
        runs: list[tuple[UdpAddress, list[bytes]]] = []
        while self._inbox and len(runs) < MAX_RECEIVE:
            runs += into_runs(*self._inbox.popleft())
        if self._inbox:
            self._timeline.call_soon(self._tell)
        return runs

    def send(self, destination: UdpAddress, datagrams: Sequence[bytes]) -> bool:
        if self._refused or self._wire.refuses():
            if not self._refused:
                self._timeline.at(self._timeline.now + REFUSAL, self._flush)
            self._wire.counts["no room"] += 1
            self._refused.append((destination, list(datagrams)))
            return False
        self._carry(destination, datagrams)
        return True

    def take_unsent(self) -> list[Unsent]:
        return self._refusals.take()

    def set_dont_fragment(self, *, wanted: bool) -> bool:
        """Nothing is ever cut up here."""
        return True

    def set_offload(self, *, gso: bool, gro: bool) -> None:
        """There is no kernel here that would."""

    def suits(self, network: Network) -> bool:
        return True

    def rebind(self, port: int | None = None) -> None:
        if port is not None:
            self.machine.forget_udp(self)
            self.local_port = self.machine.take_udp(port, self)
        self._inbox.clear()
        self._refused.clear()

    def close(self) -> None:
        self.is_open = False
        self._inbox.clear()
        self._refused.clear()
        self.machine.forget_udp(self)

    def arrive(self, source: UdpAddress, datagrams: list[bytes]) -> None:
        if self.is_open:
            self._inbox.append((source, datagrams))
            self._on_ready()

    def _carry(self, destination: UdpAddress, datagrams: Sequence[bytes]) -> None:
        self.machine.carry_udp(self.local_port, destination, datagrams, self._refusals)

    def _flush(self) -> None:
        while self._refused:
            self._carry(*self._refused.popleft())
        self._tell()

    def _tell(self) -> None:
        if self.is_open:
            self._on_ready()

"""Two devices on a hand clock, and a wire (`tests.wire`) between them that shows and loses what one tells it to.

    pair = Pair()
    pair.send(pair.a, b"hello")
    pair.run(until=1.0)
    assert pair.b.received == [b"hello"]
    assert pair.kinds() == ["a initiation", "b response", "a transport", …]

Time moves from event to event: the next datagram to arrive or the next deadline. After each turn of a device its
`deadline()` must lie ahead, which is the promise that a driver of it relies on. Marks are saved at once, unless
`saves_marks` of a side is False.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

from tests.attacks.wireguard import noise, strangers
from tests.wire import Wire
from tsnet.base.addresses import Destination, UdpAddress
from tsnet.base.keys import NodeKey, NodePrivateKey
from tsnet.wireguard.device import Device
from tsnet.wireguard.facts import Established, Fact, MarkMoved

UNIX_TIME = 1_700_000_000.0
MAX_TURNS = 20_000
KINDS = {1: "initiation", 2: "response", 3: "cookie", 4: "transport"}


def entropy(seed: int) -> Callable[[int], bytes]:
    return random.Random(seed).randbytes


def private_key(seed: int) -> NodePrivateKey:
    return NodePrivateKey(random.Random(f"key {seed}").randbytes(32))


def kind_of(datagram: bytes) -> str:
    return "keepalive" if datagram[0] == 4 and len(datagram) == 32 else KINDS.get(datagram[0], "foreign")


def flood(pair: Pair, count: int, source: Destination | None = None, *, receiver: Side | None = None) -> list[bytes]:
    """Initiations to one side, b, that pass mac1 and open to nothing. Without a source, each has one of its own."""
    receiver = receiver or pair.b
    datagrams = noise(receiver.key, count, seed=next(pair.floods))
    sources = strangers(count) if source is None else [source] * count
    receiver.device.receive(
        [(source, [datagram]) for source, datagram in zip(sources, datagrams, strict=True)], pair.now
    )
    return datagrams


class Side:
    def __init__(self, name: str, device: Device, address: Destination) -> None:
        self.name = name
        self.device = device
        self.address = address
        self.received: list[bytes] = []
        self.batches: list[tuple[Destination, int]] = []
        """(source, packets) of every authentic batch."""
        self.facts: list[Fact] = []
        self.saves_marks = True

    @property
    def key(self) -> NodeKey:
        return self.device.public_key

    def take_facts(self) -> None:
        facts = self.device.take_facts()
        self.facts += facts
        for fact in facts:
            if isinstance(fact, MarkMoved) and self.saves_marks:
                self.device.mark_saved(fact.timestamp_mark)

    def established(self) -> int:
        return sum(isinstance(fact, Established) for fact in self.facts)


class Pair:
    """faults: those of a wire, for both directions."""

    def __init__(
        self,
        *,
        seed: int = 1,
        delay: float = 0.010,
        persistent_keepalive: float | None = None,
        start: float = 1000.0,
        **faults: Any,
    ) -> None:
        self.now = start
        self.a, self.b = (
            Side(
                name,
                Device(private_key(2 * seed + number), entropy=entropy(number), wall_offset=UNIX_TIME - start),
                UdpAddress(f"192.0.2.{number + 1}", 41641),
            )
            for number, name in enumerate("ab")
        )
        self.a.device.add_peer(self.b.key, persistent_keepalive=persistent_keepalive)
        self.b.device.add_peer(self.a.key)
        self.floods = itertools.count(1)
        self.drop: Callable[[Side, bytes], bool] = lambda sender, datagram: False
        self.log: list[tuple[float, str, bytes]] = []
        """(when, sender's name, datagram) of all that was put on the wire, lost or not."""
        self.wire: Wire[tuple[Side, bytes]] = Wire(seed, delay=delay, **faults)
        self.wire.drop_next = lambda sent: self.drop(*sent)

    # --- what a test does -----------------------------------------------------------------------------------

    def send(self, side: Side, *packets: bytes) -> None:
        side.device.send([(self.other(side).key, list(packets))], self.now)
        self.turn(side)

    def establish(self) -> None:
        """A session that `a` initiated, confirmed, with nothing in flight."""
        self.send(self.a, b"first".ljust(16, b"\0"))
        self.run(self.now + 0.1)
        assert self.a.established() == self.b.established() == 1
        self.log.clear()
        for side in (self.a, self.b):
            side.received.clear()
            side.batches.clear()
            side.facts.clear()

    def run(self, until: float) -> None:
        """Let everything happen that is due up to then."""
        for _ in range(MAX_TURNS):
            at = min(self.wire.deadline(), *(side.device.deadline() for side in (self.a, self.b)))
            if at > until:
                self.now = until
                return
            self.now = max(self.now, at)
            for sender, datagram in self.wire.receive(self.now):
                self.inject(self.other(sender), sender.address, datagram)
            self.turn(self.a)
            self.turn(self.b)
        raise AssertionError(f"still busy at {self.now}: {self.a.device.why()}; {self.b.device.why()}")

    def inject(self, receiver: Side, source: Destination, *datagrams: bytes) -> None:
        """As if they had come from there; no turn follows."""
        for _, origin, packets in receiver.device.receive([(source, datagrams)], self.now):
            receiver.received += packets
            receiver.batches.append((origin, len(packets)))

    def turn(self, side: Side) -> None:
        """Transmit until nothing is left; then the deadline lies ahead."""
        for _ in range(2000):
            for recipient, datagrams in side.device.transmit(self.now, 65_536):
                for datagram in datagrams:
                    self._fly(side, recipient, datagram)
            side.take_facts()
            if side.device.deadline() > self.now:
                return
        raise AssertionError(f"{side.name} stays due: {side.device.why()}")

    def other(self, side: Side) -> Side:
        return self.b if side is self.a else self.a

    # --- what a test sees -----------------------------------------------------------------------------------

    def kinds(self, sender: Side | None = None) -> list[str]:
        """ "a initiation", …: what was sent, in order; of one side, without its name."""
        if sender is None:
            return [f"{name} {kind_of(datagram)}" for _, name, datagram in self.log]
        return [kind_of(datagram) for _, name, datagram in self.log if name == sender.name]

    def times(self, sender: Side, kind: str) -> list[float]:
        return [at for at, name, datagram in self.log if name == sender.name and kind_of(datagram) == kind]

    def sent(self, sender: Side, kind: str) -> list[bytes]:
        return [datagram for _, name, datagram in self.log if name == sender.name and kind_of(datagram) == kind]

    # --- the wire -------------------------------------------------------------------------------------------

    def _fly(self, sender: Side, recipient: NodeKey | Destination, datagram: bytes) -> None:
        self.log.append((self.now, sender.name, datagram))
        receiver = self.other(sender)
        if recipient in (receiver.key, receiver.address):
            self.wire.send((sender, datagram), self.now)

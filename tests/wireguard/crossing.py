"""Crossed rekeys, datagram by datagram: a schedule says which of those under way arrives next.

    crossing = Crossing(seed=1)
    crossing.deliver(crossing.pair.a)       # the first of those that go to a
    crossing.deliver(crossing.pair.b, 1)    # the second to b: it overtakes the first
    crossing.finish()                       # all others, in their order

Both devices initiated the session that they send with, so 120 s later both make a new one, and the two initiations
pass each other. After each delivery the side that got it sends a packet, so that data is always under way.
"""

from __future__ import annotations

from tests.wireguard.pair import Pair, Side

PACKET = 16
STEP = 0.001
"""Seconds between two deliveries."""


class Crossing:
    def __init__(self, seed: int = 1) -> None:
        self.pair = pair = Pair(seed=seed)
        self.flying: dict[str, list[bytes]] = {"a": [], "b": []}
        """By whom they go to, in the order in which they were sent."""
        self.sent: dict[str, list[bytes]] = {"a": [], "b": []}
        """By whom they are for."""
        for side in (pair.a, pair.b):
            pair.other(side).device.send([(side.key, [bytes(PACKET)])], pair.now)
        pair.run(pair.now + 121)
        assert pair.a.established() == pair.b.established() == 1
        assert pair.kinds().count("a initiation") == pair.kinds().count("b initiation") == 1
        for side in (pair.a, pair.b):
            side.received.clear()
        pair.log.clear()
        pair.drop = self._take
        self.send(pair.a)
        self.send(pair.b)
        assert pair.kinds() == ["a transport", "a initiation", "b transport", "b initiation"]

    def send(self, side: Side) -> None:
        """One packet to the other side, by whatever session there is."""
        receiver = self.pair.other(side)
        packet = len(self.sent[receiver.name]).to_bytes(PACKET)
        self.sent[receiver.name].append(packet)
        self.pair.send(side, packet)

    def deliver(self, side: Side, place: int = 0) -> None:
        """The datagram at that place among those that go to `side`, if there are so many."""
        flying = self.flying[side.name]
        if place < len(flying):
            self._arrive(side, flying.pop(place))
            self.send(side)

    def finish(self) -> None:
        """Nobody sends more; what is under way arrives."""
        while self.flying["a"] or self.flying["b"]:
            for side in (self.pair.a, self.pair.b):
                if self.flying[side.name]:
                    self._arrive(side, self.flying[side.name].pop(0))

    def _arrive(self, side: Side, datagram: bytes) -> None:
        self.pair.now += STEP
        self.pair.inject(side, self.pair.other(side).address, datagram)
        self.pair.turn(side)

    def _take(self, sender: Side, datagram: bytes) -> bool:
        self.flying[self.pair.other(sender).name].append(datagram)
        return True

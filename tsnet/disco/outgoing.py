"""Disco datagrams on their way out: sealed, and waiting for the owner's next `transmit`.

Pongs are bounded for one peer and for all: whoever pings faster than we transmit gets fewer. Pings and CallMeMaybes
are bounded by those who ask for them. Nothing can be sealed for a disco key of low order, which a peer may claim to
have: such messages are dropped. What goes through a peer relay, or to one, gets its Geneve header here.

Not here: what is sent (`paths`, `directpaths`, `peerrelays`).
"""

from __future__ import annotations

import math
from collections import Counter

from tsnet.base.addresses import Destination, PeerRelayAddress
from tsnet.base.keys import DiscoKey
from tsnet.base.malformed import MalformedError
from tsnet.base.timetable import Earliest
from tsnet.disco import geneve
from tsnet.disco.box import Box
from tsnet.disco.constants import MAX_ALL_ANSWERS, MAX_ANSWERS
from tsnet.disco.messages import BindUDPRelayEndpoint, Message, Pong

Run = tuple[Destination, list[bytes]]


class Outgoing:
    """dropped: "key", messages to a peer with a key of low order."""

    def __init__(self, box: Box, dropped: Counter[str]) -> None:
        self._box, self._dropped = box, dropped
        self._waiting: list[Run] = []
        self._answers: Counter[bytes] = Counter()
        self.earliest: Earliest = Earliest()
        """When the owner's next `transmit` must be. All that have something to send one day bring it forward."""

    def __len__(self) -> int:
        return len(self._waiting)

    def answer(self, recipient: bytes, destination: Destination, pong: Pong) -> bool:
        """Whether there was room for it."""
        if self._answers[recipient] >= MAX_ANSWERS or self._answers.total() >= MAX_ALL_ANSWERS:
            return False
        self._answers[recipient] += 1
        self.send(recipient, destination, pong)
        return True

    def send(self, recipient: bytes, destination: Destination, message: Message) -> None:
        try:
            sealed = self._box.seal(DiscoKey(recipient), message.encode())
        except MalformedError:
            self._dropped["key"] += 1
            return
        if isinstance(destination, PeerRelayAddress):
            is_control = isinstance(message, BindUDPRelayEndpoint)
            sealed = geneve.header(geneve.DISCO, destination.vni, is_control=is_control) + sealed
            destination = destination.relay
        self._waiting.append((destination, [sealed]))
        self.earliest.by(-math.inf)

    def take(self, budget: int) -> list[Run]:
        """Those that go now: at most `budget` bytes."""
        count = 0
        for _destination, datagrams in self._waiting:
            budget -= len(datagrams[0])
            if budget < 0:
                break
            count += 1
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        if not self._waiting:
            self._answers.clear()
        return taken

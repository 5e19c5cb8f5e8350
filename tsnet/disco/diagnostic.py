"""Pings that an application asks for, to learn which paths to a peer answer.

    Paths.ask(peer, data) ─► one ping by each path, each with a TxID of its own ─► PathAnswered for each pong

A ping by UDP is also one of the peer's direct path, which its pong promotes. One by the relay is of use here alone.
What is not answered within PING_TIMEOUT is forgotten at the next ask.

Source: Go wgengine/magicsock/endpoint.go discoPing, pingCLI.
Not here: which paths are asked (`paths`, `directpath`).
"""

from __future__ import annotations

from tsnet.base.addresses import Destination
from tsnet.base.records import record
from tsnet.disco.constants import PING_TIMEOUT

MAX_ASKED = 1024
"""Pings whose pong somebody waits for; the oldest is forgotten for one more."""


@record
class PathAnswered:
    """A pong. by: where its ping was sent. data: what the ask was given."""

    peer: bytes
    by: Destination
    data: bytes


class DiagnosticPings:
    __slots__ = ("_answers", "_sent")

    def __init__(self) -> None:
        self._sent: dict[bytes, tuple[float, PathAnswered]] = {}
        self._answers: list[PathAnswered] = []

    def __len__(self) -> int:
        return len(self._sent)

    def sent(self, tx_id: bytes, expected: PathAnswered, now: float) -> None:
        """expected: the answer, if its pong comes."""
        while self._sent:
            oldest = next(iter(self._sent))
            if len(self._sent) < MAX_ASKED and now < self._sent[oldest][0] + PING_TIMEOUT:
                break
            del self._sent[oldest]
        self._sent[tx_id] = now, expected

    def ponged(self, tx_id: bytes, peer: bytes, region: int) -> bool:
        """A pong of this peer has come through that relay region. Whether it is awaited."""
        _at, expected = self._sent.get(tx_id, (0.0, None))
        if expected is None or expected.peer != peer or getattr(expected.by, "region", None) != region:
            return False
        return self.answered(tx_id)

    def answered(self, tx_id: bytes) -> bool:
        """That ping is answered, which is proven. Whether somebody waits for it."""
        found = self._sent.pop(tx_id, None)
        if found is not None:
            self._answers.append(found[1])
        return found is not None

    def take(self) -> list[PathAnswered]:
        """The answers since the last call, in the order in which they came."""
        if not self._answers:
            return []
        taken, self._answers = self._answers, []
        return taken

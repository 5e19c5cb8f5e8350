"""Sealed datagrams in the order in which they go out, each run with its recipient.

A run that would make the outbox longer than MAX_DATAGRAMS is dropped and counted. Only an engine that seals much more
than it transmits gets there. Dropping the newest run keeps the order of the others.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence

from tsnet.base.addresses import MAX_RUN_PAYLOAD, Destination, into_runs
from tsnet.base.keys import NodeKey

MAX_DATAGRAMS = 16_384

Recipient = NodeKey | Destination
"""A peer, whatever its path; for a cookie reply, the source of the message that it answers."""


class Outbox:
    __slots__ = ("_dropped", "_runs", "waiting")

    def __init__(self, dropped: Counter[str]) -> None:
        self._runs: deque[tuple[Recipient, list[bytes]]] = deque()
        self.waiting: int = 0
        """How many datagrams."""
        self._dropped = dropped

    def __len__(self) -> int:
        return self.waiting

    def put(self, recipient: Recipient, run: list[bytes]) -> None:
        """Queue a sealed run. It is cut again if sealing made it longer than one send can carry."""
        count = len(run)
        if self.waiting + count > MAX_DATAGRAMS:
            self._dropped["outbox full"] += count
            return
        self.waiting += count
        if len(run[0]) * count <= MAX_RUN_PAYLOAD:
            self._runs.append((recipient, run))
        else:
            self._runs.extend(into_runs(recipient, run))

    def put_mixed(self, recipient: Recipient, datagrams: Sequence[bytes]) -> None:
        """Queue datagrams of any lengths, as runs."""
        for _, run in into_runs(recipient, datagrams):
            self.put(recipient, run)

    def take(self, budget: int) -> list[tuple[Recipient, list[bytes]]]:
        """At most `budget` bytes, which may cut a run in two; with any budget, at least one datagram if any waits."""
        taken: list[tuple[Recipient, list[bytes]]] = []
        runs = self._runs
        while runs and budget > 0:
            recipient, run = runs.popleft()
            size = sum(map(len, run))
            if size > budget:
                count = budget // len(run[0]) or (0 if taken else 1)
                runs.appendleft((recipient, run[count:]))
                if not count:
                    break
                run, size = run[:count], budget
                if not runs[0][1]:
                    runs.popleft()
            taken.append((recipient, run))
            self.waiting -= len(run)
            budget -= size
        return taken

    def forget(self, peer: bytes) -> None:
        """Drop what waits for a peer that is gone. peer: its key."""
        self._runs = deque(entry for entry in self._runs if entry[0] != peer)
        self.waiting = sum(len(run) for _, run in self._runs)

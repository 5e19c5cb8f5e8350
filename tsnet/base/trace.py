"""What a machine decides, told to whoever wants to follow it: `trace(event, **fields)`, passed in like entropy.

    if self._trace is not None:
        self._trace("handshake sent", peer=self.key, why="data waits for a session")

event: a few constant words. fields: keys (public ones alone), addresses, names, numbers; a float is a span of seconds.
Texts of other machines may be among them: whoever shows them makes them harmless. No secret ever is.

A trace tells decisions. Packets are counted: no function that runs for each packet, or each run of them, traces. With
None, which is the default everywhere, a decision costs one comparison.

Not here: where it goes (`edge.io.tracing`).
"""

from __future__ import annotations

from typing import Protocol


class Trace(Protocol):
    """Never raises, and is bounded: whoever can cause an event cannot fill a disk with it."""

    def __call__(self, event: str, /, **fields: object) -> None: ...


class Tracer(Protocol):
    """Gives each room of a node its own trace."""

    def __call__(self, room: str, /) -> Trace: ...


def trace_of(tracer: Tracer | None, room: str) -> Trace | None:
    return None if tracer is None else tracer(room)

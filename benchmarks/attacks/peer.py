"""One allowed peer that takes what is everybody's: it holds connections, dials in bursts, resets downloads.

It holds the node's own pipes, which need no descriptor.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from queue import SimpleQueue

import tsnet
from benchmarks.attacks.members import TIMEOUT, node
from benchmarks.attacks.tally import SAID_EVERY, Pace, Tally, Target
from tsnet.edge.pipes.operations import Operation
from tsnet.edge.pipes.pipes import Pipe

AT_ONCE = 64
"""Dials under way."""

DIAL_TIMEOUT = 12.0
BURST_PAUSE = 1.0
FILLING = 4.0
"""Seconds in which the buffers of a download that nobody reads are full."""

IN_FORCE = 10.0
"""Seconds after which a flood counts as one, even if the victim has let in fewer than were to be."""


def silent(target: Target, tally: Tally) -> None:
    """Hold `count` connections, say nothing, and make a new one for each that the victim ends."""
    with _up(target, "silent") as server:
        results, held, pace = SimpleQueue[Pipe | None](), list[Pipe](), Pace(target.rate)
        under_way, in_force_at = 0, time.monotonic() + IN_FORCE
        while True:
            held = [pipe for pipe in held if not _is_over(pipe)]
            while under_way < AT_ONCE and len(held) + under_way < target.count:
                _dial(server, target, results.put)
                under_way += 1
                pace.wait(1)
            if under_way:
                pipe, under_way = results.get(), under_way - 1
                held += [] if pipe is None else [pipe]
                tally.done["accepted" if pipe is not None else "refused"] += 1
            else:
                time.sleep(SAID_EVERY)
            if len(held) == target.count or time.monotonic() > in_force_at:
                tally.add("held", len(held) - tally.done["held"])


def burst(target: Target, tally: Tally) -> None:
    """Dial `count` times at once, wait for all, close them, and do it again."""
    with _up(target, "burst") as server:
        tally.say()
        while True:
            results, begun = SimpleQueue[Pipe | None](), time.monotonic()
            for _ in range(target.count):
                _dial(server, target, results.put)
            pipes = [pipe for _ in range(target.count) if (pipe := results.get()) is not None]
            tally.done["slowest ms"] = max(tally.done["slowest ms"], int((time.monotonic() - begun) * 1000))
            tally.done["refused"] += target.count - len(pipes)
            tally.add("accepted", len(pipes))
            for pipe in pipes:
                pipe.close()
            time.sleep(BURST_PAUSE)


def resets(target: Target, tally: Tally) -> None:
    """Begin `count` downloads, read none, let the buffers of both ends fill, then reset them all; once."""
    with _up(target, "resets") as server:
        results = SimpleQueue[Pipe | None]()
        for _ in range(target.count):
            _dial(server, target, results.put)
        pipes = [pipe for _ in range(target.count) if (pipe := results.get()) is not None]
        time.sleep(FILLING)
        for pipe in pipes:
            pipe.abort()
        tally.add("reset", len(pipes))
        while True:
            time.sleep(1.0)


def _up(target: Target, name: str) -> tsnet.Server:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    server = node(target, name)
    server.up(timeout=TIMEOUT)
    return server


def _dial(server: tsnet.Server, target: Target, tell: Callable[[Pipe | None], object]) -> None:
    operation: Operation[Pipe] = server._handle.dial(target.hostname, target.port, DIAL_TIMEOUT)

    def over() -> None:
        try:
            tell(operation.outcome())
        except (tsnet.Error, OSError):
            tell(None)

    operation.begin()
    operation.add_done_callback(over)


def _is_over(pipe: Pipe) -> bool:
    return pipe.ended or pipe.error is not None or pipe.gone

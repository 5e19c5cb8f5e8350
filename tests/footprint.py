"""What this process holds of the system and the interpreter, and whether what began and ended has left a trace.

    watch = Watch()
    for _ in range(count): …            warm up
    watch.begin()
    for _ in range(count): …
    assert not watch.left_over(count)   None, or what is more than before; it waits for what ends in the background

| what        | flat means                                                             |
|-------------|------------------------------------------------------------------------|
| descriptors | as many as before                                                      |
| threads     | as many as before                                                      |
| objects     | of each type fewer than one for each four cycles                       |
| memory      | by tracemalloc 64 bytes a cycle, RSS 1 KiB, and a little for the whole |

Not here: which containers grow in a tailnet that lives on (`growth`).
"""

from __future__ import annotations

import gc
import os
import threading
import time
import tracemalloc
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Self

import attrs

OBJECTS, OBJECTS_A_CYCLE = 8, 0.25
MEMORY, MEMORY_A_CYCLE = 32 * 1024, 64
RSS, RSS_A_CYCLE = 8 << 20, 1024
PATIENCE = 5.0
"""Seconds that a background may take to end."""


@attrs.frozen
class Footprint:
    """memory, rss: bytes. objects: how many of each type the garbage collector knows."""

    descriptors: int
    threads: int
    memory: int
    rss: int
    objects: Counter[type]

    @classmethod
    def take(cls) -> Footprint:
        gc.collect()
        memory = tracemalloc.get_traced_memory()[0]
        rss = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        objects = Counter(map(type, gc.get_objects()))
        return cls(len(os.listdir("/proc/self/fd")), threading.active_count(), memory, rss, objects)

    def more_than(self, before: Footprint, cycles: int) -> dict[str, int]:
        """What is more than chance allows after so many cycles, and by how much."""
        grown = Counter(
            descriptors=self.descriptors - before.descriptors,
            threads=self.threads - before.threads,
            memory=_above(self.memory - before.memory, MEMORY + MEMORY_A_CYCLE * cycles),
            rss=_above(self.rss - before.rss, RSS + RSS_A_CYCLE * cycles),
        )
        for kind, number in self.objects.items():
            more = _above(number - before.objects[kind], OBJECTS + OBJECTS_A_CYCLE * cycles)
            grown[f"{kind.__module__}.{kind.__qualname__}"] += more
        return dict((+grown).most_common())


class Watch:
    """Entered, it traces memory. Begin after warming up."""

    def __init__(self) -> None:
        self._before: Footprint | None = None

    def begin(self) -> None:
        self._before = Footprint.take()
        self._before = Footprint.take()  # which counts the memory that the first one takes

    def grown(self, cycles: int) -> dict[str, int]:
        """Now."""
        assert self._before is not None, "begin first"
        return Footprint.take().more_than(self._before, cycles)

    def left_over(self, cycles: int, patience: float = PATIENCE) -> dict[str, int]:
        """What is still there when whatever ends in the background has ended, or when patience has."""
        end = time.monotonic() + patience
        while (grown := self.grown(cycles)) and time.monotonic() < end:
            time.sleep(0.02)
        return grown

    def __enter__(self) -> Self:
        gc.collect()
        gc.freeze()  # what was there before is not looked at again: that is most of the work
        tracemalloc.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tracemalloc.stop()  # what is frozen stays so: most of it is the suite itself (conftest)


def _above(grown: int, allowed: float) -> int:
    return grown if grown > allowed else 0

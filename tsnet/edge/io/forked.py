"""What a forked child lets go of at once: descriptors that would keep something of the parent's taken.

    with OPENING:                      no fork can come between the opening and the note of it
        watch(thing)
        thing.descriptor = …
    fork ─► in the child: thing.orphan() of each thing that is still alive

The parent keeps its own descriptors. When it ends, nothing of it stays taken because a worker of it still lives.

Not here: the loop and its sockets, which a child closes as well (`edge.run.host`).
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Protocol

OPENING = threading.RLock()
"""Held while a descriptor is opened: a fork before its owner knows the descriptor would leave the child's copy open."""


class Orphan(Protocol):
    def orphan(self) -> None:
        """Close this process's copy, in a forked child. What it stands for stays the parent's."""


def watch(thing: Orphan) -> None:
    """Have a forked child call `thing.orphan`. The thing is not kept alive. Twice is as good as once."""
    _watched.add(thing)


_watched: weakref.WeakSet[Orphan] = weakref.WeakSet()


def _after_fork() -> None:
    OPENING.release()
    for thing in tuple(_watched):
        thing.orphan()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=OPENING.acquire, after_in_parent=OPENING.release, after_in_child=_after_fork)

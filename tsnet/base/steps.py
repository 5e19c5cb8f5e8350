"""A long computation in steps: a generator that yields after each, and returns the result.

Whoever runs it can do something else in between, or let others in: a worker sleeps for a moment, the node's thread goes
on in its next turn. A step takes about a millisecond, and no call in it that the interpreter cannot leave takes more.

Not here: who runs steps (`edge.io.workers`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TypeVar

T = TypeVar("T")

Steps = Generator[None, None, T]


def finish(steps: Steps[T], after_each: Callable[[], object] = bool) -> T:
    """Take all steps that are left, one after the other. Returns the result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
        after_each()

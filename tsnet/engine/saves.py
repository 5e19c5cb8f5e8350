"""What is to be saved, what was saved, and what to try again: some messages may leave only when a value is saved.

    want ─► Save (a fact) ─► the edge's worker ─► answered ─► the thing itself: what depends on it may go on
                                                     └ error ─► the newest of that key again, after a while

Only the newest thing of a key is tried again: it holds what the older ones held. At the end nothing waits for its time:
all of it is tried once more.

Not here: the bytes (`saved`), the store and its thread (`edge.io`), what depends on a thing (`node`).
"""

from __future__ import annotations

import itertools
import math

import attrs

from tsnet.engine.facts import Save
from tsnet.errors import Error

RETRY_FIRST, RETRY_LAST = 1.0, 60.0
"""Seconds. The pause doubles with each failure, from the first to the last."""


@attrs.frozen(eq=False)
class _Wanted:
    value: bytes = attrs.field(repr=False)
    thing: object


class Saves:
    """retry_at: when to try again what could not be saved; inf if there is nothing, -inf for the last try."""

    def __init__(self) -> None:
        self.retry_at: float = math.inf
        self._tickets = itertools.count(1)
        self._asked: dict[int, tuple[str, _Wanted]] = {}
        self._newest: dict[str, _Wanted] = {}
        self._failures: dict[str, Error] = {}
        self._pause = RETRY_FIRST

    def want(self, key: str, value: bytes, thing: object) -> Save:
        """The Save of this value. thing: what the value encodes, which `answered` hands back once it is saved."""
        self._newest[key] = _Wanted(value, thing)
        self._failures.pop(key, None)
        return self._ask(key)

    def answered(self, ticket: int, error: Error | None, now: float) -> object | None:
        """The thing that is saved now; None if saving failed, or if the ticket is unknown."""
        key, wanted = self._asked.pop(ticket, ("", None))
        if wanted is None:
            return None
        is_newest = self._newest.get(key) is wanted
        if error is None:
            self._pause = RETRY_FIRST
            if is_newest:
                del self._newest[key]
                self._failures.pop(key, None)
            return wanted.thing
        if is_newest:
            self._failures[key] = error
            self.retry_at = min(self.retry_at, now + self._pause)
            self._pause = min(self._pause * 2, RETRY_LAST)
        return None

    def tick(self, now: float) -> list[Save]:
        """The Saves to try again now."""
        if now < self.retry_at:
            return []
        self.retry_at = math.inf
        under_way = {id(wanted) for _key, wanted in self._asked.values()}
        return [self._ask(key) for key, wanted in self._newest.items() if id(wanted) not in under_way]

    def try_last(self) -> None:
        """The node ends, and the next `tick` is the last one that matters."""
        if self.retry_at < math.inf:
            self.retry_at = -math.inf

    @property
    def awaits_last_try(self) -> bool:
        return self.retry_at == -math.inf

    @property
    def is_idle(self) -> bool:
        """Whether the newest thing of every key has been saved."""
        return not self._newest

    def is_saved(self, key: str) -> bool:
        """Whether the store has the newest thing of that key."""
        return key not in self._newest

    def failure(self, key: str) -> Error | None:
        """Why the newest thing of that key is not saved, if it was tried."""
        return self._failures.get(key)

    def _ask(self, key: str) -> Save:
        wanted, ticket = self._newest[key], next(self._tickets)
        self._asked[ticket] = (key, wanted)
        return Save(ticket, key, wanted.value)

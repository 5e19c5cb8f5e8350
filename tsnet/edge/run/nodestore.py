"""The store of a node while the node is there: opened and read by a worker, written by another, closed once.

    stopped ─► StoreOpening: open, read, claim ─► Saver: write, write, … ─► closed, as soon as nobody is at it

The worker that opens it first imports the node that is to be made of it.

A node that begins anew waits for the one before to let go of the store: both have the same. The claim, by which a copy
of the store is noticed, ends when the node does: before its store is closed, so that who gets the store finds it free.

Not here: what is read (`opening.open_store`), one write after another (`io.saver`), what is claimed (`io.claim`).
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable

from tsnet.config import Config
from tsnet.edge.io.claim import Claim
from tsnet.edge.io.reactor import READ, Reactor
from tsnet.edge.io.saver import Saver
from tsnet.edge.io.store import Store
from tsnet.edge.io.workers import run_job
from tsnet.edge.io.world import World
from tsnet.edge.run.opening import Kept, load_engine, open_store
from tsnet.engine.saved import WHEREABOUTS, encode_whereabouts
from tsnet.errors import NotUp

STORE_TIMEOUT = 10.0
"""Seconds that a beginning waits for what is still being written since the last one."""


class StoreOpening:
    """A store on its way to be open. After `close` it is closed as soon as it is.

    last: what had the same store before, and may still be at it. claim: None in a virtual world, whose machines are
    all this one.
    """

    def __init__(
        self,
        store: Store,
        config: Config,
        entropy: Callable[[int], bytes],
        last: Saver | StoreOpening | None,
        claim: Claim | None = None,
    ) -> None:
        self._store, self._config, self._entropy, self._last = store, config, entropy, last
        self._claim = claim
        self._lock = threading.Lock()
        self._is_wanted = True
        self._is_open = False
        self._ended = threading.Event()
        self._ended.set()

    def open(self) -> Kept:
        """In a worker. Raises as `open_store` does."""
        with self._lock:
            if not self._is_wanted:
                raise NotUp("the node was closed")
            self._ended.clear()
        try:
            if self._last is not None:
                self._last.close(STORE_TIMEOUT)
                self._last = None
            take = None if self._claim is None else self._claim.take
            kept = open_store(self._store, self._config, self._entropy, take)
            with self._lock:
                self._is_open = True
                is_wanted = self._is_wanted
            if not is_wanted:
                self.close()
            return kept
        except BaseException:
            self._release()
            raise
        finally:
            self._ended.set()

    def _release(self) -> None:
        if self._claim is not None:
            self._claim.release()

    def close(self, timeout: float = 0.0) -> bool:
        """It is not wanted any more; from any thread. Waits at most that long; returns whether nobody is at it."""
        with self._lock:
            self._is_wanted = False
            was_open, self._is_open = self._is_open, False
        if was_open:
            try:
                self._release()
            finally:
                self._store.close()
        return self._ended.wait(timeout)


def _begin(beginning: StoreOpening) -> Kept:
    load_engine()
    return beginning.open()


class NodeStore:
    """saver: what writes, once the store is open. All methods in the node's thread."""

    def __init__(self, store: Store, config: Config) -> None:
        self.saver: Saver | None = None
        self._store, self._config = store, config
        self._beginning: StoreOpening | None = None
        self._last: Saver | StoreOpening | None = None
        self._claim: Claim | None = None
        self._reactor: Reactor | None = None

    def begin(self, world: World, done: Callable[[StoreOpening, Kept | Exception], None]) -> None:
        """Open the store and read it, unless that is under way. Raises RuntimeError where no thread can start."""
        if self._beginning is None:
            self._unclaim()
            self._claim = None if world.is_virtual else Claim()
            self._reactor = world.reactor
            beginning = self._beginning = StoreOpening(
                self._store, self._config, world.entropy, self._last, self._claim
            )
            run_job(world, functools.partial(_begin, beginning), functools.partial(done, beginning))

    def is_beginning(self, beginning: StoreOpening) -> bool:
        """Whether this is the one under way; another one was dropped, and sees to the store itself."""
        return self._beginning is beginning

    def opened(
        self,
        kept: Kept,
        call: Callable[[Callable[[], None]], None],
        *,
        noted: Callable[[], None] = lambda: None,
        in_thread: bool,
    ) -> None:
        """The store is open and read: from here on the saver closes it. call: runs a function in the node's thread.
        noted: called there when what was noted of its whereabouts is written, or is not: a close waits for that."""
        self.saver = Saver(self._store, call, in_thread=in_thread)
        self._beginning = None
        if self._claim is not None and self._claim.socket is not None and self._reactor is not None:
            self._reactor.add(self._claim.socket, READ, self._claim.greet)
        if kept.note is not None:
            self.saver.save(WHEREABOUTS, encode_whereabouts(kept.note), lambda error: noted())  # else the next time

    @property
    def is_idle(self) -> bool:
        """Whether nobody opens the store, and everything has been written."""
        return self._beginning is None and (self.saver is None or self.saver.is_idle)

    def drop(self) -> None:
        """The store is closed as soon as nobody opens or writes it. May be called again, should it be interrupted."""
        held, is_ours = self.saver or self._beginning, self._beginning is None
        self.saver = self._beginning = None
        try:
            if is_ours:
                self._unclaim()
        finally:
            if held is not None:
                self._last = held
                held.close()

    def _unclaim(self) -> None:
        claim = self._claim
        if claim is None:
            return
        try:
            self._forget(claim)
        except BaseException:
            self._forget(claim)  # interrupted: a closed socket that stays there is in the way of the next of its number
            raise
        finally:
            claim.release()
        self._claim = None

    def _forget(self, claim: Claim) -> None:
        if claim.socket is not None and self._reactor is not None:
            self._reactor.remove(claim.socket)

"""Keeping an embedded tailnet over restarts: when its state has changed, a snapshot of it is written to a store.

    revision grows ─► at most once a second, at once if somebody waits ─► snapshot (the host's thread)
                   ─► encoded and written (a worker, one at a time) ─► kept grows ─► those who waited go on

In the host's thread a snapshot costs a copy of the members; encoding and writing it happen in the worker. A write that
fails is tried again after a second. The first failure and the next success are logged, and those who waited get the
error.

Not here: what a snapshot is (`tsnet.control.server.snapshot`), files (`tsnet.edge.io.directory`).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

from tsnet.base.malformed import MalformedError
from tsnet.control.server.snapshot import Snapshot, decode, encode
from tsnet.control.server.tailnet import TailnetState
from tsnet.edge.io.log import log
from tsnet.edge.io.private import kind_of
from tsnet.edge.io.store import Store
from tsnet.edge.io.workers import Workers, run_job
from tsnet.edge.io.world import World
from tsnet.errors import Error, StateError

KEY = "tailnet"
EVERY = 1.0
"""Seconds between two writes that nobody waits for, and before another try after a failure."""

Told = Callable[[StateError | None], object]


def load(store: Store, name: str) -> Snapshot | None:
    """The tailnet that the open store has; None if it has none yet. name: what the error calls the file.

    Raises StateError if it cannot be read. A new tailnet in its place would be unknown to every node.
    """
    document = store.read(KEY)
    if document is None:
        return None
    try:
        return decode(document)
    except MalformedError as error:
        raise StateError(
            f"the tailnet's state {name} {error}. Restore it from a backup; or move it away for a new tailnet, "
            "which every node must join anew; or choose another directory"
        ) from None


class Keeper:
    """Writes the snapshots of a tailnet. A host runs it beside the tailnet's servers (`Turning`).

    Its methods belong to the host's thread. take: returns a snapshot of now.
    on_done: called after each attempt, with None or its error.
    """

    def __init__(
        self, store: Store, state: TailnetState, world: World, take: Callable[[], Snapshot], on_done: Told
    ) -> None:
        self._store = store
        self._state = state
        self._world = world
        self._take = take
        self._on_done = on_done
        self._workers = None if world.reactor is None else Workers(world.reactor)
        self._waiting: list[tuple[int, Told]] = []
        self._at = self._at_once = -math.inf
        self._is_writing = self._is_failing = False
        self._lock = threading.Lock()  # held while the store is written
        self._written = -1
        state.kept = -1

    # --- what waits -------------------------------------------------------------------------------------------------

    def when_kept(self, told: Told) -> None:
        """Call `told` when all that has happened until now is saved, or with the error if it cannot be."""
        if self._state.is_kept:
            told(None)
        else:
            self._waiting.append((self._state.await_kept(), told))

    def keep_now(self) -> None:
        """Write here and now, for a caller whose own loop is the host. Raises StateError."""
        revision = self._state.revision
        error = self._write(revision, self._take())
        self._done(revision, error)
        if error is not None:
            raise error

    # --- turns ------------------------------------------------------------------------------------------------------

    @property
    def due(self) -> float:
        if self._is_writing or self._state.is_kept:
            return math.inf
        return self._at_once if self._state.awaited > self._state.kept else self._at

    def turn(self) -> None:
        revision, snapshot = self._state.revision, self._take()
        self._is_writing = True
        self._at = self._world.clock() + EVERY
        if self._workers is None:
            self._done(revision, self._write(revision, snapshot))
        else:
            self._workers.run(lambda: self._write(revision, snapshot), lambda error: self._done(revision, error))

    def _write(self, revision: int, snapshot: Snapshot) -> StateError | None:
        """Write the snapshot, in any thread. An earlier revision never replaces a later one."""
        with self._lock:
            if revision < self._written:
                return None
            try:
                self._store.write(KEY, encode(snapshot))
            except StateError as error:
                return error.with_traceback(None)  # its frames hold private keys, and error reporters show them
            except Exception as error:  # its text may quote the value
                return StateError(f"the tailnet's state cannot be written: {kind_of(error)}")
            self._written = revision
            return None

    def _done(self, revision: int, error: StateError | None) -> None:
        self._is_writing = False
        if error is None:
            self._state.kept = max(self._state.kept, revision)
            self._at_once = -math.inf
        else:
            self._state.awaited = -math.inf
            self._at_once = self._at
        self._log(error)
        self._tell(error)
        self._on_done(error)

    def _tell(self, error: StateError | None) -> None:
        waiting, self._waiting = self._waiting, []
        for revision, told in waiting:
            if error is None and revision > self._state.kept:
                self._waiting.append((revision, told))
            else:
                told(error)

    def _log(self, error: StateError | None) -> None:
        if error is not None and not self._is_failing:
            log.warning("%s. It is tried again every second, and no new node is let in meanwhile", error)
        if error is None and self._is_failing:
            log.info("the tailnet's state has been written again")
        self._is_failing = error is not None

    # --- the end ----------------------------------------------------------------------------------------------------

    def close(self, told: Told) -> None:
        """Write a last time and close the store, in a worker; then call `told` in the host's thread."""
        revision, snapshot = self._state.revision, self._take()
        waiting, self._waiting = self._waiting, []

        def finish() -> StateError | None:
            try:
                return self._write(revision, snapshot)
            finally:
                self._store.close()

        def tell(error: StateError | Exception | None) -> None:
            if error is not None and not isinstance(error, StateError):
                error = StateError(f"the tailnet's state cannot be closed: {kind_of(error)}")
            for each in (*(one for _revision, one in waiting), told):
                each(error)

        if self._workers is not None:
            self._workers.close()
        try:
            run_job(self._world, finish, tell)
        except (RuntimeError, MemoryError):  # no thread can be had
            tell(finish())

    def crash(self, error: Exception) -> None:
        """A turn failed: nothing more is kept, and all who wait get an error."""
        self._done(-1, StateError("the tailnet's state is not kept any more: keeping it failed, see the log"))

    def orphan(self, error: Error) -> None:
        """In a forked child: the tailnet and its state are the parent's."""
        if self._workers is not None:
            self._workers.close()

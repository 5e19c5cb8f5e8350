"""Changing preferences, from any thread: of a node that is there, or of one that has not begun.

    no node yet    kept for its start, at once
    a node         node's thread ─► Node.set_prefs ─► PrefsSaved, and PrefsTaken if it runs ─► whoever waits

Several threads may change them: each adds its changes to those of the others.

Not here: whose word counts (`tsnet.prefs`), what a change does (`engine.preferences`).
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Mapping
from typing import Any

import attrs

from tsnet.base.wording import Wording, api
from tsnet.config import seconds
from tsnet.edge.pipes.operations import Operation, failed, resolved
from tsnet.edge.run.host import Host, Tenant
from tsnet.edge.run.pump import Pump
from tsnet.edge.run.waiting import Waiting
from tsnet.engine.lifecycle import Lifecycle
from tsnet.errors import Error, SetTimeout, StateError
from tsnet.prefs import Choices, PrefChanges, Prefs


class Setting:
    """The preferences of one node, whether it is there or not."""

    def __init__(self, host: Host, life: Lifecycle, choices: Choices) -> None:
        self._host, self._life = host, life
        self._waiting = Waiting(host)
        self._lock = threading.RLock()  # guards the two below; reentrant: a signal's handler may call `set` inside
        self._choices = choices
        self._node: tuple[Pump, Tenant] | None = None

    # --- from any thread ------------------------------------------------------------------------------------

    @property
    def prefs(self) -> Prefs:
        """In force, or what will be when the node starts, as far as that is known before its store is read."""
        return self._choices.prefs

    def set(self, changes: PrefChanges, timeout: float | None) -> Operation[Prefs]:
        """Change them. Done once they are saved and, if the node runs, control has taken them.

        Raises ConfigError for a timeout that is none, NotUp where nobody could answer. The operation fails with NotUp
        if the node is closed, StateError, SetTimeout.
        """
        limit = seconds(timeout)
        self._host.check_caller()
        with self._lock:
            if self._life.is_over:
                return failed(self._life.refusal())
            if self._node is None:
                return resolved(self._change(changes).prefs)
            _pump, tenant = self._node
        return self._host.operation(functools.partial(self._set, changes, limit), tenant)

    def _change(self, changes: PrefChanges) -> Choices:
        """With the lock."""
        before = None
        while before is not self._choices:  # else a signal's handler has changed them in between
            before = self._choices
            after = before.change(changes)
        self._choices = after
        self._life.hostname = after.prefs.hostname
        return after

    # --- in the node's thread -------------------------------------------------------------------------------

    def read(self, saved: Mapping[str, Any]) -> Prefs:
        """The store has these. Returns what the node is to begin with."""
        with self._lock:
            self._choices = attrs.evolve(self._choices, saved=saved)
            return self._change({}).prefs

    def begin(self, pump: Pump, tenant: Tenant) -> None:
        """The node is there. It gets what was changed while it was made, and saves what was changed before."""
        with self._lock:
            self._node, choices = (pump, tenant), self._choices
        kept = choices.kept if choices.kept != choices.saved else None
        pump.node.set_prefs(choices.prefs, pump.now(), kept=kept)

    def end(self, error: Error) -> None:
        """The node is gone. The preferences are kept for its next start."""
        with self._lock:
            self._node = None
        self._waiting.fail(error)

    def settle(self) -> None:
        """Tell those who wait, after anything has happened to the node."""
        if self._node is None or not len(self._waiting):
            return
        node = self._node[0].node
        failure = node.remembered.prefs_failure
        if failure is not None:
            self._waiting.fail(failure)
        elif node.remembered.has_prefs and (node.control.hostinfo_is_known or not self._life.is_running):
            self._waiting.release()

    def _set(self, changes: PrefChanges, limit: float, operation: Operation[Prefs]) -> None:
        closed = self._life.refusal() if self._life.is_over else None
        if self._node is None and closed is not None:  # a moment ago: nothing would save them
            operation.fail(closed)
            return
        with self._lock:
            choices, there = self._change(changes), self._node
        if there is None:  # it has failed a moment ago
            operation.resolve(choices.prefs)
            return
        pump, _tenant = there
        now = pump.now()
        pump.node.set_prefs(choices.prefs, now, kept=choices.kept if changes else None)
        pump.mark()
        self._waiting.add(
            operation, now + limit, lambda: operation.resolve(self.prefs), lambda: self._too_late(pump, limit)
        )
        self.settle()

    def _too_late(self, pump: Pump, limit: float) -> Error:
        if not pump.node.remembered.has_prefs:
            return StateError(f"the preferences of {self._life.hostname} were not saved within {limit:g} s")
        because = "" if self._life.trouble is None else f" ({self._life.trouble})"
        return SetTimeout(
            Wording(
                f"control has not taken the new preferences of {self._life.hostname} within {limit:g} s{because}: "
                "they are in force and saved, and control is told as soon as it answers; allow more time with ",
                api("timeout="),
            )
        )

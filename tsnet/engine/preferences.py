"""The preferences of a node that are in force, and what control is told of them.

    Node.set_prefs ─┬► the packet filter    the next packet is judged by it
                    ├► control's client     Hostinfo, in a lite update ─► Published ─► PrefsTaken
                    └► Save                 what the next start is to have ─► PrefsSaved

All three are told in one step, and none waits for another: shields go up also where nothing can be saved.

Source: Go ipn/ipnlocal/local.go setPrefsLocked, applyPrefsToHostinfoLocked.
Not here: whose word counts (`tsnet.prefs`), who waits for a change (`edge.run.setting`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tsnet.engine import facts
from tsnet.prefs import Prefs, hostinfo_of


class Preferences:
    """current: in force. told: where facts are added.

    machine: what Hostinfo says of this machine. tags: to ask for, which no preference changes.
    """

    def __init__(
        self, prefs: Prefs, machine: Mapping[str, Any], tags: Sequence[str], *, told: list[facts.Fact]
    ) -> None:
        self.current: Prefs = prefs
        self._machine, self._tags, self._told = dict(machine), list(tags), told
        self._is_taken = False

    @property
    def hostinfo(self) -> dict[str, Any]:
        """tailcfg.Hostinfo by JSON names, whole."""
        return {**self._machine, **hostinfo_of(self.current), "RequestTags": self._tags or None}

    def change(self, prefs: Prefs) -> bool:
        """Put them in force; returns whether that makes a difference, which is then told."""
        before, self.current = self.current, prefs
        if prefs == before:
            return False
        self._is_taken = self._is_taken and hostinfo_of(prefs) == hostinfo_of(before)
        self._told.append(facts.PrefsChanged(prefs, before))
        return True

    def published(self, is_latest: bool) -> None:
        """Control has stored a Hostinfo of ours. is_latest: the one of now. PrefsTaken is told once for each change."""
        if is_latest and not self._is_taken:
            self._is_taken = True
            self._told.append(facts.PrefsTaken(self.current))

"""What a node has to tell its owner, in order, and how much of it in one turn.

    rooms append ─► facts ─► take: FACTS_A_TURN at most
    a change of thousands of peers ─► made when they are taken, behind what was told before and ahead of what follows

Not here: what there is to tell of a change (`differences`).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice

from tsnet.engine.differences import differences
from tsnet.engine.facts import Fact
from tsnet.netmap.changes import Changes

FACTS_A_TURN = 1024
"""How many facts are told at once: some milliseconds. A whole map may have one for each peer."""


class FactQueue(list[Fact]):
    """The facts that wait, for whoever has one to append. Those of a large change are no part of the list.

    has_more: whether the last `take` left some.
    """

    def __init__(self) -> None:
        super().__init__()
        self._ahead: Iterator[Fact] = iter(())
        self.has_more: bool = False

    def change(self, changes: Changes) -> None:
        """One netmap has taken another's place."""
        if len(changes.peers) <= FACTS_A_TURN:
            self += differences(changes)
            return
        self._ahead = chain(self._ahead, self.copy(), differences(changes))
        self.clear()
        self.has_more = True

    def take(self) -> list[Fact]:
        found = list(islice(self._ahead, FACTS_A_TURN))
        room = FACTS_A_TURN - len(found)
        found += self[:room]
        del self[:room]
        self.has_more = len(found) == FACTS_A_TURN
        return found

"""A new netmap on its way into the rooms of a node, a large change in pieces: one in each turn.

    what has changed ─► the filter's rules compiled ─► piece after piece to the engine ─► Adopted: the view of it all

Packets meet what has been applied so far, which after each piece is a whole netmap (`netmap.pieces`). Other threads
read the view from before until the last piece is in, and then the new one: they see the new netmap or the old one, and
nothing in between. A small change takes no turn of its own.

Not here: what follows from a netmap that has been adopted (`node`).
"""

from __future__ import annotations

import attrs

from tsnet.base.steps import Steps
from tsnet.engine.engine import Engine
from tsnet.engine.view import NodeView
from tsnet.netmap.changes import Changes
from tsnet.netmap.model import NetMap
from tsnet.netmap.pieces import PEERS, in_pieces


@attrs.frozen
class Adopted:
    """All rooms have the netmap. view: of it; its health and home are still the last one's."""

    changes: Changes
    view: NodeView


class Adoption:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._steps: Steps[Adopted] | None = None
        self._now = 0.0

    @property
    def is_under_way(self) -> bool:
        return self._steps is not None

    def begin(self, netmap: NetMap, view: NodeView | None) -> None:
        """Take this netmap in place of the view's. `go_on` does it. Nothing else may be under way."""
        self._steps = self._all(netmap, view)

    def go_on(self, now: float) -> Adopted | None:
        """What one turn has time for. Returns the end of it, once."""
        if self._steps is None:
            return None
        self._now = now
        try:
            next(self._steps)
        except StopIteration as end:
            self._steps = None
            adopted: Adopted = end.value
            return adopted
        return None

    def _all(self, netmap: NetMap, view: NodeView | None) -> Steps[Adopted]:
        engine = self._engine
        changes = yield from Changes.in_steps(None if view is None else view.netmap, netmap)
        if len(changes.peers) > PEERS:
            yield
        yield from engine.packet_filter.prepare(changes)
        for number, piece in enumerate(in_pieces(changes)):
            if number:
                yield
            engine.apply(piece, self._now)
            rules = engine.packet_filter.rules
            view = NodeView.first(piece.after, rules) if view is None else view.after(piece, rules)
        assert view is not None
        return Adopted(changes, view)

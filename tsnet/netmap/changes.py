"""What tells two netmaps apart, found once and handed to every room: each then does what it costs and no more.

    Changes.between(before, after)
      peers   id: (Node before, Node after); None before: it appeared; None after: it left
      of      whether another field changed: "self_node", "dns", "packet_filter", …

They are read off the two netmaps and are not passed along with messages. So they are right whatever lies between: one
delta, several that nobody looked at, time that has passed, a whole new map. Netmaps that `merge` has made share what
did not change, so this costs what did: 10 us to find one peer among 10,000.

Not here: how a message changes a netmap (`merge`), what a change means for names, identities, rules (each room's own).
"""

from __future__ import annotations

from collections.abc import Mapping

from tsnet.base.records import record
from tsnet.base.steps import Steps, finish
from tsnet.netmap.model import NetMap, Node
from tsnet.netmap.persistent import PersistentMap, differences_in_steps

NodeChange = tuple[Node | None, Node | None]
"""A node before and after."""


@record
class Changes:
    """before: None for the first netmap; everything is new then."""

    before: NetMap | None
    after: NetMap
    peers: Mapping[int, NodeChange]

    @classmethod
    def between(cls, before: NetMap | None, after: NetMap) -> Changes:
        return finish(cls.in_steps(before, after))

    @classmethod
    def in_steps(cls, before: NetMap | None, after: NetMap) -> Steps[Changes]:
        """The same for netmaps of thousands of peers."""
        peers = yield from differences_in_steps(PersistentMap() if before is None else before.peers, after.peers)
        return cls(before, after, peers)

    def of(self, field: str) -> bool:
        """Whether this field of the netmap is not what it was."""
        if self.before is None:
            return True
        old, new = getattr(self.before, field), getattr(self.after, field)
        return old is not new and bool(old != new)

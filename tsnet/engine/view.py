"""What other threads may know of a node: one frozen object, which the node replaces whole.

    view = handle.view       taken once: the netmap, and the names and identities of that netmap and no other

A reader that asks twice may be given two views, before and after a change, but each is whole. What is in a view never
changes, so a reader may keep it as long as it likes. The next view shares with it whatever is still so.

Not here: the life of a node, which begins before the first view and ends after the last (`lifecycle`).
"""

from __future__ import annotations

from tsnet.base.records import record
from tsnet.netmap.changes import Changes
from tsnet.netmap.filterrules import FilterRules
from tsnet.netmap.model import NetMap
from tsnet.netmap.names import Names
from tsnet.netmap.whois import Whois


@record
class NodeView:
    """health: what this node finds wrong (`HealthMessages`). home_region: 0 if there is none. is_stale: whether the
    netmap is one that the last process has kept, since control does not answer."""

    netmap: NetMap
    names: Names
    whois: Whois
    health: tuple[str, ...] = ()
    home_region: int = 0
    is_stale: bool = False

    @classmethod
    def first(cls, netmap: NetMap, rules: FilterRules) -> NodeView:
        return cls(netmap, Names(netmap), Whois(netmap, rules))

    def with_rules(self, rules: FilterRules) -> NodeView:
        """The view with these rules in force."""
        return self.after(Changes(self.netmap, self.netmap, {}), rules)

    def after(self, changes: Changes, rules: FilterRules) -> NodeView:
        """The view once these changes have been made. rules: those in force then."""
        names, whois = self.names.after(changes), self.whois.after(changes, rules)
        return NodeView(changes.after, names, whois, self.health, self.home_region)

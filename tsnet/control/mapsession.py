"""The netmap as the map streams tell it, and what follows from it with time.

| event                                | fact                                                              |
|--------------------------------------|-------------------------------------------------------------------|
| a message with state                 | NetMapChanged (expired peers marked)                              |
| our KeyExpiry passes (our clock)     | KeyExpired, once; KeyExtended if control moves it                 |
| a peer's KeyExpiry passes            | NetMapChanged                                                     |
| our Node comes back with a disco key | DuplicateNode: this process has one disco key, and control had    |
| that is not ours, after ours         | stored it                                                         |
| ControlTime differs by over a minute | Health                                                            |

Source: Go control/controlclient/map.go; ipn/ipnlocal/expiry.go.
Not here: merging (`tsnet.netmap.merge`), bytes and streams (`mappoll`, `client`).
"""

from __future__ import annotations

import math

from tsnet.base.keys import DiscoKey
from tsnet.control.facts import DuplicateNode, Fact, Health, KeyExpired, KeyExtended, NetMapChanged
from tsnet.netmap.expiry import MIN_DIFFERENCE, control_clock_offset, expire
from tsnet.netmap.merge import MapUpdate, merge
from tsnet.netmap.model import NetMap, Node

EXPIRY_SLACK = 10.0
"""Peers' expiry is looked at again this long after the next one falls due, as Go does."""


class MapSession:
    """wall_offset: unix time = now + wall_offset. Its owner calls `tick` at `expiry_at`."""

    def __init__(self, disco_key: DiscoKey, wall_offset: float) -> None:
        self._facts: list[Fact] = []
        self.expiry_at = math.inf
        self.wall_offset = wall_offset
        self._disco_key = disco_key
        self._netmap: NetMap | None = None
        self._control_offset = 0.0
        self._expired = False
        self._control_knows_us = False
        self._duplicate = False
        self._health: tuple[str, ...] = ()

    def begin(self) -> None:
        """A new stream: its first message is complete, what the last one said is void."""
        self._netmap = None
        self._control_knows_us = False

    def apply(self, update: MapUpdate, now: float) -> None:
        """Raises MalformedError if the first message of a stream has no Node."""
        self._netmap = merge(self._netmap, update, now + self.wall_offset)
        self._look_for_a_duplicate(update.node)
        self._compare_clocks(update.control_time, now)
        self._publish(self._netmap, now)

    def take_facts(self) -> list[Fact]:
        taken, self._facts = self._facts, []
        return taken

    def tick(self, now: float) -> None:
        if self._netmap is not None and now >= self.expiry_at:
            self._publish(self._netmap, now)

    def _publish(self, netmap: NetMap, now: float) -> None:
        unix_now, offset = now + self.wall_offset, self._control_offset
        marked, next_at = expire(netmap, unix_now + offset)
        self._facts.append(NetMapChanged(marked))
        own_at = self._own_expiry(netmap.self_node, unix_now)
        self.expiry_at = min(next_at - offset + EXPIRY_SLACK, own_at) - self.wall_offset

    def _own_expiry(self, node: Node, unix_now: float) -> float:
        """Tell a change; Unix time of the expiry that is still to come."""
        expired = node.expired or (node.key_expiry is not None and node.key_expiry <= unix_now)
        if expired != self._expired:
            self._expired = expired
            self._facts.append(KeyExpired() if expired else KeyExtended())
        return math.inf if expired or node.key_expiry is None else node.key_expiry

    def _look_for_a_duplicate(self, node: Node | None) -> None:
        if node is None or node.disco_key is None:
            return
        if node.disco_key == self._disco_key:
            self._control_knows_us, self._duplicate = True, False
        elif self._control_knows_us and not self._duplicate:
            self._duplicate = True
            self._facts.append(DuplicateNode("control has stored the disco key of another process for this node"))

    def _compare_clocks(self, control_time: float | None, now: float) -> None:
        if control_time is None:
            return
        self._control_offset = control_clock_offset(control_time, now + self.wall_offset)
        difference = now + self.wall_offset - control_time
        late = "ahead of" if difference > 0 else "behind"
        message = f"This machine's clock is {abs(difference):.0f} s {late} control's: check it (is NTP running?)."
        health = (message,) if abs(difference) > MIN_DIFFERENCE else ()
        if bool(health) != bool(self._health):
            self._facts.append(Health(health))
        self._health = health

"""The netmap as the map streams tell it, and the facts that follow from messages and from time.

| event                                | fact                                                              |
|--------------------------------------|-------------------------------------------------------------------|
| a message with state                 | NetMapChanged (expired peers marked)                              |
| our KeyExpiry passes, by control's   | KeyExpired, once, before the netmap that shows it; KeyExtended if |
| clock                                | control moves it, or the wall clock is set and it is not past     |
| it will pass soon (`expirywarning`)  | KeyExpiring, once                                                 |
| a peer's KeyExpiry passes            | NetMapChanged                                                     |
| our Node comes back with a disco key | DuplicateNode: this process has one disco key, and control had    |
| that is not ours, after ours         | stored it                                                         |
| ControlTime differs by over a minute | ControlHealth                                                     |
| before any ControlTime: the Date of  | ControlHealth, too: a node that is not let in may owe that to its |
| control's answer that names its key  | clock. Nothing else follows from a Date, which nobody has signed  |

A NetMapChanged that nobody has taken yet gives way to the next one, unless another fact has come in between.

Source: Go control/controlclient/map.go; ipn/ipnlocal/expiry.go.
Not here: merging, and what a new stream takes over from the last one (`tsnet.netmap.merge`); bytes and streams
(`mappoll`, `maproutine`).
"""

from __future__ import annotations

import math

from tsnet.base.keys import DiscoKey
from tsnet.base.malformed import MalformedError
from tsnet.control.client.expirywarning import ExpiryWarning
from tsnet.control.client.facts import (
    ControlHealth,
    DuplicateNode,
    Fact,
    KeyExpired,
    KeyExpiring,
    KeyExtended,
    NetMapChanged,
)
from tsnet.netmap.expiry import MIN_DIFFERENCE, Expiries, control_clock_offset, has_expired
from tsnet.netmap.limits import Scale, has_too_many_users
from tsnet.netmap.merge import MapUpdate, begin, merge, without_unnamed_users
from tsnet.netmap.model import NetMap, Node, UserProfile

EXPIRY_SLACK = 10.0
"""Seconds after a peer's expiry at which we look at it, as Go does."""

MAX_FACTS = 64
"""How many facts may wait to be taken. Only a control server that changes its mind with every message gets there."""


class MapSession:
    """wall_offset: Unix time = now + wall_offset. expiry_at: when the owner must call `tick`."""

    def __init__(self, disco_key: DiscoKey, wall_offset: float) -> None:
        self._facts: list[Fact] = []
        self.expiry_at: float = math.inf
        self._wall_offset = wall_offset
        self._disco_key = disco_key
        self.netmap: NetMap | None = None
        """As control describes it."""
        self._expiries = Expiries()
        self._warning = ExpiryWarning()
        self._scale = Scale()
        self._is_first = True
        self._control_time: float | None = None
        self._heard_at = 0.0
        """When the last ControlTime came, by our monotonic clock."""
        self._date: float | None = None
        """Control's Date minus our monotonic clock; None once there is a ControlTime."""
        self._expired = False
        self._control_knows_us = False
        self._duplicate = False
        self._health: tuple[str, ...] = ()

    @property
    def expired(self) -> bool:
        """Whether our key has expired, as far as the map and the clocks say."""
        return self._expired

    @property
    def own_user(self) -> UserProfile:
        """The user whose node this is, as far as the map says."""
        if self.netmap is None:
            return UserProfile(0, "")
        number = self.netmap.self_node.user
        return self.netmap.users.get(number, UserProfile(number, ""))

    def begin(self) -> None:
        """A new stream begins: its first message should hold everything."""
        self._is_first = True
        self._control_knows_us = False

    def forget(self) -> None:
        """Forget the netmap: the next stream is another node's."""
        self.begin()
        self.netmap, self.expiry_at, self._expired = None, math.inf, False
        self._expiries, self._warning, self._scale = Expiries(), ExpiryWarning(), Scale()
        self._facts.clear()

    def set_wall_offset(self, wall_offset: float, now: float) -> None:
        """The wall clock was set: judge anew what has expired."""
        if wall_offset == self._wall_offset:
            return
        self._wall_offset = wall_offset
        self._compare_clocks(now)
        if self.netmap is not None:
            self._publish(self.netmap, now)

    def apply(self, update: MapUpdate, now: float, peers_weight: int | None = None) -> None:
        """Apply a message. Raises MalformedError if a stream's first message has no Node, if the netmap would hold more
        than it may, or if too many facts wait; the netmap stays as it was then.

        peers_weight: what all of `update.peers` weigh, if they have been weighed.
        """
        if len(self._facts) > MAX_FACTS:
            raise MalformedError("map messages change their mind faster than anybody can listen")
        unix_now = now + self._wall_offset
        if self._is_first or self.netmap is None:
            netmap = begin(self.netmap, update, unix_now)
        else:
            netmap = merge(self.netmap, update, unix_now)
        if has_too_many_users(netmap):
            netmap = without_unnamed_users(netmap, (user.id for user in update.users))
        self._scale.put(netmap, peers_weight)
        self.netmap = netmap
        self._is_first = False
        self._look_for_a_duplicate(update.node)
        if update.control_time is not None:
            self._control_time, self._heard_at, self._date = update.control_time, now, None
            self._compare_clocks(now)
        self._publish(self.netmap, now)

    def hear_date(self, date: float, now: float) -> None:
        """An answer of control's says that it is this Unix time."""
        if self._control_time is None:
            self._date = date - now
            self._compare_clocks(now)

    def take_facts(self) -> list[Fact]:
        taken, self._facts = self._facts, []
        return taken

    def tick(self, now: float) -> None:
        if self.netmap is not None and now >= self.expiry_at:
            self._publish(self.netmap, now)

    def _publish(self, netmap: NetMap, now: float) -> None:
        offset = self._wall_offset + control_clock_offset(self._control_now(now), now + self._wall_offset)
        marked, next_at = self._expiries.mark(netmap, now + offset)
        own_at = self._own_expiry(netmap.self_node, now + offset)
        self.expiry_at = min(next_at + EXPIRY_SLACK, own_at) - offset
        if self._facts and isinstance(self._facts[-1], NetMapChanged):
            self._facts.pop()
        self._facts.append(NetMapChanged(marked))

    def _own_expiry(self, node: Node, control_now: float) -> float:
        """Tell if our key has expired, will soon, or was extended. Returns when to look again, by control's clock."""
        expired = has_expired(node, control_now)
        if expired != self._expired:
            self._expired = expired
            self._facts.append(KeyExpired() if expired else KeyExtended())
        if self._warning.look(node, control_now, is_expired=expired) and node.key_expiry is not None:
            self._facts.append(KeyExpiring(node.key_expiry))
        return math.inf if expired or node.key_expiry is None else min(node.key_expiry, self._warning.at)

    def _look_for_a_duplicate(self, node: Node | None) -> None:
        if node is None or node.disco_key is None:
            return
        if node.disco_key == self._disco_key:
            self._control_knows_us, self._duplicate = True, False
        elif self._control_knows_us and not self._duplicate:
            self._duplicate = True
            self._facts.append(DuplicateNode("control has stored the disco key of another process for this node"))

    def _control_now(self, now: float) -> float | None:
        """The last ControlTime, carried on by our monotonic clock: setting the wall clock does not change it."""
        return None if self._control_time is None else self._control_time + now - self._heard_at

    def _compare_clocks(self, now: float) -> None:
        control_now = now + self._date if self._date is not None else self._control_now(now)
        if control_now is None:
            return
        difference = now + self._wall_offset - control_now
        late = "ahead of" if difference > 0 else "behind"
        message = f"This machine's clock is {abs(difference):.0f} s {late} control's: check it (is NTP running?)."
        health = (message,) if abs(difference) > MIN_DIFFERENCE else ()
        if bool(health) != bool(self._health):
            self._facts.append(ControlHealth(health))
        self._health = health

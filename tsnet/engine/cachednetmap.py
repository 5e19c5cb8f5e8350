"""The netmap that the last process of this node has kept: when it is written, and when a start goes by it.

    start ─► CONTROL_WITHIN seconds without a netmap ─► the kept one is decoded (a worker) ─► the node runs, stale
    a netmap from control ─► it is not stale any more ─► SETTLED seconds later encoded (a worker) ─► Save, if it differs

| the kept one is                                        | then                                                        |
|--------------------------------------------------------|-------------------------------------------------------------|
| of another node key or control server                  | not used                                                    |
| damaged, over MAX_AGE old                              | not used                                                    |
| one by which our key has expired, or we await approval | not used, and never written                                 |
| of a tailnet with Tailnet Lock                         | not used, and never written: its signatures are not checked |
| any, and control has said no, or wants a login         | not used                                                    |
| any, and it is of an ephemeral node                    | there is none                                               |
| any, and control does not want it kept any more        | forgotten, and so at a logout, a removal and a new key      |

Control wants it kept if our node has the attribute `cache-network-maps` and not `disable-cache-network-maps`. The
option `cache_netmap=` may stand in for the first, or forbid it; nothing overrules the second.

Source: Go ipn/ipnlocal/diskcache.go, tailcfg/nodecap. Go goes by it at once and knows no age.
Not here: its bytes (`control.client.keptmap`), the store (`remembered`), what a stale node is shown as (`view`).
"""

from __future__ import annotations

import math
from typing import Any

import attrs

from tsnet.base.keys import NodeKey
from tsnet.base.links import Compute, Computed, Link
from tsnet.base.trace import Trace
from tsnet.config import Config
from tsnet.control.client.keptmap import KeptMap, body_of, decode_kept, encode_kept
from tsnet.engine.attributes import attributes_of
from tsnet.netmap.expiry import Expiries, has_expired
from tsnet.netmap.model import NetMap

CONTROL_WITHIN = 3.0
"""Seconds that control has at a start."""

SETTLED = 10.0
"""Seconds after a netmap at which it is written; changes in between are written with it."""

AGAIN_AFTER = 300.0
"""Seconds between two writes at least."""

MAX_AGE = 30 * 86_400.0
"""Seconds. Whoever was away for longer waits for control."""

FAVOUR = 1e-6
"""The RegionScore of the home that we had: peers look for us there."""

NOTHING = b""


class CachedNetmap:
    """kept: what the store has. is_stale: whether the node goes by the kept netmap now. wall_offset: Unix time = now +
    wall_offset. may_be_kept: False for a node that is, or may be, ephemeral."""

    ROOM = "netmap"

    def __init__(
        self,
        kept: bytes,
        config: Config,
        node_key: NodeKey,
        *,
        now: float,
        wall_offset: float,
        is_enrolled: bool,
        may_be_kept: bool,
        trace: Trace | None = None,
    ) -> None:
        self.is_stale: bool = False
        self.wall_offset: float = wall_offset
        self._kept, self._config, self._node_key, self._trace = kept, config, node_key, trace
        self._may_be_kept = may_be_kept and config.cache_netmap is not False
        is_usable = self._may_be_kept and is_enrolled and kept != NOTHING and not config.force_login
        self._use_at = now + CONTROL_WITHIN if is_usable else math.inf
        self._save_at, self._not_before = math.inf, -math.inf
        self._netmap: NetMap | None = None
        self._link = Link(self.ROOM, "none", 0)
        self._outdated = False

    # --- what happens -------------------------------------------------------------------------------------------

    def answered(self) -> None:
        """Control has sent a netmap, or has said no: what is kept is of no use to this start."""
        self._use_at = math.inf
        if self._link.name == "read":
            self._link = Link(self.ROOM, "none", self._link.generation)

    def adopted(self, netmap: NetMap, now: float) -> None:
        """The node goes by this netmap of control's."""
        self.answered()
        self.is_stale = False
        if not self._is_wanted(netmap):
            self.forget()
        elif netmap is not self._netmap:
            self._netmap = netmap
            if self._save_at == math.inf:
                self._save_at = max(now + SETTLED, self._not_before)

    def forget(self) -> None:
        """From now on there is none, in the store either."""
        self._use_at = self._save_at = math.inf
        self._netmap = None
        self._link = Link(self.ROOM, "none", self._link.generation)
        if self._kept != NOTHING:
            self._kept, self._outdated = NOTHING, True

    def new_key(self, node_key: NodeKey) -> None:
        """The node is another one from now on, or the same by another key."""
        self._node_key = node_key
        self.forget()

    def _is_wanted(self, netmap: NetMap) -> bool:
        asked = attributes_of(netmap.self_node.capabilities)
        if not self._may_be_kept or asked.disable_cache_network_maps or _is_unsafe(netmap):
            return False
        return self._config.cache_netmap is True or asked.cache_network_maps

    # --- the verbs ----------------------------------------------------------------------------------------------

    def transmit(self, now: float, home_region: int) -> list[Compute]:
        """What a worker is to do. home_region: ours, where peers will look for us."""
        if now >= self._use_at:
            self._use_at = math.inf
            return [self._compute("read", decode_kept, self._kept)]
        if now >= self._save_at and self._netmap is not None:
            self._save_at, self._not_before = math.inf, now + AGAIN_AFTER
            own = attrs.evolve(self._netmap.self_node, home_region=home_region)
            netmap, unix = attrs.evolve(self._netmap, self_node=own), round(now + self.wall_offset, 3)
            kept = KeptMap(netmap, self._config.control_url, self._node_key, unix)
            return [self._compute("write", encode_kept, kept)]
        return []

    def receive(self, event: Computed, now: float) -> KeptMap | None:
        """A worker is done. Returns the netmap to go by, if it has read one."""
        if event.link != self._link:
            return None
        name, self._link = self._link.name, Link(self.ROOM, "none", self._link.generation)
        found = event.value
        if name == "read" and isinstance(found, KeptMap):
            return self._usable(found, now)
        if name == "write" and isinstance(found, bytes):
            if body_of(found) != body_of(self._kept):
                self._kept, self._outdated = found, True
            return None
        self._say("a kept netmap is of no use", why=str(found))
        if name == "read":
            self.forget()
        return None

    def take_value(self) -> bytes | None:
        """What the store is to have in the place of what it has; empty for nothing. None: it is right as it is."""
        if not self._outdated:
            return None
        self._outdated = False
        return self._kept

    def deadline(self) -> float:
        return -math.inf if self._outdated else min(self._use_at, self._save_at)

    # --- whether it may be used -----------------------------------------------------------------------------------

    def _usable(self, kept: KeptMap, now: float) -> KeptMap | None:
        """Marked as of now; None if it is not safe to go by it."""
        unix = max(now + self.wall_offset, kept.saved_at)  # this machine's clock may not be set yet
        why = self._objection(kept, unix)
        if why:
            self._say("a kept netmap is not used", why=why)
            return None
        netmap, _ = Expiries().mark(kept.netmap, unix)
        relays = netmap.derp_map
        if (home := netmap.self_node.home_region) in relays.regions:
            scores = {**relays.region_score, home: FAVOUR}
            netmap = attrs.evolve(netmap, derp_map=attrs.evolve(relays, region_score=scores))
        self.is_stale = True
        self._say("the kept netmap is in force", seconds_old=round(unix - kept.saved_at))
        return attrs.evolve(kept, netmap=netmap)

    def _objection(self, kept: KeptMap, unix: float) -> str:
        own = kept.netmap.self_node
        if kept.control_url != self._config.control_url or kept.node_key != self._node_key or own.key != self._node_key:
            return "it is of another node"
        if unix - kept.saved_at > MAX_AGE:
            return "it is too old"
        return "it is not safe" if _is_unsafe(kept.netmap) or has_expired(own, unix) else ""

    def _compute(self, name: str, function: Any, argument: object) -> Compute:
        self._link = Link(self.ROOM, name, self._link.generation + 1)
        return Compute(self._link, function, argument)

    def _say(self, event: str, **fields: object) -> None:
        if self._trace is not None:
            self._trace(event, **fields)


def _is_unsafe(netmap: NetMap) -> bool:
    own = netmap.self_node
    return netmap.is_locked or own.expired or not own.machine_authorized

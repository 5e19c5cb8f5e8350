"""What there is to look at, by name, and how it is taken.

    in the node's thread    take(what, node, now, check) ─► a function
    in the caller's         that function ─► plain values

What a large tailnet makes long (the netmap, the rules) is immutable, so it is written out by whoever asked, while the
node goes on.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from tsnet.config import split_address
from tsnet.engine.debug.derpshape import derp_shape
from tsnet.engine.debug.filtershape import answer, filter_shape
from tsnet.engine.debug.netmapshape import netmap_shape
from tsnet.engine.debug.pathshape import paths_shape
from tsnet.engine.debug.plain import Plain
from tsnet.engine.debug.timershape import timers_shape

if TYPE_CHECKING:
    from tsnet.base.addresses import IPAddress
    from tsnet.engine.node import Node


Check = tuple[str, str]
"""Who wants to open what: a name or address, and "address:port" or ":port" of this node."""


def take(what: str, node: Node, now: float, check: Check | None = None) -> Callable[[], Plain]:
    """what, check: as `config.check_look` lets them pass. Raises NotOnTailnet for a name of `check` that nobody has."""
    match what:
        case "netmap":
            return functools.partial(netmap_shape, node.netmap)
        case "filter":
            return _filter(node, check)
        case "derp":
            shape = derp_shape(node, now)
        case "paths":
            shape = paths_shape(node, now)
        case "timers":
            shape = timers_shape(node, now)
        case _:
            raise ValueError(f"there is nothing called {what!r} to look at")
    return lambda: shape


def _filter(node: Node, check: Check | None) -> Callable[[], Plain]:
    packet_filter, rules = node.engine.packet_filter, None if node.netmap is None else node.netmap.packet_filter
    shape = functools.partial(
        filter_shape,
        rules,
        shields_up=packet_filter.shields_up,
        dropped=Counter(packet_filter.dropped),
        skipped=packet_filter.rules.skipped,
    )
    if check is None:
        return shape
    answered = answer(packet_filter, *_resolved(node, check))
    return lambda: {**shape(), "check": answered}


def _resolved(node: Node, check: Check) -> tuple[IPAddress, IPAddress, int]:
    """(source, destination, port). Without a destination, our own address of the source's family."""
    calls, (host, digits) = node.calls, split_address(check[1])
    source = calls.resolve(check[0])
    return source, calls.resolve(host) if host else calls.address_towards(source), int(digits)

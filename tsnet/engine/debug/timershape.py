"""`debug("timers")`: what every room of the node would do next if nothing arrived, and when.

| room        | a line for                                                              |
|-------------|-------------------------------------------------------------------------|
| control     | each of its timers                                                      |
| wireguard   | each timer of each peer that has been spoken to                         |
| disco       | each timer of each direct path, and the next of pings and relay routes  |
| derp        | each connection                                                         |
| the others  | the next one: tcp/ip, home, surroundings, port mapping, leaving, store  |

A line that is due says 0. At most MAX_LINES of the next ones are told.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from heapq import nsmallest
from typing import TYPE_CHECKING, NamedTuple

from tsnet.base.keys import NodeKey
from tsnet.engine.debug.plain import Plain, ahead

if TYPE_CHECKING:
    from tsnet.engine.node import Node

MAX_LINES = 1000


class Armed(NamedTuple):
    """peer: its node key, b"" where the timer is no peer's."""

    at: float
    room: str
    what: str
    peer: bytes = b""


def timers_shape(node: Node, now: float) -> Plain:
    """Of the node, now."""
    armed = [timer for timer in _timers(node, now) if timer.at != math.inf]
    return {
        "next_in": ahead(node.deadline(), now),
        "armed": len(armed),
        "timers": [
            {
                "in": ahead(at, now),
                "room": room,
                "what": what,
                "peer": node.peer_name(NodeKey(peer)) if peer else "",
            }
            for at, room, what, peer in nsmallest(MAX_LINES, armed)
        ],
    }


def _timers(node: Node, now: float) -> Iterator[Armed]:
    engine = node.engine
    for at, what in node.control.timers():
        yield Armed(at, "control", what)
    yield Armed(engine.stack.deadline(), "tcp/ip", "the next segment, acknowledgement or time limit")
    for key, what, at in engine.device.timers():
        yield Armed(at, "wireguard", what, key)
    for peer, what, at in engine.paths.timers():
        yield Armed(at, "disco", what, peer)
    for number, client in node.relays.clients.items():
        yield Armed(client.deadline(), "derp", f"region {number}, {client.stage.value}")
    yield Armed(node.home.deadline(), "home", "try the regions again, or another home")
    yield Armed(node.surroundings.deadline(), "surroundings", "measure, or settle on endpoints")
    yield Armed(node.port_mapping.deadline(), "port mapping", "ask the router")
    yield Armed(node.leaving.deadline(), "leaving", "log out")
    yield Armed(node.remembered.deadline(), "store", "save again")

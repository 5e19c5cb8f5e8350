"""How a room's numbers and addresses become plain values: what JSON can hold, and a person can read.

| in the room                         | plain                                                      |
|-------------------------------------|------------------------------------------------------------|
| an instant of the node's clock      | seconds from now: `ahead`, or seconds ago: `ago`           |
| a span of seconds                   | seconds                                                    |
| never, not known (inf, None)        | None                                                       |
| a UDP address                       | "192.0.2.7:41641", "[2001:db8::7]:41641"                   |
| a session of a peer relay           | "peer relay 192.0.2.9:7777:vni:5"                          |
| a counter                           | an object with the reasons that were met, sorted           |
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tsnet.base.addresses import DerpAddress, Destination, PeerRelayAddress, UdpAddress, join_host_port

Plain = dict[str, Any]


def span(seconds: float | None) -> float | None:
    """Rounded to a tenth of a millisecond."""
    return None if seconds is None or math.isinf(seconds) else round(seconds, 4)


def ahead(at: float, now: float) -> float | None:
    """How far away an instant is; 0 if it has come."""
    return 0.0 if at == -math.inf else span(max(0.0, at - now))


def ago(at: float | None, now: float) -> float | None:
    return None if at is None else span(now - at)


def address(where: UdpAddress) -> str:
    return join_host_port(*where)


def destination(where: Destination) -> str:
    """A route: a UDP address, a session of a peer relay, or a relay's region."""
    if isinstance(where, PeerRelayAddress):
        return f"peer relay {address(where.relay)}:vni:{where.vni}"
    return f"relay {where.region}" if isinstance(where, DerpAddress) else address(where)


def counts(counter: Mapping[str, int]) -> dict[str, int]:
    return {reason: count for reason, count in sorted(counter.items()) if count}

"""What is asked of a router, and what it gives.

Not here: how (`asks`, `upnp`), for how long (`mapper`).
"""

from __future__ import annotations

from enum import StrEnum
from ipaddress import IPv4Address

from tsnet.base.addresses import UdpAddress
from tsnet.base.records import record
from tsnet.portmap.external import why_unusable

ROOM = "portmap"
"""Of the links by which a router is asked."""

LEASE = 7200
"""Seconds that a mapping is asked for, and that it is taken to last at most: the recommendation of RFC 6886 §3.3."""

MIN_LEASE = 60
"""A router that gives less would be asked without end."""


class Protocol(StrEnum):
    """In the order in which they are tried."""

    NAT_PMP = "NAT-PMP"
    PCP = "PCP"
    UPNP = "UPnP"


@record
class Place:
    """Where the node is: the router's address on this network, this machine's own one, and the node's UDP port."""

    gateway: IPv4Address
    own: IPv4Address
    port: int


@record
class Grant:
    """external: what peers outside send to. lifetime: seconds; of it half is over before the mapping is renewed."""

    external: UdpAddress
    lifetime: float


@record
class Denial:
    """why: words for a log, which hold nothing that a router has written. again_after: seconds that it asks to wait.
    is_silence: it has said nothing, so that what it gave before may still be there."""

    why: str
    again_after: float = 0.0
    is_silence: bool = False


Outcome = Grant | Denial


def judged(external: UdpAddress, lifetime: int) -> Outcome:
    """A mapping that a router says that it has made, if it is any use."""
    if why := why_unusable(IPv4Address(external.host), external.port):
        return Denial(why)
    if lifetime < MIN_LEASE:
        return Denial("lease too short")
    return Grant(external, float(min(lifetime, LEASE)))

"""Datagrams on their way through the simulated internet, and how they cross one cable.

    host ──cable──> router ──cable──> internet ──wire, cable──> router ──cable──> host

A parcel is a run of datagrams with one source and one destination, as they are addressed where it is now: each NAT on
the way rewrites one of the two. Datagrams that take equally long stay together.

Not here: what a cable does to a datagram (`cable`), where a parcel goes next (`router`, `internet`).
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from typing import Protocol

import attrs

from tsnet.base.addresses import UdpAddress
from tsnet.testing.cable import Cable, on_the_wire
from tsnet.testing.timeline import Timeline


class Sender(Protocol):
    """What a parcel remembers of the host that it comes from."""

    @property
    def chain(self) -> list[str]:
        """The names of the host and of the routers between it and the internet, from within."""

    def told_too_big(self, destination: UdpAddress, mtu: int) -> None:
        """A router says that packets to there may have `mtu` bytes at most."""


@attrs.frozen
class Parcel:
    """origin: the host that sent it at `sent_at`, to the address `sent_to`."""

    source: UdpAddress
    destination: UdpAddress
    datagrams: list[bytes]
    origin: Sender
    sent_to: UdpAddress
    sent_at: float


def cross(
    parcel: Parcel,
    cable: Cable,
    timeline: Timeline,
    draw: random.Random,
    arrive: Callable[[Parcel], None],
    *,
    upward: bool,
) -> None:
    """Call `arrive` with what the cable lets through, when that is there. Who sent too much is told, if that is so."""
    now = timeline.now
    together: dict[float, list[bytes]] = {}
    for datagram in parcel.datagrams:
        size = on_the_wire(len(datagram), parcel.destination.host)
        delay = cable.delay(size, now, draw, upward=upward)
        if delay is not None:
            together.setdefault(delay, []).append(datagram)
        elif size > cable.mtu and cable.is_up and cable.tells_too_big:
            tell = functools.partial(parcel.origin.told_too_big, parcel.sent_to, cable.mtu)
            timeline.at(now + (now - parcel.sent_at), tell)
    for delay, datagrams in together.items():
        timeline.at(now + delay, functools.partial(arrive, attrs.evolve(parcel, datagrams=datagrams)))

"""The two worlds keep one protocol: every member of each Protocol, by name and by parameters."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from tsnet.edge.io.links import Links
from tsnet.edge.io.listeners import LinkListener
from tsnet.edge.io.system import SystemWorld
from tsnet.edge.io.udp import UdpSockets
from tsnet.edge.io.world import LinkPort, ListenPort, UdpPort, World
from tsnet.testing.bytestreams import SimulatedLinks, SimulatedListener
from tsnet.testing.simulated import SimulatedWorld
from tsnet.testing.wire import SimulatedUdp

KEEPERS = [
    (World, SystemWorld),
    (World, SimulatedWorld),
    (UdpPort, UdpSockets),
    (UdpPort, SimulatedUdp),
    (LinkPort, Links),
    (LinkPort, SimulatedLinks),
    (ListenPort, LinkListener),
    (ListenPort, SimulatedListener),
]


def methods(protocol: type[Any]) -> list[str]:
    return [
        name
        for kind in protocol.__mro__
        for name, member in vars(kind).items()
        if inspect.isfunction(member) and not name.startswith("_")
    ]


def parameters(function: Any) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name != "self"]


@pytest.mark.parametrize(("protocol", "keeper"), KEEPERS)
def test_parameters_have_the_protocols_names(protocol: type[Any], keeper: type[Any]) -> None:
    """mypy checks the types; a caller by keyword depends on the names of both."""
    world = keeper() if protocol is World else None
    for name in methods(protocol):
        member = getattr(world or keeper, name)
        assert parameters(member) == parameters(getattr(protocol, name)), f"{keeper.__name__}.{name}"
    if world is not None:
        world.close()

"""An embedded tailnet, a simulated world with an internet, the pytest plugin.

    from tsnet.testing import Tailnet          control, a DERP relay and STUN on loopback, in this process
    from tsnet.testing import SimulatedWorld   virtual time; `SimulatedWorld().internet` has routers and NATs
    def test_it(tailnet): ...                  the same as a pytest fixture

Imported on first use: pytest loads this package wherever tsnet is installed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_WHERE = {
    "ADDRESS_RESTRICTED": "tsnet.testing.nat",
    "Cable": "tsnet.testing.cable",
    "ControlFault": "tsnet.testing.planned",
    "Dependence": "tsnet.testing.nat",
    "EASY": "tsnet.testing.nat",
    "EASY_WITH_STRAYS": "tsnet.testing.nat",
    "FULL_CONE": "tsnet.testing.nat",
    "HARD": "tsnet.testing.nat",
    "Nat": "tsnet.testing.nat",
    "OAuthClient": "tsnet.control.server.credentials",
    "SimulatedWorld": "tsnet.testing.simulated",
    "Tailnet": "tsnet.testing.tailnet",
    "TailnetNode": "tsnet.testing.tailnetnode",
    "TrustedIssuer": "tsnet.control.server.credentials",
}

__all__ = [
    "ADDRESS_RESTRICTED",
    "EASY",
    "EASY_WITH_STRAYS",
    "FULL_CONE",
    "HARD",
    "Cable",
    "ControlFault",
    "Dependence",
    "Nat",
    "OAuthClient",
    "SimulatedWorld",
    "Tailnet",
    "TailnetNode",
    "TrustedIssuer",
]

if TYPE_CHECKING:
    from tsnet.control.server.credentials import OAuthClient as OAuthClient
    from tsnet.control.server.credentials import TrustedIssuer as TrustedIssuer
    from tsnet.testing.cable import Cable as Cable
    from tsnet.testing.nat import ADDRESS_RESTRICTED as ADDRESS_RESTRICTED
    from tsnet.testing.nat import EASY as EASY
    from tsnet.testing.nat import EASY_WITH_STRAYS as EASY_WITH_STRAYS
    from tsnet.testing.nat import FULL_CONE as FULL_CONE
    from tsnet.testing.nat import HARD as HARD
    from tsnet.testing.nat import Dependence as Dependence
    from tsnet.testing.nat import Nat as Nat
    from tsnet.testing.planned import ControlFault as ControlFault
    from tsnet.testing.simulated import SimulatedWorld as SimulatedWorld
    from tsnet.testing.tailnet import Tailnet as Tailnet
    from tsnet.testing.tailnetnode import TailnetNode as TailnetNode


def __getattr__(name: str) -> Any:
    where = _WHERE.get(name)
    if where is None:
        raise AttributeError(f"module 'tsnet.testing' has no attribute {name!r}")
    return getattr(importlib.import_module(where), name)

"""An embedded tailnet, a simulated world, the pytest plugin.

    from tsnet.testing import Tailnet          control, a DERP relay and STUN on loopback, in this process
    def test_it(tailnet): ...                  the same as a pytest fixture

Imported on first use: pytest loads this package wherever tsnet is installed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_WHERE = {"SimulatedWorld": "tsnet.testing.simulated", "Tailnet": "tsnet.testing.tailnet"}

__all__ = ["SimulatedWorld", "Tailnet"]

if TYPE_CHECKING:
    from tsnet.testing.simulated import SimulatedWorld as SimulatedWorld
    from tsnet.testing.tailnet import Tailnet as Tailnet


def __getattr__(name: str) -> Any:
    where = _WHERE.get(name)
    if where is None:
        raise AttributeError(f"module 'tsnet.testing' has no attribute {name!r}")
    return getattr(importlib.import_module(where), name)

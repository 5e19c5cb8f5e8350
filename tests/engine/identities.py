"""An identity with every field set, made of nothing secret."""

from __future__ import annotations

from typing import Any

import attrs

from tsnet.base.keys import NodePrivateKey
from tsnet.engine.identity import Identity, new_identity


def identity(**changes: Any) -> Identity:
    counter = iter(range(1, 100))
    fields = {
        "old_node_key": NodePrivateKey(b"\x55" * 32),
        "control_url": "https://control.test",
        "stable_id": "nABC123",
        "login_name": "ann@example.com",
        "registered": True,
        "timestamp_mark": 1_700_000_000.5,
        "ephemeral": False,
    }
    return attrs.evolve(new_identity(lambda size: bytes([next(counter)]) * size), **{**fields, **changes})

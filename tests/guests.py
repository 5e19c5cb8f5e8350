"""The options of a node that joins an embedded tailnet for one test: ephemeral, so that it keeps nothing."""

from __future__ import annotations

from typing import Any

from tsnet.testing import Tailnet


def guest_of(tailnet: Tailnet) -> dict[str, Any]:
    return {"control_url": tailnet.control_url, "auth_key": tailnet.auth_key, "ephemeral": True}

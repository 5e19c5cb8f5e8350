"""The pytest plugin: a fresh embedded tailnet for each test that asks for one.

    def test_shop(tailnet):
        with tsnet.Server("shop", control_url=tailnet.control_url, auth_key=tailnet.auth_key, ephemeral=True) as shop:
            shop.serve_wsgi(app, block=False)

Installed with tsnet as an entry point; nothing to configure. It runs in its own thread, so it serves synchronous tests
and asynchronous ones alike, whichever plugin runs these. A test that does not ask pays nothing: the tailnet is
imported on first use.

Not here: the tailnet (`tailnet`), other set-ups of it: `with Tailnet(policy=…)` in a fixture of one's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tsnet.testing.tailnet import Tailnet


@pytest.fixture
def tailnet() -> Iterator[Tailnet]:
    """An embedded tailnet on loopback: `control_url` and a reusable `auth_key` to join it, policy, names, faults."""
    from tsnet.testing.tailnet import Tailnet

    with Tailnet() as running:
        yield running

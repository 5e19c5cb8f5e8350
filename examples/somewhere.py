"""Where the examples run: on your tailnet if TS_AUTHKEY is set (TS_CONTROL_URL for a Headscale), else on an embedded
one that lives in this process. On your own machine a program needs neither: `tsnet.Server("name")` is enough."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def somewhere() -> Iterator[dict[str, Any]]:
    """Options for each node: empty on a real tailnet, where the environment says it all."""
    if "TS_AUTHKEY" in os.environ or "TS_AUTH_KEY" in os.environ:
        yield {}
        return
    from tsnet.testing import Tailnet

    with Tailnet() as tailnet:
        yield {"control_url": tailnet.control_url, "auth_key": tailnet.auth_key, "ephemeral": True}

"""A node's thread, and each test once over AF_UNIX and once over the loopback pairs that stand in for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sockets.node import NodeThread, node_thread
from tsnet.sockets import pairs


@pytest.fixture
def node() -> Iterator[NodeThread]:
    with node_thread() as node:
        yield node


@pytest.fixture(params=["unix", "loopback"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(pairs, "HAVE_UNIX", request.param == "unix")
    return str(request.param)

"""What several of the lives play with: a Headscale of the module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.interop.harness.headscale import Headscale
from tests.interop.harness.requirements import need
from tests.interop.harness.scene import Scene

POLICY = {"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}], "tagOwners": {"tag:ci": ["u1@"]}}


@pytest.fixture(scope="module")
def headscale(tmp_path_factory: pytest.TempPathFactory, _swept: None) -> Iterator[Headscale]:
    """Over TLS, with a policy that allows everything and knows tag:ci."""
    need("root", "headscale")
    with Scene(tmp_path_factory.mktemp("headscale")) as scene, Headscale(scene, tls=True, policy=POLICY) as headscale:
        yield headscale

"""A Headscale whose certificate is not good when a node starts, as on a machine that boots before its clock is set."""

from __future__ import annotations

import pytest

import tsnet
from tests.interop.harness import ours
from tests.interop.harness.headscale import Headscale
from tests.interop.harness.requirements import need
from tests.interop.harness.scene import Scene

pytestmark = [pytest.mark.interop, pytest.mark.timeout(60)]


def test_a_certificate_that_becomes_good_is_good_for_a_later_up(scene: Scene) -> None:
    need("headscale")
    with Headscale(scene, tls=True) as headscale:
        node = ours.node(headscale, "early", auth_key=headscale.auth_key(ephemeral=True), ephemeral=True)
        try:
            for days, reason in (((1, 2), "not yet valid"), ((-3, -1), "expired")):
                headscale.present(days)
                with pytest.raises(tsnet.ControlCertificateError, match=reason):
                    node.up(timeout=10)
            headscale.present((-1, 1))
            node.up(timeout=10)
            assert node.name == "early"
            node.reachable(timeout=10)
        finally:
            node.close()

"""DiscoModes: the defaults restrict nothing."""

from __future__ import annotations

from tsnet.disco.modes import DiscoModes


def test_by_default_udp_is_used_and_paths_are_kept_warm() -> None:
    assert DiscoModes() == DiscoModes(udp=True, silent=False, loopback=False)

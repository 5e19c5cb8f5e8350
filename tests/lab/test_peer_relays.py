"""Two hard routers, and a real relay server of Tailscale's: who is relayed by it, and what becomes of that."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop.harness.requirements import need
from tests.lab.homes import Who
from tests.lab.relayed_homes import RelayedHomes

pytestmark = [pytest.mark.interop, pytest.mark.timeout(150)]

RELAYED = 8.0
"""Seconds until both are relayed by the peer."""


@pytest.mark.parametrize("who", [("ours", "ours"), ("ours", "go"), ("go", "ours")], ids="-".join)
def test_two_hard_routers_meet_through_a_peer(tmp_path: Path, who: tuple[Who, Who]) -> None:
    need("root", "nft", "testcontrol", "derper", "tsnetpeer", "tailscaled")
    with RelayedHomes(tmp_path, who) as homes:
        took = homes.await_paths(True, RELAYED)
        homes.exchange(100_000)
        print(f"{'-'.join(who)}: {took:.2f} s, {homes.paths()}\n{homes.relay.sessions()}")

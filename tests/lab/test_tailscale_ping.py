"""`tailscale ping` of a whole tailscaled to our node says how it got there: directly, by a relay while UDP is blocked,
and directly again; so does our own status. Each is in a home behind an easy router.

Our node looks for a path while it sends something, as Go does: the pongs of `tailscale ping --tsmp` are that.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.interop.harness.ours import until
from tests.interop.harness.requirements import need
from tests.interop.harness.tailscaled import Tailscaled
from tests.lab.homes import Homes, Seat

pytestmark = [pytest.mark.interop, pytest.mark.timeout(150)]

SOON = 15.0
"""Seconds until a path is direct: `tailscale ping` asks once a second, and Go looks for paths every 5 s."""
NOTICED = 25.0
"""Seconds until a path that is dead is no longer told: Go trusts one for 6.5 s after its last pong."""


class OneHome(Homes):
    """Our node `a` on the left; the right host is empty."""

    def seats(self) -> list[Seat]:
        return super().seats()[:1]


def ping(daemon: Tailscaled, *kind: str) -> str:
    """The last thing it says, such as `pong from a (100.64.0.1) via 11.1.0.2:41641 in 1ms`."""
    try:
        said = daemon.tailscale("ping", "--c=1", "--until-direct=false", "--timeout=2s", *kind, "a")
    except (AssertionError, subprocess.TimeoutExpired) as error:
        return str(error).splitlines()[0]
    return said.splitlines()[-1]


def test_tailscale_ping_and_our_status_tell_the_path(tmp_path: Path) -> None:
    need("root", "nft", "testcontrol", "derper", "tailscaled")
    with OneHome(tmp_path, "easy", "easy", ("ours", "go")) as homes:
        left, right = homes.internet.sides
        with Tailscaled(homes.internet.scene, homes.control, "t", namespace=right.host) as daemon:
            daemon.up()

            def we_are_direct() -> bool:
                ping(daemon, "--tsmp")
                return homes.a.path_to("t").startswith(f"{right.public}:")

            said = daemon.tailscale("ping", "--c=15", "--until-direct", "--timeout=2s", "a")
            assert f"via {left.public}:" in said.splitlines()[-1], said
            until(we_are_direct, SOON)
            with left.udp_blocked():
                found = until(lambda: "via DERP(lab" in ping(daemon), NOTICED, "a relay is told")
                until(lambda: not homes.a.path_to("t"), NOTICED, "ours tells a relay")
            again = until(lambda: f"via {left.public}:" in ping(daemon), NOTICED, "direct again")
            until(we_are_direct, SOON)
            print(f"a relay is told after {found:.1f} s, and a direct path {again:.1f} s after UDP passes again")
            peers = daemon.status()["Peer"].values()
            assert [peer["CurAddr"].startswith(f"{left.public}:") for peer in peers] == [True]

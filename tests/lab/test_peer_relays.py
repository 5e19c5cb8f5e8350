"""Two hard routers, and a real relay server of Tailscale's: who is relayed by it, and what becomes of that."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop.harness.requirements import need
from tests.lab.homes import Who
from tests.lab.relayed_homes import ControlName, RelayedHomes

pytestmark = [pytest.mark.interop, pytest.mark.timeout(150)]

PAIRS: list[tuple[Who, Who]] = [("ours", "ours"), ("ours", "go"), ("go", "ours")]
RELAYED = 8.0
"""Seconds until both are relayed by the peer. Each looks for sessions when it first sends; a lost request is sent again
after 3 s."""
CARRIED_ON, GO_CARRIED_ON = 10.0, 20.0
"""Seconds of silence when the relay dies. Ours notice within 5, and send again at once. Go trusts a path for 6.5 s
after its last pong, and its TCP then waits for the next retransmission, which may be the one after 12.8 s."""
AGAIN = 45.0
"""Seconds until the relays are asked again, at most, and some for tailscaled to join."""


@pytest.fixture(autouse=True)
def _programs() -> None:
    need("root", "nft", "testcontrol", "derper", "tsnetpeer", "tailscaled")


@pytest.mark.parametrize("control", ["testcontrol", "embedded", "headscale"])
@pytest.mark.parametrize("who", PAIRS, ids="-".join)
def test_two_hard_routers_meet_through_a_peer(tmp_path: Path, who: tuple[Who, Who], control: ControlName) -> None:
    if control == "headscale":
        need("headscale")
    with RelayedHomes(tmp_path, who, control=control) as homes:
        took = homes.await_paths(True, RELAYED)
        homes.exchange(100_000)
        sessions = homes.relay.sessions()
        print(f"{control}, {'-'.join(who)}: {took:.2f} s, {homes.paths()}\n{sessions}")
        assert "Sessions count: 1" in sessions
        assert all(side.public in sessions for side in homes.internet.sides)


@pytest.mark.parametrize("who", PAIRS, ids="-".join)
def test_the_stream_outlives_the_relay_and_is_relayed_again_when_it_is_back(
    tmp_path: Path, who: tuple[Who, Who]
) -> None:
    with RelayedHomes(tmp_path, who) as homes:
        homes.await_paths(True, RELAYED)
        homes.relay.kill()
        silence = homes.longest_silence(20.0)
        assert not any(homes.paths())
        homes.relay.start()
        back = homes.await_paths(True, AGAIN)
        homes.exchange(100_000)
        print(
            f"{'-'.join(who)}: silent for {silence:.1f} s, relayed again after {back:.1f} s\n{homes.relay.sessions()}"
        )
        assert silence < (GO_CARRIED_ON if who[0] == "go" else CARRIED_ON)

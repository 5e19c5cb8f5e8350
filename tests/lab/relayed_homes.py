"""Two homes behind hard routers, and tailscaled at the far server, which relays for them by any control's policy.

    with RelayedHomes(folder, ("ours", "go"), control="headscale") as homes:
        homes.await_paths(True, 8.0)     # seconds until both say that a peer relay carries what they send
        homes.relay.sessions()

| control     | what grants the relay                                                                       |
|-------------|---------------------------------------------------------------------------------------------|
| testcontrol | Tailscale's own for tests: both capabilities, from everybody to everybody                   |
| embedded    | our `Tailnet`: a rule of its policy                                                         |
| headscale   | a grant of its policy file                                                                  |

Of testcontrol each node asks each other one to relay, and only tailscaled answers.

Source: Go feature/relayserver; tailcfg.PeerCapabilityRelay, PeerCapabilityRelayTarget.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal, Self

from tests.interop.harness.control import Control, ControlAt
from tests.interop.harness.gopeer import GoPeer
from tests.interop.harness.headscale import Headscale
from tests.interop.harness.scene import Scene
from tests.interop.harness.tailscaled import Tailscaled
from tests.interop.harness.testcontrol import Derper, TestControl
from tests.lab.homes import LOOKS, NAMES, PORT, Player, Who
from tests.lab.internet import FAR, NEAR, Internet
from tests.lab.ourpeer import OurPeer
from tsnet.testing.tailnet import Tailnet

RELAY_PORT = 7777
EXCHANGES = 0.1
RELAY = "tailscale.com/cap/relay"
JOINED = 30.0
LIMIT = 25.0
"""Seconds after which a stream is given up."""

ControlName = Literal["testcontrol", "embedded", "headscale"]
Offered = tuple[Control, dict[str, str]]
"""A control server, and the auth key of each node; "" for any other one."""


@contextmanager
def testcontrol(scene: Scene) -> Iterator[Offered]:
    with Derper(scene, host=NEAR) as derper, TestControl(scene, derper, host=NEAR, everywhere=True) as control:
        control.set_app_caps({RELAY: [], f"{RELAY}-target": []})
        yield control, {"": "any"}


@contextmanager
def embedded(_scene: Scene) -> Iterator[Offered]:
    everything = {"src": ["*"], "dst": ["*:*"]}
    relays = {"src": ["*"], "dst": ["relay:*"], "app": {RELAY: []}}
    with Tailnet(host=NEAR, policy=[everything, relays]) as tailnet:
        yield ControlAt(tailnet.control_url), {"": tailnet.auth_key}


@contextmanager
def headscale(scene: Scene) -> Iterator[Offered]:
    everything = {"src": ["*"], "dst": ["*"], "ip": ["*"]}
    relays = {"src": ["u1@"], "dst": ["tag:relay"], "app": {RELAY: []}}
    policy = {"tagOwners": {"tag:relay": ["u1@"]}, "grants": [everything, relays]}
    with Headscale(scene, host=NEAR, policy=policy) as control:
        yield control, {"": control.auth_key("u1"), "relay": control.auth_key("u1", tags=["tag:relay"])}


CONTROLS = {"testcontrol": testcontrol, "embedded": embedded, "headscale": headscale}


class RelayedHomes:
    """Entered: all three have joined, and the relay is on. `a` has a stream to `b`, which echoes."""

    def __init__(self, folder: Path, who: tuple[Who, Who], *, control: ControlName = "testcontrol") -> None:
        self.internet = Internet(folder, "hard", "hard")
        self.who, self._control = who, control
        self.a: Player
        self.b: Player
        self.relay: Tailscaled
        self.stream = 0
        self._exit = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self.internet)
            scene = self.internet.scene
            control, keys = stack.enter_context(CONTROLS[self._control](scene))
            self.relay = stack.enter_context(Tailscaled(scene, control, "relay", namespace=self.internet.far))
            self.relay.up(keys.get("relay", keys[""]))
            self.relay.relay_on(RELAY_PORT)
            players: list[Player] = []
            for who, side, name in zip(self.who, self.internet.sides, NAMES, strict=True):
                make = GoPeer if who == "go" else OurPeer
                players.append(make(scene, control, name, auth_key=keys[""], namespace=side.host))
                stack.enter_context(players[-1])
            for joining in [player.start("up") for player in players]:
                joining.result(JOINED)
            self.a, self.b = players
            self.b.listen(f":{PORT}", "echo")
            self.stream = self._open()
            self._exit = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def _open(self) -> int:
        """Go knows a name some moments after it has joined."""
        end = time.monotonic() + JOINED
        while True:
            try:
                return self.a.open(f"b:{PORT}")
            except AssertionError:
                if time.monotonic() > end:
                    raise
                time.sleep(EXCHANGES)

    @property
    def players(self) -> tuple[tuple[Player, str], tuple[Player, str]]:
        """Each with the name of the other one."""
        return (self.a, "b"), (self.b, "a")

    def exchange(self, size: int = 1) -> None:
        """So many bytes go to `b` and back."""
        sent = bytes(number % 251 for number in range(size))
        self.a.write(self.stream, sent)
        assert self.a.read(self.stream, size, timeout=LIMIT) == sent

    def paths(self) -> tuple[str, str]:
        """The sessions of a peer relay that carry everything, of `a` and of `b`; empty where none does."""
        (a, b), (other, name) = self.players
        return a.peer_relay_to(b), other.peer_relay_to(name)

    @property
    def is_relayed(self) -> bool:
        return all(path.startswith(f"{FAR}:{RELAY_PORT}:vni:") for path in self.paths())

    def longest_silence(self, seconds: float) -> float:
        """Exchange a byte again and again; the longest that one took."""
        longest, end = 0.0, time.monotonic() + seconds
        while time.monotonic() < end:
            begun = time.monotonic()
            self.exchange()
            longest = max(longest, time.monotonic() - begun)
            time.sleep(EXCHANGES)
        return longest

    def await_paths(self, relayed: bool, patience: float) -> float:
        """Exchange bytes until both are relayed by the peer, or neither is; the seconds it took."""
        begun = due = time.monotonic()
        while any(self.paths()) if not relayed else not self.is_relayed:
            if time.monotonic() > begun + patience:
                raise AssertionError(f"after {patience} s: {self.paths()}\n{self.relay.sessions()}")
            if time.monotonic() >= due:
                due += EXCHANGES
                self.exchange()
            time.sleep(LOOKS)
        return time.monotonic() - begun

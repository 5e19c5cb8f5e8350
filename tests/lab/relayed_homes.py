"""Two homes behind hard routers, and tailscaled at the far server, which relays for them.

    with RelayedHomes(folder, ("ours", "go")) as homes:
        homes.await_relayed()          # seconds until both say that a peer relay carries what they send
        homes.relay.sessions()

Control is Tailscale's own for tests, which grants everybody both capabilities towards everybody. So each node asks each
other one to relay, and only tailscaled answers.

Source: Go feature/relayserver; tailcfg.PeerCapabilityRelay, PeerCapabilityRelayTarget.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from tests.interop.harness.tailscaled import Tailscaled
from tests.lab.homes import LOOKS, PORT, Homes, Player, Who
from tests.lab.internet import FAR

RELAY_PORT = 7777
EXCHANGES = 0.1
CAPABILITIES: dict[str, list[object]] = {"tailscale.com/cap/relay": [], "tailscale.com/cap/relay-target": []}


class RelayedHomes(Homes):
    """Entered: all three have joined, and the relay is on. `a` has a stream to `b`, which echoes."""

    def __init__(self, folder: Path, who: tuple[Who, Who], *, kinds: tuple[str, str] = ("hard", "hard")) -> None:
        super().__init__(folder, *kinds, who)
        self.relay: Tailscaled
        self.stream = 0
        self._more = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            super().__enter__()
            stack.push(super().__exit__)
            self.control.set_app_caps(CAPABILITIES)
            self.relay = Tailscaled(self.internet.scene, self.control, "relay", namespace=self.internet.far)
            stack.enter_context(self.relay)
            self.relay.up()
            self.relay.relay_on(RELAY_PORT)
            self.b.listen(f":{PORT}", "echo")
            self.stream = self.a.open(f"b:{PORT}")
            self._more = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._more.close()

    @property
    def players(self) -> tuple[tuple[Player, str], tuple[Player, str]]:
        """Each with the name of the other one."""
        return (self.a, "b"), (self.b, "a")

    def exchange(self, size: int = 1) -> None:
        """So many bytes go to `b` and back."""
        sent = bytes(number % 251 for number in range(size))
        self.a.write(self.stream, sent)
        assert self.a.read(self.stream, size) == sent

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

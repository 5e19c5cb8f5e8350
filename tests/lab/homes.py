"""A tailnet over two homes: control and one relay at the near server, a second relay at the far one, a node in each.

    with Homes(folder, "easy", "hard", ("go", "go")) as homes:
        cell = meet(homes)        # Cell(direct="11.2.0.2:41641", first_byte=0.2, direct_after=0.3, …)

Two relays are two addresses that answer STUN, so that a node behind a hard router learns that it is. The nodes are
`a` on the left and `b` on the right: Go's tsnet, or ours, each a process in its home. One who dials sends a byte and
goes on exchanging bytes, so that there is something to find a path for. With TSNET_LAB_CAPTURE=1 what passes both
routers is kept in the scene's folder.

Source: Go wgengine/magicsock/endpoint.go (a path is looked for when something is sent).
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Literal, Self

import attrs

from tests.interop.harness.control import ControlAt
from tests.interop.harness.gopeer import GoPeer
from tests.interop.harness.testcontrol import Derper, TestControl
from tests.lab.internet import FAR, FAR_V6, NEAR, NEAR_V6, Internet, Side
from tests.lab.middles import MIDDLES, Middle, OfTestControl
from tests.lab.ourpeer import OurPeer
from tests.lab.routers import V6

Who = Literal["go", "ours"]
Player = GoPeer | OurPeer
NAMES = "a", "b"
PORT = 7
SETTLED = 10.0
"""Seconds that nodes may take until control knows their home relays and public addresses."""
LOOKS = 0.02
"""Seconds between two looks at a path."""
EXCHANGES = 0.1
"""Seconds between two bytes on the stream."""


@attrs.frozen
class Seat:
    """Where a node sits: on which side, as which of its hosts. environment: more than all have."""

    who: Who
    name: str
    side: Side
    host: int = 0
    environment: Mapping[str, str] = attrs.field(factory=dict)


class Homes:
    """Entered: all nodes have joined, and control knows where they are. The thread is inside `inet`.

    control: whose server is in the middle, a name of `MIDDLES`.
    """

    second_hosts = False

    def __init__(
        self, folder: Path, left: str, right: str, who: tuple[Who, Who], *, control: str = "testcontrol"
    ) -> None:
        self.internet = Internet(folder, left, right, second_hosts=self.second_hosts)
        self.who = who
        self.nodes: dict[str, Player] = {}
        self.middle: Middle
        self.derpers: list[Derper] = []
        self._control = control
        self._exit = ExitStack()

    @property
    def a(self) -> Player:
        return self.nodes["a"]

    @property
    def b(self) -> Player:
        return self.nodes["b"]

    @property
    def control(self) -> TestControl:
        """For what only Tailscale's can do."""
        assert isinstance(self.middle, OfTestControl)
        return self.middle.control

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self.internet)
            self._built()
            if os.environ.get("TSNET_LAB_CAPTURE"):
                for side in self.internet.sides:
                    self.internet.capture(side)
            self.derpers = self._relays()
            for derper in self.derpers:
                stack.enter_context(derper)
            self.middle = stack.enter_context(MIDDLES[self._control](self.internet.scene, self.derpers))
            for seat in self.seats():
                self.nodes[seat.name] = player = self._player(seat)
                stack.enter_context(player)
            for joining in [player.start("up") for player in self.nodes.values()]:
                joining.result(30)
            self._settle()
            self._exit = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    # --- what others may want otherwise -----------------------------------------------------------------------------

    def _built(self) -> None:
        """The internet stands, and nothing runs yet."""

    def seats(self) -> list[Seat]:
        return [Seat(*each) for each in zip(self.who, NAMES, self.internet.sides, strict=True)]

    def _relays(self) -> list[Derper]:
        scene = self.internet.scene
        return [
            Derper(scene, host=NEAR, v6=NEAR_V6, region=1),
            Derper(scene, host=FAR, v6=FAR_V6, region=2, namespace=self.internet.far),
        ]

    def _player(self, seat: Seat) -> Player:
        host = f"[{NEAR_V6}]" if seat.side.kind.addressing == V6 else NEAR
        url = f"{self.middle.scheme}://{host}:{self.middle.port}"
        control = ControlAt(url, {**self.middle.environment, **seat.environment})
        make = GoPeer if seat.who == "go" else OurPeer
        key = self.middle.auth_key
        return make(self.internet.scene, control, seat.name, auth_key=key, namespace=seat.side.hosts[seat.host])

    def is_online(self, name: str) -> bool:
        """Whether control says so."""
        return self.middle.known(name).online

    # --- joining ----------------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Until control knows the home relay of all, and an address of each as its router shows it."""
        end = time.monotonic() + SETTLED
        while not all(map(self._is_settled, self.seats())) and time.monotonic() < end:
            time.sleep(LOOKS)

    def _is_settled(self, seat: Seat) -> bool:
        known = self.middle.known(seat.name)
        seen = not seat.side.kind.mapping or any(where.startswith(("11.", "[2600:")) for where in known.endpoints)
        return bool(known.home) and seen


@attrs.frozen
class Cell:
    """What came of a pair. Seconds are counted from the moment of the dial; direct_after is None on a relay.

    direct: the address that the dialling node sends to. both: the other one has a direct path, too.
    """

    left: str
    right: str
    first_byte: float
    direct_after: float | None
    direct: str = ""
    both: bool = False
    exchanged: int = 0

    @property
    def is_direct(self) -> bool:
        """In both directions."""
        return self.direct_after is not None and self.both


def meet(homes: Homes, *, patience: float = 10.0, dialler: Literal["a", "b"] = "a") -> Cell:
    """One dials the other, and bytes go back and forth until both have a direct path, or `patience` ends."""
    left, right = homes.internet.sides
    one, other, name, back = homes.a, homes.b, "b", "a"
    if dialler == "b":
        one, other, name, back = homes.b, homes.a, "a", "b"
    other.listen(f":{PORT}", "echo")
    begun = time.monotonic()
    stream = one.open(f"{name}:{PORT}")
    one.write(stream, b"\0")
    assert one.read(stream, 1) == b"\0"
    first_byte = time.monotonic() - begun
    direct, direct_after, both, exchanged, due = "", None, False, 1, 0.0
    while not both and time.monotonic() - begun < patience:
        if time.monotonic() >= due:
            due = time.monotonic() + EXCHANGES
            one.write(stream, b"\1")
            assert one.read(stream, 1) == b"\1"
            exchanged += 1
        direct = direct or one.path_to(name)
        if direct and direct_after is None:
            direct_after = time.monotonic() - begun
        both = bool(direct) and bool(other.path_to(back))
        time.sleep(LOOKS)
    one.close_stream(stream)
    return Cell(left.kind.name, right.kind.name, first_byte, direct_after, direct, both, exchanged)

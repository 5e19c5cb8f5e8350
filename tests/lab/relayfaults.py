"""What happens to the home relay, to control, and to streams under it: two of our nodes and two of Go's side by side.

    disturb(four, "killed", seconds=20)        # Disturbance(fault="killed", lanes={…}, moves={…})
    python -m tests.lab.relayfaults            # all faults, over relays and directly, as tables

Each home has one of our nodes and one of Go's. Those on the left ask those on the right, all four ways. With `hard`
routers all of that goes through relays; with `easy` ones it goes directly, and relays carry nothing but disco.

| fault         | what happens                                                                           |
|---------------|----------------------------------------------------------------------------------------|
| killed        | the home relay's process is killed: resets, then refusals                              |
| black hole    | what comes and goes by TCP at its port vanishes; its STUN server goes on               |
| vanishes      | the same, and its STUN server too                                                      |
| no STUN       | only its STUN server is silent                                                         |
| one side      | the left home's router drops what goes there, TCP and STUN; the right home's does not  |
| with control  | the relay is killed, and control is killed at the same time and started half way       |

The other region is 30 ms further away, so that all nodes have one home, and a reason to return there.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Self

import attrs

from tests.interop.harness.gopeer import GoPeer
from tests.interop.harness.scene import inside
from tests.interop.harness.testcontrol import Derper
from tests.lab.homes import Homes, Player, Seat
from tests.lab.internet import FAR, NEAR, nft
from tests.lab.lanes import Lane, Lanes, Pair
from tests.lab.slowstun import SlowStun

HOME, OTHER = 1, 2
FURTHER = 0.03
DERP_PORT, STUN_PORT = 3340, 3478
RETURN = 60.0
"""Seconds for which a return home is waited for."""
LOOKS = 0.05
LANES: dict[str, Pair] = {
    "ours to ours": ("ours-left", "ours-right"),
    "ours to Go": ("ours-left", "go-right"),
    "Go to ours": ("go-left", "ours-right"),
    "Go to Go": ("go-left", "go-right"),
}


class Four(Homes):
    """Homes with two nodes each; the relay that all are at home at is `derpers[0]`."""

    second_hosts = True

    def __init__(self, folder: Path, kind: str, *, control: str = "testcontrol") -> None:
        super().__init__(folder, kind, kind, ("ours", "ours"), control=control)
        self._stun = ExitStack()

    def __enter__(self) -> Self:
        try:
            super().__enter__()
        except BaseException:
            self._stun.close()  # its thread would keep the process from ending
            raise
        return self

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self._stun.close()

    def seats(self) -> list[Seat]:
        left, right = self.internet.sides
        return [
            Seat("ours", "ours-left", left),
            Seat("go", "go-left", left, 1),
            Seat("ours", "ours-right", right),
            Seat("go", "go-right", right, 1),
        ]

    def _relays(self) -> list[Derper]:
        scene, far = self.internet.scene, self.internet.far
        self._stun.enter_context(SlowStun(far, FAR, STUN_PORT, delay=FURTHER))
        return [
            Derper(scene, host=NEAR, region=HOME),
            Derper(scene, host=FAR, region=OTHER, namespace=far, stun=False),
        ]

    def _is_settled(self, seat: Seat) -> bool:
        """Go moves to the nearest region only after its first whole report."""
        return super()._is_settled(seat) and self.middle.known(seat.name).home == HOME


# --- faults -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def killed(four: Four) -> Iterator[None]:
    relay = four.derpers[0]
    assert relay.process is not None
    relay.process.kill()
    yield
    relay.start()


@contextlib.contextmanager
def unheard(four: Four, *ports: str) -> Iterator[None]:
    """The near server neither hears nor says anything at those ports."""
    rules = "\n".join(f"{port.replace('port', 'dport')} drop\n{port.replace('port', 'sport')} drop" for port in ports)
    hooks = ("input", "output")
    chains = "\n".join(f"chain {hook} {{ type filter hook {hook} priority -10;\n{rules}\n}}" for hook in hooks)
    with inside(four.internet.scene.name):
        nft(f"table inet unheard {{\n{chains}\n}}\n")
    yield
    with inside(four.internet.scene.name):
        nft("delete table inet unheard\n")


def black_hole(four: Four) -> contextlib.AbstractContextManager[None]:
    return unheard(four, f"tcp port {DERP_PORT}")


def vanishes(four: Four) -> contextlib.AbstractContextManager[None]:
    return unheard(four, f"tcp port {DERP_PORT}", f"udp port {STUN_PORT}")


def no_stun(four: Four) -> contextlib.AbstractContextManager[None]:
    return unheard(four, f"udp port {STUN_PORT}")


def one_side(four: Four) -> contextlib.AbstractContextManager[None]:
    return four.internet.left.dropping(f"ip daddr {NEAR} th dport {{ {DERP_PORT}, {STUN_PORT} }}")


@contextlib.contextmanager
def with_control(four: Four) -> Iterator[None]:
    four.middle.kill()
    with killed(four):
        time.sleep(5)
        four.middle.start()
        yield


Fault = Callable[[Four], contextlib.AbstractContextManager[None]]
FAULTS: dict[str, Fault] = {
    "killed": killed,
    "black hole": black_hole,
    "vanishes": vanishes,
    "no STUN": no_stun,
    "one side": one_side,
    "with control": with_control,
}
CONTROL = {"with control": "headscale"}
"""The control server that a fault needs, where testcontrol will not do."""

# --- what came of it --------------------------------------------------------------------------------------------


@attrs.frozen
class Felt:
    """By one lane, in seconds. during: the longest silence that began before the fault was over. after: later."""

    during: float
    after: float
    error: str = ""


@attrs.define
class Moves:
    """Of one node's home, in seconds. away: from the fault's beginning. back: from its end. None: not seen."""

    away: float | None = None
    back: float | None = None


@attrs.frozen
class Disturbance:
    fault: str
    seconds: float
    lanes: dict[str, Felt]
    moves: dict[str, Moves]
    told: dict[str, list[str]]
    """What our nodes' events said of their homes and of problems."""


def home_of(player: Player) -> int:
    if isinstance(player, GoPeer):
        relay = str((player.status().get("Self") or {}).get("Relay") or "")
        return int(relay.removeprefix("lab") or 0)
    return int(player.call("home"))


def disturb(
    four: Four, fault: str, *, seconds: float, patience: float = RETURN, only_ours: bool = False
) -> Disturbance:
    """Streams in all lanes; the fault for so long; then until all are home again, or `patience` ends.

    only_ours: not until Go's nodes are.
    """
    with Lanes(four.nodes, LANES.values()) as lanes:
        lanes.await_all(20)
        if four.internet.left.kind.name == "easy":
            await_direct(four)
        moves = {name: Moves() for name in four.nodes}
        began = time.monotonic()
        with FAULTS[fault](four):
            while time.monotonic() - began < seconds:
                look(four, moves, began, "away")
        ended = time.monotonic()
        while time.monotonic() - ended < patience and not is_over(lanes, moves, only_ours):
            look(four, moves, ended, "back")
        time.sleep(1.0)
        felt = {name: feel(lanes.lanes[pair], began, ended) for name, pair in LANES.items()}
    told = {name: player.call("told") for name, player in four.nodes.items() if not isinstance(player, GoPeer)}
    return Disturbance(fault, seconds, felt, moves, told)


def await_direct(four: Four, timeout: float = 15.0) -> None:
    end = time.monotonic() + timeout
    while not all(four.nodes[a].path_to(b) and four.nodes[b].path_to(a) for a, b in LANES.values()):
        assert time.monotonic() < end, "not all pairs are direct"
        time.sleep(LOOKS)


def look(four: Four, moves: dict[str, Moves], since: float, what: str) -> None:
    for name, player in four.nodes.items():
        there = home_of(player)
        if what == "away" and moves[name].away is None and there not in (HOME, 0):
            moves[name].away = time.monotonic() - since
        if what == "back" and moves[name].back is None and there == HOME:
            moves[name].back = time.monotonic() - since
    time.sleep(LOOKS)


def is_over(lanes: Lanes, moves: dict[str, Moves], only_ours: bool) -> bool:
    """All are home, and all lanes speak or have ended."""
    nodes = [name for name in moves if name.startswith("ours") or not only_ours]
    pairs = [LANES["ours to ours"]] if only_ours else LANES.values()
    at_home = all(moves[name].back is not None for name in nodes)
    return at_home and all(lanes.lanes[pair].error or lanes.lanes[pair].is_alive for pair in pairs)


def feel(lane: Lane, began: float, ended: float) -> Felt:
    return Felt(lane.silence(began, ended), lane.silence_after(ended), lane.error)


# --- all of them ------------------------------------------------------------------------------------------------


def run(kind: str, seconds: float, fault: str) -> Disturbance | str:
    with tempfile.TemporaryDirectory(prefix="relay-fault-") as folder:
        try:
            with Four(Path(folder), kind, control=CONTROL.get(fault, "testcontrol")) as four:
                return disturb(four, fault, seconds=seconds)
        except Exception as error:
            return f"{fault}: {type(error).__name__}: {error}"


def shown(value: float | None) -> str:
    return "never" if value is None else f"{value:.1f} s"


def table(found: Sequence[Disturbance]) -> str:
    head = ["fault", *LANES, "our home: away, back", "Go's home: away, back"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for each in found:
        cells = [felt.error or f"{felt.during:.1f} s, {felt.after:.1f} s" for felt in each.lanes.values()]
        homes = (each.moves[who] for who in ("ours-left", "go-left"))
        cells += [f"{shown(home.away)}, {shown(home.back)}" for home in homes]
        lines.append(f"| {each.fault}, {each.seconds:.0f} s | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="how long streams are silent when something happens to the home relay")
    parser.add_argument(
        "--kinds", default="hard,easy", help="of routers: hard ones leave relays, easy ones direct paths"
    )
    parser.add_argument("--faults", default=",".join(FAULTS))
    parser.add_argument("--seconds", type=float, default=30.0, help="for which a fault lasts")
    parser.add_argument("--side-by-side", type=int, default=3)
    options = parser.parse_args()
    for kind in options.kinds.split(","):
        faults = options.faults.split(",")
        with ThreadPoolExecutor(options.side_by_side) as pool:
            found = list(pool.map(partial(run, kind, options.seconds), faults))
        print(f"\n{kind}\n\n{table([each for each in found if isinstance(each, Disturbance)])}")
        for each in found:
            print("" if isinstance(each, Disturbance) else each, end="\n", flush=True)
            if isinstance(each, Disturbance):
                print(each.fault, each.told)


if __name__ == "__main__":
    main()

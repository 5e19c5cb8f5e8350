"""A stream on a direct path, while something happens to one of the homes; how long nothing comes through.

    ride(homes, "moves")                                       # Ride(fault="moves", begun=6.3, over=0.1, …)
    python -m tests.lab.interruptions --peers ours-go,go-go    # all of them, as a table

| fault         | what happens to the left home                                                   |
|---------------|---------------------------------------------------------------------------------|
| forgets       | its router loses all connections, once                                          |
| forgets both  | both routers do                                                                 |
| idle          | mappings live 2 s, and nobody says anything for 5 s                             |
| moves         | the provider gives it another public address, once                              |
| link          | its host's cable is out for 2 s                                                 |
| no udp        | its router drops UDP, until it does not                                         |
| no udp in     | it drops what comes in                                                          |
| no udp out    | it drops what goes out                                                          |
| black hole    | what goes to the other home's public address vanishes                           |
| no near       | what goes to the near server (control, one relay) vanishes                      |
| its version   | its router drops UDP of the version of IP that the path goes by, of two         |

Each answer is read before the next question is asked, so an answer tells that both directions work again.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs

from tests.lab.homes import PORT, Homes, Player, Who
from tests.lab.internet import NEAR

WELL = 2.0
"""Seconds on a direct path before the fault. Go trusts an address for 6.5 s after its last pong, and asks for one every
3 s: so 4.5 s are left, as they are on average, and the sixth attempt of its TCP, after 6.2 s, goes elsewhere."""
HOLD = 3.0
"""Seconds for which a fault that has an end lasts after the stream went on."""
LINK_OUT = 2.0
LIMIT = 60.0
"""Seconds after which a stream is given up."""
STEP = 0.1


@contextlib.contextmanager
def forgets(homes: Homes) -> Iterator[None]:
    homes.internet.left.forget_connections()
    yield


@contextlib.contextmanager
def forgets_both(homes: Homes) -> Iterator[None]:
    for side in homes.internet.sides:
        side.forget_connections()
    yield


@contextlib.contextmanager
def idle(homes: Homes) -> Iterator[None]:
    homes.internet.left.set_udp_timeout(2)
    time.sleep(5)
    yield


@contextlib.contextmanager
def moves(homes: Homes) -> Iterator[None]:
    homes.internet.left.change_wan_address()
    yield


@contextlib.contextmanager
def link(homes: Homes) -> Iterator[None]:
    with homes.internet.left.link_down():
        time.sleep(LINK_OUT)
    yield


def its_version(homes: Homes) -> contextlib.AbstractContextManager[None]:
    version = "ipv6" if homes.a.path_to("b").startswith("[") else "ipv4"
    return homes.internet.left.dropping(f"meta nfproto {version} meta l4proto udp")


Fault = Callable[[Homes], contextlib.AbstractContextManager[None]]
FAULTS: dict[str, Fault] = {
    "forgets": forgets,
    "forgets both": forgets_both,
    "idle": idle,
    "moves": moves,
    "link": link,
    "no udp": lambda homes: homes.internet.left.udp_blocked(),
    "no udp in": lambda homes: homes.internet.left.udp_one_way("in"),
    "no udp out": lambda homes: homes.internet.left.udp_one_way("out"),
    "black hole": lambda homes: homes.internet.left.blackhole(homes.internet.right.public),
    "no near": lambda homes: homes.internet.left.blackhole(NEAR),
}
"""Between two homes with easy routers."""
ITS_VERSION = "its version"
WITHOUT_DIRECT = ("forgets both", "moves", "link")
"""Those that a relayed stream feels, too."""


@attrs.frozen
class Ride:
    """Seconds of silence. begun: after the fault came. over: the longest afterwards. direct_again: until a path was."""

    fault: str
    begun: float
    over: float
    direct_again: float | None
    exchanged: int


class Stream:
    """Numbered questions and their answers."""

    def __init__(self, player: Player, name: str) -> None:
        self._player = player
        self._number = player.open(f"{name}:{PORT}")
        self.exchanged = 0

    def exchange(self) -> float:
        """The seconds until the answer is there."""
        begun = time.monotonic()
        question = b"%8d" % self.exchanged
        self._player.write(self._number, question)
        answer = self._player.read(self._number, len(question), timeout=LIMIT)
        assert answer == question, f"{answer!r} instead of {question!r}"
        self.exchanged += 1
        return time.monotonic() - begun

    def go_on(self, seconds: float) -> float:
        """For so long; the longest wait for an answer."""
        end, longest = time.monotonic() + seconds, 0.0
        while time.monotonic() < end:
            longest = max(longest, self.exchange())
            time.sleep(STEP)
        return longest

    def close(self) -> None:
        self._player.close_stream(self._number)


def ride(homes: Homes, fault: str, *, patience: float = 20.0, relayed: bool = False) -> Ride:
    """The left node dials, and the path becomes direct before the fault comes; afterwards that is awaited again.

    relayed: it does not, before or afterwards.
    """
    homes.b.listen(f":{PORT}", "echo")
    stream = Stream(homes.a, "b")
    begun = time.monotonic()
    while not relayed and not (homes.a.path_to("b") and homes.b.path_to("a")):
        assert time.monotonic() - begun < patience, "no direct path, so there is nothing to disturb"
        stream.go_on(STEP)
    stream.go_on(WELL)
    with (FAULTS | {ITS_VERSION: its_version})[fault](homes):
        at_first = stream.exchange()
        stream.go_on(HOLD)
    ended = time.monotonic()
    over, again = 0.0, None
    while again is None and not relayed and time.monotonic() - ended < patience:
        over = max(over, stream.exchange())
        if homes.a.path_to("b") and homes.b.path_to("a"):
            again = time.monotonic() - ended
        time.sleep(STEP)
    over = max(over, stream.go_on(1.0))
    stream.close()
    return Ride(fault, at_first, over, again, stream.exchanged)


def rides(who: tuple[Who, Who], side_by_side: int) -> list[Ride | str]:
    def one(fault: str) -> Ride | str:
        with tempfile.TemporaryDirectory(prefix="ride-") as folder:
            try:
                with Homes(Path(folder), "easy", "easy", who) as homes:
                    return ride(homes, fault)
            except Exception as error:
                return f"{fault}: {type(error).__name__}: {error}"

    with ThreadPoolExecutor(side_by_side) as pool:
        return list(pool.map(one, FAULTS))


def main() -> None:
    parser = argparse.ArgumentParser(description="how long a stream is silent when something happens to its path")
    parser.add_argument("--peers", default="ours-go", help="ours-go, go-ours, go-go; several with commas")
    parser.add_argument("--side-by-side", type=int, default=4)
    options = parser.parse_args()
    for peers in options.peers.split(","):
        left, right = peers.split("-")
        print(f"\n| {peers} | silent at first | silent later | direct again after |\n|---|---|---|---|")
        for found in rides((left, right), options.side_by_side):
            if isinstance(found, str):
                print(f"| {found} |||")
                continue
            again = "never" if found.direct_again is None else f"{found.direct_again:.1f} s"
            print(f"| {found.fault} | {found.begun:.1f} s | {found.over:.1f} s | {again} |", flush=True)


if __name__ == "__main__":
    main()

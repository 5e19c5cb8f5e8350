"""A map of 10,000 peers beside a stream: how long the node's thread is away from it, and how long the map takes.

    victim     an embedded tailnet and a node that echoes; a second node of the same thread joins a large tailnet
    innocent   another node, whose round trips through the first one go on all the time (`innocent`)
    control    of the large tailnet (`attacks.control.big_maps`): a first map, one in which every peer has changed, one
               in which every peer is another, each with as many filter rules as peers

A gap is the time from one turn of the echoing node to the next: while round trips go on, it is due every ten
milliseconds. The interpreter's collector, which holds all threads while it looks through every object of the process,
counts like the rest; how much of the gap is without it is told beside. It does not look at what the process held before
it joined the large tailnet (`gc.freeze`): that is an embedded tailnet and this benchmark, and none of the map.

A map is usable when the name of its last peer resolves: other threads see all of it then.

    python -m benchmarks.big_maps [--peers N] [--rounds N]
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.answers import answer_lines
from benchmarks.attacks.tally import Target
from benchmarks.figures import Row, median, table
from benchmarks.flooded import echo, serve
from benchmarks.floods import FORGET_THE_PEAK, Attacker, peak_rss
from benchmarks.programs import LOOPBACK, ROOT, Counters
from tests.interop.harness.lines import Lines
from tests.interop.harness.process import Process

PEERS = 10_000
FLOOR = 50.0
"""Milliseconds that the node's thread may be away from a stream."""

LIMIT = 60.0
MAPS = {"first": (2, None), "changed": (2, 7), "others": (20_000, None)}
"""By name: the number of its first peer, and the home of all of them if that tells it from the map before."""


def run(*, peers: int = PEERS, rounds: int = 3) -> list[Row]:
    measured = [measure(peers) for _ in range(rounds)]
    rows: list[Row] = []
    for name in MAPS:
        each = [found[name] for found, _ in measured]
        gaps, others = [one["gap"] for one in each], [one["gap_without_gc"] for one in each]
        rows += [
            median(f"big map: {name}, gap", gaps, "ms", floor=FLOOR, at_most=True),
            median(f"big map: {name}, gap without the collector", others, "ms", at_most=True),
            median(f"big map: {name}, usable after", [one["usable"] for one in each], "s", at_most=True),
        ]
    return [*rows, median("big map: peak RSS", [peak for _, peak in measured], "MiB", at_most=True)]


def measure(peers: int) -> tuple[dict[str, dict[str, float]], float]:
    """By map: gap, gap_without_gc (ms), usable (s). And how much the process grew at its largest, in MiB."""
    with tempfile.TemporaryDirectory() as name:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}

        def program(module: str, *options: str) -> Lines:
            command = [sys.executable, "-m", f"benchmarks.{module}", "--folder", name, *options]
            return Lines(
                Process(module, command, log=Path(name) / f"{module}.log", environment=environment, speak=True)
            )

        with program("big_maps") as victim:
            where = victim.call("start", timeout=LIMIT)
            options = ("--control", f"http://{LOOPBACK}:{where['control']}", "--authkey", where["auth_key"])
            with (
                program("innocent", *options) as innocent,
                Attacker("at a node", "big_maps", _target(peers)) as control,
            ):
                innocent.call("up", timeout=LIMIT)
                pid = victim.process.pid
                before = Counters.of(pid).rss
                Path(f"/proc/{pid}/clear_refs").write_text(FORGET_THE_PEAK)
                trips = threading.Thread(target=_round_trips, args=(innocent, 17.0))
                trips.start()
                victim.call("join", control_url=f"http://{LOOPBACK}:{control.said['control']}")
                found = victim.call("watch", timeout=LIMIT, peers=peers)
                peak = peak_rss(pid) - before
                trips.join()
                for each in (victim, innocent):
                    each.process.kill()
    return found, peak


def _target(peers: int) -> Target:
    return Target(count=peers, rate=1e6, batch=1)


def _round_trips(innocent: Lines, seconds: float) -> None:
    innocent.call("round_trips", timeout=seconds + LIMIT, seconds=seconds)


# --- the victim -------------------------------------------------------------------------------------------------------


class Victim:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._turns: list[float] = []
        self._collections: list[tuple[float, float]] = []

    def start(self) -> dict[str, Any]:
        from tsnet.testing import Tailnet

        tailnet = self._tailnet = Tailnet()
        tailnet.start()
        node = self._node = self._server("victim", tailnet.control_url, tailnet.auth_key)
        node.up(timeout=LIMIT)
        serve(node.listen(7), echo)
        node.reachable(timeout=LIMIT)
        return {"control": int(tailnet.control_url.rpartition(":")[2]), "auth_key": tailnet.auth_key}

    def _server(self, name: str, control_url: str, auth_key: str) -> Any:
        import tsnet

        return tsnet.Server(name, control_url=control_url, auth_key=auth_key, state=self._folder / name)

    def join(self, control_url: str) -> None:
        self._captive = self._server("captive", control_url, "any")
        gc.collect()
        gc.freeze()
        gc.callbacks.append(self._collected)
        pump = self._node._handle.pump
        turn, turns = pump.turn, self._turns

        def watched() -> None:
            turns.append(time.perf_counter())
            turn()

        pump.turn = watched
        threading.Thread(target=self._captive.up, kwargs={"timeout": LIMIT}, daemon=True).start()

    def watch(self, peers: int) -> dict[str, dict[str, float]]:
        """Each map from the moment at which its first bytes are there until it is usable."""
        return {name: self._watch(first + peers - 1, home) for name, (first, home) in MAPS.items()}

    def _watch(self, last: int, home: int | None) -> dict[str, float]:
        begun = time.perf_counter()
        while not self._is_usable(f"machine-{last}", home):
            time.sleep(0.005)
        ended = time.perf_counter()
        time.sleep(0.5)
        turns = [at for at in self._turns if begun <= at]
        gaps = [(after - before, before, after) for before, after in pairwise(turns)]
        self._turns.clear()
        clean = [after - before - self._collecting(before, after) for _, before, after in gaps]
        return {"gap": 1e3 * max(gaps)[0], "gap_without_gc": 1e3 * max(clean), "usable": ended - begun}

    def _is_usable(self, name: str, home: int | None) -> bool:
        view = self._captive._handle.view
        if view is None or not self._captive.resolve(name):
            return False
        peer = view.whois.node(self._captive.resolve(name)[0])
        return home is None or (peer is not None and peer.home_region == home)

    def _collected(self, phase: str, _info: dict[str, int]) -> None:
        if phase == "start":
            self._collections.append((time.perf_counter(), 0.0))
        else:
            self._collections[-1] = (self._collections[-1][0], time.perf_counter())

    def _collecting(self, begin: float, end: float) -> float:
        return sum(
            min(end, last) - max(begin, first) for first, last in self._collections if first < end and last > begin
        )

    def quit(self) -> None:
        os._exit(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="be the victim")
    parser.add_argument("--peers", type=int, default=PEERS)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if options.folder:
        answer_lines(Victim(options.folder))
    else:
        print(table(run(peers=options.peers, rounds=options.rounds)))


if __name__ == "__main__":
    main()

"""Under attack: what an innocent peer notices of a flood that somebody else lets loose on the same victim.

    victim    an embedded tailnet and a node that serves (`flooded`)            its own core
    innocent  another node: round trips, a transfer, a map change (`innocent`)   the other core
    attacker  one of `attacks`                                                  the other core, as nice as can be

The innocent peer measures twice in one run, before the flood and under it. Where a hostile control server floods a node
of ours, that node is a second one in the victim's process, in a tailnet of the attacker's. Everything is on loopback.

    python -m benchmarks.floods [--only NAME …] [--seconds N] [--rounds N] [--tree DIR] [--json FILE] [--floors]

--tree measures the `tsnet` and `netstack` of another checkout; the attackers are always those of this one. --floors
fails if the p99 of a round trip is above 100 ms. RSS is the growth of the victim's process.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs

from benchmarks.attacks.tally import BATCH, Target
from benchmarks.figures import Figure, Row
from benchmarks.programs import LOOPBACK, ROOT, Counters, free_udp_port
from tests.interop.harness.lines import Lines
from tests.interop.harness.process import Process

FLOOR = 100.0
"""Milliseconds: a round trip's p99 beside any flood."""

GOING, LIMIT = 20.0, 60.0
FORGET_THE_PEAK = "5"
"""For /proc/PID/clear_refs."""


@attrs.frozen
class Flood:
    """One entry. attack: where and which, in `attacks.__main__`. rate: of whatever it counts, a second, at most. port:
    where a request is made meanwhile."""

    name: str
    attack: tuple[str, str]
    rate: float = 1_000_000.0
    count: int = 0
    target_port: int = 0
    port: int = 80
    batch: int = BATCH


HTTP2 = {
    "rapid_reset": "rapid reset",
    "ping_flood": "PING",
    "settings_flood": "SETTINGS",
    "empty_data": "empty DATA",
    "tiny_data": "DATA of 1 byte",
    "continuation_flood": "CONTINUATION",
    "patient_hpack_bomb": "HPACK bomb",
    "window_updates": "WINDOW_UPDATE",
}
HOSTILE = {
    "settings_flood": "empty SETTINGS",
    "tiny_map": "map in DATA of 1 byte",
    "ping_flood": "PING",
    "never_reads": "PING, never reads",
}
AT_NODE = "at a node"
FLOODS = (
    Flood("peer: 1,428 silent, WSGI", ("peer", "silent"), 500.0, 1428, 80),
    Flood("peer: 1,428 silent, ASGI", ("peer", "silent"), 500.0, 1428, 81, port=81),
    Flood("peer: 3,063 pending forwards", ("peer", "silent"), 500.0, 3063, 90, port=91),
    Flood("peer: 400 dials at once", ("peer", "burst"), count=400, target_port=10, port=10),
    Flood("peer: 200 downloads reset", ("peer", "resets"), count=200, target_port=9),
    *(Flood(f"control: {said}", ("at control", name)) for name, said in HTTP2.items()),
    Flood("relay: 3 strangers' tiny packets", ("at a relay", "tiny_packets")),
    Flood("relay: 3 nodes' tiny packets", ("at its relay", "tiny_packets")),
    Flood("WireGuard: 5,000 initiations/s", ("peer", "replay"), 5_000.0),
    *(Flood(f"node: {said}", (AT_NODE, name)) for name, said in HOSTILE.items()),
    Flood("node: 50,550 PingRequests", (AT_NODE, "ping_requests"), count=50_550),
    Flood("node: zstd bomb", (AT_NODE, "zstd_bomb"), 1.0, batch=1),
)


@attrs.frozen
class Noticed:
    """p50, p99: milliseconds of a round trip. transfer, change, request: seconds."""

    p50: float
    p99: float
    transfer: float
    change: float
    request: float


@attrs.frozen
class Measured:
    """rss: MiB that the victim's process still held more than before when all was measured. peak: the same at its
    largest. cpu: the share of a core that it took. done: what the attacker says that it has done."""

    name: str
    quiet: Noticed
    flooded: Noticed
    rss: float
    peak: float
    cpu: float
    done: dict[str, Any]


def run(
    *, seconds: float = 3.0, rounds: int = 1, only: Sequence[str] = (), tree: Path = ROOT, floors: bool = False
) -> list[Row]:
    return [row for each in measure(seconds, rounds, only, tree) for row in rows(each, floors=floors)]


def rows(measured: Measured, *, floors: bool = False) -> list[Row]:
    quiet, flooded, name = measured.quiet, measured.flooded, f"flood: {measured.name}"
    before = f"quiet {quiet.p50:.3g} and {quiet.p99:.3g}"
    limit = FLOOR if floors else None
    return [
        Figure(f"{name}, p50", flooded.p50, "ms", at_most=True, note=before),
        Figure(f"{name}, p99", flooded.p99, "ms", floor=limit, goal=FLOOR, at_most=True, note=before),
        Figure(f"{name}, 4 MiB", flooded.transfer, "s", at_most=True, note=f"quiet {quiet.transfer:.3g}"),
        Figure(f"{name}, map change", flooded.change, "s", at_most=True, note=f"quiet {quiet.change:.3g}"),
        Figure(f"{name}, request", flooded.request, "s", at_most=True, note=f"quiet {quiet.request:.3g}"),
        Figure(f"{name}, peak RSS", measured.peak, "MiB", at_most=True, note=f"{measured.cpu:.0%} of a core"),
    ]


def measure(seconds: float, rounds: int, only: Sequence[str], tree: Path) -> Iterator[Measured]:
    """Each flood whose name holds one of `only`, or all; the median of some rounds."""
    for flood in FLOODS:
        if not only or any(word in flood.name for word in only):
            yield median([measure_one(flood, seconds, tree) for _ in range(rounds)])


def median(measured: Sequence[Measured]) -> Measured:
    def noticed(which: Iterable[Noticed]) -> Noticed:
        return Noticed(*map(statistics.median, zip(*(attrs.astuple(one) for one in which), strict=True)))

    return Measured(
        measured[0].name,
        noticed(one.quiet for one in measured),
        noticed(one.flooded for one in measured),
        statistics.median(one.rss for one in measured),
        statistics.median(one.peak for one in measured),
        statistics.median(one.cpu for one in measured),
        measured[-1].done,
    )


def measure_one(flood: Flood, seconds: float, tree: Path = ROOT) -> Measured:
    with scene(tree) as (victim, innocent, target):
        quiet = notice(innocent, seconds, flood.port)
        what = attrs.evolve(target, port=flood.target_port, count=flood.count, rate=flood.rate, batch=flood.batch)
        pid = victim.process.pid
        victim.call("trim")
        before, begun = Counters.of(pid), time.monotonic()
        Path(f"/proc/{pid}/clear_refs").write_text(FORGET_THE_PEAK)
        with Attacker(*flood.attack, what) as attacker:
            if flood.attack[0] == AT_NODE:
                victim.call("join", control_url=f"http://{LOOPBACK}:{attacker.said['control']}", auth_key="any")
                attacker.wait_for("frames")
            flooded = notice(innocent, seconds, flood.port)
            after, spent, peak = Counters.of(pid), time.monotonic() - begun, peak_rss(pid) - before.rss
            victim.call("trim", timeout=LIMIT)
            rss = Counters.of(pid).rss - before.rss
    done = {what: count for what, count in attacker.said.items() if what != "control"}
    cpu = (after.cpu - before.cpu) / spent
    return Measured(flood.name, quiet, flooded, rss, peak, cpu, done)


def peak_rss(pid: int) -> float:
    """MiB, since FORGET_THE_PEAK was written."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def notice(innocent: Lines, seconds: float, port: int) -> Noticed:
    times = innocent.call("round_trips", timeout=seconds + LIMIT, seconds=seconds)
    request = innocent.call("request", timeout=LIMIT, port=port)
    transfer, change = innocent.call("transfer", timeout=LIMIT), innocent.call("change", timeout=LIMIT)
    return Noticed(times["p50"], times["p99"], transfer, change, request)


@contextlib.contextmanager
def scene(tree: Path) -> Iterator[tuple[Lines, Lines, Target]]:
    """The victim and the innocent peer with what `tree` has of the library, and the benchmarks of this checkout."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder, udp = Path(name), free_udp_port()
        for part, source in {"tsnet": tree, "netstack": tree, "benchmarks": ROOT, "tests": ROOT}.items():
            (folder / part).symlink_to(source / part)
        environment = {**os.environ, "PYTHONPATH": name, "PYTHONSAFEPATH": "1"}

        def program(module: str, *options: str) -> Lines:
            command = [sys.executable, "-m", f"benchmarks.{module}", "--folder", name, *options]
            process = Process(module, command, log=folder / f"{module}.log", environment=environment, speak=True)
            return stack.enter_context(Lines(process))

        victim = program("flooded", "--udp", str(udp))
        where = victim.call("start", timeout=LIMIT)
        control = f"http://{LOOPBACK}:{where['control']}"
        innocent = program("innocent", "--control", control, "--authkey", where["auth_key"])
        innocent.call("up")
        innocent.call("transfer")
        yield victim, innocent, Target(hostname="victim", udp=udp, **where)
        for each in (victim, innocent):
            each.process.kill()


class Attacker:
    """One of `benchmarks.attacks`. Once entered, its flood is in force. said: what it has said, by name."""

    def __init__(self, where: str, name: str, target: Target) -> None:
        self.said: dict[str, Any] = {}
        self._command = [sys.executable, "-m", "benchmarks.attacks", where, name, target.encode()]
        self._folder = tempfile.TemporaryDirectory()
        self._news = threading.Condition()

    def __enter__(self) -> Attacker:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}
        log = Path(self._folder.name) / "log"
        self._process = Process("attacker", self._command, log=log, environment=environment, speak=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self.wait_for("")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._reader.join()
        self._folder.cleanup()

    def wait_for(self, name: str) -> None:
        """Until it has said this, or anything."""
        with self._news:
            if not self._news.wait_for(lambda: bool(self.said) and name in ("", *self.said), GOING):
                raise SystemExit(f"the attacker has not begun: {self._process.log()}")

    def _read(self) -> None:
        assert self._process.popen.stdout is not None
        with contextlib.suppress(ValueError):  # closed
            for line in self._process.popen.stdout:
                with self._news:
                    self.said = {**self.said, **json.loads(line)}
                    self._news.notify_all()


def table(measured: Iterable[Measured]) -> str:
    """Beside the quiet figures of the same run, and the p99 as a multiple of the quiet one."""
    columns = "p50 ms", "p99 ms", "p99 ×", "4 MiB s", "change s", "request s", "RSS MiB", "peak MiB", "core"
    lines = [f"{'':34}" + "".join(f"{name:>18}" for name in columns)]
    for one in measured:
        pairs = zip(attrs.astuple(one.quiet), attrs.astuple(one.flooded), strict=True)
        cells = [f"{quiet:.3g} > {flooded:.3g}" for quiet, flooded in pairs]
        cells.insert(2, f"{one.flooded.p99 / one.quiet.p99:.3g}")
        cells += [f"{one.rss:+.1f}", f"{one.peak:+.1f}", f"{one.cpu:.0%}"]
        lines.append(f"{one.name:34}" + "".join(f"{cell:>18}" for cell in cells) + f"  {one.done}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[], help="a part of a flood's name; may be repeated")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--tree", type=Path, default=ROOT)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--floors", action="store_true")
    options = parser.parse_args()
    measured = []
    for one in measure(options.seconds, options.rounds, options.only, options.tree.resolve()):
        print(table([one]).splitlines()[1], file=sys.stderr, flush=True)
        measured.append(one)
    print(table(measured))
    if options.json:
        options.json.write_text(json.dumps([attrs.asdict(one) for one in measured], indent=1))
    missed = [one.name for one in measured if one.flooded.p99 > FLOOR]
    return bool(missed) and bool(options.floors)


if __name__ == "__main__":
    sys.exit(main())

"""What a joined node costs that nobody uses: CPU, wake-ups, memory; beside Go's tsnet in the same tailnet, same run.

A wake-up is a voluntary context switch of any of its threads. Source: /proc/PID/stat, status.

    python -m benchmarks.idle [seconds]
"""

from __future__ import annotations

import sys
import time

from benchmarks.figures import Figure, Row, Skipped, table
from benchmarks.programs import Counters, OurNode, go_tailnet, missing_go
from tsnet.testing.tailnet import Tailnet

NAME = "idle"
SETTLE = 3.0
"""After joining: STUN, latencies, the peers' arrival."""


def run(*, seconds: float = 10.0) -> list[Row]:
    if reason := missing_go("derper", "testcontrol", "tsnetpeer"):
        with Tailnet() as tailnet, OurNode("ours", tailnet.control_url, tailnet.auth_key) as ours:
            ours.up()
            return [*rows(watch({"ours": ours.process.pid}, seconds)), Skipped(f"{NAME}: beside Go", reason)]
    from tests.interop.harness.gopeer import GoPeer

    with (
        go_tailnet() as (scene, control),
        OurNode("ours", control.url, "any", environment=control.environment) as ours,
        GoPeer(scene, control, "go", auth_key="any") as go,
    ):
        ours.up()
        go.up()
        return rows(watch({"ours": ours.process.pid, "Go": go.process.pid}, seconds))


def watch(pids: dict[str, int], seconds: float) -> dict[str, Counters]:
    """What each process spent a second; its memory at the end."""
    time.sleep(SETTLE)
    before = {name: Counters.of(pid) for name, pid in pids.items()}
    time.sleep(seconds)
    after = {name: Counters.of(pid) for name, pid in pids.items()}
    return {
        name: Counters((now.cpu - before[name].cpu) / seconds, (now.wakes - before[name].wakes) / seconds, now.rss)
        for name, now in after.items()
    }


def rows(spent: dict[str, Counters]) -> list[Row]:
    found: list[Row] = []
    for name, counters in spent.items():
        found.append(Figure(f"{NAME}: {name}, CPU", counters.cpu * 1000, "ms/s"))
        found.append(Figure(f"{NAME}: {name}, wake-ups", counters.wakes, "1/s"))
        found.append(Figure(f"{NAME}: {name}, memory", counters.rss, "MiB"))
    return found


if __name__ == "__main__":
    print(table(run(seconds=float((sys.argv[1:] or ["10"])[0]))))

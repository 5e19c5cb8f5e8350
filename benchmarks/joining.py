"""From nothing to the first byte of an answer, joining included.

cold process     a Python process starts, imports tsnet, joins the embedded tailnet (DERP over TLS), dials the
                 other node's process and has its answer; beside a Python process that imports asyncio and ssl and
                 ends, in turn with it: what a slow machine makes slower, it makes slower in both
tsnet.Server     a Python process that imports it and ends, beside one that imports nothing, and the same empty one
bytecode         the share of our modules that these processes found compiled, as after an installation; where it is
                 missing, compiling takes as long as all the rest
warm process     the same from `Server(…)` on, in a process that has done it before
beside Go        the same through testcontrol and derper, where Go's tsnet does it, too

python -m benchmarks.joining [rounds]
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping

from benchmarks.figures import Figure, Row, Skipped, median, table
from benchmarks.programs import ROOT, OurNode, go_tailnet, missing_go
from tsnet.testing.tailnet import Tailnet

NAME = "join"
COLD, SERVER, WARM = 220.0, 100.0, 120.0
"""Milliseconds, by median. The first two are goals: a slow machine misses them, whatever the code."""

COLD_RATIO, SERVER_RATIO = 5.0, 2.0
"""A cold process, and one that imports tsnet.Server, beside an empty one with asyncio and ssl."""

COUNT_COMPILED = """
import os, sys, tsnet
before = set(sys.modules)
tsnet.Server
ours = [module for name, module in sys.modules.items() if name.startswith("tsnet.") and name not in before]
print(100 * sum(os.path.exists(module.__cached__ or "") for module in ours) / len(ours))
"""

PORT = 7


def run(*, rounds: int = 20, floors_only: bool = False) -> list[Row]:
    with Tailnet() as tailnet, OurNode("other", tailnet.control_url, tailnet.auth_key) as other:
        other.up()
        other.call("listen", address=f":{PORT}", mode="echo")
        cold, empty, server, bare = [], [], [], []
        with bytecode() as environment:  # which the first round writes
            for number in range(rounds + 1):
                cold.append(cold_process(f"cold-{number}", tailnet, f"other:{PORT}", environment))
                empty.append(process("import asyncio, ssl", environment))
                server.append(process("import tsnet; tsnet.Server", environment))
                bare.append(process("", environment))
            compiled = share_compiled(environment)
        with OurNode("warm", tailnet.control_url, tailnet.auth_key) as warm:
            times = [warm_process(warm, f"second-{number}", f"other:{PORT}") for number in range(rounds + 1)]
    rows: list[Row] = [
        Figure(f"{NAME}: modules with bytecode", compiled, "%", floor=100.0),
        median(f"{NAME}: cold process", cold[1:], "ms", goal=COLD, at_most=True),
        median(f"{NAME}: cold / empty process", ratios(cold, empty), floor=COLD_RATIO, at_most=True),
        median(f"{NAME}: tsnet.Server over bare python", over(server, bare), "ms", goal=SERVER, at_most=True),
        median(f"{NAME}: tsnet.Server / empty process", ratios(server, empty), floor=SERVER_RATIO, at_most=True),
        median(f"{NAME}: second Server, warm", times[1:], "ms", floor=WARM, at_most=True),
    ]
    return rows if floors_only else [*rows, *beside_go(max(rounds // 2, 3))]


@contextlib.contextmanager
def bytecode() -> Iterator[dict[str, str]]:
    """The environment of processes that share a place for bytecode, whatever ours says of it."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryDirectory() as place:
        yield {**kept, "PYTHONPYCACHEPREFIX": place}


def cold_process(name: str, tailnet: Tailnet, address: str, environment: Mapping[str, str] | None = None) -> float:
    command = [sys.executable, "-m", "benchmarks.first_byte", name, tailnet.control_url, tailnet.auth_key, address]
    begun = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, env=environment) as process:
        assert process.stdout is not None
        answer = process.stdout.read(1)
        milliseconds = (time.perf_counter() - begun) * 1000
        assert answer == b"1", "no answer"
    return milliseconds


def process(program: str, environment: Mapping[str, str]) -> float:
    """Milliseconds that a process takes which runs this and ends."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, check=True)
    return (time.perf_counter() - begun) * 1000


def share_compiled(environment: Mapping[str, str]) -> float:
    """How many percent of our modules such a process finds compiled."""
    command = [sys.executable, "-c", COUNT_COMPILED]
    return float(subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True).stdout)


def ratios(ours: list[float], theirs: list[float]) -> list[float]:
    """Without the first round."""
    return [mine / other for mine, other in zip(ours[1:], theirs[1:], strict=True)]


def over(ours: list[float], theirs: list[float]) -> list[float]:
    return [mine - other for mine, other in zip(ours[1:], theirs[1:], strict=True)]


def warm_process(node: OurNode, name: str, address: str) -> float:
    return float(node.call("first_byte", hostname=name, address=address)["seconds"]) * 1000


def beside_go(rounds: int) -> list[Row]:
    if reason := missing_go("derper", "testcontrol", "tsnetpeer"):
        return [Skipped(f"{NAME}: beside Go", reason)]
    from tests.interop.harness.gopeer import GoPeer

    ours, go = [], []
    with go_tailnet() as (scene, control), contextlib.ExitStack() as stack:
        other = stack.enter_context(GoPeer(scene, control, "other", auth_key="any"))
        address = f"{other.up().v4}:{PORT}"
        other.call("listen", address=f":{PORT}", mode="echo")
        warm = stack.enter_context(OurNode("warm", control.url, "any", environment=control.environment))
        for number in range(rounds + 1):
            milliseconds = warm_process(warm, f"ours-{number}", address)
            with GoPeer(scene, control, f"go-{number}", auth_key="any", ephemeral=True) as peer:
                seconds = peer.up().seconds + float(peer.call("connections", address=address, count=1)["seconds"])
            if number:
                ours.append(milliseconds)
                go.append(seconds * 1000)
    beside = [mine / theirs for mine, theirs in zip(ours, go, strict=True)]
    return [
        median(f"{NAME}: ours through testcontrol", ours, "ms"),
        median(f"{NAME}: Go through testcontrol", go, "ms"),
        median(f"{NAME}: ours / Go", beside, goal=3.0, at_most=True),
    ]


if __name__ == "__main__":
    print(table(run(rounds=int((sys.argv[1:] or ["20"])[0]))))

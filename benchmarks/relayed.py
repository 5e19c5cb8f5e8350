"""One stream through Tailscale's `derper`, with every pair of ends: ours and Go's tsnet, in turn, in one run.

Both ends are kept to the relay. Payload random, bytes compared, Gbit/s by the receiver's clock.

    python -m benchmarks.relayed [rounds] [MiB]
"""

from __future__ import annotations

import contextlib
import sys
from typing import Any

from benchmarks.figures import Row, Skipped, median, table
from benchmarks.programs import OurNode, Peer, go_tailnet, missing_go, stream

NAME = "relay"
PAIRS = ("ours to ours", "ours to Go", "Go to ours", "Go to Go")
FLOOR = 0.5


def run(*, rounds: int = 5, size: int = 12 << 20) -> list[Row]:
    if reason := missing_go("derper", "testcontrol", "tsnetpeer"):
        return [Skipped(f"{NAME}: one stream through derper", reason)]
    with go_tailnet() as (scene, control), contextlib.ExitStack() as stack:
        ends = {(kind, role): _start(stack, scene, control, kind, role) for kind in ("ours", "Go") for role in "ab"}
        rates: dict[str, list[float]] = {pair: [] for pair in PAIRS}
        for number in range(rounds + 1):
            for pair in PAIRS:
                sender, receiver = pair.split(" to ")
                peer, host = ends[receiver, "b"]
                rate = stream(ends[sender, "a"][0], peer, host, size).rate
                if number:  # the first is handshakes and warming up
                    rates[pair].append(rate)
    rows: list[Row] = [median(f"{NAME}: {pair}", rates[pair], "Gbit/s") for pair in PAIRS]
    ratios = {pair: [rate / go for rate, go in zip(rates[pair], rates["Go to Go"], strict=True)] for pair in PAIRS[:3]}
    rows.append(median(f"{NAME}: ours to ours / Go to Go", ratios["ours to ours"], floor=FLOOR))
    rows += [median(f"{NAME}: {pair} / Go to Go", ratios[pair]) for pair in PAIRS[1:3]]
    return rows


def _start(stack: contextlib.ExitStack, scene: Any, control: Any, kind: str, role: str) -> tuple[Peer, str]:
    """(the node, its IPv4 address); it swallows what comes to port 7."""
    from tests.interop.harness.gopeer import GoPeer

    peer: OurNode | GoPeer
    name = f"{kind.lower()}-{role}"
    if kind == "ours":
        environment = {**control.environment, "TS_DEBUG_ALWAYS_USE_DERP": "1"}
        peer = stack.enter_context(OurNode(name, control.url, "any", environment=environment))
        address = peer.up()[0]
    else:
        peer = stack.enter_context(GoPeer(scene, control, name, auth_key="any", derp_only=True))
        address = peer.up().v4
    peer.call("listen", address=":7", mode="sink")
    return peer, address


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]]
    print(table(run(rounds=(numbers or [5])[0], size=(numbers[1] if len(numbers) > 1 else 12) << 20)))

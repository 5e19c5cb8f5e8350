"""netstack alone beside Linux's CUBIC: the same bad link, the same Linux receiving, in turns.

    python -m benchmarks.netstack_linux [--pairs 3] [--seconds 10] [--share]

| figure                    | link                                             | floor     |
|---------------------------|--------------------------------------------------|-----------|
| goodput, ours / Linux's   | 1 % loss each way, 50 ms                         | 0.8       |
| share beside one of Linux | 20 Mbit/s, 40 ms, a queue of one such product    | 35 - 65 % |

Both senders pass the one shim into the same TUN device (`tests.lab.flows`); seeds are equal within a pair. Linux's
congestion control is set on its socket: the machine's default may be another. TSNET_NIGHTLY=1 runs 5 pairs of 30 s and
shares of 60 s. Wants root.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

from benchmarks.figures import Figure, Row, Skipped, median, spread, table
from tests.lab.shim import Shim

NAME = "netstack beside Linux"
NIGHTLY = os.environ.get("TSNET_NIGHTLY") == "1"
LOSS, ROUND_TRIP = 0.01, 0.050
SHARE_RATE, SHARE_ROUND_TRIP, SHARE_WARM_UP = 20e6, 0.040, 5.0


def lossy(seed: int) -> tuple[Shim, Shim]:
    return tuple(Shim(seed * 2 + side, delay=ROUND_TRIP / 2, loss=LOSS) for side in (0, 1))  # type: ignore[return-value]


def narrow(seed: int) -> tuple[Shim, Shim]:
    """One bandwidth-delay product of queue in front of the rate."""
    product = SHARE_RATE * SHARE_ROUND_TRIP / 8
    there = Shim(seed, delay=SHARE_ROUND_TRIP / 2, rate=SHARE_RATE, buffer=product)
    return there, Shim(seed + 1, delay=SHARE_ROUND_TRIP / 2)


def goodput(who: str, seed: int, seconds: float) -> float:
    """Mbit/s of one flow from its first byte on."""
    from tests.lab.flows import Race

    there, back = lossy(seed)
    with Race(there=there, back=back) as race:
        flow = race.ours() if who == "ours" else race.linux()
        return next(iter(race.run([flow], seconds).values())) / 1e6


def share(seed: int, seconds: float) -> float:
    """What our flow has of both, in percent; Linux's began a second before on odd seeds, ours on even ones."""
    from tests.lab.flows import Flow, Race

    there, back = narrow(seed)
    with Race(there=there, back=back) as race:
        flows: list[Flow] = []
        for begin in (race.linux, race.ours) if seed % 2 else (race.ours, race.linux):
            flows.append(begin())
            race.run(flows, 1.0)
        race.run(flows, SHARE_WARM_UP)
        rates = race.run(flows, seconds)
    return 100 * rates["ours"] / sum(rates.values())


def run(*, pairs: int = 0, seconds: float = 0.0, shares: bool = NIGHTLY) -> list[Row]:
    from tests.netstack import tun

    if reason := tun.why_not():
        return [Skipped(NAME, reason)]
    pairs, seconds = pairs or (5 if NIGHTLY else 3), seconds or (30.0 if NIGHTLY else 10.0)
    base = int(time.time()) % 10_000
    ours, linux = [], []
    for number in range(pairs):
        ours.append(goodput("ours", base + number, seconds))
        linux.append(goodput("Linux", base + number, seconds))
    ratios = [a / b for a, b in zip(ours, linux, strict=True)]
    rows: list[Row] = [
        median(f"{NAME}: ours, 1 %, 50 ms", ours, "Mbit/s"),
        median(f"{NAME}: Linux, 1 %, 50 ms", linux, "Mbit/s"),
        Figure(f"{NAME}: ours / Linux, 1 %, 50 ms", sum(ours) / sum(linux), floor=0.8, goal=1.0, note=spread(ratios)),
    ]
    if shares:
        found = [share(base + number, 60.0 if NIGHTLY else seconds * 2) for number in range(4 if NIGHTLY else 2)]
        middle = statistics.median(found)
        rows += [
            Figure(f"{NAME}: our share of 20 Mbit/s", middle, "%", floor=35.0, goal=50.0, note=spread(found)),
            Figure(f"{NAME}: Linux's share of 20 Mbit/s", 100 - middle, "%", floor=35.0, goal=50.0),
        ]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--share", action="store_true", default=NIGHTLY)
    options = parser.parse_args()
    print(table(run(pairs=options.pairs, seconds=options.seconds, shares=options.share)))


if __name__ == "__main__":
    main()

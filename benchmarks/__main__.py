"""`make bench`: every benchmark in turn, one table; `--floors` runs what gates and fails when a floor is missed.

    python -m benchmarks [--floors] [name ...]

What needs Go, root or TUN and does not find it is skipped with the reason; under TSNET_REQUIRE_INTEROP=1 a floor that
was skipped counts as missed. Traffic stays on loopback or in namespaces
made for it. Floors are ratios and times of this machine: run them on one that does nothing else. A floor is missed
when it is missed twice: what ran beside it may be gone.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable

from benchmarks import (
    big_maps,
    deltas,
    exchanges,
    floods,
    idle,
    joining,
    many_peers,
    netstack_costs,
    netstack_gvisor,
    netstack_linux,
    netstack_pair,
    relayed,
    udp_port,
    whole_path,
)
from benchmarks.figures import Row, Skipped, table

FLOORS: dict[str, Callable[[], list[Row]]] = {
    "whole_path": lambda: whole_path.run(floors_only=True),
    "relayed": relayed.run,
    "joining": lambda: joining.run(floors_only=True),
    "deltas": deltas.run,
    "netstack_costs": netstack_costs.run,
    "netstack_linux": netstack_linux.run,
    "netstack_gvisor": netstack_gvisor.run,
    "big_maps": big_maps.run,
    "many_peers": many_peers.run,
    "exchanges": exchanges.floors,
}
ALL: dict[str, Callable[[], list[Row]]] = {
    "netstack_pair": netstack_pair.run,
    "netstack_costs": netstack_costs.run,
    "netstack_linux": netstack_linux.run,
    "netstack_gvisor": netstack_gvisor.run,
    "udp_port": udp_port.run,
    "whole_path": whole_path.run,
    "relayed": relayed.run,
    "joining": joining.run,
    "deltas": deltas.run,
    "exchanges": exchanges.run,
    "idle": idle.run,
    "floods": floods.run,
    "big_maps": big_maps.run,
    "many_peers": many_peers.run,
}
"""By their modules."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--floors", action="store_true")
    parser.add_argument("name", nargs="*", help=" ".join(ALL))
    options = parser.parse_args()
    chosen = FLOORS if options.floors else ALL
    if unknown := set(options.name) - chosen.keys():
        parser.error(f"no such benchmark: {' '.join(sorted(unknown))}")
    rows: list[Row] = []
    for name, run in chosen.items():
        if not options.name or name in options.name:
            begun = time.monotonic()
            found = run()
            if options.floors and missed(found):
                print(f"{name}: {missed(found)} missed, measured again", file=sys.stderr)
                found = run()
            rows += found
            print(f"{name}: {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
    print(table(rows))
    if missed(rows):
        print(f"\nmissed: {missed(rows)}")
    return bool(missed(rows)) and options.floors


def missed(rows: list[Row]) -> str:
    needed = os.environ.get("TSNET_REQUIRE_INTEROP") == "1"
    return ", ".join(row.name for row in rows if (needed if isinstance(row, Skipped) else not row.holds))


if __name__ == "__main__":
    sys.exit(main())

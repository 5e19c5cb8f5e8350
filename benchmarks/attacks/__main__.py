"""`python -m benchmarks.attacks FLOOD TARGET`: one attacker, on the last core, as nice as can be; until it is ended.

TARGET is a `Target` in JSON.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable

from benchmarks.attacks import control, http2, initiations, machine, peer, relayed
from benchmarks.attacks.tally import Tally, Target

NICENESS = 19

ATTACKS: dict[str, Callable[[Target, Tally], None]] = {
    "silent": peer.silent,
    "burst": peer.burst,
    "resets": peer.resets,
    "strangers": relayed.strangers,
    "nodes": relayed.nodes,
    "replay": initiations.replay,
    **{f"http2/{name}": functools.partial(machine.flood, name) for name in http2.FLOODS},
    **{f"control/{name}": functools.partial(control.flood, name) for name in control.FLOODS},
}


def main() -> None:
    name, target = sys.argv[1:]
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    os.nice(NICENESS)
    ATTACKS[name](Target.decode(target), Tally())


if __name__ == "__main__":
    main()

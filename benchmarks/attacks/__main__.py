"""`python -m benchmarks.attacks WHERE NAME TARGET`: one attacker, very nice and on the last core, until it is ended.

TARGET is a `Target` in JSON.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterable

from benchmarks.attacks import control, peer, strangers
from benchmarks.attacks.tally import Tally, Target
from tests.attacks import derp, http2

NICENESS = 19

Attack = Callable[[Target, Tally], None]


def _each(attack: Callable[[str, Target, Tally], None], names: Iterable[str]) -> dict[str, Attack]:
    return {name: functools.partial(attack, name) for name in names}


ATTACKS: dict[str, dict[str, Attack]] = {
    "peer": {"silent": peer.silent, "burst": peer.burst, "resets": peer.resets, "replay": strangers.replay},
    "at control": _each(strangers.control, http2.ON_SERVER),
    "at a relay": _each(strangers.relay, derp.ON_RELAY),
    "at its relay": _each(strangers.relay_by_nodes, derp.ON_RELAY),
    "at a node": _each(control.flood, [*http2.ON_CLIENT, *control.FLOODS]),
}


def main() -> None:
    where, name, target = sys.argv[1:]
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    os.nice(NICENESS)
    ATTACKS[where][name](Target.decode(target), Tally())


if __name__ == "__main__":
    main()

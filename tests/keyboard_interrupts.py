"""Ctrl-C, and a time limit, at random moments of every blocking call, thousands of times in one process.

    python -m tests.keyboard_interrupts [--count 3000] [--seed 1]

    interrupt   a signal's handler raises KeyboardInterrupt in the main thread, somewhere inside the call
    limit       the call gets a `timeout` that it may or may not keep: TimeoutError by then, or what it is asked for

Whichever it is must come out of the call, the next call must work at once, and in the end nothing may be left that was
not there before. The last line is JSON: how many came where, and how long the longest calls took. The exit status is 0
if all is well.

Two interrupts are seldom less than a call apart: only one is under way at a time.

Not here: the calls (`waiting_calls`); every moment of a call, one by one (`interrupts`, `faults`).
"""

from __future__ import annotations

import argparse
import collections
import gc
import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import tsnet
from tests.test_timeouts import ARGUMENTS
from tests.waiting_calls import KINDS, Call, WaitingCalls
from tsnet.adapters.background import Background
from tsnet.adapters.service_handles import Serving
from tsnet.edge.pipes.listening import ListenPipe
from tsnet.edge.pipes.operations import Operation
from tsnet.edge.pipes.packets import PacketPipe
from tsnet.edge.pipes.pipes import Pipe
from tsnet.edge.pipes.subscriptions import Subscription
from tsnet.edge.run.dialing import DialAttempt, PingAttempt
from tsnet.edge.run.explaining import ExplainAttempt
from tsnet.edge.run.host import default_host
from tsnet.edge.run.netchecking import NetcheckAttempt
from tsnet.edge.run.requesting import RequestAttempt
from tsnet.errors import StateError
from tsnet.sockets.bridge import Bridge

AT_ONCE = 2.0
"""Seconds that no call may take here, where nothing is far away."""
OF_ITS_OWN = {"netcheck": 6.0}
"""One whose questions are lost waits for its own limit of five seconds."""
OTHER_ERRORS = {"set": (StateError,)}
"""What a call may raise in the place of TimeoutError: preferences that were not saved in time were not saved."""
PRESSED_AGAIN = 1.0
"""Seconds after an interrupt that was lost; most often it has come out of the call by then."""
OURS = ("tsnet", "netstack")
LATE = 0.5
"""Seconds after its time limit by which a call must have ended."""
COUNTED = (
    *(Pipe, ListenPipe, PacketPipe, Subscription, Operation, Bridge, tsnet.Server, Serving, Background),
    *(DialAttempt, PingAttempt, NetcheckAttempt, ExplainAttempt, RequestAttempt),
)


class Trial:
    """One process, an embedded tailnet, and nodes that call each other."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.interrupts: collections.Counter[str] = collections.Counter()
        self.limits: collections.Counter[str] = collections.Counter()
        self.longest: dict[str, float] = {}
        self.faults: list[str] = []
        self._usual: dict[str, float] = {}
        self._fired = False
        self.calls = WaitingCalls(self)
        signal.signal(signal.SIGALRM, self._interrupt)
        sys.unraisablehook = self._unraisable

    def __enter__(self) -> Trial:
        self.calls.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self.calls.__exit__(*exc)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        sys.unraisablehook = sys.__unraisablehook__  # what they hold is this trial

    # --- calls that are given up ----------------------------------------------------------------------------

    def _interrupt(self, *_: object) -> None:
        self._fired = True
        raise KeyboardInterrupt

    def _unraisable(self, unraisable: Any) -> None:
        """CPython loses an interrupt that comes in a finalizer or in a weak reference's callback: its own have some."""
        where = getattr(unraisable.object, "__module__", "") or ""
        if unraisable.exc_type is KeyboardInterrupt and not where.startswith(OURS):
            self._fired = False
        elif unraisable.exc_type is not ResourceWarning:
            self.faults.append(f"unraisable {unraisable.exc_value!r} in {unraisable.object!r}")

    def disturbed(self, kind: str, call: Call) -> Any:
        """Make the call, and give it up at a random moment, perhaps after its end. What it returned, or None."""
        moment = self.random.uniform(1e-6, 1.3 * self._usual.get(kind, 1e-3))
        if kind in ARGUMENTS and self.random.random() < 0.4:
            return self._limited(kind, call, moment)
        return self._interrupted(kind, call, moment)

    def _interrupted(self, kind: str, call: Call, delay: float) -> Any:
        self._fired, result, came = False, None, False
        begun = time.monotonic()
        try:
            try:
                signal.setitimer(signal.ITIMER_REAL, delay, PRESSED_AGAIN)
                result = call()
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except KeyboardInterrupt:
            came = True
        taken = time.monotonic() - begun
        self._note(kind, taken)
        if came:
            self.interrupts[kind] += 1
        else:
            self._usual[kind] = taken
            if self._fired:
                self.faults.append(f"{kind}: the interrupt was swallowed")
        return result

    def _limited(self, kind: str, call: Call, limit: float) -> Any:
        result, begun = None, time.monotonic()
        try:
            result = call(timeout=limit)
        except (TimeoutError, *OTHER_ERRORS.get(kind, ())):
            self.limits[kind] += 1
        taken = time.monotonic() - begun
        if taken > limit + LATE:
            self.faults.append(f"{kind} with {limit:.3f} s to go took {taken:.1f} s")
        return result

    def at_once(self, what: str, call: Call) -> Any:
        """A call that nothing disturbs."""
        begun = time.monotonic()
        result = call()
        taken = time.monotonic() - begun
        self._note(what, taken)
        self._usual.setdefault(what, taken)
        return result

    def _note(self, what: str, taken: float) -> None:
        self.longest[what] = max(self.longest.get(what, 0.0), taken)
        if taken > OF_ITS_OWN.get(what, AT_ONCE):
            self.faults.append(f"{what} took {taken:.1f} s")

    # --- what is left ---------------------------------------------------------------------------------------

    def check_between(self) -> None:
        """Nothing but the one listener belongs to the nodes, and control knows no others."""
        self.calls.accept_all()
        for node in self.calls.kept:
            name, expected, owners = node.name, int(node is self.calls.a), node._handle.pump.owners
            if not until(lambda owners=owners, expected=expected: len(owners) == expected):  # type: ignore[misc]
                self.faults.append(f"{name} still has {list(owners.values())}")
            if not until(lambda node=node: not len(node._handle.attempts)):  # type: ignore[misc]
                self.faults.append(f"{name} still dials or asks")
        if not until(lambda: sorted(self.calls.tailnet.nodes()) == ["a", "b", "c"]):
            self.faults.append(f"the tailnet has {sorted(self.calls.tailnet.nodes())}")


def until(condition: Callable[[], object]) -> bool:
    end = time.monotonic() + AT_ONCE
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.001)
    return True


def left() -> dict[str, int]:
    """What this process holds, when no node and no tailnet runs."""
    host = default_host()
    threading._limbo.clear()  # type: ignore[attr-defined]  # CPython keeps a thread there whose start was interrupted
    until(lambda: host._thread is None and threading.active_count() == 1)
    gc.collect()
    reactor = host.world.reactor
    assert reactor is not None
    objects = collections.Counter(type(each).__name__ for each in gc.get_objects() if isinstance(each, COUNTED))
    return {
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "tenants": host.users,
        "operations": len(host._open),
        "pumps": len(host._pumps),
        "watched": len(reactor._selector.get_map()),
        **objects,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    kinds = [kind for kind, often in KINDS.items() for _ in range(often)]
    with Trial(options.seed) as warm:
        for kind in KINDS:
            warm.calls.play(kind)
        faults = warm.faults
    del warm
    before, begun = left(), time.monotonic()
    with Trial(options.seed) as trial:
        trial.faults += faults
        plays = 0
        while trial.interrupts.total() + trial.limits.total() < options.count and len(trial.faults) < 10:
            trial.calls.play(kinds[plays % len(kinds)] if plays < len(kinds) else trial.random.choice(kinds))
            plays += 1
            if plays % 50 == 0:
                trial.check_between()
        trial.check_between()
        hits = {"interrupts": trial.interrupts, "limits": trial.limits}
        longest, faults = {what: round(taken, 3) for what, taken in trial.longest.items()}, trial.faults
    del trial
    after = left()
    if after != before:
        faults.append(f"left over: {after}, where there was {before}")
    for fault in faults:
        print(fault)
    print(json.dumps({**hits, "seconds": round(time.monotonic() - begun, 1), "longest": longest}))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

"""Ctrl-C at random moments of every blocking call, thousands of times in one process.

    python -m tests.keyboard_interrupts [--count 3000] [--seed 1]

Each time a signal's handler raises KeyboardInterrupt in the main thread, somewhere inside the call: the interrupt must
come out of it, the next call must work at once, and in the end nothing may be left that was not there before. The last
line tells how many came where, and how long the longest call took; the exit status is 0 if all is well.

Two interrupts are seldom less than a call apart: only one is under way at a time.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import gc
import os
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import tsnet
from tsnet.edge.io.store import MemoryStore
from tsnet.edge.pipes.listening import ListenPipe
from tsnet.edge.pipes.operations import Operation
from tsnet.edge.pipes.pipes import Pipe
from tsnet.edge.run.dialing import DialAttempt
from tsnet.edge.run.host import default_host
from tsnet.sockets.bridge import Bridge
from tsnet.testing.tailnet import Tailnet

AT_ONCE = 2.0
"""Seconds that no call may take here, where nothing is far away."""
PORT = 7000
KINDS = {"up": 2, "close node": 2, "dial": 4, "listen": 4, "accept": 4, "recv": 4, "send": 4, "close": 4}
"""How often each call comes, beside the others: a node's beginning and end take fifty times as long as the rest."""
COUNTED = (Pipe, ListenPipe, Operation, DialAttempt, Bridge, tsnet.Server)
BLOCK = b"x" * 65_536


class Trial:
    """One process, an embedded tailnet, and two nodes that call each other."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.hits: collections.Counter[str] = collections.Counter()
        self.longest: dict[str, float] = {}
        self.faults: list[str] = []
        self._usual: dict[str, float] = {}
        self._fired = False
        signal.signal(signal.SIGALRM, self._interrupt)
        sys.unraisablehook = self._unraisable

    def __enter__(self) -> Trial:
        self.tailnet = Tailnet()
        self.tailnet.start()
        self.a, self.b = self.server("a"), self.server("b")
        for node in (self.a, self.b):
            node.up()
            node.reachable()
        self.listener = self.a.listen(PORT + 1)
        return self

    def __exit__(self, *exc: object) -> None:
        self.listener.close()
        for node in (self.a, self.b):
            node.close()
        self.tailnet.close()

    def server(self, name: str) -> tsnet.Server:
        return tsnet.Server(
            name,
            control_url=self.tailnet.control_url,
            auth_key=self.tailnet.auth_key,
            state=MemoryStore(),
            ephemeral=True,
        )

    # --- interrupts -----------------------------------------------------------------------------------------

    def _interrupt(self, *_: object) -> None:
        self._fired = True
        raise KeyboardInterrupt

    def _unraisable(self, unraisable: Any) -> None:
        if unraisable.exc_type is not ResourceWarning:
            self.faults.append(f"unraisable {unraisable.exc_value!r} in {unraisable.object!r}")

    def interrupted(self, kind: str, call: Callable[[], Any]) -> Any:
        """Make the call, and interrupt it at a random moment, perhaps after its end. What it returned, or None."""
        delay = self.random.uniform(1e-6, 1.3 * self._usual.get(kind, 1e-3))
        self._fired, result, came = False, None, False
        begun = time.monotonic()
        try:
            try:
                signal.setitimer(signal.ITIMER_REAL, delay)
                result = call()
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except KeyboardInterrupt:
            came = True
        taken = time.monotonic() - begun
        self._note(kind, taken)
        if came:
            self.hits[kind] += 1
        else:
            self._usual[kind] = taken
            if self._fired:
                self.faults.append(f"{kind}: the interrupt was swallowed")
        return result

    def at_once(self, what: str, call: Callable[[], Any]) -> Any:
        """A call that nothing interrupts."""
        begun = time.monotonic()
        result = call()
        taken = time.monotonic() - begun
        self._note(what, taken)
        self._usual.setdefault(what, taken)
        return result

    def _note(self, what: str, taken: float) -> None:
        self.longest[what] = max(self.longest.get(what, 0.0), taken)
        if taken > AT_ONCE:
            self.faults.append(f"{what} took {taken:.1f} s")

    # --- the calls ------------------------------------------------------------------------------------------

    def play(self, kind: str) -> None:
        getattr(self, "_" + kind.replace(" ", "_"))()

    def _up(self) -> None:
        node = self.server("c")
        self.interrupted("up", node.up)
        self.at_once("up", node.up)
        self.at_once("close node", node.close)

    def _close_node(self) -> None:
        node = self.server("c")
        self.at_once("up", node.up)
        self.interrupted("close node", node.close)
        self.at_once("close node", node.close)
        if node.status().state != "closed":
            self.faults.append(f"a closed node is {node.status().state}")

    def _dial(self) -> None:
        close(self.interrupted("dial", lambda: self.b.dial("a", PORT + 1)))
        close(*self._pair())

    def _listen(self) -> None:
        close(self.interrupted("listen", lambda: self.a.listen(PORT)))
        close(self.at_once("listen", lambda: self.a.listen(PORT)))

    def _accept(self) -> None:
        client = self.at_once("dial", lambda: self.b.dial("a", PORT + 1))
        accepted = self.interrupted("accept", self.listener.accept)
        if accepted is not None:
            accepted[0].close()
        close(client, *self._pair())

    def _recv(self) -> None:
        client, server = self._pair()
        client.sendall(b"one")
        self.interrupted("recv", lambda: server.recv(1))
        client.sendall(b"!")  # an interrupted call may have taken what it could not return
        while not self.at_once("recv", lambda: server.recv(10)).endswith(b"!"):
            pass
        close(client, server)

    def _send(self) -> None:
        client, server = self._pair()
        self.interrupted("send", lambda: client.sendall(BLOCK))
        client.sendall(b"!")
        while not self.at_once("recv", lambda: server.recv(len(BLOCK))).endswith(b"!"):
            pass
        close(client, server)

    def _close(self) -> None:
        client, server = self._pair()
        self.interrupted("close", client.close)
        self.at_once("close", client.close)
        with contextlib.suppress(ConnectionError):
            self.at_once("recv", lambda: server.recv(1))
        close(server)

    def _pair(self) -> tuple[socket.socket, socket.socket]:
        """Two ends of one connection. What an interrupted call has left to be accepted is closed."""
        client = self.at_once("dial", lambda: self.b.dial("a", PORT + 1))
        while True:
            server, address = self.at_once("accept", self.listener.accept)
            if address == client.getsockname():
                return client, server
            server.close()

    # --- what is left ---------------------------------------------------------------------------------------

    def check_between(self) -> None:
        """Nothing but the one listener belongs to the nodes."""
        for name, node, expected in (("a", self.a, 1), ("b", self.b, 0)):
            owners = node._handle.pump.owners
            if not until(lambda owners=owners, expected=expected: len(owners) == expected):  # type: ignore[misc]
                self.faults.append(f"{name} still has {list(owners.values())}")
            if len(node._handle.attempts):
                self.faults.append(f"{name} still dials")


def close(*things: Any) -> None:
    for thing in things:
        if thing is not None:
            thing.close()


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
            warm.play(kind)
        faults = warm.faults
    del warm
    before, begun = left(), time.monotonic()
    with Trial(options.seed) as trial:
        trial.faults += faults
        plays = 0
        while sum(trial.hits.values()) < options.count and len(trial.faults) < 10:
            trial.play(kinds[plays % len(kinds)] if plays < len(kinds) else trial.random.choice(kinds))
            plays += 1
            if plays % 50 == 0:
                trial.check_between()
        trial.check_between()
        result = (dict(trial.hits), {what: round(taken, 3) for what, taken in trial.longest.items()}, trial.faults)
    del trial
    after = left()
    hits, longest, faults = result
    if after != before:
        faults.append(f"left over: {after}, where there was {before}")
    for fault in faults:
        print(fault)
    print(f"{sum(hits.values())} interrupts in {time.monotonic() - begun:.1f} s: {hits}; longest: {longest}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

"""A node that is killed at any moment, again and again, with one directory: each time it comes back as itself.

    up ─► login with force ─► set ─► logout ─► login ─► close ─► up ─► …
      SIGKILL, a random while after a random one of these begins

| what is left        | and must be                                                             |
|---------------------|-------------------------------------------------------------------------|
| the identity        | whole, of the one machine that there ever was                           |
| the other values    | whole                                                                   |
| temporary files     | one of each value at most, however often it was killed                  |
| the lock, the claim | free: the next process starts at once, at the same addresses            |
| at control          | one node                                                                |

Some processes find their port taken, so that another one is saved. 15 kills; TSNET_NIGHTLY=1 makes it 200.

Not here: a kill at each system call of one save (`test_cut_saves`).
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

from tsnet.base.keys import NodeKey
from tsnet.edge.io.directory import DirectoryStore
from tsnet.edge.io.place import load
from tsnet.engine.identity import Identity
from tsnet.engine.saved import (
    CONTROL_KEY,
    HOME_RELAY,
    IDENTITY,
    PREFS,
    UDP_PORT,
    WHEREABOUTS,
    decode_control,
    decode_identity,
    decode_port,
    decode_prefs,
    decode_whereabouts,
)
from tsnet.testing.tailnet import Tailnet

KILLS = 200 if os.environ.get("TSNET_NIGHTLY") else 15
SEED = 14
LATEST = 0.08  # seconds from a step's beginning to the kill
ROOT = Path(__file__).parent.parent.parent.parent
LIVE = """
import sys, tsnet
url, key, state, rounds = sys.argv[1:]
def begin():
    node = tsnet.Server("shop", control_url=url, auth_key=key, state=state)
    print("up", flush=True)
    node.up()
    print("is-up", *node.addresses, node.prefs.shields_up, flush=True)
    return node
node = begin()
for _ in range(int(rounds)):
    print("login", flush=True)
    node.login(auth_key=key, force=True)
    print("set", flush=True)
    node.set(shields_up=not node.prefs.shields_up)
    print("logout", flush=True)
    node.logout()
    print("login-again", flush=True)
    node.login(auth_key=key)
    print("close", flush=True)
    node.close()
    node = begin()
node.close()
"""
STEPS = ("up", "is-up", "login", "set", "logout", "login-again", "close")
DECODE: dict[str, Callable[[bytes], Any]] = {
    CONTROL_KEY: decode_control,
    PREFS: decode_prefs,
    UDP_PORT: decode_port,
    WHEREABOUTS: decode_whereabouts,
    HOME_RELAY: bytes,
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(60 + 3 * KILLS),
    pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="nothing is killed so here"),
]


def pause(seconds: float) -> None:
    """The moment is the test's own: nothing could be waited for."""
    threading.Event().wait(seconds)


@attrs.define(eq=False)
class Scene:
    """identity: the first one that was found. seen: what the kills have struck, and what they have left."""

    tailnet: Tailnet
    state: Path
    identity: Identity | None = None
    addresses: list[str] = attrs.Factory(list)
    seen: Counter[str] = attrs.Factory(Counter)

    def live(self, rounds: int) -> subprocess.Popen[str]:
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.state.parent), "TS_DISABLE_PORTMAPPER": "1"}
        arguments = (self.tailnet.control_url, self.tailnet.auth_key, str(self.state), str(rounds))
        return subprocess.Popen(
            [sys.executable, "-c", LIVE, *arguments],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def kill(self, step: str, moment: float, *, takes_port: bool) -> None:
        """A process that is killed so long after it begins that step."""
        with contextlib.ExitStack() as stack:
            if takes_port:
                self._take_port(stack)
            saved = load(DirectoryStore(self.state), PREFS, decode_prefs) or {}
            process = stack.enter_context(self.live(rounds=1000))
            assert process.stdout is not None
            assert process.stderr is not None
            try:
                for line in process.stdout:
                    name, *told = line.split()
                    if name == "is-up":
                        *addresses, shields_up = told
                        self.is_up(addresses)
                        assert shields_up == str(saved.get("shields_up", False))
                    if name == step:
                        break
                pause(moment)
            finally:
                process.kill()
            assert process.wait() == -signal.SIGKILL, process.stderr.read()
            assert process.stderr.read() == ""
        self.seen[step] += 1

    def _take_port(self, stack: contextlib.ExitStack) -> None:
        """The port that the node had last."""
        port = load(DirectoryStore(self.state), UDP_PORT, decode_port)
        if port:
            taken = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            taken.bind(("", port))
            self.seen["port taken"] += 1

    def is_up(self, addresses: list[str]) -> None:
        """It is the node that it was."""
        self.addresses = self.addresses or addresses
        assert addresses == self.addresses

    def check(self) -> None:
        """What is left in the directory, and at control."""
        store = DirectoryStore(self.state)
        names = {path.name for path in self.state.iterdir()} if self.state.exists() else set()
        values = {store.file(key).name for key in (IDENTITY, *DECODE)}
        assert names <= {"tsnet.lock", *values, *(f"{name}.new" for name in values)}
        self.seen["a temporary file"] += any(name.endswith(".new") for name in names)
        for key, decode in DECODE.items():
            load(store, key, decode)
        identity = load(store, IDENTITY, decode_identity)
        if identity is None:
            assert self.identity is None
            assert self.tailnet.nodes() == {}
            return
        self.identity = self.identity or identity
        assert (identity.machine_key, identity.lock_key) == (self.identity.machine_key, self.identity.lock_key)
        keys = self.keys_at_control()
        assert len(keys) <= 1
        if keys - {identity.public}:
            self.seen["a new key that control knows is not saved" if identity.is_known else "logged out"] += 1

    def keys_at_control(self) -> set[NodeKey]:
        members = self.tailnet._state.members
        found = self.tailnet._do(lambda: [(member.name, member.key) for member in members.values()])
        assert [name for name, _key in found] in ([], ["shop"])
        return {key for _name, key in found}


def test_a_node_that_is_killed_again_and_again_stays_itself(tmp_path: Path) -> None:
    rng = random.Random(SEED)
    with Tailnet() as tailnet:
        scene = Scene(tailnet, tmp_path / "node")
        for number in range(KILLS):
            step = STEPS[number % len(STEPS)]
            scene.kill(step, rng.uniform(0, LATEST), takes_port=number % 3 == 2)
            scene.check()
        with scene.live(1) as process:
            told, errors = process.communicate()
        assert (process.returncode, errors) == (0, "")
        lines = [line.split() for line in told.splitlines()]
        assert [line[1:-1] for line in lines if line[0] == "is-up"] == [scene.addresses] * 2
        scene.check()
        identity = load(DirectoryStore(scene.state), IDENTITY, decode_identity)
        assert identity is not None
        assert scene.keys_at_control() == {identity.public}
    print(f"{KILLS} kills: {dict(scene.seen)}")

"""TCP of Linux through two wireguard-go devices at MTU 1280, each in a namespace of its own, joined by a wire.

Not like for like: its four ends and two daemons share the cores that two of our processes have to themselves. A
yardstick from one release to the next, not a race.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.programs import ROOT
from tsnet.base.crypto import node_public
from tsnet.base.keys import NodePrivateKey

PORT = 5201
OUTER = ("10.99.0.1", "10.99.0.2")
INNER = ("100.64.9.1", "100.64.9.2")
LISTEN = 51820


@contextlib.contextmanager
def wireguard_go(size: int) -> Iterator[Callable[[], float]]:
    """A function that sends `size` random bytes once: Gbit/s, bytes compared."""
    from tests.interop.harness.scene import Scene
    from tests.interop.harness.wireguard import WireGuardGo

    privates = [os.urandom(32) for _ in range(2)]
    publics = [node_public(NodePrivateKey(private)) for private in privates]
    with contextlib.ExitStack() as stack:
        scene = stack.enter_context(Scene(Path(stack.enter_context(tempfile.TemporaryDirectory()))))
        spaces = scene.name, scene.namespace("b")
        scene.veth(*spaces, *(f"{address}/24" for address in OUTER))
        for mine, theirs in ((0, 1), (1, 0)):
            device = WireGuardGo(
                scene,
                private_key=privates[mine],
                addresses=[f"{INNER[mine]}/32"],
                listen_port=LISTEN,
                namespace=spaces[mine],
                verbose=False,
            )
            stack.enter_context(device)
            endpoint = f"{OUTER[theirs]}:{LISTEN}"
            device.add_peer(publics[theirs], allowed_ips=[f"{INNER[theirs]}/32"], endpoint=endpoint)

        def measure() -> float:
            program = [sys.executable, str(ROOT / "benchmarks" / "plain_stream.py")]
            with (
                scene.run("sink", [*program, "sink", INNER[1], str(PORT)], namespace=spaces[1], speak=True) as sink,
                scene.run("send", [*program, "send", INNER[1], str(PORT), str(size)], speak=True) as sender,
            ):
                assert sink.popen.stdout is not None
                assert sender.popen.stdout is not None
                sent, got = sender.popen.stdout.readline().split(), sink.popen.stdout.readline().split()
            if not sent or sent[:2] != got[:2]:
                raise SystemExit(f"bytes differ: {sent} {got} {sink.log()} {sender.log()}")
            return size * 8 / float(got[2]) / 1e9

        yield measure

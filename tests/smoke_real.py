"""A person's own tailnet: TS_AUTHKEY=tskey-auth-… make smoke-real    (TS_CONTROL_URL for a Headscale)

Joins it with an ephemeral node, looks around, leaves. One line a step; exit code 0 if all held, 1 at the first that
did not, 2 without a key. Nothing of the tailnet is changed, and no service on it is used.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import tsnet
from tsnet.edge.io.store import MemoryStore

RELAY_TIMEOUT = 15.0


class Failed(Exception):
    """A step's outcome is not what it must be."""


def main() -> int:
    if not (os.environ.get("TS_AUTHKEY") or os.environ.get("TS_AUTH_KEY")):
        print("set TS_AUTHKEY to an auth key of your tailnet (https://login.tailscale.com/admin/settings/keys)")
        return 2
    node = tsnet.Server(f"smoke-{os.getpid()}", state=MemoryStore(), ephemeral=True)
    try:
        with step("join"):
            node.up()
        try:
            look_around(node)
        finally:
            with step("logout"):
                node.close(timeout=10)
    except (tsnet.Error, Failed) as error:
        print(f"FAILED  {error}")
        return 1
    return 0


def look_around(node: tsnet.Server) -> None:
    status = node.status()
    with step("names") as said:
        check(node.name in node.fqdn and bool(node.addresses), "control gave no name or no address")
        check(node.resolve(node.name) == node.addresses, f"{node.name} does not resolve to {node.addresses}")
        said.append(f"{node.fqdn}  {'  '.join(map(str, node.addresses))}  {len(status.peers)} peers")
    with step("whois") as said:
        me = node.whois(str(node.addresses[0]))
        check(me is not None, "nobody owns our own address")
        said.append(f"{node.addresses[0]} is {me.name} of {', '.join(me.tags) or me.user_login}" if me else "")
    with step("DERP") as said:
        node.reachable(timeout=RELAY_TIMEOUT)
        said.append(f"home region {node.status().home_region}")
    with step("ping") as said:
        said.append(ping(node))
    with step("direct") as said:
        said.append("direct paths come with a later version; all traffic goes through DERP")


def ping(node: tsnet.Server) -> str:
    """The first peer that answers; a tailnet may have none."""
    for peer in node.status().peers:
        if not peer.online or not peer.addresses:
            continue
        try:
            result = node.ping(str(peer.addresses[0]), kind="tsmp", timeout=6)
        except tsnet.Error as error:
            print(f"        {peer.name}: {error}")
            continue
        return f"{peer.name} ({result.address}) answers in {result.seconds * 1000:.0f} ms"
    return "no peer is online and answers"


@contextmanager
def step(name: str) -> Iterator[list[str]]:
    """Prints the step with its time, and what it had to say."""
    said: list[str] = []
    begun = time.perf_counter()
    yield said
    print(f"ok  {name:8}{time.perf_counter() - begun:7.2f} s  {'  '.join(said)}", flush=True)


def check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Failed(otherwise)


if __name__ == "__main__":
    sys.exit(main())

"""`make smoke-real`: a person's own tailnet, from joining to logging out.

    TS_AUTHKEY=tskey-auth-… make smoke-real          TS_CONTROL_URL too for a Headscale

Joins as an ephemeral node, so that nothing is left behind. One line a step, with its time; ends with 1 at the first
that fails. Direct paths do not exist yet, so the way to each peer is a relay.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

import tsnet
from tsnet.edge.state import MemoryStore

PEERS = 5
PING_TIMEOUT = 5.0


class Failed(Exception):
    """A step's answer is wrong."""


def expect(condition: object, message: str) -> None:
    if not condition:
        raise Failed(message)


def join(node: tsnet.Server) -> str:
    node.up()
    expect(node.addresses, "no address")
    return f"{node.fqdn} {' '.join(map(str, node.addresses))}"


def names(node: tsnet.Server) -> str:
    peers = node.status().peers
    expect(set(node.resolve(node.name)) == set(node.addresses), "our own name has other addresses")
    for peer in peers:
        expect(set(node.resolve(peer.fqdn)) == set(peer.addresses), f"{peer.fqdn} has other addresses")
    return f"{len(peers)} peers"


def whois(node: tsnet.Server) -> str:
    for peer in node.status().peers:
        for address in peer.addresses:
            found = node.whois(str(address))
            expect(found is not None and found.name == peer.name, f"{address} is not {peer.name}")
    own = node.whois(str(node.addresses[0]))
    expect(own is not None, "nobody knows our own address")
    return own.user_login if own is not None else ""


def relay(node: tsnet.Server) -> str:
    node.reachable()
    region = node.status().home_region
    expect(region > 0, "no home region")
    return f"home is region {region}"


def pings(node: tsnet.Server) -> str:
    """Peers that are online answer from their data path, whatever their policy allows."""
    online = [peer for peer in node.status().peers if peer.online][:PEERS]
    answers = []
    for peer in online:
        try:
            result = node.ping(peer.fqdn, kind="tsmp", timeout=PING_TIMEOUT)
            answers.append(f"{peer.name} {result.seconds * 1000:.0f} ms")
        except tsnet.Error as error:
            answers.append(f"{peer.name} {type(error).__name__}")
    expect(not online or any("ms" in answer for answer in answers), f"no peer answers: {answers}")
    return ", ".join(answers) or "nobody else is online"


def logout(node: tsnet.Server) -> str:
    node.close(timeout=10)
    state = node.status().state
    expect(state == "closed", f"the node is {state}")
    return state


STEPS: tuple[Callable[[tsnet.Server], str], ...] = (join, names, whois, relay, pings, logout)


def main() -> int:
    if not (os.environ.get("TS_AUTHKEY") or os.environ.get("TS_AUTH_KEY")):
        print("set TS_AUTHKEY to an auth key of your tailnet (and TS_CONTROL_URL for a Headscale)", file=sys.stderr)
        return 2
    node = tsnet.Server("tsnet-smoke", state=MemoryStore(), ephemeral=True)
    try:
        for step in STEPS:
            begun = time.monotonic()
            try:
                answer = step(node)
            except (Failed, tsnet.Error) as error:
                print(f"{step.__name__:8} FAILED  {error}")
                return 1
            print(f"{step.__name__:8} {time.monotonic() - begun:6.2f} s  {answer}", flush=True)
    finally:
        node.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

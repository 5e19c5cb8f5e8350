"""Our embedded tailnet as a process at the near server, driven by JSON lines (`python -m tests.lab.tailnetprogram`).

It has two relays, at two addresses, so that a node behind a hard router learns that it is. Started again with the same
folder it is the same tailnet.
"""

from __future__ import annotations

import sys
from typing import Any

from tests.lab.internet import BESIDE, BESIDE_V6, NEAR, NEAR_V6
from tests.lab.ourpeer import serve
from tsnet.base.addresses import join_host_port
from tsnet.testing.tailnet import Tailnet

HOSTS = {"near": (NEAR, NEAR_V6), "beside": (BESIDE, BESIDE_V6)}


def known(tailnet: Tailnet, name: str) -> dict[str, Any]:
    """What `tests.lab.middles.Known` holds."""

    def look() -> dict[str, Any]:
        member = tailnet._member(name)
        endpoints = [join_host_port(*where) for where in member.endpoints]
        return {"home": member.home_region, "endpoints": endpoints, "online": member.is_online}

    return tailnet._do(look)


def main() -> None:
    state, port = sys.argv[1:]
    tailnet = Tailnet(host=NEAR, control_port=int(port), state=state, regions=0)
    for code, hosts in HOSTS.items():
        if not any(relay.code == code for relay in tailnet.relays):
            tailnet.add_region(code, host=hosts)
    with tailnet:
        serve(
            {
                "auth_key": lambda **_: tailnet.auth_key,
                "known": lambda name, **_: known(tailnet, name),
            }
        )


if __name__ == "__main__":
    main()

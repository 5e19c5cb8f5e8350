"""Two nodes that reach each other by UDP over loopback: ours, and Go's.

    with our_pair(tailnet, "a") as (sender, receiver):     it sinks on port 7 and echoes on port 8

Ours are peers by one UDP endpoint each: the netmap calls them WireGuard-only. Go's find their own way.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from benchmarks.programs import LOOPBACK, OurNode, Peer, free_udp_port, go_tailnet, stream
from tsnet.base.addresses import UdpAddress
from tsnet.testing.tailnet import Tailnet

if TYPE_CHECKING:
    from tests.interop.harness.gopeer import GoPeer

SINK, ECHO = 7, 8
NETMAPS = 0.3
"""Seconds in which both ends have a change of the netmap."""

DIRECT = 15.0
"""Seconds in which two Go nodes on one machine have found each other."""


@contextlib.contextmanager
def our_pair(tailnet: Tailnet, prefix: str, **options: Any) -> Iterator[tuple[OurNode, OurNode]]:
    """options: those of `OurNode`."""
    sender, receiver = (
        OurNode(f"{prefix}-{role}", tailnet.control_url, tailnet.auth_key, port=free_udp_port(), **options)
        for role in ("sender", "receiver")
    )
    with sender, receiver:
        sender.up()
        receiver.up()
        serve(receiver)
        fix_endpoints(tailnet, sender, receiver)
        stream(sender, receiver, receiver.hostname, 1 << 20)
        yield sender, receiver


def serve(peer: Peer) -> None:
    peer.call("listen", address=f":{SINK}", mode="sink")
    peer.call("listen", address=f":{ECHO}", mode="echo")


def fix_endpoints(tailnet: Tailnet, *nodes: OurNode) -> None:
    def change() -> None:
        for node in nodes:
            member = tailnet._state.named(node.hostname)
            assert member is not None
            endpoint = UdpAddress(LOOPBACK, node.port)
            tailnet._state.change(member, is_wireguard_only=True, endpoints=(endpoint,))

    tailnet._do(change)
    time.sleep(NETMAPS)


@contextlib.contextmanager
def go_pair() -> Iterator[tuple[GoPeer, GoPeer, str]]:
    """(sender, receiver, its address), on a direct path. Ask `missing_go("derper", "testcontrol", "tsnetpeer")`."""
    from tests.interop.harness.gopeer import GoPeer

    with (
        go_tailnet() as (scene, control),
        GoPeer(scene, control, "a", auth_key="any") as sender,
        GoPeer(scene, control, "b", auth_key="any") as receiver,
    ):
        sender.up()
        address = receiver.up().v4
        serve(receiver)
        stream(sender, receiver, address, 1 << 20)
        end = time.monotonic() + DIRECT
        while not (sender.peer("b") or {}).get("CurAddr"):
            if time.monotonic() > end:
                raise SystemExit("Go found no direct path over loopback")
            time.sleep(0.1)
        yield sender, receiver, address

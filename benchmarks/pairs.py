"""Two nodes that reach each other directly, by UDP of this machine: ours, Go's, and one of each.

    with our_pair(tailnet, "a") as (sender, receiver):        it sinks on port 7 and echoes on port 8
    with all_pairs() as pairs:  pairs["ours to Go"]           in one namespace, by Tailscale's testcontrol

Each finds its own way, by disco. Nothing is measured before the sender says that its path to the receiver is direct,
and `still_direct` asks again at the end.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.programs import OurNode, Peer, free_udp_port, go_tailnet, stream
from tsnet.testing.tailnet import Tailnet

if TYPE_CHECKING:
    from tests.interop.harness.gopeer import GoPeer

SINK, ECHO = 7, 8
DIRECT = 15.0
"""Seconds in which two nodes on one machine have found each other."""


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
        go_direct(sender, receiver, receiver.hostname, receiver.hostname)
        yield sender, receiver
        still_direct(sender, receiver.hostname)


def path_to(peer: Peer, name: str) -> str:
    """How that node reaches the one of that name: "direct …" or something else."""
    if isinstance(peer, OurNode):
        return str(peer.call("path_to", name=name))
    peers = (peer.call("status").get("Peer") or {}).values()
    address = next((str(one["CurAddr"]) for one in peers if name in one["DNSName"]), "")
    return f"direct {address}" if address else "relay"


def go_direct(sender: Peer, receiver: Peer, host: str, name: str) -> None:
    """Send until the path is direct."""
    stream(sender, receiver, host, 1 << 20)
    end = time.monotonic() + DIRECT
    while not path_to(sender, name).startswith("direct") or " and " in path_to(sender, name):
        if time.monotonic() > end:
            raise SystemExit(f"no direct path to {name}: {path_to(sender, name)}")
        stream(sender, receiver, host, 1000)
        time.sleep(0.1)


def still_direct(sender: Peer, name: str) -> None:
    path = path_to(sender, name)
    if not path.startswith("direct"):
        raise SystemExit(f"the path to {name} was direct, and is now: {path}")


def serve(peer: Peer) -> None:
    peer.call("listen", address=f":{SINK}", mode="sink")
    peer.call("listen", address=f":{ECHO}", mode="echo")


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
        go_direct(sender, receiver, address, "b.")
        yield sender, receiver, address
        still_direct(sender, "b.")


class Ends(NamedTuple):
    """host: the receiver's address."""

    sender: Peer
    receiver: Peer
    host: str


@contextlib.contextmanager
def all_pairs() -> Iterator[dict[str, Ends]]:
    """By "ours to ours", "ours to Go", "Go to ours", "Go to Go": four nodes of one tailnet. Ask `missing_go` first."""
    from tests.interop.harness.gopeer import GoPeer

    with go_tailnet() as (scene, control), contextlib.ExitStack() as stack:

        def ours(name: str) -> tuple[Peer, str]:
            node = stack.enter_context(OurNode(name, control.url, "any", environment=control.environment))
            return node, node.up()[0]

        def go(name: str) -> tuple[Peer, str]:
            peer = stack.enter_context(GoPeer(scene, control, name, auth_key="any"))
            return peer, peer.up().v4

        senders = {"ours": ours("ours-sender")[0], "Go": go("go-sender")[0]}
        receivers = {"ours": ours("ours-receiver"), "Go": go("go-receiver")}
        for receiver, _ in receivers.values():
            serve(receiver)
        pairs = {f"{a} to {b}": Ends(senders[a], *receivers[b]) for a in senders for b in receivers}
        for pair, ends in pairs.items():
            go_direct(*ends, f"{pair.split()[-1].lower()}-receiver")
        yield pairs
        for pair, ends in pairs.items():
            still_direct(ends.sender, f"{pair.split()[-1].lower()}-receiver")

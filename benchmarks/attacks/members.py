"""Keys that a tailnet has accepted: what an attacker needs to be one of its peers, or to look like one."""

from __future__ import annotations

import attrs

import tsnet
from benchmarks.attacks.tally import Target
from tsnet.base.keys import NodeKey, NodePrivateKey
from tsnet.edge.io.store import MemoryStore
from tsnet.engine.saved import IDENTITY, decode_identity

TIMEOUT = 20.0


@attrs.frozen
class Enrolled:
    """private: the key of a node that is in the tailnet, and has left. peers: those whom it saw, by hostname."""

    private: NodePrivateKey = attrs.field(repr=False)
    peers: dict[str, NodeKey]


def node(target: Target, name: str, *, store: MemoryStore | None = None) -> tsnet.Server:
    return tsnet.Server(
        name,
        control_url=target.control_url,
        auth_key=target.auth_key,
        state=MemoryStore() if store is None else store,
        ephemeral=store is None,
    )


def enrol(target: Target, name: str) -> Enrolled:
    store = MemoryStore()
    server = node(target, name, store=store)
    with server.events() as events:
        server.up(timeout=TIMEOUT)
        running = next(event for event in events if isinstance(event, tsnet.events.Running))
    server.close()
    peers = {peer.name.partition(".")[0]: peer.key for peer in running.netmap.peers.values()}
    return Enrolled(decode_identity(store.values[IDENTITY]).node_key, peers)

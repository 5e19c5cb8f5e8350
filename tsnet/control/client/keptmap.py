"""The netmap as bytes that outlast the process, for a start while control is away; both ways.

    one line of JSON: version, kind, control_url, node_key, saved_at, size (of what follows)
    map messages, as control frames them (`mapframes`): zstd each, of at most PEERS peers or RULES rules

    first message    our node, relays, DNS, the first peers, rules and users
    the others       more peers (PeersChanged), rules and users

It is written and read in steps, off the node's thread. What is of the moment is left out: who is online, when a peer
was last seen, health. So a netmap in which nothing else has changed is written as the same bytes but for `saved_at`.

Source: ours; Go ipn/ipnlocal/netmapcache for what is kept.
Not here: when it is written and when it may be used (`engine.cachednetmap`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, TypeVar

import attrs

from tsnet.base import jsonobject
from tsnet.base.keys import NodeKey
from tsnet.base.malformed import MalformedError
from tsnet.base.records import record
from tsnet.base.steps import Steps
from tsnet.control.gojson import key, number, text
from tsnet.control.mapframes import MapFrames, encode_frame
from tsnet.control.messages import MapResponse, decode_map_in_steps
from tsnet.netmap.limits import Scale
from tsnet.netmap.merge import DerpMapUpdate, MapUpdate, begin, merge
from tsnet.netmap.model import NetMap, Node

VERSION = 1
KIND = "tsnet-py"
MAX_KEPT = 8 << 20
"""Bytes. A map of 10,000 peers has about one million."""

PEERS, RULES, USERS = 128, 512, 1024

T = TypeVar("T")


@record
class KeptMap:
    """A netmap, whose it is, and when it was kept (Unix time). The home of its own node is the one that we had."""

    netmap: NetMap
    control_url: str
    node_key: NodeKey
    saved_at: float


def encode_kept(kept: KeptMap) -> Steps[bytes]:
    """Raises MalformedError for what is too much to keep."""
    pieces, size = list[bytes](), 0
    for update in _updates(kept.netmap):
        pieces.append(encode_frame(MapResponse(update).encode(), compress=True))
        size += len(pieces[-1])
        if size > MAX_KEPT:
            raise MalformedError(f"the netmap takes more than {MAX_KEPT >> 20} MiB")
        yield
    return b"".join((_head(kept, size), *pieces))


def decode_kept(data: bytes) -> Steps[KeptMap]:
    """Raises MalformedError for what `encode_kept` has not made, and for more than a netmap may hold."""
    head, _, body = data.partition(b"\n")
    fields = jsonobject.parse_kept(head, KIND, VERSION, writer="this library")
    node_key = key(NodeKey, fields.get("node_key"))
    if node_key is None or len(body) != fields.get("size") or len(body) > MAX_KEPT:
        raise MalformedError("is damaged: it is nobody's, cut short or too long")
    netmap, scale = None, Scale()
    for message in MapFrames().receive(body):
        update = (yield from decode_map_in_steps(message)).update
        netmap = begin(None, update, 0.0) if netmap is None else merge(netmap, update, 0.0)
        scale.put(netmap)
    if netmap is None:
        raise MalformedError("is damaged: it has no netmap")
    return KeptMap(netmap, text(fields.get("control_url")), node_key, number(fields.get("saved_at")))


def body_of(data: bytes) -> bytes:
    """What was encoded, without when that was."""
    return data.partition(b"\n")[2]


def _head(kept: KeptMap, size: int) -> bytes:
    fields: Mapping[str, Any] = {
        "version": VERSION,
        "kind": KIND,
        "control_url": kept.control_url,
        "node_key": kept.node_key.text(),
        "saved_at": kept.saved_at,
        "size": size,
    }
    return jsonobject.encode(fields) + b"\n"


def _updates(netmap: NetMap) -> Iterator[MapUpdate]:
    """What makes this netmap, in small messages."""
    relays = netmap.derp_map
    yield MapUpdate(
        node=_lasting(netmap.self_node),
        derp_map=DerpMapUpdate(relays.regions, relays.region_score, relays.omit_default_regions),
        dns=netmap.dns,
        domain=netmap.domain,
        packet_filters={} if netmap.named_filters is None else {"*": None},
    )
    for peers in _some(netmap.peers.values(), PEERS):
        yield MapUpdate(peers_changed=tuple(map(_lasting, peers)))
    for users in _some(netmap.users.values(), USERS):
        yield MapUpdate(users=users)
    for name, rules in (netmap.named_filters or {}).items():
        for part, some in enumerate(_some(rules, RULES)):
            yield MapUpdate(packet_filters={f"{name}/{part}": some})


def _lasting(node: Node) -> Node:
    return attrs.evolve(node, online=None, last_seen=None)


def _some(values: Iterable[T], count: int) -> Iterator[tuple[T, ...]]:
    """The values, so many at a time."""
    left = iter(values)
    while part := tuple(islice(left, count)):
        yield part

"""Paths of four peers that control has named, `a` to `d`, and datagrams of theirs."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

from tsnet.base.addresses import DerpAddress, UdpAddress
from tsnet.base.crypto import disco_public, node_public
from tsnet.base.keys import DiscoPrivateKey, NodeKey, NodePrivateKey
from tsnet.disco.box import Box
from tsnet.disco.messages import Message, Ping
from tsnet.disco.paths import Paths
from tsnet.netmap.model import Node

BUDGET = 1 << 20
OURS = DiscoPrivateKey(b"\x01" * 32)
KEYS = {name: node_public(NodePrivateKey(bytes([number]) * 32)) for number, name in enumerate("abcd", start=10)}
DISCO = {name: DiscoPrivateKey(bytes([number]) * 32) for number, name in enumerate("abcd", start=20)}
A, B = KEYS["a"], KEYS["b"]
UDP, OTHER_UDP = UdpAddress("192.0.2.1", 51_820), UdpAddress("198.51.100.7", 1234)


def entropy(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def node(name: str, **fields: Any) -> Node:
    fields.setdefault("home_region", 1)
    number = ord(name)
    return Node(number, f"n{number}", name, KEYS[name], disco_key=disco_public(DISCO[name]), **fields)


def set_peers(paths: Paths, nodes: Iterable[Node], now: float) -> list[bytes]:
    """The netmap's peers, all of them."""
    known: dict[bytes, Node | None] = dict.fromkeys(paths._nodes)
    return paths.update_peers((known | {node.key: node for node in nodes}).items(), now)


def new_paths(*nodes: Node) -> Paths:
    paths = Paths(OURS, entropy=entropy)
    set_peers(paths, nodes or [node("a")], 0.0)
    return paths


def via(region: int, key: NodeKey = A) -> DerpAddress:
    return DerpAddress(region, key)


def datagram(message: Message, sender: str = "a", *, nonce: int = 0) -> bytes:
    return Box(DISCO[sender], lambda size: bytes([nonce]) * size).seal(disco_public(OURS), message.encode())


def ping(number: int, sender: str = "a") -> bytes:
    return datagram(Ping(bytes([number]) * 12, KEYS[sender]), sender)

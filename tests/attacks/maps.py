"""What a control server may say on a map stream for ever: small messages that each add a little to what a node keeps.

GROWING[name]()      JSON documents without end
    frames(…, stream)    map messages as frames of HTTP/2, for a stream that waits for its answer
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from tests.attacks import http2
from tests.attacks.bombs import KEY
from tsnet.control.mapframes import encode_frame

FRAME = 1 << 14
SELF = {"ID": 1, "StableID": "n1", "Key": KEY, "Name": "self.example.", "Addresses": ["100.64.0.1/32"]}
PEER = 2


def _peer(number: int, **fields: Any) -> dict[str, Any]:
    address = f"100.{64 + (number >> 16 & 63)}.{number >> 8 & 255}.{number & 255}/32"
    known = {"ID": number, "Key": f"nodekey:{number:064x}", "Name": f"n{number}.example.", "Addresses": [address]}
    return known | fields


def _text(number: int) -> str:
    return f"{number} " + "x" * 1000


_GROWS: dict[str, Callable[[int], dict[str, Any]]] = {
    "peers": lambda number: {"PeersChanged": [_peer(number)]},
    "Hostinfo": lambda number: {"PeersChanged": [_peer(number % 16_000 + 2, Hostinfo={"OS": _text(number) * 60})]},
    "capabilities": lambda number: {
        "PeersChangedPatch": [{"NodeID": PEER, "CapMap": {_text(name): None for name in range(300 * number)}}]
    },
    "users": lambda number: {"UserProfiles": [{"ID": number, "LoginName": f"u{number}@example.com"}]},
    "users that peers name": lambda number: {
        "PeersChanged": [_peer(number % 9000 + 2, User=number, Sharer=number + 1)],
        "UserProfiles": [{"ID": user, "LoginName": _text(user)} for user in (number, number + 1)],
    },
    "display messages": lambda number: {"DisplayMessages": {f"m{number}": {"Title": "t", "Text": "x"}}},
    "named filters": lambda number: {"PacketFilters": {f"f{number}": [{"SrcIPs": ["*"]}]}},
    "rules": lambda number: {"PacketFilters": {f"f{number}": [{"SrcIPs": [_text(number)]}] * 100}},
    "records": lambda number: {
        "DNSConfig": {
            "ExtraRecords": [{"Name": f"r{name}.example", "Value": "100.64.0.9"} for name in range(300 * number)]
        }
    },
    "health": lambda number: {"Health": [_text(name) for name in range(300 * number)]},
    "relays": lambda number: {
        "DERPMap": {"Regions": {str(region): {"Nodes": [{"Name": "a"}]} for region in range(1, 300 * number)}}
    },
}
"""By table. The last three, and capabilities, are whole each time: the message's own bounds end them."""


def _documents(name: str) -> Iterator[bytes]:
    yield json.dumps({"Node": SELF, "Peers": [_peer(PEER)]}).encode()
    for number in itertools.count(3):
        yield json.dumps(_GROWS[name](number)).encode()


GROWING: dict[str, Callable[[], Iterator[bytes]]] = {name: partial(_documents, name) for name in _GROWS}


def messages(documents: Iterable[bytes], *, compress: bool = False) -> Iterator[bytes]:
    return (encode_frame(document, compress=compress) for document in documents)


def frames(messages: Iterable[bytes], stream: int) -> Iterator[bytes]:
    """In frames that are full, since tiny ones are a flood in themselves."""
    yield http2.frame(http2.HEADERS, http2.END_HEADERS, stream, http2.block(http2.RESPONSE))
    for piece in http2.chunks(messages, FRAME):
        for start in range(0, len(piece), FRAME):
            yield http2.frame(http2.DATA, 0, stream, piece[start : start + FRAME])

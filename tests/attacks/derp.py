"""DERP attacks: endless iterators of frames, by name. The floods of packets are no fault by themselves: a relay carries
what its clients send, but no client may take it from the others.

    on a relay     after ClientInfo, ON_RELAY[name](key): `key` is that of another client
    on a client    after ServerInfo, ON_CLIENT[name](key): `key` is that of a peer
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

from tsnet.base.keys import NodeKey
from tsnet.derp import frames

UNKNOWN = 0x77

Frames = Iterator[bytes]


def pings(_key: NodeKey) -> Frames:
    return itertools.repeat(frames.encode(frames.PING, bytes(8)))


def pongs(_key: NodeKey) -> Frames:
    """Answers that nobody asked for."""
    return itertools.repeat(frames.encode(frames.PONG, bytes(8)))


def unknown_frames(_key: NodeKey) -> Frames:
    return itertools.repeat(frames.encode(UNKNOWN))


def keep_alives(_key: NodeKey) -> Frames:
    return itertools.repeat(frames.encode(frames.KEEP_ALIVE))


def empty_packets(key: NodeKey) -> Frames:
    return itertools.repeat(frames.encode(frames.SEND_PACKET, key))


def tiny_packets(key: NodeKey) -> Frames:
    return itertools.repeat(frames.encode(frames.SEND_PACKET, key + b"x"))


def packets_for_nobody(_key: NodeKey) -> Frames:
    """Each for another key that is not there."""
    return (
        frames.encode(frames.SEND_PACKET, number.to_bytes(frames.KEY_SIZE, "big") + b"x")
        for number in itertools.count()
    )


def notes(_key: NodeKey) -> Frames:
    return itertools.repeat(frames.encode(frames.NOTE_PREFERRED, b"\1"))


ON_RELAY: dict[str, Callable[[NodeKey], Frames]] = {
    attack.__name__: attack
    for attack in (pings, pongs, unknown_frames, keep_alives, empty_packets, tiny_packets, packets_for_nobody, notes)
}


def peers_gone(_key: NodeKey) -> Frames:
    return (
        frames.encode_peer_gone(number.to_bytes(frames.KEY_SIZE, "big"), frames.PEER_GONE_NOT_HERE)
        for number in itertools.count()
    )


def health(_key: NodeKey) -> Frames:
    """A report on itself that changes all the time."""
    return (frames.encode(frames.HEALTH, b"%d" % number) for number in itertools.count())


def restarts(_key: NodeKey) -> Frames:
    return itertools.repeat(frames.encode_restarting(1, 1))


def tiny_received(key: NodeKey) -> Frames:
    return itertools.repeat(frames.encode(frames.RECV_PACKET, key + b"x"))


def empty_received(key: NodeKey) -> Frames:
    return itertools.repeat(frames.encode(frames.RECV_PACKET, key))


ON_CLIENT: dict[str, Callable[[NodeKey], Frames]] = {
    attack.__name__: attack
    for attack in (
        pings,
        pongs,
        unknown_frames,
        keep_alives,
        peers_gone,
        health,
        restarts,
        tiny_received,
        empty_received,
    )
}

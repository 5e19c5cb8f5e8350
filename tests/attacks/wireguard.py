"""Floods of WireGuard handshake messages: what a stranger, a hostile peer or a recording can send.

    noise(victim, 5000)                  initiations with a good mac1 that open to nothing: anyone can make them
    calls(victim, private_key, 5000)     true initiations of one peer, each with a later time stamp
    [one] * 5000                         one that was recorded on the wire

    with Flood(messages, ("127.0.0.1", port), per_second=5000, sources=["127.0.0.2", "127.0.0.3"]) as flood: …
    flood.sent, flood.cookies

Every address of 127.0.0.0/8 is a source of its own on Linux, and nobody has to be root for that.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import socket
import threading
import time
from collections.abc import Iterable, Sequence

from tsnet.base.addresses import UdpAddress
from tsnet.base.crypto import x25519
from tsnet.base.keys import NodeKey, NodePrivateKey, PrivateKey
from tsnet.wireguard import tai64n
from tsnet.wireguard.cookie import CookieMaker
from tsnet.wireguard.handshake import Remote, StaticKeys, create_initiation
from tsnet.wireguard.messages import COOKIE_REPLY, message_type

TICK = 0.016_777_216
"""Seconds from one time stamp to the next, as `tai64n` makes them."""


def noise(victim: NodeKey, count: int, seed: int = 1) -> list[bytes]:
    maker, chance = CookieMaker(victim), random.Random(seed)
    return [maker.add_macs(b"\1\0\0\0" + chance.randbytes(112), 0.0) for _ in range(count)]


def calls(victim: NodeKey, caller: NodePrivateKey, count: int, *, unix_time: float, seed: int = 1) -> list[bytes]:
    """The first is stamped with `unix_time`, the others with the ticks after it."""
    us, chance, maker = StaticKeys.of(caller), random.Random(seed), CookieMaker(victim)
    them = Remote(victim, x25519(caller, victim))
    made = []
    for number in range(count):
        stamp = tai64n.encode(int((unix_time + 2 * TICK * number) * 1e9))
        sender = chance.getrandbits(32)
        _state, message = create_initiation(us, them, sender, PrivateKey(chance.randbytes(32)), stamp)
        made.append(maker.add_macs(message.encode(), 0.0))
    return made


def strangers(count: int) -> list[UdpAddress]:
    """So many sources that share nothing."""
    return [UdpAddress(f"198.51.{number // 250}.{number % 250 + 1}", 9) for number in range(count)]


class Flood:
    """Sends messages over and over, `per_second` of them, from each source in turn, in a thread of its own."""

    def __init__(
        self,
        messages: Iterable[bytes],
        address: tuple[str, int],
        *,
        per_second: float,
        sources: Sequence[str] = ("127.0.0.2",),
    ) -> None:
        self.sent = self.cookies = 0
        self._messages = itertools.cycle(messages)
        self._per_second = per_second
        self._sockets = [_socket(source, address) for source in sources]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="flood", daemon=True)

    def __enter__(self) -> Flood:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        for sock in self._sockets:
            sock.close()

    def _run(self) -> None:
        begun = time.monotonic()
        sockets = itertools.cycle(self._sockets)
        while not self._stop.wait(0.002):
            due = int((time.monotonic() - begun) * self._per_second)
            for sock in itertools.islice(sockets, max(0, due - self.sent)):
                self._send(sock, next(self._messages))

    def _send(self, sock: socket.socket, message: bytes) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
            sock.send(message)
        self.sent += 1
        with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
            self.cookies += message_type(sock.recv(256)) == COOKIE_REPLY


def _socket(source: str, address: tuple[str, int]) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((source, 0))
    sock.connect(address)
    sock.setblocking(False)
    return sock

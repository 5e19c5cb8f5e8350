"""Our end of a WireGuard tunnel on a real socket: a Device under a Stack, turned by the test's own thread.

    with Tunnel(private, theirs, addresses=("100.64.0.2",), endpoint=("127.0.0.1", 51820)) as ours:
        ping = ours.stack.ping(ip_address("100.64.0.1"))
        ping.send(ours.now)
        ours.run(lambda: ping.readable)

It shows what went over the wire (`log`), and can lose handshakes (`drop_handshakes`). It follows the peer to where
its last authentic message came from, as the engine's paths do.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from typing import NamedTuple, Self

from netstack.stack import Stack
from tsnet.base.addresses import Destination, UdpAddress
from tsnet.base.crypto import node_public
from tsnet.base.keys import NodeKey, NodePrivateKey
from tsnet.wireguard.device import Device
from tsnet.wireguard.facts import Established, Fact, Heard

BUFFER = 8 << 20
BATCH = 256
BUDGET = 256 * 1024
INITIATION, RESPONSE, COOKIE, TRANSPORT = 1, 2, 3, 4
KEEPALIVE_SIZE = 32


class Seen(NamedTuple):
    """One datagram. head: all of a handshake message, of others the first 16 bytes."""

    at: float
    ours: bool
    kind: int
    size: int
    head: bytes


class Tunnel:
    """endpoint: where the peer is; None until it speaks first. local: our side's address; its family is the wire's."""

    def __init__(
        self,
        private: NodePrivateKey,
        peer: NodeKey,
        *,
        addresses: Iterable[str],
        endpoint: tuple[str, int] | None = None,
        local: str = "127.0.0.1",
        port: int = 0,
        psk: bytes | None = None,
        persistent_keepalive: float | None = None,
    ) -> None:
        self.key, self.peer = node_public(private), peer
        self.now = time.monotonic()
        self.device = Device(private, entropy=os.urandom, wall_offset=time.time() - self.now)
        self.device.mark_saved(time.time() + 86_400)  # it has no next life
        self.device.add_peer(peer, psk=psk, persistent_keepalive=persistent_keepalive)
        self.stack = Stack(entropy=os.urandom, now=self.now)
        self.stack.set_addresses(map(ip_address, addresses), self.now)
        self.endpoint: Destination | None = UdpAddress(*endpoint) if endpoint else None
        self.facts: list[Fact] = []
        self.log: list[Seen] = []
        self.batches: list[tuple[float, int]] = []
        """(when, packets) of every authentic batch."""
        self.drop_handshakes = False
        self.batch = BATCH
        """Datagrams that one turn reads at most."""
        self._local = local
        self.socket = self._open(port)

    # --- the test's calls -----------------------------------------------------------------------------------

    def run(self, until: Callable[[], object], *, timeout: float = 10.0) -> None:
        """Turn until it is so."""
        end = time.monotonic() + timeout
        while not until():
            if self.now > end:
                raise TimeoutError(
                    f"not within {timeout} s; dropped: {dict(self.device.dropped)} {dict(self.stack.dropped)}"
                )
            self.turn(min(end - self.now, 0.05))

    def wait_unread(self, timeout: float = 10.0) -> None:
        """Until a datagram lies in the socket, which stays there."""
        assert select.select([self.socket], [], [], timeout)[0]

    def turn(self, wait: float) -> None:
        """Wait for a datagram or a deadline, `wait` seconds at most; then one round of all verbs."""
        due = min(self.device.deadline(), self.stack.deadline())
        wait = max(0.0, min(wait, due - time.monotonic()))
        select.select([self.socket], [], [], wait)
        self.now = time.monotonic()
        ups = self.device.receive(self._drain(), self.now)
        for _, source, packets in ups:
            self.endpoint = source
            self.batches.append((self.now, len(packets)))
        self.stack.receive([(self.peer, packets) for _, _, packets in ups], self.now)
        self.transmit()

    def transmit(self) -> None:
        """What the stack and the device have to send."""
        runs = self.stack.transmit(self.now, BUDGET)
        self.device.send([(self.peer, packets) for _, packets in runs], self.now)
        down = self.device.transmit(self.now, BUDGET)
        for fact in self.device.take_facts():
            self.facts.append(fact)
            if isinstance(fact, Heard):
                self.endpoint = fact.source
        for recipient, datagrams in down:
            destination = self.endpoint if isinstance(recipient, NodeKey) else recipient
            if isinstance(destination, UdpAddress):
                for datagram in datagrams:
                    self._send(datagram, destination)

    def established(self) -> list[Established]:
        return [fact for fact in self.facts if isinstance(fact, Established)]

    def seen(self, kind: int, *, ours: bool) -> list[Seen]:
        return [seen for seen in self.log if seen.kind == kind and seen.ours is ours]

    def move(self) -> None:
        """Roam: from now on another port."""
        self.socket.close()
        self.socket = self._open(0)

    @property
    def port(self) -> int:
        return int(self.socket.getsockname()[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    # --- the wire -------------------------------------------------------------------------------------------

    def _open(self, port: int) -> socket.socket:
        wire = socket.socket(socket.AF_INET6 if ":" in self._local else socket.AF_INET, socket.SOCK_DGRAM)
        wire.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_RCVBUFFORCE", 33), BUFFER)
        wire.bind((self._local, port))
        wire.setblocking(False)
        return wire

    def _drain(self) -> list[tuple[Destination, list[bytes]]]:
        runs: dict[Destination, list[bytes]] = {}
        with contextlib.suppress(BlockingIOError):
            for _ in range(self.batch):
                datagram, source = self.socket.recvfrom(65_535)
                if self._passes(datagram, ours=False):
                    runs.setdefault(UdpAddress(source[0], source[1]), []).append(datagram)
        return list(runs.items())

    def _send(self, datagram: bytes, destination: UdpAddress) -> None:
        if self._passes(datagram, ours=True):
            with contextlib.suppress(BlockingIOError):  # as any full wire, it loses
                self.socket.sendto(datagram, destination)

    def _passes(self, datagram: bytes, *, ours: bool) -> bool:
        kind = datagram[0] if datagram else 0
        is_handshake = kind in (INITIATION, RESPONSE)
        self.log.append(Seen(self.now, ours, kind, len(datagram), datagram if is_handshake else datagram[:16]))
        return not (is_handshake and self.drop_handshakes)

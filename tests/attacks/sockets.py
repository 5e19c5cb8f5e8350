"""The attacks on real sockets, each in a thread of its own.

    with attack_control(host, port, control_key, "rapid_reset") as attack: ...     one connection after the other
    with HostileControl("ping_flood") as control: ... Server(control_url=control.url)
    with attack_relay(host, port, "tiny_packets", key) as attack: ...

`attack.connections` tells how often the other end has closed, `attack.sent` the bytes that it took.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator

from tests.attacks import derp, http2
from tests.attacks.ts2021 import Callee, Caller
from tsnet.base.crypto import BOX_NONCE_SIZE
from tsnet.base.keys import MachineKey, MachinePrivateKey, NodeKey, NodePrivateKey
from tsnet.derp import frames
from tsnet.derp.login import ClientInfo, decode_server_key, seal_client_info
from tsnet.derp.upgrade import HeadReader, encode_request

PAUSE = 0.05
"""Seconds between two connections."""

PATIENCE = 0.2
"""Seconds for one write, after which the attacker looks whether it is to stop."""


class Attack:
    """Runs `attempt` until it is told to stop."""

    def __init__(self, attempt: Callable[[Attack], None]) -> None:
        self.connections = self.sent = 0
        self.stopped = threading.Event()
        self._attempt = attempt
        self._thread = threading.Thread(target=self._run, name="attack", daemon=True)

    def __enter__(self) -> Attack:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self._thread.join(10)

    def _run(self) -> None:
        while not self.stopped.is_set():
            with contextlib.suppress(OSError, AssertionError, EOFError):
                self._attempt(self)
            self.connections += 1
            self.stopped.wait(PAUSE)

    def pour(self, sock: socket.socket, pieces: Iterable[bytes]) -> None:
        """Send until the other end closes, or the attack is over. What comes back is never read."""
        sock.settimeout(PATIENCE)
        for piece in pieces:
            left = memoryview(piece)
            while left and not self.stopped.is_set():
                with contextlib.suppress(TimeoutError):
                    sent = sock.send(left)
                    self.sent += sent
                    left = left[sent:]
            if self.stopped.is_set():
                return


def attack_control(host: str, port: int, control: MachineKey, name: str) -> Attack:
    def attempt(attack: Attack) -> None:
        with socket.create_connection((host, port), timeout=5) as sock:
            caller = Caller(control)
            sock.sendall(caller.sent)
            while not caller.is_up:
                caller.receive(_some(sock))
            attack.pour(sock, caller.attack(name))

    return Attack(attempt)


def attack_relay(
    host: str, port: int, name: str, key: NodeKey, *, tls: bool = True, private: NodePrivateKey | None = None
) -> Attack:
    """key: the peer that packets go to."""

    def attempt(attack: Attack) -> None:
        with log_in(host, port, private or NodePrivateKey(os.urandom(32)), tls=tls) as sock:
            attack.pour(sock, http2.chunks(derp.ON_RELAY[name](key)))

    return Attack(attempt)


def log_in(host: str, port: int, private: NodePrivateKey, *, tls: bool = True) -> socket.socket:
    """A connection to a relay, up to ClientInfo. Its certificate is not looked at."""
    sock = socket.create_connection((host, port), timeout=5)
    if tls:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        sock = context.wrap_socket(sock)
    sock.sendall(encode_request(host))
    reader, decoder = HeadReader(), frames.Decoder()
    while (whole := reader.feed(_some(sock))) is None:
        pass
    found = decoder.feed(whole[1])
    while not found:
        found = decoder.feed(_some(sock))
    server_key = decode_server_key(found[0][1])
    login = seal_client_info(private, server_key, os.urandom(BOX_NONCE_SIZE), ClientInfo())
    sock.sendall(frames.encode(frames.CLIENT_INFO, login))
    return sock


class HostileControl:
    """A control server on loopback that lets every node in, and attacks it once it polls for its map.

    name: of an attack in http2.ON_CLIENT; or `choose` makes the frames. `reads`: whether it reads meanwhile.
    """

    def __init__(self, name: str = "", choose: Callable[[int], Iterator[bytes]] | None = None) -> None:
        self.attack = Attack(self._attempt)
        self._choose = choose or http2.ON_CLIENT[name]
        self._private = MachinePrivateKey(os.urandom(32))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(PATIENCE)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> HostileControl:
        self.attack.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.attack.__exit__()
        self._listener.close()
        for thread in self._threads:
            thread.join(10)

    def _attempt(self, attack: Attack) -> None:
        sock, _remote = self._listener.accept()
        thread = threading.Thread(target=self._serve, args=(attack, sock), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve(self, attack: Attack, sock: socket.socket) -> None:
        callee = Callee(self._private, self._choose)
        with contextlib.suppress(OSError, EOFError), sock:
            sock.settimeout(30)
            while callee.frames is None:
                sock.sendall(callee.receive(_some(sock)))
            attack.pour(sock, callee.attack())


def _some(sock: socket.socket) -> bytes:
    data = sock.recv(1 << 16)
    if not data:
        raise EOFError
    return data

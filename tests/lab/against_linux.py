"""One transfer between our stack and Linux, over a TUN device and a shim each way."""

from __future__ import annotations

import hashlib
import select
import socket
import struct
import time
from collections.abc import Callable

from netstack import TcpConnection
from tests.lab.cases import DEADLINE, Case, Outcome
from tests.netstack.tun import LINUX_V4, LINUX_V6, OURS_V4, OURS_V6, TunHost

PORT = 80
CHUNK = 262_144


def transfer(case: Case, timeout: float = DEADLINE) -> Outcome:
    there, back = case.shims()
    host = TunHost(there=there, back=back)
    try:
        begun = time.monotonic()
        sock, connection = _connect(host, case, timeout)
        payload, digest = case.payload, hashlib.sha256()
        move = _ours_sends if case.sender == "ours" else _theirs_sends
        step, count = move(sock, connection, payload, digest)
        host.run_until(step, timeout)
        seconds = time.monotonic() - begun
        return Outcome(
            hashlib.sha256(payload).hexdigest(),
            digest.hexdigest(),
            count[0],
            seconds,
            connection.error,
            there.counts,
            back.counts,
            connection.info().retransmitted,
            tcp_info(sock),
        )
    finally:
        host.close()


def _connect(host: TunHost, case: Case, timeout: float) -> tuple[socket.socket, TcpConnection]:
    family = socket.AF_INET6 if case.v6 else socket.AF_INET
    linux, ours = (LINUX_V6, OURS_V6) if case.v6 else (LINUX_V4, OURS_V4)
    sock = host.socket(family, socket.SOCK_STREAM)
    if case.dials == "theirs":
        listener = host.stack.listen(PORT)
        sock.connect_ex((str(ours), PORT))
        host.run_until(lambda now: listener.readable, timeout)
        connection = listener.accept()
        assert connection is not None
        return sock, connection
    sock.bind((str(linux), PORT))
    sock.listen()
    connection = host.stack.connect(linux, PORT, host.now())
    accepted: list[socket.socket] = []

    def is_accepted(now: float) -> bool:
        assert connection.error is None, connection.error
        if found := host.accept(sock):
            accepted.append(found)
        return bool(accepted)

    host.run_until(is_accepted, timeout)
    return accepted[0], connection


Step = tuple[Callable[[float], bool], list[int]]


def _ours_sends(sock: socket.socket, connection: TcpConnection, payload: bytes, digest: hashlib._Hash) -> Step:
    sent, count = 0, [0]

    def step(now: float) -> bool:
        nonlocal sent
        assert connection.error is None, connection.error
        if sent < len(payload):
            sent += connection.write(payload[sent : sent + CHUNK], now)
            if sent == len(payload):
                connection.shutdown_write(now)
        try:
            while data := sock.recv(CHUNK):
                digest.update(data)
                count[0] += len(data)
        except BlockingIOError:
            return False
        return True

    return step, count


def _theirs_sends(sock: socket.socket, connection: TcpConnection, payload: bytes, digest: hashlib._Hash) -> Step:
    sent, count = 0, [0]

    def step(now: float) -> bool:
        nonlocal sent
        if sent < len(payload) and select.select([], [sock], [], 0)[1]:
            sent += sock.send(payload[sent : sent + CHUNK])
            if sent == len(payload):
                sock.shutdown(socket.SHUT_WR)
        data = connection.read()
        digest.update(data)
        count[0] += len(data)
        assert connection.error is None, connection.error
        return connection.eof

    return step, count


def tcp_info(sock: socket.socket) -> dict[str, int]:
    """What Linux counted (struct tcp_info of linux/tcp.h); `dsack_dups` are what the other end got twice."""
    data = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256).ljust(256, b"\0")
    offsets = {"cwnd": 80, "total_retrans": 100, "dsack_dups": 216, "reord_seen": 220, "rcv_ooopack": 224}
    return {name: int(struct.unpack_from("I", data, at)[0]) for name, at in offsets.items()}

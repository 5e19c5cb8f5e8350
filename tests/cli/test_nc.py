from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Callable

import pytest

import tsnet
from tests.cli.conftest import Start
from tsnet.cli import main


def peer(shop: tsnet.Server, handler: Callable[[socket.socket], None], port: int = 7) -> threading.Thread:
    """One connection to the shop, handled in a thread."""
    listener = shop.listen(port)

    def serve() -> None:
        with listener, listener.accept()[0] as sock:
            handler(sock)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


def read_all(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(1 << 16), b""))


def test_the_end_of_stdin_is_a_half_close(shop: tsnet.Server, start: Start) -> None:
    data = os.urandom(300_000)
    thread = peer(shop, lambda sock: sock.sendall(read_all(sock)[::-1]))
    out, _ = start("nc", "shop", "7").communicate(data, timeout=20)
    thread.join(10)
    assert out == data[::-1]


def test_it_exits_when_the_peer_closes_though_stdin_is_open(shop: tsnet.Server, start: Start) -> None:
    thread = peer(shop, lambda sock: sock.sendall(b"bye"))
    nc = start("nc", "shop", "7")
    assert nc.stdout is not None
    assert nc.stdout.read() == b"bye"
    assert nc.wait(10) == 0
    thread.join(10)


def test_a_key_before_the_data_on_one_stdin(shop: tsnet.Server, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    key = os.environ["TS_AUTHKEY"]
    monkeypatch.delenv("TS_AUTHKEY")
    got: list[bytes] = []
    thread = peer(shop, lambda sock: got.append(read_all(sock)))
    nc = start("nc", "--auth-key", "-", "shop", "7")
    nc.communicate(f"{key}\ndata\n".encode(), timeout=20)
    thread.join(10)
    assert nc.returncode == 0
    assert got == [b"data\n"]


def test_nobody_listens(shop: tsnet.Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nc", "shop", "81"]) == 1
    assert capsys.readouterr().err.splitlines()[-1].endswith("[dial-refused]")


def test_a_reset_is_not_an_end(shop: tsnet.Server, start: Start) -> None:
    def reset(sock: socket.socket) -> None:
        sock.sendall(b"half")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    thread = peer(shop, reset)
    assert start("nc", "shop", "7").wait(20) == 1
    thread.join(10)

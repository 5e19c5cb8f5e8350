"""Options and refusals alone; against the kernel's: `test_conformance`."""

from __future__ import annotations

import errno
import socket
import struct

import pytest

from tsnet.sockets.answers import Options, identity, refusal, refusal_ex

NODELAY = (socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_options_are_remembered_in_both_forms() -> None:
    options = Options()
    assert options.get(*NODELAY, 0) == 0
    options.set(*NODELAY, 1)
    assert (options.get(*NODELAY, 0), options.get(*NODELAY, 4)) == (1, struct.pack("i", 1))
    options.set(*NODELAY, struct.pack("i", 0))
    assert options.get(*NODELAY, 0) == 0
    assert options.get(*NODELAY, 4) == struct.pack("i", 0)


def test_what_nobody_has_set_has_linux_s_default() -> None:
    assert Options().get(socket.IPPROTO_IP, socket.IP_TTL, 0) == 64


class Refusing(socket.socket):
    connect = refusal(errno.EISCONN)
    connect_ex = refusal_ex(errno.EISCONN)


def test_a_refusal_has_the_errno_or_says_that_the_socket_is_closed() -> None:
    with Refusing() as sock:
        with pytest.raises(OSError, match="connected") as failure:
            sock.connect(("127.0.0.1", 9))
        assert failure.value.errno == sock.connect_ex(("127.0.0.1", 9)) == errno.EISCONN
    with pytest.raises(OSError, match="descriptor") as failure:
        sock.connect(("127.0.0.1", 9))
    assert failure.value.errno == sock.connect_ex(("127.0.0.1", 9)) == errno.EBADF


def test_a_socket_tells_what_it_is() -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        assert identity(sock, socket.SO_TYPE) == socket.SOCK_DGRAM
        assert identity(sock, getattr(socket, "SO_DOMAIN", 39)) == socket.AF_INET6
        assert identity(sock, getattr(socket, "SO_PROTOCOL", 38)) == socket.IPPROTO_UDP
        assert identity(sock, socket.SO_RCVBUF) is None

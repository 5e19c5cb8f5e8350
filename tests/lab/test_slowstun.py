"""SlowStun answers Tailscale's nodes after its delay, and nobody else."""

from __future__ import annotations

import socket
import time

from tests.lab.slowstun import SlowStun
from tsnet.base.addresses import UdpAddress
from tsnet.netcheck.stun import decode_response, encode_request

DELAY = 0.03
TX_ID = b"twelve bytes"


def test_an_answer_takes_its_time_and_garbage_gets_none() -> None:
    with SlowStun("", "127.0.0.1", 0, delay=DELAY) as server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.bind(("127.0.0.1", 0))
        begun = time.monotonic()
        for datagram in (b"garbage", encode_request(TX_ID)):
            sock.sendto(datagram, server.address)
        assert decode_response(sock.recv(1000)) == (TX_ID, UdpAddress(*sock.getsockname()))
        assert time.monotonic() - begun >= DELAY

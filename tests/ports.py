"""A port number that stays a test's own although it is bound, let go and bound again.

    port = OwnPort()        port.number may be bound, TCP and UDP, until port.close()

    chosen by the kernel    given to whoever asks for any port next, once it is let go
    number                  even, below those that the kernel chooses from
    number + 1              held meanwhile: no other process of these tests takes the pair

Not here: ports that are bound once and kept, for which the kernel chooses best.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress

LOWEST, HIGHEST = 20_000, 32_000
"""Linux chooses from 32768 on, macOS and Windows from 49152 on."""


class OwnPort:
    def __init__(self) -> None:
        self._held, self.number = _find()

    def close(self) -> None:
        self._held.close()


def _find() -> tuple[socket.socket, int]:
    pairs = (HIGHEST - LOWEST) // 2
    for count in range(pairs):
        number = LOWEST + 2 * ((os.getpid() * 61 + count) % pairs)  # processes that begin together look elsewhere
        held = socket.socket()
        try:
            held.bind(("127.0.0.1", number + 1))
            if _is_free(number):
                return held, number
        except OSError:
            """Another process of these tests has the pair."""
        held.close()
    raise AssertionError("all ports are taken")


def _is_free(number: int) -> bool:
    """Whether nobody who knows nothing of these pairs is there."""
    with suppress(OSError), socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        for each in (tcp, udp):
            each.bind(("0.0.0.0", number))
        return True
    return False

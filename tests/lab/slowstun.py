"""A STUN server whose answers take their time: to a node it is a region far away.

    with SlowStun(namespace, address, port, delay=0.03): …

Latency is all that a node knows of a region before it dials. Relays themselves are as near as they are. Without a
namespace it is in the thread's own.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections import deque
from typing import Self

from tests.interop.harness.scene import inside
from tsnet.base.addresses import UdpAddress
from tsnet.base.malformed import MalformedError
from tsnet.netcheck.stun import decode_request, encode_response


class SlowStun:
    def __init__(self, namespace: str, address: str, port: int, *, delay: float) -> None:
        with inside(namespace) if namespace else contextlib.nullcontext():
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, port))
        self.address: tuple[str, int] = self._socket.getsockname()
        self._delay = delay
        self._waiting: deque[tuple[float, bytes, tuple[str, int]]] = deque()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="slow STUN")

    def _run(self) -> None:
        while not self._ended.is_set():
            pause = max(0.0, self._waiting[0][0] - time.monotonic()) if self._waiting else 0.1
            if select.select([self._socket], [], [], min(pause, 0.1))[0]:
                self._hear()
            while self._waiting and self._waiting[0][0] <= time.monotonic():
                _, answer, source = self._waiting.popleft()
                with contextlib.suppress(OSError):
                    self._socket.sendto(answer, source)

    def _hear(self) -> None:
        with contextlib.suppress(OSError, MalformedError):
            data, source = self._socket.recvfrom(2048)
            answer = encode_response(decode_request(data), UdpAddress(*source[:2]))
            self._waiting.append((time.monotonic() + self._delay, answer, source))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._socket.close()

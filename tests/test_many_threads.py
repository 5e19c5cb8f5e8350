"""Sixteen threads use two nodes at the same time: every call answers in time and with what is its own, and in the end
nothing is left.

    a thread ─► one of OPERATIONS, chosen by its own seed ─► … ─► OPERATIONS_EACH times

A sixth of the calls are of another loop: an `AsyncServer` of the same node in a loop of the thread's own.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from typing import Any

import pytest

import tsnet
from tests.footprint import PATIENCE
from tests.guests import guest_of
from tsnet.testing.tailnet import Tailnet

NIGHTLY = os.environ.get("TSNET_NIGHTLY") == "1"
THREADS = 16
OPERATIONS_EACH = 1_000 if NIGHTLY else 250
PORT = 7
LONGEST = 10.0
"""Seconds that no call takes, however busy the machine is."""


class Both:
    """Two nodes, and a service that sends back what it is sent."""

    def __init__(self, here: tsnet.Server, there: tsnet.Server) -> None:
        self.here, self.there = here, there
        self.listening = there.listen(PORT, backlog=4 * THREADS)
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                accepted, _ = self.listening.accept()
                self._threads.append(threading.Thread(target=send_back, args=(accepted,)))
                self._threads[-1].start()

    def close(self) -> None:
        self.listening.close()
        for thread in self._threads:
            thread.join(LONGEST)
            assert not thread.is_alive()


def send_back(stream: socket.socket) -> None:
    with stream, suppress(OSError):
        while data := stream.recv(1 << 16):
            stream.sendall(data)


def exchange(both: Both, rng: random.Random) -> None:
    text = rng.randbytes(rng.randrange(1, 5_000))
    with both.here.dial("there", PORT, timeout=LONGEST) as stream:
        stream.settimeout(LONGEST)
        stream.sendall(text)
        stream.shutdown(socket.SHUT_WR)
        found = b""
        while data := stream.recv(1 << 16):
            found += data
    assert found == text


def serve_once(both: Both, rng: random.Random) -> None:
    """A port of this thread's own, and a connection to it."""
    with both.here.listen(0) as listening, both.there.dial("here", listening.getsockname()[1]) as client:
        listening.settimeout(LONGEST)
        accepted, _ = listening.accept()
        with accepted:
            accepted.sendall(b"mine")
            assert client.recv(10) == b"mine"


def datagram(both: Both, rng: random.Random) -> None:
    with (
        both.there.listen_packet(0) as receiving,
        both.here.dial_packet("there", receiving.getsockname()[1]) as sending,
    ):
        receiving.settimeout(LONGEST)
        text = rng.randbytes(100)
        sending.send(text)
        assert receiving.recv(1_000) == text


def look(both: Both, rng: random.Random) -> None:
    """What reads, and waits for nobody."""
    status = both.here.status()
    assert status.state == "running"
    assert [peer.name for peer in status.peers] == ["there"]
    owner = both.here.whois(str(status.peers[0].addresses[0]))
    assert owner is not None
    assert owner.name == "there"
    with both.here.events():
        pass


def ping(both: Both, rng: random.Random) -> None:
    both.here.ping("there", kind=rng.choice(["disco", "tsmp", "icmp"]), timeout=LONGEST)


def from_another_loop(both: Both, rng: random.Random) -> None:
    async def ask() -> bytes:
        node = tsnet.AsyncServer._of(both.here)
        async with await node.dial("there", PORT, timeout=LONGEST) as stream:
            await stream.send(b"loop")
            return await stream.receive()

    assert asyncio.run(ask()) == b"loop"


OPERATIONS: list[Callable[[Both, random.Random], None]] = [
    *(exchange, serve_once, datagram),
    *(look, ping, from_another_loop),
]


def work(both: Both, number: int) -> tuple[Counter[str], float]:
    """What was done, and how long the longest call took."""
    rng, done, longest = random.Random(number), Counter[str](), 0.0
    for _ in range(OPERATIONS_EACH):
        operation, begun = rng.choice(OPERATIONS), time.monotonic()
        operation(both, rng)
        done[operation.__name__] += 1
        longest = max(longest, time.monotonic() - begun)
    return done, longest


@pytest.fixture
def both(tailnet: Tailnet) -> Iterator[Both]:
    options: Any = guest_of(tailnet)
    with tsnet.Server("here", **options) as here, tsnet.Server("there", **options) as there:
        here.reachable()
        there.reachable()
        with closing(Both(here, there)) as nodes:
            yield nodes


@pytest.mark.slow
@pytest.mark.timeout(1_800 if NIGHTLY else 120)
def test_sixteen_threads(both: Both) -> None:
    with ThreadPoolExecutor(THREADS) as pool:
        results = list(pool.map(lambda number: work(both, number), range(THREADS)))
    done: Counter[str] = sum((result[0] for result in results), Counter())
    print(dict(done), f"longest {max(longest for _, longest in results):.2f} s")
    assert done.total() == THREADS * OPERATIONS_EACH
    assert set(done) == {operation.__name__ for operation in OPERATIONS}
    assert max(longest for _, longest in results) < LONGEST
    assert_nothing_is_left(both)


def assert_nothing_is_left(both: Both) -> None:
    """But the one listener, and the attempts of nobody."""
    by = time.monotonic() + PATIENCE
    while True:
        left = {node.name: len(node._handle.pump.owners) for node in (both.here, both.there)}
        if left == {"here": 0, "there": 1} and not len(both.here._handle.attempts):
            return
        assert time.monotonic() < by, left
        time.sleep(0.01)

"""One stream at MTU 1280, interleaved with what it is measured against, all in one run.

    seal+open           one thread: the AEAD over the same bytes, and nothing else
    whole path          two processes over loopback UDP; pure Python, and with numpy imported (faster checksums)
    Go's tsnet          two of its nodes on a direct path over loopback
    wireguard-go        two of its devices between two Linux TCP ends, in namespaces joined by a wire

Payload random, hashes compared. numpy must not be imported in this process. Beside the clock's ratio stands that of
CPU time, the busier process's. On a quiet machine both are the same and the clock's gates; where other programs took
the cores in most rounds, the clock says nothing of us, and that of CPU time gates.

    python -m benchmarks.whole_path [rounds] [MiB]
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable

from benchmarks.figures import Row, Skipped, median, table
from benchmarks.pairs import go_pair, our_pair
from benchmarks.programs import Bystanders, OurNode, missing_go, stream
from benchmarks.wireguard_go import wireguard_go
from tsnet.base.crypto import Aead
from tsnet.testing.tailnet import Tailnet

PACKET = 1280
FLOOR, GOAL, NUMPY_GOAL = 0.25, 0.40, 0.65
DISTURBED = 0.2
"""Cores that other programs may take in a round."""

SEALING, PURE, NUMPY = "seal+open", "pure Python", "with numpy"
GO, WIREGUARD_GO = "Go's tsnet", "wireguard-go"

Contender = Callable[[], float]
"""Measures once: Gbit/s."""


class Sealing:
    """Seal and open the packets of `size` random bytes. cpu: Gbit per second of CPU, of the last measurement."""

    def __init__(self, size: int) -> None:
        payload = os.urandom(size)
        self._packets = [payload[at : at + PACKET] for at in range(0, size, PACKET)]
        self._size = size
        self.cpu = 0.0

    def __call__(self) -> float:
        aead = Aead(os.urandom(32))
        seal, unseal, nonce = aead.encrypt, aead.decrypt, bytes(12)
        begun, cpu = time.perf_counter(), time.thread_time()
        for packet in self._packets:
            unseal(nonce, seal(nonce, packet, None), None)
        self.cpu = self._size * 8 / (time.thread_time() - cpu) / 1e9
        return self._size * 8 / (time.perf_counter() - begun) / 1e9


class WholePath:
    """A stream between two nodes, and what the last one showed.

    cpu: Gbit per CPU second of the busier one; us: each one's CPU for 1280 bytes; others: cores that others took.
    """

    def __init__(self, sender: OurNode, receiver: OurNode, size: int) -> None:
        self._sender, self._receiver = sender, receiver
        self._size = size
        self.cpu = 0.0
        self.us = (0.0, 0.0)
        self.others = 0.0

    def __call__(self) -> float:
        others = Bystanders(self._sender.process.pid, self._receiver.process.pid)
        rate, *spent = stream(self._sender, self._receiver, self._receiver.hostname, self._size)
        self.others = others.cores()
        packets = self._size / PACKET
        self.us = (spent[0] / packets * 1e6, spent[1] / packets * 1e6)
        self.cpu = self._size * 8 / max(spent) / 1e9
        return rate


def interleave(rounds: int, contenders: dict[str, Contender]) -> Iterable[dict[str, float]]:
    """Each in turn, round by round; the first round warms up and is not counted."""
    for number in range(rounds + 1):
        measured = {name: contender() for name, contender in contenders.items()}
        if number:
            yield measured


def run(*, rounds: int = 5, size: int = 64 << 20, floors_only: bool = False) -> list[Row]:
    skipped: list[Row] = []
    with contextlib.ExitStack() as stack:
        tailnet = stack.enter_context(Tailnet())
        sealing = Sealing(size)
        pure = WholePath(*stack.enter_context(our_pair(tailnet, "pure")), size)
        contenders: dict[str, Contender] = {SEALING: sealing, PURE: pure}
        if not floors_only:
            skipped = add_the_others(stack, tailnet, contenders, size)
        measured, by_cpu = [], []
        for rates in interleave(rounds, contenders):
            measured.append(rates)
            by_cpu.append((pure.cpu / sealing.cpu, *pure.us, pure.others))
    ratios_by_cpu, sender_us, receiver_us, others = zip(*by_cpu, strict=True)
    is_quiet = statistics.median(others) < DISTURBED
    return [
        *ratios(measured, floor=FLOOR if is_quiet else None),
        median("whole path: the same by CPU time", ratios_by_cpu, floor=None if is_quiet else FLOOR, goal=GOAL),
        median("whole path: cores taken by others", others),
        median("whole path: sender, CPU a packet", sender_us, "us"),
        median("whole path: receiver, CPU a packet", receiver_us, "us"),
        *skipped,
    ]


def add_the_others(
    stack: contextlib.ExitStack, tailnet: Tailnet, contenders: dict[str, Contender], size: int
) -> list[Row]:
    """What only a full run measures; returns what cannot be measured here."""
    skipped: list[Row] = []
    if importlib.util.find_spec("numpy"):
        contenders[NUMPY] = WholePath(*stack.enter_context(our_pair(tailnet, "numpy", numpy=True)), size)
    else:
        skipped.append(Skipped(f"whole path: {NUMPY}", "numpy is not installed"))
    if reason := missing_go("derper", "testcontrol", "tsnetpeer"):
        skipped.append(Skipped(f"whole path: {GO}", reason))
    else:
        sender, receiver, address = stack.enter_context(go_pair())
        contenders[GO] = lambda: stream(sender, receiver, address, size).rate
    if reason := missing_go("wireguard", "tun"):
        skipped.append(Skipped(f"whole path: {WIREGUARD_GO}", reason))
    else:
        contenders[WIREGUARD_GO] = stack.enter_context(wireguard_go(size))
    return skipped


def ratios(measured: list[dict[str, float]], *, floor: float | None = FLOOR) -> list[Row]:
    """Medians of the round by round ratios, and of each contender."""

    def of(name: str, beside: str) -> list[float]:
        return [rates[name] / rates[beside] for rates in measured]

    rows: list[Row] = [median(f"whole path: {PURE} / {SEALING}", of(PURE, SEALING), floor=floor, goal=GOAL)]
    if NUMPY in measured[0]:
        rows.append(median(f"whole path: {NUMPY} / {SEALING}", of(NUMPY, SEALING), goal=NUMPY_GOAL))
    others = [name for name in (GO, WIREGUARD_GO) if name in measured[0]]
    rows += [median(f"whole path: {PURE} / {other}", of(PURE, other)) for other in others]
    rows += [median(f"whole path: {name}", [rates[name] for rates in measured], "Gbit/s") for name in measured[0]]
    return rows


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]]
    print(table(run(rounds=(numbers or [5])[0], size=(numbers[1] if len(numbers) > 1 else 64) << 20)))

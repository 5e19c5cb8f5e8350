"""One stream at MTU 1280, interleaved with what it is measured against, all in one run.

    seal+open alone     one thread: the AEAD over the same bytes, and nothing else
    whole path          two processes over loopback UDP; pure Python, and with numpy imported (faster checksums)
    wireguard-go        two of its devices between two Linux TCP ends, in namespaces joined by a wire

Payload random, hashes compared. numpy must not be imported in this process. Beside the clock's ratio stands that of
CPU time, the busier process's: it hardly moves when other programs take the cores.

    python -m benchmarks.whole_path [rounds] [MiB]
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator

from benchmarks.figures import Row, Skipped, median, table
from benchmarks.programs import LOOPBACK, OurNode, free_udp_port, missing_go, stream
from benchmarks.wireguard_go import wireguard_go
from tsnet.base.addresses import UdpAddress
from tsnet.base.crypto import Aead
from tsnet.testing.tailnet import Tailnet

PACKET = 1280
FLOOR, GOAL, NUMPY_GOAL = 0.25, 0.40, 0.65

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
    """A stream between two nodes. cpu: Gbit per CPU second of the busier one; us: each one's CPU for 1280 bytes."""

    def __init__(self, sender: OurNode, receiver: OurNode, size: int) -> None:
        self._sender, self._receiver = sender, receiver
        self._size = size
        self.cpu = 0.0
        self.us = (0.0, 0.0)

    def __call__(self) -> float:
        rate, *spent = stream(self._sender, self._receiver, self._receiver.hostname, self._size)
        packets = self._size / PACKET
        self.us = (spent[0] / packets * 1e6, spent[1] / packets * 1e6)
        self.cpu = self._size * 8 / max(spent) / 1e9
        return rate


@contextlib.contextmanager
def two_nodes(tailnet: Tailnet, prefix: str, *, numpy: bool = False) -> Iterator[tuple[OurNode, OurNode]]:
    """A sender, and a receiver that sinks on port 7, peers by one UDP endpoint each: the netmap calls them
    WireGuard-only."""
    names = f"{prefix}-sender", f"{prefix}-receiver"
    sender, receiver = (
        OurNode(name, tailnet.control_url, tailnet.auth_key, port=free_udp_port(), numpy=numpy) for name in names
    )
    with sender, receiver:
        sender.up()
        receiver.up()
        receiver.call("listen", address=":7", mode="sink")
        fix_endpoints(tailnet, sender, receiver)
        stream(sender, receiver, receiver.hostname, 1 << 20)
        yield sender, receiver


def fix_endpoints(tailnet: Tailnet, *nodes: OurNode) -> None:
    def change() -> None:
        for node in nodes:
            member = tailnet._state.named(node.hostname)
            assert member is not None
            endpoint = UdpAddress(LOOPBACK, node.port)
            tailnet._state.change(member, is_wireguard_only=True, endpoints=(endpoint,))

    tailnet._do(change)
    time.sleep(0.3)  # both netmaps


def interleave(rounds: int, contenders: dict[str, Contender]) -> Iterable[dict[str, float]]:
    """Each in turn, round by round; the first round warms up and is not counted."""
    for number in range(rounds + 1):
        measured = {name: contender() for name, contender in contenders.items()}
        if number:
            yield measured


def run(*, rounds: int = 5, size: int = 64 << 20, floors_only: bool = False) -> list[Row]:
    with contextlib.ExitStack() as stack:
        tailnet = stack.enter_context(Tailnet())
        sealing = Sealing(size)
        pure = WholePath(*stack.enter_context(two_nodes(tailnet, "pure")), size)
        contenders: dict[str, Contender] = {"seal+open": sealing, "pure": pure}
        skipped: list[Row] = []
        if not floors_only:
            if importlib.util.find_spec("numpy"):
                contenders["numpy"] = WholePath(*stack.enter_context(two_nodes(tailnet, "numpy", numpy=True)), size)
            else:
                skipped.append(Skipped("whole path with numpy", "numpy is not installed"))
            if reason := missing_go("wireguard", "tun"):
                skipped.append(Skipped("wireguard-go", reason))
            else:
                contenders["wireguard-go"] = stack.enter_context(wireguard_go(size))
        cpu_ratios, sender_us, receiver_us = [], [], []
        measured = []
        for rates in interleave(rounds, contenders):
            measured.append(rates)
            cpu_ratios.append(pure.cpu / sealing.cpu)
            sender_us.append(pure.us[0])
            receiver_us.append(pure.us[1])
    return [
        *ratios(measured),
        median("whole path: the same by CPU time", cpu_ratios),
        median("whole path: sender, CPU a packet", sender_us, "us"),
        median("whole path: receiver, CPU a packet", receiver_us, "us"),
        *skipped,
    ]


def ratios(measured: list[dict[str, float]]) -> list[Row]:
    """Medians of each contender, and of the round by round ratios."""

    def of(name: str, beside: str) -> list[float]:
        return [rates[name] / rates[beside] for rates in measured]

    rows: list[Row] = [
        median("whole path: pure Python / seal+open", of("pure", "seal+open"), floor=FLOOR, goal=GOAL),
        median("whole path: pure Python", [rates["pure"] for rates in measured], "Gbit/s"),
        median("whole path: seal+open alone", [rates["seal+open"] for rates in measured], "Gbit/s"),
    ]
    if "numpy" in measured[0]:
        rows.append(median("whole path: with numpy / seal+open", of("numpy", "seal+open"), goal=NUMPY_GOAL))
    if "wireguard-go" in measured[0]:
        rows.append(median("whole path: pure Python / wireguard-go", of("pure", "wireguard-go")))
        rows.append(median("whole path: wireguard-go", [rates["wireguard-go"] for rates in measured], "Gbit/s"))
    return rows


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]]
    print(table(run(rounds=(numbers or [5])[0], size=(numbers[1] if len(numbers) > 1 else 64) << 20)))

"""One stream between two processes over loopback UDP at MTU 1280, beside seal+open alone of the same bytes.

Measured in turn, in one run: the ratio is what counts, the absolute figures are the machine's. Payload random, hashes
compared. `numpy` beside us changes checksums, so it must not be imported here.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from typing import IO

from tsnet.base.addresses import UdpAddress
from tsnet.base.crypto import Aead
from tsnet.testing.tailnet import Tailnet

SIZE = 64 * 1024 * 1024
PACKET = 1280


class Node:
    """A `path_node` process."""

    def __init__(self, role: str, tailnet: Tailnet) -> None:
        arguments = [sys.executable, "-m", "benchmarks.path_node", role, role, tailnet.control_url, tailnet.auth_key]
        self.process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        _, self.name, port = self.read("ready")
        self.port = int(port)

    def read(self, kind: str) -> list[str]:
        assert self.process.stdout is not None
        words = self.process.stdout.readline().split()
        assert words and words[0] == kind, words
        return words

    def tell(self, line: str) -> None:
        stdin: IO[str] | None = self.process.stdin
        assert stdin is not None
        stdin.write(line + "\n")
        stdin.flush()

    def __enter__(self) -> Node:
        return self

    def __exit__(self, *exc: object) -> None:
        self.process.kill()
        self.process.wait()


def fix_endpoints(tailnet: Tailnet, *nodes: Node) -> None:
    """Each becomes a peer with one UDP endpoint, as a WireGuard-only node of a netmap is."""

    def change() -> None:
        for node in nodes:
            member = tailnet._state.named(node.name)
            assert member is not None
            endpoint = UdpAddress("127.0.0.1", node.port)
            tailnet._state.change(member, is_wireguard_only=True, endpoints=(endpoint,))

    tailnet._do(change)


def seal_and_open(size: int = SIZE) -> float:
    """Gbit/s of one thread that seals and opens packets, nothing else."""
    aead = Aead(os.urandom(32))
    packets = [os.urandom(PACKET) for _ in range(512)]
    rounds = size // (PACKET * len(packets))
    begun = time.perf_counter()
    for _ in range(rounds):
        for packet in packets:
            aead.decrypt(NONCE, aead.encrypt(NONCE, packet, b""), b"")
    return rounds * len(packets) * PACKET * 8 / (time.perf_counter() - begun) / 1e9


NONCE = bytes(12)


def stream(sender: Node, receiver: Node, size: int = SIZE) -> float:
    """Gbit/s of payload."""
    sender.tell(f"go {receiver.name} {size}")
    received, sent = receiver.read("received"), sender.read("sent")
    assert received[1] == sent[1] == str(size) and received[3] == sent[3], "bytes differ"
    return size * 8 / float(sent[2]) / 1e9


def measure(rounds: int = 5) -> dict[str, float]:
    with Tailnet() as tailnet, Node("serve", tailnet) as receiver, Node("send", tailnet) as sender:
        fix_endpoints(tailnet, sender, receiver)
        time.sleep(0.5)  # both netmaps
        stream(sender, receiver, SIZE // 8)
        paths, ceilings, ratios = [], [], []
        for _ in range(rounds):
            ceilings.append(seal_and_open())
            paths.append(stream(sender, receiver))
            ratios.append(paths[-1] / ceilings[-1])
    return {
        "whole path, Gbit/s": statistics.median(paths),
        "seal+open alone, Gbit/s": statistics.median(ceilings),
        "ratio": statistics.median(ratios),
    }


if __name__ == "__main__":
    for name, value in measure().items():
        print(f"{name:28} {value:.3f}")

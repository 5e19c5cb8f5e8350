"""netstack alone: two stacks joined by a list in one process; Gbit/s, and CPU microseconds a segment each way.

    python -m benchmarks.netstack_pair [--mtu 1280] [--mib 64] [--rounds 5] [--verify] [--numpy] [--profile]

The payload is random and compared byte for byte (by hash, outside the timed part). Sender and receiver take turns
in one thread, so "goodput" is one core's, and tx + rx + acknowledgements of a segment add up to it.
"""

from __future__ import annotations

import argparse
import cProfile
import hashlib
import pstats
import random
from ipaddress import ip_address
from time import perf_counter, process_time

from benchmarks.figures import Row, median, table
from netstack import Stack

CLIENT, SERVER = ip_address("100.64.0.1"), ip_address("100.64.0.2")


def transfer(payload: bytes, mtu: int, verified: bool) -> tuple[float, float, float, float]:
    """(seconds, CPU of the sender, CPU of the receiver, segments)."""
    entropy = random.Random(1).randbytes
    client, server = Stack(entropy=entropy, mtu=mtu), Stack(entropy=entropy, mtu=mtu)
    now = 1000.0
    client.set_addresses([CLIENT], now)
    server.set_addresses([SERVER], now)
    listener = server.listen(80)
    connection = client.connect(SERVER, 80, now)
    accepted = None
    received: list[bytes] = []
    written = arrived = segments = 0
    sending = receiving = 0.0
    view = memoryview(payload)
    begun = perf_counter()
    while arrived < len(payload):
        at = process_time()
        if connection.writable and written < len(payload):
            written += connection.write(bytes(view[written : written + 262_144]), now)
        runs = client.transmit(now)
        sending += process_time() - at
        segments += sum(len(packets) for _, packets in runs)
        at = process_time()
        server.receive([("client", packets) for _, packets in runs], now, verified=verified)
        if accepted is None:
            accepted = listener.accept()
        server.take_ready()
        if accepted is not None:
            for chunk in accepted.read_chunks():
                received.append(chunk)
                arrived += len(chunk)
        answers = server.transmit(now)
        receiving += process_time() - at
        at = process_time()
        client.receive([("server", packets) for _, packets in answers], now, verified=verified)
        client.take_ready()
        sending += process_time() - at
        now += 0.000_1
    seconds = perf_counter() - begun
    if hashlib.sha256(b"".join(received)).digest() != hashlib.sha256(payload).digest():
        raise SystemExit("the bytes that arrived are not those that were sent")
    return seconds, sending, receiving, segments


def run(*, mtu: int = 1280, size: int = 64 << 20, rounds: int = 5, verified: bool = True) -> list[Row]:
    payload = random.Random(2).randbytes(size)
    rates, senders, receivers = [], [], []
    for _ in range(rounds):
        seconds, sending, receiving, segments = transfer(payload, mtu, verified)
        rates.append(size * 8 / seconds / 1e9)
        senders.append(sending / segments * 1e6)
        receivers.append(receiving / segments * 1e6)
    return [
        median("netstack: one core, both ends", rates, "Gbit/s"),
        median("netstack: sender, CPU a segment", senders, "us"),
        median("netstack: receiver, CPU a segment", receivers, "us"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mtu", type=int, default=1280)
    parser.add_argument("--mib", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--verify", action="store_true", help="check checksums on receive")
    parser.add_argument("--numpy", action="store_true", help="import numpy first, as an application may")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    if options.numpy:
        import numpy  # noqa: F401
    size = options.mib << 20
    if options.profile:
        profile = cProfile.Profile()
        profile.runcall(transfer, random.Random(2).randbytes(size), options.mtu, not options.verify)
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)
        return
    print(table(run(mtu=options.mtu, size=size, rounds=options.rounds, verified=not options.verify)))


if __name__ == "__main__":
    main()

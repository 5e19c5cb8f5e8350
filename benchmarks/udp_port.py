"""The UDP port alone, over loopback: microseconds of CPU a datagram, sent and received, with and without offloads.

    python -m benchmarks.udp_port [rounds]

Sender and receiver are one process, so each row's two figures are measured apart, in turns: a batch is sent, then
drained. Medians; the payload is random.
"""

from __future__ import annotations

import os
import statistics
import sys
import time

from benchmarks.figures import Figure, Row, table
from tsnet.base.addresses import UdpAddress
from tsnet.edge.io.reactor import Reactor
from tsnet.edge.io.udp import UdpSockets

SIZE = 1312
RUN = 49
RUNS_A_BATCH = 8


def measure(gso: bool, gro: bool, rounds: int) -> tuple[float, float]:
    """(sent, received) in microseconds a datagram."""
    reactor = Reactor(time.monotonic)
    sender = UdpSockets(reactor, 0, lambda: None, gso=gso)
    receiver = UdpSockets(reactor, 0, lambda: None, gro=gro)
    to = UdpAddress("127.0.0.1", receiver.local_port)
    run = [os.urandom(SIZE) for _ in range(RUN)]
    sent, received = [], []
    for _ in range(rounds):
        began = time.process_time_ns()
        for _ in range(RUNS_A_BATCH):
            sender.send(to, run)
        sent.append((time.process_time_ns() - began) / 1000 / RUN / RUNS_A_BATCH)
        began, count = time.process_time_ns(), 0
        while count < RUN * RUNS_A_BATCH:
            reactor.wait(time.monotonic() + 1)
            count += sum(len(datagrams) for _, datagrams in receiver.receive())
        received.append((time.process_time_ns() - began) / 1000 / count)
    sender.close()
    receiver.close()
    reactor.close()
    return statistics.median(sent), statistics.median(received)


def run(*, rounds: int = 200) -> list[Row]:
    rows: list[Row] = []
    for offloads in (False, True):
        sent, received = measure(offloads, offloads, rounds)
        what = "with offloads" if offloads else "plain"
        rows.append(Figure(f"UDP port: {what}, sent, a datagram", sent, "us"))
        rows.append(Figure(f"UDP port: {what}, received, a datagram", received, "us"))
    return rows


if __name__ == "__main__":
    print(table(run(rounds=int((sys.argv[1:] or ["200"])[0]))))

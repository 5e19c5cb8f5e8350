"""netstack alone beside gVisor: one IP packet a UDP datagram on loopback, gVisor receiving, in turns.

    python -m benchmarks.netstack_gvisor [--rounds 3] [--mib 64] [--far]

| figure             | wire                                                | floor              |
|--------------------|-----------------------------------------------------|--------------------|
| sent, received     | none: our socket is gVisor's                        | reported; aim: 1   |
| sent at 100 ms     | a shim of 100 ms, no loss, both through our process | 0.9 (nightly only) |

gVisor to gVisor is two Go processes on two cores; with us it is one of Python and one of Go. gVisor has the options
that tsnet gives it. Payload is random; received bytes are compared by hash.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import select
import struct
import tempfile
import time
from contextlib import ExitStack
from ipaddress import ip_address
from pathlib import Path

from benchmarks.figures import Figure, Row, Skipped, median, spread, table
from benchmarks.programs import missing_go
from tests.lab.shim import Shim

NAME = "netstack beside gVisor"
NIGHTLY = os.environ.get("TSNET_NIGHTLY") == "1"
A, B = "10.8.0.1", "10.8.0.2"
PORT = 80
CHUNK = 262_144
_SOL_UDP, _SEGMENT, _GRO = 17, 103, 104


def between_two(size: int) -> float:
    """Gbit/s from one gVisor to another, no shim."""
    from tests.interop.harness.gvisor import GvisorPeer

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        receiver = stack.enter_context(GvisorPeer(folder, addresses=[A], name="a"))
        sender = stack.enter_context(GvisorPeer(folder, addresses=[B], name="b", wire=receiver.wire))
        receiver.listen(f":{PORT}", "sink")
        sent = sender.start("send", address=f"{A}:{PORT}", size=size, timeout=120)
        got = receiver.accepted(f":{PORT}", timeout=120)
        _same(sent.result(10)["sent"]["sha256"], got["sha256"])
        return size * 8 / float(got["seconds"]) / 1e9


class Direct:
    """Our stack on a UDP socket, runs with offloads: what the kernel cuts is still a packet a datagram."""

    def __init__(self, *, sends: bool) -> None:
        from tests.lab.against_gvisor import GvisorHost

        self.host = GvisorHost()
        self.sends = sends
        self.host.socket.setsockopt(_SOL_UDP, _GRO, 1)

    def measure(self, size: int) -> float:
        """Gbit/s."""
        with self.host as host:
            now = time.monotonic()
            host.peer.listen(f":{PORT}", "sink" if self.sends else "source", size=size)
            connection = host.stack.connect(ip_address(A), PORT, now)
            payload = random.Random(1).randbytes(size) if self.sends else b""
            told = host.peer.start("accepted", address=f":{PORT}", timeout=120)
            sent, digest, begun = 0, hashlib.sha256(), 0.0
            while not told.done():
                now = time.monotonic()
                if self.sends and connection.connected and sent < size:
                    sent += connection.write(payload[sent : sent + CHUNK], now)
                    if sent == size:
                        connection.shutdown_write(now)
                for chunk in connection.read_chunks():
                    begun = begun or now
                    digest.update(chunk)
                if connection.eof and not self.sends:
                    connection.close(now)
                self._turn(now)
            result = told.result()
            if self.sends:
                digest.update(payload)
            _same(digest.hexdigest(), result["sha256"])
            return size * 8 / (float(result["seconds"]) if self.sends else time.monotonic() - begun) / 1e9

    def _turn(self, now: float) -> None:
        stack, sock = self.host.stack, self.host.socket
        for _, packets in stack.transmit(now):
            segment = [(_SOL_UDP, _SEGMENT, struct.pack("H", len(packets[0])))] if len(packets) > 1 else []
            try:
                sock.sendmsg(packets, segment)
            except BlockingIOError:
                select.select([], [sock], [], 0.01)
        if stack.deadline() > now:
            select.select([sock], [], [], min(max(stack.deadline() - now, 0), 0.001))
        batch: list[bytes] = []
        try:
            while len(batch) < 512:
                data, ancillary, _, _ = sock.recvmsg(65_535, 64)
                size = struct.unpack("i", ancillary[0][2])[0] if ancillary else len(data)
                batch += [data[at : at + size] for at in range(0, len(data), size)]
        except BlockingIOError:
            pass
        if batch:
            stack.receive([("gvisor", batch)], time.monotonic())


def far(sender: str, size: int, round_trip: float = 0.1) -> float:
    """Mbit/s over a shim without loss: "ours" or "gVisor" to gVisor, both through this process."""
    from tests.interop.harness.gvisor import GvisorPeer
    from tests.lab.against_gvisor import GvisorHost, pouring
    from tests.lab.dumbbell import Dumbbell, FdEnd, udp_socket

    there, back = Shim(delay=round_trip / 2), Shim(delay=round_trip / 2)
    with ExitStack() as stack:
        host = stack.enter_context(GvisorHost(there=there, back=back))
        host.peer.listen(f":{PORT}", "sink")
        told = host.peer.start("accepted", address=f":{PORT}", timeout=120)
        if sender == "ours":
            connection = host.stack.connect(ip_address(A), PORT, time.monotonic())
            host.wire.run_until(lambda now: connection.connected)
            host.wire.run_until(pouring(connection, random.Random(2).randbytes(size)), 120)
            seconds = host.result(told, 120)["seconds"]
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            socket = stack.enter_context(udp_socket())
            peer = stack.enter_context(GvisorPeer(folder, addresses=[B], name="sender", wire=socket.getsockname()))
            socket.connect(peer.wire)
            ends = FdEnd(socket.fileno()), FdEnd(host.socket.fileno())
            wire = Dumbbell([(ends[0], ())], ends[1], there=there, back=back)
            peer.start("send", address=f"{A}:{PORT}", size=size, timeout=120)
            wire.run_until(lambda now: told.done(), 120)
            seconds = told.result()["seconds"]
    return size * 8 / float(seconds) / 1e6


def _same(sent: str, got: str) -> None:
    if sent != got:
        raise SystemExit("the bytes that arrived are not those that were sent")


def run(*, rounds: int = 3, size: int = 64 << 20, distant: bool = NIGHTLY) -> list[Row]:
    if reason := missing_go("gvisorpeer"):
        return [Skipped(NAME, reason)]
    theirs, sent, received = [], [], []
    for _ in range(rounds):
        theirs.append(between_two(size))
        sent.append(Direct(sends=True).measure(size))
        received.append(Direct(sends=False).measure(size))
    rows: list[Row] = [
        median(f"{NAME}: gVisor to gVisor", theirs, "Gbit/s"),
        median(f"{NAME}: ours to gVisor", sent, "Gbit/s"),
        median(f"{NAME}: gVisor to ours", received, "Gbit/s"),
        Figure(f"{NAME}: ours to gVisor / gVisor to gVisor", sum(sent) / sum(theirs), goal=1.0),
        Figure(f"{NAME}: gVisor to ours / gVisor to gVisor", sum(received) / sum(theirs), goal=1.0),
    ]
    if distant:
        pairs = [(far("ours", size), far("gVisor", size)) for _ in range(rounds)]
        rows += [
            median(f"{NAME}: ours to gVisor, 100 ms", [ours for ours, _ in pairs], "Mbit/s"),
            median(f"{NAME}: gVisor to gVisor, 100 ms", [other for _, other in pairs], "Mbit/s"),
            Figure(
                f"{NAME}: sent at 100 ms, ours / gVisor's",
                sum(ours for ours, _ in pairs) / sum(other for _, other in pairs),
                floor=0.9,
                note=spread([ours / other for ours, other in pairs]),
            ),
        ]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mib", type=int, default=64)
    parser.add_argument("--far", action="store_true", default=NIGHTLY)
    options = parser.parse_args()
    print(table(run(rounds=options.rounds, size=options.mib << 20, distant=options.far)))


if __name__ == "__main__":
    main()

"""netstack, what must stay flat: ratios of the same work done small and large, in one process.

    python -m benchmarks.netstack_costs [--scale 1.0]

| figure                          | small          | large                     | floor                     |
|---------------------------------|----------------|---------------------------|---------------------------|
| connections set up a second     | the first 1000 | with 10,000 open          | large / small <= 2        |
| memory of an idle connection    |                | 10,000 of them            | 4 KiB                     |
| … with the Stream of a node     |                | 1000 of them              | 16 KiB                    |
| a turn of one busy connection   | alone          | beside 10,000 idle ones   | <= 1.25 (aim: 1)          |
| a segment out of order          | 1000 of them   | 4000, in random order     | <= 2 (log n: 1.2)         |
| an acknowledgement with SACK    | 500 in flight  | 2000, every other is lost | <= 2                      |
| a byte of a stream              | 8 MiB          | 32 MiB                    | <= 1.25                   |

Each is the best of several rounds, small and large in turns: what else runs on the machine then harms both.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import random
import tracemalloc
from collections.abc import Callable
from time import perf_counter

from benchmarks import netstack_pair
from benchmarks.figures import Figure, Row, ratio, table
from netstack import Stack, TcpConnection, TcpListener
from tests.netstack.peer import Peer

NAME = "netstack costs"
CLIENT, SERVER = netstack_pair.CLIENT, netstack_pair.SERVER
NOW = 1000.0
PORTS = range(80, 84)
"""Several, so that the client's free ports do not run out."""


class Joined:
    """Two stacks and nothing between them. One hand clock."""

    def __init__(self) -> None:
        self.now = NOW
        entropy = random.Random(1).randbytes
        self.client, self.server = Stack(entropy=entropy), Stack(entropy=entropy)
        self.client.set_addresses([CLIENT], NOW)
        self.server.set_addresses([SERVER], NOW)
        self.listeners: list[TcpListener] = [self.server.listen(port, backlog=4096) for port in PORTS]
        self.held: list[TcpConnection] = []

    def carry(self) -> None:
        """Until neither has anything to say."""
        busy = True
        while busy:
            busy = False
            for source, target in ((self.client, self.server), (self.server, self.client)):
                runs = source.transmit(self.now)
                if runs:
                    target.receive([("wire", packets) for _, packets in runs], self.now, verified=True)
                    busy = True

    def open(self, count: int, batch: int = 100) -> None:
        """So many more, established and accepted."""
        for at in range(0, count, batch):
            for number in range(min(batch, count - at)):
                port = PORTS[number % len(PORTS)]
                self.held.append(self.client.connect(SERVER, port, self.now))
            self.carry()
            for listener in self.listeners:
                while (accepted := listener.accept()) is not None:
                    self.held.append(accepted)
            self.client.take_ready()
            self.server.take_ready()
            self.now += 0.001


def timed(work: Callable[[], object]) -> float:
    gc.collect()
    begun = perf_counter()
    work()
    return perf_counter() - begun


def set_up(count: int) -> tuple[float, float, Joined]:
    """(seconds for the first tenth, seconds for a tenth when all are open, the stacks that hold them)."""
    joined, tenth = Joined(), count // 10
    first = timed(lambda: joined.open(tenth))
    joined.open(count - tenth)
    return first, timed(lambda: joined.open(tenth)), joined


def memory(count: int) -> float:
    """Bytes an idle connection, one end, by tracemalloc."""
    joined = Joined()
    joined.open(10)
    gc.collect()
    tracemalloc.start()
    joined.open(count)
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return size / (2 * count)


def memory_with_streams(count: int) -> float:
    """Bytes an idle connection between two nodes, one end, all that both nodes hold for it included."""
    return asyncio.run(_memory_with_streams(count))


async def _memory_with_streams(count: int) -> float:
    from tsnet import AsyncServer
    from tsnet.edge.io.store import MemoryStore
    from tsnet.testing.tailnet import Tailnet

    def node(name: str) -> AsyncServer:
        url, key = tailnet.control_url, tailnet.auth_key
        return AsyncServer(name, control_url=url, auth_key=key, state=MemoryStore(), ephemeral=True)

    held: list[object] = []
    with Tailnet() as tailnet:
        async with node("client") as client, node("server") as server:
            listener = await server.listen(80)

            async def open_streams(count: int) -> None:
                for _ in range(count):
                    held.append(await client.dial("server", 80))
                    held.append(await listener.accept())

            await open_streams(10)
            gc.collect()
            tracemalloc.start()
            await open_streams(count)
            gc.collect()
            size, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
    return size / (2 * count)


def turns(joined: Joined, count: int = 300) -> float:
    """Seconds for so many turns of the last connection: a request, an answer, their acknowledgements."""
    server = joined.held[-1]
    client = next(held for held in joined.held if held.local == server.remote)

    def work() -> None:
        for _ in range(count):
            client.write(b"question", joined.now)
            joined.carry()
            server.read()
            server.write(b"answer", joined.now)
            joined.carry()
            client.read()
            joined.client.take_ready()
            joined.server.take_ready()
            joined.now += 0.001

    return timed(work)


def out_of_order(count: int) -> float:
    """Seconds a segment: each a stretch of its own, in random order, then the gaps."""
    peer = Peer()
    peer.connect()
    places = [1 + 20 * place for place in range(count)]
    random.Random(3).shuffle(places)
    packets = [peer.packet("A", seq=place + 10, payload=bytes(10)) for place in places]

    def work() -> None:
        for packet in packets:
            peer.stack.receive([("peer", [packet])], peer.now)
            peer.stack.transmit(peer.now)

    return timed(work) / count


def sacked(count: int) -> float:
    """Seconds an acknowledgement: each reports one more of every other segment in flight, in random order."""
    peer = Peer()
    connection = peer.connect(rtt=0.05)
    mss = connection.info().mss
    while connection.info().cwnd < count * mss:
        connection.write(bytes(1 << 20), peer.now)
        peer.take()
        peer.clock.advance(0.05)
        peer.send("A")
    connection.write(bytes(4 << 20), peer.now)
    first = peer.received
    peer.take()
    flight = [(first + mss * place, first + mss * (place + 1)) for place in range(1, count, 2)]
    random.Random(4).shuffle(flight)
    peer.clock.advance(0.05)
    packets = [peer.packet("A", ack=first, blocks=flight[max(at - 2, 0) : at + 1][::-1]) for at in range(len(flight))]

    def work() -> None:
        for packet in packets:
            peer.stack.receive([("peer", [packet])], peer.now)
            peer.stack.transmit(peer.now)

    return timed(work) / len(packets)


def a_byte(size: int) -> float:
    payload = random.Random(5).randbytes(size)
    return netstack_pair.transfer(payload, 1280, True)[0] / size


def run(*, scale: float = 1.0, rounds: int = 3) -> list[Row]:
    """scale: of all counts, for a quick look."""

    def many(count: int) -> int:
        return max(int(count * scale), 20)

    first, last, crowded = set_up(many(10_000))
    alone = Joined()
    alone.open(1)
    return [
        Figure(f"{NAME}: connections set up", many(10_000) // 10 / first, "1/s"),
        Figure(f"{NAME}: set-up beside many / first", last / first, floor=2.0, at_most=True),
        Figure(f"{NAME}: an idle connection", memory(many(10_000)), "bytes", floor=4096, goal=1024, at_most=True),
        Figure(f"{NAME}: … with its Stream", memory_with_streams(many(1000)), "bytes", floor=16_384, at_most=True),
        Figure(
            f"{NAME}: a turn beside idle ones / alone",
            ratio(lambda: turns(alone, many(300)), lambda: turns(crowded, many(300)), rounds),
            floor=1.25,
            goal=1.0,
            at_most=True,
        ),
        Figure(
            f"{NAME}: out of order, 4n / n",
            ratio(lambda: out_of_order(many(1000)), lambda: out_of_order(many(4000)), rounds),
            floor=2.0,
            at_most=True,
        ),
        Figure(
            f"{NAME}: SACK, 4n / n in flight",
            ratio(lambda: sacked(many(500)), lambda: sacked(many(2000)), rounds),
            floor=2.0,
            at_most=True,
        ),
        Figure(
            f"{NAME}: a byte, 4n / n of them",
            ratio(lambda: a_byte(many(8 << 20)), lambda: a_byte(many(32 << 20)), rounds),
            floor=1.25,
            at_most=True,
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0)
    print(table(run(scale=parser.parse_args().scale)))


if __name__ == "__main__":
    main()

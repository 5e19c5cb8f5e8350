"""Many peers at one node: what those that are silent take of memory and wake-ups, and those that talk of each packet.

    python -m benchmarks.many_peers [--turns 3000]

| figure                       | what                                                                | floor     |
|------------------------------|---------------------------------------------------------------------|-----------|
| a peer that is known         | of 2,000: memory of the netmap and all rooms of the data path       | <= 20 KiB |
| turns of 2,000 silent peers  | that the data path asks for in an hour after the map has come       | <= 60     |
| a packet, 100 talk / 1 talks | CPU of a turn with one echo; all have sessions and direct paths     | <= 1.3    |

A thousand echoes a second come in turn from all that talk, so that their heartbeats are a part of it, as they are of a
busy node. Both sides of the ratio are measured in turns of one run.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import tracemalloc
from time import process_time

from benchmarks.deltas import peer
from benchmarks.figures import Figure, Row, ratio, table
from tests.clock import Clock
from tests.engine.pair import BUDGET, REGION, Side, apply, netmap, node
from tsnet.base.addresses import Destination, UdpAddress
from tsnet.netmap.model import NetMap

NAME = "many peers"
KNOWN = 2_000
HOUR = 3600.0
TALKERS = 100
HUB = 200
STEP = 0.001
SETTLE = 12.0
BLOCK = 200
"""Turns that are measured in one piece: what the peers do meanwhile to the processor's caches is none of the hub's."""

ROUNDS = 5


class Hub:
    """A node and its peers, whose datagrams arrive at once, on a hand clock. All have talked."""

    def __init__(self, count: int) -> None:
        self.clock = Clock()
        options = {"is_wireguard_only": False, "home_region": REGION}
        own = node(HUB, "hub", **options)
        nodes = [node(number, f"peer-{number}", **options) for number in range(1, count + 1)]
        self.hub = Side(own, self.clock.now)
        self.peers = [Side(each, self.clock.now) for each in nodes]
        self._by_address = {each.node.endpoints[0]: each for each in (self.hub, *self.peers)}
        apply(self.hub.engine, netmap(own, *nodes), self.clock.now)
        for each in self.peers:
            apply(each.engine, netmap(each.node, own), self.clock.now)
        for each in (self.hub, *self.peers):
            each.engine.paths.set_endpoints(each.node.endpoints, self.clock.now)
        self._echoes = [each.engine.stack.ping(own.ips[0]) for each in self.peers]
        self._number = itertools.count(1)
        self._settle()

    def cpu(self, talkers: int, turns: int) -> float:
        """Seconds of CPU that the hub spends on one echo, of so many peers in turn."""
        spent, done = 0.0, 0
        while done < turns:
            arriving = [self._said_by(number % talkers) for number in range(done, done + BLOCK)]
            down: list[tuple[Destination, list[bytes]]] = []
            gc.collect()
            begun = process_time()
            for runs in arriving:
                down += self._turn(runs)
            spent += process_time() - begun
            self._deliver(self.hub, down)
            self._settle_once()
            done += BLOCK
        return spent / done

    def _say(self, number: int) -> None:
        self._echoes[number].send(self.clock.now, next(self._number) & 0xFFFF, bytes(64))

    def _said_by(self, number: int) -> list[tuple[Destination, list[bytes]]]:
        """An echo of that peer, and what else it has to send, as the hub gets it."""
        self._say(number)
        side, target = self.peers[number], self.hub.node.endpoints[0]
        down = side.engine.transmit(self.clock.now, BUDGET)
        return [(side.node.endpoints[0], datagrams) for destination, datagrams in down if destination == target]

    def _turn(self, arriving: list[tuple[Destination, list[bytes]]]) -> list[tuple[Destination, list[bytes]]]:
        self.clock.advance(STEP)
        self.hub.engine.receive(arriving, self.clock.now)
        return self.hub.engine.transmit(self.clock.now, BUDGET)

    def _settle(self) -> None:
        until = self.clock.now + SETTLE
        while self.clock.now < until:
            for number in range(len(self.peers)):
                self._say(number)
            self._settle_once()
            self.clock.advance(0.5)
        paths = self.hub.engine.paths
        for each in self.peers:
            assert [type(one) for one in paths.routes(each.node.raw_key)] == [UdpAddress], "not direct yet"

    def _settle_once(self) -> None:
        for _ in range(20):
            moved = 0
            for side in (self.hub, *self.peers):
                down = side.engine.transmit(self.clock.now, BUDGET)
                mark = side.engine.take_mark()
                if mark is not None:
                    side.engine.mark_saved(mark)
                moved += self._deliver(side, down)
            if not moved:
                return

    def _deliver(self, side: Side, down: list[tuple[Destination, list[bytes]]]) -> int:
        """By UDP alone: there is no relay. How many arrived."""
        source, arrived = side.node.endpoints[0], 0
        for destination, datagrams in down:
            target = self._by_address.get(destination) if isinstance(destination, UdpAddress) else None
            if target is not None:
                target.engine.receive([(source, datagrams)], self.clock.now)
                arrived += len(datagrams)
        return arrived


def known(count: int) -> tuple[float, int]:
    """(bytes a peer, turns in an hour) of a data path that knows so many silent peers."""
    side, clock = Side(node(HUB, "hub", is_wireguard_only=False), 1000.0), Clock()
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    told = NetMap(side.node, {each.id: each for each in map(peer, range(1, count + 1))})
    apply(side.engine, told, clock.now)
    side.engine.transmit(clock.now, BUDGET)
    gc.collect()
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return taken / count, _turns(side, clock)


def _turns(side: Side, clock: Clock) -> int:
    until, turns = clock.now + HOUR, 0
    while (at := side.engine.deadline()) <= until:
        clock.advance_to(max(clock.now, at))
        side.engine.transmit(clock.now, BUDGET)
        turns += 1
    return turns


def run(*, turns: int = 2000, talkers: int = TALKERS, count: int = KNOWN) -> list[Row]:
    memory, wakes = known(count)
    hub = Hub(talkers)
    flat = ratio(lambda: hub.cpu(1, turns), lambda: hub.cpu(talkers, turns), ROUNDS)
    return [
        Figure(f"{NAME}: one of {count} that are known", memory / 1024, "KiB", 20, at_most=True),
        Figure(f"{NAME}: turns in an hour, all silent", wakes, "", 60, at_most=True),
        Figure(f"{NAME}: a packet, {talkers} talk / 1", flat, "", 1.3, 1.1, at_most=True),
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=2000)
    print(table(run(turns=parser.parse_args().turns)))

"""What control's news cost a node: one peer of many that flips, and a SYN where a policy has many rules.

    python -m benchmarks.deltas [--scale 1.0]

| figure                         | what                                                        | floor          |
|--------------------------------|-------------------------------------------------------------|----------------|
| a flip at 1000 peers           | from the decoded message to the last fact, all rooms told   | 0.3 ms         |
| a flip at 10,000 peers         |                                                             | 0.5 ms         |
| … / at 1000                    | what the other 9000 cost                                    | <= 2 (aim: 1)  |
| … / the message decoded        | the machine taken out                                       | <= 6           |
| a SYN, many rules / 10         | 100,000 of them, in the kind of policy where it shows most  | <= 2 (aim: 1)  |

A flip is a peer that goes offline or comes back, moves home, or has other endpoints: a third of them each. Every figure
is the best of several rounds, small and large in turns: what else runs on the machine then harms both.
"""

from __future__ import annotations

import argparse
import gc
import random
from collections.abc import Callable, Iterable
from ipaddress import ip_address, ip_network
from time import perf_counter
from typing import TypeVar, cast

import attrs

from benchmarks.figures import Figure, Row, ratio, table
from tests.engine.alone import NOW, bare
from tsnet.base.addresses import UdpAddress
from tsnet.base.keys import DiscoKey, NodeKey
from tsnet.control.client.mapsession import MapSession
from tsnet.control.messages import MapResponse, decode_map
from tsnet.engine.node import Node as RunningNode
from tsnet.netmap.filterrules import TCP, FilterRules
from tsnet.netmap.merge import DerpMapUpdate, MapUpdate, PeerChange
from tsnet.netmap.model import DerpNode, DerpRegion, Destination, FilterRule, Node, PortRange, UserProfile

NAME = "deltas"
WALL = 1_700_000_000.0
REGIONS = 20
ALLOW_ALL = (FilterRule(("*",), (Destination("*", PortRange(0, 65535)),)),)
SELF_ID = 1 << 40

Item = TypeVar("Item")


def peer(number: int) -> Node:
    addresses = (
        ip_network(f"100.{64 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"),
        ip_network(f"fd7a:115c:a1e0::{number >> 16:x}:{number & 0xFFFF:x}"),
    )
    key = random.Random(number).randbytes(32)
    return Node(
        id=number,
        stable_id=f"n{number}",
        name=f"host{number}.tailnet.test",
        key=NodeKey(key),
        user=1 + number % 50,
        disco_key=DiscoKey(key[::-1]),
        addresses=addresses,
        allowed_ips=addresses,
        endpoints=(UdpAddress(f"192.0.2.{number & 255}", 41641),),
        home_region=1 + number % REGIONS,
        hostinfo={"OS": "linux", "Hostname": f"host{number}"},
        key_expiry=WALL + 1e6 + number,
        online=True,
    )


def region(number: int) -> DerpRegion:
    return DerpRegion(number, nodes=(DerpNode(f"{number}a", number, f"derp{number}.test"),))


def tailnet(count: int) -> MapUpdate:
    return MapUpdate(
        node=attrs.evolve(peer(count + 1), id=SELF_ID),
        peers=tuple(map(peer, range(1, count + 1))),
        users=tuple(UserProfile(number, f"user{number}@example.com") for number in range(1, 51)),
        derp_map=DerpMapUpdate({number: region(number) for number in range(1, REGIONS + 1)}),
        packet_filter=ALLOW_ALL,
        control_time=WALL,
    )


class Crowded:
    """A node with so many peers, and control's session that tells it."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.node: RunningNode = bare()
        self.session = MapSession(DiscoKey(bytes(32)), WALL - NOW)
        self.tell(tailnet(count))

    def tell(self, update: MapUpdate) -> None:
        self.session.apply(update, NOW)
        for fact in self.session.take_facts():
            self.node.word.tell(fact, NOW)
            while self.node.adoption.is_under_way:  # a whole map; a flip has been adopted
                self.node.word.adopt(NOW)
        while self.node.take_facts():
            pass


def flips(count: int, size: int, seed: int) -> list[MapUpdate]:
    """So many flips of peers of a tailnet of that size."""
    chance = random.Random(seed)
    found: list[MapUpdate] = []
    for number in range(count):
        node_id = chance.randint(1, size)
        if number % 3 == 0:
            found.append(MapUpdate(online={node_id: number % 2 == 0}))
        elif number % 3 == 1:
            found.append(MapUpdate(patches=(PeerChange(node_id, {"home_region": 1 + number % REGIONS}),)))
        else:
            endpoint = UdpAddress("198.51.100.7", chance.randrange(65536))
            found.append(MapUpdate(patches=(PeerChange(node_id, {"endpoints": (endpoint,)}),)))
    return found


def a_flip(crowded: Crowded, count: int, seed: int) -> float:
    """Seconds for one, the average of `count`."""
    updates = flips(count, crowded.count, seed)
    return timed(crowded.tell, updates) / count


def a_message(count: int, seed: int) -> float:
    """Seconds to decode the message of one."""
    messages = [MapResponse(update=update).encode() for update in flips(count, 10_000, seed)]
    return timed(decode_map, messages) / count


POLICIES: dict[str, Callable[[int], FilterRule]] = {
    "other sources": lambda number: rule([str(peer(number).ips[0])], number % 65536),
    "other ports": lambda number: rule(["*"], number % 65536),
    "other protocols": lambda number: rule(["*"], 80, number % 256),
    "other sources beside one": lambda number: rule([str(peer(number).ips[0]), "100.64.0.7"], number % 65536),
}
"""How many rules differ. A SYN from 100.64.0.7 is judged, and one that no rule lets through."""


def rule(sources: list[str], port: int, *protocols: int) -> FilterRule:
    return FilterRule(tuple(sources), (Destination("100.64.0.1", PortRange(port, port)),), protocols)


def a_syn(rules: FilterRules, count: int) -> float:
    """Seconds to judge one, past what is remembered of the same question."""
    source, ours = ip_address("100.64.0.7").packed, ip_address("100.64.0.1").packed
    ports = [number * 37 % 65536 for number in range(count)]
    judge = cast("Callable[..., bool]", rules.allows.__wrapped__)  # type: ignore[attr-defined]
    return timed(lambda port: judge(TCP, source, ours, port), ports) / count


def worst_syn(count: int, few: int, many: int, rounds: int) -> tuple[str, float]:
    """The kind of policy in which it matters most how many rules there are, and the ratio."""
    found: list[tuple[float, str]] = []
    for name, made in POLICIES.items():
        small, large = (FilterRules([*map(made, range(1, size)), rule(["*"], 80)]) for size in (few, many))
        for rules in (small, large):
            a_syn(rules, 1)  # rules that have to be joined are joined once
        found.append((ratio(lambda s=small: a_syn(s, count), lambda s=large: a_syn(s, count), rounds), name))  # type: ignore[misc]
    worst, name = max(found)
    return name, worst


def timed(work: Callable[[Item], object], items: Iterable[Item]) -> float:
    gc.collect()
    begun = perf_counter()
    for item in items:
        work(item)
    return perf_counter() - begun


def run(*, scale: float = 1.0, rounds: int = 20) -> list[Row]:
    """scale: of all counts, for a quick look."""

    def many(count: int) -> int:
        return max(int(count * scale), 20)

    few, crowd, count = Crowded(many(1000)), Crowded(many(10_000)), many(60)
    times = [(a_flip(few, count, seed), a_flip(crowd, count, seed), a_message(count, seed)) for seed in range(rounds)]
    small, large, decoding = (min(each[column] for each in times) for column in range(3))
    policy, syn = worst_syn(many(500), 10, many(100_000), rounds)
    return [
        Figure(f"{NAME}: a flip at 1000 peers", 1e3 * small, "ms", floor=0.3, at_most=True),
        Figure(f"{NAME}: a flip at 10,000 peers", 1e3 * large, "ms", floor=0.5, at_most=True),
        Figure(f"{NAME}: … / at 1000", large / small, floor=2.0, goal=1.0, at_most=True),
        Figure(f"{NAME}: … / the message decoded", large / decoding, floor=6.0, at_most=True),
        Figure(f"{NAME}: a SYN, many rules / 10", syn, floor=2.0, goal=1.0, at_most=True, note=policy),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0)
    print(table(run(scale=parser.parse_args().scale)))


if __name__ == "__main__":
    main()

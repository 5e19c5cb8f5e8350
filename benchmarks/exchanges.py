"""Small things by a direct path: round trips of 64 bytes, new connections, and a stream, ours and Go's in every pair.

Two processes each, which have found their direct path by disco; it is direct before and after. All four pairs in one
run and in turn, so that what else runs on the machine harms all of them: the ratios are what counts.

    round trip     one after another on one stream
    connection     dial, a byte there and back, close
    beside         round trips while a stream of the same two nodes fills the path, and only while it does

Then the same of an asyncio application, with the node in its own thread and in the application's loop: what the thread
costs (`own_thread`).

    python -m benchmarks.exchanges [round trips]
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterable

from benchmarks.figures import Figure, Row, Skipped, median, table
from benchmarks.pairs import ECHO, SINK, Ends, all_pairs, our_pair
from benchmarks.programs import OurNode, Peer, missing_go, stream
from tsnet.testing.tailnet import Tailnet

SIZE = 64
MIB = 1 << 20
OURS, GO = "ours to ours", "Go to Go"

RATIOS = {"round trip": (2.4, 1.2), "connections": (0.4, 1.0), "stream": (0.6, 1.0)}
"""Floor and goal. The floors leave a third of room: beside other programs the ratios move."""


def run(*, count: int = 2000, bulk: int = 48 * MIB, rounds: int = 5) -> list[Row]:
    rows = alone(count, bulk)
    return [*rows, *floors(count=count, bulk=bulk, rounds=rounds)]


def floors(*, count: int = 2000, bulk: int = 48 * MIB, rounds: int = 3) -> list[Row]:
    """What gates: ours beside Go's."""
    if reason := missing_go("derper", "testcontrol", "tsnetpeer"):
        return [Skipped("direct path: every pair", reason)]
    with all_pairs() as pairs:
        return every_pair(pairs, count, bulk, rounds)


def alone(count: int, bulk: int) -> list[Row]:
    """Ours to ours, on an embedded tailnet."""
    with Tailnet() as tailnet:
        with our_pair(tailnet, "ours") as (sender, receiver):
            rows = [*round_trips("ours", sender, receiver.hostname, count)]
            rows += connections("ours", sender, receiver.hostname, count // 4)
            rows += beside_bulk(sender, receiver, bulk)
        return [*rows, *threads(tailnet, count, bulk)]


def every_pair(pairs: dict[str, Ends], count: int, bulk: int, rounds: int) -> list[Row]:
    """Round by round, each pair in turn; the first round warms up. Ratios are of the same round."""
    measured: list[dict[str, tuple[float, float, float]]] = []
    for number in range(rounds + 1):
        found = {pair: measure(ends, count // 4, bulk) for pair, ends in pairs.items()}
        if number:
            measured.append(found)
    rows: list[Row] = []
    for at, (name, unit) in enumerate((("round trip", "us"), ("connections", "1/s"), ("stream", "Gbit/s"))):
        values = {pair: [found[pair][at] for found in measured] for pair in pairs}
        rows += [median(f"direct path: {name}, {pair}", values[pair], unit) for pair in pairs]
        ratios = [ours / go for ours, go in zip(values[OURS], values[GO], strict=True)]
        rows.append(ratio_row(name, ratios))
    return rows


def ratio_row(name: str, ratios: list[float]) -> Row:
    """Ours beside Go's."""
    is_time = name == "round trip"
    floor, goal = RATIOS[name]
    return median(f"direct path: {name}, ours / Go", ratios, floor=floor, goal=goal, at_most=is_time)


def measure(ends: Ends, count: int, bulk: int) -> tuple[float, float, float]:
    """(round trip in us, connections a second, Gbit/s)."""
    sender, receiver, host = ends
    trip = sender.call("rtt", address=f"{host}:{ECHO}", size=SIZE, count=count)["p50_us"]
    seconds = float(sender.call("connections", address=f"{host}:{ECHO}", count=count // 4)["seconds"])
    return float(trip), count // 4 / seconds, stream(sender, receiver, host, bulk).rate


def round_trips(who: str, sender: Peer, host: str, count: int) -> list[Row]:
    times = sender.call("rtt", address=f"{host}:{ECHO}", size=SIZE, count=count)
    return [Figure(f"round trip: {who}, {name}", times[f"{name}_us"], "us") for name in ("p50", "p99")]


def connections(who: str, sender: Peer, host: str, count: int) -> list[Row]:
    seconds = float(sender.call("connections", address=f"{host}:{ECHO}", count=count)["seconds"])
    return [Figure(f"connections: {who}", count / seconds, "1/s")]


def beside_bulk(sender: OurNode, receiver: OurNode, size: int, rounds: int = 3) -> list[Row]:
    """A stream of the same two nodes fills the path meanwhile."""
    found = [beside(sender, receiver, size) for _ in range(rounds)]

    def best(name: str) -> float:
        return min(times[name] for times in found)

    return [
        Figure("round trip: ours, p50 beside a stream", best("p50_us"), "us", note="best of 3"),
        Figure("round trip: ours, p99 beside a stream", best("p99_us"), "us", goal=6000.0, at_most=True),
        Figure("round trip: that stream", statistics.median(rates(found)), "Gbit/s"),
    ]


def rates(found: Iterable[dict[str, float]]) -> list[float]:
    return [times["gbit"] for times in found]


def beside(sender: OurNode, receiver: OurNode, size: int) -> dict[str, float]:
    to = receiver.hostname
    times = sender.call("rtt_beside", address=f"{to}:{ECHO}", size=SIZE, bulk=f"{to}:{SINK}", bulk_size=size)
    receiver.call("accepted", address=f":{SINK}")
    return dict(times)


def threads(tailnet: Tailnet, count: int, size: int) -> list[Row]:
    """own_thread=False / own_thread=True."""
    rates, times, spent = [], [], []
    for number, options in enumerate(((), ("--same-loop",))):
        prefix = f"asyncio-{number}"
        with our_pair(tailnet, prefix, module="benchmarks.async_node", options=options) as (sender, receiver):
            best = [stream(sender, receiver, receiver.hostname, size) for _ in range(3)]
            rates.append(max(one.rate for one in best))
            spent.append(min(one.sender_cpu + one.receiver_cpu for one in best))
            times.append(sender.call("rtt", address=f"{receiver.hostname}:{ECHO}", size=SIZE, count=count)["p50_us"])
    return [
        Figure("own thread: asyncio, round trip p50", times[0], "us"),
        Figure("own thread: same loop / own, round trip", times[1] / times[0], at_most=True),
        Figure("own thread: same loop / own, bulk", rates[1] / rates[0], note="best of 3"),
        Figure("own thread: same loop / own, CPU of bulk", spent[1] / spent[0], at_most=True, note="best of 3"),
    ]


if __name__ == "__main__":
    print(table(run(count=int((sys.argv[1:] or ["2000"])[0]))))

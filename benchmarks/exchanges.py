"""Small things: round trips of 64 bytes, alone and beside a bulk stream, and new connections; beside Go's tsnet.

Two processes over loopback UDP. Then the same of an asyncio application, with the node in its own thread and in the
application's loop: what the thread costs (`own_thread`).

    python -m benchmarks.exchanges [round trips]
"""

from __future__ import annotations

import sys

from benchmarks.figures import Figure, Row, Skipped, table
from benchmarks.pairs import ECHO, SINK, go_pair, our_pair
from benchmarks.programs import OurNode, Peer, missing_go, stream
from tsnet.testing.tailnet import Tailnet

SIZE = 64
MIB = 1 << 20


def run(*, count: int = 2000, bulk: int = 48 * MIB) -> list[Row]:
    with Tailnet() as tailnet:
        with our_pair(tailnet, "ours") as (sender, receiver):
            rows = [*round_trips("ours", sender, receiver.hostname, count)]
            rows += connections("ours", sender, receiver.hostname, count // 4)
            rows += beside_bulk(sender, receiver, bulk)
        rows += threads(tailnet, count, bulk)
    if reason := missing_go("derper", "testcontrol", "tsnetpeer"):
        return [*rows, Skipped("round trip: Go's tsnet", reason)]
    with go_pair() as (go, _, address):
        return [*rows, *round_trips("Go", go, address, count), *connections("Go", go, address, count // 4)]


def round_trips(who: str, sender: Peer, host: str, count: int) -> list[Row]:
    times = sender.call("rtt", address=f"{host}:{ECHO}", size=SIZE, count=count)
    return [Figure(f"round trip: {who}, {name}", times[f"{name}_us"], "us") for name in ("p50", "p99")]


def connections(who: str, sender: Peer, host: str, count: int) -> list[Row]:
    seconds = float(sender.call("connections", address=f"{host}:{ECHO}", count=count)["seconds"])
    return [Figure(f"connections: {who}", count / seconds, "1/s")]


def beside_bulk(sender: OurNode, receiver: OurNode, size: int) -> list[Row]:
    """A stream of the same two nodes fills the path meanwhile."""
    to = receiver.hostname
    times = sender.call("rtt_beside", address=f"{to}:{ECHO}", size=SIZE, bulk=f"{to}:{SINK}", bulk_size=size)
    receiver.call("accepted", address=f":{SINK}")
    return [Figure(f"round trip: ours, {name} beside a stream", times[f"{name}_us"], "us") for name in ("p50", "p99")]


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

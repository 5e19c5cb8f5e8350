"""Whole conversations on links that a seed made up; each seed plays the same in every process.

    python -m tests.netstack.schedules 4711 [4712 …]        plays single seeds again

A seed chooses rate, queue, delay, jitter, loss (single or in bursts), reordering, duplicates and damage each way; the
sizes of both streams, how they are written, how slowly one is read and for how long not at all (a closed window), and
whether the peer takes back window that it had announced, which RFC 9293 §3.8.6 forbids and a sender must survive; and
each stack's options. Both streams arrive whole, both ends close, the tables are empty in the end (`pair.exchange`), and
after every turn what must hold of a connection does (`invariants.watch`). Unless both links are good, an end that
never hears its last FIN acknowledged, because TIME-WAIT is over at the other, may call that an error.
"""

from __future__ import annotations

import random
import sys
from typing import Any

from netstack import Stack
from tests.lab.shim import Shim
from tests.netstack.invariants import watch
from tests.netstack.pair import Pair, exchange

PER_BLOCK = 50
Table = dict[str, tuple[Any, ...]]
STACKS: Table = {"mtu": (1280, 1420, 8920), "budget": (4000, 262_144)}
LINK: Table = {
    "delay": (0.0, 0.0005, 0.01, 0.1, 0.3),
    "jitter": (0.0, 0.0, 0.02),
    "rate": (1e6, 2e7, 1e9),
    "buffer": (20_000, 100_000, 1e9),
    "loss": (0, 0.01, 0.05, 0.15, 0.3),
    "burst": (1, 1, 2),
    "duplicate": (0, 0.05, 0.2),
    "reorder": (0, 0.1, 0.4),
    "late": (None, 0.003, 0.05),
    "corrupt": (0, 0, 0.01, 0.05),
    "shrink": (0, 0, 0.05, 0.3),
}
MANNER: Table = {"chunk": (10, 700, 65_536), "slow": (0, 0, 1000), "pause": (0.0, 0.0, 5.0, 90.0)}
OPTIONS: Table = {
    "congestion": ("cubic", "reno"),
    "nodelay": (False, True),
    **dict.fromkeys(("sack", "timestamps", "window_scaling"), (True, True, True, False)),
    **dict.fromkeys(("dsack", "frto", "tail_loss_probe"), (True, False)),
}
"""What each is drawn from; the order is part of every seed."""


class Shrinking(Shim):
    """A shim that writes a smaller window, zero among them, into some segments."""

    def __init__(self, seed: int, *, shrink: float, **link: Any) -> None:
        super().__init__(seed, **link)
        self.shrink = shrink

    def send(self, packet: bytes, now: float) -> None:
        if self._random.random() < self.shrink:
            packet = with_window(packet, self._random.choice([0, 0, 1, 100]), self._random.random())
            self.counts["shrunk"] += 1
        super().send(packet, now)


def with_window(packet: bytes, most: int, share: float) -> bytes:
    """The segment with a window of `most` at most, or of a share of what it has; SYNs and others stay as they are."""
    at = 20 if packet[0] >> 4 == 4 else 40
    is_tcp = packet[9] == 6 if at == 20 else packet[6] == 6
    if not is_tcp or packet[at + 13] & 0x06:
        return packet
    old = int.from_bytes(packet[at + 14 : at + 16], "big")
    new = min(old, most or int(old * share))
    total = (0xFFFF - int.from_bytes(packet[at + 16 : at + 18], "big")) + (0xFFFF - old) + new
    checksum = 0xFFFF - ((total & 0xFFFF) + (total >> 16))
    return packet[: at + 14] + new.to_bytes(2, "big") + (checksum & 0xFFFF).to_bytes(2, "big") + packet[at + 18 :]


def draw(chance: random.Random, table: Table) -> dict[str, Any]:
    return {name: chance.choice(values) for name, values in table.items()}


def join(pair: Pair, there: dict[str, Any], back: dict[str, Any]) -> None:
    """Put links as `LINK` describes them between the two."""
    if there["loss"] == 0.3:  # each way, 15 retries may all be in vain
        back = back | {"loss": min(back["loss"], 0.15)}
    pair.to_b, pair.to_a = Shrinking(2 * pair.seed, **there), Shrinking(2 * pair.seed + 1, **back)


def is_good(link: dict[str, Any]) -> bool:
    return link["loss"] <= 0.05 and not link["shrink"]


def choose(stack: Stack, options: dict[str, Any]) -> None:
    for name, value in options.items():
        setattr(stack.options, name, value)


def play(seed: int) -> Pair:
    """Raises AssertionError where a promise is broken."""
    chance = random.Random(f"schedule {seed}")
    pair = Pair(seed=seed, **draw(chance, STACKS))
    there, back = draw(chance, LINK), draw(chance, LINK)
    join(pair, there, back)
    size = chance.choice([0, 1, 1000, 60_000])
    payloads = chance.randbytes(size), chance.randbytes(chance.choice([0, 5, 20_000, size]))
    v6 = chance.random() < 0.5
    manner = draw(chance, MANNER)
    for stack in (pair.a, pair.b):
        choose(stack, draw(chance, OPTIONS))
    watch(pair)
    exchange(pair, *payloads, v6=v6, good=is_good(there) and is_good(back), **manner)
    return pair


def play_block(block: int) -> None:
    """`PER_BLOCK` seeds; the first that fails is named."""
    for seed in range(block * PER_BLOCK, (block + 1) * PER_BLOCK):
        try:
            play(seed)
        except Exception as error:
            error.add_note(f"again: python -m tests.netstack.schedules {seed}")
            raise


if __name__ == "__main__":
    for each in map(int, sys.argv[1:]):
        played = play(each)
        print(each, dict(played.to_b.counts), dict(played.to_a.counts))

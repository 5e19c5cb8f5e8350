"""The bad link does what it says, and the same with the same seed."""

from __future__ import annotations

import hashlib
import math
import random

import pytest

from tests.lab.shim import MAX_RUN_BYTES, Shim, Shimmed, destination_of, in_runs, source_of
from tests.netstack.pair import A4, A6, B4, B6, Pair, Talk, drain, new_stack

NOW = 1000.0
PACKETS = [bytes([0x45]) + random.Random(seed).randbytes(999) for seed in range(1000)]


def arrivals(shim: Shim, packets: list[bytes] = PACKETS, gap: float = 0.001) -> list[tuple[float, bytes]]:
    """Send one each `gap`, take everything when it is due."""
    found: list[tuple[float, bytes]] = []
    for number, packet in enumerate(packets):
        while (at := shim.deadline()) <= NOW + number * gap:
            found += [(at, got) for got in shim.receive(at)]
        shim.send(packet, NOW + number * gap)
    while (at := shim.deadline()) < math.inf:
        found += [(at, got) for got in shim.receive(at)]
    return found


def test_by_default_it_is_a_wire_without_length() -> None:
    shim = Shim()
    shim.send(b"x", NOW)
    assert shim.deadline() == NOW
    assert shim.receive(NOW) == [b"x"]
    assert shim.deadline() == math.inf


def test_delay_and_order() -> None:
    found = arrivals(Shim(delay=0.05))
    assert [packet for _, packet in found] == PACKETS
    assert [at for at, _ in found] == pytest.approx([NOW + n * 0.001 + 0.05 for n in range(1000)])


def test_jitter_delays_but_does_not_reorder() -> None:
    found = arrivals(Shim(delay=0.05, jitter=0.02), gap=0.01)
    assert [packet for _, packet in found] == PACKETS
    delays = [at - NOW - n * 0.01 for n, (at, _) in enumerate(found)]
    assert 0.05 <= min(delays) < 0.06
    assert 0.065 < max(delays) < 0.0701


def test_a_rate_and_the_queue_before_it() -> None:
    shim = Shim(delay=0.01, rate=8e6)  # a packet of 1000 bytes in a millisecond
    for packet in PACKETS[:10]:
        shim.send(packet, NOW)
    due = [shim.deadline()]
    while shim.receive(due[-1]):
        due.append(shim.deadline())
    assert due[:10] == pytest.approx([NOW + 0.001 * n + 0.01 for n in range(1, 11)])


def test_what_does_not_fit_the_queue_is_lost() -> None:
    shim = Shim(rate=8e6, buffer=5000)
    for packet in PACKETS[:10]:
        shim.send(packet, NOW)
    assert (shim.counts["sent"], shim.counts["overflowed"]) == (10, 5)
    shim.send(PACKETS[0], NOW + 0.0011)  # one has left
    assert shim.counts["overflowed"] == 5


def test_loss_by_chance_by_number_and_in_bursts() -> None:
    assert 150 < arrivals_lost(Shim(1, loss=0.2)) < 250
    every = Shim(every=10)
    assert arrivals_lost(every) == 100
    assert [packet for _, packet in arrivals(Shim(every=10), PACKETS[:20])] == PACKETS[:9] + PACKETS[10:19]


def test_bursts_have_the_loss_and_the_length_that_were_asked_for() -> None:
    shim = Shim(2, loss=0.1, burst=5)
    lost = []
    for _ in range(50_000):
        before = shim.counts["lost"]
        shim.send(b"x", NOW)
        lost.append(shim.counts["lost"] > before)
        shim.receive(NOW)
    bursts = sum(now and not before for before, now in zip([False, *lost], lost, strict=False))
    assert sum(lost) / len(lost) == pytest.approx(0.1, rel=0.15)
    assert sum(lost) / bursts == pytest.approx(5, rel=0.15)


def arrivals_lost(shim: Shim) -> int:
    return len(PACKETS) - len(arrivals(shim))


def test_late_twice_and_damaged() -> None:
    shim = Shim(3, delay=0.01, reorder=0.1, late=0.005, duplicate=0.1, corrupt=0.1)
    found = arrivals(shim)
    assert len(found) == 1000 + shim.counts["duplicated"]
    assert [packet for _, packet in found] != PACKETS
    whole = {packet for _, packet in found} & set(PACKETS)
    assert 1000 - shim.counts["corrupted"] == len(whole)
    for name in ("reordered", "duplicated", "corrupted"):
        assert 60 < shim.counts[name] < 140


def test_the_seed_decides() -> None:
    def trace(seed: int) -> str:
        shim = Shim(seed, delay=0.01, jitter=0.01, loss=0.1, burst=2, reorder=0.1, duplicate=0.1, corrupt=0.1)
        return hashlib.sha256(repr(arrivals(shim, PACKETS[:200])).encode()).hexdigest()

    assert trace(1) == trace(1) != trace(2)


def test_runs_are_for_one_destination_and_of_one_size() -> None:
    a, b = bytes([0x45]) + bytes(1000) + b"a", bytes([0x45]) + bytes(15) + B4.packed + bytes(982)
    runs = in_runs([a, a, a[:50], a, b, b])
    assert [(destination_of(packets[0]), len(packets)) for _, packets in runs] == [
        (bytes(4), 3),
        (bytes(4), 1),
        (B4.packed, 2),
    ]
    assert all(sum(map(len, packets)) <= MAX_RUN_BYTES for _, packets in in_runs([a] * 500))
    assert source_of(b) == bytes(4)
    assert (source_of(v6 := bytes([0x60]) + bytes(7) + A6.packed + B6.packed), destination_of(v6)) == (
        A6.packed,
        B6.packed,
    )


@pytest.mark.parametrize("v6", [False, True], ids=["v4", "v6"])
def test_a_stack_behind_it_is_a_stack(v6: bool) -> None:
    """In place of one stack of a pair; its links are still its links."""
    pair = Pair(delay=0.0)
    there, back = (Shim(seed, delay=0.02, loss=0.05, reorder=0.05, duplicate=0.05, corrupt=0.05) for seed in (1, 2))
    pair.a = Shimmed(pair.a, there=there, back=back)  # type: ignore[assignment]
    client, server = pair.connected(v6=v6)
    payload = random.Random(4).randbytes(200_000)
    talks = Talk(client, payload), Talk(server, payload)

    def act(now: float) -> None:
        for talk in talks:
            talk.act(now)

    pair.on_turn = act
    pair.run(until=lambda: all(talk.over for talk in talks))
    assert talks[0].received == talks[1].received == payload
    assert client.info().min_rtt > 0.0399
    for shim in (there, back):
        assert all(shim.counts[name] for name in ("lost", "reordered", "duplicated", "corrupted"))


def test_nothing_stays_due() -> None:
    shimmed = Shimmed(new_stack(A4), there=Shim(delay=0.01), back=Shim(delay=0.01))
    shimmed.connect(B4, 80, NOW)
    assert drain(shimmed, NOW) == []  # type: ignore[arg-type]
    assert shimmed.deadline() == NOW + 0.01
    assert len(drain(shimmed, NOW + 0.01)) == 1  # type: ignore[arg-type]


def test_a_connection_keeps_its_link() -> None:
    pair = Pair(delay=0.0)
    pair.b = Shimmed(pair.b, there=Shim(), back=Shim(delay=0.01))  # type: ignore[assignment]
    _, server = pair.connected()
    assert server.link == "a"

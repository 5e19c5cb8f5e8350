"""The outbox: order, budget, runs that stay runs, and the bound."""

from __future__ import annotations

from collections import Counter

import pytest

from tsnet.base.addresses import UdpAddress
from tsnet.base.keys import NodeKey
from tsnet.wireguard import outbox
from tsnet.wireguard.outbox import Outbox, Recipient

A, B = NodeKey(b"a" * 32), NodeKey(b"b" * 32)
SOURCE = UdpAddress("192.0.2.1", 5)


def filled(*runs: tuple[NodeKey | UdpAddress, int, int]) -> Outbox:
    """(recipient, datagrams, size of each)."""
    box = Outbox(Counter())
    for recipient, count, size in runs:
        box.put(recipient, [bytes([number]) * size for number in range(count)])
    return box


def shape(taken: list[tuple[Recipient, list[bytes]]]) -> list[tuple[Recipient, int]]:
    return [(recipient, len(run)) for recipient, run in taken]


def test_everything_comes_out_in_order() -> None:
    box = filled((A, 3, 100), (SOURCE, 1, 64), (A, 2, 100), (B, 1, 32))
    assert len(box) == 7
    assert shape(box.take(10_000)) == [(A, 3), (SOURCE, 1), (A, 2), (B, 1)]
    assert not box
    assert box.take(10_000) == []


def test_a_budget_cuts_a_run_and_the_rest_comes_next() -> None:
    box = filled((A, 5, 100), (B, 1, 100))
    first, second, third = box.take(250), box.take(200), box.take(1000)
    assert [shape(part) for part in (first, second, third)] == [[(A, 2)], [(A, 2)], [(A, 1), (B, 1)]]
    assert [datagram[0] for _, run in first + second + third[:1] for datagram in run] == [0, 1, 2, 3, 4]


def test_a_budget_is_not_exceeded_but_for_a_first_datagram() -> None:
    box = filled((A, 1, 60), (B, 2, 100))
    assert shape(box.take(100)) == [(A, 1)]
    assert shape(box.take(10)) == [(B, 1)]
    assert shape(box.take(0)) == []
    assert shape(box.take(100)) == [(B, 1)]
    assert len(box) == 0


@pytest.mark.parametrize("budget", [1, 99, 100, 101, 250, 1000])
def test_no_budget_loses_or_doubles_a_datagram(budget: int) -> None:
    box = filled((A, 7, 100), (B, 3, 50), (A, 1, 300))
    taken = []
    while box:
        part = box.take(budget)
        assert part
        taken += [(recipient, datagram) for recipient, run in part for datagram in run]
    expected = filled((A, 7, 100), (B, 3, 50), (A, 1, 300)).take(10_000)
    assert taken == [(recipient, datagram) for recipient, run in expected for datagram in run]


def test_a_run_that_sealing_made_too_long_is_cut() -> None:
    box = filled((A, 9, 7312))
    assert shape(box.take(10**6)) == [(A, 8), (A, 1)]


def test_datagrams_of_all_lengths_become_runs() -> None:
    box = Outbox(Counter())
    box.put_mixed(A, [bytes(size) for size in (96, 96, 48, 96, 1312)])
    assert shape(box.take(10**6)) == [(A, 3), (A, 1), (A, 1)]


def test_it_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "MAX_DATAGRAMS", 4)
    dropped: Counter[str] = Counter()
    box = Outbox(dropped)
    box.put(A, [b"1"] * 3)
    box.put(A, [b"2"] * 2)
    box.put(A, [b"3"])
    assert [run for _, run in box.take(100)] == [[b"1"] * 3, [b"3"]]
    assert dropped == {"outbox full": 2}


def test_what_waits_for_a_peer_that_left_is_forgotten() -> None:
    box = filled((A, 3, 100), (B, 1, 100), (A, 1, 100))
    box.forget(A)
    assert len(box) == 1
    assert shape(box.take(1000)) == [(B, 1)]

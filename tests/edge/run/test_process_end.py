"""With real processes: test_promises."""

from __future__ import annotations

import time

import pytest

from tsnet.edge.pipes.operations import Operation
from tsnet.edge.run import process_end


class Node:
    def __init__(self, answers: bool = True) -> None:
        self.asked: list[float | None] = []
        self._answers = answers

    def close(self, timeout: float | None) -> Operation[None]:
        self.asked.append(timeout)
        operation: Operation[None] = Operation()
        if self._answers:
            operation.resolve(None)
        return operation


def test_those_that_are_open_are_closed_and_the_others_left() -> None:
    left, closed = Node(), Node()
    for node in (left, closed):
        process_end.add(node)
    process_end.remove(closed)
    process_end.remove(closed)
    process_end.close_all()
    process_end.remove(left)
    assert left.asked == [process_end.TIMEOUT]
    assert closed.asked == []


def test_one_that_does_not_answer_holds_the_process_for_a_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_end, "TIMEOUT", 0.05)
    node = Node(answers=False)
    process_end.add(node)
    begun = time.monotonic()
    process_end.close_all()
    process_end.remove(node)
    assert time.monotonic() - begun < 1

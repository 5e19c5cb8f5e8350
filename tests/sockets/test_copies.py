from __future__ import annotations

import os

import pytest

from tsnet.sockets.copies import Copies, Copy


class Holder:
    """An object that has a copy."""


class Told:
    def __init__(self) -> None:
        self.heard: list[str] = []
        self.held: list[Holder] = []
        self.copies = Copies(lambda: self.heard.append("last"), lambda: self.heard.append("unseen"))

    def add(self) -> Copy:
        self.held.append(Holder())
        return self.copies.add(self.held[-1])


def test_the_last_close_is_told_and_no_other() -> None:
    told = Told()
    first, second = told.add(), told.add()
    assert not told.copies.is_last(first)
    told.copies.close(first)
    told.copies.close(first)
    assert told.heard == []
    assert told.copies.is_last(second)
    told.copies.close(second)
    assert told.heard == ["last"]
    assert not told.copies.any


def test_a_close_that_is_repeated_is_told_again() -> None:
    told = Told()
    copy = told.add()
    told.copies.close(copy)
    told.copies.close(copy)
    assert told.heard == ["last", "last"]


def test_one_that_is_freed_without_close_counts_no_more() -> None:
    told = Told()
    first, second = told.add(), told.add()
    del told.held[1]
    assert second() is None
    assert told.copies.is_last(first)
    told.copies.close(first)
    assert told.heard == ["last"]


def test_a_detached_one_is_out_of_sight() -> None:
    told = Told()
    told.copies.detach(told.add())
    assert told.heard == ["unseen"]
    assert not told.copies.any


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_tells_nobody() -> None:
    told = Told()
    copies = [told.add() for _ in range(2)]
    child = os.fork()
    if child == 0:
        told.copies.detach(copies[0])
        told.copies.close(copies[1])
        os._exit(bool(told.heard) or told.copies.is_home)
    assert os.waitpid(child, 0)[1] == 0
    assert told.copies.is_home

"""A store between two beginnings. With real stores and threads: test_opening, test_saver, test_nobody_waits."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest

from tsnet.config import configure
from tsnet.edge.io.store import MemoryStore
from tsnet.edge.run.nodestore import NodeStore, StoreOpening
from tsnet.edge.run.opening import Kept
from tsnet.errors import NotUp
from tsnet.testing.simulated import SimulatedWorld

CONFIG = configure(environ={}, control_url="https://control.test")


class Counting(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self.log: list[str] = []

    def open(self) -> None:
        self.log.append("open")

    def close(self) -> None:
        self.log.append("close")


def test_it_is_opened_written_and_closed_once() -> None:
    store, told = Counting(), list[Any]()
    kept = NodeStore(store, CONFIG)
    world = SimulatedWorld()

    def done(beginning: StoreOpening, what: Kept | Exception) -> None:
        assert kept.is_beginning(beginning)
        told.append(what)
        kept.opened(lambda function: function(), in_thread=False)

    kept.begin(world, done)
    assert isinstance(told[0], Kept)
    assert kept.saver is not None
    assert kept.is_idle
    kept.saver.save("identity", b"x", told.append)
    assert (told[1:], store.values["identity"]) == ([None], b"x")
    kept.drop()
    kept.drop()
    assert store.log == ["open", "close"]
    assert kept.saver is None


def test_one_that_is_dropped_before_it_is_open_is_closed_as_soon_as_it_is() -> None:
    store = Counting()
    beginning = StoreOpening(store, CONFIG, os.urandom, None)
    entered, go = threading.Event(), threading.Event()

    def slow() -> None:
        store.log.append("open")
        entered.set()
        go.wait(5)

    store.open = slow  # type: ignore[method-assign]
    thread = threading.Thread(target=beginning.open)
    thread.start()
    assert entered.wait(5)
    assert not beginning.close()
    go.set()
    thread.join(5)
    assert beginning.close()
    assert store.log == ["open", "close"]


def test_one_that_was_dropped_before_it_began_touches_nothing() -> None:
    store = Counting()
    beginning = StoreOpening(store, CONFIG, os.urandom, None)
    beginning.close()
    with pytest.raises(NotUp):
        beginning.open()
    assert store.log == []


def test_the_next_waits_until_the_last_has_let_go() -> None:
    store = Counting()
    last = StoreOpening(store, CONFIG, os.urandom, None)
    last.open()
    StoreOpening(store, CONFIG, os.urandom, last).open()
    assert store.log == ["open", "close", "open"]

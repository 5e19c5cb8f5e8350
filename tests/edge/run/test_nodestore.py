"""A store between two beginnings. With real stores and threads: test_opening, test_saver, test_nobody_waits."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from tsnet.config import configure
from tsnet.edge.io.claim import BACKLOG, IS_SUPPORTED, Claim, holder_of, name_of
from tsnet.edge.io.directory import DirectoryStore
from tsnet.edge.io.store import MemoryStore
from tsnet.edge.io.system import SystemWorld
from tsnet.edge.run.nodestore import NodeStore, StoreOpening
from tsnet.edge.run.opening import Kept
from tsnet.engine.saved import PREFS, decode_whereabouts
from tsnet.errors import NotUp, StateError
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
        assert isinstance(what, Kept)
        told.append(what)
        kept.opened(what, lambda function: function(), in_thread=False)

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


@pytest.mark.skipif(not IS_SUPPORTED, reason="abstract Unix sockets are Linux's")
def test_what_was_claimed_is_free_before_the_store_is_closed() -> None:
    """So whoever waits for the store does not find the identity taken."""
    claim, seen = Claim(), list[Any]()

    class Looking(MemoryStore):
        def close(self) -> None:
            seen.append(claim.socket)

    beginning = StoreOpening(Looking(), CONFIG, os.urandom, None, claim)
    beginning.open()
    assert claim.socket is not None
    beginning.close()
    assert seen == [None]


@pytest.mark.skipif(not IS_SUPPORTED, reason="abstract Unix sockets are Linux's")
def test_a_store_that_cannot_be_read_claims_nothing() -> None:
    claim = Claim()

    class Broken(MemoryStore):
        def read(self, key: str) -> bytes | None:
            if key == PREFS:
                raise StateError("broken")
            return super().read(key)

    with pytest.raises(StateError, match="broken"):
        StoreOpening(Broken(), CONFIG, os.urandom, None, claim).open()
    assert claim.socket is None


@pytest.mark.skipif(not IS_SUPPORTED, reason="abstract Unix sockets are Linux's")
def test_a_node_answers_who_asks_for_its_identity_and_not_after_its_end() -> None:
    world = SystemWorld()
    kept, told = NodeStore(MemoryStore(), CONFIG), list[Kept]()

    def done(beginning: StoreOpening, what: Kept | Exception) -> None:
        assert isinstance(what, Kept)
        kept.opened(what, lambda function: function(), in_thread=False)
        told.append(what)

    kept.begin(world, done)
    while not told:
        world.wait(world.clock() + 1.0)
    name = name_of(told[0].identity)
    for _ in range(3 * BACKLOG):
        assert holder_of(name) == (os.getpid(), os.geteuid())
        world.wait(world.clock() + 1.0)
    kept.drop()
    assert holder_of(name) is None
    world.close()


def test_where_the_state_is_now_is_noted(tmp_path: Path) -> None:
    kept, told = NodeStore(DirectoryStore(tmp_path), CONFIG), list[bool]()

    def done(beginning: StoreOpening, what: Kept | Exception) -> None:
        assert isinstance(what, Kept)
        kept.opened(what, lambda function: function(), noted=lambda: told.append(kept.is_idle), in_thread=False)

    for _ in range(2):
        kept.begin(SimulatedWorld(), done)
        kept.drop()
    noted = decode_whereabouts((tmp_path / "tsnet.whereabouts").read_bytes())
    assert noted.directory == tmp_path.stat().st_ino
    assert told == [True], "a close that waits for it hears of it, once nothing is left to write"

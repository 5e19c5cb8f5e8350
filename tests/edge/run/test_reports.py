from __future__ import annotations

import logging
from typing import Any

import pytest

from tests.engine.pair import netmap, node
from tsnet.edge.io.whereabouts import StateMoved
from tsnet.edge.run.dialing import Attempts
from tsnet.edge.run.logins import Logins
from tsnet.edge.run.reports import Reports
from tsnet.engine import facts
from tsnet.engine.lifecycle import Lifecycle, News, State
from tsnet.errors import AuthKeyRejected, ControlUnreachable, Error, KeyExpired, StateError

NETMAP = netmap(node(1, "a"))


class FakeSaver:
    """Answers when the test says so."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, bytes, Any]] = []

    def save(self, key: str, value: bytes, done: Any) -> None:
        self.asked.append((key, value, done))


class FakePump:
    def __init__(self) -> None:
        self.node = self
        self.heard: list[tuple[int, Error | None]] = []
        self.marks = 0

    def now(self) -> float:
        return 7.0

    def mark(self) -> None:
        self.marks += 1

    def saved(self, ticket: int, error: Error | None, now: float) -> None:
        self.heard.append((ticket, error))


class Scene:
    def __init__(self, tell: Any = None) -> None:
        self.life = Lifecycle("shop", "http://control.test")
        loop: Any = None  # nobody waits
        self.reports = Reports(self.life, Attempts(), Logins(loop, self.life), tell)
        self.pump: Any = FakePump()
        self.saver: Any = FakeSaver()
        self.life.told(News.STARTED)

    @property
    def state(self) -> str:
        return self.life.state.value

    def take(self, *found: facts.Fact) -> None:
        self.reports.take(found, self.pump, self.saver)


def test_a_value_is_saved_and_the_node_hears_of_it() -> None:
    scene = Scene()
    scene.take(facts.Save(3, "identity", b"bytes"))
    ((key, value, done),) = scene.saver.asked
    assert (key, value, scene.pump.heard) == ("identity", b"bytes", [])
    full = StateError("full")
    done(full)
    done(None)
    assert scene.pump.heard == [(3, full), (3, None)]
    assert scene.pump.marks == 2


def test_reports_move_the_life() -> None:
    scene = Scene()
    scene.take(facts.LoginUrl("http://x/1"))
    assert scene.state == State.NEEDS_LOGIN
    scene.take(facts.Running(NETMAP))
    assert scene.state == State.RUNNING
    scene.take(facts.Expired(KeyExpired("old")))
    assert scene.state == State.EXPIRED
    scene.take(facts.Running(NETMAP))
    scene.take(facts.Problem(AuthKeyRejected("u", "no"), fatal=True))
    assert scene.state == State.FAILED


def test_readers_hear_everything_that_is_public_and_the_end() -> None:
    scene = Scene()
    reader = scene.reports.subscribe()
    scene.take(facts.HomeChanged(9), facts.Save(1, "identity", b""), facts.Notice("n"))
    problem = facts.Problem(AuthKeyRejected("u", "no"), fatal=True)
    scene.take(problem)
    assert [reader.take(), reader.take(), reader.take()] == [facts.HomeChanged(9), problem, None]
    assert reader.ended
    assert scene.reports.subscribe().ended


def test_dropped_readers_are_forgotten() -> None:
    scene = Scene()
    for _ in range(5000):
        scene.reports.subscribe()
    assert scene.reports._subscriptions == []


def test_a_trouble_and_a_complaint_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            scene.take(facts.Problem(ControlUnreachable("gone"), fatal=False), facts.Health(("relay",)))
        scene.take(facts.Notice("a new key"))
    assert [record.getMessage() for record in caplog.records] == ["shop: gone", "shop: relay", "shop: a new key"]
    assert scene.reports.health == ("relay",)


def test_nobody_is_there_when_telling_them_fails(caplog: pytest.LogCaptureFixture) -> None:
    def tell(url: str) -> bool:
        raise OSError("the terminal is closed")

    scene = Scene(tell)
    scene.take(facts.LoginUrl("http://x/1"))
    assert scene.life.refusal() is not None
    assert "terminal is closed" in caplog.text


def test_a_duplicate_is_logged_once_and_told_each_time(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    events = scene.reports.subscribe()
    for _ in range(3):
        scene.take(facts.DuplicateNode("two poll with one key"))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "another process uses the key of this node" in caplog.text
    assert [events.take() for _ in range(4)] == [facts.DuplicateNode("two poll with one key")] * 3 + [None]


def test_a_state_that_was_used_elsewhere_is_logged_and_told(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    events = scene.reports.subscribe()
    scene.reports.moved("its state was used last elsewhere")
    assert caplog.messages == ["shop: its state was used last elsewhere"]
    assert [events.take(), events.take()] == [StateMoved("its state was used last elsewhere"), None]

from __future__ import annotations

import pytest

from tests.edge.turns import Turns
from tests.interrupts import interrupted
from tests.netstack.pair import B4
from tsnet.edge.pipes import listening as module
from tsnet.edge.pipes import waiters
from tsnet.edge.pipes.listening import ListenPipe
from tsnet.edge.pipes.pipes import Pipe
from tsnet.errors import NotUp, StreamReset

PORT = 80


class Listening(Turns):
    """Stack b listens; clients come from stack a."""

    def __init__(self, backlog: int = 128, max_connections: int | None = None) -> None:
        super().__init__()
        listener = self.pair.b.listen(PORT, backlog=backlog, max_connections=max_connections)
        self.pipe = ListenPipe(listener, self, ("100.64.0.2",))
        self.owners[listener] = self.pipe
        self.pair.on_turn = self.service

    def dial(self, count: int = 1) -> list[object]:
        clients = [self.adopt(self.pair.a.connect(B4, PORT, self.pair.now, link="b")) for _ in range(count)]
        self.settle()
        return list(clients)


def test_the_oldest_first() -> None:
    listening = Listening()
    first, second = listening.dial(2)
    accepted = [listening.pipe.accept_nowait() for _ in range(3)]
    assert [pipe and pipe.remote for pipe in accepted] == [first.local, second.local, None]  # type: ignore[attr-defined]
    assert listening.pipe.port == PORT


def test_what_does_not_fit_waits_and_comes_when_there_is_room() -> None:
    listening = Listening(backlog=2)
    listening.dial(5)
    found = 0
    for _ in range(10):
        while listening.pipe.accept_nowait():
            found += 1
        listening.settle()
    assert found == 5


def test_each_connection_wakes_one_waiter() -> None:
    listening = Listening()
    for name in ("one", "two", "three"):
        assert listening.pipe.when_acceptable(listening.wake(name))
    listening.dial(2)
    assert listening.woken == ["one", "two"]
    assert not listening.pipe.when_acceptable(listening.wake("needless"))


def test_a_cancelled_waiter_hands_its_wake_on() -> None:
    listening = Listening()
    one, two = listening.wake("one"), listening.wake("two")
    listening.pipe.when_acceptable(one)
    listening.pipe.when_acceptable(two)
    listening.dial()
    assert listening.woken == ["one"]
    listening.pipe.forget(one)  # woken, and cancelled before it could accept
    assert listening.woken == ["one", "two"]


def test_a_waiter_cancelled_before_is_simply_gone() -> None:
    listening = Listening()
    one = listening.wake("one")
    listening.pipe.when_acceptable(one)
    listening.pipe.forget(one)
    listening.dial()
    assert listening.woken == []
    assert listening.pipe.accept_nowait() is not None


def test_close_frees_the_port_resets_who_waits_and_wakes_everybody() -> None:
    listening = Listening()
    (waiting,) = listening.dial()
    for name in ("one", "two"):
        listening.pipe._acceptors._wakes.append(listening.wake(name))
    listening.pipe.close()
    listening.settle()
    assert listening.woken == ["one", "two"]
    with pytest.raises(StreamReset):
        waiting.take(1)  # type: ignore[attr-defined]
    listening.pair.b.listen(PORT)
    assert listening.pipe.listener not in listening.owners


def test_the_node_closes() -> None:
    listening = Listening()
    listening.pipe.when_acceptable(listening.wake("one"))
    listening.pipe.end(listening.pair.now)
    assert listening.woken == ["one"]
    assert isinstance(listening.pipe.error, NotUp)
    assert not listening.pipe.when_acceptable(listening.wake("needless"))


def test_the_node_is_gone_or_the_process_forked() -> None:
    for kind, woken in (("fail", ["one"]), ("orphan", [])):
        listening = Listening()
        listening.pipe.when_acceptable(listening.wake("one"))
        getattr(listening.pipe, kind)(NotUp("gone"))
        assert listening.woken == woken
        assert listening.pipe.closed


def test_a_bridge_is_called_for_each_change() -> None:
    listening, calls = Listening(), []
    listening.pipe.direct = lambda: calls.append(listening.pipe.accept_nowait())
    listening.dial()
    assert [call for call in calls if call]
    listening.pipe.close()
    listening.settle()
    assert calls[-1] is None


def test_a_request_to_close_is_under_way_when_close_returns() -> None:
    listening = Listening()
    listening.pipe.close()
    listening.pipe.close()
    assert listening.scheduled == [listening.pipe]
    listening.scheduled.pop().service(listening.pair.now)
    listening.pair.b.listen(PORT)


def test_an_interrupted_close_frees_the_port() -> None:
    for moment, listening in enumerate(interrupted(Listening, lambda one: one.pipe.close(), module, waiters)):
        if moment == 0:  # it had not begun: a second call does it
            listening.pipe.close()
        listening.settle()
        listening.pair.b.listen(PORT)


def test_an_interrupted_waiter_uses_up_no_wake() -> None:
    def enter(listening: Listening) -> None:
        listening.pipe.when_acceptable(listening.wake("first"))

    for listening in interrupted(Listening, enter, module, waiters):
        assert listening.pipe.when_acceptable(listening.wake("second"))
        listening.dial(2)
        assert "second" in listening.woken
        assert listening.pipe.accept_nowait() is not None


def test_whoever_accepts_after_an_interrupt_still_asks_for_what_did_not_fit() -> None:
    def full() -> Listening:
        listening = Listening(backlog=1)
        listening.dial(3)
        return listening

    for listening in interrupted(full, lambda one: one.pipe.accept_nowait(), module, waiters):
        found = 0
        for _ in range(5):
            found += listening.pipe.accept_nowait() is not None
            listening.settle()
        assert found >= 2


def test_there_is_one_backlog_and_accept_alone_makes_room_in_it() -> None:
    listening = Listening(backlog=3)
    listening.dial(6)
    places = listening.pipe.listener.places
    assert (places.taken, len(listening.pipe.listener.parked)) == (2, 4)  # two thirds: they all are of one peer
    for left in (3, 2, 1, 0):
        assert listening.pipe.accept_nowait() is not None
        listening.settle()
        assert (places.taken, len(listening.pipe.listener.parked)) == (2, left)


def test_what_was_accepted_before_anybody_waits_makes_room_as_well() -> None:
    listening = Listening(backlog=1)
    listening.dial(1)
    assert listening.pipe.accept_nowait() is not None
    listening.dial(1)
    assert listening.pipe.accept_nowait() is not None


def test_a_bridge_that_withholds_a_connection_makes_no_room() -> None:
    listening = Listening(backlog=1)
    held: list[Pipe] = []

    listening.pipe.direct = lambda: held.extend(iter(listening.pipe.withhold, None))
    listening.dial(3)
    assert len(held) == 1
    listening.pipe.hand_on(held.pop())
    listening.settle()
    assert len(held) == 1
    assert listening.pipe.listener.places.taken == 1


@pytest.mark.parametrize(("backlog", "part"), [(1, 1), (2, 1), (8, 2), (128, 32), (1000, 32)])
def test_what_waits_behind_a_bridge_counts_in_the_one_backlog(backlog: int, part: int) -> None:
    pipe = Listening(backlog=backlog).pipe
    assert pipe.share_backlog(32) == part
    assert pipe.listener.backlog + part == max(backlog, 2)


def test_who_is_turned_away_is_said_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    listening = Listening(max_connections=3)
    listening.dial(4)
    listening.dial(4)
    listening.settle(60)
    listening.dial(1)
    texts = [record.getMessage() for record in caplog.records]
    assert len(texts) == 2
    assert texts[0].startswith("port 80: a connection from 100.64.0.1 was reset: it has two thirds of the 3 that")
    assert texts[0].endswith("max_connections= (and 1 more like this since it was last said)")
    assert texts[1].endswith("(and 4 more like this since it was last said)")

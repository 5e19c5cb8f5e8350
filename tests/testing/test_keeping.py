"""When an embedded tailnet is written, what waits for it, and what becomes of those that wait in vain.

Here in virtual time, where a write happens in the turn; with threads and files in `test_tailnet`.
"""

from __future__ import annotations

import logging
import math

import pytest

from tests.shelf import Shelf
from tsnet.base.keys import MachineKey, MachinePrivateKey, NodeKey, NodePrivateKey
from tsnet.control.server.snapshot import KeptRelay, Snapshot, decode, encode
from tsnet.control.server.tailnet import TailnetState
from tsnet.errors import NotUp, StateError
from tsnet.testing.keeping import EVERY, KEY, Keeper, load
from tsnet.testing.simulated import SimulatedWorld

FULL = StateError("the state file /x/tsnet.tailnet cannot be written: No space left on device")


class Scene:
    """A tailnet, its keeper, and the attempts that the keeper told of."""

    def __init__(self) -> None:
        self.world = SimulatedWorld(1)
        self.state = TailnetState(entropy=self.world.entropy)
        self.shelf = Shelf()
        self.shelf.open()
        self.attempts: list[StateError | None] = []
        self.keeper = Keeper(self.shelf, self.state, self.world, self.snapshot, self.attempts.append)

    def snapshot(self) -> Snapshot:
        relay = KeptRelay(900, "", "", NodePrivateKey(b"\2" * 32))
        return Snapshot(MachinePrivateKey(b"\1" * 32), 0, (relay,), contents=self.state.contents(self.world.wall()))

    def admit(self, number: int) -> None:
        key = NodeKey(bytes([number]) * 32)
        self.state.admit(MachineKey(bytes([number]) * 32), key, 1, {"Hostname": f"node{number}"}, 0.0)

    def names(self) -> list[str]:
        """Of the nodes that are at rest."""
        return [member.name for member in decode(self.shelf.values[KEY]).contents.members]

    def run(self, seconds: float = 0.0) -> None:
        """Every turn that is due until then."""
        until = self.world.clock() + seconds
        for _ in range(1000):
            if self.keeper.due > until:
                break
            self.world._timeline.now = max(self.world.clock(), self.keeper.due)
            self.keeper.turn()
        self.world._timeline.now = until


@pytest.fixture
def scene() -> Scene:
    scene = Scene()
    scene.state.add_user("ann@example.com")
    scene.run()
    return scene


def test_what_has_not_changed_is_not_written(scene: Scene) -> None:
    assert len(scene.shelf.written) == 1
    assert scene.keeper.due == math.inf
    scene.run(100)
    assert len(scene.shelf.written) == 1
    assert scene.state.is_kept


def test_changes_are_written_together_at_most_once_a_second(scene: Scene) -> None:
    for number in range(50):
        scene.admit(number)
        scene.run(EVERY / 10)
    scene.run(EVERY)
    assert len(scene.names()) == 50
    assert len(scene.shelf.written) == 1 + 5


def test_what_somebody_waits_for_is_written_at_once(scene: Scene) -> None:
    told: list[StateError | None] = []
    scene.admit(1)
    scene.keeper.when_kept(told.append)
    assert told == []
    scene.run()
    assert told == [None]
    assert scene.names() == ["node1"]
    scene.admit(2)
    scene.state.await_kept()
    scene.run()
    assert scene.names() == ["node1", "node2"]


def test_who_waits_for_what_is_at_rest_does_not_wait(scene: Scene) -> None:
    told: list[StateError | None] = []
    scene.keeper.when_kept(told.append)
    assert told == [None]


def test_a_write_that_fails_is_told_logged_once_and_tried_again(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tsnet")
    told: list[StateError | None] = []
    scene.shelf.fails = FULL
    scene.attempts.clear()
    scene.admit(1)
    scene.keeper.when_kept(told.append)
    scene.run()
    assert told == [FULL]
    scene.run(3.5 * EVERY)
    assert scene.attempts == [FULL] * 4, "one at once, then one a second"
    assert not scene.state.is_kept
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "No space left" in caplog.text
    scene.shelf.fails = None
    scene.run(EVERY)
    assert scene.state.is_kept
    assert scene.names() == ["node1"]
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_those_who_wait_meanwhile_do_not_make_it_try_more_often(scene: Scene) -> None:
    scene.shelf.fails = FULL
    scene.attempts.clear()
    for number in range(40):
        scene.admit(number)
        scene.state.await_kept()
        scene.run(EVERY / 20)
    assert len(scene.attempts) <= 3


def test_another_error_is_told_without_its_text(scene: Scene) -> None:
    scene.shelf.fails = ValueError("tskey-auth-secret")
    scene.admit(1)
    scene.run(EVERY)
    assert "tskey" not in str(scene.attempts[-1])
    assert "ValueError" in str(scene.attempts[-1])


def test_keeping_now_is_for_a_caller_who_is_the_loop(scene: Scene) -> None:
    scene.admit(1)
    scene.keeper.keep_now()
    assert scene.names() == ["node1"]
    assert scene.state.is_kept
    scene.shelf.fails = FULL
    scene.admit(2)
    with pytest.raises(StateError, match="No space"):
        scene.keeper.keep_now()


@pytest.mark.parametrize("fails", [False, True])
def test_the_end_writes_a_last_time_and_closes_the_store(scene: Scene, fails: bool) -> None:
    told: list[StateError | None] = []
    scene.admit(1)
    scene.keeper.when_kept(told.append)
    scene.shelf.fails = FULL if fails else None
    scene.keeper.close(told.append)
    assert told == [FULL if fails else None] * 2
    assert not scene.shelf.is_open
    if not fails:
        assert scene.names() == ["node1"]


def test_the_end_says_who_was_there_until_then(scene: Scene) -> None:
    """Nothing has changed, and yet there is news: the time."""
    scene.admit(1)
    (member,) = scene.state.members.values()
    scene.state.set_online(member, True, 0.0)
    scene.run(EVERY)
    scene.world._timeline.now += 3600
    scene.keeper.close(lambda _error: None)
    (kept,) = decode(scene.shelf.values[KEY]).contents.members
    assert kept.last_seen == scene.world.wall()


def test_a_crash_leaves_nobody_waiting(scene: Scene) -> None:
    told: list[StateError | None] = []
    scene.admit(1)
    scene.keeper.when_kept(told.append)
    scene.keeper.crash(ValueError("a bug"))
    assert isinstance(told[0], StateError)


def test_a_forked_child_writes_nothing(scene: Scene) -> None:
    scene.keeper.orphan(NotUp("the parent's"))
    assert len(scene.shelf.written) == 1


# --- loading ----------------------------------------------------------------------------------------------------


def test_a_store_without_a_tailnet_has_none() -> None:
    assert load(Shelf(), "/x") is None


def test_what_is_there_and_cannot_be_read_is_an_error_that_names_it(scene: Scene) -> None:
    document = encode(scene.snapshot())
    assert load(Shelf(tailnet=document), "/x") is not None
    for damage, reason in ((b"", "is empty"), (document[:-9], "is damaged"), (b"{}", "was not written")):
        with pytest.raises(StateError, match=rf"^the tailnet's state /x {reason}.*move it away for a new tailnet"):
            load(Shelf(tailnet=damage), "/x")
    later = document.replace(b'"version":1', b'"version":2')
    with pytest.raises(StateError, match="has version 2, and this library knows version 1"):
        load(Shelf(tailnet=later), "/x")

"""A node whose disk fails at one write, sync or rename, or from there on: it lives, tells of it, and saves later.

    join ─► a peer dials in ─► log in with force ─► set a preference ─► close ─► the next process

| the disk fails | and the node is               | what the next process finds                                  |
|----------------|-------------------------------|--------------------------------------------------------------|
| once           | closed a moment later         | everything                                                   |
| from there on  | closed after it has room      | everything                                                   |
| from there on  | closed before it has room     | what was saved last, whole; with its key it is the same node |

The calls are those of one whole life, counted. Beside it two others talk, whose stream goes on. Time is virtual.

Not here: real disks (`test_full_disk`), the calls of one save (`test_cut_saves`).
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.house import House, events_of
from tsnet.edge.io import private
from tsnet.edge.io.directory import DirectoryStore
from tsnet.edge.io.place import load
from tsnet.edge.pipes.operations import Operation
from tsnet.edge.run.handle import Handle
from tsnet.engine import facts
from tsnet.engine.identity import Identity
from tsnet.engine.saved import IDENTITY, PREFS, decode_identity, decode_prefs
from tsnet.errors import Error, NeedsLogin, StateError

NEVER = 1 << 30
QUIET = "tsnet.whereabouts"
"""Of this file nothing is told: the next start writes it."""
ERRORS = (errno.ENOSPC, errno.EIO)
OF_A_SAVE = ("write", "sync", "rename", "sync directory")
PARTS = range(4)
"""A case lasts less than a second."""


@attrs.define(eq=False)
class FailingDisk:
    """at: the how-manieth call fails. lasts: whether all after it do, too. made, failed: (file, call) of each."""

    error: int = errno.ENOSPC
    at: int = NEVER
    lasts: bool = False
    has_room: bool = False
    made: list[tuple[str, str]] = attrs.Factory(list)
    failed: list[tuple[str, str]] = attrs.Factory(list)
    file: str = ""

    def fail(self, at: int, error: int, *, lasts: bool = False) -> None:
        """Of the calls from now on."""
        self.made, self.failed = [], []
        self.at, self.error, self.lasts, self.has_room = at, error, lasts, False

    def mend(self) -> None:
        self.has_room = True

    def call(self, what: str) -> None:
        self.made.append((self.file, what))
        number = len(self.made)
        if not self.has_room and (number == self.at or (self.lasts and number > self.at)):
            self.failed.append(self.made[-1])
            raise OSError(self.error, os.strerror(self.error))

    @property
    def says(self) -> str:
        return os.strerror(self.error)

    @property
    def must_be_told(self) -> bool:
        """Whether something is not saved. That a rename lasts is tried, and no more can be done."""
        return any(file != QUIET and what != OF_A_SAVE[-1] for file, what in self.failed)

    @property
    def refuses_the_first(self) -> bool:
        """Whether the first save fails, which is that of a new identity."""
        return self.at < len(OF_A_SAVE)

    def put_under(self, patch: pytest.MonkeyPatch) -> None:
        disk, open_file, fsync, replace = self, private.open_file, os.fsync, os.replace

        class Raw(io.FileIO):
            def write(self, data: Any) -> int:
                disk.call("write")
                return super().write(data)

        def opened(path: Path, flags: int, directory: int | None = None) -> int:
            if flags & os.O_CREAT:
                disk.file = path.name.removesuffix(".new")
            return open_file(path, flags, directory)

        def wrapped(descriptor: int, mode: str) -> Any:
            return io.BufferedWriter(Raw(descriptor, "w")) if mode == "wb" else builtins.open(descriptor, mode)

        def synced(descriptor: int) -> None:
            disk.call(OF_A_SAVE[3] if stat.S_ISDIR(os.fstat(descriptor).st_mode) else OF_A_SAVE[1])
            fsync(descriptor)

        def replaced(*paths: Any, **options: Any) -> None:
            disk.call("rename")
            replace(*paths, **options)

        patch.setattr(private, "open_file", opened)
        patch.setattr(private, "open", wrapped, raising=False)
        patch.setattr(private.os, "fsync", synced)  # type: ignore[attr-defined]
        patch.setattr(private.os, "replace", replaced)  # type: ignore[attr-defined]


class Scene:
    """Two nodes that talk, and lives of a third on the failing disk: each has a name and a directory of its own."""

    def __init__(self, tmp_path: Path, patch: pytest.MonkeyPatch) -> None:
        self.house, self.disk, self.lives = House(), FailingDisk(), 0
        self._folder, self._running = tmp_path, list[Handle]()
        self._here = self.house.up("here")
        self._streams = self.house.connect(self._here, self.house.up("there"))[:2]
        self.disk.put_under(patch)
        self.life(NEVER, errno.ENOSPC)
        self.calls = len(self.disk.made)
        self.saves = range(1, self.calls + 1, len(OF_A_SAVE))
        assert [what for _file, what in self.disk.made] == [*OF_A_SAVE] * (self.calls // len(OF_A_SAVE))

    def talk(self, one: Any, other: Any) -> None:
        one.give(b"hello")
        self.house.until(lambda: other.take(10) == b"hello", 5)

    def outcome(self, operation: Operation[Any]) -> Error | None:
        operation.begin()
        self.house.until(lambda: operation.done)
        error = operation._error
        assert error is None or isinstance(error, Error)
        return error

    def handle(self, name: str, *, auth_key: str | None = None) -> Handle:
        store = DirectoryStore(self._folder / name)
        self._running.append(self.house.handle(name, store=store, ephemeral=False, auth_key=auth_key))
        return self._running[-1]

    def life(self, at: int, error: int, *, lasts: bool = False, mends: bool = False) -> Life:
        """Join, be dialled, log in with force, set a preference. mends: there is room again, and time to save.

        The disk fails at that call.
        """
        self._clear()
        self.lives += 1
        house, disk, name = self.house, self.disk, f"node{self.lives}"
        disk.fail(at, error, lasts=lasts)
        node = self.handle(name)
        reader = node.reports.subscribe()
        self._join(node, name)
        dialled, accepted, _listener = house.connect(self._here, node, port=1000 + self.lives)
        self.talk(dialled, accepted)
        first = house.tailnet._member(name)
        login = self.outcome(node.login(house.tailnet.auth_key, True, 10))
        setting = self.outcome(node.setting.set({"shields_up": True}, 10))
        for failure in (login, setting):
            assert failure is None or (isinstance(failure, StateError) and disk.says in str(failure))
        assert node._life.is_running
        self.talk(*self._streams)
        told = [str(event.error) for event in events_of(reader) if isinstance(event, facts.Problem)]
        if disk.must_be_told and not disk.refuses_the_first:
            assert any(disk.says in text for text in told), disk.failed
        if mends:
            disk.mend()
            house.until(lambda: node.node.remembered._saves.is_idle, 61)
            house.until(lambda: not node.node.health.messages, 1)
            self.talk(dialled, accepted)
        identity = node.node.identity
        assert self.outcome(node.close(5)) is None
        self.talk(*self._streams)
        return Life(name, identity, str(first.addresses), str(first.machine), self._folder / name, setting)

    def _join(self, node: Handle, name: str) -> None:
        """Without a place for its keys it does not join, and the same one joins once there is room."""
        error = self.outcome(node.reachable(30))
        assert (error is not None) == self.disk.refuses_the_first
        if error is not None:
            assert isinstance(error, StateError)
            assert self.disk.says in str(error)
            assert self.house.tailnet._state.named(name) is None
            assert [path.name for path in (self._folder / name).iterdir()] == ["tsnet.lock"]
            self.disk.mend()
            assert self.outcome(node.reachable(30)) is None

    def next_process(self, life: Life, *, auth_key: str | None) -> Error | None:
        """Why the node does not come back there; if it does, it is the one that it was."""
        self.disk.mend()
        again = self.handle(life.name, auth_key=auth_key)
        error = self.outcome(again.reachable(30))
        if error is None:
            assert again.prefs.shields_up == ("shields_up" in life.prefs)
        assert self.outcome(again.close(5)) is None
        members = [each for each in self.house.tailnet._state.members.values() if str(each.machine) == life.machine]
        assert [str(member.addresses) for member in members] == [life.addresses]
        assert set(self.house.tailnet.nodes()) == {"here", "there", life.name}
        assert not [path.name for path in life.folder.iterdir() if path.name.endswith(".new")]
        return error

    def _clear(self) -> None:
        """Of the life before, which may have gone wrong, nothing is left."""
        self.disk.mend()
        while self._running:
            self.outcome(self._running.pop().close(5))
        for name in set(self.house.tailnet.nodes()) - {"here", "there"}:
            self.house.tailnet.remove(name)


@attrs.frozen
class Life:
    """identity: as the node had it when it was closed. setting: why the preference was not saved at once."""

    name: str
    identity: Identity
    addresses: str
    machine: str
    folder: Path
    setting: Error | None

    @property
    def saved(self) -> Identity | None:
        """Raises StateError if it is not whole."""
        return load(DirectoryStore(self.folder), IDENTITY, decode_identity)

    @property
    def prefs(self) -> dict[str, Any]:
        return load(DirectoryStore(self.folder), PREFS, decode_prefs) or {}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TS_DISABLE_PORTMAPPER", "1")
        yield Scene(tmp_path_factory.mktemp("failing"), patch)


def fails_once(scene: Scene, at: int, error: int, *, comes_back: bool = True) -> None:
    life = scene.life(at, error)
    assert scene.disk.failed
    assert life.saved == life.identity
    assert life.prefs == {"shields_up": True}
    if comes_back:
        assert scene.next_process(life, auth_key="") is None


def has_room_again(scene: Scene, at: int, error: int) -> None:
    life = scene.life(at, error, lasts=True, mends=True)
    assert scene.disk.failed
    assert life.saved == life.identity
    assert life.prefs == {"shields_up": True}
    assert scene.next_process(life, auth_key="") is None


def never_has_room(scene: Scene, at: int, error: int) -> None:
    """What control was told and the disk was not, another login mends: by the node's key, or by a person."""
    life = scene.life(at, error, lasts=True)
    saved = life.saved
    assert saved is not None
    assert saved.machine_key == life.identity.machine_key
    refusal = scene.next_process(life, auth_key="")
    assert (refusal is None) == (saved.node_key == life.identity.node_key)
    if refusal is not None:
        assert isinstance(refusal, NeedsLogin)
        assert scene.next_process(life, auth_key=None) is None


@pytest.mark.parametrize("part", PARTS)
def test_once_and_it_is_closed_a_moment_later(scene: Scene, part: int) -> None:
    for number, at in list(enumerate(scene.saves))[part :: len(PARTS)]:
        for call in range(len(OF_A_SAVE) - 1):
            fails_once(scene, at + call, ERRORS[number % 2], comes_back=call == number % 3)


@pytest.mark.parametrize("end", [has_room_again, never_has_room])
def test_from_one_save_on(scene: Scene, end: Callable[[Scene, int, int], None]) -> None:
    """Every other save; all of them are in the long sweep."""
    for number, at in list(enumerate(scene.saves))[end is never_has_room :: 2]:
        end(scene, at + number % 3, ERRORS[number // 2 % 2])


@pytest.mark.slow
@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("end", [fails_once, has_room_again, never_has_room])
def test_each_call_with_each_error(scene: Scene, end: Callable[[Scene, int, int], None], error: int) -> None:
    for at in range(1, scene.calls + 1):
        end(scene, at, error)

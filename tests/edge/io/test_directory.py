"""State on a disk: which file, which modes, every failure named, nothing lost."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.edge.io.test_lock import forked, forks, unwarned
from tests.engine.identities import identity
from tsnet.edge.io import private
from tsnet.edge.io.directory import DirectoryStore
from tsnet.engine.saved import CONTROL_KEY, IDENTITY, decode_identity, encode_identity
from tsnet.errors import ConfigError, StateError, StateLocked

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DirectoryStore]:
    store = DirectoryStore(tmp_path / "node")
    store.open()
    yield store
    store.close()


def names(store: DirectoryStore) -> list[str]:
    return sorted(file.name for file in store.path.iterdir())


# --- the files --------------------------------------------------------------------------------------------------


def test_a_state_of_the_first_version_is_read_for_ever() -> None:
    """Its file was written by the first version, and never changes. A lasting node's is still written to the letter."""
    text = (GOLDEN / "tsnet.state").read_bytes()
    assert DirectoryStore(GOLDEN).read(IDENTITY) == text
    assert decode_identity(text) == identity()
    assert encode_identity(identity()) == text


def test_one_file_for_each_key(store: DirectoryStore) -> None:
    assert names(store) == ["tsnet.lock"]
    store.write(IDENTITY, b"1")
    store.write(CONTROL_KEY, b"2")
    store.write("x", b"3")
    assert names(store) == ["tsnet.control-key", "tsnet.lock", "tsnet.state", "tsnet.x"]
    assert (store.path / "tsnet.state").read_bytes() == b"1"
    assert (store.path / "tsnet.control-key").read_bytes() == b"2"
    assert store.keys() == (CONTROL_KEY, IDENTITY, "x")


def test_other_files_are_no_values(store: DirectoryStore) -> None:
    for name in ("tsnet.state.new", "tsnet.X", "tsnet.", "notes", "identity", "tsnet.identity"):
        (store.path / name).write_bytes(b"?")
    assert store.keys() == ()


@pytest.mark.parametrize("key", ["lock", "state"])
def test_a_key_whose_file_has_another_meaning_is_refused(store: DirectoryStore, key: str) -> None:
    with pytest.raises(ConfigError, match="has another meaning"):
        store.write(key, b"")
    with pytest.raises(ConfigError, match="has another meaning"):
        store.read(key)


def test_modes(store: DirectoryStore) -> None:
    store.write(IDENTITY, b"1")
    store.write(CONTROL_KEY, b"2")
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o700
    for file in store.path.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_a_second_life_finds_the_first(store: DirectoryStore) -> None:
    store.write(IDENTITY, b"1")
    store.close()
    again = DirectoryStore(store.path)
    again.open()
    assert again.read(IDENTITY) == b"1"
    again.close()


# --- failures ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["open", "fsync", "replace"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_failed_write_is_named_and_leaves_the_old_value(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    store.write(IDENTITY, b"old")

    def fail(*args: Any, **options: Any) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(private.os, call, fail)  # type: ignore[attr-defined]
        with pytest.raises(StateError, match=r"tsnet\.state cannot be written.*The previous one is intact") as raised:
            store.write(IDENTITY, b"new")
    assert os.strerror(number) in str(raised.value)
    assert store.read(IDENTITY) == b"old"
    assert names(store) == ["tsnet.lock", "tsnet.state"]
    store.write(IDENTITY, b"new")
    assert store.read(IDENTITY) == b"new"


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES])
def test_a_failed_read_is_named(store: DirectoryStore, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    store.write(IDENTITY, b"old")

    def fail(*args: Any, **options: Any) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(private.os, "open", fail)  # type: ignore[attr-defined]
        with pytest.raises(StateError, match=r"tsnet\.state cannot be read: .* state="):
            store.read(IDENTITY)


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StateError, match=r"state directory .*file/node cannot be used"):
        DirectoryStore(tmp_path / "file" / "node").open()


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_a_state_file_that_is_no_file(store: DirectoryStore, make: Any) -> None:
    make(store.file(IDENTITY))
    with pytest.raises(StateError, match="cannot be read: it is not a regular file"):
        store.read(IDENTITY)


def test_a_directory_in_place_of_a_file_is_not_written_over(store: DirectoryStore) -> None:
    store.file(IDENTITY).mkdir()
    with pytest.raises(StateError, match="cannot be written"):
        store.write(IDENTITY, b"")


def test_the_lock_is_no_link_to_elsewhere(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("precious")
    (tmp_path / "node").mkdir()
    (tmp_path / "node" / "tsnet.lock").symlink_to(elsewhere)
    with pytest.raises(StateError, match="cannot be used"):
        DirectoryStore(tmp_path / "node").open()
    assert elsewhere.read_text() == "precious"


# --- what somebody else may have put there -----------------------------------------------------------------------

STRANGER = 4242

as_root = pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs root, to make a stranger's files")


def everything(store: DirectoryStore) -> list[Callable[[], object]]:
    return [store.open, lambda: store.read(IDENTITY), store.keys]


@pytest.mark.parametrize("key", [IDENTITY, CONTROL_KEY])
def test_a_link_in_place_of_a_file_is_not_followed(store: DirectoryStore, tmp_path: Path, key: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(encode_identity(identity()))
    elsewhere.chmod(0o644)
    store.file(key).symlink_to(elsewhere)
    with pytest.raises(
        StateError, match=r"cannot be read: it is a symbolic link\. Delete it, or put the file itself in its"
    ):
        store.read(key)
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o644
    store.write(key, b"ours")  # this replaces the link, not what it leads to
    assert decode_identity(elsewhere.read_bytes()) == identity()
    assert store.read(key) == b"ours"


def test_a_link_to_nowhere_is_no_new_identity(store: DirectoryStore, tmp_path: Path) -> None:
    store.file(IDENTITY).symlink_to(tmp_path / "nowhere")
    with pytest.raises(StateError, match="it is a symbolic link"):
        store.read(IDENTITY)


def test_a_link_of_ours_to_the_directory_is_followed(store: DirectoryStore, tmp_path: Path) -> None:
    store.write(IDENTITY, b"1")
    store.close()
    (tmp_path / "link").symlink_to(store.path)
    linked = DirectoryStore(tmp_path / "link")
    linked.open()
    assert linked.read(IDENTITY) == b"1"
    linked.close()


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o707, 0o733])
def test_a_directory_that_others_may_write_to_is_refused_and_left_alone(tmp_path: Path, mode: int) -> None:
    store = DirectoryStore(tmp_path / "node")
    store.path.mkdir()
    store.path.chmod(mode)
    text = (
        rf"other users may write to it \(its mode is {mode:04o}\)\. Take that away \(chmod go-w\), or name a directory"
    )
    for call in everything(store):
        with pytest.raises(StateError, match=text):
            call()
    assert stat.S_IMODE(store.path.stat().st_mode) == mode
    assert names(store) == []
    inside = DirectoryStore(store.path / "inside")
    inside.open()
    inside.write(IDENTITY, b"1")
    assert stat.S_IMODE(inside.path.stat().st_mode) == 0o700
    inside.close()


@as_root
@pytest.mark.parametrize(("group", "accepted"), [(1, False), (STRANGER, True)])
def test_a_group_may_write_if_it_is_nobody_elses(tmp_path: Path, group: int, accepted: bool) -> None:
    """Group 1 has a name, and it is not ours; a group without a name is that of a container's volume."""
    store = DirectoryStore(tmp_path / "node")
    store.path.mkdir()
    os.chown(store.path, -1, group)
    store.path.chmod(0o775)
    with contextlib.nullcontext() if accepted else pytest.raises(StateError, match="other users may write to it"):
        store.open()
    store.close()


@as_root
@pytest.mark.parametrize("mode", [0o700, 0o755])
def test_a_directory_of_another_user_is_refused_also_by_root(tmp_path: Path, mode: int) -> None:
    store = DirectoryStore(tmp_path / "node")
    store.path.mkdir(mode=mode)
    os.chown(store.path, STRANGER, STRANGER)
    for call in everything(store):
        with pytest.raises(
            StateError, match=rf"it belongs to user {STRANGER}, who could put keys there, and this process is"
        ):
            call()
    assert names(store) == []


@as_root
def test_a_file_of_another_user_is_refused_and_left_alone(store: DirectoryStore) -> None:
    store.write(IDENTITY, encode_identity(identity()))
    os.chown(store.file(IDENTITY), STRANGER, STRANGER)
    store.file(IDENTITY).chmod(0o644)
    with pytest.raises(
        StateError, match=rf"it belongs to user {STRANGER}, and this process is user 0\. If it is this node's"
    ):
        store.read(IDENTITY)
    assert stat.S_IMODE(store.file(IDENTITY).stat().st_mode) == 0o644
    assert store.file(IDENTITY).stat().st_uid == STRANGER


@as_root
def test_a_lock_of_another_user_is_refused_and_left_alone(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "node")
    store.path.mkdir(mode=0o700)
    lock = store.path / "tsnet.lock"
    lock.write_text("precious")
    os.chown(lock, STRANGER, STRANGER)
    with pytest.raises(StateError, match=rf"the lock {lock} of the state directory cannot be used: it belongs to user"):
        store.open()
    assert lock.read_text() == "precious"


@as_root
def test_a_link_to_the_directory_that_another_user_has_made_is_refused(store: DirectoryStore, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(store.path)
    os.chown(link, STRANGER, STRANGER, follow_symlinks=False)
    with pytest.raises(StateError, match=f"it is a link that user {STRANGER} has made"):
        DirectoryStore(link).read(IDENTITY)


@as_root
def test_a_temporary_file_of_another_user_is_not_written_into(store: DirectoryStore) -> None:
    left = store.path / "tsnet.state.new"
    left.write_text("")
    left.chmod(0o666)
    os.chown(left, STRANGER, STRANGER)
    with left.open() as theirs:
        store.write(IDENTITY, b"secret")
        assert theirs.read() == ""
    assert store.file(IDENTITY).stat().st_uid == 0
    assert stat.S_IMODE(store.file(IDENTITY).stat().st_mode) == 0o600


def test_what_is_judged_is_what_is_used(store: DirectoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another directory takes the name after the first was judged: the file still comes from the first."""
    store.write(IDENTITY, b"ours")
    real = private._check_directory

    def swap(found: os.stat_result) -> None:
        real(found)
        store.path.rename(tmp_path / "away")
        store.path.mkdir()
        store.file(IDENTITY).write_bytes(b"planted")

    monkeypatch.setattr(private, "_check_directory", swap)
    assert store.read(IDENTITY) == b"ours"


def test_a_directory_that_is_not_there_has_nothing(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "nowhere")
    assert store.read(IDENTITY) is None
    assert store.keys() == ()
    (tmp_path / "nowhere").write_text("a file")
    with pytest.raises(StateError, match="cannot be read"):
        store.keys()


# --- one node at a time -----------------------------------------------------------------------------------------


def test_nobody_writes_who_does_not_hold_the_directory(store: DirectoryStore) -> None:
    other = DirectoryStore(store.path)
    with pytest.raises(StateLocked):
        other.open()
    for each in (other, store):
        store.close()
        with pytest.raises(StateError, match="does not hold its directory"):
            each.write(IDENTITY, b"")
    assert names(store) == ["tsnet.lock"]


@forks
@unwarned
def test_a_forked_child_writes_nothing_and_locks_nobody_out(store: DirectoryStore) -> None:
    store.write(IDENTITY, b"the parent's")

    def child() -> None:
        with pytest.raises(StateError, match="does not hold its directory"):
            store.write(IDENTITY, b"the child's")
        store.close()

    with forked(child):
        store.write(IDENTITY, b"the parent's, later")
        store.close()
        again = DirectoryStore(store.path)
        again.open()
        assert again.read(IDENTITY) == b"the parent's, later"
        again.close()

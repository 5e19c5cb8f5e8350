"""State on a disk: which file, which modes, every failure named, nothing lost."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
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

    def fail(*args: Any) -> None:
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

    def fail(*args: Any) -> None:
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

"""A directory that is started from is the one of last time, or another one; a volume stays what it is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tsnet.edge.io.directory import DirectoryStore
from tsnet.edge.io.encrypted import EncryptedStore
from tsnet.edge.io.store import MemoryStore
from tsnet.edge.io.whereabouts import how_moved, last_whereabouts, machine_mark, whereabouts_of
from tsnet.engine.saved import WHEREABOUTS, Whereabouts, encode_whereabouts

HERE = Whereabouts("9f", 4)


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        (None, HERE, ""),
        (HERE, None, ""),
        (HERE, HERE, ""),
        (HERE, Whereabouts("9f", 5), "in another directory"),
        (HERE, Whereabouts("a0", 4), "on another machine"),
        (HERE, Whereabouts("a0", 5), "on another machine"),
        (HERE, Whereabouts("", 4), ""),
        (Whereabouts("", 4), HERE, ""),
        (Whereabouts("", 4), Whereabouts("", 5), "in another directory"),
    ],
)
def test_what_is_told(before: Whereabouts | None, now: Whereabouts | None, told: str) -> None:
    said = how_moved(before, now)
    assert bool(said) == bool(told)
    assert told in said


def test_a_copy_is_another_directory_and_one_that_was_renamed_is_not(tmp_path: Path) -> None:
    place = tmp_path / "node"
    store = DirectoryStore(place)
    store.open()
    here = whereabouts_of(store, "")
    assert here is not None
    store.write(WHEREABOUTS, encode_whereabouts(here))
    store.close()
    shutil.copytree(place, tmp_path / "copy")
    place.rename(tmp_path / "renamed")
    for name, is_same in (("copy", False), ("renamed", True)):
        other = DirectoryStore(tmp_path / name)
        assert last_whereabouts(other) == here
        assert (how_moved(here, whereabouts_of(other, "")) == "") is is_same


def test_which_stores_have_a_place(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    assert whereabouts_of(EncryptedStore(store, key=bytes(32)), "m") == whereabouts_of(store, "m")
    assert whereabouts_of(MemoryStore(), "m") is None
    assert whereabouts_of(DirectoryStore(tmp_path / "gone"), "m") is None


@pytest.mark.parametrize("value", [b"", b"{}", b"\xff", encode_whereabouts(HERE)[:-9]])
def test_a_note_that_cannot_be_read_is_none(value: bytes) -> None:
    assert last_whereabouts(MemoryStore({WHEREABOUTS: value})) is None
    assert last_whereabouts(MemoryStore()) is None


def test_a_machine_is_known_by_a_hash_of_its_id(tmp_path: Path) -> None:
    ids = ["0123456789abcdef" * 2, "fedcba9876543210" * 2]
    marks = [machine_mark({}, root=machine(tmp_path / each, each)) for each in ids]
    assert len({*marks, ""}) == 3
    assert all(len(mark) == 16 and mark not in each for mark, each in zip(marks, ids, strict=True))
    again = machine(tmp_path / "dbus", ids[0], "var/lib/dbus/machine-id")
    assert machine_mark({}, root=again) == marks[0]


@pytest.mark.parametrize("text", ["", "uninitialized\n", "x" * 100])
def test_an_id_that_is_none(tmp_path: Path, text: str) -> None:
    assert machine_mark({}, root=machine(tmp_path, text)) == ""
    assert machine_mark({}, root=tmp_path / "nothing") == ""


@pytest.mark.parametrize("sign", [".dockerenv", "run/.containerenv"])
def test_a_container_is_no_machine(tmp_path: Path, sign: str) -> None:
    root = machine(tmp_path, "0123456789abcdef" * 2)
    assert machine_mark({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, root=root) == ""
    (root / sign).parent.mkdir(exist_ok=True)
    (root / sign).touch()
    assert machine_mark({}, root=root) == ""


def machine(root: Path, text: str, file: str = "etc/machine-id") -> Path:
    (root / file).parent.mkdir(parents=True)
    (root / file).write_text(text + "\n")
    return root

"""A state moves whole from one store into another, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.identities import identity
from tsnet.edge.io.copying import copy_state, described
from tsnet.edge.io.directory import DirectoryStore
from tsnet.edge.io.encrypted import EncryptedStore
from tsnet.edge.io.store import MemoryStore
from tsnet.engine.saved import IDENTITY, WHEREABOUTS, Whereabouts, encode_identity, encode_whereabouts
from tsnet.errors import StateError, StateLocked

VALUES = {"a": b"1", IDENTITY: encode_identity(identity()), "prefs": b"2"}


def test_from_a_store_into_a_directory_and_encrypted_and_back(tmp_path: Path) -> None:
    key = bytes(32)
    assert copy_state(MemoryStore(VALUES), tmp_path / "plain") == ("a", "prefs", IDENTITY)
    copy_state(tmp_path / "plain", EncryptedStore(DirectoryStore(tmp_path / "sealed"), key=key))
    back = MemoryStore()
    copy_state(EncryptedStore(DirectoryStore(tmp_path / "sealed"), key=key), back)
    assert back.values == VALUES


def test_an_identity_is_not_replaced(tmp_path: Path) -> None:
    copy_state(MemoryStore(VALUES), tmp_path)
    with pytest.raises(StateError, match=f"state directory {tmp_path} has an identity already"):
        copy_state(MemoryStore({IDENTITY: b"other"}), tmp_path)
    assert DirectoryStore(tmp_path).read(IDENTITY) == VALUES[IDENTITY]


def test_nothing_to_copy() -> None:
    target = MemoryStore()
    with pytest.raises(StateError, match="the MemoryStore has no identity to copy"):
        copy_state(MemoryStore({"a": b"1"}), target)
    assert target.values == {}


def test_a_directory_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=f"the state directory {tmp_path / 'typo'} is not there"):
        copy_state(tmp_path / "typo", MemoryStore())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("which", [0, 1])
def test_neither_may_be_in_use(tmp_path: Path, which: int) -> None:
    places = [tmp_path / "source", tmp_path / "target"]
    user = DirectoryStore(places[which])
    user.open()
    user.write(IDENTITY, VALUES[IDENTITY])
    places[0].mkdir(exist_ok=True)
    with pytest.raises(StateLocked):
        copy_state(*places)
    user.close()


def test_a_copy_that_was_interrupted_is_made_again() -> None:
    class Full(MemoryStore):
        room = 2

        def write(self, key: str, value: bytes) -> None:
            if len(self.values) == self.room:
                raise StateError("full")
            super().write(key, value)

    target = Full()
    with pytest.raises(StateError, match="full"):
        copy_state(MemoryStore(VALUES), target)
    assert IDENTITY not in target.values
    target.room = 9
    copy_state(MemoryStore(VALUES), target)
    assert target.values == VALUES


def test_where_it_was_used_stays_behind() -> None:
    source, target = MemoryStore({**VALUES, WHEREABOUTS: encode_whereabouts(Whereabouts("", 1))}), MemoryStore()
    assert copy_state(source, target) == ("a", "prefs", IDENTITY)
    assert target.values == VALUES


def test_a_store_is_called_by_its_directory(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    assert described(store) == described(EncryptedStore(store, key=bytes(32))) == f"the state directory {tmp_path}"
    assert described(EncryptedStore(MemoryStore(), key=bytes(32))) == "the MemoryStore"

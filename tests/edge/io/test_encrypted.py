"""What is kept of a value tells nothing, and opens with its key alone and under its name alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.engine.identities import identity
from tsnet.edge.io.directory import DirectoryStore
from tsnet.edge.io.encrypted import EncryptedStore
from tsnet.edge.io.place import load
from tsnet.edge.io.store import MemoryStore
from tsnet.engine.saved import CONTROL_KEY, IDENTITY, PREFS, decode_identity, encode_identity
from tsnet.errors import ConfigError, StateError, WrongStateKey

KEY, OLD, OTHER = bytes(range(32)), b"\x11" * 32, b"\x22" * 32
GOLDEN = bytes.fromhex(
    "74736e65742d65318f1aee1211fa496007070707070707070707070707070707070707070707070781d037bc3b0770dd"
    "810c5fcc9ab4b9739d48babf7b3e"
)


def kept(key: bytes = KEY, **values: bytes) -> MemoryStore:
    inner = MemoryStore()
    store = EncryptedStore(inner, key=key)
    for name, value in values.items():
        store.write(name, value)
    return inner


def test_the_layout_of_a_version_is_fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "urandom", lambda size: b"\x07" * size)
    inner = MemoryStore()
    EncryptedStore(inner, key=KEY).write(PREFS, b"golden")
    assert inner.values[PREFS] == GOLDEN
    assert EncryptedStore(inner, key=KEY).read(PREFS) == b"golden"


def test_nothing_of_a_value_can_be_seen(tmp_path: Path) -> None:
    store = EncryptedStore(DirectoryStore(tmp_path), key=KEY)
    store.open()
    store.write(IDENTITY, encode_identity(identity()))
    first = (tmp_path / "tsnet.state").read_bytes()
    store.write(IDENTITY, encode_identity(identity()))
    second = (tmp_path / "tsnet.state").read_bytes()
    store.close()
    assert first[16:] != second[16:]
    for text in (b"privkey", b"version", identity().machine_key.reveal()):
        assert text not in first + second
    assert KEY not in first
    assert KEY.hex() not in repr(store) + str(vars(store.wrapped))
    assert load(store, IDENTITY, decode_identity) == identity()


def test_a_value_under_another_name_does_not_open() -> None:
    inner = kept(identity=b"one", prefs=b"two")
    inner.values[IDENTITY], inner.values[PREFS] = inner.values[PREFS], inner.values[IDENTITY]
    for name in (IDENTITY, PREFS):
        with pytest.raises(StateError, match=f"{name!r} is damaged, or was that of another name") as raised:
            EncryptedStore(inner, key=KEY).read(name)
        assert not isinstance(raised.value, WrongStateKey)


def test_every_flipped_bit_and_every_cut_is_named() -> None:
    whole = kept(identity=b"one").values[IDENTITY]
    for changed in [
        *(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :] for place in range(len(whole))),
        *(whole[:size] for size in range(len(whole))),
        whole + b"\0",
    ]:
        with pytest.raises(StateError) as raised:
            EncryptedStore(MemoryStore({IDENTITY: changed}), key=KEY).read(IDENTITY)
        assert isinstance(raised.value, WrongStateKey) is (len(changed) >= 16 and changed[8:16] != whole[8:16])


def test_a_state_that_is_not_encrypted_is_no_state() -> None:
    inner = MemoryStore({IDENTITY: encode_identity(identity())})
    with pytest.raises(StateError, match="not encrypted") as raised:
        EncryptedStore(inner, key=KEY).read(IDENTITY)
    assert "privkey" not in str(raised.value)
    assert inner.values == {IDENTITY: encode_identity(identity())}


def test_another_key_is_an_error_of_its_own_and_changes_nothing() -> None:
    inner = kept(identity=b"one")
    before = dict(inner.values)
    store = EncryptedStore(inner, key=OTHER)
    store.open()
    with pytest.raises(
        WrongStateKey, match=r"encrypted with another key\. .* key=, or, to replace it, among old_keys="
    ):
        store.read(IDENTITY)
    assert inner.values == before


def test_a_new_key_replaces_old_ones() -> None:
    inner = kept(OLD, identity=b"one")
    EncryptedStore(inner, key=OTHER).write(CONTROL_KEY, b"two")
    EncryptedStore(inner, key=KEY).write(PREFS, b"three")
    unchanged = inner.values[PREFS]
    EncryptedStore(inner, key=KEY, old_keys=[OLD, OTHER]).open()
    assert inner.values[PREFS] == unchanged
    store = EncryptedStore(inner, key=KEY)
    assert [store.read(name) for name in (IDENTITY, CONTROL_KEY, PREFS)] == [b"one", b"two", b"three"]
    with pytest.raises(WrongStateKey):
        EncryptedStore(inner, key=OLD).read(IDENTITY)


@pytest.mark.parametrize("writes", range(4))
def test_a_death_while_a_key_is_replaced_loses_nothing(writes: int) -> None:
    class Mortal(MemoryStore):
        left = writes
        is_open = False

        def open(self) -> None:
            self.is_open = True

        def write(self, key: str, value: bytes) -> None:
            if not self.left:
                raise KeyboardInterrupt
            self.left -= 1
            super().write(key, value)

        def close(self) -> None:
            self.is_open = False

    inner = Mortal(kept(OLD, a=b"1", b=b"2", c=b"3").values)
    store = EncryptedStore(inner, key=KEY, old_keys=[OLD])
    if writes < 3:
        with pytest.raises(KeyboardInterrupt):
            store.open()
        assert not inner.is_open
    inner.left = 9
    store.open()
    assert [EncryptedStore(inner, key=KEY).read(name) for name in "abc"] == [b"1", b"2", b"3"]


def test_a_key_that_does_not_fit_at_open_changes_nothing() -> None:
    inner = kept(OTHER, identity=b"one")
    before = dict(inner.values)
    with pytest.raises(WrongStateKey):
        EncryptedStore(inner, key=KEY, old_keys=[OLD]).open()
    assert inner.values == before


@pytest.mark.parametrize("key", [b"", b"short", b"x" * 33, "x" * 32, None, 32])
def test_what_is_no_key_is_a_config_error(key: Any) -> None:
    with pytest.raises(ConfigError, match=r"^key= takes 32 bytes"):
        EncryptedStore(MemoryStore(), key=key)
    with pytest.raises(ConfigError, match=r"^old_keys= takes 32 bytes"):
        EncryptedStore(MemoryStore(), key=KEY, old_keys=[key])


def test_what_is_empty_is_new() -> None:
    store = EncryptedStore(MemoryStore(), key=KEY)
    store.open()
    assert store.read(IDENTITY) is None
    assert list(store.keys()) == []


def test_a_directory_by_its_path_is_refused_with_what_to_write_instead(tmp_path: Path) -> None:
    place: Any = tmp_path / "state"
    with pytest.raises(ConfigError, match=r"wraps a store: tsnet\.DirectoryStore\('.*state'\), say"):
        EncryptedStore(place, key=bytes(32))
    with pytest.raises(ConfigError, match="wraps a store"):
        EncryptedStore(str(place), key=bytes(32))  # type: ignore[arg-type]

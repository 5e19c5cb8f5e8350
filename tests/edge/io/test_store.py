"""What every store promises, whatever it is made of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import tsnet
from tests.edge.io.identitystore import KeptIdentity
from tests.engine.identities import identity
from tsnet.edge.io.directory import DirectoryStore
from tsnet.edge.io.encrypted import EncryptedStore
from tsnet.edge.io.loadsave import WrappedStore
from tsnet.edge.io.store import MemoryStore, Store, check_key
from tsnet.engine.saved import CONTROL_KEY, IDENTITY, encode_identity
from tsnet.errors import ConfigError

FIRST, SECOND = encode_identity(identity()), encode_identity(identity(stable_id="nOther", ephemeral=True))

KINDS: dict[str, Callable[[Path], Store]] = {
    "directory": DirectoryStore,
    "memory": lambda path: MemoryStore(),
    "encrypted": lambda path: EncryptedStore(DirectoryStore(path), key=bytes(32)),
    "load and save": lambda path: WrappedStore(KeptIdentity()),
}


@pytest.fixture(params=list(KINDS.values()), ids=list(KINDS))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    made: Store = request.param(tmp_path)
    return made


def test_what_was_written_last_is_read(store: Store) -> None:
    store.open()
    assert store.read(IDENTITY) is None
    assert store.read(CONTROL_KEY) is None
    for value in (FIRST, SECOND):
        store.write(IDENTITY, value)
        assert store.read(IDENTITY) == value
    store.write(CONTROL_KEY, b"\0anything\xff")
    assert store.read(CONTROL_KEY) == b"\0anything\xff"
    assert store.read(IDENTITY) == SECOND
    store.close()


def test_a_store_that_was_closed_may_be_opened_again(store: Store) -> None:
    store.open()
    store.write(IDENTITY, FIRST)
    store.close()
    store.close()
    store.open()
    assert store.read(IDENTITY) == FIRST
    store.close()


def test_it_lists_what_it_has(store: Store) -> None:
    store.open()
    assert set(store.keys()) == set()
    store.write(IDENTITY, FIRST)
    assert set(store.keys()) == {IDENTITY}
    store.write(CONTROL_KEY, b"")
    assert set(store.keys()) == {IDENTITY, CONTROL_KEY}
    store.close()


@pytest.mark.parametrize("key", ["", "..", "../x", "a/b", "a\\b", "A", "a.new", "a\n", "ü", "a" * 65, "a\0"])
def test_what_is_no_key_is_refused(store: Store, key: str, tmp_path: Path) -> None:
    store.open()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match="is no key of a store"):
        store.read(key)
    with pytest.raises(ConfigError, match="is no key of a store"):
        store.write(key, FIRST)
    assert sorted(tmp_path.rglob("*")) == before
    assert set(store.keys()) == set()
    store.close()


def test_keys() -> None:
    for key in (IDENTITY, CONTROL_KEY, "a", "a-1", "a" * 64):
        assert check_key(key) == key


def test_a_memory_store_may_hold_something_at_first_and_shares_it_with_nobody() -> None:
    first = MemoryStore({IDENTITY: FIRST})
    second = MemoryStore(first.values)
    second.write(IDENTITY, SECOND)
    assert (first.read(IDENTITY), second.read(IDENTITY)) == (FIRST, SECOND)


def test_the_shape_is_public() -> None:
    assert tsnet.Store is Store

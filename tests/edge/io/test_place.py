"""Which store `state=` means, and how what it holds is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.edge.io.identitystore import KeptIdentity
from tests.engine.identities import identity
from tsnet.edge.io.directory import DirectoryStore
from tsnet.edge.io.loadsave import WrappedStore
from tsnet.edge.io.place import default_directory, load, store_for
from tsnet.edge.io.store import MemoryStore, Store
from tsnet.engine.saved import CONTROL_KEY, IDENTITY, decode_control, decode_identity, encode_identity
from tsnet.errors import ConfigError, StateError

# --- which store ------------------------------------------------------------------------------------------------


def test_the_default_directory() -> None:
    assert default_directory("shop", {"HOME": "/home/ann"}) == Path("/home/ann/.local/state/tsnet/shop")
    assert default_directory("shop", {"HOME": "/home/ann", "XDG_STATE_HOME": "/s"}) == Path("/s/tsnet/shop")
    assert default_directory("shop", {"HOME": "/home/ann", "XDG_STATE_HOME": "s"}) == Path(
        "/home/ann/.local/state/tsnet/shop"
    )
    for environ in ({}, {"HOME": ""}, {"HOME": "relative"}):
        assert default_directory("shop", environ) is None


def test_none_is_the_users_state_directory(tmp_path: Path) -> None:
    store = store_for(None, "shop", environ={"HOME": str(tmp_path)}, ephemeral=False)
    assert isinstance(store, DirectoryStore)
    assert store.path == tmp_path / ".local/state/tsnet/shop"
    assert not list(tmp_path.iterdir())


def test_an_ephemeral_node_is_in_memory_though_there_is_a_place(tmp_path: Path) -> None:
    store = store_for(None, "shop", environ={"HOME": str(tmp_path)}, ephemeral=True)
    assert isinstance(store, MemoryStore)
    assert store.values == {}


@pytest.mark.parametrize("environ", [{}, {"HOME": "/dev/null/nobody"}])
def test_without_a_place_only_an_ephemeral_node_can_be(environ: dict[str, str]) -> None:
    assert isinstance(store_for(None, "shop", environ=environ, ephemeral=True), MemoryStore)
    with pytest.raises(StateError, match=r"no place to keep .* state= .* ephemeral=True"):
        store_for(None, "shop", environ=environ, ephemeral=False)


def test_a_path_is_a_directory_ephemeral_or_not(tmp_path: Path) -> None:
    for given in (tmp_path, str(tmp_path)):
        for ephemeral in (True, False):
            store = store_for(given, "shop", environ={}, ephemeral=ephemeral)
            assert isinstance(store, DirectoryStore)
            assert store.path == tmp_path


def test_a_home_that_nobody_has_is_a_state_error() -> None:
    with pytest.raises(
        StateError, match="the state directory ~nobody-of-that-name/x cannot be found: there is no such"
    ):
        store_for("~nobody-of-that-name/x", "shop", environ={}, ephemeral=False)


def test_a_store_is_used_as_it_is() -> None:
    mine = MemoryStore()
    assert store_for(mine, "shop", environ={}, ephemeral=False) is mine


def test_a_store_with_load_and_save_is_wrapped() -> None:
    mine = KeptIdentity()
    store = store_for(mine, "shop", environ={}, ephemeral=False)
    assert isinstance(store, WrappedStore)
    assert store.wrapped is mine


def test_a_store_with_both_shapes_is_used_by_keys() -> None:
    class Both(MemoryStore):
        def load(self) -> None: ...

        def save(self, identity: object) -> None: ...

    mine = Both()
    assert store_for(mine, "shop", environ={}, ephemeral=False) is mine


@pytest.mark.parametrize("given", ["", 7, object(), {"identity": b""}, Store])
def test_what_is_no_store_is_a_config_error(given: Any) -> None:
    with pytest.raises(ConfigError, match="state="):
        store_for(given, "shop", environ={}, ephemeral=False)


# --- what it holds ----------------------------------------------------------------------------------------------


def test_what_is_not_there_is_none() -> None:
    assert load(MemoryStore(), IDENTITY, decode_identity) is None


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_whatever_a_database_calls_bytes(kind: Any) -> None:
    store = MemoryStore({IDENTITY: kind(encode_identity(identity()))})
    assert load(store, IDENTITY, decode_identity) == identity()


def test_text_is_not_bytes() -> None:
    values: Any = {IDENTITY: encode_identity(identity()).decode()}
    with pytest.raises(StateError, match="the value of 'identity' in the MemoryStore is str, not bytes") as raised:
        load(MemoryStore(values), IDENTITY, decode_identity)
    assert "privkey" not in str(raised.value)


@pytest.mark.parametrize("text", [b"", b"\0" * 400, b"{}", b'{"_machinekey": "x"}', encode_identity(identity())[:-9]])
@pytest.mark.parametrize(
    ("key", "name", "decode"),
    [(IDENTITY, "tsnet.state", decode_identity), (CONTROL_KEY, "tsnet.control-key", decode_control)],
)
def test_a_damaged_file_is_named_and_left_as_it_is(
    tmp_path: Path, key: str, name: str, decode: Callable[[bytes], object], text: bytes
) -> None:
    file = tmp_path / name
    file.write_bytes(text)
    with pytest.raises(StateError) as raised:
        load(DirectoryStore(tmp_path), key, decode)
    message = str(raised.value)
    assert message.startswith(f"the state file {file} ")
    assert "state=" in message
    assert "move it away" in message
    assert file.read_bytes() == text

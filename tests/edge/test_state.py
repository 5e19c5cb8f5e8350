"""Identities at rest: every field back, every damage named, one process at a time."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from tsnet.base.keys import NodePrivateKey
from tsnet.base.malformed import MalformedError
from tsnet.edge import state
from tsnet.edge.state import DirectoryStore, MemoryStore, Store, decode, default_directory, encode, open_store
from tsnet.engine.identity import Identity, new_identity
from tsnet.errors import ConfigError, StateError, StateLocked


def identity() -> Identity:
    """One with every field set."""
    counter = iter(range(1, 100))
    fresh = new_identity(lambda size: bytes([next(counter)]) * size)
    return attrs.evolve(
        fresh,
        old_node_key=NodePrivateKey(b"\x55" * 32),
        control_url="https://control.test",
        stable_id="nABC123",
        login_name="ann@example.com",
        registered=True,
        timestamp_mark=1_700_000_000.5,
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DirectoryStore]:
    store = DirectoryStore(tmp_path / "node")
    store.open()
    yield store
    store.close()


# --- rest and return --------------------------------------------------------------------------------------------


def test_every_field_comes_back(store: DirectoryStore) -> None:
    assert store.load() is None
    store.save(identity())
    assert store.load() == identity()
    fresh = new_identity(os.urandom)
    store.save(fresh)
    assert store.load() == fresh


def test_a_second_life_finds_the_first(store: DirectoryStore) -> None:
    store.save(identity())
    store.close()
    again = DirectoryStore(store.path)
    again.open()
    assert again.load() == identity()
    again.close()


def test_the_file_of_a_version_is_fixed() -> None:
    """What is on users' disks: a change here needs a new version and a way to read this one."""
    assert json.loads(encode(identity())) == {
        "version": 1,
        "kind": "tsnet-py",
        "machine_key": identity().machine_key.reveal_text(),
        "node_key": identity().node_key.reveal_text(),
        "lock_key": identity().lock_key.reveal_text(),
        "old_node_key": "privkey:50" + "55" * 30 + "55",
        "control_url": "https://control.test",
        "stable_id": "nABC123",
        "login_name": "ann@example.com",
        "registered": True,
        "timestamp_mark": 1_700_000_000.5,
    }


def test_the_memory_store_keeps_what_it_is_given() -> None:
    store: Store = MemoryStore()
    store.open()
    assert store.load() is None
    store.save(identity())
    assert store.load() == identity()
    store.close()


def test_modes(store: DirectoryStore) -> None:
    store.save(identity())
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o700
    for file in store.path.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_only_the_two_files_remain(store: DirectoryStore) -> None:
    for _ in range(3):
        store.save(identity())
    assert sorted(file.name for file in store.path.iterdir()) == ["tsnet.lock", "tsnet.state"]


# --- damage -----------------------------------------------------------------------------------------------------


def damaged(**changes: Any) -> bytes:
    fields = {**json.loads(encode(identity())), **changes}
    return json.dumps({name: value for name, value in fields.items() if value is not ...}).encode()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "is empty"),
        (b"  \n", "is empty"),
        (b"\x00\x01\xff", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "was not written by this library"),
        (b'{"_machinekey": "cHJpdmtleTo="}', "was not written by this library"),
        (damaged(version=2), "has version 2"),
        (damaged(version=...), "has version None"),
        (damaged(machine_key=...), "machine_key is no key"),
        (damaged(node_key="privkey:00"), "node_key is no key"),
        (damaged(lock_key=7), "lock_key is no key"),
        (damaged(old_node_key="x"), "old_node_key is no key"),
        (damaged(control_url=None), "control_url is missing"),
        (damaged(timestamp_mark="yesterday"), "timestamp_mark is no number"),
        (damaged(timestamp_mark=True), "timestamp_mark is no number"),
    ],
)
def test_damage_is_named_and_nothing_is_overwritten(store: DirectoryStore, text: bytes, reason: str) -> None:
    store.file.write_bytes(text)
    with pytest.raises(StateError) as raised:
        store.load()
    message = str(raised.value)
    assert reason in message
    assert str(store.file) in message
    assert "state=" in message
    assert store.file.read_bytes() == text


def test_truncated_at_every_length(store: DirectoryStore) -> None:
    whole = encode(identity())
    for end in range(len(whole.rstrip())):
        store.file.write_bytes(whole[:end])
        with pytest.raises(StateError):
            store.load()


def test_secrets_stay_out_of_messages_and_reprs(store: DirectoryStore) -> None:
    secret = identity().node_key.reveal_text()
    store.file.write_bytes(damaged(node_key=secret + "0", lock_key=secret))
    with pytest.raises(StateError) as raised:
        store.load()
    assert secret[8:] not in str(raised.value)
    assert raised.value.__cause__ is None
    assert secret[8:] not in repr(identity())


def test_unknown_fields_of_a_sibling_are_ignored() -> None:
    assert decode(damaged(colour="blue")) == identity()


# --- writing ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_failed_write_leaves_the_old_file(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    store.save(identity())

    def fail(*args: Any) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(state.os, call, fail)  # type: ignore[attr-defined]
        with pytest.raises(StateError, match="The previous one is intact"):
            store.save(new_identity(os.urandom))
    assert store.load() == identity()
    assert sorted(file.name for file in store.path.iterdir()) == ["tsnet.lock", "tsnet.state"]
    store.save(new_identity(os.urandom))


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StateError, match=r"state directory .*file/node cannot be used"):
        DirectoryStore(tmp_path / "file" / "node").open()


def test_a_state_file_that_is_a_directory(store: DirectoryStore) -> None:
    store.file.mkdir()
    with pytest.raises(StateError, match="cannot be read"):
        store.load()
    with pytest.raises(StateError, match="cannot be written"):
        store.save(identity())


# --- the lock ---------------------------------------------------------------------------------------------------

HOLD = """
import sys
from tsnet.edge.state import DirectoryStore
store = DirectoryStore(sys.argv[1], use_flock=sys.argv[2] == "True")
store.open()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[Callable[[Path, bool], subprocess.Popen[str]]]:
    """Start another process that holds a directory."""
    processes: list[subprocess.Popen[str]] = []

    def start(path: Path, use_flock: bool) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLD, str(path), str(use_flock)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


flocks = pytest.mark.parametrize(
    "use_flock", [pytest.param(True, marks=pytest.mark.skipif(not state.fcntl, reason="no flock here")), False]
)


@flocks
def test_another_process_is_named_and_its_end_frees_the_directory(
    tmp_path: Path, hold: Callable[[Path, bool], subprocess.Popen[str]], use_flock: bool
) -> None:
    path = tmp_path / "node"
    process = hold(path, use_flock)
    store = DirectoryStore(path, use_flock=use_flock)
    with pytest.raises(StateLocked) as raised:
        store.open()
    assert raised.value.pid == process.pid
    assert f"Stop process {process.pid}" in str(raised.value)
    assert str(path) in str(raised.value)
    process.kill()  # without a chance to tidy up
    process.communicate()
    store.open()
    store.close()


@flocks
def test_two_nodes_of_one_process(tmp_path: Path, use_flock: bool) -> None:
    first, second = (DirectoryStore(tmp_path, use_flock=use_flock) for _ in range(2))
    first.open()
    with pytest.raises(StateLocked, match="this process has it open: close that node first"):
        second.open()
    first.close()
    first.close()
    second.open()
    second.close()


@flocks
@pytest.mark.parametrize("rubbish", [b"", b"\xff\xff", b"-1", b"0", b"9" * 30])
def test_rubbish_in_the_lock_file_holds_nobody_up(tmp_path: Path, use_flock: bool, rubbish: bytes) -> None:
    (tmp_path / "tsnet.lock").write_bytes(rubbish)
    store = DirectoryStore(tmp_path, use_flock=use_flock)
    store.open()
    assert (tmp_path / "tsnet.lock").read_text() == f"{os.getpid()}\n"
    store.close()


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
    store = open_store(None, "shop", environ={"HOME": str(tmp_path)}, ephemeral=False)
    assert isinstance(store, DirectoryStore)
    assert store.path == tmp_path / ".local/state/tsnet/shop"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("environ", [{}, {"HOME": "/dev/null/nobody"}])
def test_without_a_place_only_an_ephemeral_node_can_be(environ: dict[str, str]) -> None:
    assert isinstance(open_store(None, "shop", environ=environ, ephemeral=True), MemoryStore)
    with pytest.raises(StateError, match=r"no place to keep .* state= .* ephemeral=True"):
        open_store(None, "shop", environ=environ, ephemeral=False)


def test_a_path_is_a_directory_ephemeral_or_not(tmp_path: Path) -> None:
    for given in (tmp_path, str(tmp_path)):
        store = open_store(given, "shop", environ={}, ephemeral=True)
        assert isinstance(store, DirectoryStore)
        assert store.path == tmp_path


def test_a_store_is_used_as_it_is() -> None:
    mine = MemoryStore()
    assert open_store(mine, "shop", environ={}, ephemeral=False) is mine


@pytest.mark.parametrize("given", ["", 7, object()])
def test_what_is_no_store_is_a_config_error(given: Any) -> None:
    with pytest.raises(ConfigError, match="state="):
        open_store(given, "shop", environ={}, ephemeral=False)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o666])
def test_a_file_that_others_could_read_is_closed_to_them(store: DirectoryStore, mode: int) -> None:
    store.save(identity())
    store.file.chmod(mode)
    assert store.load() == identity()
    assert stat.S_IMODE(store.file.stat().st_mode) == 0o600


def test_what_an_earlier_death_left_is_not_written_into(store: DirectoryStore, tmp_path: Path) -> None:
    left = store.file.with_name("tsnet.state.new")
    left.write_text("half")
    left.chmod(0o666)
    store.save(identity())
    assert stat.S_IMODE(store.file.stat().st_mode) == 0o600
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("precious")
    left.symlink_to(elsewhere)
    store.save(identity())
    assert elsewhere.read_text() == "precious"
    assert not store.file.is_symlink()


def test_the_lock_is_no_link_to_elsewhere(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("precious")
    (tmp_path / "node").mkdir()
    (tmp_path / "node" / "tsnet.lock").symlink_to(elsewhere)
    with pytest.raises(StateError, match="cannot be used"):
        DirectoryStore(tmp_path / "node").open()
    assert elsewhere.read_text() == "precious"


@pytest.mark.parametrize("mark", ["NaN", "Infinity", "-1", "1e300", "true", '"1"', "1" + "0" * 40])
def test_a_mark_that_no_time_stamp_could_hold(mark: str) -> None:
    text = (
        encode(attrs.evolve(identity(), timestamp_mark=1.0))
        .decode()
        .replace('"timestamp_mark": 1.0', f'"timestamp_mark": {mark}')
    )
    with pytest.raises(MalformedError, match="timestamp_mark"):
        decode(text.encode())

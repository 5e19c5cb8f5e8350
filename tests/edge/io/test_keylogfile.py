"""A key log that cannot be written is an error at the start, and none afterwards."""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tsnet.base.keys import NodeKey, NodePrivateKey, PrivateKey
from tsnet.edge.io import keylogfile
from tsnet.edge.io.keylogfile import KeyLogFile
from tsnet.errors import ConfigError
from tsnet.wireguard.keylog import HandshakeSecrets

SECRETS = HandshakeSecrets(NodePrivateKey(b"\x11" * 32), NodeKey(b"\x05" * 32), PrivateKey(b"\x06" * 32), psk=bytes(32))


def opened(path: Path) -> KeyLogFile:
    return KeyLogFile(str(path), lambda: 0.0)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_it_is_made_for_this_user_alone_and_a_warning_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = opened(tmp_path / "keys")
    assert mode(tmp_path / "keys") == 0o600
    log.write(SECRETS)
    log.write(SECRETS)
    assert (tmp_path / "keys").read_bytes() == 2 * SECRETS.lines()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert str(tmp_path / "keys") in record.getMessage()


def test_what_is_there_stays_and_is_hidden_from_others(tmp_path: Path) -> None:
    (tmp_path / "keys").write_bytes(b"before\n")
    (tmp_path / "keys").chmod(0o644)
    opened(tmp_path / "keys").write(SECRETS)
    assert (tmp_path / "keys").read_bytes() == b"before\n" + SECRETS.lines()
    assert mode(tmp_path / "keys") == 0o600


def test_two_write_to_one_file(tmp_path: Path) -> None:
    one, other = opened(tmp_path / "keys"), opened(tmp_path / "keys")
    for log in (one, other, one):
        log.write(SECRETS)
    assert (tmp_path / "keys").read_bytes() == 3 * SECRETS.lines()


def test_the_folder_of_the_process_does_not_matter_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    log = KeyLogFile("keys", lambda: 0.0)
    monkeypatch.chdir("/")
    log.write(SECRETS)
    assert (tmp_path / "keys").read_bytes() == SECRETS.lines()


def make_link(path: Path) -> None:
    path.symlink_to(path.with_name("elsewhere"))


UNUSABLE: dict[str, Callable[[Path], object]] = {
    "a folder": Path.mkdir,
    "a symbolic link": make_link,
    "a pipe": os.mkfifo,
}


@pytest.mark.parametrize("what", UNUSABLE)
def test_what_cannot_be_written_is_an_error_at_the_start(tmp_path: Path, what: str) -> None:
    UNUSABLE[what](tmp_path / "keys")
    with pytest.raises(ConfigError, match="WG_KEYLOGFILE"):
        opened(tmp_path / "keys")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("path", ["missing/keys", "nul\0byte", "a" * 300])
def test_a_path_that_leads_nowhere(tmp_path: Path, path: str) -> None:
    with pytest.raises(ConfigError, match=r"WG_KEYLOGFILE.*unset it"):
        KeyLogFile(f"{tmp_path}/{path}", lambda: 0.0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_another_user(tmp_path: Path) -> None:
    (tmp_path / "keys").touch()
    os.chown(tmp_path / "keys", 12_345, 12_345)
    with pytest.raises(ConfigError, match="user 12345"):
        opened(tmp_path / "keys")


@pytest.mark.parametrize("call", ["open", "write", "fstat"])
def test_a_disk_that_fails_later_costs_the_secrets_and_is_said_once_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, call: str
) -> None:
    now = [0.0]
    log = KeyLogFile(str(tmp_path / "keys"), lambda: now[0])
    caplog.clear()

    def fail(*args: object, **options: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = os.listdir("/proc/self/fd")
    with monkeypatch.context() as patch:
        patch.setattr(keylogfile.os, call, fail)  # type: ignore[attr-defined]
        for at in (0.0, 1.0, 59.0, 61.0):
            now[0] = at
            log.write(SECRETS)
    assert len(os.listdir("/proc/self/fd")) == len(before)
    assert len(caplog.records) == 2
    assert "No space left" in caplog.text
    log.write(SECRETS)
    assert (tmp_path / "keys").read_bytes().lstrip(b"\n") == SECRETS.lines()


def test_a_line_that_was_torn_does_not_spoil_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, write = opened(tmp_path / "keys"), os.write
    with monkeypatch.context() as patch:
        patch.setattr(keylogfile.os, "write", lambda file, data: write(file, data[:10]))  # type: ignore[attr-defined]
        log.write(SECRETS)
    log.write(SECRETS)
    assert (tmp_path / "keys").read_bytes() == SECRETS.lines()[:10] + b"\n" + SECRETS.lines()


def test_it_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keylogfile, "MAX_SIZE", 3 * len(SECRETS.lines()))
    log = opened(tmp_path / "keys")
    for _ in range(10):
        log.write(SECRETS)
    assert (tmp_path / "keys").stat().st_size == 4 * len(SECRETS.lines())


def test_a_file_that_was_moved_away_is_made_anew(tmp_path: Path) -> None:
    log = opened(tmp_path / "keys")
    (tmp_path / "keys").rename(tmp_path / "old")
    log.write(SECRETS)
    assert (mode(tmp_path / "keys"), (tmp_path / "keys").read_bytes()) == (0o600, SECRETS.lines())

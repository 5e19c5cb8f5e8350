from __future__ import annotations

import errno
import os
import resource
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tsnet.edge.io import private
from tsnet.edge.io.private import MAX_SIZE, open_file, read_file, replace_file


def test_the_whole_new_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    for data in (b"one", b"", bytes(100_000)):
        replace_file(file, data)
        assert read_file(file) == data
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o277])
def test_the_mode_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        replace_file(tmp_path / "file", b"new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) & 0o077 == 0


@pytest.mark.parametrize("call", ["open", "fstat", "fsync", "replace"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    file = tmp_path / "file"
    replace_file(file, b"old")

    def fail(*args: Any, **options: Any) -> None:
        raise OSError(number, os.strerror(number))

    descriptors = os.listdir("/proc/self/fd") if sys.platform == "linux" else []
    with monkeypatch.context() as patch:
        patch.setattr(private.os, call, fail)  # type: ignore[attr-defined]
        with pytest.raises(OSError) as raised:
            replace_file(file, b"new")
    assert raised.value.errno == number
    assert read_file(file) == b"old"
    assert list(tmp_path.iterdir()) == [file]
    assert descriptors == (os.listdir("/proc/self/fd") if sys.platform == "linux" else [])
    replace_file(file, b"new")
    assert read_file(file) == b"new"


def test_a_disk_without_room_for_all_of_it_leaves_the_old_file(tmp_path: Path) -> None:
    """The kernel refuses in the middle: here by a limit on files, which Python reports as any other failed write."""
    file = tmp_path / "file"
    replace_file(file, b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(OSError):
            replace_file(file, bytes(20_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert read_file(file) == b"old"
    assert list(tmp_path.iterdir()) == [file]


DIE = """
import os, sys
from pathlib import Path
from tsnet.edge.io.private import replace_file
setattr(os, sys.argv[2], lambda *arguments, **options: os._exit(9))
replace_file(Path(sys.argv[1]), b"new")
"""


@pytest.mark.parametrize("call", ["fstat", "fsync", "replace"])
def test_a_death_in_the_middle_leaves_the_old_file_and_no_harm(tmp_path: Path, call: str) -> None:
    file = tmp_path / "file"
    replace_file(file, b"old")
    assert subprocess.run([sys.executable, "-c", DIE, str(file), call], check=False).returncode == 9
    assert read_file(file) == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "file.new"]
    replace_file(file, b"newer")
    assert read_file(file) == b"newer"
    assert list(tmp_path.iterdir()) == [file]


def test_what_an_earlier_death_left_is_not_written_into(tmp_path: Path) -> None:
    file, left, elsewhere = tmp_path / "file", tmp_path / "file.new", tmp_path / "elsewhere"
    left.write_text("half")
    left.chmod(0o666)
    replace_file(file, b"1")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    elsewhere.write_text("precious")
    left.symlink_to(elsewhere)
    replace_file(file, b"2")
    assert elsewhere.read_text() == "precious"
    assert not file.is_symlink()


def test_who_comes_between_is_not_written_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The temporary name is taken again after it was cleared away: the write fails instead of following it."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("precious")

    def come_between(_path: object, **_options: object) -> None:
        (tmp_path / "file.new").symlink_to(elsewhere)

    with monkeypatch.context() as patch:
        patch.setattr(private.os, "unlink", come_between)  # type: ignore[attr-defined]
        with pytest.raises(FileExistsError):
            replace_file(tmp_path / "file", b"new")
    assert elsewhere.read_text() == "precious"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o666])
def test_a_file_that_others_could_read_is_closed_to_them(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"restored")
    file.chmod(mode)
    assert read_file(file) == b"restored"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_file_of_any_size_is_not_read_whole(tmp_path: Path) -> None:
    file = tmp_path / "file"
    with file.open("wb") as sparse:
        sparse.truncate(1 << 40)
    with pytest.raises(OSError, match=f"more than {MAX_SIZE} bytes"):
        read_file(file)
    os.truncate(file, MAX_SIZE)
    assert len(read_file(file)) == MAX_SIZE


def test_a_pipe_in_its_place_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "file")
    for flags in (os.O_RDONLY, os.O_RDWR | os.O_CREAT):
        with pytest.raises(OSError, match="not a regular file"):
            open_file(tmp_path / "file", flags)
    with pytest.raises(OSError, match="not a regular file"):
        read_file(tmp_path / "file")


def test_no_program_that_is_started_inherits_it(tmp_path: Path) -> None:
    descriptor = open_file(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    try:
        assert not os.get_inheritable(descriptor)
    finally:
        os.close(descriptor)

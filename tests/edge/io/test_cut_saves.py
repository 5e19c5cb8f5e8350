"""A save that is killed, or refused, at each of its system calls: old or new, never half, and the next one works.

The calls are those between the directory's opening and its closing, found by strace in one whole run. Each is then
struck once, in a run of its own, by strace's fault injection: the process is killed in front of it, or it fails.
"""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import attrs
import pytest

from tsnet.edge.io.directory import DirectoryStore
from tsnet.edge.io.private import replace_file
from tsnet.engine.saved import IDENTITY

OLD, NEW = b"old" * 300, b"new" * 400
ROOT = Path(__file__).parent.parent.parent.parent
SAVE = """
import sys
from pathlib import Path
from tsnet.edge.io.directory import DirectoryStore
from tsnet.errors import Error
store = DirectoryStore(Path(sys.argv[1]))
try:
    store.open()
    try:
        store.write("identity", b"new" * 400)
    finally:
        store.close()
except Error as error:
    print(type(error).__name__, error)
    sys.exit(3)
"""
CALL = re.compile(r"^(?:\d+ +)?(\w+)\(")
MUST_HAVE = {"mkdir", "openat", "flock", "ftruncate", "write", "fsync", "renameat", "unlinkat", "close"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux" or shutil.which("strace") is None, reason="strace is not installed"),
]


@attrs.frozen
class Struck:
    """A run in which one call was struck. code: its exit code, -9 if it was killed; told: what it said."""

    code: int
    told: str
    traced: str


def run(directory: Path, *options: str) -> Struck:
    trace = directory.parent / "trace"
    done = subprocess.run(
        ["strace", "-o", str(trace), *options, sys.executable, "-c", SAVE, str(directory)],
        cwd=ROOT,
        env={"PYTHONHASHSEED": "0", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    return Struck(done.returncode, done.stdout + done.stderr, trace.read_text(errors="replace"))


def prepared(tmp_path: Path) -> Path:
    directory = tmp_path / "node"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700)
    replace_file(directory / "tsnet.state", OLD)
    return directory


@cache
def calls(directory: Path) -> tuple[tuple[str, int], ...]:
    """Each call of a save: its name, and the how-many-th of that name it is in the process."""
    run(prepared(directory.parent))  # compiles what is not compiled yet
    whole = run(prepared(directory.parent))
    assert whole.code == 0, whole.told
    seen: Counter[str] = Counter()
    found: list[tuple[str, int]] = []
    begun = False
    for line in whole.traced.splitlines():
        if match := CALL.match(line):
            name = match[1]
            seen[name] += 1
            begun = begun or (str(directory) in line and name == "mkdir")
            if begun and name not in ("exit_group", "munmap", "mmap", "brk", "rt_sigaction", "futex", "mprotect"):
                found.append((name, seen[name]))
    return tuple(found)


def content(directory: Path) -> bytes:
    """What is there afterwards; and that the next save works, and leaves nothing over."""
    file = directory / "tsnet.state"
    value = file.read_bytes()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    store = DirectoryStore(directory)
    store.open()
    assert store.read(IDENTITY) == value
    store.write(IDENTITY, b"next")
    assert store.read(IDENTITY) == b"next"
    store.close()
    assert sorted(each.name for each in directory.iterdir()) == ["tsnet.lock", "tsnet.state"]
    return value


def test_killed_at_each_call(tmp_path: Path) -> None:
    found, kept = calls(tmp_path / "node"), Counter[bytes]()
    assert {name for name, _ in found} >= MUST_HAVE
    for name, number in found:
        directory = prepared(tmp_path)
        struck = run(directory, "-e", f"inject={name}:signal=SIGKILL:when={number}")
        assert struck.code in (-9, 137), (name, number, struck.told)
        value = content(directory)
        assert value in (OLD, NEW), (name, number)
        kept[value] += 1
    print(f"killed at {len(found)} calls: {kept[OLD]} times the old value, {kept[NEW]} times the new one")
    assert min(kept[OLD], kept[NEW]) > 0


@pytest.mark.parametrize("error", ["ENOSPC", "EIO", "EROFS"])
def test_refused_at_each_call(tmp_path: Path, error: str) -> None:
    """A StateError that names the place; or the call did not matter, and the new value is there."""
    ends = Counter[str]()
    for name, number in calls(tmp_path / "node"):
        if name in ("exit", "lseek", "fstat", "newfstatat", "getpid", "geteuid", "rt_sigprocmask", "ioctl", "read"):
            continue  # they do not fail so
        directory = prepared(tmp_path)
        struck = run(directory, "-e", f"inject={name}:error={error}:when={number}")
        assert "Traceback" not in struck.told, (name, number, struck.told)
        value = content(directory)
        if struck.code == 3:
            assert struck.told.startswith("StateError"), struck.told
            assert str(directory) in struck.told
            assert value in (OLD, NEW)
        else:
            assert (struck.code, value) == (0, NEW), (name, number, struck.told)
        ends[f"{name} {'refused' if struck.code else 'went on'}"] += 1
    print(error, dict(ends))
    assert ends["fsync refused"] == 1
    assert ends["renameat refused"] == 1
    assert ends["write refused"] >= 1

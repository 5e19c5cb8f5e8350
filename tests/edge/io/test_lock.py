"""One process at a time, whatever it has forked; and its end frees the lock."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tsnet.edge.io import lock as module
from tsnet.edge.io.lock import Lock, fcntl
from tsnet.edge.io.private import open_file
from tsnet.errors import StateLocked

flocks = pytest.mark.parametrize(
    "use_flock", [pytest.param(True, marks=pytest.mark.skipif(not fcntl, reason="no flock here")), False]
)
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
unwarned = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

HOLD = """
import sys
from pathlib import Path
from tsnet.edge.io.lock import Lock
lock = Lock(Path(sys.argv[1]), use_flock=sys.argv[2] == "True")
lock.take()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tsnet.lock"


@pytest.fixture
def hold() -> Iterator[Callable[[Path, bool], subprocess.Popen[str]]]:
    """Start another process that holds a lock."""
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


@flocks
def test_another_process_is_named_and_its_end_frees_the_lock(
    path: Path, hold: Callable[[Path, bool], subprocess.Popen[str]], use_flock: bool
) -> None:
    process = hold(path, use_flock)
    lock = Lock(path, use_flock=use_flock)
    with pytest.raises(StateLocked) as raised:
        lock.take()
    assert not lock.is_held
    assert raised.value.pid == process.pid
    assert f"Stop process {process.pid}" in str(raised.value)
    assert str(path.parent) in str(raised.value)
    process.kill()  # without a chance to tidy up
    process.communicate()
    lock.take()
    assert lock.is_held
    lock.release()
    assert not lock.is_held


@flocks
def test_two_of_one_process(path: Path, use_flock: bool) -> None:
    first, second = (Lock(path, use_flock=use_flock) for _ in range(2))
    first.take()
    for lock in (second, first):
        with pytest.raises(StateLocked, match="this process has it open: close that node first"):
            lock.take()
    first.release()
    first.release()
    second.take()
    second.release()


@flocks
@pytest.mark.parametrize("rubbish", [b"", b"\xff\xff", b"-1", b"0", b"9" * 30])
def test_rubbish_in_the_file_holds_nobody_up(path: Path, use_flock: bool, rubbish: bytes) -> None:
    path.write_bytes(rubbish)
    lock = Lock(path, use_flock=use_flock)
    lock.take()
    assert path.read_text() == f"{os.getpid()}\n"
    lock.release()


def test_a_link_to_elsewhere_is_not_followed(path: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("precious")
    path.symlink_to(elsewhere)
    with pytest.raises(OSError):
        Lock(path).take()
    assert elsewhere.read_text() == "precious"


def test_a_pipe_in_its_place_is_not_waited_for(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(OSError, match="not a regular file"):
        Lock(path).take()


# --- fork -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def forked(in_child: Callable[[], object] = lambda: None) -> Iterator[int]:
    """A child that has done that, and then only lives until the end of the block. What it raised is the exit code 1."""
    to_child, told = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(to_child[1])
            in_child()
            os.write(told[1], b"!")
            os.read(to_child[0], 1)
            code = 0
        finally:
            os._exit(code)
    try:
        os.close(told[1])
        assert os.read(told[0], 1) == b"!"
        yield child
    finally:
        for descriptor in (to_child[0], to_child[1], told[0]):
            os.close(descriptor)
        assert os.waitpid(child, 0)[1] == 0


@forks
@unwarned
@flocks
def test_a_forked_child_does_not_keep_the_lock(path: Path, use_flock: bool) -> None:
    lock, again = Lock(path, use_flock=use_flock), Lock(path, use_flock=use_flock)
    lock.take()
    with forked():
        lock.release()
        again.take()
        again.release()


@forks
@unwarned
@flocks
def test_a_forked_child_does_not_free_the_lock_either(path: Path, use_flock: bool) -> None:
    lock, other = Lock(path, use_flock=use_flock), Lock(path, use_flock=use_flock)

    def child() -> None:
        assert not lock.is_held
        lock.release()
        assert path.read_text() == f"{os.getppid()}\n"
        with pytest.raises(StateLocked) as raised:
            other.take()
        assert raised.value.pid == os.getppid()

    lock.take()
    with forked(child), pytest.raises(StateLocked):
        other.take()
    lock.release()


PARENT = """
import os, sys
from pathlib import Path
from tsnet.edge.io.lock import Lock
lock = Lock(Path(sys.argv[1]))
lock.take()
if os.fork() == 0:
    print(os.getpid(), flush=True)
sys.stdin.read()
"""


@forks
@pytest.mark.skipif(not fcntl, reason="no flock here")
def test_a_service_that_was_killed_starts_again_though_its_workers_live(path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", PARENT, str(path)]
    parent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    try:
        parent.kill()
        parent.wait()
        os.kill(worker, 0)  # it lives
        lock = Lock(path)
        lock.take()
        lock.release()
    finally:
        os.kill(worker, signal.SIGKILL)
        parent.communicate()


@forks
@unwarned
@pytest.mark.skipif(not fcntl, reason="no flock here")
def test_a_fork_in_the_middle_of_taking_it_waits(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The child would not know of a descriptor that its Lock has not been given yet."""
    opened, go_on = threading.Event(), threading.Event()
    real = open_file

    def slow(path: Path, flags: int, directory: int | None = None) -> int:
        descriptor = real(path, flags, directory)
        opened.set()
        assert go_on.wait(10)
        return descriptor

    monkeypatch.setattr(module, "open_file", slow)
    lock, again = Lock(path), Lock(path)
    thread = threading.Thread(target=lock.take)
    thread.start()
    assert opened.wait(10)
    threading.Timer(0.05, go_on.set).start()
    with forked(lambda: None if not lock.is_held else os._exit(3)):
        thread.join()
        lock.release()
        monkeypatch.undo()
        again.take()
        again.release()


def test_a_disk_that_fails_at_the_close_fails_nobody(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock, close = Lock(path), os.close
    lock.take()

    def fail(descriptor: int) -> None:
        close(descriptor)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "close", fail)
        lock.release()
    assert not lock.is_held
    lock.take()
    lock.release()

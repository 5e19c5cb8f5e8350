"""Two processes of one machine with one identity: the second is told so, whoever else listens under that name."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest

from tests.engine.identities import identity
from tsnet.base.keys import LockPrivateKey, NodePrivateKey
from tsnet.edge.io import claim as module
from tsnet.edge.io.claim import BACKLOG, IS_SUPPORTED, PREFIX, Claim, holder_of, name_of
from tsnet.engine.identity import Identity, new_identity
from tsnet.engine.saved import encode_identity
from tsnet.errors import StateInUse, StateLocked

pytestmark = pytest.mark.skipif(not IS_SUPPORTED, reason="abstract Unix sockets are Linux's")

HOLD = """
import sys
from tsnet.edge.io.claim import Claim
from tsnet.engine.saved import decode_identity
claim = Claim()
claim.take(decode_identity(sys.stdin.buffer.readline()), "here")
print("taken", flush=True)
sys.stdin.read()
"""
FORK = """
import os, sys
from tsnet.edge.io.claim import Claim
from tsnet.engine.saved import decode_identity
claim = Claim()
claim.take(decode_identity(sys.stdin.buffer.readline()), "here")
if os.fork() == 0:
    print(os.getpid(), flush=True)
sys.stdin.read()
"""
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def own() -> Identity:
    return new_identity(os.urandom)


@pytest.fixture
def start(own: Identity) -> Iterator[Start]:
    """Start another process that has claimed this identity."""
    with contextlib.ExitStack() as stack:

        def begin(program: str = HOLD, *before: str) -> subprocess.Popen[bytes]:
            command = [*before, sys.executable, "-W", "ignore", "-c", program]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            stack.callback(process.communicate)
            stack.callback(process.kill)
            assert process.stdin is not None
            process.stdin.write(one_line(own))
            process.stdin.flush()
            return process

        yield begin


def one_line(identity: Identity) -> bytes:
    return encode_identity(identity).replace(b"\n", b"") + b"\n"


def said(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    return process.stdout.readline()


@contextlib.contextmanager
def listening(name: bytes, *, backlog: int | None = 1) -> Iterator[socket.socket]:
    """Somebody else under that name; without a backlog it does not listen."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.bind(name)
        if backlog is not None:
            sock.listen(backlog)
        yield sock


def test_another_process_is_named_and_its_end_frees_the_name(own: Identity, start: Start) -> None:
    process, claim = start(), Claim()
    assert said(process) == b"taken\n"
    with pytest.raises(StateInUse, match="one of the two is a copy") as raised:
        claim.take(own, "the state directory /copy")
    assert isinstance(raised.value, StateLocked)
    assert raised.value.pid == process.pid
    assert f"Stop process {process.pid}" in str(raised.value)
    assert "that the state directory /copy has" in str(raised.value)
    assert claim.socket is None
    process.kill()  # without a chance to tidy up
    process.communicate()
    claim.take(own, "/copy")
    assert claim.socket is not None
    claim.release()
    claim.release()


def test_two_of_one_process(own: Identity) -> None:
    first, second = Claim(), Claim()
    first.take(own, "a")
    with pytest.raises(StateInUse, match=r"a node of this process runs .* Close that node first") as raised:
        second.take(own, "b")
    assert raised.value.pid == os.getpid()
    first.release()
    second.take(own, "b")
    second.release()


def test_a_service_that_was_killed_starts_again_though_its_workers_live(own: Identity, start: Start) -> None:
    parent, claim = start(FORK), Claim()
    worker = int(said(parent))
    try:
        with pytest.raises(StateInUse):
            claim.take(own, "a")
        parent.kill()
        parent.wait()
        os.kill(worker, 0)  # it lives
        claim.take(own, "a")
        claim.release()
    finally:
        os.kill(worker, 9)


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root")
def test_another_network_namespace_is_another_machine(own: Identity, start: Start) -> None:
    process, claim = start(HOLD, "unshare", "--net"), Claim()
    assert said(process) == b"taken\n"
    claim.take(own, "a")
    assert claim.socket is not None
    claim.release()


def test_the_name_stays_when_the_node_key_changes_and_shows_no_key(own: Identity) -> None:
    rotated = attrs.evolve(own, node_key=NodePrivateKey(os.urandom(32)), old_node_key=own.node_key)
    profile = attrs.evolve(own, lock_key=LockPrivateKey(os.urandom(64)))
    assert name_of(rotated) == name_of(own)
    assert len({name_of(each) for each in (own, profile, identity())}) == 3
    for key in (own.machine_key, own.lock_key):
        assert key.reveal()[:8].hex().encode() not in name_of(own)
    assert len(name_of(own)) == len(PREFIX) + 32


@pytest.mark.parametrize("user", [4711, 0])
def test_another_users_process_keeps_no_node_from_starting_but_roots_does(
    own: Identity, user: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "holder_of", lambda name: (12, user))
    monkeypatch.setattr(os, "geteuid", lambda: 4712)
    with listening(name_of(own)):
        claim = Claim()
        if user:
            claim.take(own, "a")
        else:
            with pytest.raises(StateInUse):
                claim.take(own, "a")
        assert claim.socket is None


def test_who_does_not_listen_is_asked_some_times_and_then_ignored(
    own: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    with listening(name_of(own), backlog=None):
        claim = Claim()
        claim.take(own, "a")
        assert claim.socket is None
    assert len(pauses) == module.TRIES


def test_one_that_ends_meanwhile_leaves_the_name_to_us(own: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = Claim()
    with contextlib.ExitStack() as stack:
        stack.enter_context(listening(name_of(own), backlog=None))
        monkeypatch.setattr("time.sleep", lambda seconds: stack.close())
        claim.take(own, "a")
    assert claim.socket is not None
    claim.release()


def test_who_asks_is_let_go_so_that_the_next_one_is_answered(own: Identity) -> None:
    claim = Claim()
    claim.take(own, "a")
    name = name_of(own)
    for _ in range(BACKLOG + 1):
        assert holder_of(name) == (os.getpid(), os.geteuid())
    assert holder_of(name) is None  # no room, until
    claim.greet()
    assert holder_of(name) == (os.getpid(), os.geteuid())
    claim.greet()
    claim.release()
    claim.greet()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EPERM, errno.EAFNOSUPPORT])
def test_without_a_socket_the_node_goes_on(own: Identity, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> socket.socket:
        raise OSError(number, os.strerror(number))

    claim = Claim()
    with monkeypatch.context() as patch:
        patch.setattr(socket, "socket", refuse)
        claim.take(own, "a")
    assert claim.socket is None


def test_another_system_claims_nothing(own: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IS_SUPPORTED", False)
    first, second = Claim(), Claim()
    first.take(own, "a")
    second.take(own, "b")
    assert first.socket is second.socket is None

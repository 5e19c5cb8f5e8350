from __future__ import annotations

import os
import socket
import stat
import tempfile
from pathlib import Path

import pytest

from tests.interrupts import interrupted
from tests.sockets.node import is_nothing_left, open_descriptors
from tsnet.sockets import pairs, rendezvous
from tsnet.sockets.rendezvous import Rendezvous

pytestmark = pytest.mark.skipif(not pairs.HAVE_UNIX, reason="needs AF_UNIX")


@pytest.fixture(params=[True, False], ids=["descriptor", "path"])
def keeps_no_path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> bool:
    if request.param and not rendezvous._KEEPS_NO_PATH:
        pytest.skip("there is no O_PATH or no /proc here")
    monkeypatch.setattr(rendezvous, "_KEEPS_NO_PATH", request.param)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return bool(request.param)


def caller(place: Rendezvous) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.setblocking(False)
    with pairs.closed_on_error(sock):
        place.connect(sock)
    return sock


def test_who_connects_is_accepted(keeps_no_path: bool) -> None:
    place = Rendezvous()
    with place.make(1) as listening, caller(place) as calling:
        accepted, _ = listening.accept()
        with accepted:
            calling.send(b"hello")
            assert accepted.recv(10) == b"hello"
    place.close()


def test_a_full_queue_refuses_without_waiting(keeps_no_path: bool) -> None:
    place = Rendezvous()
    with place.make(3) as listening:
        calling = [caller(place) for _ in range(4)]  # the kernel counts one more
        with pytest.raises(BlockingIOError):
            caller(place)
        listening.accept()[0].close()
        calling.append(caller(place))
    for sock in calling:
        sock.close()
    place.close()


def test_it_knows_whether_anybody_listens_still(keeps_no_path: bool) -> None:
    place = Rendezvous()
    listening = place.make(1)
    copy = listening.dup()
    listening.close()
    assert place.is_listening()
    copy.close()
    assert not place.is_listening()
    place.close()
    assert not place.is_listening()


def test_nothing_is_on_disk_while_it_listens_or_only_what_this_user_can_reach(
    keeps_no_path: bool, tmp_path: Path
) -> None:
    place = Rendezvous()
    with place.make(1):
        found = list(tmp_path.iterdir())
        assert len(found) == (0 if keeps_no_path else 1)
        assert [stat.S_IMODE(directory.stat().st_mode) for directory in found] == [0o700] * len(found)
    place.close()
    place.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_one_that_is_forgotten_leaves_no_descriptor(keeps_no_path: bool) -> None:
    before = open_descriptors()
    Rendezvous().make(1).close()
    assert is_nothing_left(before)


def test_where_no_directory_can_be_made_it_fails_and_leaves_nothing(
    keeps_no_path: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    before = open_descriptors()
    with pytest.raises(FileNotFoundError):
        Rendezvous().make(1)
    assert is_nothing_left(before)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_that_forgets_it_leaves_its_parent_s(keeps_no_path: bool) -> None:
    place = Rendezvous()
    with place.make(1) as listening:
        child = os.fork()
        if child == 0:
            place.close()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        caller(place).close()
        listening.accept()[0].close()
    place.close()


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupted_one_leaves_nothing(keeps_no_path: bool, tmp_path: Path) -> None:
    made: list[socket.socket] = []
    before = open_descriptors()
    for place in interrupted(Rendezvous, lambda place: made.append(place.make(1)), rendezvous):
        place.close()
        for sock in made:
            sock.close()
        made.clear()
        assert is_nothing_left(before)
        assert list(tmp_path.iterdir()) == []

"""What a polled socket does at its end and at the node's. Whole sockets: `test_listening`, `test_datagrams`."""

from __future__ import annotations

import copy
import errno
import os
import pickle
import socket
from collections.abc import Callable
from multiprocessing import reduction

import pytest

from tsnet.sockets.copies import Copies
from tsnet.sockets.handover import Release, release_of
from tsnet.sockets.outer_end import PolledEnd

OVER = OSError(errno.EINVAL, "over")


class Ended(PolledEnd):
    """before: whether the descriptor was open each time that it was about to be closed."""

    def __init__(self, release: Release, copies: Copies) -> None:
        self.before: list[bool] = []
        super().__init__(release, copies)

    def _before_close(self) -> None:
        self.before.append(self.fileno() >= 0)

    def once(self) -> OSError:
        return self._once(OVER)


def make(told: list[str]) -> Ended:
    inner, outer = socket.socketpair()
    inner.close()
    return Ended(release_of(outer), Copies(lambda: told.append("last"), lambda: told.append("unseen")))


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def ended(told: list[str]) -> Ended:
    return make(told)


def test_the_node_is_told_once_the_descriptor_is_closed(ended: Ended, told: list[str]) -> None:
    ended.close()
    assert (ended.before, told) == ([True], ["last"])
    assert ended.fileno() == -1


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_node_is_told_of_a_socket_that_is_freed(told: list[str]) -> None:
    make(told)
    assert told == ["last"]


def test_the_node_is_told_that_a_descriptor_goes_out_of_sight(ended: Ended, told: list[str]) -> None:
    os.close(ended.detach())
    ended.close()
    assert told == ["unseen"]


def test_a_file_of_it_is_no_copy_but_keeps_it_open(ended: Ended, told: list[str]) -> None:
    file = ended.makefile("rb")
    ended.close()
    assert told == []
    file.close()
    assert told == ["last"]


@pytest.mark.parametrize("send", [pickle.dumps, reduction.ForkingPickler.dumps, copy.copy])
def test_it_cannot_be_sent_to_another_process(ended: Ended, send: Callable[[object], object]) -> None:
    with ended, pytest.raises(TypeError, match="belongs to the process of its node"):
        send(ended)


def test_a_loop_that_polls_is_told_once(ended: Ended) -> None:
    with ended:
        ended.settimeout(0)
        assert ended.once() is OVER
        for _ in range(3):
            again = ended.once()
            assert isinstance(again, BlockingIOError)
            assert again.errno == errno.EAGAIN


def test_who_waits_is_told_each_time(ended: Ended) -> None:
    with ended:
        for timeout in (None, 5.0):
            ended.settimeout(timeout)
            assert [ended.once() for _ in range(3)] == [OVER] * 3

"""What a polled socket does at its end and at the node's. Whole sockets: `test_listening`, `test_datagrams`."""

from __future__ import annotations

import errno
import socket

import pytest

from tsnet.sockets.handover import Release, adopt, release_of
from tsnet.sockets.outer_end import OuterEnd

OVER = OSError(errno.EINVAL, "over")


class Ended(OuterEnd):
    """told: whether the descriptor was open each time that the node was told of the end."""

    def __init__(self, release: Release) -> None:
        self.told: list[bool] = []
        adopt(self, release)

    def _let_go(self) -> None:
        self.told.append(self.fileno() >= 0)

    def once(self) -> OSError:
        return self._once(OVER)


@pytest.fixture
def ended() -> Ended:
    inner, outer = socket.socketpair()
    inner.close()
    return Ended(release_of(outer))


def test_the_node_is_told_before_the_descriptor_is_closed(ended: Ended) -> None:
    ended.close()
    assert ended.told == [True]
    assert ended.fileno() == -1


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_node_is_told_of_a_socket_that_is_freed(ended: Ended) -> None:
    told = ended.told
    ended.__del__()
    assert told == [True]
    assert ended.fileno() == -1


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

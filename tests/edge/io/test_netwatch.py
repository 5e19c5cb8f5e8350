"""The watch with a hand clock, on a socket whose other end the test holds; and on the kernel's own."""

from __future__ import annotations

import contextlib
import errno
import math
import socket
import sys
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from tests.edge.io.test_netlink import ADDRESS, DEFAULT, LINK_UP, LOCAL_TABLE, SUBNET, TENTATIVE, golden
from tsnet.base.network import Network
from tsnet.edge.io import netwatch
from tsnet.edge.io.netwatch import MAX_MESSAGES, PAUSE, POLL_INTERVAL, SETTLE, NetworkWatch
from tsnet.edge.io.reactor import Reactor

ONE, TWO = (Network(frozenset({ip_address(text)}), links=frozenset({2})) for text in ("192.0.2.1", "192.0.2.2"))
ANOTHER_LINK = golden(LINK_UP.replace("000001000200", "000001000900", 1))
MATTERS = [golden(text) for text in (LINK_UP, ADDRESS, DEFAULT)]
DOES_NOT = [golden(text) for text in (TENTATIVE.replace("40c0fd02", "40c0fd09"), SUBNET, LOCAL_TABLE)] + [ANOTHER_LINK]


class Watched:
    """A watch on a machine whose network the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.network = ONE
        self.told: list[Network] = []
        self.reactor = Reactor(lambda: self.now)
        self.kernel, self.socket = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.kernel.setblocking(False)
        self.error: int = 0
        self.is_out = False
        self.watch = NetworkWatch(self.reactor, read=self._read, open_socket=self._open)

    def _read(self) -> Network:
        if self.is_out:
            raise OSError(errno.EMFILE, "too many")
        return self.network

    def _open(self, groups: int) -> socket.socket:
        assert groups == netwatch.GROUPS
        if self.error:
            raise OSError(self.error, "not here")
        return self.socket

    def begin(self) -> None:
        self.watch.add(self.on_change)

    def on_change(self) -> None:
        self.told.append(self.watch.network)

    def says(self, *messages: bytes) -> None:
        for message in messages:
            self.kernel.send(message)

    def run(self, seconds: float) -> None:
        """Turn the reactor as often as it has something to do in that time."""
        end = self.now + seconds
        while True:
            self.reactor.wait(-math.inf)
            self.reactor.wait(-math.inf)
            at = self.reactor.next_event()
            if at > end:
                break
            self.now = at
        self.now = end

    def close(self) -> None:
        self.watch.close()
        self.reactor.close()
        self.kernel.close()
        self.socket.close()


@pytest.fixture
def watched() -> Iterator[Watched]:
    watched = Watched()
    yield watched
    watched.close()


def test_while_nothing_changes_nobody_wakes(watched: Watched) -> None:
    watched.begin()
    assert not watched.watch.polls
    assert watched.watch.network == ONE
    assert watched.reactor.next_event() == math.inf
    watched.run(3600)
    assert (watched.watch.wakes, watched.watch.looks, watched.told) == (0, 1, [])


@pytest.mark.parametrize("message", MATTERS)
def test_a_change_is_told_once_it_has_settled(watched: Watched, message: bytes) -> None:
    watched.begin()
    watched.says(message)
    watched.run(SETTLE / 2)
    watched.network = TWO  # what the first message announced is only now complete
    watched.says(message)
    watched.run(SETTLE)
    assert watched.told == [TWO]
    watched.run(PAUSE)
    assert watched.reactor.next_event() == math.inf
    watched.network = ONE
    watched.says(message)
    watched.run(SETTLE)
    assert watched.told == [TWO, ONE]


def test_a_message_without_a_change_tells_nobody(watched: Watched) -> None:
    watched.begin()
    watched.says(*MATTERS)
    watched.run(1)
    assert (watched.watch.looks, watched.told) == (2, [])


@pytest.mark.parametrize("message", DOES_NOT)
def test_what_does_not_matter_costs_no_look(watched: Watched, message: bytes) -> None:
    watched.begin()
    watched.says(message)
    watched.network = TWO
    watched.run(1)
    assert (watched.watch.looks, watched.told) == (1, [])


def test_a_storm_costs_a_bounded_number_of_looks_a_second(watched: Watched) -> None:
    """As ten thousand containers that start: each millisecond another message, and the kernel's buffer is full."""
    watched.begin()
    for number in range(10_000):
        with contextlib.suppress(BlockingIOError):
            watched.says(DOES_NOT[number % len(DOES_NOT)])
        watched.run(0.001)
    assert watched.watch.looks <= 1 + 10 / (SETTLE + PAUSE) + 1
    assert watched.watch.wakes <= 3 * watched.watch.looks + 10 / PAUSE
    watched.network = TWO
    watched.says(MATTERS[0])
    watched.run(SETTLE + PAUSE + SETTLE)  # also at the worst moment of a storm
    assert watched.told == [TWO]


def test_more_messages_than_are_judged_count_as_a_change(watched: Watched) -> None:
    watched.begin()
    watched.watch.network = ONE
    sent = 0
    while sent <= MAX_MESSAGES:
        try:
            watched.says(DOES_NOT[0])
        except BlockingIOError:
            pytest.skip("this kernel's buffer holds fewer")
        sent += 1
    watched.network = TWO
    watched.run(SETTLE)
    assert watched.told == [TWO]


class Overrun(socket.socket):
    """A real socket that says once what a netlink socket says when it has dropped messages."""

    number = 0

    def recv(self, size: int, flags: int = 0) -> bytes:
        number, Overrun.number = Overrun.number, 0
        if number:
            raise OSError(number, "fails")
        return super().recv(size, flags)


@pytest.mark.parametrize(("number", "polls"), [(errno.ENOBUFS, False), (errno.EIO, True)])
def test_after_an_overrun_all_is_read_anew_and_a_broken_socket_gives_way_to_the_clock(
    watched: Watched, number: int, polls: bool
) -> None:
    watched.socket = Overrun(fileno=watched.socket.detach())
    watched.begin()
    Overrun.number = number
    watched.says(DOES_NOT[0])
    watched.network = TWO
    watched.run(POLL_INTERVAL if polls else SETTLE)
    assert watched.told == [TWO]
    assert watched.watch.polls == polls


def test_without_rtnetlink_the_clock_looks_every_five_seconds(watched: Watched) -> None:
    watched.error = errno.EPERM
    watched.begin()
    assert watched.watch.polls
    watched.network = TWO
    watched.run(POLL_INTERVAL - 0.1)
    assert watched.told == []
    watched.run(0.1)
    assert watched.told == [TWO]
    watched.run(60)
    assert watched.watch.looks == 2 + 60 / POLL_INTERVAL
    assert watched.told == [TWO]


@pytest.mark.parametrize("number", [0, errno.EPERM])
def test_without_a_descriptor_what_was_seen_last_stands_until_a_later_look(watched: Watched, number: int) -> None:
    watched.error = number
    watched.begin()
    watched.is_out, watched.network = True, TWO
    watched.says(MATTERS[0])
    watched.run(3 * POLL_INTERVAL)
    assert (watched.watch.network, watched.told) == (ONE, [])
    assert watched.watch.looks <= 5
    watched.is_out = False
    watched.run(POLL_INTERVAL)
    assert watched.told == [TWO]
    watched.network = ONE
    watched.says(MATTERS[0])
    watched.run(POLL_INTERVAL)
    assert watched.told == [TWO, ONE]


def test_a_watch_that_begins_without_a_descriptor_claims_to_know_nothing(watched: Watched) -> None:
    watched.is_out = True
    watched.begin()
    assert not watched.watch.network.lacks(ip_address("192.0.2.1"))
    watched.is_out = False
    watched.run(POLL_INTERVAL)
    assert watched.told == [ONE]


def test_the_last_one_to_leave_ends_it(watched: Watched) -> None:
    def another() -> None:
        watched.told.append(ONE)

    watched.begin()
    watched.watch.add(another)
    watched.watch.remove(watched.on_change)
    watched.network = TWO
    watched.says(MATTERS[0])
    watched.run(SETTLE)
    assert watched.told == [ONE]
    watched.watch.remove(another)
    watched.watch.remove(another)
    assert watched.socket.fileno() < 0
    assert watched.reactor.next_event() == math.inf


@pytest.mark.skipif(sys.platform != "linux", reason="rtnetlink is Linux's")
def test_the_kernels_own_socket_can_be_had_without_root() -> None:
    reactor = Reactor(lambda: 0.0)
    watch = NetworkWatch(reactor)
    watch.add(lambda: None)
    assert not watch.polls
    assert watch.network.addresses
    watch.close()
    reactor.close()

"""Connections begun before a link asks for them, on loopback: claimed, given up, failed, ended meanwhile, capped."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.edge.io.test_dial import Clock
from tsnet.edge.io.preconnect import KEPT, MOST, Preconnects
from tsnet.edge.io.reactor import Reactor

HOSTS = ("127.0.0.1",)


class Scene:
    def __init__(self) -> None:
        self.clock = Clock()
        self.reactor = Reactor(self.clock)
        self.asked: list[str] = []
        self.preconnects = Preconnects(self.reactor, lookup=self._look_up)
        self.server = socket.create_server((HOSTS[0], 0))
        self.server.settimeout(5)
        self.port: int = self.server.getsockname()[1]
        self.results: list[socket.socket | str] = []

    def _look_up(self, host: str) -> list[str]:
        self.asked.append(host)
        return list(HOSTS)

    def begin(self, count: int = 1, *, connected: bool = True) -> list[socket.socket]:
        """The server's ends, once the node's own know that they are connected."""
        self.preconnects.begin(HOSTS, self.port, count)
        self.turn()
        accepted = [self.server.accept()[0] for _ in range(count)] if connected else []
        self.turn()
        return accepted

    def turn(self) -> None:
        for _ in range(4):
            self.reactor.call_soon(lambda: None)
            self.reactor.wait(self.clock.now + 1)

    def claim(self) -> bool:
        """Whether there was one; what comes of it is a result."""
        one = self.preconnects.claim(HOSTS, self.port)
        if one is not None:
            one.claim(self.results.append)
        return one is not None

    def close(self) -> None:
        self.preconnects.close()
        for each in (self.server, *self.results):
            if isinstance(each, socket.socket):
                each.close()
        self.reactor.close()


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    yield scene
    scene.close()


def test_one_that_is_there_is_handed_over_in_the_next_wait(scene: Scene) -> None:
    (accepted,) = scene.begin()
    with accepted:
        assert scene.claim()
        assert scene.results == []
        scene.turn()
        (sock,) = scene.results
        assert isinstance(sock, socket.socket)
        sock.sendall(b"first")
        assert accepted.recv(10) == b"first"
    assert len(scene.preconnects) == 0
    assert not scene.claim()


def test_one_on_its_way_goes_on_for_whoever_claims_it(scene: Scene) -> None:
    scene.preconnects.begin(HOSTS, scene.port, 1)
    assert scene.claim()
    scene.turn()
    with scene.server.accept()[0]:
        assert isinstance(scene.results[0], socket.socket)


def test_a_name_is_looked_up_meanwhile(scene: Scene) -> None:
    scene.preconnects.begin(("control.test",), scene.port, 1)
    one = scene.preconnects.claim(("control.test",), scene.port)
    assert one is not None
    assert one.awaits_names
    one.claim(scene.results.append)
    while not scene.results:
        scene.reactor.wait(scene.clock.now + 5)
    assert isinstance(scene.results[0], socket.socket)
    assert scene.asked == ["control.test"]


def test_a_claimed_one_tells_why_it_failed(scene: Scene) -> None:
    scene.server.close()
    scene.preconnects.begin(HOSTS, scene.port, 1)
    assert scene.claim()
    scene.turn()
    assert scene.results == ["refused"]


def test_one_that_has_failed_is_given_to_nobody(scene: Scene) -> None:
    scene.server.close()
    scene.begin(connected=False)
    assert not scene.claim()
    assert len(scene.preconnects) == 0


@pytest.mark.parametrize("said", [b"", b"hello"])
def test_one_whose_other_end_has_closed_it_or_speaks_unasked_is_given_to_nobody(scene: Scene, said: bytes) -> None:
    first, second = scene.begin(2)
    with second:
        first.sendall(said)
        if not said:
            first.close()
        assert scene.claim()
        scene.turn()
        assert len(scene.results) == 1
        assert not scene.claim()
    first.close()


def test_what_nobody_claims_is_closed(scene: Scene) -> None:
    (accepted,) = scene.begin()
    with accepted:
        scene.clock.now += KEPT
        scene.turn()
        assert accepted.recv(10) == b""
    assert not scene.claim()


def test_a_claimed_one_that_is_cancelled_calls_nobody(scene: Scene) -> None:
    (accepted,) = scene.begin()
    with accepted:
        one = scene.preconnects.claim(HOSTS, scene.port)
        assert one is not None
        one.claim(scene.results.append)
        one.cancel()
        scene.turn()
        assert scene.results == []
        assert accepted.recv(10) == b""


def test_there_are_never_more_than_asked_for_and_never_too_many(scene: Scene) -> None:
    for accepted in scene.begin(2):
        accepted.close()
    scene.preconnects.begin(HOSTS, scene.port, 2)
    assert len(scene.preconnects) == 2
    for port in range(MOST):
        scene.preconnects.begin(HOSTS, 1 + port, 2)
    assert len(scene.preconnects) == MOST


def test_another_place_gets_none(scene: Scene) -> None:
    (accepted,) = scene.begin()
    with accepted:
        assert scene.preconnects.claim(HOSTS, scene.port + 1) is None
        assert scene.preconnects.claim(("localhost",), scene.port) is None
        assert len(scene.preconnects) == 1


def test_the_end_closes_all(scene: Scene) -> None:
    first, second = scene.begin(2)
    with first, second:
        scene.preconnects.close()
        assert first.recv(10) == second.recv(10) == b""


def test_whoever_began_some_gives_up_its_own_and_none_that_is_claimed(scene: Scene) -> None:
    give_up = scene.preconnects.begin(HOSTS, scene.port, 2)
    others = scene.preconnects.begin(HOSTS, scene.port, 3)
    scene.turn()
    first, second, third = (scene.server.accept()[0] for _ in range(3))
    with first, second, third:
        scene.turn()
        assert scene.claim()
        give_up()
        give_up()
        assert second.recv(10) == b""
        assert len(scene.preconnects) == 1
        scene.turn()
        (sock,) = scene.results
        assert isinstance(sock, socket.socket)
        sock.sendall(b"first")
        assert first.recv(10) == b"first"
        others()
        assert third.recv(10) == b""
    assert len(scene.preconnects) == 0

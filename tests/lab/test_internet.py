"""The scene itself: it stands quickly, leaves nothing, and each fault does what it says to a socket."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from tests.interop.harness.requirements import need
from tests.interop.harness.scene import NAMESPACES, inside, ip
from tests.lab import rootless
from tests.lab.conftest import Build
from tests.lab.internet import FAR, NEAR, Internet, Side
from tests.lab.questions import Servers, hear, udp

pytestmark = pytest.mark.interop

QUICK = 10.0
"""Seconds in which a scene stands on a machine that is busy with others; on an idle one it takes 0.2."""


@attrs.define
class Talk:
    """A host behind an easy router, and the servers."""

    internet: Internet
    servers: Servers
    sock: socket.socket

    @property
    def side(self) -> Side:
        return self.internet.left

    def mapped(self, number: int = 0) -> tuple[str, int] | None:
        return self.servers.sees(self.sock, number)

    def answered(self, to: tuple[str, int], number: int = 0) -> bool:
        """Does what a server sends to a mapped address arrive?"""
        self.servers.sockets[number].sendto(b"answer", to)
        return hear(self.sock) is not None


@pytest.fixture
def talk(internet: Build) -> Iterator[Talk]:
    if rootless.is_needed():
        yield None  # type: ignore[misc]  # the test runs elsewhere
        return
    scene = internet("easy")
    servers, sock = Servers(scene), udp(scene.left.host, scene.left.address, 41_641)
    yield Talk(scene, servers, sock)
    servers.close()
    sock.close()


def test_a_scene_stands_quickly_and_leaves_nothing(tmp_path: Path) -> None:
    need("root", "nft")
    ours = Path("/proc/thread-self/ns/net").stat().st_ino
    begun = time.monotonic()
    with Internet(tmp_path, "cgnat", "easy", second_hosts=True) as scene:
        stood = time.monotonic()
        made = list(NAMESPACES.glob(f"{scene.scene.name}*"))
        assert len(made) == 2 + 3 + 4
    over = time.monotonic()
    print(f"nine namespaces stood after {stood - begun:.2f} s, and were gone after {over - stood:.2f} s")
    assert over - begun < QUICK
    assert not any(path.exists() for path in made)
    assert Path("/proc/thread-self/ns/net").stat().st_ino == ours


def test_a_scene_that_cannot_be_built_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("root", "nft")
    monkeypatch.setattr("tests.lab.internet.FAR", "nowhere")
    scene = Internet(tmp_path, "easy")
    with pytest.raises(OSError, match="nowhere"):
        scene.__enter__()
    assert not list(NAMESPACES.glob(f"{scene.scene.name}*"))


def test_nothing_leads_outside(internet: Build) -> None:
    scene = internet("easy", second_hosts=True)
    assert ip("-n", scene.scene.name, "route", "show", "default") == ""
    for host in (scene.far, *scene.left.hosts):
        with inside(host), socket.socket() as sock:
            sock.settimeout(5)
            with pytest.raises(OSError, match="unreachable"):
                sock.connect(("8.8.8.8", 53))


def test_neighbours_see_each_other_in_their_lan(internet: Build) -> None:
    scene = internet("hard", second_hosts=True)
    a, b = (udp(host, address, 7) for host, address in zip(scene.left.hosts, scene.left.addresses, strict=True))
    a.sendto(b"neighbour", (scene.left.addresses[1], 7))
    assert hear(b) == (b"neighbour", (scene.left.address, 7))
    a.close()
    b.close()


def test_a_router_that_forgets(talk: Talk) -> None:
    mapped = talk.mapped()
    assert mapped is not None
    assert talk.answered(mapped)
    talk.side.forget_connections()
    assert not talk.answered(mapped)
    assert talk.mapped() == mapped  # a Linux router takes the same port again
    assert talk.answered(mapped)


def test_a_mapping_that_times_out(talk: Talk) -> None:
    talk.side.set_udp_timeout(1)
    mapped = talk.mapped()
    assert mapped is not None
    assert talk.answered(mapped)
    assert hear(talk.sock, 1.2) is None  # nobody says anything meanwhile
    assert not talk.answered(mapped)


def test_another_public_address(talk: Talk) -> None:
    assert talk.mapped() == (talk.side.wan(2), 41_641)
    talk.side.change_wan_address()
    assert talk.mapped() == (talk.side.wan(3), 41_641)
    assert talk.answered((talk.side.wan(3), 41_641))
    assert not talk.answered((talk.side.wan(2), 41_641))


def test_a_link_that_is_down_for_a_while(talk: Talk) -> None:
    mapped = talk.mapped()
    with talk.side.link_down(), pytest.raises(OSError, match="unreachable"):
        talk.mapped()
    assert talk.mapped() == mapped


def test_udp_alone_is_blocked(talk: Talk) -> None:
    with talk.side.udp_blocked():
        assert talk.mapped() is None
        with inside(talk.side.host), socket.socket() as sock, pytest.raises(ConnectionRefusedError):
            sock.connect((NEAR, 1))
    assert talk.mapped() is not None


def test_one_way_is_blocked(talk: Talk) -> None:
    mapped = talk.mapped()
    assert mapped is not None
    with talk.side.udp_one_way("in"):
        assert talk.mapped() == mapped
        assert not talk.answered(mapped)
    with talk.side.udp_one_way("out"):
        assert talk.mapped() is None
        assert talk.answered(mapped)


def test_one_address_is_a_black_hole(talk: Talk) -> None:
    with talk.side.blackhole(FAR):
        assert talk.mapped(2) is None
        assert talk.mapped(0) is not None
        with inside(talk.side.host), socket.socket() as sock:
            sock.settimeout(0.1)
            with pytest.raises(TimeoutError):
                sock.connect((FAR, 1))


def test_a_capture_is_kept(talk: Talk) -> None:
    need("tcpdump")
    capture = talk.internet.capture(talk.side)
    capture.wait_until(lambda: "listening on" in capture.log(), "listening")
    talk.mapped()
    hear(talk.sock)
    capture.stop()
    assert b"who am I" in (talk.internet.scene.folder / "r0.pcap").read_bytes()

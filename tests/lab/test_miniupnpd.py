"""A router that nobody here wrote maps our port: made, renewed and given back by each protocol, and datagrams pass."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address

import attrs
import pytest

from tests.interop.harness.requirements import need
from tests.interop.harness.scene import inside
from tests.lab.conftest import Build
from tests.lab.internet import Internet, Side
from tests.lab.miniupnpd import Miniupnpd
from tsnet.base.addresses import UdpAddress
from tsnet.edge.io.system import SystemWorld
from tsnet.edge.io.world import LinkPort
from tsnet.portmap.facts import Fact, Mapped, ServicesSeen, Unmapped
from tsnet.portmap.lease import Place, Protocol
from tsnet.portmap.mapper import Mapper

pytestmark = [pytest.mark.interop, pytest.mark.timeout(60)]
OPTIONS = {
    Protocol.NAT_PMP: {"pmp": True, "upnp": False},
    Protocol.PCP: {"pmp": True, "upnp": False},
    Protocol.UPNP: {"pmp": False, "upnp": True},
}


@attrs.define
class Host:
    """A mapper on the real edge, in a home's host. skipped: seconds that its clock is ahead."""

    world: SystemWorld
    links: LinkPort
    mapper: Mapper
    place: Place
    inner: socket.socket
    skipped: float = 0.0

    def now(self) -> float:
        return self.world.clock() + self.skipped

    def until(self, kind: type[Fact], timeout: float = 10) -> list[Fact]:
        """Turn until a fact of this kind is told."""
        told: list[Fact] = []
        end = self.world.clock() + timeout
        while not any(isinstance(fact, kind) for fact in told):
            assert self.world.clock() < end, (told, self.mapper.dropped)
            self.world.wait(min(self.world.clock() + 0.05, self.mapper.deadline() - self.skipped))
            told += self.turn()
        return told

    def turn(self) -> list[Fact]:
        for event in self.links.receive():
            self.mapper.receive(event, self.now())
        for effect in self.mapper.transmit(self.now()):
            self.links.apply(effect)
        self.links.flush()
        return self.mapper.take_facts()

    def settle(self) -> list[Fact]:
        """Turn until it waits for a long time; what it has told meanwhile."""
        told = self.turn()
        while self.mapper.deadline() < self.now() + 10:
            self.world.wait(min(self.world.clock() + 0.02, self.mapper.deadline() - self.skipped))
            told += self.turn()
        return [fact for fact in told if not isinstance(fact, ServicesSeen)]

    def renew(self) -> list[Fact]:
        """As if half of the lease were over, but for the clocks."""
        self.mapper._due = self.now()
        return self.settle()


@contextmanager
def host(side: Side, *, upnp: bool) -> Iterator[Host]:
    with inside(side.host):
        world = SystemWorld()
        inner = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        inner.bind((side.address, 0))
        inner.settimeout(5)
        router = IPv4Address(side.address.rpartition(".")[0] + ".1")
        place = Place(router, IPv4Address(side.address), inner.getsockname()[1])
        links = world.open_links(lambda: None)
        try:
            yield Host(world, links, Mapper(os.urandom, upnp=upnp), place, inner)
        finally:
            links.close()
            inner.close()
            world.close()


def passes(internet: Internet, external: UdpAddress, inner: socket.socket) -> bool:
    """Whether a stranger's datagram arrives, and the answer is seen to come from the mapped port."""
    with inside(internet.far), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.settimeout(1)
        stranger.sendto(b"who", (external.host, external.port))
        try:
            data, source = inner.recvfrom(100)
            inner.sendto(b"me", source)
            return (data, stranger.recvfrom(100)) == (b"who", (b"me", (external.host, external.port)))
        except TimeoutError:
            return False


@contextmanager
def mapped(
    lab: Internet, protocol: Protocol, patch: pytest.MonkeyPatch
) -> Iterator[tuple[Miniupnpd, Host, UdpAddress]]:
    """A port of the left host, mapped by this protocol. miniupnpd has NAT-PMP and PCP in one piece: for PCP, our probe
    asks for nothing that NAT-PMP would answer."""
    need("miniupnpd")
    if protocol is Protocol.PCP:
        patch.setattr("tsnet.portmap.probe.natpmp.encode_address_request", lambda: b"\xff")
    with (
        Miniupnpd(lab.scene, lab.left, **OPTIONS[protocol]) as daemon,
        host(lab.left, upnp=protocol is Protocol.UPNP) as node,
    ):
        node.mapper.set_place(node.place, node.now())
        [fact] = [fact for fact in node.until(Mapped) if isinstance(fact, Mapped)]
        assert fact.protocol is protocol
        node.settle()
        yield daemon, node, fact.external


@pytest.mark.parametrize("kind", ["easy", "hard"])
@pytest.mark.parametrize("protocol", list(Protocol))
def test_a_mapping_lets_strangers_in_until_it_is_given_back(
    internet: Build, kind: str, protocol: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = internet(kind)
    with mapped(lab, protocol, monkeypatch) as (daemon, node, external):
        assert external.host == lab.left.public
        assert daemon.mappings() == {external.port: f"{lab.left.address}:{node.place.port}"}
        assert passes(lab, external, node.inner)
        log = len(daemon.process.log(1 << 30))
        assert node.renew() == []
        assert len(daemon.process.log(1 << 30)) > log
        assert (node.mapper.mapped, list(daemon.mappings())) == (external, [external.port])
        node.mapper.release(node.now())
        assert node.settle() == [Unmapped(external, "the node ends")]
        daemon.process.wait_until(lambda: not daemon.mappings(), "given its port back")
        if kind == "hard":  # the other one may know the stranger by now
            assert not passes(lab, external, node.inner)


@pytest.mark.parametrize("protocol", list(Protocol))
def test_a_router_that_was_switched_off_maps_the_same_port_again(
    internet: Build, protocol: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = internet("easy")
    with mapped(lab, protocol, monkeypatch) as (daemon, node, external):
        daemon.restart()
        assert daemon.mappings() == {}
        node.skipped += 3600.0
        told = node.settle()
        if protocol is not Protocol.UPNP:  # which has no epoch: its renewal makes the mapping anew, without a word
            assert told == [Unmapped(external, "the router has restarted"), Mapped(external, protocol)]
        assert list(daemon.mappings()) == [external.port]
        assert passes(lab, external, node.inner)


def test_another_port_of_ours_gives_the_first_one_back(internet: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = internet("easy")
    with mapped(lab, Protocol.NAT_PMP, monkeypatch) as (daemon, node, _external):
        port = node.place.port % 60_000 + 1024
        node.mapper.set_place(attrs.evolve(node.place, port=port), node.now())
        node.until(Mapped)
        daemon.process.wait_until(lambda: len(daemon.mappings()) == 1, "left with one port")
        assert list(daemon.mappings().values()) == [f"{lab.left.address}:{port}"]

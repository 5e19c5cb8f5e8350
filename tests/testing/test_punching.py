"""The simulated NATs against the kernel's: its own NATs were asked the same, and the answers are these tables.

The kernel's are nftables masquerade (easy), masquerade random,fully-random (hard), and those with maps of learnt ports
(full cone, address-restricted). A cell is the round in which both ends had heard each other; 0: never.
"""

from __future__ import annotations

import attrs
import pytest

from tests.testing.punching import STUN, Socket, behind, new_internet, punch, settle, sleep
from tsnet.base.addresses import UdpAddress
from tsnet.testing.nat import ADDRESS_RESTRICTED, EASY, EASY_WITH_STRAYS, FULL_CONE, HARD, Nat

KINDS = {
    "full cone": FULL_CONE,
    "address": ADDRESS_RESTRICTED,
    "easy": EASY,
    "strays": EASY_WITH_STRAYS,
    "hard": HARD,
}
TABLE = {
    "full cone": (1, 2, 2, 2, 2),
    "address": (1, 2, 2, 2, 2),
    "easy": (1, 2, 2, 0, 0),
    "strays": (1, 2, 2, 0, 0),
    "hard": (2, 3, 0, 0, 0),
}
CELLS = [(row, column, TABLE[row][number]) for row in TABLE for number, column in enumerate(KINDS)]


@pytest.mark.parametrize("pause", [0.0, 0.2], ids=["at once", "late"])
@pytest.mark.parametrize(("row", "column", "expected"), CELLS)
def test_the_grid(row: str, column: str, expected: int, pause: float) -> None:
    net = new_internet()
    left, right = behind(net, "left", KINDS[row]), behind(net, "right", KINDS[column])
    assert punch(left, right, pause=pause) == expected


@pytest.mark.parametrize(
    ("provider", "home", "other", "expected"),
    [(EASY, EASY, EASY, 2), (HARD, EASY, EASY, 0), (EASY, HARD, EASY, 0), (HARD, EASY, FULL_CONE, 2)],
)
def test_a_nat_behind_a_nat(provider: Nat, home: Nat, other: Nat, expected: int) -> None:
    net = new_internet()
    assert punch(behind(net, "left", provider, home), behind(net, "right", other)) == expected


def test_where_udp_is_blocked_nobody_learns_an_address() -> None:
    net = new_internet()
    office = net.router("office", blocks_udp=True)
    assert Socket(office.host("desk")).outside() is None
    assert office.counts == {"udp blocked": 1}


# --- what RFC 5780 would find ---------------------------------------------------------------------------------------


def mapped(socket: Socket) -> list[UdpAddress | None]:
    """By three destinations: another port, another address."""
    return [socket.outside(), socket.outside("stun", STUN + 1), socket.outside("stun2")]


@pytest.mark.parametrize("kind", ["full cone", "address", "easy"])
def test_a_mapping_that_depends_on_nothing_keeps_the_port(kind: str) -> None:
    net = new_internet()
    socket = behind(net, "host", KINDS[kind], port=40_000)
    assert mapped(socket) == [UdpAddress(net.routers["host-router-0"].wan_v4, 40_000)] * 3


def test_a_hard_one_has_another_port_for_each_destination() -> None:
    socket = behind(new_internet(), "host", HARD, port=40_000)
    found = mapped(socket)
    assert len(set(found)) == 3
    assert all(address is not None and address.port != 40_000 for address in found)


@pytest.mark.parametrize(("provider", "home", "ports"), [(EASY, EASY, 1), (HARD, EASY, 3), (EASY, HARD, 3)])
def test_a_nat_behind_a_nat_is_as_hard_as_the_harder(provider: Nat, home: Nat, ports: int) -> None:
    assert len(set(mapped(behind(new_internet(), "host", provider, home)))) == ports


@pytest.mark.parametrize(
    ("kind", "same_host", "other_host"),
    [("full cone", True, True), ("address", True, False), ("easy", False, False), ("hard", False, False)],
)
def test_filtering(kind: str, same_host: bool, other_host: bool) -> None:
    """Whether another port of who was asked gets in, and another host."""
    net = new_internet()
    socket = behind(net, "host", KINDS[kind])
    outside = socket.outside()
    assert outside is not None
    for server, port, expected in (("stun", 5000, same_host), ("stun2", 5001, other_host)):
        Socket(net.hosts[server], port).send(outside)
        settle(net)
        assert bool(socket.take()) is expected


def test_two_hosts_with_one_port_behind_one_router() -> None:
    """The second one gets another port, and that same one for every destination."""
    net = new_internet()
    home = net.router("home", nat=EASY)
    first, second = Socket(home.host("first"), 40_000), Socket(home.host("second"), 40_000)
    assert mapped(first) == [UdpAddress(home.wan_v4, 40_000)] * 3
    found = mapped(second)
    assert len(set(found)) == 1
    assert found[0] != UdpAddress(home.wan_v4, 40_000)


@pytest.mark.parametrize("hairpin", [False, True])
def test_hairpin(hairpin: bool) -> None:
    net = new_internet()
    home = net.router("home", nat=attrs.evolve(FULL_CONE, hairpin=hairpin))
    first, second = Socket(home.host("first")), Socket(home.host("second"))
    outside, seen = second.outside(), first.outside()
    assert outside is not None
    first.send(outside)
    settle(net)
    assert [source for source, _ in second.take()] == ([seen] if hairpin else [])
    assert home.counts["hairpin"] == (0 if hairpin else 1)


@pytest.mark.parametrize("hairpin", [False, True])
def test_two_homes_of_one_provider_need_its_hairpin(hairpin: bool) -> None:
    net = new_internet()
    isp = net.router("isp", nat=attrs.evolve(EASY, hairpin=hairpin), lan="100.64.0.0/10")
    pair = behind(isp, "left", EASY), behind(isp, "right", EASY)
    assert punch(*pair) == (2 if hairpin else 0)


# --- faults --------------------------------------------------------------------------------------------------------


def test_a_mapping_ends_when_nothing_leaves() -> None:
    """As with nf_conntrack_udp_timeout=2: after 4.5 s what comes in is lost, and what leaves makes another one."""
    net = new_internet()
    socket = behind(net, "host", attrs.evolve(EASY, lifetime=2.0))
    outside = socket.outside()
    assert outside is not None
    server = UdpAddress(net.hosts["stun"].v4, STUN)
    speaker = net.hosts["stun"]._udp[STUN]
    for pause, arrives in ((1.5, True), (4.5, False)):
        sleep(net, pause)
        speaker.send(outside, [b"hello"])
        settle(net)
        assert bool(socket.take()) is arrives
    socket.send(server)
    settle(net)
    assert len(socket.take()) == 1


def test_what_comes_in_does_not_renew_a_mapping() -> None:
    net = new_internet()
    socket = behind(net, "host", attrs.evolve(EASY, lifetime=2.0))
    outside = socket.outside()
    assert outside is not None
    arrived = 0
    for _ in range(5):
        sleep(net, 0.9)
        net.hosts["stun"]._udp[STUN].send(outside, [b"hello"])
        settle(net)
        arrived += len(socket.take())
    assert arrived == 2


def test_a_router_restarts() -> None:
    net = new_internet()
    socket = behind(net, "host", HARD)
    before = socket.outside()
    assert before is not None
    net.routers["host-router-0"].restart()
    net.hosts["stun"]._udp[STUN].send(before, [b"hello"])
    settle(net)
    assert not socket.take()
    assert socket.outside() not in (before, None)


def test_a_router_gets_another_outside_address() -> None:
    net = new_internet()
    socket = behind(net, "host", EASY)
    before = socket.outside()
    net.routers["host-router-0"].renumber()
    after = socket.outside()
    assert before is not None
    assert after is not None
    assert (after.host != before.host, after.port) == (True, before.port)


def test_v6_behind_a_firewall_is_answered_and_not_called() -> None:
    net = new_internet()
    left, right = (Socket(net.router(f"{name}-6", v4=False, v6=True).host(name)) for name in ("left", "right"))
    own = [UdpAddress(side.host.v6, side.port) for side in (left, right)]
    assert [side.outside(version=6) for side in (left, right)] == own
    left.send(own[1])
    settle(net)
    assert not right.take()
    right.send(own[0])
    settle(net)
    assert left.take() == [(own[1], b"ping")]
    left.send(UdpAddress(net.hosts["stun"].v4, STUN))
    settle(net)
    assert left.host.dropped == {"unreachable": 1, "EMSGSIZE": 0}

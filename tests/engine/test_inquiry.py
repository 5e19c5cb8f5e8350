"""The inquiry as a machine: when it asks, when it is over. What it finds is tested by scenes (test_explain_scenes)."""

from __future__ import annotations

import math

import attrs
import pytest

from tests.engine.alone import NOW, A, B, bare
from tests.engine.pair import netmap
from tests.house import House
from tsnet.control.client import facts as told
from tsnet.edge.run.handle import Handle
from tsnet.engine.facts import PingAnswered
from tsnet.engine.inquiry import DIRECT_PATIENCE, OFFLINE_PATIENCE, PATIENCE, PORT_PATIENCE, Inquiry
from tsnet.errors import AddressNotAvailable


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
def two(house: House) -> tuple[Handle, Handle]:
    return house.up("a"), house.up("b")


def inquiry(handle: Handle, host: str, port: int | None = None) -> Inquiry:
    view = handle.view
    assert view is not None
    return Inquiry(handle.node, view, host, port, handle.pump.now())


def over_after(asked: Inquiry, begun: float) -> float:
    """Run it by its own deadline alone, with nothing answered."""
    now = begun
    while asked.verdict is None:
        assert asked.deadline() > now
        now = asked.deadline()
        asked.run(now)
    assert asked.deadline() == math.inf
    return now - begun


def test_without_anybody_to_ask_it_is_over_at_once(two: tuple[Handle, Handle]) -> None:
    for host in ("nobody", "b", "10.9.9.9"):
        assert inquiry(two[1], host).verdict is not None


def test_an_answer_of_nothing_is_waited_for_so_long(house: House, two: tuple[Handle, Handle]) -> None:
    assert over_after(inquiry(two[1], "a", 80), house.now) == pytest.approx(PATIENCE)
    house.finish(two[0].close(1))
    house.run(1)
    asked = inquiry(two[1], "a", 80)
    assert asked.verdict is not None, "an ephemeral node that has left is nobody"


def test_a_peer_that_is_offline_is_waited_for_less(house: House) -> None:
    a, b = house.up("a", ephemeral=False), house.up("b")
    house.finish(a.close(1))
    house.until(lambda: b.node.netmap is not None and next(iter(b.node.netmap.peers.values())).online is False)
    assert over_after(inquiry(b, "a", 80), house.now) == pytest.approx(OFFLINE_PATIENCE)


def test_once_the_tunnel_answers_the_port_has_so_long(house: House, two: tuple[Handle, Handle]) -> None:
    asked = inquiry(two[1], "a", 80)
    begun = house.now
    data = next(iter(asked._pings))
    asked.answered(PingAnswered(data, two[1].node.calls.resolve("a")), begun + 0.5)
    assert asked.evidence.tunnel == 0.5
    asked.answered(PingAnswered(b"another!", two[1].node.calls.resolve("a")), begun + 0.6)
    assert over_after(asked, begun + 0.6) == pytest.approx(PORT_PATIENCE - 0.1)
    assert asked.verdict is not None
    assert asked.verdict.code == "E-TIMEOUT"


def test_a_direct_path_is_hoped_for_so_long(house: House) -> None:
    house = House(relays_only=True)
    house.up("a")
    b = house.up("b")
    asked = inquiry(b, "a")
    asked.answered(PingAnswered(next(iter(asked._pings)), b.node.calls.resolve("a")), house.now)
    assert asked.verdict is not None, "no direct path is wanted"

    house = House()
    house.up("a")
    b = house.up("b")
    house.run(5)
    asked = inquiry(b, "a")
    asked.answered(PingAnswered(next(iter(asked._pings)), b.node.calls.resolve("a")), house.now)
    assert over_after(asked, house.now) == pytest.approx(DIRECT_PATIENCE)


def test_it_asks_again_each_second(house: House, two: tuple[Handle, Handle]) -> None:
    asked = inquiry(two[1], "a")
    assert len(asked._pings) == 2
    asked.run(house.now + 1.0)
    assert len(asked._pings) == 4
    asked.give_up(house.now + 1.0)
    assert asked.verdict is not None
    assert asked.verdict.code == "E-UNREACHABLE"


def test_a_port_of_a_family_that_this_node_has_no_address_of_cannot_be_dialled() -> None:
    some = bare()
    some.word.tell(told.NetMapChanged(netmap(attrs.evolve(A, addresses=A.addresses[:1]), B)), NOW)
    assert some.view is not None
    with pytest.raises(AddressNotAvailable):
        Inquiry(some, some.view, str(B.ips[1]), 80, NOW)
    assert Inquiry(some, some.view, str(B.ips[0]), 80, NOW).verdict is None

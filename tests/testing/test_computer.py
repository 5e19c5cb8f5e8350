"""What computers of both kinds have in common; test_simulated and test_internethost have the rest."""

from __future__ import annotations

import math

import pytest

from tsnet.edge.io.world import World
from tsnet.testing.computer import Computer
from tsnet.testing.simulated import SimulatedWorld


def both() -> list[Computer]:
    world = SimulatedWorld(4)
    return [world.machine("flat"), world.internet.router("home").host("laptop")]


@pytest.mark.parametrize("computer", both(), ids=lambda computer: computer.name)
def test_it_is_a_world(computer: Computer) -> None:
    world: World = computer
    assert world.is_virtual
    assert world.reactor is None
    udp, listener = world.open_udp(0, lambda: None), world.listen("", 0, lambda: None)
    assert udp.local_port != listener.address[1]
    assert len(world.entropy(7)) == 7
    for address in (computer.v4, computer.v6):
        if address:
            computer.listen(address, 80, lambda: None)
    with pytest.raises(OSError, match="does not own"):
        world.listen("198.51.100.1", 80, lambda: None)
    with pytest.raises(OSError, match="taken"):
        world.listen("", listener.address[1], lambda: None)
    world.abandon()
    world.close()
    assert computer.open_udp(udp.local_port, lambda: None).local_port == udp.local_port


@pytest.mark.parametrize("computer", both(), ids=lambda computer: computer.name)
def test_who_watches_is_told_until_he_stops(computer: Computer) -> None:
    told: list[int] = []
    stop = computer.watch_network(lambda: told.append(1))
    computer.unplug()
    assert computer.interfaces() == []
    assert not computer.owns(computer.v4)
    computer.wait(math.inf)
    computer.plug()
    computer.wait(math.inf)
    assert computer.owns(computer.v4)
    assert computer.owns("127.0.0.1")
    assert not computer.owns("")
    stop()
    stop()
    computer.unplug()
    assert told == [1, 1]
    assert computer.next_event() == math.inf


@pytest.mark.parametrize("computer", both(), ids=lambda computer: computer.name)
def test_a_listener_is_found_at_its_address_or_at_any(computer: Computer) -> None:
    exact, anywhere = computer.listen(computer.v4, 80, lambda: None), computer.listen("", 81, lambda: None)
    assert computer.listener_at([computer.v4], 80) is exact
    assert computer.listener_at([computer.v4], 81) is anywhere
    assert computer.listener_at(["127.0.0.1"], 80) is None
    exact.cut(down=5.0)
    assert computer.listener_at([computer.v4], 80) is None

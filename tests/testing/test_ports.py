from __future__ import annotations

import errno
from collections import Counter

import pytest

from tsnet.edge.io.link_limits import LinkLimits
from tsnet.errors import AddressInUse
from tsnet.testing.ports import CONTROL, ServerPort
from tsnet.testing.simulated import SimulatedWorld


def busy(number: int) -> int:
    """A port is taken, unless any will do."""
    if number:
        raise OSError(errno.EADDRINUSE, "taken")
    return 12345


def test_the_port_that_was_asked_for_or_none() -> None:
    port = ServerPort("relay", 80)
    port.take_on(90)
    assert port.number == 80
    with pytest.raises(OSError):
        port.bind(busy)


def test_a_relay_takes_another_port_than_that_of_last_time(caplog: pytest.LogCaptureFixture) -> None:
    port = ServerPort("relay")
    port.take_on(90)
    with caplog.at_level("INFO", "tsnet"):
        assert port.bind(busy) == 12345
    assert "port 90 is taken, where the relay of this tailnet was" in caplog.text


def test_control_does_not() -> None:
    port = ServerPort(CONTROL)
    port.take_on(90)
    with pytest.raises(AddressInUse, match="port 90"):
        port.bind(busy)


def test_any_other_error_is_the_callers() -> None:
    port = ServerPort("relay")
    port.take_on(90)

    def bind(number: int) -> int:
        raise OSError(errno.EACCES, "not yours")

    with pytest.raises(OSError, match="not yours"):
        port.bind(bind)


class Silent:
    what, floods = "server of a test", Counter[str]()

    def receive(self, event: object, now: float) -> None: ...

    def transmit(self, now: float, budget: int) -> list[object]:
        return []

    def deadline(self) -> float:
        return float("inf")

    def close(self) -> None: ...


def test_one_number_at_each_address_or_nothing_at_all() -> None:
    world = SimulatedWorld()
    port, limits = ServerPort("relay"), LinkLimits()
    pump = port.listen(world, (world.v4, world.v6), lambda number: Silent(), limits=limits)  # type: ignore[arg-type,return-value]
    assert {bound.address for bound in pump.ports} == {(world.v4, port.number), (world.v6, port.number)}  # type: ignore[attr-defined]
    pump.drop()
    with pytest.raises(OSError):
        port.listen(world, (world.v4, "2001:db8::77"), lambda number: Silent(), limits=limits)  # type: ignore[arg-type,return-value]
    again = port.listen(world, (world.v4,), lambda number: Silent(), limits=limits)  # type: ignore[arg-type,return-value]
    assert len(again.ports) == 1, "the first address is free again"
    again.drop()

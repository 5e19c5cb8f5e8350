"""A week of twenty nodes, under TSNET_NIGHTLY=1; and half an hour or an hour into which a day is pressed.

Not here: what must hold (`tests.week`).
"""

from __future__ import annotations

import json
import os

import anyio
import pytest

from tests.week import EVENTS, PONG_SIZE, PingWatch, Week
from tsnet.base.addresses import UdpAddress
from tsnet.disco.constants import PINGS_PER_SECOND
from tsnet.testing.simulated import SimulatedWorld


def live(seed: int, *, days: int, nodes: int, hurry: float = 1.0) -> Week:
    """A week that has passed without a fault."""
    week = Week(seed, days=days, nodes=nodes, hurry=hurry)
    anyio.run(week.run)
    return week


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.skipif(os.environ.get("TSNET_NIGHTLY") != "1", reason="many minutes long: TSNET_NIGHTLY=1")
@pytest.mark.parametrize("seed", [1, 2])
def test_a_week(seed: int) -> None:
    week = live(seed, days=7, nodes=20)
    print(json.dumps(week.figures(), indent=1))
    assert {event.__name__ for event in EVENTS} <= week.happened.keys()
    assert len(week.measures) == 7
    assert max(each["descriptors"] for each in week.measures[1:]) <= week.measures[1]["descriptors"]


@pytest.mark.parametrize(("nodes", "hours"), [(2, 0.5), pytest.param(4, 1.0, marks=pytest.mark.slow)])
def test_a_short_time_in_which_happens_what_a_day_brings(nodes: int, hours: float) -> None:
    week = live(3, days=1, nodes=nodes, hurry=24.0 / hours)
    assert week.now > hours * 3600.0
    assert week.happened.total() > 20
    assert week.watch.pings > 100


# --- that a fault would be noticed --------------------------------------------------------------------------------


def test_pings_are_counted_as_the_wire_sees_them() -> None:
    world = SimulatedWorld(1)
    watch, host = PingWatch(world.clock), world.internet.host("one")
    watch.watch(host)
    ping, pong, other = (b"TS\xf0\x9f\x92\xac" + bytes(size - 6) for size in (124, PONG_SIZE, 1312))
    for port in (1, 1, 2):
        host.carry_udp(9, UdpAddress("198.18.0.9", port), [ping, pong, b"\4" * 124])
    assert (watch.pings, watch.pongs, watch.worst) == (3, 3, 2)
    later = world.clock() + 1.0
    while world.clock() < later:
        world.wait(later)
    host.carry_udp(9, UdpAddress("198.18.0.9", 1), [other] * 6)
    assert watch.worst == 6 > PINGS_PER_SECOND
    assert max(watch.by_hour.values()) == 9


def test_a_stream_that_nothing_explains_is_noticed() -> None:
    async def main() -> None:
        week = Week(1, days=1, nodes=2)
        async with week, anyio.create_task_group() as week.group:
            await week._settle()
            (pair,) = week.pairs
            await week.sleep(5.0)
            await pair.talk()
            assert pair.exchanges >= 2
            assert pair.loses() == ""
            node = week.residents[1].node
            pump = node._handle.pump
            pump.node.engine.stack.close(week.now)
            pump.mark()
            await week.sleep(1.0)
            await pair.talk()

    with pytest.raises(BaseExceptionGroup) as raised:
        anyio.run(main)
    assert raised.value.subgroup(lambda error: "has lost its stream" in str(error)) is not None

"""The end of a node: streams first, then the logout, then nothing."""

from __future__ import annotations

import math

import pytest

from tests.house import House
from tsnet.engine.leaving import Leaving


@pytest.mark.parametrize("ephemeral", [True, False])
def test_the_patience_of_a_close_is_over_once(ephemeral: bool) -> None:
    """A stream that nobody answers keeps the node from being quiet: it waits, and does not turn without end."""
    house = House()
    a, b = house.up("a", ephemeral=ephemeral), house.up("b")
    dialled, _, _ = house.connect(a, b)
    b.node.shut(house.now)
    house.host.remove(b.pump)
    dialled.give(b"nobody hears it")
    house.run(0.5)
    a.node.begin_close(house.now, 1.0)
    a.pump.mark()
    turns = a.pump.turns
    house.run(1.5)
    assert not a.node.is_closed
    assert a.pump.turns - turns < 50


def test_an_ephemeral_node_logs_out_at_its_end_and_others_stay() -> None:
    house = House()
    house.up("guest")
    resident = house.up("resident", ephemeral=False)
    guest = house.up("guest2")
    for handle in (guest, resident):
        house.finish(handle.close(2))
    assert set(house.tailnet.nodes()) == {"guest", "resident"}


class Streams:
    """An engine of which only this is asked."""

    is_quiet = False


def leaving(*, ephemeral: bool = True) -> tuple[Leaving, Streams]:
    streams = Streams()
    return Leaving(streams, ephemeral=ephemeral), streams  # type: ignore[arg-type]


def test_it_logs_out_once_when_its_streams_have_ended_or_the_time_for_them_is_over() -> None:
    some, streams = leaving()
    assert some.logout_by(0.0) is None
    some.begin(10.0, 2.0)
    assert some.deadline() == 12.0
    assert some.logout_by(11.9) is None
    streams.is_quiet = True
    assert some.logout_by(11.9) == 13.0
    assert some.logout_by(99.0) is None
    assert some.deadline() == math.inf
    late, _streams = leaving()
    late.begin(10.0, 2.0)
    assert late.logout_by(12.0) == 13.0


def test_it_is_closed_when_control_knows_and_its_streams_have_ended() -> None:
    some, streams = leaving()
    some.is_over = streams.is_quiet = True
    assert not some.is_closed  # nobody wants it closed
    some.begin(10.0, 2.0)
    assert not some.is_closed
    some.is_over = True
    assert some.is_closed
    streams.is_quiet = False
    assert not some.is_closed


def test_a_node_that_stays_known_to_control_has_no_logout() -> None:
    some, streams = leaving(ephemeral=False)
    some.begin(10.0, 2.0)
    streams.is_quiet = True
    assert some.logout_by(12.0) is None
    assert some.deadline() == math.inf
    assert some.is_closed

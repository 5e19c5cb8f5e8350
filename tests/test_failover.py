"""A home relay fails under two nodes that have no direct path, and another region takes over; in virtual time.

| the relay             | first byte through the other region |
|-----------------------|-------------------------------------|
| resets, then refuses  | within 3 s                          |
| falls silent          | within 15 s                         |
"""

from __future__ import annotations

import pytest

from tests.house import House, events_of
from tsnet.events import HomeChanged, Reachable, RelayChanged
from tsnet.testing.relays import EmbeddedRelay

WITHIN = {"stop": 3.0, "kill": 3.0, "silence": 15.0}


class Pair:
    """Nodes a and b that use no direct path, a stream between them, and two relays."""

    def __init__(self, seed: int = 0, latency: float = 0.02, regions: int = 2) -> None:
        self.house = house = House(seed, regions=regions, relays_only=True)
        house.world.wire.latency = latency
        handles = [house.up(name) for name in "ab"]
        self.a, self.b = handles
        self.dialled, self.accepted, _listener = house.connect(self.b, self.a)
        self.subscriptions = [handle.subscribe() for handle in handles]

    @property
    def homes(self) -> set[int]:
        return {handle.node.home.region for handle in (self.a, self.b)}

    @property
    def home(self) -> EmbeddedRelay:
        (region,) = self.homes
        return self.house.tailnet.relay(region)

    @property
    def home_of_a(self) -> EmbeddedRelay:
        """That of b may be another one: who has not yet noticed that its home was silent stays there."""
        return self.house.tailnet.relay(self.a.node.home.region)

    def time_of(self, data: bytes) -> float:
        """Seconds until that arrives through the stream, sent now."""
        begun = self.house.now
        self.dialled.give(data)
        self.house.until(lambda: self.accepted.has_news)
        assert self.accepted.take(100) == data
        return self.house.now - begun


@pytest.mark.parametrize("fault", list(WITHIN))
@pytest.mark.parametrize("quiet", [0.0, 3.0, 8.0, 30.0, 200.0])
def test_the_first_byte_goes_by_another_region_in_time(fault: str, quiet: float) -> None:
    """quiet: seconds without a packet before: no time of day, and no lack of a session, costs more."""
    pair = Pair(seed=int(quiet))
    pair.house.run(quiet)
    before = pair.home
    getattr(before, fault)()
    assert pair.time_of(b"first byte") <= WITHIN[fault]
    pair.house.run(15)
    assert pair.homes == {1801 - before.region}
    assert pair.time_of(b"and the next") < 1
    for subscription in pair.subscriptions:
        told = [one for one in events_of(subscription) if isinstance(one, HomeChanged | Reachable)]
        assert told == [HomeChanged(1801 - before.region), Reachable(1801 - before.region)]


@pytest.mark.parametrize("fault", list(WITHIN))
@pytest.mark.parametrize("quiet", [3.0, 3.7, 5.1, 7.9, 10.7, 12.1])
def test_a_fresh_connection_over_long_links_goes_on_in_time(fault: str, quiet: float) -> None:
    """Its SYN waited for the session, so that its timeout is six seconds and says nothing about the path."""
    pair = Pair(latency=0.1)
    pair.house.run(quiet)
    getattr(pair.home, fault)()
    assert pair.time_of(b"first byte") <= WITHIN[fault]


@pytest.mark.parametrize("fault", list(WITHIN))
def test_it_is_found_out_though_nobody_sends(fault: str) -> None:
    pair = Pair()
    pair.house.run(60)
    before = pair.home
    getattr(before, fault)()
    pair.house.until(lambda: pair.homes == {1801 - before.region}, WITHIN[fault])
    pair.house.run(1)
    assert pair.time_of(b"at once") < 1


@pytest.mark.parametrize("fault", list(WITHIN))
def test_when_the_relay_is_back_they_find_each_other_wherever_they_are_at_home(fault: str) -> None:
    """A stranger that joins while the relay is back, too; and the other relay may go in turn.

    Of a relay that is silent its other nodes may not know yet when the first byte has found another way.
    """
    pair = Pair()
    before = pair.home
    getattr(before, fault)()
    pair.time_of(b"over there")
    before.start()
    pair.house.run(20)
    assert pair.time_of(b"in the meantime") < 1
    getattr(pair.home_of_a, fault)()
    assert pair.time_of(b"and back") <= WITHIN[fault]
    c = pair.house.up("c")
    assert pair.house.finish(c.ping("a", "icmp", 15)).seconds < max(5.0, WITHIN[fault])


def test_a_relay_that_restarts_stays_home() -> None:
    pair = Pair()
    before = pair.home
    before.restart()
    assert pair.time_of(b"across") < 1
    pair.house.run(10)
    assert pair.home.region == before.region
    for subscription in pair.subscriptions:
        told = [one for one in events_of(subscription) if isinstance(one, HomeChanged | RelayChanged)]
        assert HomeChanged not in map(type, told)
        assert [one.connected for one in told if isinstance(one, RelayChanged) and one.region == before.region] == [
            False,
            True,
        ]


def test_a_relay_that_is_silent_for_a_moment_stays_home() -> None:
    """Its links carry nothing for two seconds, and then everything."""
    pair = Pair()
    pair.house.run(30)
    region = pair.home.region
    pump = pair.home._servers.pump
    assert pump is not None
    pair.house.host.remove(pump)
    pair.house.run(2)
    pair.house.host.add(pump)
    assert pair.time_of(b"late") < 3
    pair.house.run(20)
    assert pair.homes == {region}


def test_all_relays_die_and_come_back_and_the_stream_goes_on() -> None:
    pair = Pair()
    for relay in pair.house.tailnet.relays:
        relay.kill()
    pair.dialled.give(b"patience")
    pair.house.run(40)
    for relay in pair.house.tailnet.relays:
        relay.start()
    pair.house.until(lambda: pair.accepted.has_news, 15)
    assert pair.accepted.take(100) == b"patience"


def test_many_nodes_do_not_return_at_once() -> None:
    """Their dials of a relay that died are spread, and again at each attempt."""
    house = House()
    handles = [house.up(f"n{number}") for number in range(8)]
    (relay,) = house.tailnet.relays
    relay.kill()
    house.run(4)
    at = {handle.node.relays.clients[900].retry_at for handle in handles if 900 in handle.node.relays.clients}
    assert len(at) > 4


@pytest.mark.parametrize("seed", range(4))
def test_three_regions_and_two_that_fail_one_after_the_other(seed: int) -> None:
    pair = Pair(seed, regions=3)
    seen = set(pair.homes)
    for _ in range(2):
        pair.home.kill()
        assert pair.time_of(b"on and on") <= 3
        pair.house.run(10)
        assert len(pair.homes) == 1
        seen |= pair.homes
    assert len(seen) == 3

"""A netcheck that somebody waits for, in a simulated world."""

from __future__ import annotations

from tests.house import House
from tsnet.engine.facts import NetcheckDone


def shown(done: NetcheckDone) -> NetcheckDone:
    return done


def test_the_report_is_on_all_regions_whatever_else_goes_on() -> None:
    house = House(regions=4)
    handle = house.up("a")
    house.run(30)
    done = house.finish(handle.netcheck(10, shown).begin())
    assert done.report.is_full
    assert set(done.report.region_latency) == set(done.regions) == {900, 901, 902, 903}
    assert done.report.preferred_region == handle.node.home.region
    assert done.endpoints == handle.node.engine.paths.endpoints


def test_all_who_wait_get_the_same_report() -> None:
    house = House()
    handle = house.up("a")
    first, second = handle.netcheck(10, shown).begin(), handle.netcheck(10, shown).begin()
    assert house.finish(first) == house.finish(second)
    assert len(handle.attempts) == 0


def test_where_nothing_answers_it_ends_all_the_same() -> None:
    house = House()
    handle = house.up("a")
    house.world.wire.loss = 1.0
    house.tailnet.relay(900).stop()
    begun = house.now
    done = house.finish(handle.netcheck(None, shown).begin())
    assert house.now - begun <= 5.001
    assert (done.report.udp, done.report.region_latency) == (False, {})
    begun = house.now
    done = house.finish(handle.netcheck(0.5, shown).begin())
    assert house.now - begun <= 0.501


def test_who_cannot_wait_spoils_nothing_for_the_others_nor_for_control() -> None:
    house = House()
    handle = house.up("a")
    house.run(5)
    patient, hasty = handle.netcheck(10, shown).begin(), handle.netcheck(0.0, shown).begin()
    done = house.finish(hasty)
    assert done.report.region_latency == {}
    assert done.report.preferred_region == 900
    assert house.finish(patient).report.udp
    assert handle.node.home.net_info()["WorkingUDP"]


def test_who_waits_no_longer_is_forgotten() -> None:
    house = House()
    handle = house.up("a")
    operation = handle.netcheck(10, shown).begin()
    house.run(0.0001)
    operation.cancel()
    house.run(5)
    assert len(handle.attempts) == 0
    assert not handle.node.surroundings._is_asked


def test_a_node_that_closes_tells_those_who_wait() -> None:
    house = House()
    handle = house.up("a")
    operation = handle.netcheck(10, shown).begin()
    house.finish(handle.close(1))
    assert operation.done

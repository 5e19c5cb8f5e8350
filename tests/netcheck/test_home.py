"""The choice of a home, row by row, on a hand clock."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from tests.traces import Traced
from tsnet.netcheck.home import HEARD_WITHIN, HISTORY, RETRY_AFTER, RETRY_HOPELESS, RETRY_MAX, Home
from tsnet.netmap.model import DerpMap, DerpNode, DerpRegion


def region(number: int, **fields: Any) -> DerpRegion:
    return DerpRegion(number, nodes=(DerpNode(f"{number}a", number, f"derp{number}.example"),), **fields)


def derp_map(*regions: DerpRegion, scores: dict[int, float] | None = None) -> DerpMap:
    return DerpMap({region.region_id: region for region in regions}, scores or {})


def empty_home() -> Home:
    return Home(random.Random(1).randbytes)


def new_home(count: int = 5, **options: Any) -> Home:
    home = empty_home()
    home.set_map(derp_map(*map(region, range(1, count + 1)), **options), 0.0)
    return home


def test_the_first_region_that_answers_is_home_at_once() -> None:
    home = new_home()
    assert (home.region, home.regions_wanted()) == (0, {1, 2, 3})
    home.answered(2, 0.080, 0.1)
    assert home.region == 2


def test_the_home_of_the_last_process_is_home_until_another_answers_first() -> None:
    home = empty_home()
    home.begin(region(2))
    assert (home.region, home.regions_wanted(), home.is_lost) == (2, {2}, True)
    home.set_map(derp_map(region(1), region(2), region(3)), 0.1)
    assert (home.region, home.regions_wanted()) == (2, {1, 2, 3})
    home.answered(2, 0.080, 0.2)
    home.answered(1, 0.079, 0.2)
    assert home.region == 2
    home = empty_home()
    home.begin(region(2))
    home.set_map(derp_map(region(1), region(2)), 0.1)
    home.failed(2, 0.1)
    home.answered(1, 0.2, 0.2)
    assert home.region == 1


@pytest.mark.parametrize("regions", [(region(1),), (region(1), region(2, name="changed"))])
def test_the_home_of_the_last_process_is_none_if_the_map_has_it_no_more(regions: tuple[DerpRegion, ...]) -> None:
    home = empty_home()
    home.begin(region(2))
    home.set_map(derp_map(*regions), 0.1)
    assert home.region == 0


def test_a_relay_that_we_log_in_to_is_home_before_it_has_answered() -> None:
    home = new_home()
    home.logging_in(2, 0.1)
    assert (home.region, home.is_lost) == (2, False)
    home.logging_in(1, 0.1)
    home.answered(1, 0.079, 0.15)  # it was just behind
    assert home.region == 2
    home.answered(2, 0.080, 0.2)
    home.transmit(0.1 + HEARD_WITHIN)
    assert (home.region, home.away_at) == (2, math.inf)


def test_a_relay_that_does_not_take_our_login_is_home_no_longer_than_one_that_is_away() -> None:
    home = new_home()
    home.logging_in(2, 0.1)
    home.answered(1, 0.080, 0.2)
    home.transmit(0.1 + HEARD_WITHIN - 0.01)
    assert home.region == 2
    home.transmit(0.1 + HEARD_WITHIN)
    assert home.region == 1


def test_a_login_at_a_region_that_may_not_be_home_is_none_of_ours() -> None:
    home = empty_home()
    home.set_map(derp_map(region(1, avoid=True)), 0.0)
    home.logging_in(1, 0.1)
    home.logging_in(9, 0.1)
    assert home.region == 0


def test_the_last_latency_of_each_region_and_when_it_was() -> None:
    home = new_home()
    assert home.latencies() == {}
    home.answered(2, 0.05, 1.0)
    home.answered(2, 0.03, 4.0, over_udp=True)
    assert home.latencies() == {2: (4.0, 0.03)}


def test_three_are_measured_at_a_time_until_all_are() -> None:
    home = new_home(5)
    assert home.regions_wanted() == {1, 2, 3}
    home.answered(2, 0.080, 0.1)
    assert home.regions_wanted() == {1, 2, 3, 4}  # 2 stays: it is home
    home.failed(1, 0.2)
    assert home.regions_wanted() == {2, 3, 4, 5}
    for number in (3, 4, 5):
        home.answered(number, 0.079, 0.3)
    assert home.regions_wanted() == {2}


def test_the_favoured_are_measured_first_and_some_never() -> None:
    nowhere = DerpRegion(6, nodes=(DerpNode("6s", 6, "stun.example", stun_only=True),))
    regions = [region(1), region(2, no_measure_no_home=True), region(3), region(4, avoid=True), nowhere]
    home = empty_home()
    home.set_map(derp_map(*regions, region(7), region(5), scores={5: 0.5, 3: 0.0, 1: 2.0}), 0.0)
    assert home.regions_wanted() == {5, 3, 7}
    for number in (5, 3, 7):
        home.failed(number, 1.0)
    assert home.regions_wanted() == {1}


@pytest.mark.parametrize("fields", [{"no_measure_no_home": True}, {"avoid": True}])
def test_a_region_used_for_its_peers_alone_does_not_become_home(fields: dict[str, bool]) -> None:
    home = empty_home()
    home.set_map(derp_map(region(1, **fields), region(2)), 0.0)
    home.answered(1, 0.001, 0.1)
    assert (home.region, home.net_info()["DERPLatency"]) == (0, {})
    home.answered(2, 0.100, 0.2)
    home.answered(1, 0.001, 0.3)
    assert home.region == 2


@pytest.mark.parametrize(
    ("old", "new", "moves"),
    [
        (0.100, 0.050, True),
        (0.100, 0.066, True),
        (0.100, 0.067, False),  # not by a third
        (0.030, 0.021, False),  # not by 10 ms, nor by a third
        (0.015, 0.006, False),  # not by 10 ms
        (0.015, 0.004, True),
        (0.050, 0.050, False),
        (0.050, 0.100, False),
    ],
)
def test_a_better_region_takes_over_if_it_is_better_by_enough(old: float, new: float, moves: bool) -> None:
    home = new_home()
    home.answered(1, old, 0.1)
    home.answered(2, new, 0.2)
    assert home.region == (2 if moves else 1)


def test_the_score_multiplies_the_latency() -> None:
    home = new_home(scores={1: 0.25, 2: -1.0})
    home.answered(1, 0.100, 0.1)
    home.answered(2, 0.020, 0.2)
    assert home.region == 1
    home.answered(3, 0.005, 0.3)
    assert home.region == 3


def test_the_best_of_the_last_five_minutes_counts_and_older_ones_do_not() -> None:
    home = new_home()
    home.answered(1, 0.040, 0.0)
    home.answered(2, 0.060, 1.0)
    home.answered(1, 0.100, 2.0)  # a hiccup: its best is still 40 ms
    assert home.region == 1
    home.answered(1, 0.100, 10.0 + HISTORY)
    home.answered(2, 0.060, 11.0 + HISTORY)
    assert home.region == 2


def test_a_home_that_is_away_for_a_moment_stays_home() -> None:
    home = new_home(2)
    home.answered(1, 0.050, 0.0)
    home.answered(2, 0.045, 0.0)
    home.failed(1, 10.0)
    home.failed(1, 12.0)
    assert home.deadline() == 10.0 + HEARD_WITHIN
    assert home.regions_wanted() == {1, 2}
    home.answered(1, 0.050, 11.0)
    assert home.deadline() == math.inf
    assert home.region == 1
    assert home.regions_wanted() == {1}


def test_a_home_that_stays_away_is_replaced_by_the_best_that_answers_meanwhile() -> None:
    home = new_home(3)
    home.answered(1, 0.050, 0.0)
    home.answered(2, 0.045, 0.0)
    home.answered(3, 0.049, 0.0)
    home.failed(1, 10.0)
    assert home.regions_wanted() == {1, 2}, "the next best stands in"
    home.answered(2, 0.045, 10.2)
    assert home.regions_wanted() == {1, 2}, "and stays connected"
    assert home.region == 1
    home.transmit(10.0 + HEARD_WITHIN)
    assert home.region == 2
    assert home.deadline() == math.inf
    assert home.regions_wanted() == {1, 2, 3}, "the others are measured anew"


def test_a_stand_in_that_answers_late_is_home_at_once() -> None:
    home = new_home(3)
    for number in (1, 2, 3):
        home.answered(number, 0.050, 0.0)
    home.failed(1, 10.0)
    home.transmit(10.0 + HEARD_WITHIN)
    assert home.region == 1
    assert home.regions_wanted() == {1, 2, 3}
    home.answered(3, 0.050, 12.0)
    assert home.region == 3


def test_a_stand_in_that_fails_too_is_none() -> None:
    home = new_home(2)
    home.answered(1, 0.050, 0.0)
    home.answered(2, 0.050, 0.0)
    home.failed(1, 10.0)
    home.failed(2, 10.1)
    assert home.stand_in == 0
    home.transmit(10.0 + HEARD_WITHIN)
    assert (home.region, home.regions_wanted()) == (1, {1, 2})


def test_a_home_that_is_doubted_is_replaced_unless_it_answers() -> None:
    """Its connection is there all the while: `cleared` is all that tells of its return."""
    for clears in (True, False):
        home = new_home(2)
        home.answered(1, 0.010, 0.0)
        home.answered(2, 0.050, 0.0)
        home.doubted(2, 9.0)
        assert home.deadline() == math.inf, "another region's relay is no matter"
        home.doubted(1, 10.0)
        home.doubted(1, 10.5)
        home.is_there(2, 0.05, 10.6)
        if clears:
            home.cleared(2, 11.0)
            home.cleared(1, 11.0)
        home.transmit(10.0 + HEARD_WITHIN)
        assert home.region == (1 if clears else 2)
        assert home.stand_in == 0


def test_a_region_that_we_are_connected_to_proves_itself_by_an_answer() -> None:
    home = new_home(3)
    assert home.unproven() == {1, 2, 3}
    home.is_there(2, 0.040, 0.5)
    assert (home.region, home.unproven()) == (2, {1, 3})
    home.answered(1, 0.030, 1.0)
    home.answered(3, 0.030, 1.0)
    assert (home.region, home.unproven()) == (2, set())
    home.is_there(3, 0.001, 2.0)
    assert home.region == 2, "a Ping that queued behind packets measures no distance"


def test_a_home_given_up_that_speaks_again_before_another_answers_is_home_again() -> None:
    home = new_home(2)
    home.answered(1, 0.010, 0.0)
    home.answered(2, 0.050, 0.0)
    home.doubted(1, 10.0)
    home.transmit(10.0 + HEARD_WITHIN)
    home.cleared(1, 13.0)
    home.answered(2, 0.050, 14.0)
    assert home.region == 1
    assert home.regions_wanted() == {1}


def test_without_another_answer_the_old_home_stays_and_all_are_tried() -> None:
    home = new_home(3)
    home.answered(1, 0.050, 0.0)
    home.failed(2, 0.1)
    home.failed(3, 0.1)
    home.failed(1, 10.0)
    home.transmit(18.0)
    assert home.region == 1
    assert home.regions_wanted() == {1, 2, 3}
    home.answered(3, 0.300, 18.5)
    assert home.region == 3


def test_a_single_region_comes_back_as_home() -> None:
    home = new_home(1)
    home.answered(1, 0.050, 0.0)
    home.failed(1, 10.0)
    home.transmit(18.0)
    home.failed(1, 20.0)
    home.transmit(28.0)
    assert (home.region, home.regions_wanted()) == (1, {1})
    home.answered(1, 0.050, 30.0)
    assert (home.region, home.deadline()) == (1, math.inf)


def test_no_home_moves_while_control_does_not_listen_and_catches_up_after() -> None:
    home = new_home(2)
    home.control_listens(False, 0.0)
    home.answered(1, 0.100, 0.0)
    assert home.region == 1  # the first needs no permission
    home.answered(2, 0.010, 1.0)
    assert home.region == 1
    home.control_listens(True, 2.0)
    assert home.region == 2


def test_a_home_lost_while_control_does_not_listen_moves_when_it_does() -> None:
    home = new_home(2)
    home.answered(1, 0.010, 0.0)
    home.answered(2, 0.100, 0.0)
    home.control_listens(False, 5.0)
    home.failed(1, 10.0)
    home.answered(2, 0.100, 10.5)
    home.transmit(18.0)
    assert home.region == 1
    home.control_listens(True, 19.0)
    assert home.region == 2


def test_when_nothing_answers_all_are_tried_again_after_a_pause() -> None:
    home = new_home(4)
    assert home.regions_wanted() == {1, 2, 3}
    for number in (1, 2, 3):
        home.failed(number, 1.0)
    assert home.regions_wanted() == {4}
    home.failed(4, 2.0)
    assert 2.0 + RETRY_AFTER / 2 <= home.deadline() <= 2.0 + RETRY_AFTER
    home.transmit(3.0)
    assert home.deadline() > 3.0
    assert home.regions_wanted() == {1, 2, 3}


def rounds(home: Home, count: int, *, hopeless: bool, now: float = 0.0) -> list[float]:
    """Let all regions fail that often; the pauses between the rounds."""
    pauses = []
    for _ in range(count):
        while home.regions_wanted() - {home.region} or home.deadline() == math.inf:
            for number in sorted(home.regions_wanted()):
                home.failed(number, now, hopeless=hopeless)
        pauses.append(home.deadline() - now)
        now = home.deadline()
        home.transmit(now)
    return pauses


@pytest.mark.parametrize(("hopeless", "longest"), [(False, RETRY_MAX), (True, RETRY_HOPELESS)])
def test_the_pauses_grow_with_jitter_up_to_a_limit(hopeless: bool, longest: float) -> None:
    pauses = rounds(new_home(4), 30, hopeless=hopeless)
    for number, pause in enumerate(pauses):
        base = min(longest, RETRY_AFTER * 2.0**number)
        assert base / 2 <= pause <= base
    assert len(set(pauses)) > 25


def test_one_failure_that_may_pass_keeps_the_whole_round_quick() -> None:
    home = new_home(2)
    for _ in range(20):
        home.failed(1, 0.0, hopeless=True)
        home.failed(2, 0.0)
        assert home.deadline() <= RETRY_MAX
        home.transmit(home.deadline())


@pytest.mark.parametrize("news", ["answer", "map", "network"])
def test_news_ends_the_long_pauses(news: str) -> None:
    home = new_home(2)
    rounds(home, 10, hopeless=True)
    if news == "answer":
        home.answered(1, 0.1, 1.0)
        assert home.deadline() == math.inf
        home.set_map(derp_map(region(2)), 2.0)
    elif news == "map":
        home.set_map(derp_map(region(1), region(2), region(3)), 2.0)
    else:
        home.measure_all(2.0)
    assert rounds(home, 1, hopeless=True, now=3.0)[0] <= RETRY_AFTER


def test_a_lost_home_is_not_searched_for_every_eight_seconds_for_ever() -> None:
    """Its own connection goes on trying; the other regions are asked ever less often."""
    home = new_home(3)
    for number in (1, 2, 3):
        home.answered(number, 0.05, 0.0)
    asked = 0
    home.failed(1, 10.0)
    for tick in range(6000):
        now = 10.0 + tick / 10
        for number in home.regions_wanted():
            asked += number != home.region
            home.failed(number, now, hopeless=True)
        home.transmit(now)
    assert asked < 70  # two others, in ten minutes
    assert home.deadline() < math.inf


def test_a_map_that_only_loses_regions_leaves_the_search_on() -> None:
    home = new_home(2)
    home.failed(1, 0.0)
    home.failed(2, 0.0)
    home.set_map(derp_map(region(1)), 0.5)
    assert 0.5 < home.deadline() < 2.0


def test_a_changed_region_is_measured_anew_and_is_home_no_more() -> None:
    home = new_home(3)
    home.answered(1, 0.010, 0.0)
    home.answered(2, 0.050, 0.0)
    changed = DerpRegion(1, nodes=(DerpNode("1b", 1, "other.example"),))
    home.set_map(derp_map(changed, region(2), region(3)), 1.0)
    assert home.region == 2
    assert 1 in home.regions_wanted()


def test_an_unchanged_map_changes_nothing() -> None:
    home = new_home(3)
    for number in (1, 2, 3):
        home.answered(number, 0.01 * number, 0.0)
    home.set_map(derp_map(*map(region, (1, 2, 3))), 1.0)
    assert (home.region, home.regions_wanted()) == (1, {1})


def test_a_home_that_left_the_map_is_forgotten_and_so_are_its_late_answers() -> None:
    home = new_home(2)
    home.answered(1, 0.010, 0.0)
    home.set_map(derp_map(region(2)), 1.0)
    home.answered(1, 0.010, 1.5)
    assert (home.region, home.regions_wanted()) == (0, {2})
    home.answered(2, 0.030, 2.0)
    assert home.region == 2


def test_an_empty_map_has_no_home_and_nothing_due() -> None:
    home = empty_home()
    home.set_map(DerpMap(), 0.0)
    home.failed(1, 0.0)
    assert (home.region, home.regions_wanted(), home.deadline()) == (0, set(), math.inf)


def test_measuring_all_again_keeps_the_home() -> None:
    home = new_home(3)
    for number in (1, 2, 3):
        home.answered(number, 0.01 * number, 0.0)
    home.measure_all(100.0)
    assert (home.region, home.regions_wanted()) == (1, {1, 2, 3})


def test_net_info() -> None:
    home = new_home(3)
    assert home.net_info() == {"PreferredDERP": 0, "DERPLatency": {}, "WorkingUDP": False}
    home.answered(2, 0.25, 0.0)
    home.answered(1, 0.125, 0.1, over_udp=True)
    home.answered(1, 0.5, 0.1)
    assert home.net_info() == {"PreferredDERP": 1, "DERPLatency": {"1-v4": 0.125, "2-v4": 0.25}, "WorkingUDP": True}


# --- what is traced ---------------------------------------------------------------------------------------------


def test_a_home_tells_why_it_was_chosen() -> None:
    told = Traced()
    home = Home(random.Random(1).randbytes, trace=told("netcheck"))
    home.set_map(derp_map(*map(region, range(1, 4))), 0.0)
    assert told.fields("measuring") == [{"regions": (1, 2, 3)}]
    home.answered(1, 0.100, 1.0)
    home.answered(2, 0.020, 2.0)
    home.answered(3, 0.019, 3.0)  # hardly nearer
    home.failed(2, 4.0)
    home.answered(3, 0.019, 4.5)
    home.transmit(4.0 + HEARD_WITHIN)
    assert [(fields["region"], fields["why"]) for fields in told.fields("home chosen")] == [
        (1, "it answered first"),
        (2, "it is nearer than region 1"),
        (3, "the old one is away"),
    ]
    assert told.fields("home is away") == [{"region": 2, "replaced_in": HEARD_WITHIN}]


def test_without_any_answer_it_tells_when_it_tries_again() -> None:
    told = Traced()
    home = Home(random.Random(1).randbytes, trace=told("netcheck"))
    home.set_map(derp_map(region(1)), 0.0)
    home.failed(1, 1.0)
    (fields,) = told.fields("no region answers")
    assert fields["again_in"] == home.retry_at - 1.0
    home.set_map(derp_map(region(1)), 2.0)  # nothing is new, and nothing is said
    assert told.events == ["measuring", "no region answers"]


# --- latencies over UDP -----------------------------------------------------------------------------------------


def test_over_udp_alone_no_region_becomes_home_because_its_relay_may_be_out_of_reach() -> None:
    home = new_home(2)
    home.answered(1, 0.010, 0.1, over_udp=True)
    assert home.region == 0
    home.failed(1, 0.2)
    home.answered(2, 0.500, 0.3)
    assert home.region == 2


def test_without_a_home_the_nearest_over_udp_is_dialled_first() -> None:
    home = new_home(6)
    home.answered(5, 0.030, 0.1, over_udp=True)
    home.answered(6, 0.020, 0.1, over_udp=True)
    home.failed(1, 0.2)
    home.failed(2, 0.2)
    assert home.regions_wanted() == {3, 6, 5}


def test_with_a_home_relays_are_dialled_only_if_they_are_nearer_over_udp() -> None:
    home = new_home(8)
    home.answered(1, 0.100, 0.1)
    home.answered(1, 0.080, 0.1, over_udp=True)
    assert home.regions_wanted() == {1, 2, 3, 4}
    for number in range(5, 8):
        home.answered(number, 0.075, 0.1, over_udp=True)
    for number in (2, 3, 4):
        home.failed(number, 0.2)
    assert home.regions_wanted() == {1, 8}  # of which nothing is known
    home.answered(7, 0.020, 0.2, over_udp=True)
    assert home.regions_wanted() == {1, 7, 8}
    home.answered(7, 0.500, 0.3)  # how long the login took does not count
    assert home.region == 7


def test_a_relay_that_is_nearer_over_udp_and_cannot_be_reached_is_not_dialled_again_and_again() -> None:
    home = new_home(2)
    home.answered(1, 0.100, 0.1)
    home.answered(2, 0.010, 0.1, over_udp=True)
    assert home.regions_wanted() == {1, 2}
    home.failed(2, 0.2)
    for second in range(1, 100):
        home.answered(1, 0.100, float(second), over_udp=True)
    assert home.regions_wanted() == {1}


def test_measuring_all_again_forgets_what_was_measured_elsewhere() -> None:
    home = new_home(3)
    home.answered(1, 0.010, 0.0)
    home.answered(2, 0.020, 0.0)
    home.measure_all(1.0)
    home.answered(3, 0.100, 1.1)
    home.answered(1, 0.300, 1.1, over_udp=True)  # our old home is far away from here
    assert home.region == 3
    assert home.net_info()["DERPLatency"] == {"1-v4": 0.3, "3-v4": 0.1}


def test_a_home_that_is_connected_takes_no_place_among_those_that_are_measured() -> None:
    home = new_home(5)
    for number in range(1, 6):
        home.answered(number, 0.05, 0.0)
    home.measure_all(1.0)
    assert home.regions_wanted() == {1, 2, 3, 4}


def test_hurry_tries_at_once_what_would_be_tried_later() -> None:
    home = new_home(1)
    home.hurry(0.0)
    home.failed(1, 0.0)
    assert home.regions_wanted() == set()
    home.hurry(0.1)
    assert home.deadline() == 0.1
    home.transmit(0.1)
    assert home.regions_wanted() == {1}

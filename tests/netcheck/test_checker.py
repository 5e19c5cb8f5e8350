"""Reports from beginning to end, by a hand clock, with servers that answer or do not."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from ipaddress import ip_address

import pytest

from tests.netcheck.regions import OURS, OURS_V6, answers, node, region
from tsnet.base.addresses import UdpAddress
from tsnet.base.links import Closed, Data, Effect, Event, LookedUp, LookUp, Open, Opened, Received
from tsnet.base.network import Network
from tsnet.netcheck.checker import FULL_INTERVAL, REPORT_TIMEOUT, Checker
from tsnet.netcheck.report import Report
from tsnet.netmap.model import DerpMap, DerpRegion

DUAL = Network(frozenset(map(ip_address, ("10.0.0.7", "2001:db8::7", "127.0.0.1", "::1"))))
RTT = 0.02
LATENCY_CHECK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
PORTAL = b"HTTP/1.1 302 Found\r\nLocation: http://hotel.example\r\nContent-Length: 0\r\n\r\n"


def map_of(*regions: DerpRegion) -> DerpMap:
    return DerpMap({each.region_id: each for each in regions})


THREE = map_of(*map(region, (1, 2, 3)))


class Lab:
    """A checker, and an internet behind it. hears: whether a STUN server answers. web: what a link's other end says to
    a request; None for a dial that is refused."""

    def __init__(self, derp_map: DerpMap = THREE) -> None:
        self.now = 0.0
        self.derp_map = derp_map
        self.checker = Checker(random.Random(1).randbytes)
        self.hears: Callable[[UdpAddress], bool] = lambda server: True
        self.web: Callable[[Open], bytes | None] = lambda dial: None
        self.dials: list[Open] = []
        self.sent = 0
        self._coming: list[tuple[float, int, object]] = []
        self._links: dict[object, Open] = {}

    def report(self, **options: bool) -> Report:
        self.checker.begin(self.derp_map, DUAL, 1, self.now, **options)
        limit = self.now + 10
        while not (reports := self.checker.take_reports()):
            assert self.now < limit
            self._turn()
        assert not self.checker.is_under_way
        assert self.checker.deadline() == math.inf
        return reports[0]

    def _turn(self) -> None:
        due = [each for each in self._coming if each[0] <= self.now]
        self._coming = [each for each in self._coming if each[0] > self.now]
        for _, _, what in sorted(due, key=lambda each: each[:2]):
            if isinstance(what, list):
                self.checker.receive_stun(what, self.now)
            else:
                self.checker.receive(what, self.now)  # type: ignore[arg-type]
        runs, effects = self.checker.transmit(self.now)
        self.sent += len(runs)
        if heard := answers(run for run in runs if self.hears(run[0])):
            self._later(heard)
        for effect in effects:
            self._follow(effect)
        if self.checker.is_under_way:
            assert self.checker.deadline() > self.now
            self.now = min(self.checker.deadline(), *(at for at, _, _ in self._coming), math.inf)

    def _follow(self, effect: Effect) -> None:
        if isinstance(effect, LookUp):
            self._later(LookedUp(effect.link, ()))
        elif isinstance(effect, Open):
            self.dials.append(effect)
            self._links[effect.link] = effect
            refused: Event = Closed(effect.link, "refused")
            self._later(refused if self.web(effect) is None else Opened(effect.link))
        elif isinstance(effect, Data):
            self._later(Received(effect.link, self.web(self._links[effect.link]) or b""))

    def _later(self, what: object) -> None:
        self._coming.append((self.now + RTT, len(self._coming), what))


def test_a_report_where_all_is_well() -> None:
    lab = Lab()
    report = lab.report()
    assert report == Report(
        pytest.approx(RTT, abs=0.05),  # type: ignore[arg-type]
        True,
        udp=True,
        ipv4=True,
        ipv6=True,
        os_has_ipv6=True,
        mapping_varies_by_dest_ip=False,
        preferred_region=1,
        region_latency={1: RTT, 2: RTT, 3: RTT},
        region_latency_v4={1: RTT, 2: RTT, 3: RTT},
        region_latency_v6={1: RTT, 2: RTT, 3: RTT},
        global_v4=OURS,
        global_v6=OURS_V6,
    )
    assert lab.checker.last == report
    assert not lab.dials


def test_the_next_report_is_incremental_until_the_last_full_one_is_old() -> None:
    lab = Lab(map_of(*map(region, range(1, 9))))
    assert lab.report().is_full
    full = lab.sent
    lab.now = 30.0
    assert not lab.report().is_full
    assert lab.sent - full < full / 2
    assert lab.report(full=True).is_full
    lab.now = 30.0 + FULL_INTERVAL + 1
    assert lab.report().is_full
    lab.now += 1
    lab.checker.forget()
    assert lab.report().is_full


def test_a_thorough_report_waits_for_slow_regions() -> None:
    lab = Lab(map_of(*map(region, range(1, 9))))
    lab.hears = lambda server: not server.host.startswith(("192.0.8.", "2001:db8:8:"))
    assert lab.report().at < 0.1
    begun = lab.now
    assert lab.report(thorough=True).at - begun == pytest.approx(3.0)


def test_where_udp_is_blocked_relays_are_asked_by_https() -> None:
    lab = Lab()
    lab.hears = lambda server: False
    lab.web = lambda dial: None if dial.link.name == 2 else LATENCY_CHECK
    report = lab.report()
    assert (report.udp, report.ipv4) == (False, False)
    assert report.region_latency == {1: pytest.approx(RTT), 3: pytest.approx(RTT)}
    assert report.region_latency_v4 == {}
    assert report.mapping_varies_by_dest_ip is None
    assert report.at == pytest.approx(3.0 + 2 * RTT)
    dials = len(lab.dials)
    assert not lab.report().is_full
    assert len(lab.dials) == dials, "an incremental report asks nobody over HTTPS"
    assert lab.checker.last is not None
    assert lab.checker.last.region_latency == report.region_latency


def test_where_nothing_answers_the_report_is_empty_after_five_seconds_at_most() -> None:
    lab = Lab()
    lab.hears = lambda server: False
    report = lab.report()
    assert report.region_latency == {}
    assert report.at <= REPORT_TIMEOUT
    assert lab.report().is_full, "there is nothing to choose the fastest from"


def test_without_udp_no_stun_is_sent() -> None:
    lab = Lab()
    lab.web = lambda dial: LATENCY_CHECK
    report = lab.report(udp=False)
    assert lab.sent == 0
    assert report.region_latency == {number: pytest.approx(RTT) for number in (1, 2, 3)}
    assert report.at < 0.1


def test_a_captive_portal_is_found_while_stun_is_silent_and_asked_for_only_then() -> None:
    lab = Lab(map_of(region(1, node(1, can_port_80=True))))
    lab.web = lambda dial: PORTAL if dial.port == 80 else None
    report = lab.report()
    assert (report.udp, report.captive_portal) == (True, None)
    assert not lab.dials
    lab.hears = lambda server: False
    report = lab.report(full=True)
    assert (report.udp, report.captive_portal) == (False, True)
    assert [dial.port for dial in lab.dials if dial.port == 80] == [80]
    lab.hears = lambda server: True
    assert lab.report().is_full, "the portal may let us through by now"


def test_what_an_incremental_report_cannot_tell_stays() -> None:
    lab = Lab()
    assert lab.report().mapping_varies_by_dest_ip is False
    lab.hears = lambda server: server.host == "192.0.1.1"
    report = lab.report()
    assert not report.is_full
    assert report.region_latency == {1: pytest.approx(RTT)}
    assert report.mapping_varies_by_dest_ip is False


def test_a_report_that_is_begun_anew_gives_the_old_one_up() -> None:
    lab = Lab()
    lab.checker.begin(THREE, DUAL, 1, 0.0)
    runs, _ = lab.checker.transmit(0.0)
    report = lab.report(full=True)
    assert report.udp
    late = answers(runs)
    assert lab.checker.receive_stun(late, lab.now) == []
    assert lab.checker.dropped == {"stun unasked": len(late)}


def test_events_of_links_that_are_gone_are_counted() -> None:
    lab = Lab()
    lab.hears = lambda server: False
    lab.web = lambda dial: LATENCY_CHECK
    lab.report()
    lab.checker.receive(Received(lab.dials[0].link, b"x"), lab.now)
    assert lab.checker.dropped == {"late": 1}


def test_an_empty_map_makes_an_empty_report_at_once() -> None:
    lab = Lab(DerpMap())
    report = lab.report()
    assert (report.at, report.region_latency) == (0.0, {})

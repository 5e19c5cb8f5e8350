"""A mapping's life, against a router that answers: got, renewed, lost, given back. Deadline by deadline."""

from __future__ import annotations

import math
import random
from collections import Counter
from ipaddress import IPv4Address

import attrs
import pytest

from tests.clock import Clock
from tests.portmap.router import GATEWAY, HTTP_PORT, OUTSIDE, PLACE, Router, drain, new_mapper, run
from tsnet.base.addresses import UdpAddress
from tsnet.base.links import Closed, Datagrams, Link, OpenUdp
from tsnet.portmap.facts import Fact, Mapped, ServicesSeen, Unmapped
from tsnet.portmap.lease import Denial, Place, Protocol
from tsnet.portmap.mapper import FIRST_PAUSE, LONGEST_PAUSE, LOOK_AGAIN_AFTER, MAX_REASONS, RELEASE_PATIENCE, Mapper
from tsnet.portmap.probe import GRACE

EXTERNAL = UdpAddress(str(OUTSIDE), 6000)


def begun(router: Router, clock: Clock, *, upnp: bool = False, place: Place = PLACE) -> Mapper:
    """A mapper whose first attempt is over."""
    mapper = new_mapper(upnp=upnp)
    mapper.set_place(place, clock.now)
    run(mapper, router, clock)
    return mapper


def news(told: list[Fact]) -> list[Fact]:
    return [fact for fact in told if not isinstance(fact, ServicesSeen)]


def test_nothing_is_sent_before_there_is_a_place_and_nothing_is_due() -> None:
    mapper = new_mapper(upnp=True)
    assert mapper.transmit(0.0) == []
    assert mapper.deadline() == math.inf
    assert mapper.mapped is None


@pytest.mark.parametrize(
    ("speaks", "protocol", "after"),
    [
        ("pmp", Protocol.NAT_PMP, 0.0),
        ("pmp pcp", Protocol.NAT_PMP, 0.0),
        ("pcp", Protocol.PCP, GRACE),
        ("upnp", Protocol.UPNP, GRACE),
        ("pmp pcp upnp", Protocol.NAT_PMP, 0.0),
        ("pcp upnp", Protocol.PCP, GRACE),
    ],
)
def test_a_mapping_by_the_first_protocol_that_is_there(speaks: str, protocol: Protocol, after: float) -> None:
    router, clock, mapper = Router(speaks), Clock(), new_mapper(upnp=True)
    mapper.set_place(PLACE, clock.now)
    told = run(mapper, router, clock)
    [mapped] = news(told)
    assert isinstance(mapped, Mapped)
    assert (mapped.protocol, mapped.external) == (protocol, mapper.mapped)
    assert clock.now == pytest.approx(1000.0 + after)
    assert len(router.mappings) == 1
    assert router.open == set()
    assert mapper.deadline() == pytest.approx(clock.now + 3600)


def test_upnp_is_off_unless_it_is_switched_on() -> None:
    router, clock = Router("upnp"), Clock()
    mapper = begun(router, clock)
    assert mapper.mapped is None
    assert not any("ssdp" in asked or "http" in asked for asked in router.asked)
    mapper.set_upnp(True, clock.now)
    assert news(run(mapper, router, clock))
    mapper.set_upnp(False, clock.now)
    [lost] = news(run(mapper, router, clock))
    assert isinstance(lost, Unmapped)
    assert router.mappings == {}
    assert mapper.services.upnp is None


@pytest.mark.parametrize("speaks", ["pmp", "pcp", "upnp"])
def test_a_day_is_a_renewal_an_hour_and_no_news(speaks: str) -> None:
    router, clock = Router(speaks), Clock()
    mapper = begun(router, clock, upnp=True)
    external, asked, woken = mapper.mapped, len(router.asked), 0
    end = clock.now + 86_400
    while mapper.deadline() <= end:
        clock.advance_to(mapper.deadline())
        woken += 1
        assert drain(mapper, router, clock.now) == []
    assert (woken, mapper.mapped) == (24, external)
    assert len(router.asked) - asked == 24 * (1 if speaks == "pcp" else 2)
    assert not mapper.dropped.keys() - {"late", "malformed"}


def test_a_short_lease_is_renewed_at_its_half() -> None:
    router, clock = Router("pcp", lifetime=120), Clock()
    mapper = begun(router, clock)
    assert mapper.deadline() == pytest.approx(clock.now + 60)


def test_an_address_that_changes_is_told() -> None:
    router, clock = Router("pmp"), Clock()
    mapper = begun(router, clock)
    router.outside = "203.0.113.77"
    assert run(mapper, router, clock, until=clock.now + 4000) == [
        Mapped(UdpAddress("203.0.113.77", 6000), Protocol.NAT_PMP)
    ]


@pytest.mark.parametrize("speaks", ["pmp", "pcp", "upnp"])
def test_a_router_that_falls_silent_keeps_the_mapping_until_the_lease_is_over(speaks: str) -> None:
    router, clock = Router(speaks), Clock()
    mapper = begun(router, clock, upnp=True)
    external, since = mapper.mapped, clock.now
    assert external is not None
    router.is_silent = True
    assert news(run(mapper, router, clock, until=since + 7199)) == []
    assert mapper.mapped == external
    told = run(mapper, router, clock, until=since + 7230)
    assert news(told) == [Unmapped(external, "the lease is over")]
    router.is_silent = False
    assert news(run(mapper, router, clock, until=clock.now + 7200)) == [Mapped(external, mapper_protocol(speaks))]


def mapper_protocol(speaks: str) -> Protocol:
    return {"pmp": Protocol.NAT_PMP, "pcp": Protocol.PCP, "upnp": Protocol.UPNP}[speaks]


def test_silence_in_the_middle_costs_a_few_requests_and_no_mapping() -> None:
    router, clock = Router("pcp"), Clock()
    mapper = begun(router, clock)
    since = clock.now
    router.is_silent = True
    run(mapper, router, clock, until=since + 5500)
    router.is_silent = False
    assert run(mapper, router, clock, until=since + 8000) == []
    assert mapper.mapped == EXTERNAL


@pytest.mark.parametrize("speaks", ["pmp", "pcp"])
def test_a_router_that_has_restarted_is_asked_anew_at_once_and_for_the_same_port(speaks: str) -> None:
    router, clock = Router(speaks), Clock()
    mapper = begun(router, clock)
    clock.advance(1000)
    router.restart(clock.now)
    told = news(run(mapper, router, clock, until=clock.now + 3000))
    assert told == [Unmapped(EXTERNAL, "the router has restarted"), Mapped(EXTERNAL, mapper_protocol(speaks))]
    assert len(router.mappings) == 1


def test_services_of_upnp_that_have_moved_are_found_again() -> None:
    router, clock = Router("upnp"), Clock()
    mapper = begun(router, clock, upnp=True)
    external = mapper.mapped
    clock.advance(1000)
    router.restart(clock.now)
    router.location = router.location.replace(str(HTTP_PORT), "5001")
    assert run(mapper, router, clock, until=clock.now + 3000) == []
    assert mapper.mapped == external
    assert list(router.mappings) == [("upnp", PLACE.port)]


def test_a_refusal_of_a_renewal_loses_the_mapping() -> None:
    router, clock = Router("pcp"), Clock()
    mapper = begun(router, clock)
    router.refuses["pcp"] = 2
    assert news(run(mapper, router, clock, until=clock.now + 3601)) == [Unmapped(EXTERNAL, "not authorised")]
    assert mapper.deadline() >= clock.now + 1790  # the router has said for how long


@pytest.mark.parametrize(
    "place",
    [
        attrs.evolve(PLACE, port=41642),
        None,
    ],
)
@pytest.mark.parametrize("speaks", ["pmp", "pcp", "upnp"])
def test_another_place_gives_the_mapping_back(speaks: str, place: Place | None) -> None:
    router, clock = Router(speaks), Clock()
    mapper = begun(router, clock, upnp=True)
    external = mapper.mapped
    mapper.set_place(PLACE, clock.now)
    assert drain(mapper, router, clock.now) == []
    mapper.set_place(place, clock.now)
    told = news(run(mapper, router, clock))
    assert told[0] == Unmapped(external, "the network has changed") if external else False
    assert [port for _protocol, port in router.mappings] == ([] if place is None else [place.port])
    assert router.open == set()
    assert (mapper.mapped is None) is (place is None)


def test_another_router_is_asked_for_any_port_and_nothing_is_known_of_it() -> None:
    router, clock = Router("pcp"), Clock()
    mapper = begun(router, clock)
    mapper.set_place(attrs.evolve(PLACE, gateway=IPv4Address("192.168.9.1")), clock.now)
    [lost, unknown] = mapper.take_facts()
    assert (lost, unknown) == (Unmapped(EXTERNAL, "the network has changed"), ServicesSeen())
    effects = mapper.transmit(clock.now)
    asked = [effect.address for effect in effects if isinstance(effect, Datagrams)]
    assert asked == [UdpAddress(host, 5351) for host in ("192.168.7.1", "192.168.9.1", "192.168.9.1")]


def test_nobody_answers_each_pause_is_longer_and_the_longest_is_an_hour() -> None:
    router, clock = Router(""), Clock()
    mapper = begun(router, clock)
    pauses = []
    for _ in range(12):
        pauses.append(mapper.deadline() - clock.now)
        clock.advance_to(mapper.deadline())
        told = run(mapper, router, clock)
        assert told == []
    assert FIRST_PAUSE / 2 <= pauses[0] <= FIRST_PAUSE
    assert all(pause <= LONGEST_PAUSE for pause in pauses)
    assert pauses[-1] >= LONGEST_PAUSE / 2
    assert len(router.asked) == 13 * 6
    assert mapper.services == ServicesSeen(nat_pmp=False, pcp=False)


def test_when_the_network_stirs_a_mapping_is_looked_after_but_not_too_often() -> None:
    router, clock = Router("pmp"), Clock()
    mapper = begun(router, clock)
    asked = len(router.asked)
    for _ in range(610):
        clock.advance(0.1)
        mapper.look_again(clock.now)
        drain(mapper, router, clock.now)
    assert (len(router.asked) - asked) / 2 == 60 / LOOK_AGAIN_AFTER


def test_the_end_gives_the_mapping_back_at_once() -> None:
    for speaks in ("pmp", "pcp", "upnp"):
        router, clock = Router(speaks), Clock()
        mapper = begun(router, clock, upnp=True)
        assert mapper.may_end(clock.now) is (speaks != "upnp")
        mapper.release(clock.now)
        assert mapper.may_end(clock.now) is (speaks != "upnp")
        drain(mapper, router, clock.now)
        assert mapper.may_end(clock.now)
        assert (router.mappings, router.open, mapper.deadline()) == ({}, set(), math.inf)


def test_a_router_that_does_not_answer_keeps_nobody_waiting_at_the_end() -> None:
    router, clock = Router("upnp"), Clock()
    mapper = begun(router, clock, upnp=True)
    router.is_silent = True
    mapper.release(clock.now)
    drain(mapper, router, clock.now)
    assert not mapper.may_end(clock.now)
    assert mapper.deadline() == clock.now + RELEASE_PATIENCE
    clock.advance(RELEASE_PATIENCE)
    assert mapper.may_end(clock.now)
    drain(mapper, router, clock.now)
    assert (router.open, mapper.deadline()) == (set(), math.inf)


def test_a_datagram_that_gives_back_needs_no_answer_and_no_second_turn() -> None:
    router, clock = Router("pcp"), Clock()
    mapper = begun(router, clock)
    mapper.release(clock.now)
    effects = mapper.transmit(clock.now)
    assert [type(effect).__name__ for effect in effects] == ["OpenUdp", "Datagrams", "Close"]


def test_after_a_sleep_longer_than_the_lease_it_begins_anew() -> None:
    router, clock = Router("pmp"), Clock()
    mapper = begun(router, clock)
    clock.advance(50_000)
    told = news(drain(mapper, router, clock.now))
    assert told == [Unmapped(EXTERNAL, "the lease is over"), Mapped(EXTERNAL, Protocol.NAT_PMP)]


def test_events_of_links_that_are_gone_are_counted() -> None:
    router, clock = Router("pmp"), Clock()
    mapper = begun(router, clock)
    mapper.receive(Closed(Link("portmap", "", 1), "eof"), clock.now)
    assert mapper.dropped == {"late": 1}


def test_without_a_udp_port_it_tries_again_later() -> None:
    clock, mapper = Clock(), new_mapper()
    mapper.set_place(PLACE, clock.now)
    opened = mapper.transmit(clock.now)[0]
    assert isinstance(opened, OpenUdp)
    mapper.receive(Closed(opened.link, "no descriptor"), clock.now)
    assert mapper.transmit(clock.now) == []
    assert FIRST_PAUSE / 2 <= mapper.deadline() - clock.now <= FIRST_PAUSE
    assert mapper.dropped == {"no UDP port: no descriptor": 1}


def test_a_mapping_outlives_a_renewal_for_which_there_is_no_udp_port() -> None:
    router, clock = Router("pmp"), Clock()
    mapper = begun(router, clock)
    clock.advance_to(mapper.deadline())
    opened = mapper.transmit(clock.now)[0]
    assert isinstance(opened, OpenUdp)
    mapper.receive(Closed(opened.link, "no descriptor"), clock.now)
    assert (mapper.transmit(clock.now), mapper.take_facts(), mapper.mapped) == ([], [], EXTERNAL)
    assert mapper.deadline() == pytest.approx(clock.now + 1800)
    assert run(mapper, router, clock, until=clock.now + 7200) == []
    assert mapper.mapped == EXTERNAL


# --- routers that mean it badly ---------------------------------------------------------------------------------

HOSTILE_ADDRESSES = ("0.0.0.0", "127.0.0.1", "10.0.0.1", "192.168.7.30", "100.64.3.4", "224.0.0.1", "255.255.255.255")


@pytest.mark.parametrize("speaks", ["pmp", "pcp", "upnp"])
@pytest.mark.parametrize("outside", HOSTILE_ADDRESSES)
def test_an_external_address_that_is_none_is_not_told_and_not_kept(outside: str, speaks: str) -> None:
    router, clock = Router(speaks, outside=outside), Clock()
    mapper, before = new_mapper(upnp=True), clock.now
    mapper.set_place(PLACE, before)
    assert news(run(mapper, router, clock)) == []
    assert (mapper.mapped, router.mappings) == (None, {})
    assert [reason for reason in mapper.dropped if reason.startswith("external address")]


@pytest.mark.parametrize("speaks", ["pmp", "pcp", "upnp"])
def test_port_0_is_not_told(speaks: str) -> None:
    router, clock = Router(speaks), Clock()
    at = {"pmp": 10, "pcp": 42}.get(speaks, 0)
    router.tamper = lambda reply: reply[:at] + b"\0\0" + reply[at + 2 :] if len(reply) in (16, 60) else reply
    router.pages["AddAnyPortMapping"] = (
        b"<Envelope><Body><AddAnyPortMappingResponse><NewReservedPort>0</NewReservedPort>"
        b"</AddAnyPortMappingResponse></Body></Envelope>"
    )
    mapper = begun(router, clock, upnp=True)
    assert mapper.mapped is None
    assert mapper.dropped["external port 0"] == 1


@pytest.mark.parametrize("speaks", ["pmp", "pcp"])
def test_a_router_whose_clock_runs_backwards_costs_a_bounded_number_of_datagrams(speaks: str) -> None:
    """Each reply looks like one after a restart."""
    router, clock = Router(speaks, lifetime=60), Clock()
    ticks = [2**32 - 1]

    def older(reply: bytes) -> bytes:
        ticks[0] -= 10_000
        at = 8 if reply[0] == 2 else 4
        return reply[:at] + ticks[0].to_bytes(4, "big") + reply[at + 4 :]

    router.tamper = older
    mapper = begun(router, clock)
    for _ in range(3600):
        clock.advance(1)
        drain(mapper, router, clock.now)
    assert len(router.asked) < 3600 / 30 * 10


@pytest.mark.parametrize("seed", range(5))
def test_a_hostile_router_gets_no_more_than_the_timers_send(seed: int) -> None:
    """Random damage to each reply: over an hour, what is sent stays within a few attempts."""
    chance = random.Random(seed)
    router, clock = Router("pmp pcp upnp", lifetime=120), Clock()

    def damaged(reply: bytes) -> bytes:
        data = bytearray(reply)
        for _ in range(chance.randrange(3)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        return bytes(data[: chance.randrange(len(data) + 1)]) if chance.random() < 0.3 else bytes(data)

    router.tamper = damaged
    mapper = begun(router, clock, upnp=True)
    run(mapper, router, clock, until=clock.now + 3600)
    assert router.received < 3600 / 30 * 400
    assert sum(mapper.dropped.values()) > 0


def test_an_hour_of_a_flood_of_replies_that_nobody_asked_for_sends_nothing_and_keeps_nothing() -> None:
    router, clock = Router("pmp"), Clock()
    mapper = begun(router, clock)
    link = Link("portmap", "", 1)
    for _ in range(10_000):
        mapper.receive(Datagrams(link, UdpAddress(str(GATEWAY), 5351), [bytes(1100)]), clock.now)
    assert mapper.transmit(clock.now) == []
    assert mapper.dropped == {"late": 10_000}


def test_reasons_that_a_router_invents_are_bounded() -> None:
    mapper = new_mapper()
    mapper.set_place(PLACE, 0.0)
    mapper.transmit(0.0)
    attempt = mapper._attempt
    assert attempt is not None
    for number in range(10 * MAX_REASONS):
        mapper._denied(Denial(f"result {number}"), attempt, float(number))
    assert len(mapper.dropped) == MAX_REASONS + 1
    assert mapper.dropped["other reasons"] == 9 * MAX_REASONS


def test_the_trace_tells_a_mappings_life() -> None:
    told: list[str] = []
    router, clock = Router("pmp"), Clock()
    mapper = Mapper(random.Random(1).randbytes, trace=lambda event, /, **fields: told.append(event))
    mapper.set_place(PLACE, clock.now)
    run(mapper, router, clock)
    mapper.release(clock.now)
    assert Counter(told) == {"port mapping tried": 1, "port mapped": 1, "port mapping lost": 1}

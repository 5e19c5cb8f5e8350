"""Which protocols a router speaks."""

from __future__ import annotations

import math

import pytest

from tests.portmap.router import GATEWAY, PLACE
from tsnet.base.malformed import MalformedError
from tsnet.portmap.lease import Protocol
from tsnet.portmap.probe import GRACE, MAX_LOCATIONS, PATIENCE, Probe
from tsnet.portmap.ssdp import Discovered

PMP, PCP, UPNP = Protocol


def test_what_is_not_answered_is_asked_three_times() -> None:
    probe, now, asked = Probe(PLACE, upnp=True, now=10.0), 10.0, []
    while probe.deadline() < math.inf:
        asked += [(now, address.host, address.port, len(datagrams)) for address, datagrams in probe.transmit(now)]
        if now == 10.0:
            probe.heard(PMP, there=True, now=now)
        assert probe.deadline() > now
        now = probe.deadline()
    router = str(GATEWAY)
    first = [(10.0, router, 5351, 1), (10.0, router, 5351, 1), (10.0, router, 1900, 2)]
    assert asked == [*first, *((at, router, *of) for at in (10.25, 10.5) for of in ((5351, 1), (1900, 2)))]
    assert probe.speaks == {PMP: True, PCP: False, UPNP: False}


def test_upnp_is_not_asked_unless_it_is_on() -> None:
    probe = Probe(PLACE, upnp=False, now=0.0)
    assert len(probe.transmit(0.0)) == 2
    probe.heard(UPNP, there=True, now=0.0)
    assert probe.speaks == {PMP: None, PCP: None}


def test_the_first_answer_counts() -> None:
    probe = Probe(PLACE, upnp=False, now=0.0)
    probe.heard(PCP, there=False, now=0.0)
    probe.heard(PCP, there=True, now=0.0)
    assert probe.speaks[PCP] is False


def test_a_protocol_waits_a_moment_for_a_better_one() -> None:
    probe = Probe(PLACE, upnp=True, now=0.0)
    probe.heard(PCP, there=True, now=0.1)
    assert probe.may_begin(PMP, 0.1)
    assert not probe.may_begin(PCP, 0.1)
    assert probe.ready_at == pytest.approx(0.1 + GRACE)
    assert probe.may_begin(PCP, probe.ready_at)
    probe.heard(PMP, there=False, now=0.11)
    assert probe.may_begin(PCP, 0.11)
    assert probe.may_begin(UPNP, 0.11)


def test_descriptions_are_the_routers_own_and_few() -> None:
    probe = Probe(PLACE, upnp=True, now=0.0)
    for elsewhere in ("http://192.168.7.99/", "http://127.0.0.1/x", "https://192.168.7.1/", "x"):
        with pytest.raises(MalformedError):
            probe.found(Discovered(elsewhere), 0.0)
    assert probe.speaks[UPNP] is None
    for number in [*range(MAX_LOCATIONS), 0]:
        probe.found(Discovered(f"http://{GATEWAY}/{number}"), 0.0)
    with pytest.raises(MalformedError):
        probe.found(Discovered(f"http://{GATEWAY}/more"), 0.0)
    assert probe.speaks[UPNP]
    assert len(probe.locations) == MAX_LOCATIONS


def test_it_is_over_in_a_second() -> None:
    probe = Probe(PLACE, upnp=True, now=0.0)
    assert probe.transmit(PATIENCE) == []
    assert not any(probe.speaks.values())
    assert probe.deadline() == math.inf

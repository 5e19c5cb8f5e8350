"""Latencies over HTTPS where UDP is blocked: the request is timed, the dial is not."""

from __future__ import annotations

import itertools
import math

from tests.netcheck.regions import node, region
from tsnet.base.links import Close, Closed, Data, Link, Open, Opened, Received, Tls
from tsnet.netcheck.https import AT_ONCE, PATH, HttpsProbes

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def probes() -> HttpsProbes:
    return HttpsProbes(use_http=False, generations=itertools.count(1))


def opened(some: HttpsProbes, now: float) -> list[Open]:
    return [effect for effect in some.transmit(now) if isinstance(effect, Open)]


def request(some: HttpsProbes, link: Link, now: float) -> bytes:
    assert some.receive(Opened(link), now) is None
    [data] = [effect for effect in some.transmit(now) if isinstance(effect, Data)]
    return data.data


def test_the_time_of_the_request_is_the_latency() -> None:
    some = probes()
    some.begin([region(1)], 0.0, 5.0)
    [dial] = opened(some, 0.0)
    assert (dial.hosts, dial.port, dial.tls) == (("192.0.1.1", "2001:db8:1::1"), 443, Tls("derp1a.example"))
    assert dial.timeout == 5.0
    sent = request(some, dial.link, 1.0)
    assert sent.startswith(f"GET {PATH} HTTP/1.1\r\n".encode())
    assert b"Host: derp1a.example" in sent
    assert some.receive(Received(dial.link, OK[:20]), 1.03) is None
    answered = some.receive(Received(dial.link, OK[20:]), 1.04)
    assert answered is not None
    assert (answered.region, round(answered.latency, 6)) == (1, 0.04)
    assert some.transmit(1.04) == [Close(dial.link)]
    assert not some.is_under_way
    assert some.deadline() == math.inf


def test_a_node_that_does_not_answer_gives_way_to_the_next() -> None:
    some = probes()
    some.begin([region(1, node(1), node(1, "b", stun_only=True), node(1, "c"), node(1, "d"))], 0.0, 5.0)
    [dial] = opened(some, 0.0)
    some.receive(Closed(dial.link, "refused"), 0.1)
    [dial] = opened(some, 0.1)
    assert dial.hosts[0] == "192.0.1.3"
    request(some, dial.link, 0.2)
    some.receive(Received(dial.link, b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"), 0.3)
    [dial] = opened(some, 0.3)
    assert dial.hosts[0] == "192.0.1.4"
    request(some, dial.link, 0.4)
    some.receive(Received(dial.link, b"220 mail.example ESMTP\r\n\r\n"), 0.5)
    assert some.failed == {"refused": 1, "status 403": 1, "malformed": 1}
    assert not some.is_under_way


def test_eight_are_asked_at_a_time_and_when_the_time_is_up_no_more() -> None:
    some = probes()
    some.begin(map(region, range(1, 21)), 0.0, 5.0)
    dials = opened(some, 0.0)
    assert len(dials) == AT_ONCE
    assert some.deadline() == 5.0
    some.receive(Closed(dials[0].link, "timeout"), 1.0)
    assert [dial.link.name for dial in opened(some, 1.0)] == [AT_ONCE + 1]
    closed = some.transmit(5.0)
    assert len(closed) == AT_ONCE
    assert all(isinstance(effect, Close) for effect in closed)
    assert not some.owns(dials[1].link)
    assert some.deadline() == math.inf


def test_a_region_without_a_relay_is_not_asked() -> None:
    some = probes()
    some.begin([region(1, node(1, stun_only=True)), region(2, node(2, ipv4="none", ipv6="none"))], 0.0, 5.0)
    assert some.transmit(0.0) == []
    assert some.deadline() == math.inf


def test_a_server_that_never_ends_its_answer_is_left() -> None:
    some = probes()
    some.begin([region(1)], 0.0, 5.0)
    [dial] = opened(some, 0.0)
    request(some, dial.link, 0.1)
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    some.receive(Received(dial.link, head), 0.2)
    for _ in range(100):
        if some.owns(dial.link):
            some.receive(Received(dial.link, bytes(1000)), 0.3)
    assert some.failed == {"malformed": 1}

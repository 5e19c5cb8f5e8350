"""A captive portal is told from a relay, and from nothing."""

from __future__ import annotations

import itertools

import pytest

from tests.netcheck.regions import node, region
from tsnet.base.links import Close, Closed, Data, Link, Open, Opened, Received
from tsnet.netcheck.captive import MAX_ASKED, TIMEOUT, CaptiveCheck, questions

RELAY = region(1, node(1, can_port_80=True))
GENUINE = "HTTP/1.1 204 No Content\r\nX-Tailscale-Response: response ts_192.0.1.1\r\n\r\n"


def check() -> CaptiveCheck:
    links = itertools.count(1)
    return CaptiveCheck(lambda: Link("netcheck", "captive portal", next(links)))


def begun(some: CaptiveCheck, *regions: object) -> list[Open]:
    some.begin(regions or [RELAY], 1, "stamp", 0.0)  # type: ignore[arg-type]
    return [effect for effect in some.transmit(0.0) if isinstance(effect, Open)]


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (GENUINE, False),
        ("HTTP/1.1 204 No Content\r\n\r\n", True),
        ("HTTP/1.1 204 No Content\r\nX-Tailscale-Response: response ts_192.0.1.2\r\n\r\n", True),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHotel", True),
        ("HTTP/1.1 302 Found\r\nLocation: http://portal.example/\r\nContent-Length: 0\r\n\r\n", True),
        ("220 mail.example\r\n", None),
    ],
)
def test_what_an_answer_says(answer: str, found: bool | None) -> None:
    some = check()
    [dial] = begun(some)
    assert (dial.hosts, dial.port, dial.tls, dial.direct) == (("192.0.1.1",), 80, None, True)
    some.receive(Opened(dial.link), 0.1)
    [data] = [effect for effect in some.transmit(0.1) if isinstance(effect, Data)]
    assert data.data.startswith(b"GET /generate_204?t=stamp HTTP/1.1\r\n")
    assert b"X-Tailscale-Challenge: ts_192.0.1.1" in data.data
    some.receive(Received(dial.link, answer.encode()), 0.2)
    some.receive(Closed(dial.link, "eof"), 0.2) if some.owns(dial.link) else None
    while some.deadline() <= 0.2:
        some.transmit(0.2)
    assert some.found is found
    assert not some.is_under_way


@pytest.mark.parametrize("reason", ["refused", "timeout", ""])
def test_silence_says_nothing(reason: str) -> None:
    some = check()
    [dial] = begun(some)
    if reason:
        some.receive(Closed(dial.link, reason), 0.1)
    else:
        some.transmit(TIMEOUT)
    assert some.found is None
    assert not some.is_under_way


def test_one_portal_is_enough() -> None:
    some = check()
    first, second = begun(some, RELAY, region(2, node(2, can_port_80=True)))
    for dial in (first, second):
        some.receive(Opened(dial.link), 0.1)
    some.transmit(0.1)
    some.receive(Received(first.link, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), 0.2)
    assert some.found
    assert not some.is_under_way
    assert Close(second.link) in some.transmit(0.2)


def test_whom_to_ask() -> None:
    regions = [
        region(1, node(1), node(1, "b", can_port_80=True)),
        region(2, node(2, can_port_80=True)),
        region(3, node(3, can_port_80=True), no_measure_no_home=True),
        region(4, node(4, can_port_80=True, ipv4="")),
        region(5, node(5, can_port_80=True, ipv4="none")),
    ]
    assert questions(regions, 2) == [
        ("http://192.0.2.1/generate_204", "ts_192.0.2.1"),
        ("http://192.0.1.2/generate_204", "ts_192.0.1.2"),
    ]
    many = [region(number, node(number, can_port_80=True)) for number in range(1, 20)]
    assert len(questions(many, 0)) == MAX_ASKED

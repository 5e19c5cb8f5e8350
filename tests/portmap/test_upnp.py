"""A mapping by UPnP: the calls, what a router answers to them, and that nobody but the router is called."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import pytest

from tests.clock import Clock
from tests.portmap.router import (
    DESCRIPTION,
    GATEWAY,
    HTTP_PORT,
    KIND,
    PLACE,
    Router,
    drain,
    new_mapper,
    run,
    soap_fault,
)
from tsnet.base.links import Closed, Event, Link
from tsnet.portmap.mapper import Mapper
from tsnet.portmap.probe import GRACE
from tsnet.portmap.upnp import MAX_ADDS

ROUTER = str(GATEWAY)


def begun(router: Router, clock: Clock | None = None) -> Mapper:
    mapper, clock = new_mapper(upnp=True), clock or Clock()
    mapper.set_place(PLACE, clock.now)
    run(mapper, router, clock)
    assert {host for host, _port in router.dialled} <= {ROUTER}
    assert router.open == set()
    return mapper


def called(router: Router) -> list[str]:
    return [asked.removeprefix("http ") for asked in router.asked if asked.startswith("http ")]


def test_the_calls_of_a_mapping() -> None:
    router = Router("upnp")
    mapper = begun(router)
    assert called(router) == ["/rootDesc.xml", "GetExternalIPAddress", "AddAnyPortMapping"]
    assert mapper.mapped is not None
    assert router.mappings == {("upnp", PLACE.port): mapper.mapped.port}
    assert mapper.mapped.port >= 1024


def older(kind: str) -> bytes:
    return DESCRIPTION.replace(KIND, kind).encode()


@pytest.mark.parametrize(
    "kind",
    ["urn:schemas-upnp-org:service:WANIPConnection:1", "urn:schemas-upnp-org:service:WANPPPConnection:1"],
)
def test_an_older_service_does_not_choose_the_port(kind: str) -> None:
    router = Router("upnp")
    router.pages["/rootDesc.xml"] = older(kind)
    assert begun(router).mapped is not None
    assert called(router)[-1] == "AddPortMapping"


def test_a_port_that_is_taken_is_replaced() -> None:
    router = Router("upnp")
    router.pages["/rootDesc.xml"] = older("urn:schemas-upnp-org:service:WANIPConnection:1")
    first = begun(router).mapped
    assert first is not None
    router.asked.clear()
    router.taken.add(first.port)
    second = begun(router).mapped
    assert called(router).count("AddPortMapping") == 2
    assert second is not None
    assert second.port != first.port


def test_a_router_that_maps_for_ever_only_is_asked_for_that_and_gets_it_back() -> None:
    router, clock = Router("upnp permanent"), Clock()
    mapper = begun(router, clock)
    assert called(router).count("AddAnyPortMapping") == 2
    assert mapper.mapped is not None
    assert mapper.deadline() == pytest.approx(clock.now + 3600)
    mapper.release(clock.now)
    run(mapper, router, clock, until=clock.now + 1)
    assert router.mappings == {}


def test_a_service_that_does_not_know_its_own_action_is_called_by_the_older_one() -> None:
    router = Router("upnp")
    router.pages["AddAnyPortMapping"] = (500, soap_fault(401).encode())
    assert begun(router).mapped is not None
    assert called(router)[-2:] == ["AddAnyPortMapping", "AddPortMapping"]


def test_the_next_service_is_called_if_one_has_no_address() -> None:
    router = Router("upnp")
    second = "<service><serviceType>urn:schemas-upnp-org:service:WANPPPConnection:1</serviceType>"
    page = DESCRIPTION.replace("</service>\n</serviceList></device></deviceList>", "</service>" + second + (
        "<controlURL>/ctl/PPP</controlURL></service></serviceList></device></deviceList>"
    ))  # fmt: skip
    router.pages["/rootDesc.xml"] = page.encode()
    router.outside = "10.0.0.1"
    assert begun(router).mapped is None
    assert called(router).count("GetExternalIPAddress") == 2
    assert not any(call.startswith("Add") for call in called(router))


@pytest.mark.parametrize("code", [501, 606, 714, 402, 718, 725])
def test_a_router_that_refuses_for_ever_is_asked_a_few_times(code: int) -> None:
    router = Router("upnp")
    for action in ("AddAnyPortMapping", "AddPortMapping"):
        router.pages[action] = (500, soap_fault(code).encode())
    mapper = begun(router)
    assert mapper.mapped is None
    assert sum(call.startswith("Add") for call in called(router)) <= MAX_ADDS
    assert router.mappings == {}


ELSEWHERE = [
    "http://127.0.0.1:631/",
    "http://192.168.7.99:5000/rootDesc.xml",
    "http://169.254.169.254/latest/meta-data/iam",
    "http://evil.example/rootDesc.xml",
    f"http://{ROUTER}@127.0.0.1/",
    f"http://{ROUTER}.evil.example/",
    f"https://{ROUTER}/rootDesc.xml",
    "http://[::1]:5000/",
    "file:///etc/passwd",
]


@pytest.mark.parametrize("location", ELSEWHERE)
def test_a_location_elsewhere_is_never_asked(location: str) -> None:
    """TS-2023-006."""
    router = Router("upnp")
    router.location = location
    mapper = begun(router)
    assert (mapper.mapped, router.dialled) == (None, [])
    assert mapper.dropped["malformed"] > 0


@pytest.mark.parametrize("location", ELSEWHERE)
@pytest.mark.parametrize("where", ["controlURL", "URLBase"])
def test_a_service_elsewhere_is_never_called(location: str, where: str) -> None:
    router = Router("upnp")
    page = DESCRIPTION.replace("/ctl/IPConn", location)
    if where == "URLBase":
        page = DESCRIPTION.replace("<device>", f"<URLBase>{location}</URLBase><device>", 1)
    router.pages["/rootDesc.xml"] = page.encode()
    assert begun(router).mapped is None
    assert router.dialled == [(ROUTER, HTTP_PORT)]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("page", ["/rootDesc.xml", "GetExternalIPAddress", "AddAnyPortMapping"])
def test_a_redirect_is_not_followed(page: str, status: int) -> None:
    router = Router("upnp")
    router.pages[page] = (status, b"")
    mapper = begun(router)
    assert mapper.mapped is None
    assert set(router.dialled) == {(ROUTER, HTTP_PORT)}


@pytest.mark.parametrize("page", ["/rootDesc.xml", "GetExternalIPAddress", "AddAnyPortMapping"])
@pytest.mark.parametrize(
    "body",
    [
        b"<a>" + b"<b>x</b>" * 200_000 + b"</a>",
        b'<!DOCTYPE a [<!ENTITY b "' + b"x" * 1000 + b'">]><a>' + b"&b;" * 1000 + b"</a>",
        b"\0" * 1_000_000,
    ],
    ids=["large", "entities", "zeros"],
)
def test_bombs_come_to_nothing_and_take_no_memory(page: str, body: bytes) -> None:
    router = Router("upnp")
    router.pages[page] = body
    tracemalloc.start()
    mapper = begun(router)
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert mapper.mapped is None
    assert peak < 3 * len(body) + (4 << 20)  # the router of this test holds it twice itself
    assert any(reason.startswith(("HTTP", "XML")) for reason in mapper.dropped)


def test_a_router_that_never_ends_its_answer_is_left_in_time() -> None:
    router, clock = Router("upnp"), Clock()
    mapper = new_mapper(upnp=True)
    mapper.set_place(PLACE, clock.now)
    take = router._http
    router._http = lambda link, data: iter(list(take(link, data))[:0])  # type: ignore[method-assign]
    run(mapper, router, clock)
    assert clock.now <= 1000.0 + 8.0
    assert mapper.mapped is None
    assert router.open == set()
    assert mapper.deadline() > clock.now + 20


@pytest.mark.parametrize("ends", ["it is given up", "the UDP port is lost", "the place is another", "the node ends"])
def test_a_mapping_that_is_made_without_an_answer_is_deleted(ends: str) -> None:
    router, clock = Router("upnp"), Clock()
    mapper = new_mapper(upnp=True)
    mapper.set_place(PLACE, clock.now)
    answer = router._http

    def answer_all_but_adding(link: Link, data: bytes) -> Iterator[Event]:
        events = list(answer(link, data))
        return iter([] if router.asked[-1].startswith("http Add") else events)

    router._http = answer_all_but_adding  # type: ignore[method-assign]
    drain(mapper, router, clock.now)
    clock.advance(GRACE)
    drain(mapper, router, clock.now)
    assert list(router.mappings) == [("upnp", PLACE.port)]
    if ends == "the UDP port is lost":
        mapper.receive(Closed(min(router.open), "address lost"), clock.now)
        router.open.remove(min(router.open))
    elif ends == "the place is another":
        mapper.set_place(None, clock.now)
    elif ends == "the node ends":
        mapper.release(clock.now)
        assert not mapper.may_end(clock.now)
    run(mapper, router, clock, until=clock.now + 9)
    assert router.mappings == {}
    assert router.asked[-1] == "http DeletePortMapping"
    assert (router.open, mapper.mapped) == (set(), None)

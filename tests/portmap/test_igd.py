"""Descriptions: which services map ports, and that none of them is elsewhere."""

from __future__ import annotations

import contextlib
import random

import pytest

from tests.fuzzing import mutated
from tests.portmap.router import DESCRIPTION, KIND
from tsnet.base.malformed import MalformedError
from tsnet.http1.url import Url
from tsnet.portmap.igd import KINDS, MAX_SERVICES, WanService, decode_description

LOCATION = Url.parse("http://192.168.7.1:5000/desc/root.xml")
ROUTER = "http://192.168.7.1:5000"


def described(*services: tuple[str, str], base: str = "") -> bytes:
    listed = "".join(
        f"<service><serviceType>{kind}</serviceType><controlURL>{control}</controlURL></service>"
        for kind, control in services
    )
    inner = f"<device><serviceList>{listed}</serviceList></device>"
    return f"<root>{f'<URLBase>{base}</URLBase>' if base else ''}{inner}</root>".encode()


def test_a_whole_description() -> None:
    [service] = decode_description(DESCRIPTION.encode(), LOCATION)
    assert service == WanService(KIND, f"{ROUTER}/ctl/IPConn")
    assert service.chooses_port


def test_the_best_kind_comes_first() -> None:
    found = decode_description(described(*((kind, f"/{n}") for n, kind in reversed(list(enumerate(KINDS))))), LOCATION)
    assert [service.kind for service in found] == list(KINDS[:MAX_SERVICES])
    assert [service.chooses_port for service in found] == [True, False, False, False]


@pytest.mark.parametrize(
    ("control", "base", "expected"),
    [
        ("/ctl", "", f"{ROUTER}/ctl"),
        ("ctl", "", f"{ROUTER}/desc/ctl"),
        (f"{ROUTER}/ctl", "", f"{ROUTER}/ctl"),
        ("http://192.168.7.1:49152/ctl", "", "http://192.168.7.1:49152/ctl"),
        ("ctl", "http://192.168.7.1:80/x/", "http://192.168.7.1/x/ctl"),
    ],
)
def test_where_a_service_is(control: str, base: str, expected: str) -> None:
    assert decode_description(described((KIND, control), base=base), LOCATION) == [WanService(KIND, expected)]


@pytest.mark.parametrize(
    ("control", "base"),
    [
        ("http://127.0.0.1:631/ipp", ""),
        ("//evil.example/ctl", ""),
        ("https://192.168.7.1/ctl", ""),
        ("http://192.168.7.99/ctl", ""),
        ("/ctl", "http://evil.example/"),
        ("/ctl", "http://127.0.0.1:8080/"),
        ("/ctl", "not a URL"),
    ],
)
def test_a_service_elsewhere_is_refused(control: str, base: str) -> None:
    with pytest.raises(MalformedError):
        decode_description(described((KIND, control), base=base), LOCATION)


@pytest.mark.parametrize(
    "document",
    [
        described(),
        described(("urn:schemas-upnp-org:service:Layer3Forwarding:1", "/ctl")),
        described((KIND, "")),
        b"<root/>",
        b"<html><body>login</body></html>",
        b'<!DOCTYPE root [<!ENTITY x "y">]>' + described((KIND, "/ctl")),
    ],
)
def test_a_description_of_nothing_that_maps_ports(document: bytes) -> None:
    with pytest.raises(MalformedError):
        decode_description(document, LOCATION)


def test_a_service_that_is_told_twice_counts_once_and_of_very_many_a_few_count() -> None:
    assert len(decode_description(described(*[(KIND, "/ctl")] * 100), LOCATION)) == 1
    many = described(*((KIND, f"/{number}") for number in range(500)))
    assert len(decode_description(many, LOCATION)) == MAX_SERVICES


def test_a_url_does_not_end_a_line_of_a_request() -> None:
    [service] = decode_description(described((KIND, "/ctl&#13;&#10;X: y")), LOCATION)
    assert "\r" not in service.url
    assert " " not in service.url


def test_damaged_descriptions_never_lead_elsewhere() -> None:
    chance = random.Random(3)
    for _ in range(1000):
        with contextlib.suppress(MalformedError):
            for service in decode_description(mutated(DESCRIPTION.encode(), chance), LOCATION):
                assert Url.parse(service.url).host == LOCATION.host

"""A login page behind a refused certificate is called one; every other stranger is what the certificate says."""

from __future__ import annotations

import pytest

from tests.control.client.test_controlconnection import KEY_LINK, NOISE_LINK, data_for, feed, uplink
from tsnet.base.links import Close, Closed, Event, Link, Open, Opened, Received
from tsnet.control.client.address import ControlAddress
from tsnet.control.client.controlconnection import ControlConnection
from tsnet.control.client.portal import TIMEOUT, may_be_portal
from tsnet.errors import CaptivePortal, ControlCertificateError

PORTAL_LINK = Link("control", "portal", 3)
REASON = "certificate: unknown authority (issued by 'Hotel')"


def answer(status: str, *headers: str, body: str = "") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "", body]).encode()


@pytest.mark.parametrize(
    ("url", "reason", "asked"),
    [
        ("https://control.example", REASON, True),
        ("https://control.example:8443", "certificate: wrong name: mismatch", True),
        ("https://control.example", "certificate: self-signed (it calls itself 'x')", True),
        ("https://control.example", "certificate: expired", False),
        ("https://control.example", "certificate: not yet valid", False),
        ("https://control.example", "refused", False),
        ("https://localhost", REASON, False),
        ("https://127.0.0.1:8443", REASON, False),
    ],
)
def test_who_is_asked(url: str, reason: str, asked: bool) -> None:
    assert may_be_portal(ControlAddress.parse(url), reason) is asked


def refused() -> ControlConnection:
    """A connection whose certificate was refused on both links, and which has asked in the clear."""
    one = uplink()
    one.transmit()
    feed(one, Closed(KEY_LINK, REASON), Closed(NOISE_LINK, REASON))
    assert one.lost is None
    effects = [effect for effect in one.transmit() if isinstance(effect, Open)]
    assert effects == [Open(PORTAL_LINK, ("control.example",), 80, timeout=TIMEOUT, direct=True)]
    assert one.owns(PORTAL_LINK)
    feed(one, Opened(PORTAL_LINK))
    asked = data_for(one.transmit(), PORTAL_LINK)
    assert asked.startswith(b"GET /generate_204 HTTP/1.1\r\nHost: control.example\r\n")
    return one


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (
            answer("302 Found", "Location: http://login.hotel.example/?a=1"),
            "status 302 and http://login.hotel.example/",
        ),
        (answer("511 Network Authentication Required"), "HTTP status 511"),
        (answer("200 OK", "Content-Type: text/html", body="<title>Welcome</title>"), "a web page, 'Welcome'"),
    ],
)
def test_a_login_page(said: bytes, words: str) -> None:
    one = refused()
    feed(one, Received(PORTAL_LINK, said))
    assert one.lost is not None
    assert isinstance(one.lost.error, CaptivePortal)
    assert (one.lost.hopeless, one.lost.reason) == (True, REASON)
    for each in (words, "does not verify: unknown authority (issued by 'Hotel')", "visit any http:// page"):
        assert each in str(one.lost.error)
    assert Close(PORTAL_LINK) in one.transmit()


@pytest.mark.parametrize(
    "event",
    [
        Received(PORTAL_LINK, answer("204 No Content")),
        Received(PORTAL_LINK, answer("301 Moved Permanently", "Location: https://control.example/")),
        Received(PORTAL_LINK, answer("302 Found", "Location: https://control.example/generate_204")),
        Received(PORTAL_LINK, answer("404 Not Found", "Content-Type: text/html", body="<html>")),
        Received(PORTAL_LINK, b"SSH-2.0-x\r\n\r\n"),
        Closed(PORTAL_LINK, "refused"),
        Closed(PORTAL_LINK, "eof"),
    ],
)
def test_any_other_stranger(event: Event) -> None:
    one = refused()
    feed(one, event)
    assert one.lost is not None
    assert isinstance(one.lost.error, ControlCertificateError)
    assert one.lost.hopeless
    assert "(issued by 'Hotel')" in str(one.lost.error)


def test_one_that_does_not_answer_is_not_waited_for_long() -> None:
    one = refused()
    feed(one, Received(PORTAL_LINK, b"HTTP/1.1 302"), Received(NOISE_LINK, b"late"))
    assert (one.lost, one.ready_by) == (None, TIMEOUT)
    one.tick(TIMEOUT)
    assert one.lost is not None
    assert isinstance(one.lost.error, ControlCertificateError)
    assert Close(PORTAL_LINK) in one.close()


def test_a_date_that_is_past_is_told_at_once() -> None:
    one = uplink()
    feed(one, Closed(KEY_LINK, "certificate: expired"))
    assert one.lost is not None
    assert isinstance(one.lost.error, ControlCertificateError)

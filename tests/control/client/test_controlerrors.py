from __future__ import annotations

import attrs
import pytest

from tsnet.base.keys import MachineKey
from tsnet.control.client import controlerrors
from tsnet.control.client.address import ControlAddress
from tsnet.errors import (
    AuthKeyRejected,
    CaptivePortal,
    ControlCertificateError,
    ControlKeyChanged,
    ControlUnreachable,
    Error,
    NodeRemoved,
    NotAControlServer,
    ProxyRefused,
    RemoteError,
)
from tsnet.http1.asking import Response

HERE = ControlAddress.parse("https://control.example:8443")


@pytest.mark.parametrize(
    ("reason", "kind", "hopeless", "says"),
    [
        ("refused", ControlUnreachable, False, "nothing listens there"),
        ("dns", ControlUnreachable, False, "does not resolve"),
        ("dns: its name leads to this machine itself", ControlUnreachable, False, "reached: its name leads to this"),
        ("timeout", ControlUnreachable, False, "no answer in time"),
        ("unreachable", ControlUnreachable, False, "cannot be reached"),
        ("eof", ControlUnreachable, False, "closes the connection"),
        ("something new", ControlUnreachable, False, "something new"),
        ("certificate: expired", ControlCertificateError, True, "clock"),
        ("certificate: not yet valid", ControlCertificateError, True, "clock"),
        ("certificate: unknown CA", ControlCertificateError, True, "ssl_context="),
        (
            "certificate: unknown authority (issued by 'Gateway')",
            ControlCertificateError,
            True,
            "(issued by 'Gateway')",
        ),
        ("certificate: wrong name: mismatch (it is for 'a')", ControlCertificateError, True, "a login page"),
        ("certificate", ControlCertificateError, True, "SSL_CERT_FILE"),
        ("tls: WRONG_VERSION_NUMBER", NotAControlServer, True, "http://"),
        ("tls: unexpected eof", ControlUnreachable, False, "unexpected eof"),
    ],
)
def test_a_link_that_broke(reason: str, kind: type[Error], hopeless: bool, says: str) -> None:
    error, is_hopeless = controlerrors.link_error(HERE, reason)
    assert (type(error), is_hopeless) == (kind, hopeless)
    assert says in str(error)
    assert "https://control.example:8443" in str(error)


@pytest.mark.parametrize(
    ("status", "kind", "hopeless"),
    [
        (200, NotAControlServer, True),
        (301, NotAControlServer, True),
        (404, NotAControlServer, True),
        (408, ControlUnreachable, False),
        (429, ControlUnreachable, False),
        (503, ControlUnreachable, False),
    ],
)
def test_an_answer_that_no_control_server_gives(status: int, kind: type[Error], hopeless: bool) -> None:
    error, is_hopeless = controlerrors.answer_error(HERE, "GET /key", Response(status, {}, b""))
    assert (type(error), is_hopeless) == (kind, hopeless)
    assert f"{status}" in str(error)


@pytest.mark.parametrize(
    ("detail", "kind", "hopeless", "says"),
    [
        ("407 Proxy Authentication Required", ProxyRefused, True, "another user and password"),
        ("401 Unauthorized", ProxyRefused, True, "another user and password"),
        ("403 Forbidden", ProxyRefused, True, "allow that host and port 8443 there"),
        ("502 Bad Gateway", ControlUnreachable, False, "502 Bad Gateway"),
        ("429 Too Many", ControlUnreachable, False, "429 Too Many"),
        ("eof", ControlUnreachable, False, "closes the connection"),
        ("timeout", ControlUnreachable, False, "no answer in time"),
        ("not an HTTP answer", ControlUnreachable, False, "not an HTTP answer"),
    ],
)
def test_a_proxy_in_the_way_is_named(detail: str, kind: type[Error], hopeless: bool, says: str) -> None:
    error, is_hopeless = controlerrors.link_error(HERE, f"proxy http://proxy:3128: {detail}")
    assert (type(error), is_hopeless) == (kind, hopeless)
    for text in (says, "the proxy http://proxy:3128", "proxy=", "HTTPS_PROXY", "https://control.example:8443"):
        assert text in str(error)


@pytest.mark.parametrize(
    ("status", "headers", "body", "says"),
    [
        (511, {}, b"", "status 511"),
        (302, {"location": "http://portal.test/login"}, b"", "http://portal.test/login"),
        (307, {"location": "http://portal.test/login"}, b"", "http://portal.test/login"),
        (200, {"content-type": "text/html; charset=utf-8"}, b"hello", "a web page. "),
        (200, {}, b"\n<!DOCTYPE html><title>Hotel\n Wi-Fi</title>", "a web page, 'Hotel Wi-Fi'"),
        (200, {}, b"<HTML><TITLE lang=en>" + b"x" * 5000, "a web page"),
        (200, {}, b"<html><title>\xff\x1b[2J</title>", "a web page"),
    ],
)
def test_a_page_in_the_place_of_control(status: int, headers: dict[str, str], body: bytes, says: str) -> None:
    error, hopeless = controlerrors.answer_error(HERE, "GET /key", Response(status, headers, body))
    assert (type(error), hopeless) == (CaptivePortal, True)
    assert isinstance(error, NotAControlServer)
    assert says in str(error)
    assert str(error).isprintable()


@pytest.mark.parametrize(
    ("status", "where"),
    [
        (301, "https://new.test/key"),
        (308, "https://new.test/key"),
        (302, "/login"),
        (302, "https://control.example/key"),
        (302, "http://[bad"),
        (302, ""),
    ],
)
def test_a_server_that_moves_is_no_portal(status: int, where: str) -> None:
    error, hopeless = controlerrors.answer_error(HERE, "GET /key", Response(status, {"location": where}, b""))
    assert (type(error), hopeless) == (NotAControlServer, True)


def test_an_answer_without_a_key() -> None:
    assert type(controlerrors.no_key(HERE, Response(200, {}, b"<html>"), "no JSON")) is CaptivePortal
    other = controlerrors.no_key(HERE, Response(200, {}, b"[]"), "no object")
    assert type(other) is NotAControlServer
    assert "no server key (no object)" in str(other)


def test_a_redirect_says_where_to() -> None:
    error, _ = controlerrors.answer_error(HERE, "GET /key", Response(302, {"location": "https://new.example/key"}, b""))
    assert "https://new.example/key" in str(error)


@pytest.mark.parametrize(
    ("status", "kind", "hopeless"),
    [
        (0, ControlUnreachable, False),
        (429, ControlUnreachable, False),
        (500, ControlUnreachable, False),
        (408, ControlUnreachable, False),
        (401, AuthKeyRejected, True),
        (403, AuthKeyRejected, True),
        (400, RemoteError, True),
        (404, RemoteError, True),
    ],
)
def test_a_registration_that_failed(status: int, kind: type[Error], hopeless: bool) -> None:
    error, is_hopeless = controlerrors.registration_error(HERE, status, "because")
    assert (type(error), is_hopeless) == (kind, hopeless)
    assert status == 0 or "because" in str(error)


def test_the_others_say_what_to_do() -> None:
    wrong = controlerrors.wrong_control_key(HERE, MachineKey(b"\x01" * 32), MachineKey(b"\x02" * 32))
    assert "mkey:0101" in str(wrong)
    assert "control_key=" in str(wrong)
    changed = controlerrors.control_key_changed(HERE, MachineKey(b"\x01" * 32), MachineKey(b"\x02" * 32))
    assert isinstance(changed, ControlKeyChanged)
    assert isinstance(changed, ConnectionError)
    assert "pin its new key with control_key=" in str(changed)
    assert "mkey:0101" in str(changed)
    assert "mkey:0202" in str(changed)
    removed = controlerrors.node_removed(HERE, "")
    assert isinstance(removed, NodeRemoved)
    assert "log in anew" in str(removed)


def test_where_a_redirect_leads_is_shown_short_and_printable() -> None:
    for status, there in ((302, "https://login.example/"), (308, "/")):
        location = there + "x" * 5000 + "\x1b[2J"
        error = str(controlerrors.answer_error(HERE, "GET /key", Response(status, {"location": location}, b""))[0])
        assert there + "xxx" in error
        assert "…" in error
        assert len(error) < 900
        assert error.isprintable()


@pytest.mark.parametrize("reason", ["refused", "certificate: wrong name", "tls: wrong_version_number"])
def test_an_url_that_came_with_the_secret_is_to_be_looked_for_there(reason: str) -> None:
    named = attrs.evolve(HERE, is_with_secret=True)
    errors = [str(controlerrors.link_error(address, reason)[0]) for address in (HERE, named)]
    assert ["control_url=" in error for error in errors] == [True, False]
    assert ["baseURL= behind the client secret" in error for error in errors] == [False, True]

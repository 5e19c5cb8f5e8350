from __future__ import annotations

import pytest

from tsnet.base.links import Link, Open, Tls
from tsnet.base.malformed import MalformedError
from tsnet.control.client.address import CONNECT_TIMEOUT, ControlAddress, path_and_query


@pytest.mark.parametrize(
    ("url", "host", "port", "authority", "secure"),
    [
        ("https://controlplane.tailscale.com", "controlplane.tailscale.com", 443, "controlplane.tailscale.com", True),
        ("https://h.example:8443/", "h.example", 8443, "h.example:8443", True),
        ("http://127.0.0.1:8080", "127.0.0.1", 8080, "127.0.0.1:8080", False),
        ("http://localhost", "localhost", 80, "localhost", False),
        ("https://[fd00::1]:444", "fd00::1", 444, "[fd00::1]:444", True),
    ],
)
def test_parts(url: str, host: str, port: int, authority: str, secure: bool) -> None:
    assert ControlAddress.parse(url) == ControlAddress(url.rstrip("/"), host, port, authority, secure)


@pytest.mark.parametrize("url", ["", "control.example", "ftp://h", "https://", "http://h:99999", "http://[::1", "//h"])
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(MalformedError):
        ControlAddress.parse(url)


def test_links_to_it() -> None:
    link = Link("control", "noise", 1)
    opened = ControlAddress.parse("https://h.example:1").open(link)
    assert opened == Open(link, ("h.example",), 1, Tls("h.example"), CONNECT_TIMEOUT)
    assert ControlAddress.parse("http://h.example").open(link) == Open(link, ("h.example",), 80, None, CONNECT_TIMEOUT)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("https://h.example/p?id=1", "/p?id=1"),
        ("https://h.example:443", "/"),
        ("http://h.example/p", None),
        ("https://h.example:444/p", None),
        ("https://other.example/p", None),
        ("https://h.example.evil/p", None),
        ("https://h.example@evil.example/p", None),
        ("nonsense", None),
    ],
)
def test_whether_a_url_is_on_this_server(url: str, path: str | None) -> None:
    assert ControlAddress.parse("https://h.example").path_of(url) == path


def test_what_goes_into_a_request_line() -> None:
    assert path_and_query("https://unused/c2n/token?a=b#c") == "/c2n/token?a=b"

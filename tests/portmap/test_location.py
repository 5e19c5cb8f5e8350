"""Only the router's own URLs are asked (TS-2023-006)."""

from __future__ import annotations

import pytest

from tsnet.base.malformed import MalformedError
from tsnet.portmap.location import of_router

GATEWAY = "192.168.7.1"


@pytest.mark.parametrize(
    "text", ["http://192.168.7.1/", "http://192.168.7.1:5000/rootDesc.xml", "HTTP://192.168.7.1:80/a?b"]
)
def test_a_url_of_the_router(text: str) -> None:
    assert of_router(text, GATEWAY).host == GATEWAY


@pytest.mark.parametrize(
    "text",
    [
        "http://192.168.7.2/",
        "http://127.0.0.1/",
        "http://localhost/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::1]/",
        "http://[::ffff:192.168.7.1]/",
        "http://192.168.7.1.evil.example/",
        "http://192.168.7.1@evil.example/",
        "http://evil.example/192.168.7.1",
        "http://evil.example#192.168.7.1",
        "http://192.168.7.1\\@evil.example/",
        "http://192.168.1793/",
        "http://0300.0250.7.1/",
        "http://3232237313/",
        "https://192.168.7.1/",
        "ftp://192.168.7.1/",
        "file:///etc/passwd",
        "//192.168.7.1/",
        "/rootDesc.xml",
        "http://192.168.7.1:0/",
        "http://192.168.7.1:65536/",
        "http://192.168.7.1:1/" + "x" * 9000,
        "",
        "\r\n",
    ],
)
def test_any_other_url_is_refused(text: str) -> None:
    with pytest.raises(MalformedError):
        of_router(text, GATEWAY)

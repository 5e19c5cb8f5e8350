from __future__ import annotations

import pytest

from tsnet.http1.answers import Reason, Unusable
from tsnet.http1.asking import Response
from tsnet.http1.redirects import Request, followed, is_redirect
from tsnet.http1.url import Url

HEADERS = (
    ("Accept", "application/json"),
    ("Authorization", "Bearer hunter2"),
    ("Cookie", "hunter2"),
    ("X-Api-Key", "hunter2"),
    ("Content-Type", "text/plain"),
)


def request(method: str = "GET", url: str = "https://h/a", body: bytes = b"") -> Request:
    return Request(method, Url.parse(url), HEADERS, body)


def redirect(status: int, location: str) -> Response:
    return Response(status, {"location": location}, b"")


def names(asked: Request) -> list[str]:
    return [name for name, _value in asked.headers]


@pytest.mark.parametrize(
    ("method", "status", "becomes"),
    [
        *[("GET", status, "GET") for status in (301, 302, 303, 307, 308)],
        *[("HEAD", status, "HEAD") for status in (301, 302, 303, 307, 308)],
        *[("POST", status, "GET") for status in (301, 302, 303)],
        *[("POST", status, "POST") for status in (307, 308)],
        *[("PUT", status, "PUT") for status in (301, 302, 307, 308)],
        ("PUT", 303, "GET"),
    ],
)
def test_the_method_and_the_body(method: str, status: int, becomes: str) -> None:
    body = b"body" if method in ("POST", "PUT") else b""
    asked = followed(request(method, body=body), redirect(status, "/b"))
    assert asked.method == becomes
    assert asked.body == (body if becomes == method else b"")
    assert ("Content-Type" in names(asked)) is (becomes == method)
    assert str(asked.url) == "https://h/b"
    assert "Authorization" in names(asked)


@pytest.mark.parametrize("location", ["https://other/", "https://h:8443/", "https://h.other/"])
def test_another_origin_gets_no_secrets(location: str) -> None:
    asked = followed(request(), redirect(302, location))
    assert names(asked) == ["Accept"]


def test_the_same_origin_in_other_words_gets_all() -> None:
    assert names(followed(request(), redirect(302, "https://H:443/b"))) == names(request())


@pytest.mark.parametrize("status", [307, 308])
def test_a_body_is_taken_to_no_other_origin(status: int) -> None:
    with pytest.raises(Unusable) as raised:
        followed(request("POST", body=b"client_secret=hunter2"), redirect(status, "https://other/"))
    assert raised.value.reason is Reason.REDIRECT


@pytest.mark.parametrize("location", ["http://h/a", "http://other/", "HTTP://h:443/"])
def test_never_from_https_to_http(location: str) -> None:
    with pytest.raises(Unusable) as raised:
        followed(request(), redirect(302, location))
    assert raised.value.reason is Reason.DOWNGRADE


def test_from_http_to_https() -> None:
    asked = followed(request(url="http://h/a"), redirect(308, "https://h/a"))
    assert str(asked.url) == "https://h/a"
    assert names(asked) == ["Accept"]


@pytest.mark.parametrize("location", ["ftp://h/", "http://[", "https://user:hunter2@h/", "https://h:0/"])
def test_redirects_to_no_url(location: str) -> None:
    with pytest.raises(Unusable) as raised:
        followed(request(), redirect(302, location))
    assert raised.value.reason is Reason.REDIRECT
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("status", [200, 204, 300, 304, 305, 306, 404])
def test_what_is_no_redirect(status: int) -> None:
    assert not is_redirect(redirect(status, "/"))
    assert not is_redirect(Response(302, {}, b""))

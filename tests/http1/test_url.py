from __future__ import annotations

import pytest

from tsnet.base.malformed import MalformedError
from tsnet.http1.url import MAX_LENGTH, Url


@pytest.mark.parametrize(
    ("text", "url", "authority"),
    [
        ("https://Login.Example/token?x=1#top", Url("https", "login.example", 443, "/token?x=1"), "login.example"),
        ("http://login.example:8080", Url("http", "login.example", 8080, "/"), "login.example:8080"),
        ("https://login.example:443/", Url("https", "login.example", 443, "/"), "login.example"),
        ("http://login.example:443/", Url("http", "login.example", 443, "/"), "login.example:443"),
        ("HTTP://10.0.0.1?a=b", Url("http", "10.0.0.1", 80, "/?a=b"), "10.0.0.1"),
        ("http://[FD7A::1]:5000/ctl", Url("http", "fd7a::1", 5000, "/ctl"), "[fd7a::1]:5000"),
        ("http://under_score.example/", Url("http", "under_score.example", 80, "/"), "under_score.example"),
    ],
)
def test_what_is_dialled_and_asked(text: str, url: Url, authority: str) -> None:
    assert Url.parse(text) == url
    assert url.authority == authority
    assert Url.parse(str(url)) == url


@pytest.mark.parametrize(
    ("target", "written"),
    [
        ("/a b", "/a%20b"),
        ("/a\r\nX: y", "/a%0D%0AX:%20y"),
        ("/käse", "/k%C3%A4se"),
        ("/%41%zz", "/%41%zz"),
        ("/a?b=%20&c=[d]", "/a?b=%20&c=[d]"),
        ("/\0", "/%00"),
        ("/a\ud800b", "/a?b"),
    ],
)
def test_no_target_can_end_its_line(target: str, written: str) -> None:
    assert Url.parse(f"http://h{target}").target == written


@pytest.mark.parametrize(
    "text",
    [
        "",
        "h",
        "/path",
        "ftp://h/",
        "file:///etc/passwd",
        "https://",
        "https:///path",
        "https://:443/",
        "https://h:0/",
        "https://h:65536/",
        "https://h:x/",
        "https://[::1",
        "https://[v1.x]/",
        "https://user:hunter2@h/",
        "https://@h/",
        "https://a b/",
        "https://a\r\nb/",
        "https://käse.example/",
        "https://-h/",
        "https://" + "a" * 254 + "/",
        "https://h/" + "a" * MAX_LENGTH,
    ],
)
def test_what_cannot_be_asked_is_malformed(text: str) -> None:
    with pytest.raises(MalformedError) as raised:
        Url.parse(text)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    ("reference", "there"),
    [
        ("", "https://h/a/b?c=1"),
        ("/x", "https://h/x"),
        ("x", "https://h/a/x"),
        ("../x?y=z#f", "https://h/x?y=z"),
        ("?d=2", "https://h/a/b?d=2"),
        ("//other.example/x", "https://other.example/x"),
        ("http://h:8080", "http://h:8080/"),
        ("/a b" + "\xe4".encode().decode("latin-1"), "https://h/a%20b%C3%A4"),  # UTF-8, as h11 gives it
        ("/\xe4", "https://h/%E4"),
    ],
)
def test_references(reference: str, there: str) -> None:
    assert str(Url.parse("https://h/a/b?c=1").join(reference)) == there


@pytest.mark.parametrize("reference", ["javascript:alert(1)", "http://[", "https://u:p@h/", "\\\\h\\x:0", "//:0/"])
def test_references_that_lead_nowhere(reference: str) -> None:
    url = Url.parse("https://h/")
    try:
        there = url.join(reference)
    except MalformedError:
        return
    assert there.origin == url.origin, "a path at most"


def test_the_query_is_not_in_the_repr() -> None:
    assert "hunter2" not in repr(Url.parse("https://h/?token=hunter2"))

from __future__ import annotations

import pytest

from tsnet.edge.io.proxy import MAX_ANSWER, Proxy, ProxyRefused, connect_request, parse_proxy, read_answer
from tsnet.errors import ConfigError


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("http://proxy:3128", Proxy("proxy", 3128)),
        ("http://proxy", Proxy("proxy", 80)),
        ("http://[::1]:3128/", Proxy("::1", 3128)),
        ("http://user:p%40ss@proxy:3128", Proxy("proxy", 3128, "Basic dXNlcjpwQHNz")),
        ("http://user@proxy:3128", Proxy("proxy", 3128, "Basic dXNlcjo=")),
    ],
)
def test_parse(url: str, proxy: Proxy) -> None:
    assert parse_proxy(url) == proxy


@pytest.mark.parametrize(
    "url",
    [
        "",
        "proxy:3128",
        "https://proxy",
        "socks5://proxy",
        "http://",
        "http://proxy:99999",
        "http://proxy:x",
        "http://[",
    ],
)
def test_what_is_no_http_proxy_is_a_config_error(url: str) -> None:
    with pytest.raises(ConfigError, match="proxy= must be http://"):
        parse_proxy(url)


def test_secrets_stay_out_of_texts() -> None:
    assert "dXNlc" not in repr(parse_proxy("http://user:secret@proxy:3128"))
    with pytest.raises(ConfigError) as refused:
        parse_proxy("https://user:secret@proxy:3128")
    assert "secret" not in str(refused.value)


def test_the_request() -> None:
    assert connect_request(Proxy("p", 1), "derp.test", 443) == (
        b"CONNECT derp.test:443 HTTP/1.1\r\nHost: derp.test:443\r\n\r\n"
    )
    assert connect_request(Proxy("p", 1, "Basic eA=="), "::1", 443) == (
        b"CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\nProxy-Authorization: Basic eA==\r\n\r\n"
    )


def test_the_answer_in_any_pieces() -> None:
    answer = b"HTTP/1.1 200 Connection established\r\nX: y\r\n\r\n"
    for end in range(len(answer)):
        assert read_answer(answer[:end]) is None
    assert read_answer(answer) == b""
    assert read_answer(answer + b"\x16\x03") == b"\x16\x03"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "proxy: 407 Proxy Authentication Required"),
        (b"HTTP/1.0 502 Bad Gateway\r\n\r\n", "proxy: 502 Bad Gateway"),
        (b"SSH-2.0-OpenSSH", "proxy: not an HTTP answer"),
        (b"\x00" * 8, "proxy: not an HTTP answer"),
        (b"HTTP/1.1 what\r\n\r\n", "proxy: not an HTTP answer"),
        (b"HTTP/1.1 200 OK\r\n" + b"x" * MAX_ANSWER, "proxy: the answer has no end"),
    ],
)
def test_a_refusal(answer: bytes, reason: str) -> None:
    with pytest.raises(ProxyRefused, match=f"^{reason}$"):
        read_answer(answer)

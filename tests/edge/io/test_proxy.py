from __future__ import annotations

import pytest

from tsnet.base.proxies import Proxy
from tsnet.edge.io.proxy import MAX_ANSWER, ConnectFailed, connect_request, read_answer


def test_the_request() -> None:
    assert connect_request(Proxy("p", 1), "derp.test", 443) == (
        b"CONNECT derp.test:443 HTTP/1.1\r\nHost: derp.test:443\r\n\r\n"
    )
    assert connect_request(Proxy("p", 1, "Basic eA=="), "::1", 443) == (
        b"CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\nProxy-Authorization: Basic eA==\r\n\r\n"
    )


def test_a_name_of_a_relay_map_cannot_add_a_line_to_the_request() -> None:
    assert connect_request(Proxy("p", 1), "a b\r\nX: y", 443).count(b"\r\n") == 3


def test_the_answer_in_any_pieces() -> None:
    answer = b"HTTP/1.1 200 Connection established\r\nX: y\r\n\r\n"
    for end in range(len(answer)):
        assert read_answer(answer[:end]) is None
    assert read_answer(answer) == b""
    assert read_answer(answer + b"\x16\x03") == b"\x16\x03"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "407 Proxy Authentication Required"),
        (b"HTTP/1.0 502 Bad Gateway\r\n\r\n", "502 Bad Gateway"),
        (b"HTTP/1.1 403 \x1b[31mNo\r\n\r\n", r"403 \\x1b\[31mNo"),
        (b"SSH-2.0-OpenSSH", "not an HTTP answer"),
        (b"\x00" * 8, "not an HTTP answer"),
        (b"HTTP/1.1 what\r\n\r\n", "not an HTTP answer"),
        (b"HTTP/1.1 200 OK\r\n" + b"x" * MAX_ANSWER, "the answer has no end"),
    ],
)
def test_a_refusal(answer: bytes, reason: str) -> None:
    with pytest.raises(ConnectFailed, match=f"^{reason}$"):
        read_answer(answer)

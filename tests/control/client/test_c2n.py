from __future__ import annotations

import pytest

from tsnet.base.malformed import MalformedError
from tsnet.control.client.c2n import answer

ECHO = b"POST /echo HTTP/1.1\r\nHost: c2n\r\nContent-Length: 5\r\n\r\nhello"


def test_echo_gives_the_body_back() -> None:
    head, _, body = answer(ECHO).partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[0] == b"HTTP/1.1 200 OK"
    assert b"Content-Length: 5" in head
    assert body == b"hello"


@pytest.mark.parametrize("request_line", [b"GET /echo HTTP/1.1", b"PUT /echo?x=1 HTTP/1.1", b"GET /echo HTTP/1.0"])
def test_echo_takes_any_method(request_line: bytes) -> None:
    assert answer(request_line + b"\r\nHost: c2n\r\n\r\n").startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("path", [b"/", b"/debug/goroutines", b"/echo/", b"/update"])
def test_other_paths_are_unknown(path: bytes) -> None:
    response = answer(b"GET " + path + b" HTTP/1.1\r\nHost: c2n\r\n\r\n")
    assert response.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert response.endswith(b"\r\n\r\nunknown c2n path\n")


@pytest.mark.parametrize("length", range(len(ECHO)))
def test_a_request_cut_short_is_malformed(length: int) -> None:
    with pytest.raises(MalformedError):
        answer(ECHO[:length])


@pytest.mark.parametrize("payload", [b"\x16\x03\x01\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9\r\n\r\n", b"\0" * 100])
def test_what_is_no_http_is_malformed(payload: bytes) -> None:
    with pytest.raises(MalformedError):
        answer(payload)

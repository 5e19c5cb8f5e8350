"""HTTP heads: cut anywhere, malformed anyhow, and every row of the answers."""

from __future__ import annotations

import pytest

from tsnet.base.keys import NodeKey
from tsnet.base.malformed import MalformedError
from tsnet.derp.upgrade import (
    MAX_HEAD_SIZE,
    HeadReader,
    Request,
    answer,
    encode_request,
    encode_switching,
    parse_request,
    parse_status,
)

GO_REQUEST = (  # as Go 1.26's http.Request.Write puts it
    b"GET /derp HTTP/1.1\r\nHost: derp.example\r\nUser-Agent: Go-http-client/1.1\r\n"
    b"Connection: Upgrade\r\nDerp-Fast-Start: 1\r\nUpgrade: DERP\r\n\r\n"
)


def test_our_request_is_the_documented_one() -> None:
    assert encode_request("derp.example", "1a") == (
        b"GET /derp HTTP/1.1\r\nHost: derp.example\r\nIdeal-Node: 1a\r\nUpgrade: DERP\r\nConnection: Upgrade\r\n\r\n"
    )
    assert b"Ideal-Node" not in encode_request("derp.example")
    assert b"Host: [fd00::1]\r\n" in encode_request("fd00::1")


def test_a_fast_start_is_asked_for_in_a_header_of_its_own() -> None:
    request = encode_request("derp.example", fast_start=True)
    assert request.endswith(b"\r\nDerp-Fast-Start: 1\r\n\r\n")
    assert parse_request(request.decode().removesuffix("\r\n\r\n")).is_fast_start
    assert b"Fast-Start" not in encode_request("derp.example")


@pytest.mark.parametrize("cut", range(len(GO_REQUEST) + 1))
def test_a_head_cut_anywhere_keeps_the_bytes_behind_it(cut: int) -> None:
    reader = HeadReader()
    whole = GO_REQUEST + b"\x02frames\r\n\r\n"
    first = reader.feed(whole[:cut])
    head, rest = first or reader.feed(whole[cut:]) or ("", b"")
    if first:
        rest += whole[cut:]
    assert rest == b"\x02frames\r\n\r\n"
    request = parse_request(head)
    assert (request.method, request.path) == ("GET", "/derp")
    assert request.wants_derp
    assert request.is_fast_start


def test_a_head_that_never_ends_is_malformed() -> None:
    reader = HeadReader()
    reader.feed(b"GET / HTTP/1.1\r\nX: ")
    with pytest.raises(MalformedError):
        reader.feed(b"x" * MAX_HEAD_SIZE)


@pytest.mark.parametrize(
    "head",
    ["", "GET", "GET /", "GET / HTTP/2", "GET / x HTTP/1.1", "GET / HTTP/1.1\r\nno colon", "GET / HTTP/1.1\r\n a: b",
     "GET / HTTP/1.1\r\nHost : x", "GET / HTTP/1.1\r\n: x", "\x16\x03\x01"],
)  # fmt: skip
def test_a_malformed_request(head: str) -> None:
    with pytest.raises(MalformedError):
        parse_request(head)


@pytest.mark.parametrize(
    ("head", "status"),
    [("HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP", 101), ("HTTP/1.0 404", 404), ("HTTP/1.1 426 No", 426)],
)
def test_a_status(head: str, status: int) -> None:
    assert parse_status(head) == status


@pytest.mark.parametrize(
    "head", ["", "HTTP/1.1", "HTTP/1.1 ", "HTTP/1.1 10", "HTTP/1.1 abc", "HTTP/2 200", "ICY 200", "HTTP/1.1 ²²²"]
)
def test_a_malformed_status(head: str) -> None:
    with pytest.raises(MalformedError):
        parse_status(head)


@pytest.mark.parametrize(
    ("upgrade", "protocol", "wanted"),
    [("derp", "", True), ("DERP", "", True), ("DeRp", "x", True), ("websocket", "", True),
     ("WebSocket", "chat", True),
     ("websocket", "derp", False), ("", "", False), ("h2c", "", False)],
)  # fmt: skip
def test_which_upgrades_become_derp(upgrade: str, protocol: str, wanted: bool) -> None:
    headers = {"upgrade": upgrade, "sec-websocket-protocol": protocol}
    assert Request("GET", "/derp", headers).wants_derp is wanted


def test_a_target_may_be_a_whole_url() -> None:
    """RFC 9112 §3.2.2; hyper's clients send it."""
    request = parse_request("GET https://derp.example:443/derp HTTP/1.1\r\nHost: derp.example\r\nUpgrade: DERP")
    assert (request.path, request.wants_derp) == ("/derp", True)


def test_headers_are_found_in_any_case_and_queries_are_no_part_of_the_path() -> None:
    request = parse_request("GET /derp?x=1 HTTP/1.1\r\nUPGRADE:derp  \r\nderp-fast-start: 0")
    assert request.path == "/derp"
    assert request.wants_derp
    assert not request.is_fast_start


ANSWERS = [
    ("GET", "/derp", 426, b"DERP requires connection upgrade\n"),
    ("GET", "/derp/probe", 200, b""),
    ("HEAD", "/derp/probe", 200, b""),
    ("GET", "/derp/latency-check", 200, b""),
    ("POST", "/derp/latency-check", 405, b"a probe is GET or HEAD\n"),
    ("GET", "/generate_204", 204, b""),
    ("GET", "/", 404, b"not found\n"),
    ("HEAD", "/", 404, b""),
]


@pytest.mark.parametrize(("method", "path", "status", "body"), ANSWERS)
def test_answer(method: str, path: str, status: int, body: bytes) -> None:
    head, _, found = answer(Request(method, path, {})).partition(b"\r\n\r\n")
    assert parse_status(head.decode()) == status
    assert found == body
    assert b"Connection: close" in head
    if method != "HEAD" and status != 204:
        assert f"Content-Length: {len(body)}".encode() in head


@pytest.mark.parametrize(
    ("request_line", "headers", "followed"),
    [
        ("GET /derp/probe HTTP/1.1", "", True),
        ("HEAD /derp/latency-check HTTP/1.1", "Connection: keep-alive", True),
        ("GET /derp/probe HTTP/1.0", "", False),
        ("GET /derp/probe HTTP/1.1", "Connection: Close", False),
        ("GET /derp/probe HTTP/1.1", "Content-Length: 3", False),
        ("GET /derp/probe HTTP/1.1", "Transfer-Encoding: chunked", False),
        ("POST /derp/probe HTTP/1.1", "", False),
        ("GET /derp HTTP/1.1", "", False),
        ("GET /generate_204 HTTP/1.1", "", False),
    ],
)
def test_what_may_be_followed_by_another_request(request_line: str, headers: str, followed: bool) -> None:
    request = parse_request("\r\n".join([request_line, "Host: x", *([headers] if headers else [])]))
    assert request.may_be_followed is followed


def test_a_probe_may_be_read_by_any_web_page() -> None:
    assert b"Access-Control-Allow-Origin: *\r\n" in answer(Request("GET", "/derp/probe", {}))


@pytest.mark.parametrize("challenge", ["ts_derp.example", "a", "A.b-c_d:9", "x" * 64])
def test_a_challenge_is_echoed(challenge: str) -> None:
    response = answer(Request("GET", "/generate_204", {"x-tailscale-challenge": challenge}))
    assert f"X-Tailscale-Response: response {challenge}\r\n".encode() in response
    assert b"Cache-Control: no-cache, no-store, must-revalidate, no-transform, max-age=0\r\n" in response


@pytest.mark.parametrize("challenge", ["", "x" * 65, "a b", "a\r\nb", "é", "<script>"])
def test_a_suspect_challenge_is_not(challenge: str) -> None:
    assert b"X-Tailscale-Response" not in answer(Request("GET", "/generate_204", {"x-tailscale-challenge": challenge}))


def test_switching_names_version_and_key() -> None:
    key = NodeKey(bytes(range(32)))
    assert encode_switching(key) == (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\nConnection: Upgrade\r\nDerp-Version: 2\r\n"
        b"Derp-Public-Key: " + key.hex().encode() + b"\r\n\r\n"
    )

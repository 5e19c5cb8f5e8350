from __future__ import annotations

import base64

import pytest

from tsnet.base.malformed import MalformedError
from tsnet.control.upgrade import MAX_BODY, Answering, Request, initiation_of, switched, upgrade_request
from tsnet.http1.asking import Asking

INITIATION = bytes(range(101))
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: tailscale-control-protocol\r\nConnection: upgrade\r\n\r\n"


def test_the_request_is_what_go_sends() -> None:
    sent = upgrade_request("control.example:8080", INITIATION).sent
    head, _, rest = sent.partition(b"\r\n\r\n")
    assert rest == b""
    assert head.split(b"\r\n") == [
        b"POST /ts2021 HTTP/1.1",
        b"Host: control.example:8080",
        b"Upgrade: tailscale-control-protocol",
        b"Connection: upgrade",
        b"X-Tailscale-Handshake: " + base64.b64encode(INITIATION),
    ]


@pytest.mark.parametrize("cut", range(1, len(SWITCH) + 5))
def test_bytes_behind_the_101_are_kept(cut: int) -> None:
    asking = upgrade_request("h", INITIATION)
    wire = SWITCH + b"noise"
    response = asking.receive(wire[:cut]) or asking.receive(wire[cut:])
    assert response is not None
    assert switched(response)
    assert response.rest + (wire[cut:] if cut >= len(SWITCH) else b"") == b"noise"


@pytest.mark.parametrize(
    "wire",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nUpgrade: tailscale-control-protocol\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\n\r\nbad",
    ],
)
def test_any_other_answer_is_no_switch(wire: bytes) -> None:
    response = upgrade_request("h", INITIATION).receive(wire)
    assert response is not None
    assert not switched(response)


def test_the_server_side_of_an_upgrade() -> None:
    answering = Answering()
    request = answering.receive(upgrade_request("h", INITIATION).sent + b"early bird")
    assert request is not None
    assert initiation_of(request) == INITIATION
    assert answering.switch() == (SWITCH, b"early bird")


def test_a_whole_get() -> None:
    asking, answering = Asking("GET", "/key?v=131", "h"), Answering()
    assert answering.receive(asking.sent) == Request("GET", "/key?v=131", {"host": "h"}, b"")
    sent = answering.respond(200, b'{"a":1}', [("Content-Type", "application/json")])
    assert not answering.closing
    response = asking.receive(sent)
    assert response is not None
    assert (response.status, response.body, response.headers["content-type"]) == (200, b'{"a":1}', "application/json")


def test_a_target_may_be_a_whole_url() -> None:
    """RFC 9112 §3.2.2; hyper's clients send it."""
    request = Answering().receive(b"GET http://control:8080/key?v=131 HTTP/1.1\r\nHost: control\r\n\r\n")
    assert request == Request("GET", "/key?v=131", {"host": "control"}, b"")


def test_trickling_requests_and_answers() -> None:
    asking, answering = Asking("POST", "/p", "h", body=b"text"), Answering()
    found = [request for byte in asking.sent if (request := answering.receive(bytes([byte]))) is not None]
    assert found == [Request("POST", "/p", {"host": "h", "content-length": "4"}, b"text")]
    sent = answering.respond(200, b"answer")
    answers = [answer for byte in sent if (answer := asking.receive(bytes([byte]))) is not None]
    assert [answer.body for answer in answers] == [b"answer"]


def test_requests_may_be_pipelined() -> None:
    answering = Answering()
    two = Asking("GET", "/1", "h").sent + Asking("GET", "/2", "h").sent
    first = answering.receive(two)
    assert first is not None
    answering.respond(200)
    second = answering.receive()
    assert second is not None
    assert (first.path, second.path) == ("/1", "/2")


def test_head_gets_no_body() -> None:
    asking, answering = Asking("HEAD", "/p", "h"), Answering()
    answering.receive(asking.sent)
    sent = answering.respond(200, b"body")
    assert sent.endswith(b"Content-Length: 4\r\n\r\n")
    response = asking.receive(sent)
    assert response is not None
    assert response.body == b""


def test_an_old_client_wants_the_link_closed() -> None:
    answering = Answering()
    assert answering.receive(b"GET / HTTP/1.0\r\n\r\n") is not None
    answering.respond(200)
    assert answering.closing


@pytest.mark.parametrize("wire", [b"SSH-2.0-OpenSSH_9.6\r\n", b"\x16\x03\x01\x02\x00\x01", b"HTTP/1.1 abc\r\n\r\n"])
def test_what_is_no_http_is_malformed(wire: bytes) -> None:
    with pytest.raises(MalformedError):
        Answering().receive(wire + b"\r\n\r\n")


def test_bodies_are_bounded() -> None:
    big = b"x" * (MAX_BODY + 1)
    with pytest.raises(MalformedError, match="more than"):
        Answering().receive(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999\r\n\r\n" + big)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"upgrade": "websocket"},
        {"upgrade": "tailscale-control-protocol"},
        {"upgrade": "Tailscale-Control-Protocol", "x-tailscale-handshake": "not base64!"},
    ],
)
def test_a_request_that_is_no_upgrade(headers: dict[str, str]) -> None:
    with pytest.raises(MalformedError):
        initiation_of(Request("POST", "/ts2021", headers, b""))

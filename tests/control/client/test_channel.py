from __future__ import annotations

import random

import pytest

from tests.control.scripted import CONTROL, MACHINE
from tsnet.base.crypto import challenge_public, machine_public
from tsnet.base.keys import ChallengePrivateKey
from tsnet.base.links import Link, Open
from tsnet.base.malformed import MalformedError
from tsnet.control.client.address import ControlAddress
from tsnet.control.client.channel import Channel, HttpEvent, Refused
from tsnet.control.http import Body, End, Head, HttpServer, Request
from tsnet.control.transport import Responder, early_payload
from tsnet.control.upgrade import Answering, initiation_of

ADDRESS = ControlAddress.parse("https://control.example:8443")
LINK = Link("control", "noise", 1)
ENTROPY = random.Random(1).randbytes


def channel() -> Channel:
    return Channel(LINK, ADDRESS, MACHINE, ENTROPY)


def sent(one: Channel) -> bytes:
    return b"".join(effect.data for effect in one.transmit())


class Server:
    """Answers the upgrade; with or without an early payload, in one piece."""

    def __init__(self, one: Channel, *, early: bool) -> None:
        self.http = HttpServer()
        outer = Answering()
        request = outer.receive(sent(one))
        assert request is not None
        self.noise = Responder(CONTROL, initiation_of(request), ENTROPY)
        self.hello = outer.switch()[0] + self.noise.response
        if early:
            challenge = challenge_public(ChallengePrivateKey(b"\x05" * 32))
            self.hello += self.noise.seal(early_payload(challenge))
        self.hello += self.noise.seal(self.http.transmit())

    def turn(self, one: Channel) -> list[HttpEvent]:
        for request in self.http.receive(self.noise.receive(sent(one))):
            assert isinstance(request, Request)
            self.http.respond(request.stream, 200, request.body[::-1])
        return one.receive(self.noise.seal(self.http.transmit()))


def ready(*, early: bool = True) -> tuple[Channel, Server]:
    one = channel()
    one.begin(machine_public(CONTROL))
    one.opened()
    server = Server(one, early=early)
    assert one.receive(server.hello) == []
    assert one.ready
    assert one.usable
    return one, server


def test_it_opens_a_link_to_control() -> None:
    assert isinstance(channel().open(), Open)


@pytest.mark.parametrize("key_first", [True, False])
def test_the_upgrade_waits_for_link_and_key(key_first: bool) -> None:
    one = channel()
    steps = [lambda: one.begin(machine_public(CONTROL)), one.opened]
    for step in steps if key_first else reversed(steps):
        assert one.transmit() == []
        step()
    assert sent(one).startswith(b"POST /ts2021 HTTP/1.1\r\nHost: control.example:8443\r\n")
    assert one.transmit() == []


@pytest.mark.parametrize("early", [True, False])
def test_requests_and_answers(early: bool) -> None:
    one, server = ready(early=early)
    stream = one.request("POST", "/p", b"abc")
    assert server.turn(one) == [Head(stream, 200, {}), Body(stream, b"cba"), End(stream)]


def test_the_whole_of_it_byte_by_byte() -> None:
    one = channel()
    one.begin(machine_public(CONTROL))
    one.opened()
    server = Server(one, early=True)
    for byte in server.hello:
        one.receive(bytes([byte]))
    assert one.ready


def test_a_refusal_is_told_with_its_answer() -> None:
    one = channel()
    one.begin(machine_public(CONTROL))
    one.opened()
    with pytest.raises(Refused) as caught:
        one.receive(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno")
    assert caught.value.response.status == 404


def test_bytes_before_we_asked_are_malformed() -> None:
    one = channel()
    one.opened()
    with pytest.raises(MalformedError):
        one.receive(b"220 mail.example ESMTP\r\n")


@pytest.mark.parametrize("index", range(0, 300, 7))
def test_a_flipped_bit_in_the_answer_raises_malformed_or_refused_or_waits(index: int) -> None:
    one = channel()
    one.begin(machine_public(CONTROL))
    one.opened()
    hello = bytearray(Server(one, early=True).hello)
    hello[index % len(hello)] ^= 1
    try:
        one.receive(bytes(hello))
    except (MalformedError, Refused):
        return


def test_goaway_ends_it() -> None:
    one, server = ready()
    assert not one.ended
    server.http._h2.close_connection()
    one.receive(server.noise.seal(server.http.transmit()))
    assert one.ended
    assert not one.usable


def test_a_cancelled_request_has_no_answer() -> None:
    one, server = ready()
    stream = one.request("GET", "/p")
    one.cancel(stream)
    other = one.request("GET", "/q")
    server.noise.receive(sent(one))
    assert other != stream

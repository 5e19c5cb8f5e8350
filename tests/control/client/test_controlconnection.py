from __future__ import annotations

import math
import random
from collections.abc import Iterable
from functools import partial
from itertools import count
from typing import Any

import pytest

from tests.control.scripted import CONTROL, MACHINE
from tests.growth import measure
from tsnet.base.crypto import machine_public
from tsnet.base.keys import MachineKey
from tsnet.base.links import Close, Closed, Data, Effect, Event, Link, Open, Opened, Received
from tsnet.control.client.address import ControlAddress
from tsnet.control.client.controlconnection import (
    DOUBT_AT_LEAST,
    DOUBT_AT_MOST,
    READY_TIMEOUT,
    ControlConnection,
    Exchange,
    Piece,
)
from tsnet.control.client.serverkey import ServerKey
from tsnet.control.http import HttpServer, Request
from tsnet.control.messages import KEY_PATH, ControlKeys
from tsnet.control.transport import Responder
from tsnet.control.upgrade import Answering, initiation_of
from tsnet.errors import CaptivePortal, ControlKeyChanged, ControlUnreachable, NotAControlServer

KEY = machine_public(CONTROL)
KEY_LINK, NOISE_LINK = Link("control", "key", 2), Link("control", "noise", 1)


def uplink(
    *,
    known: MachineKey | None = None,
    pinned: MachineKey | None = None,
    trusted: MachineKey | None = None,
    verified: bool = False,
    asks: bool = False,
) -> ControlConnection:
    numbers = count(1)

    def new_link(what: str) -> Link:
        return Link("control", what, next(numbers))

    address = ControlAddress.parse("https://control.example")
    entropy = random.Random(1).randbytes
    objection = partial(ServerKey(pinned=pinned, known=trusted, verified=verified).objection, address)
    return ControlConnection(
        address,
        MACHINE,
        control_key=known,
        asks=asks or known is None,
        objection=objection,
        new_link=new_link,
        entropy=entropy,
        now=0.0,
    )


def feed(one: ControlConnection, *events: Event) -> list[Exchange | Piece]:
    return [found for event in events for found in one.receive(event, 0.0)]


def page(status: int, body: bytes) -> bytes:
    answering = Answering()
    answering.receive(b"GET /key HTTP/1.1\r\nHost: h\r\n\r\n")
    return answering.respond(status, body)


def data_for(effects: Iterable[Effect], link: Link) -> bytes:
    return b"".join(effect.data for effect in effects if isinstance(effect, Data) and effect.link == link)


def ready() -> tuple[ControlConnection, Responder, HttpServer]:
    one = uplink(known=KEY)
    one.transmit()
    feed(one, Opened(NOISE_LINK))
    outer, http = Answering(), HttpServer()
    request = outer.receive(data_for(one.transmit(), NOISE_LINK))
    assert request is not None
    noise = Responder(CONTROL, initiation_of(request), random.Random(2).randbytes)
    feed(one, Received(NOISE_LINK, outer.switch()[0] + noise.response + noise.seal(http.transmit())))
    return one, noise, http


def test_both_links_open_at_once() -> None:
    effects = uplink().transmit()
    assert [effect.link for effect in effects if isinstance(effect, Open)] == [KEY_LINK, NOISE_LINK]


def test_a_known_key_is_not_asked_for() -> None:
    effects = uplink(known=KEY).transmit()
    assert [effect.link for effect in effects if isinstance(effect, Open)] == [NOISE_LINK]


def beside(**options: Any) -> ControlConnection:
    """It has begun with a key that is trusted, and asks for it."""
    one = uplink(known=KEY, trusted=KEY, asks=True, **options)
    effects = one.transmit()
    assert [effect.link for effect in effects if isinstance(effect, Open)] == [KEY_LINK, NOISE_LINK]
    feed(one, Opened(NOISE_LINK), Opened(KEY_LINK))
    effects = one.transmit()
    assert data_for(effects, KEY_LINK).startswith(b"GET /key")
    assert data_for(effects, NOISE_LINK).startswith(b"POST /ts2021 ")
    return one


def test_with_a_trusted_key_the_upgrade_does_not_wait_for_the_question() -> None:
    one = beside()
    feed(one, Received(KEY_LINK, page(200, ControlKeys(KEY).encode())))
    effects = one.transmit()
    assert Close(KEY_LINK) in effects
    assert data_for(effects, NOISE_LINK) == b""
    assert (one.control_key, one.lost) == (KEY, None)


def test_a_server_that_has_proved_the_trusted_key_is_not_asked_any_more() -> None:
    one = uplink(known=KEY, trusted=KEY, asks=True)
    feed(one, Opened(NOISE_LINK))
    outer, http = Answering(), HttpServer()
    request = outer.receive(data_for(one.transmit(), NOISE_LINK))
    assert request is not None
    noise = Responder(CONTROL, initiation_of(request), random.Random(2).randbytes)
    feed(one, Received(NOISE_LINK, outer.switch()[0] + noise.response + noise.seal(http.transmit())))
    assert one.ready
    assert Close(KEY_LINK) in one.transmit()
    assert not one.owns(KEY_LINK)
    assert one.lost is None


ENDS = [Closed(NOISE_LINK, "eof"), Received(NOISE_LINK, page(400, b"no")), Received(NOISE_LINK, b"SSH-2.0\r\n\r\n")]
"""How a server answers whose key is another one."""


@pytest.mark.parametrize("end", [None, *ENDS])
def test_another_key_that_a_certificate_vouches_for_begins_a_handshake_on_another_link(end: Event | None) -> None:
    one = beside(verified=True)
    feed(one, *([end] if end is not None else []))
    assert one.lost is None
    assert not one.has_input
    other = machine_public(MACHINE)
    feed(one, Received(KEY_LINK, page(200, ControlKeys(other).encode())))
    effects = one.transmit()
    (again,) = (effect.link for effect in effects if isinstance(effect, Open))
    assert Close(NOISE_LINK) in effects
    assert not one.owns(NOISE_LINK)
    feed(one, Opened(again))
    assert data_for(one.transmit(), again).startswith(b"POST /ts2021 ")
    assert (one.control_key, one.lost) == (other, None)


@pytest.mark.parametrize("end", ENDS)
def test_a_handshake_that_fails_although_the_key_is_the_same_is_told(end: Event) -> None:
    one = beside()
    feed(one, end)
    assert one.lost is None
    feed(one, Received(KEY_LINK, page(200, ControlKeys(KEY).encode())))
    assert one.lost is not None
    assert isinstance(one.lost.error, ControlUnreachable | NotAControlServer)


def test_another_key_that_nobody_vouches_for_ends_the_connection() -> None:
    one = beside()
    feed(one, Received(KEY_LINK, page(200, ControlKeys(machine_public(MACHINE)).encode())))
    assert one.lost is not None
    assert isinstance(one.lost.error, ControlKeyChanged)
    assert not [effect for effect in one.transmit() if isinstance(effect, Open)]


@pytest.mark.parametrize("noise_first", [True, False])
def test_the_key_then_the_upgrade(noise_first: bool) -> None:
    one = uplink()
    one.transmit()
    if noise_first:
        feed(one, Opened(NOISE_LINK))
    feed(one, Opened(KEY_LINK))
    effects = one.transmit()
    assert data_for(effects, KEY_LINK).startswith(f"GET {KEY_PATH} HTTP/1.1\r\nHost: control.example\r\n".encode())
    assert data_for(effects, NOISE_LINK) == b""
    feed(one, Received(KEY_LINK, page(200, ControlKeys(KEY).encode())))
    if not noise_first:
        feed(one, Opened(NOISE_LINK))
    effects = one.transmit()
    assert Close(KEY_LINK) in effects
    assert data_for(effects, NOISE_LINK).startswith(b"POST /ts2021 ")
    assert one.control_key == KEY
    assert not one.owns(KEY_LINK)


def test_an_answer_may_end_with_its_link() -> None:
    one = uplink()
    answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + ControlKeys(KEY).encode()
    feed(one, Opened(KEY_LINK), Received(KEY_LINK, answer), Closed(KEY_LINK, "eof"))
    assert one.control_key == KEY
    assert one.lost is None


@pytest.mark.parametrize(
    ("headers", "date"),
    [
        ([("Date", "Fri, 21 Aug 2026 10:40:00 GMT")], 1_787_308_800.0),
        ([("Date", "Fri, 21 Aug 2026 10:40:00 GMT"), ("Age", "60")], None),
        ([("Date", "yesterday")], None),
        ([], None),
    ],
)
def test_the_time_by_the_clock_of_who_names_the_key(headers: list[tuple[str, str]], date: float | None) -> None:
    one, answering = uplink(), Answering()
    answering.receive(b"GET /key HTTP/1.1\r\nHost: h\r\n\r\n")
    answer = answering.respond(200, ControlKeys(KEY).encode(), headers)
    feed(one, Opened(KEY_LINK), Received(KEY_LINK, answer))
    assert (one.control_key, one.date) == (KEY, date)


def test_the_answer_that_names_the_key_is_not_kept() -> None:
    one = uplink()
    feed(one, Opened(KEY_LINK), Received(KEY_LINK, page(200, ControlKeys(KEY).encode())))
    assert one.control_key == KEY
    assert "Asking ×" not in measure(one)


@pytest.mark.parametrize(
    ("event", "kind", "hopeless"),
    [
        (Received(KEY_LINK, page(404, b"")), NotAControlServer, True),
        (Received(KEY_LINK, page(200, b"<html>")), CaptivePortal, True),
        (Received(KEY_LINK, page(502, b"")), ControlUnreachable, False),
        (Received(KEY_LINK, b"SSH-2.0-x\r\n\r\n"), NotAControlServer, True),
        (Closed(KEY_LINK, "eof"), ControlUnreachable, False),
        (Closed(KEY_LINK, "refused"), ControlUnreachable, False),
        (Closed(NOISE_LINK, "reset"), ControlUnreachable, False),
        (Received(NOISE_LINK, b"SSH-2.0-x\r\n"), NotAControlServer, True),
    ],
)
def test_what_breaks_before_a_request_can_be_made(event: Event, kind: type, hopeless: bool) -> None:
    one = uplink()
    feed(one, Opened(KEY_LINK), Opened(NOISE_LINK), event)
    assert one.lost is not None
    assert (type(one.lost.error), one.lost.hopeless) == (kind, hopeless)
    assert not one.usable
    assert feed(one, Received(NOISE_LINK, b"more")) == []


def test_a_key_that_is_not_the_pinned_one() -> None:
    one = uplink(pinned=MachineKey(b"\x01" * 32))
    feed(one, Opened(KEY_LINK), Received(KEY_LINK, page(200, ControlKeys(KEY).encode())))
    assert one.lost is not None
    assert one.lost.hopeless
    assert one.control_key is None


OTHER = MachineKey(b"\x01" * 32)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({}, None),
        ({"trusted": KEY}, None),
        ({"trusted": OTHER}, ControlKeyChanged),
        ({"trusted": OTHER, "verified": True}, None),
        ({"trusted": OTHER, "pinned": KEY}, None),
        ({"trusted": KEY, "pinned": OTHER}, NotAControlServer),
        ({"trusted": KEY, "pinned": OTHER, "verified": True}, NotAControlServer),
    ],
)
def test_whose_key_is_taken(options: dict[str, Any], error: type[Exception] | None) -> None:
    one = uplink(**options)
    feed(one, Opened(KEY_LINK), Opened(NOISE_LINK))
    one.transmit()
    feed(one, Received(KEY_LINK, page(200, ControlKeys(KEY).encode())))
    handshake = data_for(one.transmit(), NOISE_LINK)
    if error is None:
        assert one.lost is None
        assert one.control_key == KEY
        assert handshake.startswith(b"POST /ts2021 ")
    else:
        assert one.lost is not None
        assert (type(one.lost.error), one.lost.hopeless) == (error, True)
        assert handshake == b""


def test_it_is_ready_once_the_server_has_proved_its_key() -> None:
    one = uplink(known=KEY)
    feed(one, Opened(NOISE_LINK))
    assert not one.ready
    one, _noise, _http = ready()
    assert one.ready


def test_what_the_answer_says_is_kept_for_whoever_waits() -> None:
    one = uplink()
    feed(one, Opened(KEY_LINK), Received(KEY_LINK, page(503, b"")))
    assert one.lost is not None
    assert one.lost.answer is not None
    assert one.lost.answer.status == 503


def test_it_must_be_ready_in_time() -> None:
    one = uplink()
    one.tick(READY_TIMEOUT - 0.1)
    assert one.lost is None
    one.tick(READY_TIMEOUT)
    assert one.lost is not None
    assert one.lost.reason == "timeout"


def test_answers_are_whole_and_the_poll_streams() -> None:
    one, noise, http = ready()
    assert one.usable
    publish, poll = one.request("publish", "POST", "/a", b"{}"), one.request("poll", "POST", "/b", b"{}")
    asked = http.receive(noise.receive(data_for(one.transmit(), NOISE_LINK)))
    assert [request.stream for request in asked if isinstance(request, Request)] == [publish, poll]
    http.respond(publish, 200, b"whole")
    http.respond(poll, 200, b"piece", end=False)
    done, piece = feed(one, Received(NOISE_LINK, noise.seal(http.transmit())))
    assert isinstance(done, Exchange)
    assert (done.purpose, done.status, bytes(done.body)) == ("publish", 200, b"whole")
    assert isinstance(piece, Piece)
    assert (piece.exchange.stream, piece.data) == (poll, b"piece")
    http.close(poll)
    (broken,) = feed(one, Received(NOISE_LINK, noise.seal(http.transmit())))
    assert isinstance(broken, Exchange)
    assert broken.status == 0


def test_a_poll_that_fails_has_its_text() -> None:
    one, noise, http = ready()
    poll = one.request("poll", "POST", "/b", b"{}")
    http.receive(noise.receive(data_for(one.transmit(), NOISE_LINK)))
    http.respond(poll, 404, b"node not found\n\x00")
    (failed,) = feed(one, Received(NOISE_LINK, noise.seal(http.transmit())))
    assert isinstance(failed, Exchange)
    assert (failed.status, failed.text) == (404, "node not found \\x00")


def test_closing_sends_what_waits_first() -> None:
    one, noise, http = ready()
    one.request("logout", "POST", "/machine/register", b"{}")
    *before, last = one.close()
    assert last == Close(NOISE_LINK)
    assert len(http.receive(noise.receive(data_for(before, NOISE_LINK)))) == 1


def test_closing_early_closes_both_links() -> None:
    one = uplink()
    one.transmit()
    assert one.close() == [Close(KEY_LINK), Close(NOISE_LINK)]


def test_goaway_loses_it_behind_the_answers() -> None:
    one, noise, http = ready()
    stream = one.request("publish", "POST", "/a", b"{}")
    http.receive(noise.receive(data_for(one.transmit(), NOISE_LINK)))
    http.respond(stream, 200)
    wire = http.transmit()
    http._h2.close_connection()
    found = feed(one, Received(NOISE_LINK, noise.seal(wire + http.transmit())))
    assert len(found) == 1
    assert one.lost is not None


# --- the network changes ----------------------------------------------------------------------------------------


def pinged(one: ControlConnection, noise: Responder, http: HttpServer) -> bytes:
    """What the server answers to what has been sent, as records."""
    http.receive(noise.receive(data_for(one.transmit(), NOISE_LINK)))
    return noise.seal(http.transmit())


def test_a_server_that_is_doubted_and_answers_is_kept() -> None:
    one, noise, http = ready()
    feed(one, Received(NOISE_LINK, pinged(one, noise, http)))
    one.doubt(0.0)
    assert one.heard_by == DOUBT_AT_LEAST
    feed(one, Received(NOISE_LINK, pinged(one, noise, http)))
    assert one.heard_by == math.inf
    one.tick(10.0)
    assert one.lost is None


def test_a_server_that_is_doubted_and_silent_is_given_up_soon() -> None:
    one, noise, http = ready()
    pinged(one, noise, http)
    one.doubt(1.0)
    one.doubt(1.2)  # a second change gives it no more time
    one.tick(1.0 + DOUBT_AT_LEAST - 0.01)
    assert one.lost is None
    one.tick(1.0 + DOUBT_AT_LEAST)
    assert one.lost is not None
    assert not one.lost.hopeless


@pytest.mark.parametrize(("took", "within"), [(0.01, DOUBT_AT_LEAST), (1.5, 1.5), (9.0, DOUBT_AT_MOST)])
def test_who_needed_long_to_prove_its_key_gets_as_long_to_answer(took: float, within: float) -> None:
    one, _, _ = ready()
    one._took = took
    one.doubt(1.0)
    assert one.heard_by == 1.0 + within


def test_who_has_said_more_than_we_have_read_is_not_doubted() -> None:
    one, _, _ = ready()
    one.transmit(busy=True)
    one.doubt(0.0)
    assert one.heard_by == math.inf
    early = uplink(known=KEY)
    early.doubt(0.0)
    assert early.heard_by == math.inf

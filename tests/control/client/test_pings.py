from __future__ import annotations

from collections import Counter
from itertools import count

import pytest

from tests.control.scripted import Scripted
from tsnet.base.links import Close, Closed, Data, Link, Open, Opened, Received
from tsnet.control.client.address import ControlAddress
from tsnet.control.client.facts import PingRequested
from tsnet.control.client.pings import ANSWER_TIMEOUT, BURST, MAX_UNTAKEN, RATE, Pings, Post
from tsnet.control.messages import MapResponse, PingRequest, decode_map
from tsnet.http1.client import MAX_AT_ONE_SERVER

HERE = "https://control.example"


class Kit:
    def __init__(self) -> None:
        numbers = count(1)
        self.dropped: Counter[str] = Counter()
        self.pings = Pings(ControlAddress.parse(HERE), lambda what: Link("control", what, next(numbers)), self.dropped)

    def ask(self, url: str, **fields: object) -> None:
        self.pings.requested(PingRequest(url, **fields), 0.0)  # type: ignore[arg-type]


def test_head_over_a_link_of_its_own() -> None:
    kit = Kit()
    kit.ask(f"{HERE}/ping?id=1")
    (effect,) = kit.pings.take_effects(0.0)
    assert isinstance(effect, Open)
    assert effect.link == Link("control", "ping", 1)
    kit.pings.receive(Opened(effect.link), 0.0)
    (data,) = kit.pings.take_effects(0.0)
    assert isinstance(data, Data)
    assert data.data.startswith(b"HEAD /ping?id=1 HTTP/1.1\r\nHost: control.example\r\n")
    kit.pings.receive(Received(effect.link, b"HTTP/1.1 200 OK\r\n\r\n"), 1.0)
    assert kit.pings.take_effects(0.0) == [Close(effect.link)]
    assert kit.pings.deadline() == float("inf")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("location", ["http://169.254.169.254/latest", f"{HERE}/elsewhere"])
def test_no_redirect_is_followed(status: int, location: str) -> None:
    kit = Kit()
    kit.ask(f"{HERE}/1")
    (effect,) = kit.pings.take_effects(0.0)
    kit.pings.receive(Opened(effect.link), 0.0)
    kit.pings.take_effects(0.0)
    answer = f"HTTP/1.1 {status} Elsewhere\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
    kit.pings.receive(Received(effect.link, answer.encode()), 1.0)
    assert kit.pings.take_effects(1.0) == [Close(effect.link)]
    assert (kit.pings.take_posts(), kit.pings.deadline()) == ([], float("inf"))


def test_a_link_that_breaks_or_hangs_is_forgotten() -> None:
    kit = Kit()
    kit.ask(f"{HERE}/1")
    kit.ask(f"{HERE}/2")
    kit.pings.take_effects(0.0)
    kit.pings.receive(Closed(Link("control", "ping", 1), "refused"), 0.0)
    assert kit.pings.take_effects(0.0) == []
    assert kit.pings.deadline() == ANSWER_TIMEOUT
    assert kit.pings.take_effects(ANSWER_TIMEOUT) == [Close(Link("control", "ping", 2))]
    kit.pings.receive(Received(Link("control", "ping", 2), b"late"), 99.0)
    assert kit.pings.take_effects(0.0) == []


def test_head_over_noise() -> None:
    kit = Kit()
    kit.ask("https://unused/p", url_is_noise=True)
    assert kit.pings.take_posts() == [Post("HEAD", "/p", b"")]
    assert kit.pings.take_effects(0.0) == []


def test_c2n_is_answered_over_noise_whatever_the_host() -> None:
    kit = Kit()
    kit.ask("https://unused/c2n/1", types="c2n", payload=b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n")
    (post,) = kit.pings.take_posts()
    assert (post.method, post.path) == ("POST", "/c2n/1")
    assert post.body.startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize(
    ("url", "types", "reason"),
    [
        ("https://elsewhere.example/p", "", "ping-elsewhere"),
        ("http://control.example/p", "", "ping-elsewhere"),
        ("http://169.254.169.254/latest", "", "ping-elsewhere"),
        (f"{HERE}/c2n", "c2n", "ping-malformed"),
        (f"{HERE}/a b", "", "ping-malformed"),
        (f"{HERE}/a\r\nX: y", "", "ping-malformed"),
        ("https://[::1/p", "", "ping-malformed"),
        ("file:///etc/passwd", "", "ping-malformed"),
    ],
)
def test_what_is_not_done_is_counted(url: str, types: str, reason: str) -> None:
    kit = Kit()
    kit.ask(url, types=types)
    assert kit.dropped == {reason: 1}
    assert kit.pings.take_effects(0.0) == []
    assert kit.pings.take_posts() == []


@pytest.mark.parametrize("types", ["", "c2n", "TSMP"])
@pytest.mark.parametrize("url", ["http://[", "https://[::1/p", "https://a]b/p", "https://control.example:99999/p"])
def test_what_only_looks_like_a_url_is_asked_of_nobody(url: str, types: str) -> None:
    """Over the channel, too: there no host is compared, and the path alone goes into a request."""
    kit = Kit()
    kit.ask(url, types=types, url_is_noise=True)
    assert kit.dropped == {"ping-malformed": 1}
    assert (kit.pings.take_posts(), kit.pings.take_facts()) == ([], [])


def test_a_few_links_at_once() -> None:
    kit = Kit()
    for number in range(MAX_AT_ONE_SERVER + 2):
        kit.ask(f"{HERE}/{number}")
    assert len(kit.pings.take_effects(0.0)) == MAX_AT_ONE_SERVER
    assert kit.dropped == {"ping-too-many": 2}


def test_pings_that_nobody_takes_are_few() -> None:
    kit = Kit()
    for number in range(MAX_UNTAKEN + 2):
        kit.ask(f"{HERE}/{number}", types="TSMP")
    assert len(kit.pings.take_facts()) == MAX_UNTAKEN
    assert kit.dropped == {"ping-too-many": 2}
    kit.ask(f"{HERE}/again", types="TSMP")
    assert len(kit.pings.take_facts()) == 1


def test_the_same_url_is_answered_once() -> None:
    kit = Kit()
    for url in ("/1", "/1", "/2"):
        kit.ask(f"{HERE}{url}")
    assert len(kit.pings.take_effects(0.0)) == 2


@pytest.mark.parametrize("noise", [True, False])
def test_other_pings_are_handed_out_and_their_answers_posted(noise: bool) -> None:
    kit = Kit()
    ping = PingRequest(f"{HERE}/p", url_is_noise=noise, types="disco,TSMP", ip="100.64.0.2")
    kit.pings.requested(ping, 0.0)
    assert kit.pings.take_facts() == [PingRequested(ping)]
    kit.pings.answer(ping, {"Err": "timeout"}, 1.0)
    if noise:
        assert kit.pings.take_posts() == [Post("POST", "/p", b'{"Err":"timeout"}')]
        return
    (effect,) = kit.pings.take_effects(0.0)
    kit.pings.receive(Opened(effect.link), 1.0)
    (data,) = kit.pings.take_effects(0.0)
    assert isinstance(data, Data)
    assert data.data.endswith(b'\r\n\r\n{"Err":"timeout"}')


def test_control_may_ask_only_so_often() -> None:
    control = Scripted()
    client = control.join()
    for number in range(200):
        control.send_map(MapResponse(ping=PingRequest(f"https://unused/c2n/{number}", types="TSMP", ip="100.64.0.9")))
    late = client.dropped["ping-too-many"]
    assert len(control.told(PingRequested)) == 200 - late
    assert BURST <= 200 - late <= BURST + 10
    control.wind(BURST / RATE)
    control.send_map(MapResponse(ping=PingRequest("https://unused/c2n/late", types="TSMP", ip="100.64.0.9")))
    assert client.dropped["ping-too-many"] == late


def test_a_ping_that_is_to_be_noted_is_in_the_trace() -> None:
    noted: list[object] = []

    def trace(event: str, **fields: object) -> None:
        if event == "pinged by control":
            noted.append(fields["types"])

    control = Scripted()
    control.join(trace=trace)
    for number, log in enumerate((True, False)):
        message = MapResponse(ping=PingRequest(f"https://unused/{number}", url_is_noise=True, log=log))
        assert decode_map(message.encode()).ping == message.ping
        control.send_map(message)
    assert noted == ["HEAD"]

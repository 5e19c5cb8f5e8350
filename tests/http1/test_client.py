from __future__ import annotations

import itertools
import math
from random import Random
from typing import Any

import pytest

from tests.clock import Clock
from tests.fuzzing import mutated
from tsnet.base.links import Close, Closed, Data, Effect, Link, Open, Opened, Pause, Received, Resume, Tls
from tsnet.base.work import Work
from tsnet.http1.answers import Answer, Failed, Reason
from tsnet.http1.client import MAX_AT_ONCE, MAX_AT_ONE_SERVER, MAX_SENT, TIMEOUT, Http1Client

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhello"
URL = "https://h.example/a?b=c"


def redirect(location: str, status: int = 302) -> bytes:
    return f"HTTP/1.1 {status} Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()


class Kit:
    """A client, a clock, and an edge that notes what it is told."""

    def __init__(self) -> None:
        numbers = itertools.count(1)
        self.clock = Clock()
        self.http = Http1Client(lambda: Link("test", "http", next(numbers)))
        self.effects: list[Effect] = []

    def ask(self, method: str = "GET", url: str = URL, **options: Any) -> int:
        return self.http.request(method, url, now=self.clock.now, **options)

    def run(self) -> list[Effect]:
        """The effects that are due, until nothing is."""
        found: list[Effect] = []
        for _ in range(10_000):
            found += self.http.transmit(self.clock.now)
            if self.http.deadline() > self.clock.now:
                self.effects += found
                return found
        raise AssertionError("the deadline stays due")

    def opened(self) -> Open:
        """The only link that is opened now."""
        (effect,) = (effect for effect in self.run() if isinstance(effect, Open))
        return effect

    def sent(self, link: Link) -> bytes:
        self.http.receive(Opened(link), self.clock.now)
        return b"".join(effect.data for effect in self.run() if isinstance(effect, Data) and effect.link == link)

    def say(self, link: Link, data: bytes, closed: str = "") -> None:
        self.http.receive(Received(link, data), self.clock.now)
        if closed:
            self.http.receive(Closed(link, closed), self.clock.now)
        self.run()

    def answer(self) -> Answer | Failed:
        (answer,) = self.http.take_answers()
        return answer

    def asked(self, wire: bytes, closed: str = "", **options: Any) -> Answer | Failed:
        """What becomes of a request that is answered by these bytes."""
        self.ask(**options)
        link = self.opened().link
        self.sent(link)
        self.say(link, wire, closed)
        return self.answer()

    def closed(self) -> list[Link]:
        return [effect.link for effect in self.effects if isinstance(effect, Close)]


# --- a request and its answer ---------------------------------------------------------------------------------------


def test_a_get_in_effects_and_bytes() -> None:
    kit = Kit()
    ticket = kit.ask(headers=[("Accept", "text/plain")])
    opened = kit.opened()
    link = opened.link
    assert opened == Open(link, ("h.example",), 443, Tls("h.example"), 10.0)
    assert kit.sent(link) == (
        b"GET /a?b=c HTTP/1.1\r\nHost: h.example\r\nAccept: text/plain\r\n"
        b"Accept-Encoding: identity\r\nConnection: close\r\n\r\n"
    )
    kit.say(link, OK)
    assert kit.answer() == Answer(ticket, 200, URL, {"content-length": "5", "x-a": "b"}, b"hello")
    assert kit.closed() == [link]
    assert kit.http.deadline() == math.inf
    assert not kit.http.owns(link)


def test_a_post_over_plain_http() -> None:
    kit = Kit()
    kit.ask("POST", "http://10.0.0.1:5000/ctl", body=b"<soap/>", headers=[("Content-Type", "text/xml")], direct=True)
    opened = kit.opened()
    assert opened == Open(opened.link, ("10.0.0.1",), 5000, None, 10.0, direct=True)
    assert kit.sent(opened.link) == (
        b"POST /ctl HTTP/1.1\r\nHost: 10.0.0.1:5000\r\nContent-Type: text/xml\r\n"
        b"Accept-Encoding: identity\r\nConnection: close\r\nContent-Length: 7\r\n\r\n<soap/>"
    )


def test_a_post_without_a_body_tells_its_length() -> None:
    kit = Kit()
    kit.ask("POST")
    assert b"\r\nContent-Length: 0\r\n" in kit.sent(kit.opened().link)


def test_a_body_that_ends_with_the_connection() -> None:
    kit = Kit()
    answer = kit.asked(b"HTTP/1.1 200 OK\r\n\r\nhello", "eof")
    assert isinstance(answer, Answer)
    assert answer.body == b"hello"
    assert kit.closed() == [], "a link that is closed already"


def test_an_error_status_is_an_answer() -> None:
    answer = Kit().asked(b"HTTP/1.1 503 Busy\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n")
    assert isinstance(answer, Answer)
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")


def test_an_answer_before_the_request_is_an_answer() -> None:
    """A server may refuse a connection in HTTP, without waiting for anything."""
    kit = Kit()
    kit.ask()
    kit.say(kit.opened().link, b"HTTP/1.1 408 Timeout\r\nContent-Length: 0\r\n\r\n")
    assert isinstance(kit.answer(), Answer)


# --- what fails -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wire", "closed", "reason"),
    [
        (b"", "refused", Reason.LINK),
        (b"", "proxy http://p:3128: 407 who are you", Reason.LINK),
        (b"", "eof", Reason.TRUNCATED),
        (OK[:20], "eof", Reason.TRUNCATED),
        (OK[:-1], "eof", Reason.TRUNCATED),
        (OK[:-1], "reset", Reason.LINK),
        (b"HTTP/1.1 200 OK\r\n\r\nhello", "reset", Reason.LINK),
        (b"SSH-2.0\r\n\r\n", "", Reason.MALFORMED),
        (b"HTTP/1.1 101 Go\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "", Reason.MALFORMED),
        (b"HTTP/1.1 103 X\r\n\r\n" * 20, "", Reason.FLOOD),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000, "", Reason.HEAD_TOO_LARGE),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1001, "", Reason.BODY_TOO_LARGE),
    ],
)
def test_bad_answers_are_told_and_counted(wire: bytes, closed: str, reason: Reason) -> None:
    kit = Kit()
    answer = kit.asked(wire, closed, max_body=1000)
    assert isinstance(answer, Failed)
    assert answer.reason is reason
    assert answer.detail == closed or reason is not Reason.LINK
    assert kit.http.failed == {reason: 1}
    assert len(kit.closed()) == (0 if closed else 1)
    assert kit.http.deadline() == math.inf


@pytest.mark.parametrize(
    ("method", "url", "options", "reason"),
    [
        ("GET", "ftp://h/", {}, Reason.URL),
        ("GET", "https://user:hunter2@h/", {}, Reason.URL),
        ("GET POST", URL, {}, Reason.REQUEST),
        ("GET", URL, {"headers": [("X", "a\r\nhunter2: b")]}, Reason.REQUEST),
        ("POST", URL, {"body": b"x" * (MAX_SENT + 1)}, Reason.REQUEST),
    ],
)
def test_what_cannot_be_asked_is_told_at_once(method: str, url: str, options: dict[str, Any], reason: Reason) -> None:
    kit = Kit()
    ticket = kit.ask(method, url, **options)
    answer = kit.answer()
    assert isinstance(answer, Failed)
    assert (answer.ticket, answer.reason) == (ticket, reason)
    assert "hunter2" not in repr(answer)
    assert kit.run() == []


def test_events_of_links_that_are_gone_are_counted() -> None:
    kit = Kit()
    kit.asked(OK)
    for event in (Received(Link("test", "http", 1), b"more"), Closed(Link("test", "http", 9), "eof")):
        kit.http.receive(event, kit.clock.now)
    assert kit.http.failed == {"late": 2}
    assert kit.http.take_answers() == []


# --- redirects ------------------------------------------------------------------------------------------------------


def test_a_redirect_is_followed_on_a_new_link() -> None:
    kit = Kit()
    ticket = kit.ask("POST", body=b"secret", headers=[("Authorization", "Bearer hunter2")])
    first = kit.opened()
    kit.sent(first.link)
    kit.http.receive(Received(first.link, redirect("https://other.example/x", 303)), kit.clock.now)
    second = kit.opened()
    assert second == Open(second.link, ("other.example",), 443, Tls("other.example"), 10.0)
    asked = kit.sent(second.link)
    assert asked.startswith(b"GET /x HTTP/1.1\r\nHost: other.example\r\n")
    assert b"hunter2" not in asked
    assert b"secret" not in asked
    kit.say(second.link, OK)
    answer = kit.answer()
    assert isinstance(answer, Answer)
    assert (answer.ticket, answer.url) == (ticket, "https://other.example/x")
    assert kit.closed() == [first.link, second.link]


def test_redirects_without_end() -> None:
    kit = Kit()
    kit.ask(max_redirects=3)
    for number in range(4):
        link = kit.opened().link
        kit.sent(link)
        kit.http.receive(Received(link, redirect(f"/{number}")), kit.clock.now)
    kit.run()
    answer = kit.answer()
    assert isinstance(answer, Failed)
    assert answer.reason is Reason.REDIRECTS
    assert len(kit.closed()) == 4


def test_a_redirect_may_be_the_answer() -> None:
    """Of a captive portal, for example."""
    answer = Kit().asked(redirect("http://portal.example/login"), url="http://h/", max_redirects=0)
    assert isinstance(answer, Answer)
    assert (answer.status, answer.headers["location"]) == (302, "http://portal.example/login")


@pytest.mark.parametrize(
    ("location", "reason"), [("http://h.example/", Reason.DOWNGRADE), ("ftp://h/", Reason.REDIRECT)]
)
def test_redirects_that_are_not_followed(location: str, reason: Reason) -> None:
    kit = Kit()
    answer = kit.asked(redirect(location))
    assert isinstance(answer, Failed)
    assert answer.reason is reason
    assert len(kit.closed()) == 1


# --- time -----------------------------------------------------------------------------------------------------------


def test_the_time_is_for_all_of_it_together() -> None:
    kit = Kit()
    begun = kit.clock.now
    kit.ask()
    link = kit.opened().link
    assert kit.http.deadline() == begun + TIMEOUT
    kit.clock.advance(TIMEOUT - 1)
    kit.say(link, redirect("/b"))
    (second,) = (effect for effect in kit.effects[1:] if isinstance(effect, Open))
    assert second.timeout == 1
    assert kit.http.deadline() == begun + TIMEOUT
    kit.clock.advance(1)
    kit.run()
    answer = kit.answer()
    assert isinstance(answer, Failed)
    assert answer.reason is Reason.TIMEOUT
    assert kit.closed() == [link, second.link]
    assert kit.http.deadline() == math.inf


def test_a_slow_drip_does_not_put_the_end_off() -> None:
    kit = Kit()
    kit.ask(timeout=5)
    link = kit.opened().link
    kit.sent(link)
    kit.say(link, b"HTTP/1.1 200 OK\r\n\r\n")
    for _ in range(50):
        kit.clock.advance(0.1)
        kit.say(link, b"x")
    answer = kit.answer()
    assert isinstance(answer, Failed)
    assert answer.reason is Reason.TIMEOUT


# --- bounds ---------------------------------------------------------------------------------------------------------


def test_one_server_and_all_of_them_have_a_bound() -> None:
    kit = Kit()
    for number in range(MAX_AT_ONE_SERVER + 1):
        kit.ask(url=f"https://one.example/{number}")
    answer = kit.answer()
    assert isinstance(answer, Failed)
    assert answer.reason is Reason.BUSY
    for number in range(MAX_AT_ONCE):
        kit.ask(url=f"https://{number}.example/")
    assert len(kit.http.take_answers()) == MAX_AT_ONE_SERVER
    opened = [effect for effect in kit.run() if isinstance(effect, Open)]
    assert len(opened) == MAX_AT_ONCE
    kit.say(opened[0].link, OK)
    kit.http.take_answers()
    kit.ask(url="https://one.example/again")
    assert kit.http.take_answers() == []


def test_a_redirect_needs_no_second_place() -> None:
    kit = Kit()
    for number in range(MAX_AT_ONCE):
        kit.ask(url=f"https://{number}.example/")
    first = next(effect for effect in kit.run() if isinstance(effect, Open))
    kit.say(first.link, redirect("https://1.example/"))
    assert kit.http.take_answers() == []


def test_what_is_left_over_pauses_the_link_and_the_others_go_on() -> None:
    kit = Kit()
    kit.ask(url="https://slow.example/")
    kit.ask(url="https://quick.example/")
    slow, quick = (effect.link for effect in kit.run() if isinstance(effect, Open))
    chunk = b"40\r\n" + b"x" * 64 + b"\r\n"
    wire = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * 4000
    kit.http.receive(Received(slow, wire), kit.clock.now)
    kit.http.receive(Received(quick, OK), kit.clock.now)
    assert isinstance(kit.answer(), Answer), "the quick one is not kept waiting"
    assert Pause(slow) in kit.http.transmit(kit.clock.now)
    assert kit.http.deadline() <= kit.clock.now
    kit.run()
    assert kit.effects[-1] == Resume(slow)
    kit.say(slow, b"0\r\n\r\n")
    answer = kit.answer()
    assert isinstance(answer, Answer)
    assert len(answer.body) == 4000 * 64


def test_what_comes_in_pieces_gets_one_share_of_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    kit = Kit()
    kit.ask()
    link = kit.opened().link
    shares: list[float] = []

    def noted(units: float) -> Work:
        shares.append(units)
        return Work(units)

    monkeypatch.setattr("tsnet.http1.client.Work", noted)
    kit.http.receive(Received(link, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), kit.clock.now)
    for _ in range(20):
        kit.http.receive(Received(link, (b"40\r\n" + b"x" * 64 + b"\r\n") * 400), kit.clock.now)
    kit.http.transmit(kit.clock.now)
    assert len(shares) == 1
    kit.say(link, b"0\r\n\r\n")
    answer = kit.answer()
    assert isinstance(answer, Answer)
    assert len(answer.body) == 20 * 400 * 64


def test_a_link_may_end_while_its_input_is_left_over() -> None:
    chunk = b"40\r\n" + b"x" * 64 + b"\r\n"
    for last, closed, kind in ((b"0\r\n\r\n", "reset", Answer), (b"", "eof", Failed), (b"", "reset", Failed)):
        wire = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * 1000 + last
        kit = Kit()
        assert isinstance(kit.asked(wire, closed), kind)
        assert kit.closed() == []


# --- giving up ------------------------------------------------------------------------------------------------------


def test_a_cancelled_request_is_never_answered() -> None:
    kit = Kit()
    first, second = kit.ask(), kit.ask()
    links = [effect.link for effect in kit.run() if isinstance(effect, Open)]
    kit.say(links[1], OK)
    kit.http.cancel(second)
    kit.http.cancel(first)
    kit.http.cancel(99)
    kit.run()
    assert sorted(kit.closed()) == links
    assert kit.http.take_answers() == []


def test_closing_ends_all_links() -> None:
    kit = Kit()
    kit.ask()
    kit.ask("GET", "no url")
    link = kit.opened().link
    kit.http.close()
    kit.run()
    assert kit.closed() == [link]
    assert kit.http.take_answers() == []
    assert kit.http.deadline() == math.inf


@pytest.mark.parametrize("seed", range(4))
def test_each_request_has_exactly_one_end_whatever_comes(seed: int) -> None:
    chance = Random(seed)
    samples = [OK, redirect("/b"), redirect("https://o/", 307), b"HTTP/1.1 200 OK\r\n\r\nhello"]
    kit = Kit()
    tickets = []
    for _ in range(200):
        tickets.append(kit.ask(max_redirects=2, timeout=5.0))
        for effect in kit.run():
            if not isinstance(effect, Open):
                continue
            kit.http.receive(Opened(effect.link), kit.clock.now)
            kit.http.receive(Received(effect.link, mutated(chance.choice(samples), chance)), kit.clock.now)
            if chance.random() < 0.5:
                kit.http.receive(Closed(effect.link, chance.choice(["eof", "reset"])), kit.clock.now)
        kit.clock.advance(1.0)
    kit.clock.advance(60.0)
    kit.run()
    assert sorted(answer.ticket for answer in kit.http.take_answers()) == tickets

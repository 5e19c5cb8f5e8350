"""Any request to control, over the real channel of a scripted server and a hand clock."""

from __future__ import annotations

from typing import Any

import pytest

from tests.control.scripted import PEER, URL, WELCOME, Scripted
from tsnet import errors
from tsnet.control.client.address import ControlAddress
from tsnet.control.client.client import Client
from tsnet.control.client.controlconnection import MAX_ANSWER
from tsnet.control.client.facts import Answered
from tsnet.control.client.requests import (
    MAX_BODIES,
    MAX_BODY,
    MAX_UNANSWERED,
    MAX_UNDER_WAY,
    REQUEST_TIMEOUT,
    OtherRequests,
)
from tsnet.control.messages import MapResponse
from tsnet.errors import Error
from tsnet.netmap.merge import MapUpdate

PATH = "/machine/set-dns"


class Kit:
    """A node that has joined."""

    def __init__(self) -> None:
        self.control = Scripted()
        self.client: Client = self.control.join()

    def ask(self, path: str = PATH, body: bytes = b"{}", **options: Any) -> int:
        ticket = self.client.request(path, body, self.control.now, **options)
        self.control.run()
        return ticket

    def wait(self, path: str = PATH, body: bytes = b"{}", **options: Any) -> int:
        """Ask without a turn."""
        return self.client.request(path, body, self.control.now, **options)

    @property
    def told(self) -> list[Answered]:
        return self.control.told(Answered)

    def error(self, ticket: int) -> Error:
        """The one with which that ticket was answered, and with nothing else."""
        [answer] = [answer for answer in self.told if answer.ticket == ticket]
        assert (answer.status, answer.body) == (0, b"")
        assert isinstance(answer.error, Error)
        return answer.error


def test_the_answer_comes_with_its_ticket() -> None:
    kit = Kit()
    first, second = kit.ask("/machine/a", b'{"n":1}'), kit.ask("/machine/b?x=1", method="GET", body=b"")
    request = kit.control.find("/machine/a").request
    assert (request.method, request.body, request.headers["content-type"]) == ("POST", b'{"n":1}', "application/json")
    assert kit.control.find("/machine/b?x=1").request.method == "GET"
    kit.control.answer("/machine/b?x=1", b"no", 403)
    kit.control.answer("/machine/a", b'{"ok":true}')
    assert kit.told == [Answered(second, 403, b"no"), Answered(first, 200, b'{"ok":true}')]
    assert "ok" not in repr(kit.told), "a body may be a secret"


def test_a_request_waits_for_the_connection_and_goes_out_with_it() -> None:
    control = Scripted()
    client = control.client(auth_key="key")
    ticket = client.request(PATH, b"{}", control.now)
    control.run()
    control.answer(PATH, b"done")
    assert control.told(Answered) == [Answered(ticket, 200, b"done")]


def test_a_request_that_control_never_answers_ends_with_its_time() -> None:
    kit = Kit()
    ticket, patient = kit.ask(timeout=5.0), kit.ask("/machine/other")
    kit.control.wind(4.9)
    assert not kit.told
    kit.control.wind(0.2)
    assert isinstance(kit.error(ticket), errors.ControlTimeout)
    assert "within 5 s" in str(kit.error(ticket))
    assert len(kit.control.cancelled) == 1, "control is told that nobody waits"
    kit.control.wind(REQUEST_TIMEOUT)
    assert isinstance(kit.error(patient), errors.ControlTimeout)
    assert len(kit.told) == 2


def test_an_error_names_the_path_without_its_query() -> None:
    kit = Kit()
    tickets = [kit.ask("/machine/x?token=secret", timeout=5.0), kit.ask("/machine/x?token=secret")]
    kit.control.wind(5.1)
    kit.control.cut()
    texts = [str(kit.error(ticket)) for ticket in tickets]
    assert all("/machine/x" in text and "secret" not in text for text in texts)


def test_an_answer_after_the_time_is_nobodys() -> None:
    kit = Kit()
    kit.ask()
    late = kit.control.find(PATH)
    http, stream = late.peer.http, late.request.stream
    assert http is not None
    http.respond(stream, 200, b"late")  # on its way when the time is up
    kit.control.waiting.remove(late)
    kit.control.now += REQUEST_TIMEOUT
    kit.control.run()
    kit.control.run()
    assert [answer.status for answer in kit.told] == [0]
    again = kit.ask()
    kit.control.answer(PATH, b"in time")
    assert kit.told[1:] == [Answered(again, 200, b"in time")]


def test_an_answer_in_time_that_is_not_worked_off_yet_is_not_told_twice() -> None:
    kit = Kit()
    ticket = kit.ask(timeout=5.0)
    kit.control.answer(PATH, b"x")
    kit.control.wind(60.0)
    assert kit.told == [Answered(ticket, 200, b"x")]


@pytest.mark.parametrize("repeatable", [False, True])
def test_when_the_connection_ends_only_what_may_be_repeated_is(repeatable: bool) -> None:
    kit = Kit()
    ticket = kit.ask(repeatable=repeatable)
    kit.control.find(PATH)
    kit.control.cut()
    kit.control.wind(1.0)
    if repeatable:
        assert not kit.told
        kit.control.answer(PATH, b"the second time")
        assert kit.told == [Answered(ticket, 200, b"the second time")]
    else:
        assert isinstance(kit.error(ticket), errors.ControlUnreachable)
        assert not kit.control.waits(PATH)


def test_what_control_has_not_seen_waits_for_the_next_connection() -> None:
    kit = Kit()
    kit.control.refuse = "refused"
    kit.control.cut()
    ticket = kit.ask()
    kit.control.wind(2.0)
    kit.control.refuse = ""
    kit.control.wind(5.0)
    kit.control.answer(PATH)
    assert kit.told == [Answered(ticket, 200, b"")]


def test_what_waits_while_nobody_can_be_reached_ends_with_its_time() -> None:
    kit = Kit()
    kit.control.refuse = "refused"
    kit.control.cut()
    ticket = kit.ask()
    kit.control.wind(REQUEST_TIMEOUT + 0.1)
    assert isinstance(kit.error(ticket), errors.ControlTimeout)


def test_an_answer_that_control_breaks_off_is_none() -> None:
    kit = Kit()
    ticket = kit.ask()
    waiting = kit.control.find(PATH)
    assert waiting.peer.http is not None
    waiting.peer.http.close(waiting.request.stream)
    kit.control.run()
    assert isinstance(kit.error(ticket), errors.ControlUnreachable)


def test_a_cancelled_request_is_answered_by_nobody_and_leaves_its_place() -> None:
    kit = Kit()
    kit.client.cancel(kit.ask(), kit.control.now)
    kit.control.run()
    assert len(kit.control.cancelled) == 1
    kit.client.cancel(kit.wait(), kit.control.now)
    kit.control.wind(REQUEST_TIMEOUT + 1)
    assert kit.told == []
    assert len(kit.client._requests) == 0


# --- bounds -----------------------------------------------------------------------------------------------------


def test_the_longest_answer_is_taken_whole() -> None:
    kit = Kit()
    ticket = kit.ask()
    kit.control.answer(PATH, b"x" * MAX_ANSWER)
    assert kit.told == [Answered(ticket, 200, b"x" * MAX_ANSWER)]


def test_a_gigabyte_is_broken_off_and_the_map_goes_on_beside_it() -> None:
    kit = Kit()
    ticket = kit.ask()
    waiting = kit.control.find(PATH)
    http, stream = waiting.peer.http, waiting.request.stream
    assert http is not None
    http.respond(stream, 200, end=False)
    piece, written, maps = bytes(1 << 18), 0, 0
    while written < 1 << 30 and stream not in kit.control.cancelled:
        http.write(stream, piece)
        written += len(piece)
        maps += 1
        kit.control.send_map(MapResponse(MapUpdate(peers_changed=(PEER,))))
    assert written <= 8 << 20, "control is told to stop soon"
    assert type(kit.error(ticket)) is errors.RemoteError
    assert "more than" in str(kit.error(ticket))
    assert PEER.id in kit.control.netmap.peers
    assert kit.control.waits("poll"), "the same stream"
    assert maps > 1


def test_ten_thousand_at_once_are_refused_at_once_but_for_a_few() -> None:
    kit = Kit()
    tickets, refused = [], 0
    for _ in range(10_000):
        try:
            tickets.append(kit.wait())
        except errors.TooManyRequests:
            refused += 1
    assert (len(tickets), refused) == (MAX_UNANSWERED, 10_000 - MAX_UNANSWERED)
    kit.control.run()
    assert len([one for one in kit.control.waiting if one.kind == PATH]) == MAX_UNDER_WAY
    while len(kit.told) != len(tickets):
        kit.control.reply(next(one for one in kit.control.waiting if one.kind == PATH), b"x")
        kit.control.send_map(MapResponse(MapUpdate(peers_changed=(PEER,))))
    assert [answer.ticket for answer in kit.told] == tickets, "in the order in which they were asked"
    kit.ask()


def test_bodies_are_bounded_one_and_all() -> None:
    kit = Kit()
    kit.control.refuse = "refused"
    kit.control.cut()
    with pytest.raises(errors.MessageTooLong, match="1048576"):
        kit.ask(body=bytes(MAX_BODY + 1))
    for _ in range(MAX_BODIES // MAX_BODY):
        kit.ask(body=bytes(MAX_BODY))
    with pytest.raises(errors.TooManyRequests):
        kit.ask(body=b"x")
    kit.ask(body=b"")


def test_a_body_as_long_as_may_be_arrives() -> None:
    kit = Kit()
    kit.ask(body=b"x" * MAX_BODY)
    assert len(kit.control.find(PATH).request.body) == MAX_BODY


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("machine/x", "POST"),
        ("", "POST"),
        ("/a b", "POST"),
        ("/\r\nx", "GET"),
        ("/ü", "GET"),
        ("/x", "po st"),
        ("/", ""),
    ],
)
def test_what_is_no_request_is_refused_at_once(path: str, method: str) -> None:
    with pytest.raises(errors.ConfigError):
        Kit().ask(path, method=method)


# --- what comes first -------------------------------------------------------------------------------------------


def test_a_server_that_takes_few_requests_keeps_one_free_for_what_comes_first() -> None:
    kit = Kit()
    kit.control.take_streams(3)  # one has the map
    kit.ask("/machine/a")
    kit.ask("/machine/b")
    assert kit.control.waits("/machine/a")
    assert not kit.control.waits("/machine/b")
    kit.control.updates_pass = False
    kit.client.set_hostinfo({"Hostname": "other"}, kit.control.now)
    kit.control.run()
    assert kit.control.waits("update")
    kit.control.answer("update")
    kit.control.answer("/machine/a")
    assert kit.control.waits("/machine/b")


def test_a_server_that_takes_one_more_than_the_map_is_asked_all_the_same() -> None:
    kit = Kit()
    kit.control.take_streams(2)
    ticket = kit.ask()
    kit.control.answer(PATH)
    assert kit.told == [Answered(ticket, 200, b"")]


def test_a_server_that_takes_nothing_beside_the_map_costs_the_request_alone() -> None:
    kit = Kit()
    kit.control.take_streams(1)
    ticket = kit.ask(timeout=5.0)
    kit.control.wind(5.1)
    assert isinstance(kit.error(ticket), errors.ControlTimeout)
    assert kit.control.waits("poll")


def test_while_the_node_leaves_nothing_else_is_asked() -> None:
    kit = Kit()
    kit.client.logout(kit.control.now)
    ticket = kit.ask()
    assert not kit.control.waits(PATH)
    kit.control.answer("register", WELCOME.encode())
    kit.control.wind(REQUEST_TIMEOUT + 1)
    assert isinstance(kit.error(ticket), errors.ControlTimeout)


# --- the object alone -------------------------------------------------------------------------------------------


def test_the_deadline_is_the_first_that_must_be_answered() -> None:
    requests = OtherRequests(ControlAddress.parse(URL))
    assert requests.deadline() == float("inf")
    for timeout in (30.0, 10.0, 20.0):
        requests.request("/x", b"", 100.0, method="POST", timeout=timeout, repeatable=False)
    assert requests.deadline() == 110.0
    requests.tick(110.0, None)
    assert [answer.ticket for answer in requests.take_facts()] == [2]
    assert requests.deadline() == 120.0

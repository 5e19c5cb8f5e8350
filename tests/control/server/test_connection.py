"""One link at control: pages, then calls; what a budget, a full buffer and an early client do to it."""

from __future__ import annotations

import pytest

from tests.control.joined import CONTROL_PRIVATE, entropy
from tsnet.base.crypto import machine_public
from tsnet.base.keys import MachinePrivateKey
from tsnet.base.links import Link
from tsnet.base.malformed import MalformedError
from tsnet.control import http, upgrade
from tsnet.control.http import HttpClient
from tsnet.control.server.connection import Connection, Stage
from tsnet.control.transport import Initiator
from tsnet.control.upgrade import upgrade_request
from tsnet.http1.asking import Asking

BUDGET = 1 << 20
PRIVATE = MachinePrivateKey(b"\1" * 32)


def page(connection: Connection, asking: Asking) -> upgrade.Request:
    (request,) = connection.receive(asking.sent)
    assert isinstance(request, upgrade.Request)
    return request


def upgraded() -> tuple[Connection, Initiator]:
    """Past the handshake, with what the server said at once."""
    connection = Connection(Link("accepted", "", 1))
    noise = Initiator(PRIVATE, machine_public(CONTROL_PRIVATE), 131, entropy(1))
    asking = upgrade_request("control", noise.initiation)
    connection.switch(page(connection, asking), CONTROL_PRIVATE, entropy(2))
    response = asking.receive(connection.take(BUDGET))
    assert response is not None
    noise.receive(response.rest)
    return connection, noise


def test_before_the_handshake_nobody_is_known() -> None:
    connection = Connection(Link("accepted", "", 1))
    assert (connection.stage, connection.machine, connection.full) == (Stage.PAGES, None, False)
    assert connection.take(BUDGET) == b""


def test_the_handshake_says_who_calls() -> None:
    connection, noise = upgraded()
    assert (connection.stage, connection.machine, connection.version) == (
        Stage.CALLS,
        machine_public(PRIVATE),
        noise.version,
    )


def test_pages_one_by_one() -> None:
    connection = Connection(Link("accepted", "", 1))
    asking = Asking("GET", "/health", "control")
    (first,) = connection.receive(asking.sent * 2)
    assert isinstance(first, upgrade.Request)
    connection.respond(200, b"one")
    (second,) = connection.receive()
    assert isinstance(second, upgrade.Request)
    connection.respond(200, b"two")
    assert connection.receive() == []
    assert connection.take(BUDGET).count(b"HTTP/1.1 200") == 2


def test_a_client_that_wants_the_link_closed_gets_its_answer_first() -> None:
    connection = Connection(Link("accepted", "", 1))
    page(connection, Asking("GET", "/health", "control", [("Connection", "close")]))
    connection.respond(200, b"bye")
    assert connection.stage is Stage.ENDING
    assert connection.receive(b"more") == []
    assert connection.take(BUDGET).endswith(b"bye")
    assert not connection.has_output


def test_calls_in_parallel() -> None:
    connection, noise = upgraded()
    client = HttpClient("control")
    streams = [client.request("POST", f"/machine/{number}", b"x") for number in range(3)]
    asked = connection.receive(noise.seal(client.transmit()))
    assert [one.path for one in asked if isinstance(one, http.Request)] == [f"/machine/{n}" for n in range(3)]
    client.cancel(streams[1])
    assert connection.receive(noise.seal(client.transmit())) == [http.Cancelled(streams[1])]


def test_a_budget_cuts_and_a_full_link_gives_nothing() -> None:
    connection, noise = upgraded()
    client = HttpClient("control")
    stream = client.request("POST", "/machine/map", b"x")
    connection.receive(noise.seal(client.transmit()))
    connection.calls.respond(stream, 200, b"y" * 1000)
    connection.full_at = 7.0
    assert (connection.take(BUDGET), connection.has_output) == (b"", False)
    connection.full_at = float("inf")
    pieces = [connection.take(100)]
    while connection.has_output:
        pieces.append(connection.take(100))
    assert all(len(piece) <= 100 for piece in pieces)
    client.receive(noise.receive(b"".join(pieces)))


def test_an_initiation_for_somebody_else_may_still_be_answered_with_a_page() -> None:
    connection = Connection(Link("accepted", "", 1))
    stranger = machine_public(MachinePrivateKey(b"\7" * 32))
    request = page(connection, upgrade_request("control", Initiator(PRIVATE, stranger, 131, entropy(1)).initiation))
    with pytest.raises(MalformedError):
        connection.switch(request, CONTROL_PRIVATE, entropy(2))
    assert connection.stage is Stage.PAGES
    connection.respond(400, b"no")
    assert b"400" in connection.take(BUDGET)


def test_whoever_speaks_before_the_server_proved_itself_is_cut_off() -> None:
    connection = Connection(Link("accepted", "", 1))
    noise = Initiator(PRIVATE, machine_public(CONTROL_PRIVATE), 131, entropy(1))
    asking = upgrade_request("control", noise.initiation)
    (request,) = connection.receive(asking.sent + b"early")
    assert isinstance(request, upgrade.Request)
    with pytest.raises(MalformedError, match="before"):
        connection.switch(request, CONTROL_PRIVATE, entropy(2))

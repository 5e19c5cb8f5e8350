"""Requests to control for whoever waits, in a simulated world: the embedded control server answers."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.house import House
from tsnet.control.client.requests import MAX_UNANSWERED
from tsnet.edge.run.handle import Handle
from tsnet.edge.run.requesting import ControlAnswer
from tsnet.errors import (
    ConfigError,
    ControlTimeout,
    ControlUnreachable,
    IdTokenRefused,
    MessageTooLong,
    NotUp,
    TooManyRequests,
)

PATH = "/machine/whoami"
"""What the embedded control server answers with 501."""


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
def node(house: House) -> Handle:
    return house.up("a")


def cut_off(house: House, seconds: float = 1000.0) -> None:
    """Control cannot be reached from now on, and the node has noticed."""
    house.world.cut(house.tailnet._port.number, down=seconds)
    house.run(1)


def test_whatever_control_answers_is_the_result(house: House, node: Handle) -> None:
    answer = house.finish(node.ask_control(PATH, b"{}", 5))
    assert answer == ControlAnswer(501, b"not implemented\n")
    assert "implemented" not in repr(answer), "a body may be a secret"
    assert house.finish(node.ask_control("/machine/made-up", b"", 5, method="GET")).status == 404


def test_a_node_that_does_not_run_yet_is_started_for_it(house: House) -> None:
    assert house.finish(house.handle("b").ask_control(PATH, b"{}", 5)).status == 501


def test_several_wait_each_for_its_own(house: House, node: Handle) -> None:
    asked = [node.ask_control(path, b"", 5) for path in (PATH, "/machine/made-up", PATH)]
    house.until(lambda: all(operation.done for operation in asked))
    assert [operation.outcome().status for operation in asked] == [501, 404, 501]


def test_one_that_is_not_answered_in_time_fails_and_leaves_nothing(house: House, node: Handle) -> None:
    cut_off(house)
    error = house.failure(node.ask_control(PATH, b"{}", 5))
    assert isinstance(error, ControlTimeout)
    assert isinstance(error, TimeoutError)
    assert len(node.attempts) == len(node.node.control._requests) == 0


def test_the_end_of_the_connection_is_the_end_of_what_may_not_be_asked_twice(house: House, node: Handle) -> None:
    control = house.tailnet._control
    assert control is not None
    control._ports[0].is_silent = True  # type: ignore[attr-defined]
    once, twice = node.ask_control(PATH, b"{}", 60), node.ask_control(PATH, b"{}", 60, repeatable=True)
    house.run(1)
    control._ports[0].is_silent = False  # type: ignore[attr-defined]
    house.world.cut(house.tailnet._port.number)
    assert isinstance(house.failure(once), ControlUnreachable)
    assert house.finish(twice).status == 501


def test_too_many_and_too_long_are_refused_at_once(house: House, node: Handle) -> None:
    cut_off(house)
    waiting = [node.ask_control(PATH, b"{}", None) for _ in range(MAX_UNANSWERED)]
    began = house.now
    assert isinstance(house.failure(node.ask_control(PATH, b"{}", 5)), TooManyRequests)
    assert isinstance(house.failure(node.ask_control(PATH, bytes(1 << 21), 5)), MessageTooLong)
    assert house.now == began
    assert not any(operation.done for operation in waiting)


def test_one_that_nobody_waits_for_gives_its_place_back(house: House, node: Handle) -> None:
    cut_off(house)
    for operation in [node.ask_control(PATH, b"{}", None) for _ in range(MAX_UNANSWERED)]:
        house.run(0.001)
        operation.cancel()
    house.run(0.01)
    assert len(node.attempts) == len(node.node.control._requests) == 0


def test_a_node_that_closes_answers_those_who_wait(house: House, node: Handle) -> None:
    cut_off(house)
    operation = node.ask_control(PATH, b"{}", None)
    house.run(0.1)
    house.finish(node.close(0.1))
    assert isinstance(house.failure(operation), NotUp)


def test_an_id_token_is_for_one_audience_and_names_this_node(house: House, node: Handle) -> None:
    token = house.finish(node.issue_id_token("https://third.example", 5))
    body = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    assert (claims["aud"], claims["key"]) == ("https://third.example", node.node.identity.public.text())


def test_an_id_token_that_control_refuses_is_a_typed_error(
    house: House, node: Handle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tsnet.control.tokenrequest.ID_TOKEN_PATH", PATH)
    error = house.failure(node.issue_id_token("https://third.example", 5))
    assert isinstance(error, IdTokenRefused)
    assert "has no ID tokens (HTTP 501)" in str(error)
    assert len(node.attempts) == 0


@pytest.mark.parametrize("audience", ["", "a\nb", "x" * 1025, None, b"third"])
def test_an_audience_is_checked_at_once(node: Handle, audience: Any) -> None:
    with pytest.raises(ConfigError, match="audience="):
        node.issue_id_token(audience, 5)

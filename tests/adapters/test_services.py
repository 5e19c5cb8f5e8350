"""What is told of a service's end, by why it ended."""

from __future__ import annotations

import logging

import pytest

from tsnet.adapters.services import Served, Services, single
from tsnet.errors import Error, NotUp
from tsnet.events import ServiceEnded


class Node:
    """What services ask of a node."""

    def __init__(self) -> None:
        self.is_over = False
        self.failure: Error | None = None
        self.published: list[object] = []

    def publish(self, event: object) -> None:
        self.published.append(event)


class Thing(Served):
    closed = 0

    def _begin_close(self) -> None:
        self.closed += 1


def serve(node: Node, **options: bool) -> tuple[Services, Thing]:
    services = Services(node)
    thing = Thing(80, "100.64.0.1:80", services=services, name="serve_wsgi", **options)
    services.add(thing)
    return services, thing


def test_an_end_comes_once() -> None:
    node = Node()
    services, thing = serve(node)
    thing._end(None)
    thing._end(ZeroDivisionError())
    assert node.published == [ServiceEnded("serve_wsgi", 80, "100.64.0.1:80", None)]
    assert thing.ended
    assert not services


@pytest.mark.parametrize(
    ("why", "node_is_over", "told"),
    [
        ("it was closed", False, "it was closed"),
        ("", True, "the node was closed"),
        ("", False, "its task or its socket was ended"),
    ],
)
def test_the_log_says_why(why: str, node_is_over: bool, told: str, caplog: pytest.LogCaptureFixture) -> None:
    node = Node()
    _, thing = serve(node)
    node.is_over = node_is_over
    if why:
        thing._closed_by(why)
    with caplog.at_level(logging.INFO, "tsnet"):
        thing._end(None)
    assert caplog.messages == [f"100.64.0.1:80: no longer served: {told}"]


def test_an_error_is_logged_with_its_traceback_unless_the_caller_gets_it(caplog: pytest.LogCaptureFixture) -> None:
    for awaited in (False, True):
        node = Node()
        _, thing = serve(node, awaited=awaited)
        error = ZeroDivisionError()
        thing._end(ExceptionGroup("a task group", [error]))
        assert node.published == [ServiceEnded("serve_wsgi", 80, "100.64.0.1:80", error)]
        with pytest.raises(ZeroDivisionError):
            thing._over.outcome()
        assert len(caplog.records) == 1
        assert caplog.records[0].exc_info


def test_the_error_of_the_node_is_that_of_the_service_unless_it_was_closed(caplog: pytest.LogCaptureFixture) -> None:
    node = Node()
    _, thing = serve(node)
    _, closed = serve(node)
    closed._closed_by("it was closed")
    node.failure = NotUp("the node ended by an internal error")
    for each in (thing, closed):
        each._end(None)
    with pytest.raises(NotUp):
        thing._over.outcome()
    closed._over.outcome()
    assert not any(record.exc_info for record in caplog.records)


def test_those_that_run_are_taken_the_newest_first_within_the_timeout() -> None:
    services = Services(Node())
    things = [Thing(port, str(port), services=services) for port in range(3)]
    for thing in things:
        services.add(thing)
    taken = list(services.taken(1.0))
    assert [thing for thing, _ in taken] == things[::-1]
    assert all(0 <= left <= 1 for _, left in taken)
    late = Thing(9, "9", services=services)
    services.add(late)
    assert late.closed == 1
    assert not services


def test_a_group_of_several_stays_one() -> None:
    group = ExceptionGroup("two", [ZeroDivisionError(), ValueError()])
    assert single(group) is group

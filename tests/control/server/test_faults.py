"""Which fault a request meets, and what kind of request it is."""

from __future__ import annotations

from typing import Any

import pytest

from tests.control.server.test_server import DISCO, NODE
from tests.control.server.test_tailnet import admit, machine, tailnet
from tsnet.base.keys import NodeKey
from tsnet.base.links import Link
from tsnet.control import http, upgrade
from tsnet.control.messages import MAP_PATH, REGISTER_PATH, MapRequest, RegisterRequest
from tsnet.control.server.connection import Connection
from tsnet.control.server.faults import (
    KINDS,
    Effect,
    Fault,
    Faults,
    kind_of,
    names_of,
)


def ask(path: str, body: bytes = b"", stream: int = 1) -> http.Request:
    return http.Request(stream, "POST", path, {}, body)


def registration(name: str = "shop", key: NodeKey = NODE, auth_key: str = "") -> bytes:
    return RegisterRequest(key, auth_key=auth_key, hostinfo={"Hostname": name}).encode()


# --- kinds --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "kind"),
    [
        (ask(REGISTER_PATH), "register"),
        (ask(MAP_PATH, MapRequest(NODE, DISCO, stream=True).encode()), "map"),
        (ask(MAP_PATH, MapRequest(NODE, DISCO).encode()), "map"),
        (ask(MAP_PATH, MapRequest(NODE, DISCO, omit_peers=True).encode()), "update"),
        (ask(MAP_PATH, MapRequest(NODE, DISCO, omit_peers=True, stream=True).encode()), "map"),
        (ask("/c2n/abc"), "c2n"),
        (ask("/machine/set-dns?x=1"), "set-dns"),
        (ask("/machine/feature/query"), "feature/query"),
        (upgrade.Request("GET", "/key?v=131", {}, b""), "key"),
        (upgrade.Request("POST", "/ts2021", {}, b""), "ts2021"),
        (upgrade.Request("GET", "/health", {}, b""), ""),
    ],
)
def test_the_kind_of_each_request(request_: Any, kind: str) -> None:
    assert kind_of(request_) == kind
    assert not kind or kind in KINDS


def test_the_first_fault_that_fits_counts_and_is_used_up() -> None:
    planned = Faults()
    assert not planned
    first = planned.plan(Fault(Effect.HOLD, "register", "shop", times=1))
    second = planned.plan(Fault(Effect.DROP, "*"))
    assert planned.meet("register", lambda: {"other"}) is second
    assert planned.meet("register", lambda: {"shop"}) is first
    assert planned.meet("register", lambda: {"shop"}) is second
    assert (first.met, second.met) == (1, 2)
    planned.remove(second)
    planned.remove(second)
    assert planned.meet("map", set) is None
    planned.remove_all()
    assert not planned
    assert first.is_removed


def test_a_node_is_known_by_its_name_and_a_new_one_by_what_it_calls_itself() -> None:
    net = tailnet()
    admit(net, 1, "one")
    admit(net, 2, "two")
    connection = Connection(Link("accepted", "", 1))
    connection.machine = machine(1)
    assert names_of(net, connection, ask(MAP_PATH)) == {"one"}
    assert names_of(net, connection, ask(REGISTER_PATH, registration("Bob's Laptop"))) == {"one", "bobs-laptop"}


def test_a_refusal_tells_when_to_come_back_if_it_says_so() -> None:
    assert ("retry-after", "30") in Fault(Effect.REFUSE, "map", retry_after=30.0).headers
    assert ("retry-after", "0.5") in Fault(Effect.REFUSE, "map", retry_after=0.5).headers
    assert ("retry-after", "1234567") in Fault(Effect.REFUSE, "map", retry_after=1234567.0).headers
    assert [name for name, _value in Fault(Effect.REFUSE, "map").headers] == ["content-type"]

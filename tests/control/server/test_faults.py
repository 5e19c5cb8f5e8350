"""Every effect on every kind of request, at the server's wire; what a fault leaves alone; bounds."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from tests.control.server.test_server import DISCO, NODE, Caller, Wire
from tests.control.server.test_tailnet import admit, machine, tailnet
from tsnet.base.keys import NodeKey
from tsnet.base.links import Link
from tsnet.control import http, upgrade
from tsnet.control.messages import MAP_PATH, REGISTER_PATH, MapRequest, RegisterRequest
from tsnet.control.server import faults as faults_module
from tsnet.control.server.connection import Connection
from tsnet.control.server.faults import (
    KINDS,
    MAX_WAITING,
    Effect,
    Fault,
    Faults,
    WaitingRequests,
    garbage_for,
    kind_of,
    names_of,
    without,
)
from tsnet.control.server.server import FAULT

OTHER = NodeKey(bytes([8]) * 32)


def plan(caller: Caller | Wire, effect: Effect, kind: str, **more: Any) -> Fault:
    wire = caller if isinstance(caller, Wire) else caller.wire
    return wire.server.faults.plan(Fault(effect, kind, **more))


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


# --- effects ------------------------------------------------------------------------------------------------------


def test_a_held_registration_is_served_once_the_fault_is_over() -> None:
    caller = Caller()
    fault = plan(caller, Effect.HOLD, "register")
    key = caller.wire.tailnet.create_auth_key().text
    stream = caller.begin(REGISTER_PATH, registration(auth_key=key))
    caller.wire.now += 3600
    caller.turn()
    assert stream not in caller.ended
    assert not caller.wire.tailnet.members
    assert caller.call("/machine/whoami")[0] == 501, "the connection serves others meanwhile"
    caller.wire.server.faults.remove(fault)
    assert caller.wire.server.deadline() <= caller.wire.now
    caller.turn()
    assert caller.heads[stream] == 200
    assert len(caller.wire.tailnet.members) == 1


def test_a_delayed_registration_is_served_in_time() -> None:
    caller = Caller()
    plan(caller, Effect.DELAY, "register", seconds=7.0)
    stream = caller.begin(REGISTER_PATH, registration())
    assert caller.wire.server.deadline() == pytest.approx(caller.wire.now + 7)
    caller.wire.now += 6.9
    caller.turn()
    assert stream not in caller.ended
    caller.wire.now += 0.2
    caller.turn()
    assert stream in caller.ended


def test_a_request_whose_client_went_away_is_not_served() -> None:
    caller = Caller()
    fault = plan(caller, Effect.HOLD, "register")
    stream = caller.begin(REGISTER_PATH, registration(auth_key=caller.wire.tailnet.create_auth_key().text))
    caller.http.cancel(stream)
    caller.turn()
    caller.wire.server.faults.remove(fault)
    caller.turn()
    assert not caller.wire.tailnet.members


def test_a_dropped_request_ends_its_connection() -> None:
    caller = Caller()
    plan(caller, Effect.DROP, "map")
    caller.register()
    caller.begin(MAP_PATH, MapRequest(NODE, DISCO, stream=True).encode())
    assert not caller.wire.is_open
    assert caller.wire.server.dropped == {FAULT: 1}


@pytest.mark.parametrize("path", [REGISTER_PATH, "/machine/set-dns", "/c2n/token"])
def test_a_refused_request(path: str) -> None:
    caller = Caller()
    plan(caller, Effect.REFUSE, kind_of(ask(path)), status=429, retry_after=30.0)
    assert caller.call(path, registration()) == (429, b"refused by a planned fault\n")


def test_a_refusal_tells_when_to_come_back_if_it_says_so() -> None:
    assert ("retry-after", "30") in Fault(Effect.REFUSE, "map", retry_after=30.0).headers
    assert ("retry-after", "0.5") in Fault(Effect.REFUSE, "map", retry_after=0.5).headers
    assert ("retry-after", "1234567") in Fault(Effect.REFUSE, "map", retry_after=1234567.0).headers
    assert [name for name, _value in Fault(Effect.REFUSE, "map").headers] == ["content-type"]


def test_garbage_for_a_registration_and_for_a_map() -> None:
    caller = Caller()
    caller.register()
    plan(caller, Effect.GARBLE, "*")
    status, body = caller.call(REGISTER_PATH, registration())
    assert status == 200
    with pytest.raises(ValueError):
        json.loads(body)
    status, frame = caller.map(stream=True, compress=False)
    assert (status, int.from_bytes(frame[:4], "little")) == (200, len(frame) - 4)
    with pytest.raises(ValueError):
        json.loads(frame[4:])
    assert garbage_for("map", ask(MAP_PATH, MapRequest(NODE, DISCO).encode()))[4:8] == b"\x28\xb5\x2f\xfd"


def test_fields_are_left_out() -> None:
    caller = Caller()
    caller.register()
    plan(caller, Effect.OMIT, "register", fields=("User", "Login"))
    plan(caller, Effect.OMIT, "map", fields=("DERPMap",))
    plan(caller, Effect.OMIT, "key", fields=("publicKey",))
    status, body = caller.call(REGISTER_PATH, registration())
    assert status == 200
    assert {"User", "Login"}.isdisjoint(json.loads(body))
    assert "MachineAuthorized" in json.loads(body)
    stream = caller.stream()
    (message,) = caller.messages(stream)
    assert message.update.derp_map is None
    assert message.update.node is not None
    _status, frame = caller.map(compress=False)
    assert "DERPMap" not in json.loads(frame[4:])
    assert list(json.loads(Wire(caller.wire.server, Link("accepted", "", 2)).get("/key?v=1").body)) == [
        "legacyPublicKey"
    ]
    assert without(b"no json", ()) == b"no json"


def test_faults_of_pages() -> None:
    wire = Wire()
    refusal = plan(wire, Effect.REFUSE, "key", status=503, retry_after=5.0)
    response = wire.get("/key?v=131")
    assert (response.status, response.headers["retry-after"]) == (503, "5")
    assert wire.get("/health").status == 200
    wire.server.faults.remove(refusal)
    plan(wire, Effect.DROP, "key")
    wire.send(b"GET /key?v=131 HTTP/1.1\r\nHost: control\r\n\r\n")
    assert not wire.is_open


def test_what_is_no_json_lacks_nothing() -> None:
    wire = Wire()
    fault = plan(wire, Effect.OMIT, "key", fields=("publicKey",))
    wire.send(b"POST /key HTTP/1.1\r\nHost: control\r\nContent-Length: 0\r\n\r\n")
    assert fault.met == 1
    assert wire.get("/health").status == 200, "the server goes on"


def test_a_delayed_page_and_a_delayed_handshake() -> None:
    wire = Wire()
    plan(wire, Effect.DELAY, "key", seconds=2.0)
    assert wire.send(b"GET /key?v=131 HTTP/1.1\r\nHost: control\r\n\r\n") == b""
    wire.now += 2
    assert wire.drain().startswith(b"HTTP/1.1 200")
    fault = plan(wire, Effect.HOLD, "ts2021")
    assert wire.send(b"POST /ts2021 HTTP/1.1\r\nHost: control\r\nContent-Length: 0\r\n\r\n") == b""
    wire.server.faults.remove(fault)
    assert wire.drain().startswith(b"HTTP/1.1 400"), "that was no handshake"


def test_a_fault_of_one_node_leaves_the_others_alone() -> None:
    caller = Caller()
    fault = plan(caller, Effect.REFUSE, "register", node="shop")
    assert caller.call(REGISTER_PATH, registration("till", OTHER))[0] == 200
    assert caller.call(REGISTER_PATH, registration("shop"))[0] == 503
    assert fault.met == 1


def test_what_is_no_request_is_answered_as_ever() -> None:
    caller = Caller()
    plan(caller, Effect.HOLD, "*", node="shop")
    assert caller.call(REGISTER_PATH, b"[]")[0] == 400
    assert caller.call(MAP_PATH, b"{}")[0] == 400


# --- bounds -------------------------------------------------------------------------------------------------------


def test_those_who_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting, connection = WaitingRequests(), Connection(Link("accepted", "", 1))
    fault = Fault(Effect.HOLD, "*")
    assert all(waiting.add(connection, ask("/x", stream=number), fault, 0.0) for number in range(MAX_WAITING))
    assert not waiting.add(connection, ask("/x"), fault, 0.0)
    assert waiting.deadline() == math.inf
    waiting.forget(connection, 5)
    assert waiting.add(connection, ask("/x"), fault, 0.0)
    waiting.forget(connection)
    monkeypatch.setattr(faults_module, "MAX_WAITING_BYTES", 10)
    assert waiting.add(connection, ask("/x", bytes(10)), fault, 0.0)
    assert not waiting.add(connection, ask("/x", b"1"), fault, 0.0)
    fault.is_removed = True
    assert waiting.deadline() == -math.inf
    assert len(waiting.take(0.0)) == 1
    assert not waiting.take(0.0)


def test_one_too_many_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults_module, "MAX_WAITING", 0)
    caller = Caller()
    plan(caller, Effect.HOLD, "register")
    assert caller.call(REGISTER_PATH, registration())[0] == 429

"""Every effect on every kind of request, at the server's wire; what a fault leaves alone; bounds."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from tests.control.server.test_faults import ask, registration
from tests.control.server.test_server import DISCO, NODE, Caller, Wire
from tests.control.server.test_tailnet import tailnet
from tsnet.base.keys import NodeKey
from tsnet.base.links import Closed, Link
from tsnet.base.malformed import MalformedError
from tsnet.base.work import Work
from tsnet.control import upgrade
from tsnet.control.messages import MAP_PATH, REGISTER_PATH, MapRequest
from tsnet.control.server import suffering as suffering_module
from tsnet.control.server.connection import Connection
from tsnet.control.server.faults import Asks, Effect, Fault, Faults, garbage_for, kind_of, without
from tsnet.control.server.suffering import FAULT, MAX_WAITING, Suffering, WaitingRequests

OTHER = NodeKey(bytes([8]) * 32)


def plan(caller: Caller | Wire, effect: Effect, kind: str, **more: Any) -> Fault:
    wire = caller if isinstance(caller, Wire) else caller.wire
    return wire.server.faults.plan(Fault(effect, kind, **more))


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
    monkeypatch.setattr(suffering_module, "MAX_WAITING_BYTES", 10)
    assert waiting.add(connection, ask("/x", bytes(10)), fault, 0.0)
    assert not waiting.add(connection, ask("/x", b"1"), fault, 0.0)
    fault.is_removed = True
    assert waiting.deadline() == -math.inf
    assert waiting.take(0.0) is not None
    assert waiting.take(0.0) is None


def test_one_too_many_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suffering_module, "MAX_WAITING", 0)
    caller = Caller()
    plan(caller, Effect.HOLD, "register")
    assert caller.call(REGISTER_PATH, registration())[0] == 429


# --- an end in between --------------------------------------------------------------------------------------------


class FakeServing:
    """Serving the first request ends the connection of the second, or fails."""

    def __init__(self, fails: str = "") -> None:
        self.tailnet = tailnet()
        self.served: list[Connection] = []
        self.dropped: list[tuple[Connection, str]] = []
        self.ends: Connection | None = None
        self.fails = fails
        self.suffering: Suffering

    def serve(
        self, connection: Connection, request: Asks, now: float, work: Work | None = None, lacks: tuple[str, ...] = ()
    ) -> None:
        self.served.append(connection)
        if self.ends is not None:
            self.suffering.forget(self.ends)
        if self.fails:
            raise MalformedError(self.fails)

    def drop(self, connection: Connection, reason: str, now: float) -> None:
        self.dropped.append((connection, reason))
        self.suffering.forget(connection)


def test_a_delayed_page_of_a_connection_that_has_ended_meanwhile_is_not_served() -> None:
    first, second = (Connection(Link("accepted", "", number)) for number in (1, 2))
    faults, service = Faults(), FakeServing()
    fault = faults.plan(Fault(Effect.DELAY, "key", seconds=2.0))
    service.suffering = Suffering(service, faults)
    for connection in (first, second):
        service.suffering.meet(connection, upgrade.Request("GET", "/key?v=1", {}, b""), 0.0, Work(100))
    assert (fault.met, service.suffering.deadline()) == (2, 2.0)
    assert list(service.suffering.serve_due(1.9)) == []
    service.ends = second
    assert list(service.suffering.serve_due(2.0)) == [first]
    assert service.served == [first]
    assert service.suffering.deadline() == math.inf


def test_a_delayed_page_that_cannot_be_served_ends_its_connection_which_is_answered_no_more() -> None:
    connection = Connection(Link("accepted", "", 1))
    faults, service = Faults(), FakeServing("spoke too early: 9")
    faults.plan(Fault(Effect.DELAY, "ts2021", seconds=2.0))
    service.suffering = Suffering(service, faults)
    service.suffering.meet(connection, upgrade.Request("POST", "/ts2021", {}, b""), 0.0, Work(100))
    assert list(service.suffering.serve_due(2.0)) == []
    assert service.dropped == [(connection, "spoke too early")]


def test_a_client_that_goes_while_its_page_waits_leaves_nothing() -> None:
    wire = Wire()
    plan(wire, Effect.DELAY, "key", seconds=2.0)
    wire.send(b"GET /key?v=131 HTTP/1.1\r\nHost: control\r\n\r\n")
    wire.server.receive(Closed(wire.link, "it left"), wire.now)
    wire.now += 2
    assert wire.drain() == b""
    assert wire.server.deadline() == math.inf

"""What the whole house traces: constant events, nothing for a packet, nothing secret. The source itself is read."""

from __future__ import annotations

import ast
import functools
import logging
import re
from collections.abc import Iterator, Set
from typing import Any

import pytest

from tests.engine.pair import A4, Pair
from tests.house import House
from tests.test_architecture import FLOORS, ROOT, SOURCES, module_of, room_of
from tests.traces import Traced
from tsnet.base.keys import PrivateKey

ROOMS = frozenset().union(*FLOORS[:4]) - {"netstack"}  # which has no trace
BELOW_THE_EDGE = [path for path in SOURCES if room_of(module_of(path)) in ROOMS]
TELLERS = {"tell_routes", "trace_changes"}
TRACES = {"trace", "_trace", "_say"} | TELLERS
"""A call of one of these traces. `_say` passes an event on, for the functions of its class."""

TAKERS = {"run", "runs", "packet", "packets", "datagram", "datagrams", "segment", "segments", "batch"}
"""A function with a parameter of these names runs for packets."""

EACH_TURN = {
    ("tsnet.engine.engine", "Engine.transmit"),
    ("tsnet.engine.node", "Node.transmit"),
    ("tsnet.wireguard.device", "Device.transmit"),
    ("tsnet.disco.paths", "Paths.transmit"),
    ("tsnet.disco.paths", "Paths.routes"),
    ("tsnet.derp.client", "Client.receive"),
    ("tsnet.derp.client", "Client.read"),
    ("tsnet.derp.client", "Client.transmit"),
}

RARE = {
    ("tsnet.engine.engine", "Engine._note_routes"): "a peer that is sent to is reached another way than before",
    ("tsnet.wireguard.peer", "Peer._completed"): "a handshake is complete",
    ("tsnet.wireguard.peer", "Peer._initiate"): "a handshake is sent, at most once in 25 ms",
    ("tsnet.derp.client", "Client._dial"): "an attempt begins",
    ("tsnet.derp.client", "Client._opened"): "a link is open",
    ("tsnet.derp.client", "Client._server_info"): "the login is over",
    ("tsnet.derp.client", "Client._lose"): "an attempt or a connection is over",
    ("tsnet.derp.client", "Client._tell_suspected"): "a relay has left a Ping unanswered for a second",
    ("tsnet.derp.client", "Client._tell_if_cleared"): "it has answered after all",
}
"""What traces and can be reached from a function that runs for packets, and when it does."""

Name = tuple[str, str]
Function = ast.FunctionDef


@functools.cache
def functions() -> dict[Name, Function]:
    """Every function below the edge, by its module and its name in there."""
    found: dict[Name, Function] = {}
    for path in BELOW_THE_EDGE:
        for statement in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(statement, ast.FunctionDef):
                found[module_of(path), statement.name] = statement
            elif isinstance(statement, ast.ClassDef):
                for inner in statement.body:
                    if isinstance(inner, ast.FunctionDef):
                        found[module_of(path), f"{statement.name}.{inner.name}"] = inner
    return found


@functools.cache
def called(function: Function) -> list[tuple[str, ast.Call]]:
    """The calls in it: the last part of each name, and the call."""
    found: list[tuple[str, ast.Call]] = []
    for node in ast.walk(function):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute):
                found.append((node.func.attr, node))
            elif isinstance(node.func, ast.Name):
                found.append((node.func.id, node))
    return found


def traces(function: Function, by: Set[str] = TRACES) -> list[ast.Call]:
    return [call for name, call in called(function) if name in by and function.name != "_say"]


def takes_packets(name: Name, function: Function) -> bool:
    parameters = [*function.args.args, *function.args.kwonlyargs]
    return name in EACH_TURN or any(parameter.arg in TAKERS for parameter in parameters)


def reached(start: Name, everything: dict[Name, Function]) -> set[Name]:
    """It, and what it calls in its own class or module, directly or not."""
    found, waiting = {start}, [start]
    while waiting:
        module, name = waiting.pop()
        prefix = name.rpartition(".")[0]
        for callee, _call in called(everything[module, name]):
            for target in ((module, f"{prefix}.{callee}" if prefix else callee), (module, callee)):
                if target in everything and target not in found:
                    found.add(target)
                    waiting.append(target)
    return found


def test_no_function_that_runs_for_packets_traces() -> None:
    everything = functions()
    hot = [name for name, function in everything.items() if takes_packets(name, function)]
    assert len(hot) > 60
    assert set(hot) >= EACH_TURN
    assert [name for name in hot if traces(everything[name])] == []


def test_what_packets_can_lead_to_traces_for_a_reason_that_is_given_here() -> None:
    everything = functions()
    hot = [name for name, function in everything.items() if takes_packets(name, function)]
    found = {name for start in hot for name in reached(start, everything) if traces(everything[name])}
    timers = {("tsnet.wireguard.peer", "Peer._initiate")}  # by way of a table
    assert found | timers == RARE.keys()


def test_every_event_is_a_constant_of_a_few_words() -> None:
    """So that there are as many kinds of events as the source has, and a limit for each is a limit for all."""
    events: set[str] = set()
    for function in functions().values():
        for call in traces(function, TRACES - TELLERS):
            first = call.args[0]
            choices = [first.body, first.orelse] if isinstance(first, ast.IfExp) else [first]
            for choice in choices:
                assert isinstance(choice, ast.Constant), ast.unparse(call)
                events.add(str(choice.value))
    assert 30 < len(events) < 100
    assert all(re.fullmatch(r"[a-z][a-z ]{3,50}", event) for event in events), events


# --- the page about it ------------------------------------------------------------------------------------------

PAGE = (ROOT / "docs" / "tracing.md").read_text(encoding="utf-8")


def test_the_page_names_every_room_that_traces() -> None:
    found = {
        str(argument.value)
        for function in functions().values()
        for name, call in called(function)
        if name == "trace_of"
        for argument in call.args
        if isinstance(argument, ast.Constant)
    }
    assert set(re.findall(r"^\| `tsnet\.(\w+)`", PAGE, re.MULTILINE)) == found


def test_the_page_shows_no_event_that_does_not_exist() -> None:
    words = "\n".join(path.read_text(encoding="utf-8") for path in SOURCES)
    shown = set(re.findall(r"^ +[\d.]+ \w+ +laptop: ([a-z ]+)", PAGE, re.MULTILINE))
    table = PAGE[PAGE.index("| the last line") : PAGE.index("## The rooms")]
    shown |= set(re.findall(r"`([a-z ]+)`", table)) - {"reachable"}
    assert len(shown) > 20
    assert {event for event in shown if f'"{event}"' not in words} == set()


# --- what a stream costs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [10_000, 1_000_000])
def test_a_stream_of_any_length_traces_the_same(size: int) -> None:
    traced = Traced()
    pair = Pair(tracer=traced)
    listener = pair.a.engine.stack.listen(80)
    client = pair.b.engine.stack.connect(A4, 80, pair.now, link=pair.nodes[0].key)
    pair.reach(lambda: listener.readable)
    server: Any = listener.accept()
    sent = received = 0

    def whole() -> bool:
        nonlocal sent, received
        sent += client.write(bytes(size - sent), pair.now)
        received += len(server.read())
        return received == size

    pair.reach(whole)
    assert traced.events == [
        "handshake waits",
        "handshake sent",
        "path chosen",
        "handshake answered",
        "path chosen",
        "session made",
        "session made",
    ]


# --- secrets ----------------------------------------------------------------------------------------------------


def secrets_of(thing: object, seen: set[int]) -> Iterator[PrivateKey]:
    """Every private key that can be reached from there by attributes and containers."""
    if id(thing) in seen:
        return
    seen.add(id(thing))
    if isinstance(thing, PrivateKey):
        yield thing
    elif isinstance(thing, dict):
        for value in list(thing.values()):
            yield from secrets_of(value, seen)
    elif isinstance(thing, list | tuple | set | frozenset):
        for value in list(thing):
            yield from secrets_of(value, seen)
    elif type(thing).__module__.startswith("tsnet"):
        slots = [name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())]
        for name in [*getattr(thing, "__dict__", {}), *slots]:
            yield from secrets_of(getattr(thing, name, None), seen)


def test_no_secret_is_in_a_traced_life(caplog: pytest.LogCaptureFixture) -> None:
    house = House()
    secrets: dict[str, str] = {"auth key": house.tailnet.auth_key}
    with caplog.at_level(logging.DEBUG, "tsnet"):
        a, b = house.up("a"), house.up("b", ephemeral=False)
        house.connect(b, a)
        house.tailnet.restart_derp()
        house.run(2)
        for handle in (a, b):
            for number, key in enumerate(secrets_of(handle.node, set())):
                secrets[f"{type(key).__name__} {number} of {handle!r}"] = key.reveal().hex()
        house.tailnet.expire("b")
        house.run(5)
        for handle in (a, b):
            house.finish(handle.close(2))
    text = "\n".join(record.getMessage() for record in caplog.records)
    assert len(secrets) > 8
    assert {name.partition(" ")[0] for name in secrets} >= {"auth", "NodePrivateKey", "MachinePrivateKey"}
    assert text.count("\n") > 60
    shown = {name for name, secret in secrets.items() if secret[:10] in text or secret[-16:] in text}
    assert shown == set()

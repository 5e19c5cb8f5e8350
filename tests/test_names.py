"""One name, one thing: a class name stands for one class, or a reason is given here."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import pytest

from tests.test_architecture import SOURCES, module_of

UNIQUE = "Identity Listener Ping Health Engine Pipe Link Login Tailnet".split()

SPECIFIED = "each protocol's specification has that word for a thing of its own"
STACK = "netstack stands alone: tsnet's error of that name is what an application of the library catches"
TOLD = "control's fact, and the application's event that it becomes, a floor above"
CAUGHT = "the fact that control tells, and the error that an application catches for it"
OUTCOMES = "a small value that one machine returns, of no use outside its file's callers"
PROTOCOLS = "the shape that adapters are written against, and the class that has it"

SHARED = {
    "Accepted": OUTCOMES,
    "Ended": OUTCOMES,
    "Heard": OUTCOMES,
    "Opened": OUTCOMES,
    "Refused": OUTCOMES,
    "Expired": OUTCOMES,
    "End": OUTCOMES,
    "Waiting": OUTCOMES,
    "Attempts": OUTCOMES,
    "AddressInUse": STACK,
    "AddressNotAvailable": STACK,
    "MessageTooLong": STACK,
    "DuplicateNode": TOLD,
    "LoggedIn": TOLD,
    "LoggedOut": TOLD,
    "LoginEnded": TOLD,
    "LoginUrl": TOLD,
    "NetMapChanged": TOLD,
    "Problem": TOLD,
    "KeyExpiring": TOLD,
    "KeyExpired": CAUGHT,
    "NodeRemoved": CAUGHT,
    "Connected": "of control and of a relay: the same news of two connections",
    "Disconnected": "of control and of a relay: the same news of two connections",
    "Client": SPECIFIED,
    "Channel": SPECIFIED,
    "Session": SPECIFIED,
    "Peer": SPECIFIED,
    "Response": SPECIFIED,
    "Request": SPECIFIED,
    "Options": SPECIFIED,
    "Stage": "where one connection stands; each protocol has stages of its own",
    "Outbox": "what one connection has to send; each protocol frames it its own way",
    "Server": "the node that an application serves from, and control's other end",
    "Node": "Go's names for both: what runs here, and what the netmap says of it",
    "Machine": "a byte machine behind a port, and a simulated computer",
    "Runner": "what runs a pipe, and what runs a service",
    "Owner": "who owns a connection, and who owns a datagram endpoint",
    "Alarms": "of a loop, and of WireGuard's peers; strangers to each other",
    "TokenBucket": "netstack stands alone, and needs one, too",
    "Forward": "an option of the command line, and the service that it starts",
    "IdentityMiddleware": "the same for WSGI and for ASGI, each in its own public door",
    "Whois": PROTOCOLS,
}


@functools.cache
def classes() -> dict[str, list[str]]:
    """Name of every public class: the modules that define one."""
    found: dict[str, list[str]] = {}
    for path in SOURCES:
        for statement in ast.parse(Path(path).read_text(encoding="utf-8")).body:
            if isinstance(statement, ast.ClassDef) and not statement.name.startswith("_"):
                found.setdefault(statement.name, []).append(module_of(path))
    return found


@pytest.mark.parametrize("name", UNIQUE)
def test_the_names_that_a_user_thinks_of_mean_one_thing(name: str) -> None:
    modules = classes().get(name, [])
    assert len(modules) == 1, modules or "is no class"


def test_every_other_name_that_is_shared_has_its_reason() -> None:
    shared = {name for name, modules in classes().items() if len(modules) > 1}
    assert shared == SHARED.keys()

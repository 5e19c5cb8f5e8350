"""A derper that falls silent while a stream waits, without a reset, and comes back: the stream goes on at once.

| how            | what the node sees                                              |
|----------------|-----------------------------------------------------------------|
| stopped        | SIGSTOP: its machine takes our bytes, and answers nothing       |
| unplugged      | its packets are dropped, in both directions, and new ones too   |
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import attrs
import pytest

import tsnet
from tests.interop.harness import ours
from tests.interop.harness.ours import Service, until
from tests.interop.harness.requirements import need
from tests.interop.harness.scene import Scene
from tests.interop.harness.testcontrol import Derper, TestControl
from tsnet.engine import facts

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(240)]

SILENCE = 118 if os.environ.get("TSNET_NIGHTLY") else 16  # seconds
REPLACED_AFTER = 15
GOES_ON_WITHIN = 5 if SILENCE < 60 else 15  # what is dialled in vain is dialled less and less


@attrs.define
class Lab:
    derper: Derper
    stream: socket.socket
    node: tsnet.Server


@pytest.fixture
def lab(scene: Scene) -> Iterator[Lab]:
    """A stream of ours to an echo of ours, through derper."""
    need("testcontrol", "derper")
    with ExitStack() as stack:
        derper = stack.enter_context(Derper(scene))
        control = stack.enter_context(TestControl(scene, derper))
        options: dict[str, Any] = {"auth_key": "any", "ephemeral": True, "relays_only": True}
        a, b = (stack.enter_context(ours.node(control, name, **options)) for name in ("a", "b"))
        stack.enter_context(Service(b, 7, patient_echo))
        for node in (a, b):
            node.reachable()
        stream = stack.enter_context(a.dial("b", 7, timeout=10))
        stream.settimeout(60)
        stream.sendall(b"before")
        assert stream.recv(100) == b"before"
        yield Lab(derper, stream, a)


def patient_echo(stream: socket.socket) -> None:
    stream.settimeout(2 * SILENCE)
    ours.echo(stream)


@contextmanager
def stopped(derper: Derper) -> Iterator[None]:
    assert derper.process is not None
    derper.process.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        derper.process.signal(signal.SIGCONT)


@contextmanager
def unplugged(derper: Derper) -> Iterator[None]:
    """In the scene's namespace, which is this thread's."""
    rules = f"""
    table inet silent {{
        chain out {{
            type filter hook output priority 0;
            tcp dport {derper.port} drop
            tcp sport {derper.port} drop
        }}
    }}"""
    nft("-f", "-", text=rules)
    try:
        yield
    finally:
        nft("delete", "table", "inet", "silent")


def nft(*arguments: str, text: str = "") -> None:
    subprocess.run(["nft", *arguments], input=text, text=True, check=True, capture_output=True)


@pytest.mark.parametrize("silent", [stopped, unplugged], ids=["stopped", "unplugged"])
def test_a_stream_goes_on_when_a_silent_relay_is_back(
    lab: Lab, silent: Callable[[Derper], AbstractContextManager[None]]
) -> None:
    told = ours.follow(lab.node, facts.RelayChanged)
    with silent(lab.derper):
        begun = time.monotonic()
        lab.stream.sendall(b"meanwhile")
        found = until(lambda: any(not fact.connected for fact in told), REPLACED_AFTER, "it is given up")
        until(lambda: time.monotonic() - begun > SILENCE, SILENCE + 1)
    back = time.monotonic()
    assert lab.stream.recv(100) == b"meanwhile"
    taken = time.monotonic() - back
    print(f"given up after {found:.1f} s; the stream went on {taken:.1f} s after it was back")
    assert taken < GOES_ON_WITHIN
    until(lambda: lab.node.status().state == "running")
    lab.node.reachable(timeout=10)

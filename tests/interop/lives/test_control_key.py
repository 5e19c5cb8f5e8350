"""A Headscale that comes back under another Noise key, which over plain http could be anybody's.

The key is exchanged while Headscale is down; its database stays. What reached it is read from its log: all that a node
says of itself, an auth key too, travels in requests for /machine/…, inside a handshake with the key that it knows.
"""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

import tsnet
from tests.interop.harness import ours
from tests.interop.harness.headscale import Headscale
from tests.interop.harness.ours import follow, is_online, peer_of, serve_echo, until
from tests.interop.harness.requirements import need
from tests.interop.harness.scene import Scene
from tsnet.edge.io.store import MemoryStore
from tsnet.engine import facts

pytestmark = [pytest.mark.interop, pytest.mark.timeout(90)]


class TwoKeys:
    """A Headscale whose Noise key can be exchanged for another one and back."""

    def __init__(self, headscale: Headscale) -> None:
        self.headscale = headscale
        self._seen = 0

    def exchange(self) -> None:
        self.headscale.stop()
        self._seen = len(self._log())
        key, other = (self.headscale.folder / name for name in ("noise.key", "noise.key.other"))
        aside = key.rename(key.with_suffix(".aside"))
        if other.exists():
            other.rename(key)
        aside.rename(other)
        self.headscale.start()

    def heard(self, path: str) -> int:
        """How many requests for paths that begin so have reached it since the last exchange."""
        return self._log()[self._seen :].count(f" path={path}")

    def public(self) -> str:
        with urlopen(f"{self.headscale.url}/key?v=130") as answer:
            return str(json.load(answer)["publicKey"])

    def _log(self) -> str:
        assert self.headscale.process is not None
        return self.headscale.process.log_path.read_text(errors="replace")


@pytest.fixture
def headscale(scene: Scene) -> Iterator[Headscale]:
    need("headscale")
    with Headscale(scene) as headscale:
        yield headscale


def enrolled(headscale: Headscale, name: str, state: Any) -> list[str]:
    """A lasting node was there, and has ended; its addresses."""
    with ours.node(headscale, name, auth_key=headscale.auth_key(), state=state) as node:
        return [str(address) for address in node.addresses]


def echoes(stream: socket.socket, data: bytes) -> bool:
    stream.settimeout(20)
    stream.sendall(data)
    return stream.recv(100) == data


def test_another_key_over_plain_http_sees_nothing_of_the_node(headscale: Headscale) -> None:
    control, key, kept = TwoKeys(headscale), headscale.auth_key(), MemoryStore()
    enrolled(headscale, "kept", kept)
    with ExitStack() as stack:
        a, b = (stack.enter_context(ours.node(headscale, name, auth_key=key)) for name in ("a", "b"))
        stack.enter_context(serve_echo(b, 7))
        for node, other in ((a, "b"), (b, "a")):
            node.reachable()
            until(lambda node=node, other=other: is_online(node, other))  # type: ignore[misc]
        stream = stack.enter_context(a.dial("b", 7))
        assert echoes(stream, b"before")
        problems = follow(a, facts.Problem)

        control.exchange()
        until(lambda: any(isinstance(told.error, tsnet.ControlKeyChanged) for told in problems), 30)
        assert a.status().state == "running"
        assert peer_of(a, "b") is not None
        assert echoes(stream, b"meanwhile")

        returning = ours.node(headscale, "kept", auth_key=key, state=kept)
        with pytest.raises(tsnet.ControlKeyChanged, match=r"has the key mkey:.*with control_key=") as caught:
            returning.up(timeout=10)
        returning.close()
        assert key not in str(caught.value)
        assert (control.heard("/key") > 0, control.heard("/machine/")) == (True, 0)

        control.exchange()
        until(lambda: headscale.node("a").get("online"), 60, "the running node has found its control again")
        assert echoes(stream, b"after")
        with ours.node(headscale, "late", auth_key=key):
            until(lambda: peer_of(a, "late"), 10)
        returning = ours.node(headscale, "kept", auth_key="", state=kept)
        with returning:
            assert returning.name == "kept"


def test_a_pin_or_another_url_or_a_state_without_a_key_goes_past_it(
    headscale: Headscale, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    control, pinning, moving, old = TwoKeys(headscale), MemoryStore(), MemoryStore(), tmp_path / "state"
    addresses = enrolled(headscale, "pinning", pinning)
    old_addresses = enrolled(headscale, "old", old)
    enrolled(headscale, "moving", moving)
    control.exchange()
    new_key = control.public()

    refused = ours.node(headscale, "pinning", state=pinning)
    with pytest.raises(tsnet.ControlKeyChanged, match=new_key):
        refused.up(timeout=10)
    refused.close()
    with ours.node(headscale, "pinning", state=pinning, control_key=new_key) as node:
        assert [str(address) for address in node.addresses] == addresses
    assert [record.message for record in caplog.records if "control_key= names it" in record.message]
    with ours.node(headscale, "pinning", state=pinning) as node:  # the pinned key is the one that is kept now
        assert [str(address) for address in node.addresses] == addresses

    for path in old.iterdir():  # an older version kept the identity alone
        if path.name != "tsnet.state":
            path.unlink()
    with ours.node(headscale, "old", state=old) as node:
        assert [str(address) for address in node.addresses] == old_addresses
    control.exchange()
    forewarned = ours.node(headscale, "old", state=old)
    with pytest.raises(tsnet.ControlKeyChanged):
        forewarned.up(timeout=10)
    forewarned.close()

    control.exchange()
    headscale.url = headscale.url.replace("127.0.0.1", "localhost")
    with ours.node(headscale, "moving", auth_key=headscale.auth_key(), state=moving) as node:
        assert node.name == "moving"
        assert control.heard("/machine/register") > 0


def test_another_key_over_verified_tls_is_taken_and_told(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    need("headscale")
    with Headscale(scene, tls=True) as headscale:
        control, kept = TwoKeys(headscale), MemoryStore()
        addresses = enrolled(headscale, "kept", kept)
        running = ours.node(headscale, "running", auth_key=headscale.auth_key())
        with running:
            control.exchange()
            with caplog.at_level(logging.WARNING, "tsnet"):
                with ours.node(headscale, "kept", state=kept) as node:
                    assert [str(address) for address in node.addresses] == addresses
                until(lambda: headscale.node("running").get("online"), 30)
                told = [record.message for record in caplog.records if "another key than before" in record.message]
                assert {text.partition(":")[0] for text in told} == {"kept", "running"}
            caplog.clear()
            with ours.node(headscale, "kept", state=kept):
                pass
            assert not [record for record in caplog.records if "another key" in record.message]

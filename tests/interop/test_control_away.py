"""Control is away, and a node of ours restarts: by the netmap that it has kept, it and a Go peer reach each other.

Go knows our key and our home from before. Our disco key is new, and it learns that from the session (TSMP).
"""

from __future__ import annotations

import json
import socket
import time

import pytest

from tests.interop.harness import ours
from tests.interop.harness.gopeer import GoPeer
from tests.interop.harness.headscale import Headscale
from tests.interop.harness.ours import follow, serve_echo, until
from tests.interop.harness.requirements import need
from tests.interop.harness.scene import Scene
from tests.interop.harness.testcontrol import Derper, TestControl
from tsnet import Server
from tsnet.edge.io.store import MemoryStore
from tsnet.engine import cachednetmap
from tsnet.engine.saved import NETMAP
from tsnet.events import NetMapStale

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]


@pytest.fixture(autouse=True)
def _it_is_written_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cachednetmap, "SETTLED", 1.0)
    monkeypatch.setattr(cachednetmap, "AGAIN_AFTER", 1.0)


def talk_both_ways(node: Server, go: GoPeer) -> None:
    """Ours dials first, as a node that has just started does."""
    with node.dial("go", 7, timeout=20) as stream:
        stream.sendall(b"hello")
        stream.shutdown(socket.SHUT_WR)
        assert stream.recv(16) == b"hello"
    sent, received = go.send(f"{node.addresses[0]}:7", 100_000, timeout=30)
    assert received.sha256 == sent.sha256


@pytest.mark.parametrize("relays_only", [False, True])
def test_by_relay_or_directly_with_testcontrol_gone(scene: Scene, relays_only: bool) -> None:
    need("testcontrol", "derper", "tsnetpeer")
    store = MemoryStore()
    with (
        Derper(scene) as derper,
        TestControl(scene, derper) as control,
        GoPeer(scene, control, "go", auth_key="any") as go,
    ):
        go.up()
        go.listen(":7", "echo")

        def node() -> Server:
            return ours.node(control, "ours", auth_key="any", state=store, cache_netmap=True, relays_only=relays_only)

        with node() as first, serve_echo(first, 7):
            first.reachable()
            until(lambda: (go.peer("ours") or {}).get("Relay"), 10)
            talk_both_ways(first, go)
            until(lambda: store.values.get(NETMAP), 20)
            time.sleep(2.5)  # whatever changed since is written as well
            assert not first.status().is_stale
        next(process for process in scene.processes if process.name.startswith("testcontrol")).kill()
        begun = time.monotonic()
        second = node()
        stale = follow(second, NetMapStale)
        with second, serve_echo(second, 7):
            print(f"up {time.monotonic() - begun:.2f} s after the start, without control")
            assert second.status().is_stale
            until(lambda: stale, 5)
            talk_both_ways(second, go)
            print(f"both ways {time.monotonic() - begun:.2f} s after the start, by {go.path_to('ours')}")


def relays_of(derper: Derper) -> dict[str, object]:
    """Headscale's setting for a relay that is not its own. Its file has Go's names of the fields, in small letters."""

    def small(value: object) -> object:
        if isinstance(value, dict):
            return {name.lower(): small(item) for name, item in value.items()}
        return [small(item) for item in value] if isinstance(value, list) else value

    path = derper.scene.folder / "relays.yaml"
    path.write_text(f"regions: {{{derper.region}: {json.dumps(small(derper.region_json))}}}")
    return {"derp": {"server": {"enabled": False}, "urls": [], "paths": [str(path)], "auto_update_enabled": False}}


def test_with_headscale_gone_and_back(scene: Scene) -> None:
    need("headscale", "derper", "tsnetpeer")
    store = MemoryStore()
    with (
        Derper(scene) as derper,
        Headscale(scene, changes=relays_of(derper)) as headscale,
        GoPeer(scene, headscale, "go", auth_key=headscale.auth_key()) as go,
    ):
        go.up()
        go.listen(":7", "echo")
        key = headscale.auth_key()

        def node() -> Server:
            return ours.node(headscale, "ours", auth_key=key, state=store, cache_netmap=True)

        with node() as first, serve_echo(first, 7):
            first.reachable()
            until(lambda: (go.peer("ours") or {}).get("Relay"), 10)
            talk_both_ways(first, go)
            until(lambda: store.values.get(NETMAP), 20)
            time.sleep(2.5)
        headscale.kill()
        with node() as second, serve_echo(second, 7):
            assert second.status().is_stale
            talk_both_ways(second, go)
            headscale.start()
            until(lambda: not second.status().is_stale, 40, "control's own netmap")
            until(lambda: not any("control does not answer" in text for text in second.status().health), 5)
            talk_both_ways(second, go)

"""Our node on Tailscale's own control server for tests and `derper`, beside a Go node: where a join takes 40 ms.

testcontrol lives in 2020 and gives every key a welcome; what is refused and by whom is shown on Headscale.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import attrs
import pytest

import tsnet
from tests.interop.harness import ours
from tests.interop.harness.gopeer import GoPeer
from tests.interop.harness.lines import PeerError
from tests.interop.harness.ours import drain, exchange, peer_of, serve_echo, serve_http, serve_once, until
from tests.interop.harness.requirements import need
from tests.interop.harness.scene import Scene
from tests.interop.harness.testcontrol import DERP_REGION, Derper, TestControl, Tls
from tsnet.edge.io.store import MemoryStore

pytestmark = [pytest.mark.interop, pytest.mark.timeout(90)]
MIB = 1 << 20


@attrs.define
class Lab:
    scene: Scene
    derper: Derper
    control: TestControl
    go: GoPeer

    def node(self, name: str = "ours", **options: Any) -> tsnet.Server:
        return ours.node(self.control, name, **{"auth_key": "any", "ephemeral": True, **options})

    @property
    def go_v4(self) -> str:
        assert self.go.granted is not None
        return self.go.granted.v4


@contextmanager
def play(scene: Scene, tls: Tls = "") -> Iterator[Lab]:
    need("testcontrol", "derper", "tsnetpeer")
    with (
        Derper(scene, tls=tls) as derper,
        TestControl(scene, derper) as control,
        GoPeer(scene, control, "go", auth_key="any") as go,
    ):
        go.up()
        yield Lab(scene, derper, control, go)


@pytest.fixture
def lab(scene: Scene) -> Iterator[Lab]:
    with play(scene) as lab:
        yield lab


@pytest.fixture
def node(lab: Lab) -> Iterator[tsnet.Server]:
    with lab.node() as node:
        node.reachable()
        until(lambda: (lab.go.peer("ours") or {}).get("Relay"), 5)
        yield node


# --- control ----------------------------------------------------------------------------------------------------


def test_join_delta_expiry_logout(lab: Lab) -> None:
    start = time.monotonic()
    with lab.node() as node, serve_http(node):
        assert time.monotonic() - start < 1
        assert node.fqdn == "ours.lab.example"
        assert [peer.name for peer in node.status().peers] == ["go"]
        assert any("clock" in text for text in node.status().health)  # a warning: it lives in 2020
        fake = lab.control.fake_node()
        name = fake["Name"].split(".")[0]
        until(lambda: peer_of(node, name), 3)
        lab.control.update(fake["Key"], Name="renamed.lab.example.")
        until(lambda: peer_of(node, "renamed") and not peer_of(node, name), 3)
        lab.control.expire_all()
        until(lambda: _refused_as_expired(node), 3)
        lab.control.expire_all(False)
        until(lambda: not _refused_as_expired(node), 3)
        assert json.loads(lab.go.get("http://ours/").body)["name"] == "go"
        leaving = time.monotonic()
    assert time.monotonic() - leaving < 1  # the logout is answered; that testcontrol forgets nobody is its own affair
    until(lambda: lab.control.polls() == 1, 3)


def _refused_as_expired(node: tsnet.Server) -> bool:
    try:
        node.resolve("go")
        node.ping("go", timeout=1)
    except tsnet.KeyExpired:
        return True
    except tsnet.DialTimeout:
        pass
    return False


def test_a_node_comes_back_under_its_key(lab: Lab) -> None:
    store = MemoryStore()
    with lab.node(ephemeral=False, state=store) as node:
        addresses = node.addresses
    with lab.node(ephemeral=False, state=store, auth_key="") as node:
        assert node.addresses == addresses
        assert node.ping("go").seconds < 2


def test_two_nodes_of_one_key_are_told(lab: Lab) -> None:
    """testcontrol ends the map stream of the first for the second, again and again."""
    store, told = MemoryStore(), threading.Event()

    def watch(server: tsnet.Server) -> None:
        for event in server.events():
            if type(event).__name__ == "DuplicateNode":
                told.set()

    with lab.node(ephemeral=False, state=store) as first:
        threading.Thread(target=watch, args=(first,), daemon=True).start()
        with ours.on_another_machine(), lab.node(ephemeral=False, state=MemoryStore(store.values)):
            assert told.wait(20)


# --- bytes ------------------------------------------------------------------------------------------------------


@pytest.mark.timeout(240)  # what its own waits add up to
def test_64_mib_each_way_by_hash_through_derper(lab: Lab) -> None:
    """Over a connection of ours, echoed by Go; over one of Go's, different bytes each way at once."""
    lab.go.listen(":7", "echo")
    with lab.node(relays_only=True) as node:
        node.reachable()
        until(lambda: (lab.go.peer("ours") or {}).get("Relay"), 5)
        with node.dial("go", 7) as stream:
            stream.settimeout(60)
            sent, count, received = exchange(stream, 64 * MIB)
            assert (count, received) == (64 * MIB, sent)
        with serve_once(node, 8, lambda stream: exchange(stream, 64 * MIB)) as result:
            there, back = lab.go.send("ours:8", 64 * MIB, timeout=80)
            poured, count, drained = result()
            assert (there.sha256, back.sha256, back.bytes) == (drained, poured, count)
        status = lab.go.peer("ours")
        assert status is not None
        assert (status["CurAddr"], status["Relay"]) == ("", "lab900")


def test_datagrams_both_ways(lab: Lab, node: tsnet.Server) -> None:
    lab.go.udp_echo(f"{lab.go_v4}:7")
    with node.dial_packet("go", 7) as conn:
        conn.settimeout(10)
        for size in (0, 1, 1200, 9000):
            conn.send(bytes(size))
            assert conn.recv(65_536) == bytes(size)
    with node.listen_packet(7) as conn:
        conn.settimeout(10)

        def answer() -> None:
            data, address = conn.recvfrom(65_536)
            conn.sendto(data[::-1], address)

        for address in node.addresses:
            answering = threading.Thread(target=answer)
            answering.start()
            where = f"[{address}]:7" if address.version == 6 else f"{address}:7"
            assert lab.go.udp(where, b"datagram") == b"margatad"
            answering.join(10)


# --- a stream's life --------------------------------------------------------------------------------------------


def test_half_closes_by_either_side(lab: Lab, node: tsnet.Server) -> None:
    lab.go.listen(":7", "hold")
    with node.dial("go", 7) as stream:
        stream.settimeout(10)
        theirs = int(lab.go.accepted(":7")["stream"])
        stream.sendall(b"last words")
        stream.shutdown(socket.SHUT_WR)
        assert lab.go.read(theirs, 100) == b"last words"
        lab.go.write(theirs, b"still here")
        assert stream.recv(100) == b"still here"
        lab.go.close_stream(theirs)
        assert stream.recv(100) == b""
    with node.listen(8) as listening:
        theirs = lab.go.open("ours:8")
        listening.settimeout(10)
        with listening.accept()[0] as stream:
            stream.settimeout(10)
            lab.go.write(theirs, b"last words")
            lab.go.shutdown(theirs)
            assert drain(stream)[0] == 10
            stream.sendall(b"still here")
            stream.shutdown(socket.SHUT_WR)
            assert lab.go.read(theirs, 100) == b"still here"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_resets_by_either_side_and_refusals(lab: Lab, backend: str) -> None:
    """With AsyncServer: what a blocking socket cannot say, a stream can."""
    anyio.run(_resets_and_refusals, lab, backend=backend)


async def _resets_and_refusals(lab: Lab) -> None:
    in_thread = anyio.to_thread.run_sync
    with pytest.MonkeyPatch.context() as patch:
        for name, value in lab.control.environment.items():
            patch.setenv(name, value)
        server = tsnet.AsyncServer("ours", control_url=lab.control.url, auth_key="any", ephemeral=True)
    async with server as node, await node.listen(8) as listener:
        await in_thread(lambda: lab.go.listen(":7", "hold"))
        stream = await node.dial("go", 7)
        theirs = (await in_thread(lambda: lab.go.accepted(":7")))["stream"]
        stream.abort()
        with pytest.raises(PeerError, match="reset by peer"):
            await in_thread(lambda: lab.go.read(theirs, 1))

        await in_thread(lambda: until(lambda: (lab.go.peer("ours") or {}).get("Relay"), 5))
        theirs = await in_thread(lambda: lab.go.open("ours:8"))
        accepted = await listener.accept()
        await accepted.send(b"x" * 1000)
        await in_thread(lambda: until(lambda: accepted.info().state == "ESTABLISHED", 5))
        await in_thread(lambda: lab.go.call("reset", stream=theirs))
        with pytest.raises((anyio.BrokenResourceError, anyio.EndOfStream)):
            await accepted.receive()

        with pytest.raises(tsnet.DialRefused, match="go:81 refused"):
            await node.dial("go", 81)
        with pytest.raises(PeerError, match="refused"):
            await in_thread(lambda: lab.go.open("ours:81"))
        with pytest.raises(tsnet.NotOnTailnet):
            await node.dial("100.64.99.99", 80)


# --- the relay --------------------------------------------------------------------------------------------------


def test_a_restarted_derper_breaks_no_stream(lab: Lab, node: tsnet.Server) -> None:
    lab.go.listen(":7", "echo")
    with serve_echo(node, 8), node.dial("go", 7) as mine:
        mine.settimeout(40)
        theirs = lab.go.open("ours:8")
        lab.derper.stop()
        mine.sendall(b"across")
        lab.go.write(theirs, b"across")
        lab.derper.start()
        assert mine.recv(100) == b"across"
        assert lab.go.read(theirs, 6, timeout=40) == b"across"
        lab.go.close_stream(theirs)


@pytest.mark.parametrize("tls", ["ca", "name", "pin", "insecure"])
def test_derper_over_tls(scene: Scene, tls: Tls) -> None:
    """However the DERP map says that its certificate is to be judged."""
    with play(scene, tls) as lab:
        lab.go.serve_http()
        with lab.node() as node, serve_http(node), node.httpx_client() as client:
            node.reachable(timeout=10)
            assert client.get("http://go/").json()["whois"]["name"] == "ours.lab.example"
            until(lambda: (lab.go.peer("ours") or {}).get("Relay"), 5)
            assert json.loads(lab.go.get("http://ours/").body)["name"] == "go"


def test_derper_whose_certificate_does_not_fit(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """The node runs and is not reachable; the reason is in its health, in one warning, and in what fails for it."""
    reason = rf"relay region {DERP_REGION} .*certificate"
    with play(scene, "ca") as lab:
        with lab.node("stranger", ssl_context=ssl.create_default_context(), relays_only=True) as stranger:
            with pytest.raises(tsnet.UpTimeout, match=reason):
                stranger.reachable(timeout=3)  # several attempts of its
            with pytest.raises(tsnet.DialTimeout, match=reason):
                stranger.dial("go", 80, timeout=0.5)
            assert [text for text in stranger.status().health if re.search(reason, text)]
        assert len([record for record in caplog.records if re.search(reason, record.getMessage())]) == 1

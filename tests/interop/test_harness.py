"""The harness alone: Go's own node against itself, through each control server. Nothing of ours plays."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
import urllib.request
from hashlib import sha256

import pytest

from tests.interop.harness.caddy import Caddy
from tests.interop.harness.faraway import FarAway
from tests.interop.harness.gopeer import GoPeer
from tests.interop.harness.headscale import Headscale
from tests.interop.harness.process import ProcessError
from tests.interop.harness.requirements import need
from tests.interop.harness.scene import Scene, ip
from tests.interop.harness.testcontrol import Derper, TestControl
from tests.interop.harness.wireguard import WireGuardGo, ping
from tsnet.base.crypto import node_public
from tsnet.base.keys import NodePrivateKey

pytestmark = [pytest.mark.interop, pytest.mark.timeout(90)]
MIB = 1 << 20


def exchange(a: GoPeer, b: GoPeer) -> None:
    """Names, identity, bytes both ways by hash, datagrams, pings."""
    b.serve_http()
    reply = a.get("http://b/some/path?q=1")
    told = json.loads(reply.body)
    assert a.granted is not None
    assert b.granted is not None
    assert (reply.status, told["path"]) == (200, "/some/path?q=1")
    assert told["whois"]["name"] == a.granted.name
    b.listen(":7", "echo")
    sent, received = a.send("b:7", MIB)
    assert (sent.bytes, received.sha256) == (MIB, sent.sha256)
    b.listen(":9", "sink")
    sent, _ = a.send(f"[{b.granted.v6}]:9", MIB)
    assert b.accepted(":9")["sha256"] == sent.sha256
    b.udp_echo(f"{b.granted.v4}:7")
    assert a.udp(f"{b.granted.v4}:7", b"datagram") == b"datagram"
    for kind in ("disco", "TSMP", "ICMP"):
        assert a.ping(b.granted.v4, kind)["NodeName"] == "b"


def test_a_scene_is_a_namespace_with_lo_alone(scene: Scene) -> None:
    assert [link["ifname"] for link in json.loads(ip("-j", "link"))] == ["lo"]
    assert os.stat("/proc/thread-self/ns/net").st_ino == os.stat(f"/run/netns/{scene.name}").st_ino


def test_a_program_that_ends_too_early_shows_its_log(scene: Scene) -> None:
    process = scene.run("short", ["sh", "-c", "echo the reason; exit 3"])
    with pytest.raises(ProcessError, match=r"(?s)ended with 3 before ready.*the reason"):
        process.wait_until(lambda: False)


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_go_to_go_through_headscale(scene: Scene, tls: bool) -> None:
    need("headscale", "tsnetpeer")
    with Headscale(scene, tls=tls) as headscale:
        key = headscale.auth_key(user="u1")
        with (
            GoPeer(scene, headscale, "a", auth_key=key, derp_only=True) as a,
            GoPeer(scene, headscale, "b", auth_key=key) as b,
        ):
            a.start("up")
            b.up()
            a.up()
            exchange(a, b)
            assert {node["given_name"]: node["online"] for node in headscale.nodes()} == {"a": True, "b": True}
            status = a.peer("b")
            assert status is not None
            assert (status["CurAddr"], status["Relay"]) == ("", "lab")


def test_go_to_go_through_testcontrol(scene: Scene) -> None:
    need("testcontrol", "derper", "tsnetpeer")
    with (
        Derper(scene) as derper,
        TestControl(scene, derper) as control,
        GoPeer(scene, control, "a", auth_key="any") as a,
        GoPeer(scene, control, "b", auth_key="any") as b,
    ):
        a.up()
        b.up()
        exchange(a, b)
        assert control.polls() == 2


def test_an_interactive_login_is_finished_on_headscales_side(scene: Scene) -> None:
    need("headscale", "tsnetpeer")
    with Headscale(scene) as headscale, GoPeer(scene, headscale, "a") as a:
        up = a.start("up")
        a.process.wait_until(lambda: a.status().get("AuthURL"), "shown an auth URL")
        headscale.register(a.status()["AuthURL"], user="u2")
        assert up.result(30)["name"] == "a.lab.example"
        assert headscale.node("a")["user"]["name"] == "u2"


def test_headscales_command_line(scene: Scene) -> None:
    """Each of its verbs does to a Go node what its name says; a restart loses nothing."""
    need("headscale", "tsnetpeer")
    everybody = {"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}], "tagOwners": {"tag:ci": ["u1@"]}}
    with Headscale(scene, policy=everybody) as headscale:
        tagged, once = headscale.auth_key(tags=["tag:ci"]), headscale.auth_key(reusable=False)
        spent = headscale.auth_key()
        headscale.expire_auth_key(spent)
        with (
            GoPeer(scene, headscale, "a", auth_key=tagged) as a,
            GoPeer(scene, headscale, "b", auth_key=once) as b,
            GoPeer(scene, headscale, "c", auth_key=spent) as c,
        ):
            refused = c.start("up", timeout=60)
            ups = [a.start("up"), b.start("up")]
            assert [up.result(30)["name"] for up in ups] == ["a.lab.example", "b.lab.example"]
            c.process.wait_until(lambda: "authkey expired" in c.process.log(), "refused")
            c.kill()
            assert refused.exception(5) is not None
            assert headscale.node("a")["tags"] == ["tag:ci"]
            # A policy that comes in one batch with news of b makes Headscale take b away and give it back.
            a.process.wait_until(lambda: (a.peer("b") or {}).get("Relay"), "told of b and its home")
            headscale.set_policy({"acls": []})
            a.process.wait_until(lambda: not a.peer("b"), "without peers under a policy that allows nothing")
            headscale.restart()
            headscale.rename_node("b", "renamed")
            b.process.wait_until(lambda: b.status()["Self"]["DNSName"] == "renamed.lab.example.", "renamed")
            headscale.expire_node("renamed")
            b.process.wait_until(lambda: b.status()["BackendState"] == "NeedsLogin", "expired")
            headscale.delete_node("a")
            assert [node["given_name"] for node in headscale.nodes()] == ["renamed"]


def test_headscale_serves_https_under_the_private_ca(scene: Scene) -> None:
    need("headscale")
    with (
        Headscale(scene, tls=True) as headscale,
        urllib.request.urlopen(f"{headscale.url}/health", context=headscale.ssl_context) as answer,
    ):
        assert json.load(answer)["status"] == "pass"


def test_caddy_serves_and_dials_on_one_node(scene: Scene) -> None:
    need("testcontrol", "derper", "tsnetpeer", "caddy")
    with (
        Derper(scene) as derper,
        TestControl(scene, derper) as control,
        GoPeer(scene, control, "a", auth_key="any") as a,
    ):
        a.up()
        a.serve_http()
        with Caddy(scene, control, "web", auth_key="any", upstream="a:80") as caddy:
            a.process.wait_until(lambda: a.peer("web"), "told of the new peer")
            assert a.get("http://web/").body == "hello from web"
            assert a.get("http://web/whoami").body.endswith("@fake-control.example.net")
            status, body = caddy.get("/there")
            assert status == 200
            assert json.loads(body)["whois"]["name"] == "web.lab.example"
            (caddy.files / "some").write_bytes(bytes(MIB))
            assert a.get("http://web:81/files/some").sha256 == sha256(bytes(MIB)).hexdigest()


def test_wireguard_go_to_wireguard_go(scene: Scene) -> None:
    need("wireguard", "tun")
    other = scene.namespace("other")
    scene.veth(scene.name, other, "10.9.0.1/24", "10.9.0.2/24")
    key_a, key_b = NodePrivateKey(bytes(31) + b"a"), NodePrivateKey(bytes(31) + b"b")
    a_is, b_is = ["100.64.0.1/32", "fd7a::1/128"], ["100.64.0.2/32", "fd7a::2/128"]
    with (
        WireGuardGo(scene, private_key=key_a.reveal(), addresses=a_is) as a,
        WireGuardGo(scene, private_key=key_b.reveal(), addresses=b_is, namespace=other) as b,
    ):
        a.add_peer(node_public(key_b), allowed_ips=b_is, endpoint="10.9.0.2:51820")
        b.add_peer(node_public(key_a), allowed_ips=a_is)
        for size in (8, 1232):
            assert ping("100.64.0.2", size=size) < 1
            assert ping("fd7a::2", size=size) < 1
        assert b.peer(node_public(key_a)).last_handshake > 0
        a.move(51821)
        assert ping("100.64.0.2") < 1
        assert b.peer(node_public(key_a)).endpoint == "10.9.0.1:51821"


def test_a_far_server_is_as_far_as_it_says_and_round_trips_are_counted() -> None:
    round_trip = 0.05
    with FarAway(round_trip) as far, socket.create_server(("127.0.0.1", 0)) as server, contextlib.ExitStack() as stack:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        far.streams(port, server.getsockname()[1])
        early = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        early_end = stack.enter_context(server.accept()[0])
        far.count()
        begun = time.monotonic()
        client = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        end = stack.enter_context(server.accept()[0])
        for number in (2, 3):  # the first one is the connection's own
            client.sendall(b"question")
            assert end.recv(100) == b"question"
            end.sendall(b"answer")
            assert client.recv(100) == b"answer"
            assert far.serial == number
            assert time.monotonic() - begun >= number * round_trip
        early.sendall(b"of before")
        assert early_end.recv(100) == b"of before"
        early_end.sendall(b"and its answer")
        assert early.recv(100) == b"and its answer"
        assert far.serial == 3
        client.shutdown(socket.SHUT_WR)
        assert end.recv(100) == b""


def test_a_far_server_of_datagrams_answers_each_client() -> None:
    with FarAway(0.02) as far, contextlib.ExitStack() as stack:
        server, one, two = (stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(3))
        server.bind(("127.0.0.1", 0))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        far.datagrams(port, server.getsockname()[1])
        for client, word in ((one, b"1"), (two, b"2")):
            client.sendto(word, ("127.0.0.1", port))
            data, source = server.recvfrom(100)
            server.sendto(data + b"!", source)
            assert client.recv(100) == word + b"!"
        assert far.serial == 2

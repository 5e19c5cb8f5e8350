"""Real Go nodes on the embedded tailnet, beside ours: tsnet 1.102, and caddy with tsnet 1.90.

The tailnet, our node and its app are in this process, as in a user's test; all of them speak through the tailnet's own
relay, which Go trusts as the DERP map says (InsecureForTests).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import attrs
import pytest

import tsnet
from tests.interop.harness import ours
from tests.interop.harness.caddy import Caddy
from tests.interop.harness.control import ControlAt
from tests.interop.harness.gopeer import GoPeer
from tests.interop.harness.lines import PeerError
from tests.interop.harness.ours import drain, exchange, is_online, peer_of, serve_echo, serve_http, serve_once, until
from tests.interop.harness.process import Process
from tests.interop.harness.requirements import need
from tests.interop.harness.scene import Scene
from tsnet.base.keys import NodeKey
from tsnet.derp.upgrade import encode_switching
from tsnet.edge.io.store import MemoryStore
from tsnet.testing.tailnet import Tailnet

pytestmark = [pytest.mark.interop, pytest.mark.timeout(90)]
MIB = 1 << 20
ROOT = Path(__file__).parent.parent.parent


@attrs.define
class Lab:
    scene: Scene
    tailnet: Tailnet

    @property
    def control(self) -> ControlAt:
        return ControlAt(self.tailnet.control_url)

    def key(self, user: str, **options: Any) -> str:
        return self.tailnet.create_auth_key(user, reusable=True, **options)

    def node(self, name: str = "ours", user: str = "alice@example.com", **options: Any) -> tsnet.Server:
        return ours.node(self.control, name, **{"auth_key": self.key(user), "ephemeral": True, **options})

    def go(self, name: str = "go", user: str = "bob@example.com", **options: Any) -> GoPeer:
        return GoPeer(self.scene, self.control, name, auth_key=self.key(user), **options)

    def caddy(self, name: str = "web", user: str = "bob@example.com", upstream: str = "ours:80") -> Caddy:
        return Caddy(self.scene, self.control, name, auth_key=self.key(user), upstream=upstream)


@pytest.fixture
def lab(scene: Scene) -> Iterator[Lab]:
    need("tsnetpeer")
    with Tailnet() as tailnet:
        yield Lab(scene, tailnet)


def knows_home(go: GoPeer, name: str = "ours") -> bool:
    return bool((go.peer(name) or {}).get("Relay"))


# --- caddy ------------------------------------------------------------------------------------------------------


def test_caddy_and_our_node_by_name_through_derp(lab: Lab) -> None:
    """HTTP both ways, who asks by WhoIs on both sides, 64 MiB each way."""
    need("caddy")
    bulk = Random("bulk").randbytes(64 * MIB)
    with lab.node() as node, serve_http(node), node.httpx_client(timeout=60) as client, lab.caddy() as caddy:
        until(lambda: is_online(node, "web"), 5)
        assert client.get("http://web/").text == "hello from web"
        assert client.get("http://web/whoami").text == "alice@example.com"
        assert client.get("http://web.tailnet.test/name").text.split()[-1] in map(str, node.addresses)
        status, body = caddy.get("/there")
        told = json.loads(body)
        assert (status, told["name"], told["user"], told["path"]) == (200, "web", "bob@example.com", "/there")

        (caddy.files / "bulk").write_bytes(bulk)
        digest = sha256()
        with client.stream("GET", "http://web/files/bulk") as answer:
            for chunk in answer.iter_bytes():
                digest.update(chunk)
        assert digest.digest() == sha256(bulk).digest()
        status, body = caddy.get("/upload", data=bulk, timeout=60)
        assert (status, json.loads(body)["sha256"]) == (200, sha256(bulk).hexdigest())


def test_caddy_refuses_a_tagged_node_by_whois(lab: Lab) -> None:
    need("caddy")
    with lab.caddy(), lab.node(auth_key=lab.key("", tags=["tag:ci"])) as node, node.httpx_client() as client:
        until(lambda: is_online(node, "web"), 5)
        assert client.get("http://web/").status_code == 200
        assert client.get("http://web/whoami").status_code == 401


# --- Go 1.102 ---------------------------------------------------------------------------------------------------


def test_go_logs_in_at_the_relay_by_fast_start(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads the relay's key from the meta certificate, and wants no 101."""
    need("tsnetpeer")
    answered: list[NodeKey] = []

    def switching(key: NodeKey) -> bytes:
        answered.append(key)
        return encode_switching(key)

    monkeypatch.setattr("tsnet.derp.server.encode_switching", switching)
    with Tailnet() as tailnet, Lab(scene, tailnet).go() as go:
        go.up()
        relay: Any = tailnet.relays[0]._servers.machine
        until(lambda: relay.clients, 5)
        assert answered == []


@pytest.mark.parametrize("derp_only", [False, True], ids=["directly", "through the relay"])
def test_go_and_our_node(lab: Lab, derp_only: bool) -> None:
    """Names, identity, HTTP, pings, 64 MiB each way at once."""
    with lab.go(derp_only=derp_only) as go, lab.node() as node, serve_http(node), node.httpx_client() as client:
        granted = go.up()
        go.serve_http()
        until(lambda: is_online(node, "go") and knows_home(go), 5)
        told = client.get("http://go/").json()
        assert (told["whois"]["name"], told["whois"]["user"]) == ("ours.tailnet.test", "alice@example.com")
        for address in node.addresses:
            host = f"[{address}]" if address.version == 6 else str(address)
            told = json.loads(go.get(f"http://{host}/").body)
            assert (told["name"], told["user"]) == ("go", "bob@example.com")
            for kind in ("disco", "TSMP", "ICMP"):
                assert go.ping(str(address), kind)["NodeName"] == "ours"
        for host in ("go", *granted.addresses):
            for kind in ("icmp", "tsmp"):
                assert node.ping(host, kind=kind).seconds < 2
        go.listen(":7", "echo")
        with node.dial("go", 7) as stream:
            stream.settimeout(60)
            sent, count, received = exchange(stream, 64 * MIB)
            assert (count, received) == (64 * MIB, sent)
        with serve_once(node, 8, drain) as result:
            there, _ = go.send("ours:8", 64 * MIB)
            assert result() == (64 * MIB, there.sha256)
        status = go.peer("ours")
        assert status is not None
        assert status["Relay"] == "embedded"
        assert (status["CurAddr"] == "") is derp_only


def test_the_tailnets_control_and_relay_restart_and_no_stream_breaks(lab: Lab) -> None:
    with lab.go() as go, lab.node() as node, serve_echo(node, 8):
        go.up()
        go.listen(":7", "echo")
        until(lambda: is_online(node, "go") and knows_home(go), 5)
        theirs = go.open("ours:8")
        with node.dial("go", 7) as mine:
            mine.settimeout(40)
            for restart in (lab.tailnet.restart_derp, lab.tailnet.restart_control):
                restart()
                mine.sendall(b"across")
                go.write(theirs, b"across")
                assert mine.recv(100) == b"across"
                assert go.read(theirs, 6, timeout=40) == b"across"
            until(lambda: lab.tailnet.online() == {"go", "ours"}, 30)
        go.close_stream(theirs)


def test_members_stay_members_over_a_restart_of_the_tailnet(scene: Scene) -> None:
    """Its process ends and another begins with its state: one Go node has run meanwhile, one starts again, without a
    key; a one-off key let each of them in."""
    need("tsnetpeer")
    place = scene.folder / "tailnet"

    def lab() -> Lab:
        return Lab(scene, Tailnet(state=place))

    first, second = lab(), lab()
    with first.tailnet:
        url = first.tailnet.control_url
        keys = [first.tailnet.create_auth_key("bob@example.com") for _ in range(2)]
        running = GoPeer(scene, first.control, "running", auth_key=keys[0])
        away = GoPeer(scene, first.control, "away", auth_key=keys[1])
        running.start_again()
        away.start_again()
        granted = {"running": running.up(), "away": away.up()}
        nodes = first.tailnet.nodes()
        away.close()
    with second.tailnet:
        assert (second.tailnet.control_url, second.tailnet.nodes()) == (url, nodes)
        with second.node() as node, serve_echo(node, 8):
            until(lambda: "running" in second.tailnet.online(), 60)
            running.listen(":7", "echo")
            until(lambda: is_online(node, "running") and knows_home(running), 20)
            with node.dial("running", 7) as stream:
                stream.settimeout(20)
                stream.sendall(b"again")
                assert stream.recv(5) == b"again"
            away.start_again()
            assert attrs.evolve(away.up(), seconds=0) == attrs.evolve(granted["away"], seconds=0)
            until(lambda: is_online(node, "away") and knows_home(away), 20)
            assert away.ping(str(node.addresses[0]), "TSMP")["NodeName"] == "ours"
        assert second.tailnet.nodes().keys() >= nodes.keys()
        away.close()
        running.close()


def test_each_sees_the_other_come_and_go_at_once(lab: Lab) -> None:
    with lab.go() as go:
        go.up()
        with lab.node() as node:
            assert until(lambda: is_online(node, "go"), 3) < 3
            assert until(lambda: (go.peer("ours") or {}).get("Online"), 3) < 3
            with lab.go("other", ephemeral=True) as other:
                other.up()
                assert until(lambda: is_online(node, "other"), 3) < 3
                other.logout()
                assert until(lambda: peer_of(node, "other") is None, 3) < 3
        assert until(lambda: go.peer("ours") is None, 3) < 3


@pytest.mark.parametrize("ours_first", [True, False], ids=["we dial", "go dials"])
def test_who_comes_back_under_its_key_breaks_no_session(lab: Lab, ours_first: bool) -> None:
    """A session that is made before control tells of the restart outlives that word, on both sides.

    Go trusts the port of the node that has ended for 6.5 s after its last pong, and sends to it alone. So there is no
    direct path where Go dials.
    """
    store = MemoryStore()
    with lab.go() as go:
        go.up()
        go.listen(":7", "echo")
        for _ in range(3):
            node = lab.node(ephemeral=False, state=store, relays_only=not ours_first)
            with node, serve_echo(node, 8):
                if not ours_first:  # Go waits five seconds when its first initiation finds nobody
                    node.reachable()
                    until(lambda: (go.peer("ours") or {}).get("Online") and knows_home(go), 5)
                for _ in range(5):
                    start = time.monotonic()
                    if ours_first:
                        with node.dial("go", 7) as stream:
                            assert exchange(stream, 1000)[1] == 1000
                    else:
                        assert go.send("ours:8", 1000)[1].bytes == 1000
                    assert time.monotonic() - start < 3
                    time.sleep(0.05)


# --- the policy -------------------------------------------------------------------------------------------------


def rules(port: int) -> list[dict[str, list[str]]]:
    return [{"src": ["*"], "dst": [f"*:{port}"]}]


def reaches(go: GoPeer, address: str) -> bool:
    try:
        go.close_stream(go.open(address, timeout=3))
    except PeerError:
        return False
    return True


def taken_in(go: GoPeer) -> int:
    """How many packets out of the tunnel were for Go's engine itself, as TSMP's word of a flow that is rejected."""
    lines = (line.split() for line in str(go.local("metrics")).splitlines())
    return next((int(line[1]) for line in lines if line[:1] == ["tstun_in_from_wg_drop"]), 0)


def test_one_port_is_allowed_and_the_next_denied_on_both_sides(lab: Lab) -> None:
    """A denied dial of ours fails at once: Go says so by TSMP. So do we; Go takes that in, and its dial waits on."""
    lab.tailnet.set_policy(rules(80))
    with lab.go() as go, lab.node() as node, serve_echo(node, 80), serve_echo(node, 81):
        go.up()
        for port in (":80", ":81"):
            go.listen(port, "echo")
        until(lambda: is_online(node, "go") and knows_home(go), 5)
        for allowed, denied in ((80, 81), (81, 80)):
            until(lambda allowed=allowed: reaches(go, f"ours:{allowed}"), 10)  # type: ignore[misc]
            node.dial("go", allowed).close()
            start = time.monotonic()
            with pytest.raises(tsnet.DeniedByPolicy, match="the tailnet's policy"):
                node.dial("go", denied)
            assert time.monotonic() - start < 2
            rejections = taken_in(go)
            assert not reaches(go, f"ours:{denied}")
            assert taken_in(go) > rejections
            lab.tailnet.set_policy(rules(81))


def test_caddys_filter_too(lab: Lab) -> None:
    need("caddy")
    lab.tailnet.set_policy(rules(80))
    with (
        lab.node() as node,
        serve_http(node, 81),
        node.httpx_client() as client,
        lab.caddy(upstream="ours:81") as caddy,
    ):
        until(lambda: is_online(node, "web"), 5)
        assert client.get("http://web/whoami").text == "alice@example.com"
        with pytest.raises(tsnet.DialRefused):
            node.dial("web", 81)
        with pytest.raises(TimeoutError):
            caddy.get("/", timeout=2)


# --- from a shell -----------------------------------------------------------------------------------------------


def command(scene: Scene, name: str, *arguments: str, environment: dict[str, str] | None = None) -> Process:
    paths = {"PYTHONPATH": str(ROOT), **(environment or {})}
    return scene.run(name, [sys.executable, "-m", "tsnet", *arguments], environment=paths)


def test_a_go_peer_joins_what_the_command_line_says(scene: Scene) -> None:
    """`tsnet tailnet --json` is enough for Go, `tsnet serve` for it to fetch, `tsnet curl` to fetch from it."""
    need("tsnetpeer")
    folder = scene.folder / "site"
    folder.mkdir()
    (folder / "hello.txt").write_text("from a folder\n")
    tailnet = command(scene, "tailnet", "tailnet", "--json")
    tailnet.wait_until(lambda: "\n" in tailnet.log(), "printed its first line")
    told = json.loads(tailnet.log().splitlines()[0])
    joining = {"TS_CONTROL_URL": told["control_url"], "TS_AUTHKEY": told["auth_key"]}
    site = command(scene, "site", "serve", str(folder), "--hostname", "site", "--ephemeral", environment=joining)
    with GoPeer(scene, ControlAt(told["control_url"]), "go", auth_key=told["auth_key"]) as go:
        assert go.up().name == f"go.{told['base_domain']}"
        go.serve_http()
        site.wait_until(lambda: "http://site" in site.log(), "serving")
        assert go.get("http://site/hello.txt").body == "from a folder\n"
        fetched = command(scene, "curl", "curl", "http://go/", "--ephemeral", environment=joining)
        assert fetched.popen.wait(20) == 0
        body = fetched.log()[fetched.log().index("{") :]
        assert json.loads(body[: body.rindex("}") + 1])["whois"]["name"].endswith(told["base_domain"])
    site.stop()
    assert site.popen.returncode == 0


def test_go_reads_who_may_use_a_peer_relay_and_who_is_one(lab: Lab) -> None:
    """Both sides of the grant, as Go's magicsock asks for them; they let no packet pass by themselves."""
    grant = {"src": ["client"], "dst": ["relay:*"], "app": {"tailscale.com/cap/relay": []}}
    lab.tailnet.set_policy([{"src": ["*"], "dst": ["*:*"]}, grant])
    with lab.go("client") as client, lab.go("relay") as relay, lab.go("other") as other:
        own, there, third = client.up(), relay.up(), other.up()
        until(lambda: "tailscale.com/cap/relay-target" in caps_of(client, there.v4), 5)
        until(lambda: "tailscale.com/cap/relay" in caps_of(relay, own.v4), 5)
        assert "tailscale.com/cap/relay" not in caps_of(relay, third.v4)
        assert "tailscale.com/cap/relay-target" not in caps_of(other, there.v4)


def caps_of(node: GoPeer, address: str) -> set[str]:
    """The capabilities of a peer towards this node."""
    try:
        return set(node.whois(address)["caps"] or ())
    except PeerError:
        return set()

"""Our node on a real Headscale, with a real Go node: names, bytes, pings, coming, going, refusals.

Two legs. *https*: a private CA, which we are given as `ssl_context=` and Go as SSL_CERT_FILE; control and DERP speak
TLS. *http*: both plain, by TS_DEBUG_USE_DERP_HTTP=1. One Headscale and one Go node play a whole leg.

Source: Headscale integration/{general,auth_key}_test.go for the tests that bear its names.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from hashlib import sha256
from typing import Any

import attrs
import pytest

import tsnet
from tests.interop.harness import ours
from tests.interop.harness.gopeer import GoPeer
from tests.interop.harness.headscale import DERP_REGION, Headscale
from tests.interop.harness.ours import follow, is_online, peer_of, serve_echo, serve_http, until
from tests.interop.harness.requirements import need
from tests.interop.harness.scene import Scene
from tsnet.edge.io.store import MemoryStore
from tsnet.engine import facts

pytestmark = [pytest.mark.interop, pytest.mark.timeout(180)]  # a leg's first test builds, starts and joins, too

POLICY = {"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}], "tagOwners": {"tag:ci": ["u1@"]}}
MIB = 1 << 20


@attrs.define
class Lab:
    """One leg: Headscale, and the Go node "gopeer" of user u1, up and serving."""

    scene: Scene
    headscale: Headscale
    go: GoPeer
    key: str

    def node(self, name: str, **options: Any) -> tsnet.Server:
        options = {"auth_key": self.key, "ephemeral": True, **options}
        return ours.node(self.headscale, name, **options)

    @property
    def go_addresses(self) -> list[str]:
        assert self.go.granted is not None
        return self.go.granted.addresses

    def go_knows_home(self, name: str) -> None:
        """Headscale has told Go at which relay our node is."""
        until(lambda: (self.go.peer(name) or {}).get("Relay") == "lab", 10, f"Go knows the home of {name}")


def play(scene: Scene, tls: bool) -> Iterator[Lab]:
    with Headscale(scene, tls=tls, policy=POLICY) as headscale:
        key = headscale.auth_key("u1", ephemeral=True)
        with GoPeer(scene, headscale, "gopeer", auth_key=headscale.auth_key("u1"), derp_only=True) as go:
            go.up()
            go.serve_http()
            yield Lab(scene, headscale, go, key)


@pytest.fixture(scope="module", params=["https", "http"])
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, _swept: None) -> Iterator[Lab]:
    need("root", "headscale", "tsnetpeer")
    with Scene(tmp_path_factory.mktemp(request.param)) as scene:
        yield from play(scene, request.param == "https")


one_leg = pytest.mark.parametrize("lab", ["http"], indirect=True)


# --- both ways --------------------------------------------------------------------------------------------------


def test_http_both_ways_through_headscales_derp(lab: Lab) -> None:
    with lab.node("ours", relays_only=True) as node, serve_http(node), node.httpx_client() as client:
        assert node.fqdn == "ours.lab.example"
        assert node.status().home_region in (0, DERP_REGION)
        v4, v6 = map(str, node.addresses)
        go_v4, go_v6 = lab.go_addresses
        for host in ("gopeer", "gopeer.lab.example", go_v4, f"[{go_v6}]"):
            told = client.post(f"http://{host}/some/path?q=1", content=bytes(MIB)).json()
            assert (told["path"], told["bytes"]) == ("/some/path?q=1", MIB)
            assert told["sha256"] == sha256(bytes(MIB)).hexdigest()
            assert (told["whois"]["name"], told["whois"]["user"]) == ("ours.lab.example", "u1")
        lab.go_knows_home("ours")
        for host in ("ours", "ours.lab.example", v4, f"[{v6}]"):
            told = json.loads(lab.go.get(f"http://{host}/here", method="PUT", body="a" * 5000).body)
            assert (told["name"], told["user"], told["path"]) == ("gopeer", "u1", "/here")
            assert told["sha256"] == sha256(b"a" * 5000).hexdigest()
            assert told["remote"] in lab.go_addresses
        answer = client.get("http://gopeer/bytes?n=3000000")
        assert sha256(answer.content).hexdigest() == answer.headers["X-Sha256"]
        status = lab.go.peer("ours")
        assert status is not None
        assert (status["CurAddr"], status["Relay"]) == ("", "lab")


def test_pings_both_ways(lab: Lab) -> None:
    """`tailscale ping`, also --tsmp and --icmp, of our node; ours of Go's."""
    with lab.node("pinged", relays_only=True) as node:
        node.reachable()
        lab.go_knows_home("pinged")
        for address in map(str, node.addresses):
            for kind in ("disco", "TSMP", "ICMP"):
                found = lab.go.ping(address, kind)
                assert found["NodeName"] == "pinged"
                assert not found.get("Endpoint")
                assert found["LatencySeconds"] < 2
            assert lab.go.ping(address, "disco")["DERPRegionID"] == DERP_REGION
        for host in ("gopeer", *lab.go_addresses):
            for kind in ("icmp", "tsmp"):
                assert node.ping(host, kind=kind).seconds < 2


# --- coming and going -------------------------------------------------------------------------------------------


def test_a_restart_of_headscale_breaks_no_stream(lab: Lab) -> None:
    """It takes its DERP with it, and comes back under the same keys."""
    with lab.node("steady") as node, serve_echo(node, 7):
        lab.go.listen(":7", "echo")
        mine = node.dial("gopeer", 7)
        lab.go_knows_home("steady")
        theirs = lab.go.open("steady:7")
        with mine:
            mine.settimeout(40)
            lab.headscale.stop()
            mine.sendall(b"across")
            lab.go.write(theirs, b"across")
            lab.headscale.start()
            assert mine.recv(100) == b"across"
            assert lab.go.read(theirs, 6, timeout=40) == b"across"
            until(lambda: lab.headscale.node("steady").get("online"), 30)
            until(lambda: is_online(node, "gopeer"), 30)
        lab.go.close_stream(theirs)
        lab.go.unlisten(":7")


@one_leg
def test_a_peer_comes_logs_out_or_is_killed(lab: Lab) -> None:
    with lab.node("watcher") as node, ExitStack() as stack:
        comers = [
            stack.enter_context(GoPeer(lab.scene, lab.headscale, name, auth_key=lab.key, ephemeral=True))
            for name in ("leaver", "victim")
        ]
        rising = [comer.start("up") for comer in comers]
        for future, name in zip(rising, ("leaver", "victim"), strict=True):
            future.result(30)
            assert until(lambda name=name: is_online(node, name), 3) < 3  # type: ignore[misc]
        leaving = comers[0].start("logout")
        assert until(lambda: peer_of(node, "leaver") is None, 3) < 3
        leaving.result(10)
        comers[1].kill()
        assert until(lambda: not is_online(node, "victim"), 15) < 15
        found = peer_of(node, "victim")
        assert found is not None
        assert found.last_seen is not None


def test_go_sees_us_come_and_go(lab: Lab) -> None:
    with lab.node("passing"):
        assert until(lambda: (lab.go.peer("passing") or {}).get("Online"), 3) < 3
    assert until(lambda: lab.go.peer("passing") is None, 3) < 3


@one_leg
def test_preferences_change_while_the_node_runs(lab: Lab) -> None:
    """The hostname, at Headscale and at Go. Shields: Go's dial waits at our filter, and gets in once they are down."""
    with lab.node("movable") as node, serve_echo(node, 7):
        node.reachable()
        lab.go_knows_home("movable")
        where = f"{node.addresses[0]}:7"
        before = lab.go.open(where)
        assert node.set(hostname="moved", shields_up=True) == node.prefs
        assert lab.headscale.node("moved")["name"] == "moved"  # as soon as `set` has returned
        until(lambda: node.name == "moved", 15)
        until(lambda: lab.go.peer("moved"), 15)
        dropped = node._handle.node.engine.packet_filter.dropped
        refused = dropped["rule"]
        dialling = lab.go.start("open", address=where)
        until(lambda: dropped["rule"] > refused, 15)
        node.dial("gopeer", 80, timeout=15).close()
        lab.go.write(before, b"still")
        assert lab.go.read(before, 5) == b"still"
        assert not dialling.done()
        node.set(shields_up=False)
        after = dialling.result(30)["stream"]
        for stream in (before, after):
            lab.go.write(stream, b"hello")
            assert lab.go.read(stream, 5) == b"hello"
            lab.go.close_stream(stream)
        assert lab.headscale.node("moved")["name"] == "moved"


# --- logging in -------------------------------------------------------------------------------------------------


def test_a_person_logs_the_node_in(lab: Lab) -> None:
    urls: list[str] = []
    node = lab.node("person", auth_key="", on_auth_url=urls.append)
    try:
        rising = threading.Thread(target=node.up)
        rising.start()
        until(lambda: urls)
        assert node.status().login_url == urls[0]
        lab.headscale.register(urls[0], user="u2")
        rising.join(20)
        assert (node.name, node.status().user_login) == ("person", "u2")
        assert lab.headscale.node("person")["user"]["name"] == "u2"
        assert len(urls) == 1
    finally:
        node.close()


@one_leg
def test_nobody_to_log_in(lab: Lab) -> None:
    node = lab.node("nobody", auth_key="")
    with pytest.raises(tsnet.NeedsLogin, match="auth_key=") as caught:
        node.up()
    assert caught.value.url.startswith(lab.headscale.url)
    node.close()


@one_leg
@pytest.mark.parametrize("kind", ["wrong", "garbage", "spent", "expired", "tags"])
def test_a_key_that_cannot_work_is_refused_with_its_remedy(lab: Lab, kind: str) -> None:
    headscale = lab.headscale
    key, reason = headscale.auth_key(reusable=False), kind
    tags = ["tag:nobody"] if kind == "tags" else []
    if kind == "wrong":
        key, reason = "hskey-auth-123456789012-" + "a" * 64, "invalid"
    elif kind == "garbage":
        key, reason = "garbage", "invalid"
    elif kind == "spent":
        reason = "already used"
        with lab.node("spender", auth_key=key):
            pass
    elif kind == "expired":
        headscale.expire_auth_key(key)
    node, start = lab.node("refused", auth_key=key, tags=tags), time.monotonic()
    with pytest.raises(tsnet.AuthKeyRejected, match="Create a new auth key") as caught:
        node.up(timeout=10)
    assert time.monotonic() - start < 5
    assert reason in caught.value.reason
    assert key not in str(caught.value)
    with pytest.raises(tsnet.AuthKeyRejected):  # and it stays refused: nobody retries
        node.dial("gopeer", 80, timeout=1)
    node.close()


@one_leg
def test_tags_of_the_key_and_tags_of_a_person(lab: Lab) -> None:
    """Headscale 0.29 takes a node's tags from its key, and takes requests for tags only without one."""
    key = lab.headscale.auth_key(ephemeral=True, tags=["tag:ci"])
    with lab.node("tagged", auth_key=key) as node, node.httpx_client() as client:
        assert node.status().tags == ("tag:ci",)
        assert client.get("http://gopeer/").json()["whois"]["tags"] == ["tag:ci"]
    with lab.node("asking", auth_key="", tags=["tag:ci"], on_auth_url=lab.headscale.register):
        assert lab.headscale.node("asking")["tags"] == ["tag:ci"]


@one_leg
def test_ssl_cert_file_is_as_good_as_a_context(
    lab: Lab, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For control and for DERP; without it neither is trusted."""
    with Scene(tmp_path_factory.mktemp("ca")) as scene, Headscale(scene, tls=True) as headscale:
        options: dict[str, Any] = {"auth_key": headscale.auth_key(ephemeral=True), "ephemeral": True}
        doubting = ours.node(headscale, "doubting", ssl_context=None, **options)
        with pytest.raises(tsnet.ControlCertificateError, match="SSL_CERT_FILE"):
            doubting.up(timeout=10)
        doubting.close()
        for name, value in headscale.environment.items():
            monkeypatch.setenv(name, value)
        with ours.node(headscale, "trusting", ssl_context=None, **options) as node:
            node.reachable(timeout=10)


# --- deleted, doubled -------------------------------------------------------------------------------------------


@one_leg
def test_a_deleted_ephemeral_node_registers_anew_within_5_s(lab: Lab) -> None:
    with lab.node("phoenix") as node:
        node.reachable()
        before = node.addresses
        lab.headscale.delete_node("phoenix")
        assert until(lambda: node.addresses != before, 5) < 5
        assert lab.headscale.node("phoenix")["ip_addresses"] == [str(address) for address in node.addresses]
        with node.httpx_client() as client:
            assert client.get("http://gopeer/").json()["whois"]["name"] == "phoenix.lab.example"


@one_leg
def test_a_deleted_node_that_is_not_ephemeral_is_told(lab: Lab) -> None:
    """Whoever asks it for something afterwards has it log in anew, by its auth key."""
    node = lab.node("lasting", auth_key=lab.headscale.auth_key(), ephemeral=False)
    with node:
        told, number = follow(node, facts.Problem), lab.headscale.node("lasting")["id"]
        lab.headscale.delete_node("lasting")
        until(lambda: told, 5)
        assert isinstance(told[0].error, tsnet.NodeRemoved)
        assert "log in anew" in str(told[0].error)
        assert told[0].fatal
        assert node.status().state == "failed"
        node.dial("gopeer", 80, timeout=10).close()
        assert lab.headscale.node("lasting")["id"] != number
    lab.headscale.delete_node("lasting")


@one_leg
def test_an_expired_node_is_told_and_comes_back_with_a_key(lab: Lab) -> None:
    store, key = MemoryStore(), lab.headscale.auth_key()
    with lab.node("aged", auth_key=key, ephemeral=False, state=store) as node:
        addresses = node.addresses
        assert node.ping("gopeer").seconds < 2
        lab.headscale.expire_node("aged")
        until(lambda: refuses_as_expired(node), 5)
    with lab.node("aged", auth_key=key, ephemeral=False, state=store) as node:
        assert node.addresses == addresses
        assert node.ping("gopeer", timeout=10).seconds < 10
    lab.headscale.delete_node("aged")


@one_leg
def test_an_expired_node_that_was_restarted_runs_once_its_key_is_extended(lab: Lab) -> None:
    """Without a key of its own it says NeedsLogin at first; the next `up` works, and it is the same node."""
    store = MemoryStore()
    with lab.node("extended", auth_key=lab.headscale.auth_key(), ephemeral=False, state=store) as node:
        addresses = node.addresses
        lab.headscale.expire_node("extended")
        until(lambda: refuses_as_expired(node), 5)
    node = lab.node("extended", auth_key="", ephemeral=False, state=store)
    try:
        with pytest.raises(tsnet.NeedsLogin):
            node.up(timeout=10)
        lab.headscale.extend_node("extended")
        until(lambda: node.status().state == "running", 5)
        node.up(timeout=10)
        assert node.addresses == addresses
        assert node.ping("gopeer", timeout=10).seconds < 10
    finally:
        node.close()
        lab.headscale.delete_node("extended")


def refuses_as_expired(node: tsnet.Server) -> bool:
    try:
        node.ping("gopeer", timeout=1)
    except tsnet.KeyExpired:
        return True
    except tsnet.DialTimeout:
        pass
    return False


@one_leg
def test_one_key_in_two_nodes(lab: Lab) -> None:
    """The first learns of it from its own Node, which comes back with a disco key that it did not send."""
    store = MemoryStore()
    with lab.node("twin", state=store) as first:
        told = follow(first, facts.DuplicateNode)
        copy = MemoryStore(store.values)
        with ours.on_another_machine(), lab.node("twin", state=copy):
            until(lambda: told, 20)


# --- what Headscale's own tests ask -----------------------------------------------------------------------------


def test_ping_all_by_ip_and_by_hostname(lab: Lab) -> None:
    """TestPingAllByIP, TestPingAllByHostname: two users, each node pings each by each address and name."""
    other_user = lab.headscale.auth_key("u2", ephemeral=True)
    with lab.node("n1") as one, lab.node("n2", auth_key=other_user) as two:
        addresses = [*lab.go_addresses, *map(str, one.addresses), *map(str, two.addresses)]
        nodes = {"n1": one, "n2": two}
        for name, node in nodes.items():
            node.reachable()
            others = [other for other in ("gopeer", "n1", "n2") if other != name]
            until(lambda node=node, others=others: all(is_online(node, other) for other in others))  # type: ignore[misc]
            lab.go_knows_home(name)
        for name, node in nodes.items():
            own = [str(address) for address in node.addresses]
            others = [other for other in ("gopeer", "n1", "n2") if other != name]
            targets = [address for address in addresses if address not in own]
            for target in (*targets, *others, *(f"{other}.lab.example" for other in others)):
                assert node.ping(target).seconds < 2
            for address in own:
                assert lab.go.ping(address, "ICMP")["NodeName"] == name
        assert {peer_of(one, "n2").user_login, peer_of(two, "n1").user_login} == {"u1", "u2"}  # type: ignore[union-attr]


@one_leg
def test_ephemeral(lab: Lab) -> None:
    """TestEphemeral: they ping each other, leave, and Headscale has none of them."""
    with lab.node("e1") as one, lab.node("e2", auth_key=lab.headscale.auth_key("u2", ephemeral=True)) as two:
        assert one.ping("gopeer").seconds < 2
        until(lambda: is_online(one, "e2"))
        assert one.ping("e2", timeout=10).seconds < 10
        assert two.ping("e1").seconds < 2
    until(lambda: not {node["given_name"] for node in lab.headscale.nodes()} & {"e1", "e2"}, 5)


def test_auth_key_logout_and_relogin_same_user(lab: Lab) -> None:
    """The node keeps its number, its name and its addresses, and gets a new node key."""
    store, headscale = MemoryStore(), lab.headscale
    with lab.node("back", auth_key=headscale.auth_key(), ephemeral=False, state=store) as node:
        addresses, before = node.addresses, headscale.node("back")
        ours.log_out(node)
    with lab.node("back", auth_key=headscale.auth_key(), ephemeral=False, state=store) as node:
        after = headscale.node("back")
        assert (node.addresses, after["id"], after["machine_key"]) == (addresses, before["id"], before["machine_key"])
        assert after["node_key"] != before["node_key"]
        assert node.ping("gopeer").seconds < 2
    assert len([known for known in headscale.nodes() if known["name"].startswith("back")]) == 1
    headscale.delete_node("back")


@one_leg
def test_auth_key_logout_and_relogin_new_user(lab: Lab) -> None:
    """Another user's key makes another node; the first stays with its user."""
    store, headscale = MemoryStore(), lab.headscale
    with lab.node("mover", auth_key=headscale.auth_key("u2"), ephemeral=False, state=store) as node:
        before = headscale.node("mover")
        ours.log_out(node)
    with lab.node("mover", auth_key=headscale.auth_key("u1"), ephemeral=False, state=store) as node:
        assert node.status().user_login == "u1"
        assert node.ping("gopeer", timeout=10).seconds < 10
        owners = {known["id"]: known["user"]["name"] for known in headscale.nodes() if known["name"] == "mover"}
        assert len(owners) == 2
        assert owners.pop(before["id"]) == "u2"
        assert set(owners.values()) == {"u1"}


@one_leg
def test_auth_key_logout_and_relogin_same_user_expired_key(lab: Lab) -> None:
    store, headscale = MemoryStore(), lab.headscale
    with lab.node("late", auth_key=headscale.auth_key(), ephemeral=False, state=store) as node:
        ours.log_out(node)
    expired = headscale.auth_key()
    headscale.expire_auth_key(expired)
    again = lab.node("late", auth_key=expired, ephemeral=False, state=store)
    with pytest.raises(tsnet.AuthKeyRejected) as caught:
        again.up(timeout=10)
    assert "authkey expired" in caught.value.reason
    again.close()


@one_leg
def test_a_node_that_comes_back_under_its_key_is_as_quick(lab: Lab) -> None:
    """Headscale tells Go of our new disco key when we have met already: the session must outlive that."""
    store, key = MemoryStore(), lab.headscale.auth_key()
    for _ in range(3):
        with lab.node("stayer", auth_key=key, ephemeral=False, state=store) as node, node.httpx_client() as client:
            for _ in range(6):
                assert client.get("http://gopeer/", timeout=3).status_code == 200
                time.sleep(0.3)  # over the second in which Headscale tells
    lab.headscale.delete_node("stayer")


# --- first contact ----------------------------------------------------------------------------------------------


@pytest.mark.slow
@one_leg
def test_the_first_byte_from_a_go_peer_within_a_second_and_a_half(
    lab: Lab, record_property: Callable[[str, object], None]
) -> None:
    """From our first map to the first byte of an HTTP response, ten new nodes."""
    taken = []
    for number in range(10):
        with lab.node(f"quick{number}") as node:
            start = time.monotonic()
            with node.dial("gopeer", 80, timeout=10) as stream:
                stream.settimeout(10)
                stream.sendall(b"GET / HTTP/1.0\r\nHost: gopeer\r\n\r\n")
                assert stream.recv(1) == b"H"
            taken.append(time.monotonic() - start)
    shown = " ".join(f"{seconds:.2f}" for seconds in taken)
    median = sorted(taken)[len(taken) // 2]
    print(f"first byte after the first map: median {median:.2f} s of {shown}")
    record_property("first_byte_seconds", shown)
    assert median < 1.5

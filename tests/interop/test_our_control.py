"""Real Go nodes on our control server and our relay: what no unit test can know."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.control.host import Host
from tests.interop.harness.caddy import Caddy
from tests.interop.harness.control import ControlAt
from tests.interop.harness.gopeer import GoPeer
from tests.interop.harness.requirements import need
from tests.interop.harness.scene import Scene
from tsnet.base.keys import MachinePrivateKey, NodePrivateKey
from tsnet.control.server.faults import Effect, Fault
from tsnet.control.server.members import Member
from tsnet.control.server.policy import Policy
from tsnet.control.server.server import Server
from tsnet.control.server.tailnet import TailnetState
from tsnet.derp.server import Relay
from tsnet.netmap.model import DerpMap, DerpNode, DerpRegion

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

CONTROL_PORT, DERP_PORT, STUN_PORT = 8080, 3340, 3478
LOOPBACK = "127.0.0.1"
RELAY = DerpNode(
    "900a", 900, LOOPBACK, ipv4=LOOPBACK, ipv6="none", derp_port=DERP_PORT, stun_port=STUN_PORT, stun_test_ip=LOOPBACK
)
DERP_MAP = DerpMap({900: DerpRegion(900, "lab", "Lab", nodes=(RELAY,))}, omit_default_regions=True)


class World:
    """Our tailnet behind listeners in the scene."""

    def __init__(self, scene: Scene, host: Host) -> None:
        self.scene, self.host = scene, host
        self.tailnet = TailnetState(entropy=os.urandom, base_domain="tail.example", derp_map=DERP_MAP)
        self.control = ControlAt(f"http://{LOOPBACK}:{CONTROL_PORT}", {"TS_DEBUG_USE_DERP_HTTP": "1"})
        self.private = MachinePrivateKey(os.urandom(32))
        self.relay = Relay(NodePrivateKey(os.urandom(32)), entropy=os.urandom, now=time.monotonic())
        self.server = self.serve()
        host.listen(DERP_PORT, self.relay)
        host.answer_stun(STUN_PORT)

    def serve(self) -> Server:
        """A control server over the tailnet; the one before it is gone."""
        now = time.monotonic()
        offset = time.time() - now
        self.server = Server(
            self.tailnet, self.private, entropy=os.urandom, base_url=self.control.url, wall_offset=offset, now=now
        )
        self.host.listen(CONTROL_PORT, self.server)
        return self.server

    def key(self, user: str = "", **options: Any) -> str:
        return self.host.do(lambda: self.tailnet.create_auth_key(user, **options)).text

    def peer(self, name: str, user: str = "", *, tags: tuple[str, ...] = (), **options: Any) -> GoPeer:
        key = self.key(user, reusable=True, tags=tags)
        return GoPeer(self.scene, self.control, name, auth_key=key, tags=tags, **options)

    def member(self, name: str) -> Member:
        found = self.host.do(lambda: self.tailnet.named(name))
        assert found is not None, name
        return found

    def until(self, condition: Any, timeout: float = 20) -> None:
        """A condition on Go's side."""
        end = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < end, f"not in {timeout} s"
            time.sleep(0.05)


@pytest.fixture
def world(scene: Scene) -> Iterator[World]:
    need("tsnetpeer")
    with Host() as host:
        yield World(scene, host)


def test_two_go_nodes_meet(world: World) -> None:
    with world.peer("a", "alice@example.com") as a, world.peer("b", "bob@example.com") as b:
        granted, other = a.up(), b.up()
        assert (granted.name.rstrip("."), other.name.rstrip(".")) == ("a.tail.example", "b.tail.example")
        b.serve_http()
        assert a.get("http://b/").status == 200
        assert a.whois(other.v4)["user"] == "bob@example.com"
        assert b.whois(granted.v6)["user"] == "alice@example.com"
        assert a.status()["CurrentTailnet"]["MagicDNSSuffix"] == "tail.example"
        for kind in ("disco", "TSMP", "ICMP"):
            assert b.ping(granted.v4, kind)["NodeName"] == "a"
        assert not world.server.dropped


def test_through_our_relay_alone(world: World) -> None:
    with world.peer("a", derp_only=True) as a, world.peer("b", derp_only=True) as b:
        a.up()
        other = b.up()
        b.listen(":7", "echo")
        sent, received = a.send(f"{other.v4}:7", 1 << 20)
        assert (sent.bytes, received.sha256) == (1 << 20, sent.sha256)
        peer = a.peer("b")
        assert peer is not None
        assert (peer["CurAddr"], peer["Relay"]) == ("", "lab")


def test_peers_come_go_and_come_back(world: World) -> None:
    with world.peer("a") as a:
        a.up()
        with world.peer("b") as b:
            other = b.up()
            world.until(lambda: is_online(a, "b"))
            b.kill()
            world.until(lambda: not is_online(a, "b"), timeout=15)
            b.start_again()
            again = b.up()
            assert (again.addresses, again.key) == (other.addresses, other.key)
            world.until(lambda: is_online(a, "b"))
            b.logout()
            world.until(lambda: a.peer("b") is None or a.peer("b").get("Expired"), timeout=3)  # type: ignore[union-attr]


def test_an_ephemeral_node_leaves_at_once(world: World) -> None:
    with world.peer("a") as a:
        a.up()
        with world.peer("b", ephemeral=True) as b:
            b.up()
            world.until(lambda: is_online(a, "b"))
        world.until(lambda: a.peer("b") is None, timeout=5)
        assert world.host.do(lambda: world.tailnet.named("b")) is None


def test_control_restarts_and_nobody_notices(world: World) -> None:
    with world.peer("a") as a, world.peer("b") as b:
        a.up()
        other = b.up()
        b.listen(":7", "echo")
        stream = a.open(f"{other.v4}:7")
        world.serve()
        world.host.until(lambda: len(world.server.polling) == 2)
        a.write(stream, b"still here")
        assert a.read(stream, 10) == b"still here"
        with world.peer("c") as c:
            c.up()
            world.until(lambda: is_online(a, "c"))


def test_a_filter_opens_one_port_and_then_another(world: World) -> None:
    world.host.do(lambda: set_policy(world, "b:80"))
    with world.peer("a") as a, world.peer("b") as b:
        a.up()
        b.up()
        for port in (":80", ":81"):
            b.listen(port, "echo")
        world.until(lambda: can_connect(a, "b:80"))  # Go's first handshake may find no way yet: it waits 5 s
        assert not can_connect(a, "b:81")
        world.host.do(lambda: set_policy(world, "b:81"))
        world.until(lambda: can_connect(a, "b:81"))
        assert not can_connect(a, "b:80")
        world.host.do(lambda: set_policy(world, "nobody:1"))
        world.until(lambda: a.peer("b") is None)


def test_a_person_lets_a_node_in(world: World) -> None:
    with GoPeer(world.scene, world.control, "walker") as peer:
        rising = peer.start("up")
        world.host.until(lambda: world.tailnet.logins)
        (login,) = world.tailnet.logins.values()
        world.host.do(lambda: world.tailnet.approve(login.auth_id, "carol@example.com"))
        rising.result(20)
        assert peer.whois(peer.up().v4)["user"] == "carol@example.com"


def test_tags_and_names(world: World) -> None:
    with (
        world.peer("shop", tags=("tag:web",)) as one,
        GoPeer(world.scene, world.control, "a", auth_key=world.key()) as a,
    ):
        granted = one.up()
        a.up()
        told = a.whois(granted.v4)
        assert (told["user"], told["tags"]) == ("tagged-devices", ["tag:web"])


def test_a_deleted_node_is_gone_and_an_expired_one_logs_in_anew(world: World) -> None:
    with world.peer("a") as a, world.peer("b") as b:
        a.up()
        other = b.up()
        world.host.do(lambda: world.tailnet.expire(world.tailnet.members[2], time.time()))
        world.until(lambda: b.status()["BackendState"] == "NeedsLogin")
        b.close()
        b.start_again()
        again = b.up()
        assert again.addresses == other.addresses
        assert again.key != other.key
        world.host.do(lambda: world.tailnet.delete(world.tailnet.members[2]))
        world.until(lambda: a.peer("b") is None)


def test_an_extended_key_is_good_again_without_a_restart(world: World) -> None:
    with world.peer("a") as a:
        granted = a.up()
        member = world.member("a")
        world.host.do(lambda: world.tailnet.expire(member, time.time()))
        world.until(lambda: a.status()["BackendState"] == "NeedsLogin")
        world.host.do(lambda: world.tailnet.extend(member, time.time() + 3600))
        world.until(lambda: a.status()["BackendState"] == "Running")
        assert a.up().key == granted.key


def test_a_node_waits_for_approval_and_is_let_in(world: World) -> None:
    with world.peer("a") as a:
        a.up()
        world.tailnet.wants_approval = True
        with world.peer("b") as b:
            rising = b.start("up")
            world.until(lambda: b.status()["BackendState"] == "NeedsMachineAuth")
            assert a.peer("b") is None
            member = world.member("b")
            world.host.do(lambda: world.tailnet.authorize(member))
            rising.result(20)
            world.until(lambda: is_online(a, "b"))
            world.until(lambda: is_online(b, "a"))


def test_a_new_name_is_seen_by_the_node_and_its_peers(world: World) -> None:
    with world.peer("a") as a, world.peer("b") as b:
        a.up()
        b.up()
        member = world.member("b")
        world.host.do(lambda: world.tailnet.give_name(member, "till"))
        world.until(lambda: is_online(a, "till"))
        world.until(lambda: b.status()["Self"]["DNSName"] == "till.tail.example.")
        assert a.peer("b") is None


def test_a_one_off_key_lets_one_node_in(world: World) -> None:
    key = world.key()
    with (
        GoPeer(world.scene, world.control, "a", auth_key=key) as a,
        GoPeer(world.scene, world.control, "b", auth_key=key) as b,
    ):
        a.up()
        b.start("up")
        world.until(lambda: b.status()["BackendState"] == "NeedsLogin")
        assert world.host.do(lambda: world.tailnet.named("b")) is None


def test_a_node_gets_over_faults_of_control(world: World) -> None:
    planned = world.server.faults
    once = [
        Fault(Effect.REFUSE, "register", status=503, retry_after=1.0, times=1),
        Fault(Effect.DROP, "register", times=1),
        Fault(Effect.GARBLE, "map", times=1),
        Fault(Effect.OMIT, "map", fields=("Health",), times=1),
    ]
    for fault in once:
        world.host.do(lambda fault=fault: planned.plan(fault))  # type: ignore[misc]
    with world.peer("a") as a:
        a.up(timeout=60)
        assert [fault.met for fault in once] == [1, 1, 1, 1]


def test_control_asks_a_node(world: World) -> None:
    with world.peer("a") as a:
        a.up()
        member = world.member("a")
        request = b"POST /echo HTTP/1.1\r\nHost: node\r\nContent-Length: 5\r\n\r\nhello"
        token = world.host.do(lambda: world.server.c2n(member, request, time.monotonic()))
        assert token is not None
        world.host.until(lambda: world.server.replies[token])
        assert world.server.replies[token].endswith(b"hello")


def test_caddy_of_an_older_go(world: World) -> None:
    need("caddy")
    key = world.key("dave@example.com")
    with world.peer("a", "alice@example.com") as a:
        a.up()
        a.serve_http()
        with Caddy(world.scene, world.control, "web", auth_key=key, upstream="a:80") as caddy:
            status, _body = caddy.get("/there")
            assert status == 200
            assert a.get("http://web/whoami").body == "alice@example.com"


def is_online(peer: GoPeer, name: str) -> bool:
    found = peer.peer(name)
    return found is not None and bool(found["Online"])


def can_connect(peer: GoPeer, address: str) -> bool:
    try:
        peer.close_stream(peer.open(address, timeout=3))
    except Exception:  # whatever the program says: it was not let in
        return False
    return True


def set_policy(world: World, destination: str) -> None:
    world.tailnet.policy = Policy.parse([{"src": ["*"], "dst": [destination]}])

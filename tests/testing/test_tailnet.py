from __future__ import annotations

import contextlib
import re
import socket
import ssl
import time
from typing import Any

import anyio
import attrs
import pytest

import tsnet
from tests.house import House
from tests.test_server import server
from tsnet.base.keys import NodeKey
from tsnet.derp.upgrade import encode_switching
from tsnet.edge.io.link_limits import FULL, MAX_LINKS_OF_A_SOURCE, SOURCE_FULL
from tsnet.edge.io.listeners import LinkListener
from tsnet.edge.io.udp import UdpSockets
from tsnet.edge.run.servers import ServerPump
from tsnet.errors import (
    AuthKeyRejected,
    ConfigError,
    ControlUnreachable,
    DialRefused,
    DialTimeout,
    NotUp,
    UpTimeout,
)
from tsnet.testing.simulated import SimulatedWorld
from tsnet.testing.tailnet import REGION, Tailnet


def test_start_close_and_again() -> None:
    tailnet = Tailnet()
    with tailnet:
        url = tailnet.control_url
        assert tailnet.auth_key.startswith("tskey-auth-")
        with pytest.raises(ConfigError, match="runs already"):
            tailnet.start()
        assert url in repr(tailnet)
    tailnet.close()
    with pytest.raises(NotUp):
        tailnet.nodes()
    host, _, port = url.removeprefix("http://").rpartition(":")
    with pytest.raises(OSError):
        socket.create_connection((host, int(port)), timeout=2)


def test_a_port_that_is_taken_is_an_error_and_frees_the_rest() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        tailnet = Tailnet(control_port=taken.getsockname()[1])
        with pytest.raises(OSError):
            tailnet.start()
        with pytest.raises(NotUp):
            tailnet.nodes()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_in_a_loop(backend: str) -> None:
    async def main() -> None:
        async with Tailnet() as tailnet:
            assert tailnet.nodes() == {}

    anyio.run(main, backend=backend)


@pytest.mark.parametrize("tls", [True, False])
def test_nodes_log_in_at_the_relay_by_fast_start_unless_it_is_plain_http(
    tls: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without TLS there is no certificate to learn the relay's key from, so the relay answers the request."""
    answered: list[NodeKey] = []

    def switching(key: NodeKey) -> bytes:
        answered.append(key)
        return encode_switching(key)

    monkeypatch.setattr("tsnet.derp.server.encode_switching", switching)
    if not tls:
        monkeypatch.setenv("TS_DEBUG_USE_DERP_HTTP", "1")
    with Tailnet(tls=tls) as tailnet, server(tailnet, "a") as a, server(tailnet, "b") as b:
        for node in (a, b):
            node.reachable()
        assert b.ping("a").seconds < 5
    assert len(answered) == (0 if tls else 2)


def test_a_relay_with_a_bad_certificate_is_named_by_the_dial_and_by_reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TS_DEBUG_ALWAYS_USE_DERP", "1")
    with Tailnet() as tailnet:
        regions = tailnet._state.derp_map.regions
        (relay,) = regions[REGION].nodes
        judged = attrs.evolve(regions[REGION], nodes=(attrs.evolve(relay, insecure_for_tests=False),))
        tailnet._do(
            lambda: setattr(tailnet._state, "derp_map", attrs.evolve(tailnet._state.derp_map, regions={REGION: judged}))
        )
        with server(tailnet, "a") as a, server(tailnet, "b"):
            text = f"relay region {REGION} (127.0.0.1) cannot be reached: certificate: self-signed"
            text += " (it calls itself 'tsnet embedded relay')"
            with pytest.raises(UpTimeout, match=re.escape(text)):
                a.reachable(timeout=0.2)
            with pytest.raises(DialTimeout, match=re.escape(text)):
                a.dial("b", 80, timeout=0.2)
            assert a.status().health == (text,)


def test_over_ipv6() -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    with Tailnet(host="::1") as tailnet, server(tailnet, "a") as a, server(tailnet, "b") as b:
        assert "[::1]" in tailnet.control_url
        assert b.ping(a.name).seconds < 5


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1"])
def test_all_its_ports_are_bound_to_its_address_alone(host: str) -> None:
    if ":" in host and not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    with Tailnet(host=host) as tailnet:
        bound = [
            port.address[0] for pump in (tailnet._control, tailnet.relays[0]._servers.pump) for port in _listeners(pump)
        ]
        bound += [half._socket.getsockname()[0] for half in _udp(tailnet)._halves]
    assert bound == [host] * 3


def _listeners(pump: Any) -> list[LinkListener]:
    assert isinstance(pump, ServerPump)
    return [port for port in pump._ports if isinstance(port, LinkListener)]


def _udp(tailnet: Tailnet) -> UdpSockets:
    (stun,) = tailnet.relays[0]._servers.stuns
    assert isinstance(stun.udp, UdpSockets)
    return stun.udp


@pytest.mark.parametrize("verify_clients", [True, False])
def test_the_relay_serves_its_own_nodes_unless_told_otherwise(verify_clients: bool) -> None:
    """The stranger is a node of another tailnet, whose control names this relay."""
    with Tailnet(verify_clients=verify_clients) as ours, Tailnet() as other:
        other._do(lambda: setattr(other._state, "derp_map", ours._state.derp_map))
        with server(ours, "a") as a, server(other, "stranger") as stranger:
            if verify_clients:
                with pytest.raises(UpTimeout):
                    stranger.reachable(timeout=0.3)
                machine = ours.relays[0]._servers.machine
                assert machine is not None
                assert machine.dropped["not admitted"] >= 1
            else:
                stranger.reachable(timeout=5)
            a.reachable(timeout=5)


def test_the_relay_speaks_tls_and_plain_http_on_one_port() -> None:
    with Tailnet() as tailnet:
        address = relay_of(tailnet)
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        request = b"GET /derp/probe HTTP/1.1\r\nHost: x\r\n\r\n"
        with socket.create_connection(address, 5) as plain:
            plain.sendall(request)
            assert plain.recv(12).startswith(b"HTTP/1.1 200")
        with socket.create_connection(address, 5) as raw, context.wrap_socket(raw, server_hostname="localhost") as tls:
            tls.sendall(request)
            assert tls.recv(12).startswith(b"HTTP/1.1 200")


def relay_of(tailnet: Tailnet) -> tuple[str, int]:
    (node,) = tailnet.derp_map["Regions"][str(REGION)]["Nodes"]
    return node["HostName"], node["DERPPort"]


@pytest.mark.parametrize("which", ["control", "relay"])
def test_one_source_cannot_lock_the_others_out(which: str) -> None:
    """More connections than a source may have, none of which says a word; somebody else is answered at once.

    The source is another address of loopback than the one that everybody uses, and that is no source.
    """
    excess = 40
    with Tailnet() as tailnet, contextlib.ExitStack() as limits:
        host, _, port = tailnet.control_url.removeprefix("http://").rpartition(":")
        address, path = ((host, int(port)), "/key") if which == "control" else (relay_of(tailnet), "/derp/probe")
        request = f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        try:
            flood = [
                limits.enter_context(socket.create_connection(address, 5, ("127.0.0.2", 0)))
                for _ in range(MAX_LINKS_OF_A_SOURCE + excess)
            ]
        except OSError:
            pytest.skip("this machine's loopback is one address")
        for turned_away in flood[-excess:]:
            with contextlib.suppress(ConnectionResetError):
                assert turned_away.recv(1) == b""
        assert tailnet.refused() == {SOURCE_FULL: excess}
        other = limits.enter_context(socket.create_connection(address, 5))
        begun = time.monotonic()
        other.sendall(request)
        assert other.recv(12).startswith(b"HTTP/1.1 200")
        assert time.monotonic() - begun < 1
        assert tailnet.refused() == {SOURCE_FULL: excess}


def test_limits_hold_for_nodes_and_are_ones_own_to_set() -> None:
    house = House(max_connections=3, max_connections_per_source=2)
    house.up("a")
    b = house.up("b")
    c = house.handle("c")
    assert isinstance(house.failure(c.up(5)), ControlUnreachable)
    assert set(house.tailnet.refused()) == {FULL}
    house.finish(b.close(1))
    house.finish(c.reachable(60))
    assert house.tailnet.online() == {"a", "c"}


def test_a_limit_of_none_is_no_limit_to_have() -> None:
    with pytest.raises(ConfigError, match="takes a number from 1 on"):
        Tailnet(max_connections_per_source=0)


def test_keys(house: House) -> None:
    tailnet = house.tailnet
    once = tailnet.create_auth_key("ada@tailnet.test", ephemeral=True)
    house.finish(house.handle("a", auth_key=once).up(5))
    assert isinstance(house.failure(house.handle("b", auth_key=once).up(5)), AuthKeyRejected)
    late = tailnet.create_auth_key(expires_in=10)
    house.run(11)
    assert isinstance(house.failure(house.handle("c", auth_key=late).up(5)), AuthKeyRejected)


def test_tags_belong_to_the_key() -> None:
    house = House(tag_owners={"tag:web": ["you@tailnet.test"]})
    key = house.tailnet.create_auth_key(tags=["tag:web"])
    web = house.handle("web", auth_key=key)
    house.finish(web.up(5))
    assert web.node.netmap is not None
    assert web.node.netmap.self_node.tags == ("tag:web",)


@pytest.fixture
def house() -> House:
    return House()


def test_nodes_come_and_go(house: House) -> None:
    a, b = house.up("a"), house.up("b")
    assert house.tailnet.nodes() == {"a": a.node.addresses, "b": b.node.addresses}
    assert house.tailnet.online() == {"a", "b"}
    house.tailnet.remove("b")
    assert set(house.tailnet.nodes()) == {"a"}
    with pytest.raises(ConfigError, match="nobody"):
        house.tailnet.remove("nobody")
    house.until(lambda: a.node.netmap is not None and not a.node.netmap.peers)


def test_a_new_policy_holds_at_once(house: House) -> None:
    a, b = house.up("a"), house.up("b")
    house.finish(a.listen(80, None, 5))
    house.finish(b.dial("a", 80, 5))
    house.tailnet.set_policy([{"src": ["*"], "dst": ["*:443"]}])
    house.run(0.1)
    assert isinstance(house.failure(b.dial("a", 80, 5)), DialRefused)
    house.tailnet.set_policy(None)
    house.run(0.1)
    house.finish(b.dial("a", 80, 5))


@pytest.mark.parametrize("restart", ["restart_control", "restart_derp"])
def test_restarts_keep_nodes_and_streams(house: House, restart: str) -> None:
    a, b = house.up("a"), house.up("b")
    dialled, accepted, _ = house.connect(b, a)
    getattr(house.tailnet, restart)()
    house.run(10)
    dialled.give(b"still")
    house.until(lambda: accepted.has_news)
    assert accepted.take(10) == b"still"
    assert house.tailnet.online() == {"a", "b"}


def test_mangle_sees_every_packet_of_the_relay() -> None:
    seen: list[Any] = []

    def mangle(source: Any, target: Any, packets: list[bytes]) -> list[bytes]:
        seen.append((source, target, len(packets)))
        return packets

    house = House(mangle=mangle)
    a, b = house.up("a"), house.up("b")
    house.finish(b.ping("a", "icmp", 5))
    keys = {handle.node.identity.public for handle in (a, b)}
    assert {source for source, _, _ in seen} == {target for _, target, _ in seen} == keys


def test_a_node_of_the_tailnet_is_public_api() -> None:
    with Tailnet(base_domain="corp.test", user="ada@corp.test") as tailnet, server(tailnet, "a") as a:
        assert a.fqdn == "a.corp.test"
        assert a.status().user_login == "ada@corp.test"
        assert isinstance(a, tsnet.Server)


@pytest.mark.parametrize(
    "options",
    [
        {"control_port": "80"},
        {"control_port": 65_536},
        {"derp_port": -1},
        {"stun_port": True},
        {"host": 5},
        {"base_domain": None},
        {"base_domain": ""},
        {"base_domain": "My Net"},
        {"base_domain": "a..b"},
        {"user": 5},
        {"tls": "no"},
        {"policy": "*"},
        {"tag_owners": {"tag:web": "ann@example.com"}},
        {"max_connections": "many"},
    ],
)
def test_every_option_is_checked_when_it_is_made(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Tailnet(**options)


def test_its_servers_run_on_its_own_machine_also_if_a_node_was_made_before_it() -> None:
    async def main() -> None:
        net = SimulatedWorld(1).internet
        laptop, server = net.router("home").host("laptop"), net.host("server")
        url = f"http://{server.v4}:{41_000}"
        async with contextlib.AsyncExitStack() as stack:
            tsnet.AsyncServer("laptop", world=laptop, control_url=url, auth_key="", ephemeral=True)
            tailnet = await stack.enter_async_context(Tailnet(world=server, host=server.v4, control_port=41_000))
            assert tailnet.control_url == url
            assert tailnet.relays[0].hosts == (server.v4,)
            options: dict[str, Any] = {"control_url": url, "auth_key": tailnet.auth_key, "ephemeral": True}
            phone = tsnet.AsyncServer("phone", world=net.host("phone"), **options)
            await stack.enter_async_context(phone)
            assert tailnet.online() == {"phone"}

    anyio.run(main)

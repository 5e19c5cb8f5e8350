"""Broken tailnets, and what `explain` says of each: the code, the line that a person reads, and how soon.

Nodes, control and relays are those of the library, on the simulated internet. "left" asks about "right".
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from ipaddress import ip_network
from typing import Any

import anyio
import attrs
import pytest

import tsnet
from tests.homes import Homes
from tests.relayed_homes import RelayedHomes
from tsnet.base.keys import NodeKey
from tsnet.control.messages import MapResponse
from tsnet.errors import ConfigError
from tsnet.netmap.model import Node

Scene = Callable[[Homes], Awaitable[None]]


def play(scene: Scene, seed: int = 1, *, place: type[Homes] = Homes, **options: Any) -> None:
    async def main() -> None:
        async with place(seed, **options) as homes:
            await scene(homes)

    anyio.run(main)


async def pair(homes: Homes, left: str = "public", right: str = "public", **options: Any) -> None:
    """Two nodes, which know each other, at homes of these kinds. options: of the right one."""
    await homes.join_at("left", homes.build(left, "left"))
    await homes.join_at("right", homes.build(right, "right"), **options)
    await homes.until(lambda: homes.routes("left", "right") and homes.routes("right", "left"))


async def ask(homes: Homes, target: str, *, within: float = 11.0, **options: Any) -> tsnet.Explanation:
    begun = homes.world.clock()
    found = await homes.nodes["left"].explain(target, **options)
    assert homes.world.clock() - begun <= within, found
    assert found.target == target
    assert found.verdict.startswith(f"{found.code}: ")
    assert found.advice
    assert found.ok is found.code.startswith("OK-")
    assert all(step.seconds >= 0 and step.question.endswith("?") and step.found for step in found.steps)
    return found


def says(found: tsnet.Explanation, code: str, *words: str) -> None:
    assert (found.code, found.verdict) == (code, found.verdict)
    for each in words:
        assert re.search(each, found.verdict), found.verdict


def step(found: tsnet.Explanation, word: str) -> tsnet.ExplanationStep:
    return next(each for each in found.steps if word in each.question)


# --- it works --------------------------------------------------------------------------------------------------------


def test_directly() -> None:
    async def scene(homes: Homes) -> None:
        await pair(homes, "easy", "easy")
        listener = await homes.nodes["right"].listen(7)
        found = await ask(homes, "right:7", within=3.0)
        says(found, "OK-DIRECT", r"^OK-DIRECT: right:7 answers in \d+\.\d ms, directly at [\d.:]+$")
        assert found.path.is_direct
        assert [each.ok for each in found.steps] == [True] * 9
        assert step(found, "Who is").found.startswith("right.tailnet.test (100.64.0.")
        found = await ask(homes, "right", within=3.0)
        says(found, "OK-DIRECT", r"^OK-DIRECT: right answers in")
        await listener.aclose()

    play(scene)


def test_the_peers_application_sees_one_connection_that_ends_in_order() -> None:
    async def scene(homes: Homes) -> None:
        await pair(homes)
        listener = await homes.nodes["right"].listen(7)
        before = len(homes.nodes["left"]._handle.attempts)
        says(await ask(homes, "right:7"), "OK-DIRECT")
        stream = await listener.accept()
        with pytest.raises(anyio.EndOfStream):
            await stream.receive()
        await stream.aclose()
        await listener.aclose()
        await homes.sleep(5)
        assert len(homes.nodes["left"]._handle.attempts) == before == 0
        assert not homes.nodes["left"]._handle.pump.owners

    play(scene)


def test_this_node_itself() -> None:
    async def scene(homes: Homes) -> None:
        await pair(homes)
        says(await ask(homes, "left", within=0.1), "OK-SELF", "left is this node itself")
        listener = await homes.nodes["left"].listen(7)
        stream = await homes.nodes["left"].dial("left", 7, timeout=5)
        await stream.aclose()
        await listener.aclose()

    play(scene)


# --- it works through a relay, and why --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "right", "reason", "words"),
    [
        ("blocked", "easy", "udp-blocked", "UDP does not pass between this node and the internet"),
        ("hard", "hard", "hard-nat", r"this node is behind a hard NAT, .* \(1 address asked\)"),
        ("easy", "blocked", "no-endpoints", "the peer has told no address where it may be reached$"),
    ],
)
def test_relayed_because_of_the_network(left: str, right: str, reason: str, words: str) -> None:
    async def scene(homes: Homes) -> None:
        await pair(homes, left, right)
        await homes.sleep(10)
        listener = await homes.nodes["right"].listen(7)
        found = await ask(homes, "right:7", within=4.5)
        says(found, "OK-RELAYED", r"right:7 answers in .* through relay \d+ \(near\): ", words)
        assert found.reason == reason
        assert step(found, "path").ok is None
        await listener.aclose()

    play(scene)


@pytest.mark.parametrize(
    ("left", "right", "reason", "words"),
    [
        ("hard", "hard", "hard-nat-both", "both nodes are behind hard NATs"),
        ("public", "blocked", "peer-udp-blocked", "UDP does not pass between the peer and the internet"),
    ],
)
def test_relayed_because_of_the_peers_network_of_which_control_tells(
    left: str, right: str, reason: str, words: str
) -> None:
    """Some controls (Headscale) pass on what a peer has measured of its network, and some do not."""

    async def scene(homes: Homes) -> None:
        def with_networks(message: MapResponse) -> MapResponse:
            hosts = {member.key: member.hostinfo for member in homes.tailnet._state.members.values()}
            peers = [attrs.evolve(peer, hostinfo=hosts[peer.key]) for peer in message.update.peers or ()]
            return attrs.evolve(message, update=attrs.evolve(message.update, peers=tuple(peers)))

        homes.tailnet._modify_first_map = with_networks
        homes.tailnet.restart_control()
        await homes.join_at("right", homes.build(right, "right"))
        await homes.sleep(10)
        await homes.join_at("left", homes.build(left, "left"))
        await homes.sleep(10)
        found = await ask(homes, "right")
        says(found, "OK-RELAYED", words)
        assert found.reason == reason

    play(scene)


def test_relayed_because_no_address_answers() -> None:
    async def scene(homes: Homes) -> None:
        await pair(homes)
        homes.net.set_udp(homes.net.hosts["left"], homes.net.hosts["right"], passes=False)
        found = await ask(homes, "right", within=4.5)
        says(found, "OK-RELAYED", r"none of the peer's addresses has answered \(\d addresses asked\)")
        assert found.reason == "no-pongs"

    play(scene)


def test_relayed_by_a_peer() -> None:
    async def scene(homes: Homes) -> None:
        assert isinstance(homes, RelayedHomes)
        await homes.relay()
        await pair(homes, "hard", "hard")
        await homes.sleep(5)
        found = await ask(homes, "right")
        says(found, "OK-RELAYED", r"through the peer relay [\d.]+:7777: this node is behind a hard NAT")
        assert (found.reason, found.path.is_peer_relay) == ("hard-nat", True)

    play(scene, place=RelayedHomes)


@pytest.mark.parametrize("name", ["TS_DEBUG_ALWAYS_USE_DERP", "TS_DEBUG_NEVER_DIRECT_UDP"])
def test_relayed_because_a_variable_asks_for_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")

    async def scene(homes: Homes) -> None:
        await pair(homes)
        found = await ask(homes, "right", within=1.0)
        says(found, "OK-RELAYED", name)
        assert found.reason == "only-relays"

    play(scene)


def test_relayed_because_control_forbids_udp() -> None:
    async def scene(homes: Homes) -> None:
        homes.tailnet.set_node_attributes("left", ["only-tcp-443"])
        await pair(homes)
        await homes.until(lambda: not homes.nodes["left"]._handle.node.engine.paths.modes.udp)
        found = await ask(homes, "right", within=1.0)
        says(found, "OK-RELAYED", "only-tcp-443")
        assert found.reason == "only-tcp-443"

    play(scene)


# --- the name -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("rigth:80", "no node of this tailnet is called rigth; right is near$"),
        ("nobody", "no node of this tailnet is called nobody$"),
        ("100.64.9.9:80", "no node of this tailnet owns 100.64.9.9$"),
        ("right.other.ts.net", "right.other.ts.net; its names end in tailnet.test; right is near$"),
    ],
)
def test_the_name_is_wrong(target: str, words: str) -> None:
    async def scene(homes: Homes) -> None:
        await pair(homes)
        found = await ask(homes, target, within=0.1)
        says(found, "E-NAME", words)
        assert [each.ok for each in found.steps] == [True, False]

    play(scene)


SHARED = Node(
    id=99,
    stable_id="shared",
    name="right.other.ts.net",
    key=NodeKey(bytes(range(32))),
    addresses=(ip_network("100.64.0.99/32"),),
    allowed_ips=(ip_network("100.64.0.99/32"),),
)


@pytest.mark.parametrize(("is_alone", "code"), [(True, "E-NAME"), (False, "OK-DIRECT")])
def test_a_node_of_another_tailnet_has_that_label(is_alone: bool, code: str) -> None:
    """It is shared into ours, and has no short name here."""

    async def scene(homes: Homes) -> None:
        def with_shared(message: MapResponse) -> MapResponse:
            peers = (*(message.update.peers or ()), SHARED)
            return attrs.evolve(message, update=attrs.evolve(message.update, peers=peers))

        homes.tailnet._modify_first_map = with_shared
        homes.tailnet.restart_control()
        if not is_alone:
            await homes.join_at("right", homes.build("public", "right"))
        await homes.join_at("left", homes.build("public", "left"))
        found = await ask(homes, "right")
        says(found, code)
        if is_alone:
            says(found, code, "no node of this tailnet is called right; right.other.ts.net is near$")
        else:
            assert step(found, "Who is").found.endswith(", and not right.other.ts.net")
        assert (await ask(homes, "right.other.ts.net")).code == "E-UNREACHABLE"

    play(scene)


# --- the peer -------------------------------------------------------------------------------------------------------


def test_the_peer_is_offline() -> None:
    async def scene(homes: Homes) -> None:
        await pair(homes)
        await homes.crash("right")
        await homes.until(lambda: homes.nodes["left"].status().peers[0].online is False)
        found = await ask(homes, "right:7", within=5.5)
        says(found, "E-OFFLINE", "^E-OFFLINE: right is offline, says control, and nothing of it answers$")
        assert step(found, "online").ok is False

    play(scene)


def test_the_peer_is_cut_off_and_nobody_knows() -> None:
    async def scene(homes: Homes) -> None:
        await pair(homes)
        homes.net.hosts["right"].cable.loss = 1.0
        pump = homes.nodes["right"]._handle.pump
        pump._links.is_silent = True  # type: ignore[attr-defined]  # of the simulated world
        found = await ask(homes, "right:7")
        says(found, "E-UNREACHABLE", "nothing of right answers within 10 s; control says it is online")

    play(scene)


def test_the_peers_key_has_expired() -> None:
    async def scene(homes: Homes) -> None:
        await pair(homes)
        homes.expire("right")
        await homes.sleep(2)
        for target in ("right:7", str(homes.nodes["right"].addresses[0])):
            found = await ask(homes, target, within=0.1)
            says(found, "E-EXPIRED", "the key of right has expired")
            assert step(found, "Who is").ok is False

    play(scene)


def test_the_peer_answers_outside_the_tunnel_alone() -> None:
    async def scene(homes: Homes) -> None:
        await pair(homes)
        device = homes.nodes["right"]._handle.node.engine.device
        device.receive = lambda runs, now: []  # type: ignore[method-assign]
        found = await ask(homes, "right:7")
        says(found, "E-TUNNEL", "right answers outside the tunnel, and nothing inside for 10 s")
        assert step(found, "addresses").ok is True
        assert step(found, "tunnel").ok is False

    play(scene)


# --- the port -------------------------------------------------------------------------------------------------------


def test_the_peers_policy_says_no() -> None:
    async def scene(homes: Homes) -> None:
        await pair(homes)
        listener = await homes.nodes["right"].listen(81)
        found = await ask(homes, "right:81", within=2.0)
        says(found, "E-POLICY", "right is reached and denies right:81: the tailnet's policy does not let this node")
        assert step(found, "port 81").ok is False
        await listener.aclose()

    play(scene, policy=[{"src": ["*"], "dst": ["*:80"]}])


def test_nothing_at_all_in_the_policy() -> None:
    """A peer that neither may reach the other is no peer: control does not tell of it."""

    async def scene(homes: Homes) -> None:
        await homes.join_at("left", homes.build("public", "left"))
        await homes.join_at("right", homes.build("public", "right"))
        found = await ask(homes, "right:80", within=0.1)
        says(found, "E-NAME", "no node of this tailnet is called right$")
        assert "control hides" in found.advice

    play(scene, policy=[])


def test_what_our_own_filter_says_is_told_and_no_fault() -> None:
    async def scene(homes: Homes) -> None:
        await pair(homes)
        listener = await homes.nodes["right"].listen(7)
        found = await ask(homes, "right:7", within=2.0)
        says(found, "OK-DIRECT")
        assert step(found, "connect to this node").ok is None
        assert "does not need it" in step(found, "connect to this node").found
        await listener.aclose()

    play(scene, policy=[{"src": ["left"], "dst": ["right:*"]}])


def test_the_peers_shields_are_up() -> None:
    async def scene(homes: Homes) -> None:
        await pair(homes, shields_up=True)
        says(await ask(homes, "right:7", within=2.0), "E-SHIELDS", "its shields are up")

    play(scene)


def test_nobody_listens() -> None:
    async def scene(homes: Homes) -> None:
        await pair(homes)
        found = await ask(homes, "right:7", within=2.0)
        says(found, "E-PORT", "^E-PORT: right is reached, and nothing listens on port 7$")
        assert step(found, "port 7").found == "no: nothing listens there"

    play(scene)


def test_the_port_says_nothing() -> None:
    """Over IPv6 a filter that denies is silent."""

    async def scene(homes: Homes) -> None:
        await pair(homes)
        v6 = next(str(address) for address in homes.nodes["right"].addresses if address.version == 6)
        found = await ask(homes, f"[{v6}]:81", within=6.0)
        says(found, "E-TIMEOUT", "right is reached, and says nothing on port 81 for 5")

    play(scene, policy=[{"src": ["*"], "dst": ["*:80"]}])


# --- relays ---------------------------------------------------------------------------------------------------------


def test_the_relay_is_dead() -> None:
    async def scene(homes: Homes) -> None:
        await pair(homes, "hard", "hard")
        for relay in homes.tailnet.relays:
            relay.kill()
        await homes.sleep(5)
        found = await ask(homes, "right:7")
        says(found, "E-DERP", r"relay region \d+ \([\d.]+\) cannot be reached: unreachable")
        assert step(found, "relay").ok is False

    play(scene)


# --- control and ourselves ------------------------------------------------------------------------------------------


def test_control_is_down_from_the_beginning() -> None:
    async def scene(homes: Homes) -> None:
        homes.nodes["left"] = homes.server(
            "left", world=homes.build("public", "left"), control_url=f"http://{homes.near.v4}:9"
        )
        found = await ask(homes, "right:7", within=20.1, timeout=20)
        says(found, "E-CONTROL", "this node does not run: ")
        assert step(found, "Does this node run").seconds == pytest.approx(20, abs=0.1)

    play(scene)


def test_control_has_gone_and_what_is_known_is_told_with_a_caution() -> None:
    async def scene(homes: Homes) -> None:
        await pair(homes)
        listener = await homes.nodes["right"].listen(7)
        homes.tailnet._stop(homes.tailnet._control)
        homes.tailnet._control = None
        await homes.sleep(5)
        found = await ask(homes, "right:7")
        says(found, "OK-DIRECT")
        assert step(found, "Does this node run").ok is None
        assert "control is not connected" in step(found, "Does this node run").found
        await listener.aclose()
        says(
            await ask(homes, "rigth"), "E-NAME", "right is near; control is not connected, so that its word may be old$"
        )

    play(scene)


def test_our_own_key_has_expired() -> None:
    async def scene(homes: Homes) -> None:
        await pair(homes)
        homes.expire("left")
        await homes.until(lambda: homes.nodes["left"].status().state == "expired")
        says(await ask(homes, "right:7", within=0.1), "E-SELF-EXPIRED", "this node does not run: .* expired")

    play(scene)


def test_our_own_key_expires_while_we_ask() -> None:
    async def scene(homes: Homes) -> None:
        await pair(homes)
        await homes.crash("right")
        homes.at(1.0, lambda: homes.expire("left"))
        says(await ask(homes, "right:7", within=2.5), "E-SELF-EXPIRED")

    play(scene)


def test_the_auth_key_is_worth_nothing() -> None:
    async def scene(homes: Homes) -> None:
        url, place = f"http://{homes.near.v4}:{homes.tailnet._port.number}", homes.build("public", "left")
        homes.nodes["left"] = homes.server("left", world=place, auth_key="tskey-auth-spent", control_url=url)
        says(await ask(homes, "right:7"), "E-SELF-LOGIN", "rejected the registration")

    play(scene)


# --- time and typing ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [0.0, 0.5, 3.0])
def test_it_never_takes_longer_than_its_time(timeout: float) -> None:
    async def scene(homes: Homes) -> None:
        await pair(homes)
        await homes.crash("right")
        found = await ask(homes, "right:7", within=timeout + 0.01, timeout=timeout)
        assert not found.ok
        assert not homes.nodes["left"]._handle.pump.owners

    play(scene)


@pytest.mark.parametrize(
    "target", ["", " ", ":80", "right:", "right:0", "right:65536", "right:http", "a:b:1", 80, None]
)
def test_what_is_no_target_is_an_error_at_once(target: Any) -> None:
    async def main() -> None:
        node = tsnet.AsyncServer("left", control_url="https://control.test", ephemeral=True)
        with pytest.raises(ConfigError):
            await node.explain(target)
        assert node.status().state == "stopped"

    anyio.run(main)

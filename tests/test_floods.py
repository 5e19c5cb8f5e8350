"""Floods on real sockets: what an innocent notices of attacks on the embedded servers, and on a node of its process.

The sans-IO tests of the rooms (tests/control/test_floods.py, tests/derp/test_floods.py) try every attack; these try one
of each side, and the limits are wide, because attacker, victim and innocent share this machine.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator

import pytest

import tsnet
from tests.attacks.bombs import tailnet
from tests.attacks.maps import GROWING, frames, messages
from tests.attacks.sockets import HostileControl, attack_control, attack_relay
from tsnet.base.crypto import machine_public, node_public
from tsnet.base.keys import NodePrivateKey
from tsnet.derp.server import Relay
from tsnet.netmap import limits
from tsnet.testing import Tailnet

PATIENCE = 1.0
"""Seconds for one answer beside a flood. Before there were budgets it took three and more."""

LASTS = 2.0

pytestmark = pytest.mark.slow


@contextlib.contextmanager
def echo(tailnet: Tailnet) -> Iterator[socket.socket]:
    """A stream between two nodes, which sends back what it is sent."""
    with node(tailnet, "a") as server, node(tailnet, "b") as client, server.listen(7) as listener:
        thread = threading.Thread(target=_echo, args=(listener,), daemon=True)
        thread.start()
        with client.dial("a", 7) as stream:
            yield stream
        thread.join(10)


def node(tailnet: Tailnet, hostname: str) -> tsnet.Server:
    return tsnet.Server(hostname, control_url=tailnet.control_url, auth_key=tailnet.auth_key, ephemeral=True)


def _echo(listener: socket.socket) -> None:
    with contextlib.suppress(tsnet.Error, OSError):
        stream, _peer = listener.accept()
        with stream:
            while data := stream.recv(4096):
                stream.sendall(data)


def longest_round_trip(stream: socket.socket, lasts: float = LASTS) -> float:
    """The longest of those in so many seconds."""
    longest, end = 0.0, time.monotonic() + lasts
    while (begun := time.monotonic()) < end:
        stream.sendall(b"x")
        assert stream.recv(1) == b"x"
        longest = max(longest, time.monotonic() - begun)
        time.sleep(0.005)
    return longest


def longest_page(url: str) -> float:
    longest, end = 0.0, time.monotonic() + LASTS
    while (begun := time.monotonic()) < end:
        with urllib.request.urlopen(f"{url}/health", timeout=20) as response:
            assert response.status == 200
        longest = max(longest, time.monotonic() - begun)
    return longest


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def authority(url: str) -> tuple[str, int]:
    host, _, port = url.removeprefix("http://").rpartition(":")
    return host, int(port)


def test_control_answers_beside_five_connections_of_rapid_resets(caplog: pytest.LogCaptureFixture) -> None:
    with Tailnet() as tailnet, echo(tailnet) as stream, contextlib.ExitStack() as stack:
        host, port = authority(tailnet.control_url)
        key = machine_public(tailnet._machine_key)
        with caplog.at_level(logging.WARNING, "tsnet"):
            attacks = [stack.enter_context(attack_control(host, port, key, "rapid_reset")) for _ in range(5)]
            assert longest_page(tailnet.control_url) < PATIENCE
            assert longest_round_trip(stream) < PATIENCE
            until(lambda: all(attack.connections for attack in attacks))  # each is closed, and comes again
        told = [text for text in caplog.messages if "flood of resets" in text]
        assert len(told) == 1, "once a minute"


def test_a_relay_carries_others_beside_three_floods_of_tiny_packets() -> None:
    """The attackers flood each other, and read nothing."""
    with Tailnet(verify_clients=False) as tailnet, contextlib.ExitStack() as stack:
        keys = [NodePrivateKey(bytes([number]) * 32) for number in (5, 6, 7)]
        relay = tailnet.relays[0]._servers.machine
        assert isinstance(relay, Relay)
        with echo(tailnet) as stream:
            attacks = [
                stack.enter_context(
                    attack_relay(
                        "127.0.0.1", tailnet.relays[0].derp_port, "tiny_packets", node_public(to), private=private
                    )
                )
                for private, to in zip(keys, [*keys[1:], keys[0]], strict=True)
            ]
            until(lambda: tailnet._do(lambda: relay.clients) >= set(map(node_public, keys)))
            assert longest_round_trip(stream) < PATIENCE
        assert all(attack.sent for attack in attacks)
        assert not relay.floods, "that is none of what a relay closes for"


@pytest.mark.parametrize("name", ["ping_flood", "tiny_data", "settings_flood"])
def test_an_innocent_node_beside_one_whose_control_floods_it(name: str) -> None:
    """Both live in this process, and share a thread."""
    with Tailnet() as tailnet, echo(tailnet) as stream, HostileControl(name) as control:
        captive = tsnet.Server("captive", control_url=control.url, auth_key="key", ephemeral=True)
        thread = threading.Thread(target=_try_to_join, args=(captive,), daemon=True)
        thread.start()
        until(lambda: control.attack.sent)
        assert longest_round_trip(stream) < PATIENCE
        captive.close(timeout=1)
        thread.join(10)


@pytest.mark.timeout(180)  # it is the processor's time, which this machine may give to others
def test_an_innocent_node_beside_one_that_takes_maps_of_ten_thousand_peers() -> None:
    """A first map, one that changes every peer, and one of other peers. `benchmarks.big_maps` measures the gaps."""
    sent = [tailnet(10_000), tailnet(10_000, HomeDERP=7), tailnet(10_000, first=20_000)]
    maps, over = [*messages(sent, compress=True), *messages([b'{"KeepAlive":true}'] * 9000)], threading.Event()

    def choose(stream: int) -> Iterator[bytes]:
        yield from frames(maps, stream)
        over.wait(60)

    with Tailnet() as own, echo(own) as stream, HostileControl(choose=choose) as control:
        longest = 0.0
        with joining(control) as captive:
            while not captive.resolve("machine-29999"):
                longest = max(longest, longest_round_trip(stream, 0.2))
            assert len(captive.status().peers) == 10_000
            over.set()
        assert longest < PATIENCE


@pytest.mark.parametrize("name", ["peers", "users that peers name", "display messages", "named filters"])
def test_an_innocent_node_beside_one_whose_netmap_grows_for_ever(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Message by message, until the table is full: the last netmap stays, and the user is told."""
    for limit in ("MAX_PEERS", "MAX_USERS", "MAX_MESSAGES", "MAX_FILTERS"):
        monkeypatch.setattr(limits, limit, 300)

    def choose(stream: int) -> Iterator[bytes]:
        return frames(messages(GROWING[name]()), stream)

    with Tailnet() as own, echo(own) as stream, HostileControl(choose=choose) as control, joining(control) as captive:
        assert longest_round_trip(stream) < PATIENCE
        until(lambda: any("and may have 300" in message for message in captive.status().health))
        assert 0 < len(captive.status().peers) <= 300


@contextlib.contextmanager
def joining(control: HostileControl) -> Iterator[tsnet.Server]:
    """A node of this process on its way into that control's tailnet."""
    captive = tsnet.Server("captive", control_url=control.url, auth_key="key", ephemeral=True)
    thread = threading.Thread(target=_try_to_join, args=(captive,), daemon=True)
    thread.start()
    try:
        yield captive
    finally:
        captive.close(timeout=1)
        thread.join(10)


def _try_to_join(server: tsnet.Server) -> None:
    with contextlib.suppress(tsnet.Error, socket.error):
        server.up(timeout=10)

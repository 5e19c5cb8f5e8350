"""The race of hosts on loopback, with a hand clock for the 250 ms; lookups are given, none leaves the machine."""

from __future__ import annotations

import functools
import socket
import threading
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from tsnet.edge.io.dial import ATTEMPT_DELAY, NO_NAME_SERVER, TO_ITSELF, Dial, in_turn, look_up
from tsnet.edge.io.reactor import Reactor
from tsnet.edge.io.workers import Workers


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Scene:
    def __init__(self) -> None:
        self.clock = Clock()
        self.reactor = Reactor(self.clock)
        self.workers = Workers(self.reactor)
        self.names: dict[str, list[str]] = {}
        self.held: dict[str, threading.Event] = {}
        self.results: list[socket.socket | str] = []
        self.sockets: list[socket.socket] = []

    def look_up(self, host: str) -> list[str]:
        if host in self.held:
            self.held[host].wait(5)
        if host not in self.names:
            raise socket.gaierror(-2, "unknown")
        return self.names[host]

    def listen(self, host: str = "127.0.0.1", port: int = 0) -> int:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.sockets.append(socket.create_server((host, port), family=family))
        return int(self.sockets[-1].getsockname()[1])

    def full(self, host: str, port: int) -> None:
        """An address that answers nobody: a listener whose queue is full drops what comes."""
        server = socket.socket()
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((host, port))
        server.listen(0)
        self.sockets.append(server)
        for _ in range(2):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex((host, port))
            self.sockets.append(filler)

    def dial(self, *hosts: str, port: int) -> Dial:
        return Dial(self.reactor, self.workers, hosts, port, self.results.append, lookup=self.look_up)

    def run(self) -> socket.socket | str:
        while not self.results:
            self.reactor.wait(self.clock.now + 5)
        assert len(self.results) == 1
        return self.results[0]

    def close(self) -> None:
        for sock in [*self.sockets, *(result for result in self.results if isinstance(result, socket.socket))]:
            sock.close()
        self.reactor.close()


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    yield scene
    scene.close()


def remote(result: socket.socket | str) -> str:
    assert isinstance(result, socket.socket), result
    return str(result.getpeername()[0])


def test_an_address_connects(scene: Scene) -> None:
    scene.dial("127.0.0.1", port=scene.listen())
    result = scene.run()
    assert remote(result) == "127.0.0.1"
    assert isinstance(result, socket.socket)
    assert result.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert not result.getblocking()


def test_a_v6_address_connects(scene: Scene) -> None:
    try:
        port = scene.listen("::1")
    except OSError:
        pytest.skip("no IPv6 here")
    scene.dial("[::1]", port=port)
    assert remote(scene.run()) == "::1"


def test_a_name_is_looked_up(scene: Scene) -> None:
    scene.names["control.test"] = ["127.0.0.1"]
    scene.dial("control.test", port=scene.listen())
    assert remote(scene.run()) == "127.0.0.1"


def test_refused(scene: Scene) -> None:
    port = scene.listen()
    scene.sockets.pop().close()
    scene.dial("127.0.0.1", port=port)
    assert scene.run() == "refused"


def test_an_unknown_name(scene: Scene) -> None:
    scene.dial("nobody.test", port=9)
    assert scene.run() == "dns"


@pytest.mark.parametrize(
    ("number", "reason"), [(socket.EAI_NONAME, "dns"), (socket.EAI_AGAIN, NO_NAME_SERVER), (socket.EAI_FAIL, "dns")]
)
def test_why_a_name_has_no_address(scene: Scene, number: int, reason: str) -> None:
    def look_up(host: str) -> list[str]:
        raise socket.gaierror(number, "unknown")

    Dial(scene.reactor, scene.workers, ["control.test"], 1, scene.results.append, lookup=look_up)
    assert scene.run() == reason


@pytest.mark.parametrize(
    ("host", "addresses", "reason"),
    [
        ("control.test", ["127.0.0.1"], TO_ITSELF),
        ("control.test", ["0.0.0.0", "::1"], TO_ITSELF),
        ("localhost", ["127.0.0.1"], "refused"),
        ("control.localhost.", ["127.0.0.1"], "refused"),
    ],
)
def test_a_name_that_leads_to_this_machine(scene: Scene, host: str, addresses: list[str], reason: str) -> None:
    scene.names[host] = addresses
    scene.dial(host, port=1)
    assert scene.run() == reason


def test_an_address_of_this_machine_is_no_lie(scene: Scene) -> None:
    scene.names["control.test"] = ["127.0.0.1"]
    scene.dial("control.test", "127.0.0.1", port=1)
    assert scene.run() == "refused"


def test_whether_it_waits_for_names_alone(scene: Scene) -> None:
    scene.held["slow.test"] = threading.Event()
    dial = scene.dial("slow.test", port=1)
    assert dial.awaits_names
    scene.held["slow.test"].set()
    assert scene.run() == "dns"
    assert not dial.awaits_names


def test_no_hosts_at_all(scene: Scene) -> None:
    scene.dial(port=9)
    assert scene.run() == "dns"


def test_a_port_that_cannot_be(scene: Scene) -> None:
    scene.dial("127.0.0.1", port=70_000)
    assert scene.run() == "unreachable"


def test_the_most_telling_reason_is_reported(scene: Scene) -> None:
    port = scene.listen()
    scene.sockets.pop().close()
    scene.dial("nobody.test", "127.0.0.1", "fe80::1", port=port)
    assert scene.run() == "refused"


def test_after_a_failure_the_next_host_starts_at_once(scene: Scene) -> None:
    port = scene.listen("127.0.0.2")
    scene.dial("127.0.0.1", "127.0.0.2", port=port)
    assert remote(scene.run()) == "127.0.0.2"
    assert scene.clock.now == 0


def test_a_silent_host_holds_the_next_up_for_the_delay_only(scene: Scene) -> None:
    port = scene.listen("127.0.0.2")
    scene.full("127.0.0.1", port)
    scene.dial("127.0.0.1", "127.0.0.2", port=port)
    scene.reactor.wait(scene.clock.now)
    scene.reactor.wait(scene.clock.now)
    assert scene.results == []
    assert scene.reactor.next_event() == ATTEMPT_DELAY
    scene.clock.now = ATTEMPT_DELAY
    assert remote(scene.run()) == "127.0.0.2"


def test_a_slow_lookup_holds_up_only_its_own_host(scene: Scene) -> None:
    scene.held["slow.test"] = threading.Event()
    scene.names["slow.test"] = ["127.0.0.1"]
    scene.dial("slow.test", "127.0.0.2", port=scene.listen("127.0.0.2"))
    assert remote(scene.run()) == "127.0.0.2"
    scene.held["slow.test"].set()


def test_the_answer_of_a_late_lookup_is_dialled_at_once(scene: Scene) -> None:
    scene.held["slow.test"] = threading.Event()
    scene.names["slow.test"] = ["127.0.0.2"]
    port = scene.listen("127.0.0.2")
    scene.dial("127.0.0.1", "slow.test", port=port)
    scene.reactor.wait(scene.clock.now)
    scene.reactor.wait(scene.clock.now + 1)
    scene.held["slow.test"].set()
    assert remote(scene.run()) == "127.0.0.2"


@pytest.mark.parametrize("turns", [0, 1])
def test_a_cancelled_dial_says_nothing_and_leaves_no_socket(scene: Scene, turns: int) -> None:
    port = scene.listen("127.0.0.2")
    scene.full("127.0.0.1", port)
    dial = scene.dial("127.0.0.1", "127.0.0.2", port=port)
    for _ in range(turns):
        scene.reactor.wait(scene.clock.now)
    dial.cancel()
    dial.cancel()
    scene.clock.now = 10 * ATTEMPT_DELAY
    scene.reactor.wait(scene.clock.now)
    assert scene.results == []
    assert not dial._attempts


def test_look_up_knows_this_machine() -> None:
    assert "127.0.0.1" in look_up("localhost")


def test_look_up_of_what_cannot_be_a_name_raises() -> None:
    for name in ("", "a" * 64 + ".test", "x..y"):
        with pytest.raises((OSError, ValueError)):
            look_up(name or "\0")


def test_families_take_turns() -> None:
    addresses = functools.partial(map, ip_address)
    assert in_turn(list(addresses(["::1", "::2", "::3", "1.1.1.1"]))) == ["::1", "1.1.1.1", "::2", "::3"]
    assert in_turn(list(addresses(["1.1.1.1", "::1"]))) == ["1.1.1.1", "::1"]
    assert in_turn([]) == []

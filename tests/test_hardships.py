"""What a node comes through, or tells of: bad addresses, names, clocks, and processes that fork or start others.

| what happens                                   | what is promised                 | where it is tried              |
|------------------------------------------------|----------------------------------|--------------------------------|
| a node is opened and closed, for ever          | nothing is left of it            | `test_opens_and_closes`        |
| a call is cancelled, interrupted or given up   | nothing left, the next one works | `test_cancelling`,             |
|                                                |                                  | `test_keyboard_interrupts`     |
| a call has a time limit                        | it ends by then                  | `test_timeouts`                |
| sixteen threads use two nodes, 16,000 calls    | none hangs, every byte is right  | `test_many_threads`            |
| the process forks                              | the child is told, sends nothing | `test_promises`                |
| another program is started, or takes its place | it inherits nothing, may join    | here                           |
| the wall clock is set, by an hour or ten years | no flood, no timestamp goes back | `wireguard/test_marks`,        |
|                                                |                                  | `test_virtual`                 |
| the node's own clock is a day ahead at once    | connections go on, new ones work | here                           |
| the machine sleeps, or its memory is restored  | a byte in time, no key too old   | `test_suspend`,                |
|                                                |                                  | `interop/lives/test_suspended` |
| IPv6 alone, IPv4 alone, both                   | it joins, and finds direct paths | `lab/test_direct_paths`        |
| both, but one of them is dead                  | it joins within two more seconds | here                           |
| one of them dies                               | streams go on by the other       | `lab/test_interruptions`       |
| names are not answered, or wrongly             | it says so, and joins later      | here                           |
| names lead to a portal, or to somebody else    | it says so; TLS names hold       | `interop/test_broken_joins`    |
| control has an address, and names do not work  | it joins; relays need no names   | here                           |
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import tsnet
from tests.test_promises import options, python
from tsnet.testing.tailnet import Tailnet

pytestmark = pytest.mark.slow

NAME = "control.example"
Addresses = Callable[[], list[str]]


class Names:
    """What name servers say of everything that is no address."""

    def __init__(self) -> None:
        self.answer: Addresses = list
        self._real = socket.getaddrinfo

    def getaddrinfo(self, host: Any, *more: Any, **options: Any) -> list[Any]:
        if host != NAME:
            with contextlib.suppress(socket.gaierror):
                return self._real(host, *more, **{**options, "flags": socket.AI_NUMERICHOST})
        return [self._real(address, *more, **options)[0] for address in self.answer()]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    names = Names()
    monkeypatch.setattr(socket, "getaddrinfo", names.getaddrinfo)
    return names


def named(tailnet: Tailnet, name: str = NAME) -> dict[str, Any]:
    """A node's options, with a name of control's in the place of its address."""
    port = urlsplit(tailnet.control_url).port
    return {**options(tailnet), "control_url": f"http://{name}:{port}", "allow_http": True, "proxy": ""}


def joined(tailnet: Tailnet, name: str) -> float:
    """The seconds that it took."""
    begun = time.monotonic()
    with tsnet.Server("a", **named(tailnet, name)):
        return time.monotonic() - begun


# --- addresses --------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def black_hole(address: str, port: int) -> Iterator[None]:
    """A listener whose queue is full drops whoever comes."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket(family))
        if family == socket.AF_INET6:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        server.bind((address, port))
        server.listen(0)
        for _ in range(2):
            filler = stack.enter_context(socket.socket(family))
            filler.setblocking(False)
            filler.connect_ex((address, port))
        yield


@pytest.mark.parametrize(
    ("alive", "dead"), [("127.0.0.1", "::1"), ("::1", "127.0.0.1")], ids=["IPv6 is dead", "IPv4 is dead"]
)
def test_a_dead_version_of_ip_holds_a_join_up_for_a_moment(names: Names, alive: str, dead: str) -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    with Tailnet(host=alive) as tailnet:
        port = urlsplit(tailnet.control_url).port
        assert port is not None
        names.answer = lambda: [dead, alive]  # where nobody listens at the first one, it is refused at once
        plain = joined(tailnet, "another.example")  # its connections are of no use to the next
        with black_hole(dead, port):
            assert joined(tailnet, NAME) < plain + 2


# --- names ------------------------------------------------------------------------------------------------------


def fails(number: int) -> Addresses:
    def answer() -> list[str]:
        raise socket.gaierror(number, "as a test wants")

    return answer


@pytest.fixture(params=["SERVFAIL", "NXDOMAIN", "silence", "a wrong address"])
def trouble(request: pytest.FixtureRequest, names: Names) -> Iterator[None]:
    """silence: a resolver goes on asking until the name servers answer again."""
    over = threading.Event()

    def silence() -> list[str]:
        while names.answer is silence and not over.wait(0.01):
            pass
        return [] if over.is_set() else names.answer()

    troubles: dict[str, Addresses] = {
        "SERVFAIL": fails(socket.EAI_AGAIN),
        "NXDOMAIN": fails(socket.EAI_NONAME),
        "silence": silence,
        "a wrong address": lambda: ["127.0.0.9"],
    }
    names.answer = troubles[request.param]
    yield
    over.set()


@pytest.mark.usefixtures("trouble")
def test_names_that_do_not_work_are_told_of_and_when_they_do_it_joins(names: Names) -> None:
    with Tailnet() as tailnet:
        node = tsnet.Server("a", **named(tailnet))
        begun = time.monotonic()
        with pytest.raises((tsnet.ControlUnreachable, tsnet.UpTimeout), match=r"cannot be reached|waiting for control"):
            node.up(timeout=0.3)
        assert time.monotonic() - begun < 1
        names.answer = lambda: ["127.0.0.1"]
        node.up(timeout=10)
        node.close()


@pytest.mark.usefixtures("trouble")
def test_where_control_has_an_address_no_name_is_needed() -> None:
    """Relays are found by the addresses that control tells."""
    begun = time.monotonic()
    with Tailnet() as tailnet, tsnet.Server("a", **options(tailnet)), tsnet.Server("b", **options(tailnet)) as b:
        b.ping("a", timeout=5)
        b.reachable(timeout=5)
        assert time.monotonic() - begun < 10


# --- clocks -----------------------------------------------------------------------------------------------------


def test_a_clock_that_is_a_day_ahead_at_once() -> None:
    """As after `unshare --time`, or the sleep of a machine that noticed nothing else: every timer is due at once."""
    program = """
        import time, tsnet
        from tsnet.edge.io import system
        from tsnet.edge.io.store import MemoryStore
        real, ahead = system._clock, 0.0
        system._clock = lambda: real() + ahead
        a, b = (tsnet.Server(name, state=MemoryStore(), ephemeral=True) for name in "ab")
        a.up(); b.up()
        listener = a.listen(80)
        sock = b.dial("a", 80)
        accepted, _ = listener.accept()
        sock.sendall(b"before")
        assert accepted.recv(10) == b"before"
        ahead += 27 * 3600
        begun = time.monotonic()
        sock.sendall(b"after")
        assert accepted.recv(10) == b"after"
        accepted.sendall(b"and back")
        assert sock.recv(10) == b"and back"
        with b.dial("a", 80, timeout=10) as again:
            listener.accept()[0].sendall(b"anew")
            assert again.recv(10) == b"anew"
        b.ping("a", timeout=5)
        assert time.monotonic() - begun < 10, time.monotonic() - begun
        print(a.status().state, b.status().state)
        a.close(); b.close()
    """
    with Tailnet() as tailnet:
        run = python(tailnet, program)
    assert (run.returncode, run.stdout) == (0, "running running\n"), run.stderr
    assert [line for line in run.stderr.splitlines() if "clock is" not in line] == []


# --- other programs ---------------------------------------------------------------------------------------------

LOOK = """
import os, socket
for name in os.listdir("/proc/self/fd"):
    try:
        print(socket.socket(fileno=os.dup(int(name))).family.name)
    except OSError:
        pass
print("looked")
"""


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="this system has no /proc/self/fd")
def test_a_program_that_a_live_node_starts_inherits_nothing(tmp_path: Path) -> None:
    """Not even where the caller closes no descriptor. The node lives on."""
    program = f"""
        import os, subprocess, sys, tsnet
        node = tsnet.Server("a", state={str(tmp_path / "a")!r})
        node.up()
        listener = node.listen(80)
        look = [sys.executable, "-c", {LOOK!r}]
        os.waitpid(os.posix_spawn(sys.executable, look, os.environ), 0)
        subprocess.run(look, close_fds=False, check=True)
        print(node.status().state)
        node.close()
    """
    with Tailnet() as tailnet:
        run = python(tailnet, program)
    assert (run.returncode, run.stderr, run.stdout) == (0, "", "looked\nlooked\nrunning\n")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="this system has no /proc/self/fd")
def test_a_program_that_takes_the_place_of_a_live_node_may_use_its_state(tmp_path: Path) -> None:
    """As a service does that renews itself by exec: the state's lock is free, and the node the same."""
    program = f"""
        import os, sys, tsnet
        is_second = os.environ.get("SECOND") == "1"
        if is_second:
            exec({LOOK!r})
        node = tsnet.Server("a", state={str(tmp_path / "a")!r})
        node.up()
        listener = node.listen(80)
        print(*node.addresses, flush=True)
        if not is_second:
            os.environ["SECOND"] = "1"
            os.execv(sys.executable, sys.orig_argv)
        node.close()
    """
    with Tailnet() as tailnet:
        run = python(tailnet, program)
    assert (run.returncode, run.stderr) == (0, "")
    first, looked, second = run.stdout.splitlines()
    assert (first, looked) == (second, "looked")

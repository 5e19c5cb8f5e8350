"""What happens in and to the nodes' own thread, as an application sees it: it dies, cannot start, calls itself."""

from __future__ import annotations

import contextlib
import gc
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import tsnet
from tests.faults import interrupted
from tests.ports import OwnPort
from tests.waits import Caller, Scene, default_host, thread_of, until
from tsnet import server as server_module
from tsnet.edge.io.system import SystemWorld
from tsnet.edge.pipes import operations
from tsnet.edge.run import handle, host
from tsnet.edge.run.host import Host
from tsnet.errors import NotUp
from tsnet.testing import tailnet as tailnet_module
from tsnet.testing.tailnet import Tailnet


@pytest.fixture
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    scene = Scene(tmp_path_factory.mktemp("node"))
    scene.node.up()
    yield scene
    scene.close()


@pytest.fixture
def own_port() -> Iterator[OwnPort]:
    with contextlib.closing(OwnPort()) as port:
        yield port


def fatal() -> None:
    raise SystemExit("of an application's callback")


def in_background(call: Callable[[], Any]) -> tuple[threading.Thread, Caller]:
    caller = Caller(call)
    thread = threading.Thread(target=caller.run, args=(None,))
    thread.start()
    return thread, caller


# --- it dies ----------------------------------------------------------------------------------------------------


def test_when_it_dies_everybody_who_waits_is_told_and_up_works_again(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    node, lost = scene.node, thread_of(scene.host)
    listener, stream = node.listen(81), node.dial("peer", 80)
    with scene.peer_asleep():
        waits = [
            in_background(call)
            for call in (listener.accept, lambda: stream.recv(1), lambda: node.dial("peer", 80, timeout=None))
        ]
        until(lambda: len(node._handle.attempts) == 1)
        scene.host.call(fatal)
        for thread, _caller in waits:
            thread.join(5)
            assert not thread.is_alive()
    accepted, received, dialled = [caller for _thread, caller in waits]
    assert isinstance(accepted.error, OSError)
    assert isinstance(received.error, OSError) or received.result == b""
    assert isinstance(dialled.error, NotUp)
    node.up()
    assert thread_of(scene.host) is not lost
    for thing in (listener, stream, node.dial("peer", 80)):
        thing.close()


def test_a_log_that_raises_ends_nobody(scene: Scene) -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise RuntimeError("the disk is full")

    handler, thread = Broken(), thread_of(scene.host)
    logging.getLogger("tsnet").addHandler(handler)
    try:
        scene.host.call(lambda: int("x"))  # type: ignore[arg-type]  # a call that fails is logged
        scene.node.dial("peer", 80).close()
        pump = scene.node._handle.pump
        pump.turn = fatal_for_one  # type: ignore[method-assign]
        scene.host.call(pump.mark)
        until(lambda: scene.node.status().state == "failed")
        assert thread_of(scene.host) in (thread, None)
        scene.node.up()
        scene.node.dial("peer", 80).close()
    finally:
        logging.getLogger("tsnet").removeHandler(handler)


def fatal_for_one() -> None:
    raise ValueError("a bug")


# --- it cannot start --------------------------------------------------------------------------------------------


@pytest.fixture
def no_thread(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let the next thread of that name fail to start."""
    start = threading.Thread.start

    def arm(name: str) -> None:
        def fail(thread: threading.Thread) -> None:
            if thread.name == name:
                monkeypatch.setattr(threading.Thread, "start", start)
                raise RuntimeError("can't start new thread")
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", fail)

    return arm


@pytest.mark.parametrize("which", ["tsnet", "tsnet-worker"])
def test_a_node_whose_thread_cannot_start_says_so_and_works_later(
    scene: Scene, no_thread: Callable[[str], None], which: str, caplog: pytest.LogCaptureFixture
) -> None:
    scene.node.close()
    scene.node = node = scene._fresh()
    no_thread(which)
    with pytest.raises(NotUp, match="thread"):
        node.up()
    node.up()
    node.close()
    scene.check_nothing_is_taken()
    closed = scene._fresh()
    no_thread("tsnet")
    with pytest.raises(NotUp):
        closed.up()
    closed.close()  # nothing has begun


def test_a_tailnet_whose_thread_cannot_start_says_so_and_works_later(no_thread: Callable[[str], None]) -> None:
    loop = Host(SystemWorld, own_thread=True)
    with default_host(loop):
        tailnet = Tailnet()
    no_thread("tsnet")
    with pytest.raises(NotUp, match="thread"):
        tailnet.start()
    with tailnet:
        assert tailnet.nodes() == {}
    until(lambda: not thread_of(loop))
    loop.world.close()


# --- it calls itself --------------------------------------------------------------------------------------------


def test_in_its_own_thread_a_call_that_would_wait_raises_at_once(scene: Scene) -> None:
    node, seen = scene.node, []
    calls: list[Callable[[], Any]] = [
        node.up,
        node.reachable,
        lambda: node.dial("peer", 80),
        lambda: node.listen(82),
        lambda: node.dial_packet("peer", 53),
        lambda: node.listen_packet(53),
        lambda: node.ping("peer"),
    ]
    for call in calls:

        def attempt(call: Callable[[], Any] = call) -> None:
            with pytest.raises(NotUp, match="own thread"):
                call()
            seen.append(call)

        scene.host.call(attempt)
    until(lambda: len(seen) == len(calls))
    node.up()


def test_in_its_own_thread_close_begins_and_does_not_wait(scene: Scene) -> None:
    scene.host.call(scene.node.close)
    until(lambda: scene.node.status().state == "closed")
    scene.check_nothing_is_taken()


def test_a_node_may_be_closed_by_a_finalizer_that_runs_there(scene: Scene) -> None:
    class Holder:
        def __init__(self, node: tsnet.Server) -> None:
            self.node, self.circle = node, self

        def __del__(self) -> None:
            self.node.close()

    gc.collect()
    Holder(scene.node)

    def collect() -> None:
        gc.collect()

    scene.host.call(collect)
    until(lambda: scene.node.status().state == "closed")
    scene.check_nothing_is_taken()


def test_a_tailnet_may_be_used_and_closed_there() -> None:
    loop = Host(SystemWorld, own_thread=True)
    with default_host(loop):
        tailnet, other = Tailnet(), Tailnet()
    tailnet.start()
    heard: list[Any] = []

    def use() -> None:
        heard.append(tailnet.nodes())
        heard.append(tailnet.create_auth_key("ann@tailnet.test")[:11])
        with pytest.raises(NotUp, match="own thread"):
            other.start()
        tailnet.close()
        heard.append("closing")

    loop.call(use)
    until(lambda: not thread_of(loop))
    assert heard == [{}, "tskey-auth-", "closing"]
    with tailnet:
        assert tailnet.nodes() == {}
    until(lambda: not thread_of(loop))
    loop.world.close()


# --- interrupts -------------------------------------------------------------------------------------------------

MODULES = (server_module, handle, host, operations)


def enter(node: tsnet.Server) -> None:
    with node:
        pass


@pytest.mark.timeout(120)
@pytest.mark.filterwarnings("ignore:unclosed <tsnet:ResourceWarning")
def test_a_server_interrupted_while_it_is_entered_or_left_is_closed(scene: Scene) -> None:
    def make() -> tsnet.Server:
        scene.node.close()
        scene.check_nothing_is_taken()
        scene.node = scene._fresh()
        return scene.node

    moments = 0
    for node, _came in interrupted(make, enter, server_module):
        node.close()
        scene.check_nothing_is_taken()
        moments += 1
    assert moments > 10


def test_a_close_interrupted_at_any_moment_may_be_called_again(scene: Scene) -> None:
    def make() -> tsnet.Server:
        scene.node = scene._fresh()
        scene.node.up()
        return scene.node

    scene.node.close()
    for node, _came in interrupted(make, tsnet.Server.close, server_module):
        node.close()
        assert node.status().state == "closed"
        scene.check_nothing_is_taken()


@pytest.mark.parametrize("interrupts", ["start", "close"])
@pytest.mark.parametrize("kept", [False, True])
def test_a_tailnet_interrupted_at_any_moment_of_its_start_or_end_leaves_nothing(
    kept: bool, interrupts: str, own_port: OwnPort, tmp_path_factory: pytest.TempPathFactory
) -> None:
    loop = Host(SystemWorld, own_thread=True)
    state = tmp_path_factory.mktemp("tailnet") if kept else None

    def make() -> Tailnet:
        with default_host(loop):
            tailnet = Tailnet(state=state, control_port=own_port.number, tls=False)
        if interrupts == "close":
            tailnet.start()
        return tailnet

    for tailnet, came in interrupted(make, getattr(Tailnet, interrupts), tailnet_module):
        if interrupts == "start" and came:
            until(lambda: not thread_of(loop))
            tailnet.start()
        tailnet.close()
        until(lambda: not thread_of(loop))
    assert (loop.users, loop._pumps) == (0, [])
    loop.world.close()

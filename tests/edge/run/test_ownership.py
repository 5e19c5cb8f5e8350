"""A running server that nobody holds any more is warned of, and ends; in whichever thread the collector finds it."""

from __future__ import annotations

import contextlib
import gc
import subprocess
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest

import tsnet
from tests.guests import guest_of
from tests.waits import until
from tsnet.testing import Tailnet

UNCLOSED = "unclosed <Server dropped running>"


@pytest.fixture
def peer(tailnet: Tailnet) -> Iterator[tsnet.Server]:
    with tsnet.Server("peer", **guest_of(tailnet)) as node:
        yield node


def running(tailnet: Tailnet) -> tsnet.Server:
    node = tsnet.Server("dropped", **guest_of(tailnet))
    node.up()
    return node


def has_left(tailnet: Tailnet) -> Callable[[], bool]:
    return lambda: "dropped" not in tailnet.nodes()


@contextlib.contextmanager
def warned(match: str) -> Iterator[None]:
    """The block drops something, and the collector says so, once the node's thread has let go of it, too."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
        until(lambda: _is_said(match, caught))


def _is_said(match: str, caught: list[warnings.WarningMessage]) -> bool:
    gc.collect()
    return any(match in str(each.message) and each.category is ResourceWarning for each in caught)


def test_one_that_is_dropped_is_warned_of_and_leaves(tailnet: Tailnet) -> None:
    node = running(tailnet)
    handle = node._handle
    with warned(UNCLOSED):
        del node
    until(has_left(tailnet))
    until(lambda: handle.state == "closed")


def test_one_that_was_closed_or_never_ran_is_not(tailnet: Tailnet) -> None:
    tsnet.Server("never", **guest_of(tailnet))
    node = running(tailnet)
    node.close()
    del node
    gc.collect()


def test_one_that_never_came_up_ends_without_a_word(tailnet: Tailnet) -> None:
    node = tsnet.Server("dropped", **{**guest_of(tailnet), "auth_key": None}, on_auth_url=lambda url: None)
    with pytest.raises(tsnet.NeedsLogin):
        node.up(timeout=0.1)
    handle = node._handle
    del node
    gc.collect()
    until(lambda: handle.state == "closed")


def test_its_sockets_work_on_and_it_ends_with_the_last(tailnet: Tailnet, peer: tsnet.Server) -> None:
    with peer.listen(7) as listener:
        with warned(UNCLOSED):
            sock = running(tailnet).dial("peer", 7)
        accepted, _ = listener.accept()
        sock.sendall(b"still here")
        assert accepted.recv(100) == b"still here"
        assert not has_left(tailnet)()
        sock.close()
        until(has_left(tailnet))
        accepted.close()


def test_what_it_serves_keeps_it(tailnet: Tailnet, peer: tsnet.Server) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b"still here"]

    serving = running(tailnet).serve_wsgi(app, block=False)
    gc.collect()
    with peer.httpx_client() as client:
        assert client.get("http://dropped/").text == "still here"
    with warned(UNCLOSED):
        serving.close()
        del serving
        until(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("tsnet-wsgi")])
    until(has_left(tailnet))


def test_a_forward_keeps_it_no_longer_than_it_lives(tailnet: Tailnet) -> None:
    serving = running(tailnet).forward_remote(7, 1)
    gc.collect()
    assert not serving.ended
    with warned(UNCLOSED):
        serving.close()
        del serving
    until(has_left(tailnet))


def test_the_collector_may_find_it_in_the_nodes_own_thread(tailnet: Tailnet) -> None:
    node = running(tailnet)
    host, reference = node._handle.host, weakref.ref(node)
    box = [node]
    cycle: list[Any] = [node]
    cycle.append(cycle)
    del node, cycle
    done = threading.Event()

    def collect() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            gc.collect()
        done.set()

    gc.disable()
    try:
        box.clear()
        host.call(collect)
        assert done.wait(10)
    finally:
        gc.enable()
    assert reference() is None
    until(has_left(tailnet))


@pytest.mark.parametrize("own_thread", [True, False])
def test_an_asynchronous_one_too(tailnet: Tailnet, own_thread: bool) -> None:
    async def main() -> None:
        node = tsnet.AsyncServer("dropped", own_thread=own_thread, **guest_of(tailnet))
        await node.up()
        del node
        gc.collect()
        await anyio.to_thread.run_sync(until, has_left(tailnet))

    with warned("unclosed <AsyncServer dropped running>"):
        anyio.run(main)


def test_one_whose_loop_has_ended_leaves_no_descriptor(tailnet: Tailnet) -> None:
    async def main() -> tsnet.AsyncServer:
        node = tsnet.AsyncServer("dropped", own_thread=False, **guest_of(tailnet))
        await node.up()
        return node

    with warned("unclosed <AsyncServer dropped running>"):
        anyio.run(main)


def test_a_warning_that_is_an_error_keeps_nothing_open(tailnet: Tailnet) -> None:
    node = running(tailnet)
    hook, sys.unraisablehook = sys.unraisablehook, lambda unraisable: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            del node
            gc.collect()
    finally:
        sys.unraisablehook = hook
    until(has_left(tailnet))


PROGRAM = """
import sys, tsnet
node = tsnet.Server("dropped", control_url=sys.argv[1], auth_key=sys.argv[2], ephemeral=True)
node.up()
listener = node.listen(7)
stream = node.dial("dropped", 7)
"""


@pytest.mark.slow
def test_the_end_of_a_program_that_closes_nothing_is_no_drop(tailnet: Tailnet) -> None:
    program = [sys.executable, "-W", "always", "-c", PROGRAM, tailnet.control_url, tailnet.auth_key]
    done = subprocess.run(program, capture_output=True, text=True, timeout=20, check=True)
    assert "unclosed <Server" not in done.stderr
    assert has_left(tailnet)()


LATE = """
import sys, threading, types
early = sys.modules["early"] = types.ModuleType("early")
import tsnet, tsnet.edge.run.ownership as ownership
from tsnet.edge.io.store import MemoryStore
early.node = tsnet.Server("late", control_url="http://127.0.0.1:1", state=MemoryStore())
# a thread that never ends keeps both modules, so the names of `ownership` are taken away before the node is
threading.Thread(target=lambda *kept: threading.Event().wait(), args=(early, ownership), daemon=True).start()
"""


def test_one_that_python_drops_after_its_modules_is_left_alone() -> None:
    done = subprocess.run([sys.executable, "-c", LATE], capture_output=True, text=True, timeout=20, check=True)
    assert done.stderr == ""


def test_a_login_url_reaches_nobody_once_the_server_is_gone(tailnet: Tailnet) -> None:
    heard: list[str] = []
    node = tsnet.Server("dropped", **guest_of(tailnet), on_auth_url=heard.append)
    tell = node._handle._options.on_login_url
    assert tell is not None
    assert tell("https://login.example/1")
    until(lambda: heard == ["https://login.example/1"])
    del node
    gc.collect()
    assert not tell("https://login.example/2")

"""One node on a loop of its own, and everything that can go wrong between a public call and its answer.

    scene = Scene(directory)
    moments = scene.rehearse("dial", "node", "fault")             every moment of a dial in the node's thread
    scene.play("dial", "node", "fault", moment, RuntimeError())   the dial, when that moment goes wrong

Control, the relay and the peer run in another loop, so that only one node suffers.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import tsnet
from tests.faults import Kind, Moments, Place, no_collector
from tests.ports import OwnPort
from tsnet.edge.io.directory import DirectoryStore
from tsnet.edge.io.store import MemoryStore
from tsnet.edge.io.system import SystemWorld
from tsnet.edge.run.host import Host
from tsnet.testing.tailnet import Tailnet

Side = Literal["node", "caller"]
Moment = tuple[Place, int]
"""A place, and the how-manieth time that it is passed."""

PATIENCE = 5.0
DIAL_PATIENCE = 0.5
"""A fault may cost the handshake, which is repeated after five seconds: such a dial ends with its time."""

KEEPING = ("directory", "loadsave", "lock", "log", "place", "private", "saver", "store", "workers")
ROOMS = ("edge/run/*.py", "edge/pipes/operations.py", *(f"edge/io/{name}.py" for name in KEEPING))
OTHERS = {"servers.py", "caller_loop.py"}
FILES = {str(file) for room in ROOMS for file in (Path(tsnet.__file__).parent).glob(room) if file.name not in OTHERS}
"""What lies between a call and its answer: `edge.run`, the operations, the store with all that belongs to it."""

VERBS: dict[str, Callable[[tsnet.Server], Any]] = {
    "up": lambda node: node.up(timeout=PATIENCE),
    "reachable": lambda node: node.reachable(timeout=PATIENCE),
    "dial": lambda node: node.dial("peer", 80, timeout=DIAL_PATIENCE),
    "listen": lambda node: node.listen(80, timeout=PATIENCE),
    "dial_packet": lambda node: node.dial_packet("peer", 53, timeout=PATIENCE),
    "listen_packet": lambda node: node.listen_packet(53, timeout=PATIENCE),
    "ping": lambda node: node.ping("peer", timeout=PATIENCE),
    "set": lambda node: node.set(shields_up=not node.prefs.shields_up, timeout=PATIENCE),
    "events": lambda node: node.events(),
    "close": lambda node: node.close(timeout=0.5),
}
BEGIN_ANEW = ("up", "reachable", "close")


@contextlib.contextmanager
def default_host(host: Host) -> Iterator[None]:
    """What is made inside runs there."""
    with (
        mock.patch("tsnet.base_server.default_host", return_value=host),
        mock.patch("tsnet.testing.tailnet.default_host", return_value=host),
    ):
        yield


class Scene:
    """host: the node's loop. node: running, unless a verb is about to start it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.host = Host(SystemWorld, own_thread=True)
        self._others = Host(SystemWorld, own_thread=True)
        with default_host(self._others):
            self._tailnet = Tailnet()
            self._tailnet.start()
            self._peer = self._server("peer", MemoryStore())
        self._listener = self._peer.listen(80)
        self._peer.reachable()
        self._port = OwnPort()
        self.port = self._port.number
        self.node = self._fresh()

    def _server(self, name: str, state: Any, **options: Any) -> tsnet.Server:
        return tsnet.Server(
            name,
            control_url=self._tailnet.control_url,
            auth_key=self._tailnet.auth_key,
            state=state,
            ephemeral=True,
            **options,
        )

    def _fresh(self) -> tsnet.Server:
        with default_host(self.host):
            return self._server("node", self.directory, port=self.port)

    def close(self) -> None:
        for end in (self.node.close, self._listener.close, self._peer.close, self._tailnet.close):
            end()
        self.check_nothing_is_taken()
        for host in (self.host, self._others):
            until(lambda host=host: not thread_of(host))  # type: ignore[misc]
            host.world.close()
        self._port.close()

    @contextlib.contextmanager
    def peer_asleep(self) -> Iterator[None]:
        """It answers nothing meanwhile."""
        others, pump = self._others, self._peer._handle.pump

        def remove() -> None:
            others.remove(pump)

        others.call(remove)
        yield
        others.call(lambda: others.add(pump))

    # --- plays ----------------------------------------------------------------------------------------------

    def rehearse(self, verb: str, side: Side, kind: Kind) -> list[Moment]:
        """Every moment of the verb, in order."""
        moments = Moments(FILES, kind)
        self._perform(verb, side, moments)
        passed: dict[Place, int] = {}
        found = []
        for place in moments.seen:
            passed[place] = passed.get(place, 0) + 1
            found.append((place, passed[place]))
        return found

    def play(self, verb: str, side: Side, kind: Kind, moment: Moment, error: BaseException) -> BaseException | None:
        """What the caller sees. Afterwards the next call works, and nothing stays taken."""
        return self._perform(verb, side, Moments(FILES, kind, moment, error))

    def _perform(self, verb: str, side: Side, moments: Moments) -> BaseException | None:
        if verb in BEGIN_ANEW:
            self.node.close()
            self.check_nothing_is_taken()
            self.node = self._fresh()
        if verb not in BEGIN_ANEW or verb == "close":
            self.node.up(timeout=PATIENCE)
        caller = Caller(lambda: VERBS[verb](self.node))
        if side == "node":
            with self._profiled(moments):
                caller.run(None)
        else:
            caller.run(moments)
        if caller.result is not None and hasattr(caller.result, "close"):
            caller.result.close()
        caller.result = None
        if verb == "close":
            self.node.close()
            self.check_nothing_is_taken()
            self.node = self._fresh()
        else:
            again = Caller(lambda: self.node.up(timeout=PATIENCE))
            again.run(None)
            assert again.error is None, f"the next call: {again.error!r}"
            handle = self.node._handle
            until(lambda: not handle.pump.owners and not handle.attempts and not self._waiting())
        return caller.error

    @contextlib.contextmanager
    def _profiled(self, moments: Moments) -> Iterator[None]:
        """The node's thread and every thread that begins meanwhile."""
        with no_collector():
            threading.setprofile(moments.profile)
            try:
                if thread_of(self.host):
                    self._in_thread(lambda: sys.setprofile(moments.profile))
                yield
            finally:
                threading.setprofile(None)
                moments.raised = True
                if thread_of(self.host):
                    self._in_thread(lambda: sys.setprofile(None))

    def _in_thread(self, function: Callable[[], None]) -> None:
        done = threading.Event()

        def run() -> None:
            function()
            done.set()

        self.host.call(run)
        done.wait(0.1)  # the thread may end just now

    def _waiting(self) -> list[Any]:
        return [operation for operation in self.host._open.copy() if not operation.done]

    def check_nothing_is_taken(self) -> None:
        """After a close: no port, no lock, no thread, no tenant, nobody who waits."""
        until(lambda: not thread_of(self.host))
        assert not self.host.users
        assert not self._waiting()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as port:
            port.bind(("0.0.0.0", self.port))
        store = DirectoryStore(self.directory)
        until_quiet(store.open)
        store.close()


class Caller:
    """A call in a thread of its own, which must return or raise."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self, moments: Moments | None) -> None:
        thread = threading.Thread(target=self._run, args=(moments,), daemon=True)
        thread.start()
        thread.join(2 * PATIENCE)
        assert not thread.is_alive(), "it waits for ever"

    def _run(self, moments: Moments | None) -> None:
        with no_collector():
            try:
                if moments is not None:
                    sys.setprofile(moments.profile)
                self.result = self._call()
            except BaseException as error:
                self.error = error.with_traceback(None)
            finally:
                sys.setprofile(None)


def thread_of(host: Host) -> threading.Thread | None:
    thread = host._thread
    return thread if thread is not None and thread.is_alive() else None


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not come true"
        threading.Event().wait(0.001)


def until_quiet(function: Callable[[], object]) -> None:
    """Until it raises no more."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            function()
            return
        except Exception:
            if time.monotonic() > end:
                raise
            threading.Event().wait(0.001)

"""Byte machines behind real listening sockets, in a thread of their own: what the edge does, in a hundred lines.

with Host() as host:
    host.listen(8080, server)            # a control server, a relay: receive, transmit, deadline
    host.do(lambda: tailnet.delete(member))   # in the host's thread, as everything that touches a machine
"""

from __future__ import annotations

import contextlib
import itertools
import math
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol, TypeVar

from tsnet.base.addresses import UdpAddress
from tsnet.base.links import Accepted, Close, Closed, Data, Effect, Event, Link, Pause, Received, Resume
from tsnet.base.malformed import MalformedError
from tsnet.netcheck.stun import decode_request, encode_response

T = TypeVar("T")
BUDGET = 1 << 20


class Machine(Protocol):
    def receive(self, event: Event, now: float) -> None: ...
    def transmit(self, now: float, budget: int) -> list[Effect]: ...
    def deadline(self) -> float: ...


class Host:
    """Plain TCP on loopback. Entering starts the thread, leaving stops it and closes every socket."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._machines: list[Machine] = []
        self._links: dict[Link, tuple[Machine, socket.socket]] = {}
        self._listeners: dict[int, tuple[socket.socket, Machine]] = {}
        self._probes: list[socket.socket] = []
        self._numbers = itertools.count()
        self._asked: deque[tuple[Callable[[], object], Future[object]]] = deque()
        self._bell, self._rope = socket.socketpair()
        self._ends = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Host:
        self._selector.register(self._bell, selectors.EVENT_READ, self._answer_bell)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        def end() -> None:
            self._ends = True

        if self._error is None:
            self.do(end)
        self._thread.join()
        listeners = [listener for listener, _machine in self._listeners.values()]
        for one in [
            *self._probes,
            *listeners,
            *(peer for _machine, peer in self._links.values()),
            self._bell,
            self._rope,
        ]:
            one.close()
        self._selector.close()

    def do(self, action: Callable[[], T]) -> T:
        """Run it between two turns; returns what it returns."""
        if self._error is not None:
            raise self._error
        future: Future[object] = Future()
        self._asked.append((action, future))
        self._rope.send(b"!")
        return future.result(20)  # type: ignore[return-value]

    def listen(self, port: int, machine: Machine) -> None:
        """Take connections for a machine; one that listened there before loses its links without a word."""
        self.do(lambda: self._listen(port, machine))

    def answer_stun(self, port: int) -> None:
        """Tell whoever asks by UDP where it is seen."""
        probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        probe.bind(("127.0.0.1", port))

        def answer() -> None:
            request, where = probe.recvfrom(2048)
            with contextlib.suppress(MalformedError):
                probe.sendto(encode_response(decode_request(request), UdpAddress(*where[:2])), where)

        self._probes.append(probe)
        self.do(lambda: self._selector.register(probe, selectors.EVENT_READ, answer))

    def until(self, condition: Callable[[], object], timeout: float = 20) -> None:
        """Wait until the condition, asked in the host's thread, holds."""
        end = time.monotonic() + timeout
        while not self.do(condition):
            assert time.monotonic() < end, f"not in {timeout} s"
            time.sleep(0.01)

    def _listen(self, port: int, machine: Machine) -> None:
        if port in self._listeners:
            listener, old = self._listeners.pop(port)
            self._selector.unregister(listener)
            listener.close()
            self._machines.remove(old)
            for link in [link for link, (owner, _sock) in self._links.items() if owner is old]:
                self._close(link)
        listener = socket.create_server(("127.0.0.1", port))
        self._listeners[port] = listener, machine
        self._machines.append(machine)
        self._selector.register(listener, selectors.EVENT_READ, lambda: self._accept(listener, machine))

    def _run(self) -> None:
        try:
            self._turns()
        except BaseException as error:
            self._error = error
            while self._asked:
                self._asked.popleft()[1].set_exception(error)
            raise

    def _turns(self) -> None:
        while not self._ends:
            for machine in self._machines:
                while machine.deadline() <= time.monotonic():
                    for effect in machine.transmit(time.monotonic(), BUDGET):
                        self._perform(machine, effect)
            at = min((machine.deadline() for machine in self._machines), default=math.inf)
            wait = min(max(at - time.monotonic(), 0), 1.0)
            for key, _mask in self._selector.select(wait):
                key.data()

    def _answer_bell(self) -> None:
        self._bell.recv(1)
        action, future = self._asked.popleft()
        try:
            future.set_result(action())
        except BaseException as error:
            future.set_exception(error)

    def _accept(self, listener: socket.socket, machine: Machine) -> None:
        peer, remote = listener.accept()
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link = Link("accepted", "", next(self._numbers))
        self._links[link] = machine, peer
        self._selector.register(peer, selectors.EVENT_READ, lambda: self._read(link))
        machine.receive(Accepted(link, remote[:2]), time.monotonic())

    def _read(self, link: Link) -> None:
        if link not in self._links:
            return
        machine, peer = self._links[link]
        try:
            data = peer.recv(1 << 16)
        except OSError:
            data = b""
        if data:
            machine.receive(Received(link, data), time.monotonic())
        else:
            self._close(link)
            machine.receive(Closed(link, "eof"), time.monotonic())

    def _perform(self, machine: Machine, effect: Effect) -> None:
        if effect.link not in self._links:
            return
        if isinstance(effect, Data):
            with contextlib.suppress(OSError):  # its end is read soon
                self._links[effect.link][1].sendall(effect.data)
        elif isinstance(effect, Pause):
            self._selector.unregister(self._links[effect.link][1])
        elif isinstance(effect, Resume):
            self._selector.register(self._links[effect.link][1], selectors.EVENT_READ, lambda: self._read(effect.link))
        else:
            assert isinstance(effect, Close)
            self._close(effect.link)

    def _close(self, link: Link) -> None:
        _machine, peer = self._links.pop(link)
        with contextlib.suppress(KeyError):  # it may be paused
            self._selector.unregister(peer)
        peer.close()

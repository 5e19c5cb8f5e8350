"""One control client over real sockets, in one thread: what the edge does, in a hundred lines, for these tests alone.

driver = Driver(client)
driver.until(lambda: driver.netmap is not None)
driver.facts          # everything told so far
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import time
from collections.abc import Callable
from typing import TypeVar

from tsnet.base.links import Close, Closed, Compute, Computed, Data, Effect, Link, Open, Opened, Received
from tsnet.base.malformed import MalformedError
from tsnet.control.client.client import Client
from tsnet.control.client.facts import Fact, NetMapChanged, NodeKeyRotated
from tsnet.netmap.model import NetMap

_Fact = TypeVar("_Fact")


class Driver:
    """Connects blocking, reads by `selectors`; leaving it closes what is open."""

    def __init__(self, client: Client, tls: ssl.SSLContext | None = None) -> None:
        self.client = client
        self.facts: list[Fact] = []
        self._tls = tls
        self._links: dict[Link, socket.socket] = {}
        self._selector = selectors.DefaultSelector()

    def __enter__(self) -> Driver:
        return self

    def __exit__(self, *_: object) -> None:
        for link in list(self._links):
            self._close(link)
        self._selector.close()

    @property
    def netmap(self) -> NetMap | None:
        return next((fact.netmap for fact in reversed(self.facts) if isinstance(fact, NetMapChanged)), None)

    def told(self, kind: type[_Fact]) -> list[_Fact]:
        return [fact for fact in self.facts if isinstance(fact, kind)]

    def until(self, condition: Callable[[], object], timeout: float = 20) -> None:
        """Turn until the condition holds; AssertionError with what was told if it does not in time."""
        end = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < end, f"not in {timeout} s; told: {self.facts[-8:]}; waits: {self.client.why()}"
            self.turn(end)

    def turn(self, end: float) -> None:
        for effect in self.client.transmit(time.monotonic()):
            self._perform(effect)
        self._listen()
        wait = min(self.client.deadline(), end, time.monotonic() + 0.5) - time.monotonic()
        for key, _mask in self._selector.select(max(wait, 0)):
            self._read(key.data)
        self._listen()

    def _listen(self) -> None:
        for fact in self.client.take_facts():
            self.facts.append(fact)
            if isinstance(fact, NodeKeyRotated):
                self.client.key_saved(time.monotonic())

    def cut(self) -> None:
        """Every link breaks."""
        for link in list(self._links):
            self._lost(link, "reset")

    def _perform(self, effect: Effect) -> None:
        if isinstance(effect, Open):
            self._open(effect)
        elif isinstance(effect, Data) and effect.link in self._links:
            with contextlib.suppress(OSError):
                self._links[effect.link].sendall(effect.data)
        elif isinstance(effect, Close):
            self._close(effect.link)
        elif isinstance(effect, Compute):
            try:
                value = effect.run()
            except MalformedError as error:
                value = error
            self.client.receive(Computed(effect.link, value), time.monotonic())

    def _open(self, effect: Open) -> None:
        try:
            sock = socket.create_connection((effect.hosts[0], effect.port), timeout=effect.timeout)
            if effect.tls is not None:
                assert self._tls is not None
                sock = self._tls.wrap_socket(sock, server_hostname=effect.tls.server_name)
        except ssl.SSLCertVerificationError as error:
            self.client.receive(Closed(effect.link, f"certificate: {error.verify_message}"), time.monotonic())
        except OSError as error:
            reason = "refused" if isinstance(error, ConnectionRefusedError) else f"unreachable: {error}"
            self.client.receive(Closed(effect.link, reason), time.monotonic())
        else:
            sock.setblocking(False)  # a request fits the socket's buffer
            self._links[effect.link] = sock
            self._selector.register(sock, selectors.EVENT_READ, effect.link)
            self.client.receive(Opened(effect.link), time.monotonic())

    def _read(self, link: Link) -> None:
        sock = self._links.get(link)
        if sock is None:
            return
        try:
            data = sock.recv(1 << 16)
            while isinstance(sock, ssl.SSLSocket) and sock.pending():
                data += sock.recv(1 << 16)
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        except OSError:
            self._lost(link, "reset")
            return
        if data:
            self.client.receive(Received(link, data), time.monotonic())
        else:
            self._lost(link, "eof")

    def _lost(self, link: Link, reason: str) -> None:
        self._close(link)
        self.client.receive(Closed(link, reason), time.monotonic())

    def _close(self, link: Link) -> None:
        sock = self._links.pop(link, None)
        if sock is not None:
            self._selector.unregister(sock)
            sock.close()

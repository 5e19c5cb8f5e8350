"""Every call of the blocking twin that waits: what is made for it, and what must be true once it was given up.

    kind              a method of `tsnet.Server`, or of the sockets that it returns ("socket.recv")
    disturbed(kind)   the call, given up at a random moment (`keyboard_interrupts` says how)
    at_once(kind)     the same call again, which nothing disturbs: it works

Four nodes: `a` listens, `b` dials, `c` is kept and logs in and out, and one more begins and ends in every call that
is about that.

Not here: the interrupts and time limits themselves, and what may be left in the end (`keyboard_interrupts`).
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import tsnet
from tsnet.edge.io.store import MemoryStore
from tsnet.testing.tailnet import Tailnet

PORT = 7000
LISTENS = PORT + 1
"""The port at which `a` listens all the time."""
AUDIENCE = "https://third.example"
BLOCK = b"x" * 65_536
Call = Callable[..., Any]


class Disturber(Protocol):
    """`keyboard_interrupts.Trial`. What a call returned; None if it was given up."""

    faults: list[str]

    def disturbed(self, kind: str, call: Call) -> Any: ...

    def at_once(self, what: str, call: Call) -> Any: ...


class WaitingCalls:
    def __init__(self, disturber: Disturber) -> None:
        self._disturbed, self._at_once = disturber.disturbed, disturber.at_once
        self._faults = disturber.faults

    def __enter__(self) -> WaitingCalls:
        self.tailnet = Tailnet()
        self.tailnet.start()
        self.a, self.b, self.c = self.kept = [self._server(name) for name in "abc"]
        for node in self.kept:
            node.up()
            node.reachable()
        self.listener = self.a.listen(LISTENS)
        return self

    def __exit__(self, *exc: object) -> None:
        self.listener.close()
        for node in self.kept:
            node.close()
        self.tailnet.close()

    def _server(self, name: str) -> tsnet.Server:
        return tsnet.Server(
            name,
            control_url=self.tailnet.control_url,
            auth_key=self.tailnet.auth_key,
            state=MemoryStore(),
            ephemeral=True,
        )

    def play(self, kind: str) -> None:
        if kind in SERVICES:
            self._serve(kind, partial(SERVICES[kind], self))
        elif kind in SIMPLE:
            self._again(kind, partial(SIMPLE[kind], self))
        else:
            getattr(self, "_" + kind.replace(".", "_"))()

    def _again(self, kind: str, call: Call) -> None:
        close(self._disturbed(kind, call))
        close(self._at_once(kind, partial(as_soon_as_it_can, call)))

    def _serve(self, kind: str, call: Call) -> None:
        """A service whose handle an interrupt has taken, when all else was done, goes on, as one whose handle was
        dropped: the node knows it."""
        self._disturbed(kind, call)
        for node in self.kept:
            close(*node._servings._running)
        close(self._at_once(kind, partial(as_soon_as_it_can, call)))
        end = time.monotonic() + 2.0
        while any(thread.name == "tsnet-service" and thread.is_alive() for thread in threading.enumerate()):
            if time.monotonic() > end:  # one that was given up may begin to listen only now, and ends
                self._faults.append(f"{kind}: a service runs on")
                break
            time.sleep(0.001)

    # --- a node's beginning and end -------------------------------------------------------------------------

    def _begins(self, kind: str) -> None:
        node = self._server("d")
        self._disturbed(kind, getattr(node, kind))
        self._at_once(kind, getattr(node, kind))
        self._at_once("up", node.up)
        self._at_once("close", node.close)

    def _up(self) -> None:
        self._begins("up")

    def _start(self) -> None:
        self._begins("start")

    def _reachable(self) -> None:
        self._begins("reachable")

    def _close(self) -> None:
        node = self._server("d")
        self._at_once("up", node.up)
        self._disturbed("close", node.close)
        self._at_once("close", node.close)
        self._expect(node, "closed")

    def _login(self) -> None:
        self._again("login", self._log_in)
        self._expect(self.c, "running")

    def _logout(self) -> None:
        self._disturbed("logout", self.c.logout)
        self._at_once("logout", self.c.logout)
        self._expect(self.c, "logged-out")
        self._at_once("login", self._log_in)
        self._expect(self.c, "running")

    def _log_in(self, **limit: float) -> None:
        self.c.login(auth_key=self.tailnet.auth_key, force=True, **limit)

    def _expect(self, node: tsnet.Server, state: str) -> None:
        if node.status().state != state:
            self._faults.append(f"a node that should be {state} is {node.status().state}")

    # --- what a running node is asked -----------------------------------------------------------------------

    def _set(self) -> None:
        self._disturbed("set", lambda **limit: self.c.set(shields_up=True, **limit))
        self._at_once("set", lambda: self.c.set(shields_up=False))
        if self.c.prefs.shields_up:
            self._faults.append("a preference that was changed back is not")

    def _events(self) -> None:
        with self.c.events() as events:
            self._disturbed("events", lambda: next(events))
            self._at_once("set", lambda: self.c.set(hostname="c"))
            self._at_once("close events", events.close)
            self._at_once("events", lambda: list(events))

    # --- sockets --------------------------------------------------------------------------------------------

    def _dial(self) -> None:
        close(self._disturbed("dial", lambda **limit: self.b.dial("a", LISTENS, **limit)))
        close(*self._pair())

    def _socket_accept(self) -> None:
        client = self._at_once("dial", lambda: self.b.dial("a", LISTENS))
        accepted = self._disturbed("socket.accept", self.listener.accept)
        if accepted is not None:
            accepted[0].close()
        close(client, *self._pair())

    def _socket_recv(self) -> None:
        client, server = self._pair()
        client.sendall(b"one")
        self._disturbed("socket.recv", lambda: server.recv(1))
        client.sendall(b"!")  # a call that was given up may have taken what it could not return
        while not self._at_once("socket.recv", lambda: server.recv(10)).endswith(b"!"):
            pass
        close(client, server)

    def _socket_send(self) -> None:
        client, server = self._pair()
        self._disturbed("socket.send", lambda: client.sendall(BLOCK))
        client.sendall(b"!")
        while not self._at_once("socket.recv", lambda: server.recv(len(BLOCK))).endswith(b"!"):
            pass
        close(client, server)

    def _socket_close(self) -> None:
        client, server = self._pair()
        self._disturbed("socket.close", client.close)
        self._at_once("socket.close", client.close)
        with contextlib.suppress(ConnectionError):
            self._at_once("socket.recv", lambda: server.recv(1))
        close(server)

    def accept_all(self) -> None:
        """Accept and close what has dialled `a` and was given up, or wanted to know no more than whether it can."""
        close(*self._pair())

    def _pair(self) -> tuple[socket.socket, socket.socket]:
        """Two ends of one connection. What a call that was given up has left to be accepted is closed."""
        client = self._at_once("dial", lambda: self.b.dial("a", LISTENS))
        while True:
            server, address = self._at_once("socket.accept", self.listener.accept)
            if address == client.getsockname():
                return client, server
            server.close()


SIMPLE: dict[str, Callable[..., Any]] = {
    "listen": lambda calls, **limit: calls.a.listen(PORT, **limit),
    "listen_packet": lambda calls, **limit: calls.a.listen_packet(PORT, **limit),
    "dial_packet": lambda calls, **limit: calls.b.dial_packet("a", PORT, **limit),
    "ping": lambda calls, **limit: calls.b.ping("a", **limit),
    "netcheck": lambda calls, **limit: calls.b.netcheck(**limit),
    "explain": lambda calls, **limit: calls.b.explain(f"a:{LISTENS}", **limit),
    "debug": lambda calls, **limit: calls.b.debug("paths", **limit),
    "issue_id_token": lambda calls, **limit: calls.b.issue_id_token(AUDIENCE, **limit),
}
"""The calls that need nothing, and leave nothing but what is closed."""
SERVICES: dict[str, Callable[..., Any]] = {
    "serve_asgi": lambda calls: calls.a.serve_asgi(nothing, PORT, block=False),
    "forward_local": lambda calls: calls.b.forward_local("a", LISTENS),
    "forward_remote": lambda calls: calls.a.forward_remote(PORT, 9),
}
"""Those that begin a service. After an interrupt it ends as soon as it can: then its port is free. `serve_wsgi` is not
here: waitress leaves a pipe open if an interrupt comes while it makes its own."""

BEGINNINGS = ("up", "start", "reachable", "close", "login", "logout")
SOCKETS = ("dial", "listen", "socket.accept", "socket.recv", "socket.send", "socket.close")
KINDS: dict[str, int] = dict.fromkeys((*BEGINNINGS, *SIMPLE, *SERVICES, "set", "events"), 2)
KINDS |= dict.fromkeys(SOCKETS, 4)
"""How often each call comes, beside the others: a node's beginning and end take fifty times as long as the rest."""


def as_soon_as_it_can(call: Call) -> Any:
    """What an interrupted call had made is let go beside whoever goes on, and its port with it."""
    end = time.monotonic() + 1.0
    while True:
        try:
            return call()
        except tsnet.AddressInUse:
            if time.monotonic() > end:
                raise
            time.sleep(0.001)


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    """An ASGI app that nobody asks."""


def close(*things: Any) -> None:
    for thing in things:
        if hasattr(thing, "close"):
            thing.close()

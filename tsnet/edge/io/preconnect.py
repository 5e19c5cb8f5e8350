"""Connections that are begun before a link asks for them: to control, while a node that will dial it is being made.

    begin ─► Dial ─┬─► a socket, kept for KEPT seconds ─┬─ claim ─► the link's, as if it had dialled
                   └─► nothing: it failed               └─ nobody ─► closed

Whoever has begun them gives up those that nobody has claimed, without waiting for that, when it ends.

Nothing is said on a connection before it is claimed. One that has failed, or that the other end has closed meanwhile,
is given to nobody: the link dials anew, and is told what is wrong.

Not here: which connections are worth it (`edge.run.opening`), the race of the addresses (`dial`).
"""

from __future__ import annotations

import functools
import socket
from collections.abc import Callable, Iterable

from tsnet.edge.io.dial import Dial, Lookup
from tsnet.edge.io.reactor import Reactor, Timer
from tsnet.edge.io.workers import Workers

KEPT = 5.0
"""Seconds from a connection's beginning until it is closed if nobody has claimed it."""

MOST = 16
"""Connections that wait for somebody at the same time."""

Target = tuple[tuple[str, ...], int]


class Preconnect:
    """One connection. Once it is claimed it stands for the link's own `Dial`."""

    def __init__(self, reactor: Reactor, dial: Callable[[Callable[[socket.socket | str], None]], Dial]) -> None:
        self._reactor = reactor
        self._socket: socket.socket | None = None
        self._has_failed = False
        self._done: Callable[[socket.socket | str], None] | None = None
        self._dial = dial(self._came)

    @property
    def is_usable(self) -> bool:
        """Whether a connection is there, as far as one can see, or may still come."""
        if self._has_failed:
            return False
        if self._socket is None:
            return True
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False  # its end, or bytes that nobody has asked for

    @property
    def awaits_names(self) -> bool:
        return self._dial.awaits_names

    def claim(self, done: Callable[[socket.socket | str], None]) -> None:
        """Call `done` as a `Dial` does: once, from the reactor's `wait`, and never after `cancel`."""
        self._done = done
        if self._socket is not None:
            self._reactor.call_soon(self._hand_over)

    def cancel(self) -> None:
        self._done = None
        self._dial.cancel()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _came(self, result: socket.socket | str) -> None:
        if self._done is not None:
            self._done(result)
        elif isinstance(result, str):
            self._has_failed = True
        else:
            self._socket = result

    def _hand_over(self) -> None:
        sock, self._socket = self._socket, None
        if sock is not None and self._done is not None:
            self._done(sock)


class Preconnects:
    """Those that wait for somebody. lookup: for tests, in place of the system's resolver."""

    def __init__(self, reactor: Reactor, *, lookup: Lookup | None = None) -> None:
        self._reactor = reactor
        self._workers = Workers(reactor)
        self._lookup = lookup
        self._waiting: dict[Preconnect, tuple[Target, Timer]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def begin(self, hosts: tuple[str, ...], port: int, count: int) -> Callable[[], None]:
        """See to it that so many wait for these hosts and this port, unless too many wait for others.

        Returns what gives up those of them that were begun here and still wait; twice is as good as once.
        """
        target = (hosts, port)
        there = sum(1 for wanted, _timer in self._waiting.values() if wanted == target)
        begun: list[Preconnect] = []
        for _ in range(min(count - there, MOST - len(self._waiting))):
            dial = functools.partial(Dial, self._reactor, self._workers, hosts, port, lookup=self._lookup)
            one = Preconnect(self._reactor, dial)
            timer = self._reactor.call_at(self._reactor.clock() + KEPT, functools.partial(self._give_up, one))
            self._waiting[one] = (target, timer)
            begun.append(one)
        return functools.partial(self._give_up_all, begun)

    def claim(self, hosts: tuple[str, ...], port: int) -> Preconnect | None:
        """The oldest that is usable; None if there is none."""
        for one, (target, _timer) in tuple(self._waiting.items()):
            if target != (hosts, port):
                continue
            if one.is_usable:
                self._forget(one)
                return one
            self._give_up(one)
        return None

    def close(self) -> None:
        self._workers.close()
        self._give_up_all(tuple(self._waiting))

    def _give_up_all(self, some: Iterable[Preconnect]) -> None:
        for one in some:
            if one in self._waiting:
                self._give_up(one)

    def _give_up(self, one: Preconnect) -> None:
        self._forget(one)
        one.cancel()

    def _forget(self, one: Preconnect) -> None:
        self._waiting.pop(one)[1].cancel()

"""One TCP connection to the first of several hosts that answers.

    hosts ─┬─ an address ─────────────────────────┬─> targets, in the hosts' order ──> attempts, 250 ms apart ──> one
           └─ a name ──> lookup in a worker ──────┘   (v6 and v4 in turn)              or at once after a failure

All names are looked up at once, so a slow lookup holds up only its own host. The first attempt that connects wins, and
the others are closed.

Source: RFC 8305 (Happy Eyeballs).
Not here: the time limit, the proxy, TLS (`links`).
"""

from __future__ import annotations

import errno
import functools
import heapq
import itertools
import socket
from collections.abc import Callable, Sequence
from typing import Any

from tsnet.base.addresses import IPAddress, parse_address
from tsnet.edge.io.reactor import WRITE, Reactor, Timer
from tsnet.edge.io.workers import Workers

ATTEMPT_DELAY = 0.25

_REASONS = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "reset",
    errno.ETIMEDOUT: "timeout",
}
_TELLING = ("refused", "reset", "timeout", "unreachable", "dns")
"""Reasons, the most telling first. A failed dial reports the first of these that one of its attempts failed with."""

NO_NAME_SERVER = "dns: no name server of this machine answers"
TO_ITSELF = "dns: its name leads to this machine itself"
"""Of a name other than localhost whose addresses are all of loopback or none: what filters answer in a name's place."""

Lookup = Callable[[str], list[str]]


class Dial:
    """Calls `done` once, from the reactor's `wait`, with a connected socket or with a reason; never after `cancel`."""

    def __init__(
        self,
        reactor: Reactor,
        workers: Workers,
        hosts: Sequence[str],
        port: int,
        done: Callable[[socket.socket | str], None],
        *,
        lookup: Lookup | None = None,
    ) -> None:
        self._reactor = reactor
        self._port = port
        self._done: Callable[[socket.socket | str], None] | None = done
        self._targets: list[tuple[int, int, str]] = []
        self._numbers = itertools.count()
        self._attempts: set[socket.socket] = set()
        self._timer: Timer | None = None
        self._lookups = 0
        self._reason = "dns"
        self._no_name_server = self._is_misled = self._leads_elsewhere = False
        for rank, host in enumerate(hosts):
            address = parse_address(host)
            if address is not None:
                self._leads_elsewhere = True
                self._add(rank, [str(address)])
            else:
                self._lookups += 1
                workers.run(functools.partial(lookup or look_up, host), functools.partial(self._looked_up, rank, host))
        reactor.call_soon(self._next)

    @property
    def awaits_names(self) -> bool:
        """Whether nothing else has been done so far."""
        return self._lookups > 0 and not (self._targets or self._attempts)

    def cancel(self) -> None:
        self._done = None
        if self._timer is not None:
            self._timer.cancel()
        for sock in self._attempts:
            self._reactor.remove(sock)
            sock.close()
        self._attempts.clear()

    def _add(self, rank: int, addresses: Sequence[str]) -> None:
        for address in addresses:
            heapq.heappush(self._targets, (rank, next(self._numbers), address))

    def _looked_up(self, rank: int, host: str, result: Any) -> None:
        self._lookups -= 1
        if not isinstance(result, Exception):
            is_here = bool(result) and all(map(_is_here, result)) and not _is_localhost(host)
            self._is_misled |= is_here
            self._leads_elsewhere |= not is_here
            self._add(rank, result)
        elif isinstance(result, socket.gaierror) and result.errno == socket.EAI_AGAIN:
            self._no_name_server = True
        if self._timer is None:
            self._next()

    def _next(self) -> None:
        """Start the next attempt, and the timer for the one after it."""
        if self._done is None:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._targets:
            if self._start(heapq.heappop(self._targets)[2]):
                self._timer = self._reactor.call_at(self._reactor.clock() + ATTEMPT_DELAY, self._next_if_any)
                return
        if not self._attempts and not self._lookups:
            self._finish(self._what_failed())

    def _next_if_any(self) -> None:
        self._timer = None
        self._next()

    def _start(self, host: str) -> bool:
        """Start an attempt. Returns False if it failed at once."""
        try:
            sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        except OSError as error:
            self._failed(error.errno)
            return False
        sock.setblocking(False)
        try:
            number = sock.connect_ex((host, self._port))
        except (OSError, OverflowError):  # a zone or a port that cannot be
            number = errno.EADDRNOTAVAIL
        if number not in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
            sock.close()
            self._failed(number)
            return False
        self._attempts.add(sock)
        self._reactor.add(sock, WRITE, functools.partial(self._answered, sock))
        return True

    def _answered(self, sock: socket.socket, mask: int) -> None:
        self._reactor.remove(sock)
        self._attempts.discard(sock)
        number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            sock.close()
            self._failed(number)
            self._next()
            return
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._finish(sock)

    def _failed(self, number: int | None) -> None:
        reason = _REASONS.get(number or 0, "unreachable")
        self._reason = min(self._reason, reason, key=_TELLING.index)

    def _what_failed(self) -> str:
        if self._reason == "dns":
            return NO_NAME_SERVER if self._no_name_server else "dns"
        return TO_ITSELF if self._is_misled and not self._leads_elsewhere else self._reason

    def _finish(self, result: socket.socket | str) -> None:
        done = self._done
        self.cancel()
        if done is not None:
            done(result)


def _is_here(text: str) -> bool:
    """Whether an address leads no farther than this machine: a loopback address, or 0.0.0.0 and ::."""
    address = parse_address(text)
    return address is not None and (address.is_loopback or address.is_unspecified)


def _is_localhost(host: str) -> bool:
    name = host.rstrip(".").lower()
    return name == "localhost" or name.endswith(".localhost")


def look_up(host: str) -> list[str]:
    """A name's addresses in the system's order, but with v6 and v4 in turn. Blocks; raises OSError, ValueError."""
    found = [str(info[4][0]) for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
    return in_turn([address for text in dict.fromkeys(found) if (address := parse_address(text)) is not None])


def in_turn(addresses: Sequence[IPAddress]) -> list[str]:
    """The addresses as text, one of each family in turn, beginning with the family of the first."""
    first = [str(address) for address in addresses if address.version == addresses[0].version]
    second = [str(address) for address in addresses if address.version != addresses[0].version]
    pairs = itertools.zip_longest(first, second)
    return [address for pair in pairs for address in pair if address is not None]

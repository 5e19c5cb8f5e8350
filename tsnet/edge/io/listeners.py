"""A listening TCP socket and the links that it takes in. It names them ("listen", port, number).

    accept ──> first byte, if plain and TLS share the port ──> TLS handshake ──> Accepted(link, remote)

A link that is not accepted within OPEN_TIMEOUT is dropped without an event, and at most MAX_UNOPENED may be on their
way at once. `LinkLimits` says how many links there may be in all, and of one source. A link above a limit is closed
before it costs a handshake. Each link counts in the budget of descriptors, too; while that is used up, or the kernel
has none, connections wait in the kernel's backlog.

Not here: what the links carry, and all that follows `Accepted` (`links.Channels`).
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from tsnet.base.links import Accepted, Link
from tsnet.edge.io.channel import Channel
from tsnet.edge.io.descriptors import BUDGET, Lease, is_out
from tsnet.edge.io.link_limits import NO_DESCRIPTOR, UNOPENED, LinkLimits, source_of
from tsnet.edge.io.links import Channels
from tsnet.edge.io.reactor import READ, Reactor

if TYPE_CHECKING:
    import ssl

    from tsnet.edge.io.tls import TlsSession

OPEN_TIMEOUT = 10.0  # seconds
MAX_UNOPENED = 512  # twice what one source may have
MAX_ACCEPTS = 64
BACKLOG = 256
PAUSE = 0.1
"""Seconds without accepting, when there are no descriptors or no memory for another connection."""

_numbers = itertools.count(1)


KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 9}
"""Seconds of silence before the system asks whether the other end is there, seconds between two such questions, and
after how many without an answer the link has ended. A server that waits for requests hears of it in no other way."""


def keep_alive(sock: socket.socket) -> None:
    """Let the system find out when the other end has gone without a word, as a lost router or machine does."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE.items():
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


class LinkListener(Channels):
    """The `ListenPort` of the system. Raises OSError when the address cannot be bound."""

    def __init__(
        self,
        reactor: Reactor,
        host: str,
        port: int,
        on_ready: Callable[[], None],
        *,
        ssl_context: ssl.SSLContext | None = None,
        sniff_tls: bool = False,
        limits: LinkLimits | None = None,
    ) -> None:
        super().__init__(reactor, on_ready)
        self._link_limits = LinkLimits() if limits is None else limits
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family, backlog=BACKLOG)
        self._socket.setblocking(False)
        bound = self._socket.getsockname()
        self.address: tuple[str, int] = (bound[0], bound[1])
        self._context = ssl_context
        self._sniff = sniff_tls and ssl_context is not None
        self._remotes: dict[Link, tuple[str, int]] = {}
        self._leases: dict[Link, Lease] = {}
        reactor.add(self._socket, READ, self._on_accept)

    def close(self) -> None:
        self._reactor.remove(self._socket)
        self._socket.close()
        self._remotes.clear()
        super().close()

    def _on_accept(self, mask: int) -> None:
        for _ in range(MAX_ACCEPTS):
            if BUDGET.is_full:
                self._pause()
                return
            try:
                sock, remote = self._socket.accept()
            except OSError as error:  # nobody is waiting, or the connection has gone again
                if is_out(error):
                    self._pause()
                return
            link = Link("listen", self.address[1], next(_numbers))
            if self._lets_in(link, remote[0]):
                self._remotes[link] = (remote[0], remote[1])
                self._take_in(link, sock)
            else:
                sock.close()

    def _lets_in(self, link: Link, host: str) -> bool:
        if len(self._limits) >= MAX_UNOPENED:
            self._link_limits.refused[UNOPENED] += 1
            return False
        if self._link_limits.enter(link, host):
            return False
        lease = BUDGET.borrow(source_of(host))
        if lease is None:
            self._link_limits.refused[NO_DESCRIPTOR] += 1
            self._link_limits.leave(link)
            return False
        self._leases[link] = lease
        return True

    def _leave(self, link: Link) -> None:
        """The link's descriptor is closed."""
        self._link_limits.leave(link)
        lease = self._leases.pop(link, None)
        if lease is not None:
            lease.give_back()

    def _take_in(self, link: Link, sock: socket.socket) -> None:
        sock.setblocking(False)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            keep_alive(sock)
        self._limit(link, OPEN_TIMEOUT)
        start_tls = None if self._context is None else functools.partial(self._start_tls, self._context)
        self._adopt(link, sock, start_tls=start_tls, sniff_tls=self._sniff)

    def _pause(self) -> None:
        """Stop polling the socket for a while. The backlog keeps new connections, and polling would spin until then."""
        BUDGET.say_out()
        self._reactor.remove(self._socket)
        self._reactor.call_at(self._reactor.clock() + PAUSE, self._resume)

    def _resume(self) -> None:
        if self._socket.fileno() >= 0:
            self._reactor.add(self._socket, READ, self._on_accept)

    def _start_tls(self, context: ssl.SSLContext) -> TlsSession:
        from tsnet.edge.io.tls import TlsSession

        return TlsSession(context, server_side=True)

    def _opened(self, channel: Channel) -> None:
        self._tell(Accepted(channel.link, self._remotes.pop(channel.link)))

    def _end(self, link: Link, reason: str) -> None:
        """Drop a link that closed before `Accepted` was sent for it: no `Closed` may come without one."""
        if self._remotes.pop(link, None) is None:
            super()._end(link, reason)
        else:
            self._close(link)
            self._leave(link)  # `_drop` does that only for a link that got a channel

    def _drop(self, channel: Channel) -> None:
        super()._drop(channel)
        self._leave(channel.link)

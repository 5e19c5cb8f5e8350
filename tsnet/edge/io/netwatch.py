"""Tells when the network around this machine changes: its own addresses, its links' carriers, its default routes.

    Linux       rtnetlink wakes us ─► does one of the messages matter? ─► 50 ms later: read all ─► changed? ─► tell
    elsewhere   read all every five seconds ─► changed? ─► tell

Nothing happens while nothing changes: where there is rtnetlink, nobody polls. And nothing is done more than four times
a second: after each look the socket rests. What comes meanwhile waits in the kernel, which drops what it has no room
for and says so (ENOBUFS); then, as after more messages than one look takes, all is read anew. So the price of ten
thousand messages, as of containers that start, is that of a few.

| message             | matters                                                        |
|---------------------|----------------------------------------------------------------|
| an address          | unless it is one of fe80::/10: every container's link has one  |
| a link              | if it has an address that counts, or a default route           |
| a route             | if its destination is everything, or a half of it              |

Source: Go net/netmon/netmon_linux.go (the groups), netmon.go (the pause).
Not here: what is read (`netmon`), what follows for a node (`engine.surroundings`).
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterable, Iterator

from tsnet.base.network import Network
from tsnet.edge.io import netlink
from tsnet.edge.io.log import log
from tsnet.edge.io.netmon import read_network
from tsnet.edge.io.reactor import READ, Reactor, Timer

POLL_INTERVAL = 5.0
SETTLE = 0.05
"""Seconds from the first message to the look: a link that comes up brings its addresses and routes along."""

PAUSE = 0.2
"""Seconds after a look, or after messages that do not matter, until the socket is read again."""

MAX_MESSAGES = 64
"""How many reads of the socket are judged; if there are more, something among them matters."""

MAX_DRAIN = 4096
GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
"""RTMGRP_LINK, _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR, _IPV6_ROUTE."""

LINKS = (netlink.NEWLINK, netlink.DELLINK)
ADDRESSES = (netlink.NEWADDR, netlink.DELADDR)
ROUTES = (netlink.NEWROUTE, netlink.DELROUTE)

OnChange = Callable[[], None]


class NetworkWatch:
    """For all nodes of one world. It looks while somebody listens.

    network: as last read. looks, wakes: how often all was read, and how often messages or the clock woke us.
    """

    def __init__(
        self,
        reactor: Reactor,
        *,
        read: Callable[[], Network] = read_network,
        open_socket: Callable[[int], socket.socket] = netlink.open_netlink,
    ) -> None:
        self.network: Network = Network(is_complete=False)
        self.looks: int = 0
        self.wakes: int = 0
        self._reactor = reactor
        self._read, self._open_socket = read, open_socket
        self._listeners: list[OnChange] = []
        self._socket: socket.socket | None = None
        self._timer: Timer | None = None

    @property
    def polls(self) -> bool:
        """Whether it looks by the clock, for want of rtnetlink."""
        return bool(self._listeners) and self._socket is None

    def add(self, on_change: OnChange) -> None:
        """Call it after each change from now on, in the reactor's thread. `network` is what is so now."""
        self._listeners.append(on_change)
        if len(self._listeners) == 1:
            self._begin()

    def remove(self, on_change: OnChange) -> None:
        if on_change in self._listeners:
            self._listeners.remove(on_change)
            if not self._listeners:
                self.close()

    def close(self) -> None:
        self._listeners.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._drop_socket()

    # --- when to look -------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        try:
            self._socket = self._open_socket(GROUPS)
        except OSError:
            self._after(POLL_INTERVAL, self._poll)
        else:
            self._socket.setblocking(False)
            self._reactor.add(self._socket, READ, self._on_messages)
        self._look()

    def _after(self, seconds: float, function: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._reactor.call_at(self._reactor.clock() + seconds, function)

    def _poll(self) -> None:
        self.wakes += 1
        self._after(POLL_INTERVAL, self._poll)
        self._look_and_tell()

    def _on_messages(self, mask: int) -> None:
        self.wakes += 1
        matters = self._matters()
        if self._socket is not None:
            self._reactor.change(self._socket, 0)
            self._after(SETTLE if matters else PAUSE, self._settled if matters else self._rested)

    def _settled(self) -> None:
        """Look. What the messages say until now is in what is read after them."""
        self.wakes += 1
        for _ in self._messages():
            pass
        if self._socket is not None:
            self._after(PAUSE, self._rested)
        self._look_and_tell()

    def _rested(self) -> None:
        self.wakes += 1
        self._timer = None
        if self._socket is not None:
            self._reactor.change(self._socket, READ)

    # --- what to look at ----------------------------------------------------------------------------------------

    def _look(self) -> bool:
        """Whether anything has changed."""
        self.looks += 1
        before = self.network
        try:
            self.network = self._read()
        except OSError as error:  # for want of a descriptor: what was seen last stands until the next look
            log.warning("the network cannot be looked at (%s): again in %d s", error, POLL_INTERVAL)
            self._after(POLL_INTERVAL, self._poll if self._socket is None else self._settled)
        return self.network != before

    def _look_and_tell(self) -> None:
        if self._look():
            for on_change in tuple(self._listeners):
                on_change()

    def _matters(self) -> bool:
        """Whether one of the messages that wait may be about something that is read. Too many of them are."""
        known, found = self.network.links, False
        for number, data in enumerate(self._messages()):
            found = found or number >= MAX_MESSAGES or not data or matters(netlink.messages(data), known)
        return found

    def _messages(self) -> Iterator[bytes]:
        """What waits in the socket, at most MAX_DRAIN reads; b"" if the kernel has dropped some.

        A socket that fails for good is given up, and the clock takes its place.
        """
        for _ in range(MAX_DRAIN):
            if self._socket is None:
                return
            try:
                yield self._socket.recv(netlink.READ_SIZE)
            except BlockingIOError:
                return
            except OSError as error:
                yield b""
                if error.errno != errno.ENOBUFS:
                    log.warning("rtnetlink fails (%s): the network is looked at every %d s", error, POLL_INTERVAL)
                    self._drop_socket()
                    self._after(POLL_INTERVAL, self._poll)

    def _drop_socket(self) -> None:
        if self._socket is not None:
            self._reactor.remove(self._socket)
            self._socket.close()
            self._socket = None


def matters(found: Iterable[tuple[int, bytes]], known: frozenset[int]) -> bool:
    """Whether one of these messages is about something that `read_network` reads. known: the links that it read."""
    for kind, body in found:
        if kind in ADDRESSES:
            address = netlink.parse_address(body)
            if address is None or not address.address.is_link_local or address.link in known:
                return True
        elif kind in LINKS:
            link = netlink.parse_link(body)
            if link is None or link.number in known:
                return True
        elif kind in ROUTES and netlink.route_length(body) <= 1:
            return True
    return False

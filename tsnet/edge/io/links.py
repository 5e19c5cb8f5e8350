"""The byte streams of one node: effects come in, events go out, and sockets do the work.

| effect  | what happens                                        | events                              |
|---------|-----------------------------------------------------|-------------------------------------|
| Open    | dial, proxy's CONNECT, TLS; all within `timeout`    | Opened or Closed                    |
| Data    | queued; `flush` joins and writes it                 | Full at 1 MiB, Room again below half |
| Close   | what is queued is still written, then the link ends | none                                |
| Pause   | nothing is read until `Resume`                      | none                                |
| Compute | the function runs in a worker                       | Computed                            |
| OpenUdp, Datagrams | see `udp_links`                          |                                     |
| LookUp  | the system's resolver is asked in a worker           | LookedUp                            |

One `receive` reads at most READ_SIZE of a link and about TURN_SIZE of all of them. Those that had no turn come first in
the next one, which is due at once.

A link that was aborted, or has lost its own address, is closed at once, and the kernel forgets what it has not sent: it
would otherwise go out later, beside what a newer link says. Any other closed link lingers without events for at most
LINGER seconds, until its data is written and the other end has closed too. A socket that is closed with unread bytes
resets the connection, and data that it had sent is lost.

`Channels` is the part that dialled and accepted links share; `Links` adds the dialling.

Not here: accepting (`listeners`), one connection (`channel`), the race of the hosts (`dial`).
"""

from __future__ import annotations

import functools
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tsnet.base.addresses import IPAddress, parse_address
from tsnet.base.links import (
    ADDRESS_LOST,
    Closed,
    Compute,
    Computed,
    Data,
    Datagrams,
    Event,
    Full,
    Link,
    LookedUp,
    LookUp,
    Open,
    Opened,
    OpenUdp,
    Received,
    Room,
    Tls,
)
from tsnet.base.network import Network
from tsnet.base.proxies import FORM, NO_PROXIES, Proxies, Proxy, proxy_reason
from tsnet.edge.io.channel import READ_SIZE, WRITE_LIMIT, Channel, Ended
from tsnet.edge.io.descriptors import BUDGET
from tsnet.edge.io.dial import NO_NAME_SERVER, Dial, Lookup, look_up
from tsnet.edge.io.effects import EffectPort
from tsnet.edge.io.preconnect import Preconnect, Preconnects
from tsnet.edge.io.proxy import connect_request
from tsnet.edge.io.reactor import READ, WRITE, Reactor, Timer
from tsnet.edge.io.udp import UdpSockets
from tsnet.edge.io.udp_links import UdpLinks
from tsnet.edge.io.workers import Workers

if TYPE_CHECKING:
    import ssl

    from tsnet.edge.io.tls import TlsSession

LINGER = 2.0

TURN_SIZE = 1 << 20
"""Bytes that one turn reads of all links. A step of a TLS handshake takes longer, and counts as HANDSHAKE_SIZE."""

HANDSHAKE_SIZE = 64 * 1024


class Channels(EffectPort):
    """The connections of links, by link: how they are read, written and ended."""

    def __init__(self, reactor: Reactor, on_ready: Callable[[], None]) -> None:
        self._reactor = reactor
        self._on_ready = on_ready
        self._workers = Workers(reactor)
        self._buffer = memoryview(bytearray(READ_SIZE))
        self._channels: dict[Link, Channel] = {}
        self._limits: dict[Link, Timer] = {}
        """Until when a link must be open."""
        self._lingering: dict[Channel, Timer] = {}
        self._events: list[Event] = []
        self._readable: dict[Channel, None] = {}
        self._unflushed: dict[Channel, None] = {}

    # --- the port -----------------------------------------------------------------------------------------------

    def receive(self) -> list[Event]:
        room = TURN_SIZE
        for channel in list(self._readable):
            if room <= 0:
                break
            del self._readable[channel]
            room -= self._receive(channel)
        events, self._events = self._events, []
        if self._readable:
            self._reactor.call_soon(self._announce)
        return events

    def network_changed(self, network: Network) -> None:
        for link, channel in tuple(self._channels.items()):
            address = own_address(channel.socket)
            if address is not None and network.lacks(address):
                channel.abort()
                self._end(link, ADDRESS_LOST)

    def flush(self) -> None:
        unflushed, self._unflushed = self._unflushed, {}
        for channel in unflushed:
            self._flush(channel)

    def close(self) -> None:
        self._workers.close()
        for timer in (*self._limits.values(), *self._lingering.values()):
            timer.cancel()
        for channel in (*self._channels.values(), *self._lingering):
            if not self._reactor.is_closed:  # else the world was abandoned: the connection is the parent process's
                channel.flush()
            self._drop(channel)
        for table in (self._channels, self._limits, self._lingering, self._readable, self._unflushed):
            table.clear()
        self._events.clear()

    # --- what the kinds of port differ in -----------------------------------------------------------------------

    def _opened(self, channel: Channel) -> None:
        """Queue the event that tells that the link is open."""

    def _compute(self, effect: Compute) -> None:
        job = functools.partial(effect.function, effect.argument)
        self._workers.run_steps(job, lambda value: self._tell(Computed(effect.link, value)))

    # --- beginning ----------------------------------------------------------------------------------------------

    def _adopt(self, link: Link, sock: socket.socket, **steps: Any) -> None:
        """Take a connected socket in as this link."""
        try:
            channel = Channel(link, sock, self._buffer, **steps)
        except Ended as ended:
            sock.close()
            self._end(link, str(ended))
            return
        self._channels[link] = channel
        self._reactor.add(sock, READ, functools.partial(self._on_event, channel))
        self._flush(channel)
        if channel.is_open:
            self._set_open(channel)

    def _limit(self, link: Link, seconds: float) -> None:
        when = self._reactor.clock() + seconds
        self._limits[link] = self._reactor.call_at(when, lambda: self._end(link, "timeout"))

    def _set_open(self, channel: Channel) -> None:
        timer = self._limits.pop(channel.link, None)
        if timer is not None:
            timer.cancel()
        self._opened(channel)

    # --- in -----------------------------------------------------------------------------------------------------

    def _on_event(self, channel: Channel, mask: int) -> None:
        if mask & WRITE:
            self._flush(channel)
        if mask & READ:
            if channel in self._lingering:
                self._discard(channel)
            else:
                self._readable[channel] = None
                self._on_ready()

    def _set_paused(self, link: Link, *, paused: bool) -> None:
        channel = self._channels.get(link)
        if channel is None or channel.is_paused == paused:
            return
        channel.is_paused = paused
        self._readable.pop(channel, None)
        self._watch(channel)
        if channel.has_more:
            self._read_soon(channel)

    def _read_soon(self, channel: Channel) -> None:
        """It holds bytes of which the socket knows nothing any more."""
        if not channel.is_paused:
            self._readable[channel] = None
            self._reactor.call_soon(self._announce)

    def _watch(self, channel: Channel) -> None:
        """Wait for what the channel can do now."""
        interest = 0 if channel.is_paused else READ
        self._reactor.change(channel.socket, interest | WRITE if channel.wants_to_write else interest)

    def _receive(self, channel: Channel) -> int:
        """Read the channel once; returns what that counts for."""
        link, was_open = channel.link, channel.is_open
        if self._channels.get(link) is not channel:
            return 0
        try:
            data = channel.receive()
        except Ended as ended:
            self._end(link, str(ended))
            return HANDSHAKE_SIZE
        if channel.is_open:
            if not was_open:
                self._set_open(channel)
            if data:
                self._events.append(Received(link, data))
        if channel.session is not None:
            self._flush(channel)  # the handshake's next message, an answer to a key update
        if channel.has_ended:
            self._end(link, "eof")
        elif channel.has_more:
            self._read_soon(channel)
        return len(data) if was_open and not channel.has_more else HANDSHAKE_SIZE

    def _tell(self, event: Event) -> None:
        """Keep an event for `receive`. Only `wait` calls on_ready, never `apply` or `flush`."""
        self._events.append(event)
        self._reactor.call_soon(self._announce)

    def _announce(self) -> None:
        if self._events or self._readable:
            self._on_ready()

    # --- out ----------------------------------------------------------------------------------------------------

    def _write(self, effect: Data) -> None:
        channel = self._channels.get(effect.link)
        if channel is None:
            return  # its Closed is on the way
        channel.write(effect.data)
        self._unflushed[channel] = None
        if channel.pending >= WRITE_LIMIT and not channel.is_full:
            channel.is_full = True
            self._tell(Full(effect.link))

    def _flush(self, channel: Channel) -> None:
        wanted = channel.wants_to_write
        channel.flush()
        if channel.wants_to_write != wanted:
            self._watch(channel)
        if channel in self._lingering:
            if not channel.pending:
                self._say_end(channel)
        elif channel.is_full and channel.pending < WRITE_LIMIT // 2:
            channel.is_full = False
            self._tell(Room(channel.link))

    # --- ending -------------------------------------------------------------------------------------------------

    def _end(self, link: Link, reason: str) -> None:
        """The network has ended the link: tell the machine."""
        timer = self._limits.pop(link, None)
        if timer is not None:
            timer.cancel()
        channel = self._channels.pop(link, None)
        if channel is not None:
            self._linger(channel)
        self._tell(Closed(link, reason))

    def _close(self, link: Link) -> None:
        """The machine has ended the link: its events so far, but for `Computed`, are dropped."""
        timer = self._limits.pop(link, None)
        if timer is not None:
            timer.cancel()
        channel = self._channels.pop(link, None)
        self._events = [event for event in self._events if event.link != link or isinstance(event, Computed)]
        if channel is not None:
            self._linger(channel)

    def _abort(self, link: Link) -> None:
        channel = self._channels.get(link)
        if channel is not None:
            channel.abort()

    def _linger(self, channel: Channel) -> None:
        self._readable.pop(channel, None)
        self._unflushed.pop(channel, None)
        if channel.is_aborted or not channel.is_open:
            self._drop(channel)
            return
        timer = self._reactor.call_at(self._reactor.clock() + LINGER, lambda: self._forget(channel))
        self._lingering[channel] = timer
        if channel.is_paused:
            channel.is_paused = False
            self._watch(channel)
        self._flush(channel)

    def _say_end(self, channel: Channel) -> None:
        channel.end()
        if channel.has_ended:
            self._forget(channel)

    def _discard(self, channel: Channel) -> None:
        try:
            channel.receive()
        except Ended:
            self._forget(channel)

    def _forget(self, channel: Channel) -> None:
        timer = self._lingering.pop(channel, None)
        if timer is not None:
            timer.cancel()
        self._drop(channel)

    def _drop(self, channel: Channel) -> None:
        self._reactor.remove(channel.socket)
        channel.socket.close()


class Links(Channels):
    """The `LinkPort` of the system. What goes wrong before a link's proxy has let it through is told as the proxy's."""

    def __init__(
        self,
        reactor: Reactor,
        on_ready: Callable[[], None],
        wall: Callable[[], float],
        *,
        ssl_context: ssl.SSLContext | None = None,
        proxies: Proxies = NO_PROXIES,
        lookup: Lookup | None = None,
        preconnects: Preconnects | None = None,
    ) -> None:
        super().__init__(reactor, on_ready)
        self._wall = wall
        self._roots = ssl_context
        self._proxies = proxies
        self._proxy_of: dict[Link, Proxy] = {}
        self._lookup = lookup
        self._preconnects = preconnects
        self._dials: dict[Link, Dial | Preconnect] = {}
        self.udp: UdpLinks = UdpLinks(self._bind, on_ready, budget=BUDGET)

    def close(self) -> None:
        self.udp.close()
        for dial in self._dials.values():
            dial.cancel()
        self._dials.clear()
        self._proxy_of.clear()
        super().close()

    def receive(self) -> list[Event]:
        events = super().receive()
        return events + self.udp.receive() if self.udp else events

    def network_changed(self, network: Network) -> None:
        super().network_changed(network)
        for link in self.udp.without_address(network):
            self.udp.close_link(link)
            self._tell(Closed(link, ADDRESS_LOST))

    def _bind(self, port: int, on_ready: Callable[[], None], host: str) -> UdpSockets:
        return UdpSockets(self._reactor, port, on_ready, host=host, gso=False, gro=False)

    def _open_udp(self, effect: OpenUdp) -> None:
        self._tell(self.udp.open(effect))

    def _send_datagrams(self, effect: Datagrams) -> None:
        self.udp.send(effect)

    def _look_up(self, effect: LookUp) -> None:
        def done(result: list[str] | Exception) -> None:
            texts = [] if isinstance(result, Exception) else result
            addresses = (address for text in texts if (address := parse_address(text)) is not None)
            self._tell(LookedUp(effect.link, tuple(addresses)))

        self._workers.run(functools.partial(self._lookup or look_up, effect.host), done)

    def _open(self, effect: Open) -> None:
        self._limit(effect.link, effect.timeout)
        hosts, port = effect.hosts, effect.port
        proxy = self._proxies.proxy_for(_name_of(effect), port, secure=effect.tls is not None)
        if proxy is not None and not effect.direct:
            self._proxy_of[effect.link] = proxy
            if not proxy.is_usable:
                self._end(effect.link, FORM)
                return
            hosts, port = (proxy.host,), proxy.port

        def done(result: socket.socket | str) -> None:
            del self._dials[effect.link]
            if isinstance(result, str):
                self._end(effect.link, result)
            else:
                self._connected(effect, result)

        early = None if self._preconnects is None else self._preconnects.claim(hosts, port)
        if early is not None:
            self._dials[effect.link] = early
            early.claim(done)
        else:
            self._dials[effect.link] = Dial(self._reactor, self._workers, hosts, port, done, lookup=self._lookup)

    def _connected(self, effect: Open, sock: socket.socket) -> None:
        start_tls = None if effect.tls is None else functools.partial(self._start_tls, effect.tls)
        proxy = self._proxy_of.get(effect.link)
        request = None if proxy is None else connect_request(proxy, _name_of(effect), effect.port)
        self._adopt(effect.link, sock, start_tls=start_tls, proxy_request=request)

    def _start_tls(self, tls: Tls) -> TlsSession:
        from tsnet.edge.io.tls import connect

        return connect(tls, self._roots, self._wall)

    def _opened(self, channel: Channel) -> None:
        self._proxy_of.pop(channel.link, None)
        self._tell(Opened(channel.link, b"" if channel.session is None else channel.session.server_key))

    def _end(self, link: Link, reason: str) -> None:
        if reason == "timeout" and link in self._dials and self._dials[link].awaits_names:
            reason = NO_NAME_SERVER
        self._cancel_dial(link)
        proxy, channel = self._proxy_of.pop(link, None), self._channels.get(link)
        if proxy is not None and (channel is None or channel.awaits_proxy):
            reason = proxy_reason(proxy, reason)
        super()._end(link, reason)

    def _close(self, link: Link) -> None:
        self._cancel_dial(link)
        self._proxy_of.pop(link, None)
        self.udp.close_link(link)
        super()._close(link)

    def _cancel_dial(self, link: Link) -> None:
        dial = self._dials.pop(link, None)
        if dial is not None:
            dial.cancel()


def own_address(sock: socket.socket) -> IPAddress | None:
    """The address that a socket is bound to; None if it is bound to none, or closed."""
    try:
        address = parse_address(sock.getsockname()[0].partition("%")[0])
    except OSError:
        return None
    return None if address is None or address.is_unspecified else address


def _name_of(effect: Open) -> str:
    """The host as a proxy is told of it: by its name if it has one, because a proxy looks it up itself."""
    return effect.tls.server_name if effect.tls is not None else effect.hosts[0]

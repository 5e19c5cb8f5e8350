"""Simulated byte streams: dialled and accepted links, joined by queues with latency.

Bytes are lost only by a listener's `cut`, and while a listener `is_silent`.

    SimulatedLinks ── Open ──(latency)──> SimulatedListener: Accepted ──(latency)──> Opened
                   ── Data, flush ──(latency)──> Received at the other end

TLS and proxies are not simulated: a link with `tls` opens one round trip later, and every certificate is good.

While its road lets nothing pass, what a link has to say waits and is tried again, as TCP retransmits: after RETRY
seconds, then twice as long each time, up to MAX_RETRY. After GIVEN_UP_AFTER its system gives up. As late as that, the
system of an end finds out that the other one has gone, too, if no word of it passes: systems ask each other.

Not here: datagrams (`wire`), who is where (`simulated`), roads with routers on them (`roads`).
"""

from __future__ import annotations

import functools
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from tsnet.base.addresses import IPAddress, parse_address
from tsnet.base.links import (
    ADDRESS_LOST,
    Accepted,
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
)
from tsnet.base.network import Network
from tsnet.edge.io.channel import WRITE_LIMIT
from tsnet.edge.io.effects import EffectPort
from tsnet.edge.io.link_limits import LinkLimits
from tsnet.edge.io.udp_links import UdpLinks
from tsnet.testing.timeline import Timeline
from tsnet.testing.wire import SimulatedUdp, Wire

RETRY, MAX_RETRY = 0.3, 60.0
GIVEN_UP_AFTER = 900.0


class StreamMachine(Protocol):
    """What links and listeners ask of the machine that they belong to."""

    name: str
    link_numbers: Iterator[int]
    """For the links that its listeners accept: one server may have several, at one port number."""

    def owns(self, address: str) -> bool:
        """Whether the machine has that address now, on a network that is plugged in."""

    def open_udp(self, port: int, on_ready: Callable[[], None], *, host: str = "") -> SimulatedUdp: ...

    def find_road(self, hosts: Sequence[str], port: int) -> Road | str:
        """The way to a listener on the first of the hosts that has one, or the reason why there is none."""

    def forget_listener(self, listener: SimulatedListener) -> None: ...

    def look_up(self, host: str) -> tuple[IPAddress, ...]:
        """The addresses of the machine of that name; none if there is none."""


class Road(Protocol):
    """The way from a dialler to a listener. own, seen: the dialler's address as it knows it, and as the listener does;
    own is "" on the way to itself."""

    listener: SimulatedListener
    own: str
    seen: str

    @property
    def passes(self) -> bool:
        """Whether what is sent now arrives."""

    def delay(self, size: int, *, outward: bool) -> float:
        """Seconds until that many bytes are at the other end. outward: from the dialler."""


class FlatRoad:
    """A road on the wire between machines, on which everything passes."""

    passes = True

    def __init__(self, listener: SimulatedListener, own: str, seen: str, wire: Wire) -> None:
        self.listener: SimulatedListener = listener
        self.own: str = own
        self.seen: str = seen
        self._wire = wire

    def delay(self, size: int, *, outward: bool) -> float:
        return self._wire.latency


class End:
    """One end of a connection. `other` is None once that end is gone. source: its own address, if it has dialled
    another machine."""

    __slots__ = (
        "free_at",
        "give_up_at",
        "held",
        "is_full",
        "is_outward",
        "is_paused",
        "link",
        "other",
        "pending",
        "port",
        "queued",
        "road",
        "source",
        "stuck",
    )

    def __init__(self, link: Link, port: SimulatedPort) -> None:
        self.link: Link = link
        self.port: SimulatedPort = port
        self.source: str = ""
        self.other: End | None = None
        self.queued: list[bytes] = []
        self.pending: int = 0
        """Bytes that were handed over and have not arrived."""
        self.is_full: bool = False
        self.is_paused: bool = False
        self.held: list[Callable[[], None]] = []
        """What has arrived while the link was paused."""
        self.road: Road | None = None
        self.is_outward: bool = True
        self.free_at: float = 0.0
        """When all that was sent before has arrived."""
        self.give_up_at: float = math.inf
        """When a dial is over that has not been answered."""
        self.stuck: deque[Callable[[], None]] = deque()
        """What did not pass, in order."""

    @property
    def is_silenced(self) -> bool:
        """Whether nothing passes between the two ends: the listener is silent, or the address of one is gone."""
        ends = (self,) if self.other is None else (self, self.other)
        return any(end.port.is_silent or not end.has_its_address for end in ends)

    @property
    def has_its_address(self) -> bool:
        return not self.source or self.port.machine.owns(self.source)


class SimulatedPort(EffectPort):
    """The part that dialled and accepted links share."""

    def __init__(self, machine: StreamMachine, on_ready: Callable[[], None], wire: Wire, timeline: Timeline) -> None:
        self.machine = machine
        self.ends: dict[Link, End] = {}
        self.is_open: bool = True
        self.is_silent = False
        self._on_ready = on_ready
        self._wire = wire
        self._timeline = timeline
        self._events: list[Event] = []

    def receive(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    def network_changed(self, network: Network) -> None:
        for end in tuple(self.ends.values()):
            address = parse_address(end.source)
            if address is not None and network.lacks(address):
                self.end(end, ADDRESS_LOST)

    def flush(self) -> None:
        for end in self.ends.values():
            self._flush(end)

    def close(self) -> None:
        for link in tuple(self.ends):
            self._close(link)
        self._events.clear()
        self.is_open = False

    def tell(self, event: Event, *more: Any) -> None:
        """Record an event of this port's machine, and queue it for `receive`."""
        if self.is_open:
            self._timeline.record("link", self.machine.name, type(event).__name__, event.link, *more)
            self._events.append(event)
            self._on_ready()

    def later(self, end: End, function: Callable[[], None], rounds: float = 1.0, size: int = 0) -> None:
        """Call the function when `size` bytes from this end have gone to the other one, that many times and back."""
        now, road = self._timeline.now, end.road
        if road is None:
            self._timeline.at(now + rounds * self._wire.latency, function)
            return
        at = end.free_at = max(end.free_at, now + rounds * road.delay(size, outward=end.is_outward))
        self._timeline.at(at, functools.partial(self._pass, end, road, function))

    def _pass(self, end: End, road: Road, function: Callable[[], None]) -> None:
        """Call the function if the road lets it pass; else later, in order."""
        if not end.stuck and road.passes:
            function()
            return
        end.stuck.append(function)
        if len(end.stuck) == 1:
            now = self._timeline.now
            if end.give_up_at < math.inf:
                self._timeline.at(end.give_up_at, lambda: self._give_up(end))
            self._timeline.at(now + RETRY, lambda: self._try_again(end, road, RETRY, now + GIVEN_UP_AFTER))

    def _try_again(self, end: End, road: Road, waited: float, until: float) -> None:
        now = self._timeline.now
        if road.passes:
            stuck, end.stuck = end.stuck, deque()
            for function in stuck:
                function()
        elif now >= until:
            end.stuck.clear()
            self.end(end, "timeout")
            if end.other is not None:
                end.other.port.end(end.other, "timeout")
        elif end.stuck:
            wait = min(2 * waited, MAX_RETRY)
            self._timeline.at(now + wait, lambda: self._try_again(end, road, wait, until))

    def _give_up(self, end: End) -> None:
        """The time for a dial is over."""
        if end.other is None:
            end.stuck.clear()
            self.end(end, "timeout")

    def _write(self, effect: Data) -> None:
        end = self.ends.get(effect.link)
        if end is None:
            return
        end.queued.append(effect.data)
        end.pending += len(effect.data)
        if end.pending >= WRITE_LIMIT and not end.is_full:
            end.is_full = True
            self._timeline.call_soon(lambda: self._tell_if_there(end, Full(end.link)))

    def _flush(self, end: End) -> None:
        other = end.other
        if not end.queued or other is None:
            return
        data = b"".join(end.queued)
        end.queued.clear()
        self.later(end, lambda: self._arrive(end, other, data), size=len(data))

    def _arrive(self, end: End, other: End, data: bytes) -> None:
        if end.is_silenced:
            return  # nobody acknowledges the data: it stays pending
        if other.is_paused or other.held:
            other.held.append(lambda: self._arrive(end, other, data))
            return
        end.pending -= len(data)
        if other.port.ends.get(other.link) is other:
            other.port.tell(Received(other.link, data), data)
        if end.is_full and end.pending < WRITE_LIMIT // 2:
            end.is_full = False
            self._tell_if_there(end, Room(end.link))

    def _set_paused(self, link: Link, *, paused: bool) -> None:
        end = self.ends.get(link)
        if end is not None:
            end.is_paused = paused
            self._timeline.call_soon(lambda: self._release(end))

    def _release(self, end: End) -> None:
        """Let arrive what has come meanwhile, if the link is not paused."""
        if not end.is_paused:
            held, end.held = end.held, []
            for arrive in held:
                arrive()

    def _tell_if_there(self, end: End, event: Event) -> None:
        if self.ends.get(end.link) is end:
            self.tell(event)

    def _abort(self, link: Link) -> None:
        if link in self.ends:
            self.ends[link].queued.clear()

    def _close(self, link: Link) -> None:
        """Close the link: data that was handed over still arrives, and then the end."""
        end = self.ends.pop(link, None)
        self._events = [event for event in self._events if event.link != link or isinstance(event, Computed)]
        if end is not None:
            self._flush(end)
            other = end.other
            if other is not None and not end.is_silenced:
                self.later(end, lambda: other.port.end(other, "eof"))
            self._vanish(end)

    def end(self, end: End, reason: str) -> None:
        """The network has ended the link."""
        if (end.is_paused or end.held) and reason == "eof":
            end.held.append(lambda: self.end(end, reason))
        elif self.ends.get(end.link) is end:
            del self.ends[end.link]
            self.tell(Closed(end.link, reason), reason)
            self._vanish(end)

    def _vanish(self, end: End) -> None:
        """The end is gone. If nothing passes, the other one hears nothing of it."""
        other, road = end.other, end.road
        if other is not None and road is not None and not road.passes:
            self._timeline.at(self._timeline.now + GIVEN_UP_AFTER, lambda: other.port.end(other, "timeout"))

    def _compute(self, effect: Compute) -> None:
        try:
            value = effect.run()
        except Exception as error:
            value = error
        self._timeline.call_soon(lambda: self.tell(Computed(effect.link, value)))


class SimulatedLinks(SimulatedPort):
    """The `LinkPort` of a node."""

    def __init__(self, machine: StreamMachine, on_ready: Callable[[], None], wire: Wire, timeline: Timeline) -> None:
        super().__init__(machine, on_ready, wire, timeline)
        self.udp: UdpLinks = UdpLinks(self._bind, on_ready)

    def receive(self) -> list[Event]:
        return super().receive() + self.udp.receive()

    def network_changed(self, network: Network) -> None:
        super().network_changed(network)
        for link in self.udp.without_address(network):
            self.udp.close_link(link)
            self.tell(Closed(link, ADDRESS_LOST))

    def close(self) -> None:
        self.udp.close()
        super().close()

    def _bind(self, port: int, on_ready: Callable[[], None], host: str) -> SimulatedUdp:
        return self.machine.open_udp(port, on_ready, host=host)

    def _open_udp(self, effect: OpenUdp) -> None:
        event = self.udp.open(effect)
        self._timeline.record("link", self.machine.name, type(event).__name__, event.link)
        self._events.append(event)
        self._timeline.call_soon(self._on_ready)

    def _send_datagrams(self, effect: Datagrams) -> None:
        self.udp.send(effect)

    def _look_up(self, effect: LookUp) -> None:
        addresses = self.machine.look_up(effect.host)
        event = LookedUp(effect.link, addresses)
        self._timeline.at(self._timeline.now + 2 * self._wire.latency, lambda: self.tell(event, *map(str, addresses)))

    def _close(self, link: Link) -> None:
        self.udp.close_link(link)
        super()._close(link)

    def _open(self, effect: Open) -> None:
        end = self.ends[effect.link] = End(effect.link, self)
        road = self.machine.find_road(effect.hosts, effect.port)
        give_up_at = self._timeline.now + effect.timeout
        if isinstance(road, str):
            self._end_without_road(end, road, give_up_at)
            return
        end.road, end.source, end.give_up_at = road, road.own, give_up_at
        rounds = 1.0 if effect.tls is None else 3.0
        self.later(end, lambda: self._arrive_at(road.listener, end, give_up_at), rounds)

    def _end_without_road(self, end: End, reason: str, give_up_at: float) -> None:
        if reason == "timeout":
            self._timeline.at(give_up_at, lambda: self.end(end, reason))
        else:
            self.later(end, lambda: self.end(end, reason), 2.0 if reason == "refused" else 0.0)

    def _arrive_at(self, listener: SimulatedListener, end: End, give_up_at: float) -> None:
        if self.ends.get(end.link) is not end:
            return  # closed meanwhile
        if listener.is_silent:
            self._timeline.at(give_up_at, lambda: self.end(end, "timeout"))
            return
        if not listener.takes:
            self.later(end, lambda: self.end(end, "refused"))
            return
        listener.accept(end)
        self.later(end, lambda: self._opened(end))

    def _opened(self, end: End) -> None:
        if end.other is not None:
            self._tell_if_there(end, Opened(end.link))


class SimulatedListener(SimulatedPort):
    """The `ListenPort` of a machine. `cut` does to its links what a restart does.

    is_silent: it behaves as if its machine had lost power. Data to it or from it is lost, dials run into their timeout,
    and no end of a link learns that the other has closed. After setting it back, call `cut`: the links are gone.
    """

    def __init__(
        self,
        machine: StreamMachine,
        address: tuple[str, int],
        on_ready: Callable[[], None],
        wire: Wire,
        timeline: Timeline,
        limits: LinkLimits | None = None,
    ) -> None:
        super().__init__(machine, on_ready, wire, timeline)
        self.address = address
        self._link_limits = LinkLimits() if limits is None else limits
        self._down_until = 0.0

    @property
    def takes(self) -> bool:
        return self.is_open and self._timeline.now >= self._down_until

    def accept(self, dialled: End) -> None:
        assert dialled.road is not None
        link = Link("listen", self.address[1], next(self.machine.link_numbers))
        road, source = dialled.road, dialled.road.seen
        if self._link_limits.enter(link, source):
            self.later(dialled, lambda: dialled.port.end(dialled, "eof"))
            return
        accepted = self.ends[link] = End(link, self)
        accepted.road, accepted.is_outward = road, False
        accepted.other, dialled.other = dialled, accepted
        self.tell(Accepted(link, (source, 1024 + link.generation % 60_000)))

    def end(self, end: End, reason: str) -> None:
        if self.ends.get(end.link) is end:
            self._link_limits.leave(end.link)
        super().end(end, reason)

    def cut(self, down: float = 0.0) -> int:
        """Reset every link at both ends, lose what is under way, and refuse new links for `down` seconds.

        Returns how many links were cut.
        """
        self._down_until = self._timeline.now + down
        ends = list(self.ends.values())
        for end in ends:
            self._timeline.record("cut", self.machine.name, end.link)
            other = end.other
            self.end(end, "reset")
            if other is not None:
                other.port.end(other, "reset")
        return len(ends)

    def close(self) -> None:
        super().close()
        self.machine.forget_listener(self)

    def _close(self, link: Link) -> None:
        super()._close(link)
        self._link_limits.leave(link)

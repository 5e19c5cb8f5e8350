"""Links and listeners on one reactor, driven until an event has come: what the tests of the byte streams share."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from tsnet.base.links import Close, Compute, Data, Event, Link, Open, Received, Tls
from tsnet.base.steps import Steps
from tsnet.edge.io.links import Channels, Links
from tsnet.edge.io.listeners import LinkListener
from tsnet.edge.io.reactor import Reactor

PATIENCE = 5.0

P = TypeVar("P", bound=Channels)


LINK = Link("test", "", 1)


class Streams:
    """Every port opened here, with the events that each has given so far."""

    def __init__(self) -> None:
        self.skew = 0.0
        self.reactor = Reactor(lambda: time.monotonic() + self.skew)
        self.ports: list[Channels] = []
        self.events: dict[Channels, list[Event]] = {}
        self.ready = 0

    def links(self, **options: Any) -> Links:
        return self._keep(Links(self.reactor, self._on_ready, time.time, **options))

    def listener(
        self, context: ssl.SSLContext | None = None, *, host: str = "127.0.0.1", **options: Any
    ) -> LinkListener:
        return self._keep(LinkListener(self.reactor, host, 0, self._on_ready, ssl_context=context, **options))

    def _keep(self, port: P) -> P:
        self.ports.append(port)
        self.events[port] = []
        return port

    def _on_ready(self) -> None:
        self.ready += 1

    # --- driving ------------------------------------------------------------------------------------------------

    def turn(self, until: float | None = None) -> None:
        """What a pump does once: flush, wait, take the events."""
        for port in self.ports:
            port.flush()
        self.reactor.wait(time.monotonic() + self.skew if until is None else until)
        for port in self.ports:
            self.events[port] += port.receive()

    def until(self, done: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE
        while not done():
            assert time.monotonic() < end, f"nothing more than {list(self.events.values())}"
            self.turn(end + self.skew)

    def event(self, port: Channels, kind: type[Any], link: Link | None = None) -> Any:
        """Wait for the first event of that kind, for that link."""
        self.until(lambda: list(self.of(port, kind, link)))
        return next(iter(self.of(port, kind, link)))

    def of(self, port: Channels, kind: type[Any], link: Link | None = None) -> Iterable[Any]:
        return (event for event in self.events[port] if isinstance(event, kind) and link in (None, event.link))

    def bytes_of(self, port: Channels, link: Link) -> bytes:
        return b"".join(event.data for event in self.of(port, Received, link))

    # --- saying -------------------------------------------------------------------------------------------------

    def open(
        self,
        port: Channels,
        to: LinkListener | tuple[str, int],
        tls: Tls | None = None,
        *,
        link: Link = LINK,
        hosts: tuple[str, ...] = (),
        timeout: float = 10.0,
    ) -> Link:
        host, number = to if isinstance(to, tuple) else to.address
        port.apply(Open(link, hosts or (host,), number, tls, timeout))
        return link

    def say(self, port: Channels, link: Link, data: bytes, *, then_close: bool = False) -> None:
        port.apply(Data(link, data))
        if then_close:
            port.apply(Close(link))

    def compute(self, port: Channels, link: Link, function: Callable[[Any], Steps[Any]], argument: Any) -> None:
        port.apply(Compute(link, function, argument))

    def close(self) -> None:
        for port in self.ports:
            port.close()
        self.reactor.close()

"""The outside world of a node: clocks, entropy, UDP sockets, byte streams, name lookup, interfaces.

    Pump ── open_udp ──────> UdpPort     receive / send          one number, v4 and v6
         ── open_links ────> LinkPort    apply / receive / flush TCP, TLS, lookups, Compute
         ── listen ────────> ListenPort  the same, and Accepted
         ── wait(until) ───> blocks; runs on_ready callbacks and call_soon functions in this thread

A port reports what came and sends what it is given. `on_ready` says that `receive` has something
to return or that there is room again; a port that is not then received from says so again at the next `wait`.
Everything but `call_soon` belongs to the one thread that calls `wait`.

Not here: the real one (`tsnet.edge.io.system`) and the simulated one (`tsnet.testing.simulated`), what is sent and when
(`tsnet.engine`), the turn (`tsnet.edge.run.pump`), the threads (`tsnet.edge.run.host`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from tsnet.base.addresses import IPAddress, UdpAddress
from tsnet.base.links import Effect, Event
from tsnet.edge.io.link_limits import LinkLimits
from tsnet.edge.io.reactor import Reactor

if TYPE_CHECKING:
    import ssl

OnReady = Callable[[], None]


class UdpPort(Protocol):
    """One UDP port number on both address families."""

    @property
    def local_port(self) -> int: ...

    @property
    def has_room(self) -> bool:
        """False while a refused batch waits for the socket; on_ready follows when there is room again."""

    def receive(self) -> list[tuple[UdpAddress, list[bytes]]]:
        """Runs that have arrived, a bounded batch of them; [] when there is nothing."""

    def send(self, destination: UdpAddress, datagrams: Sequence[bytes]) -> bool:
        """Send one run. False: the socket would block, and the port has kept what is left of it for later."""

    def close(self) -> None: ...


class LinkPort(Protocol):
    """The byte streams of one node, by the effects and events of `tsnet.base.links`."""

    def apply(self, effect: Effect) -> None: ...

    def receive(self) -> list[Event]:
        """What has happened since, a bounded part of it, in order for each link."""

    def flush(self) -> None:
        """Write what `apply(Data)` has queued since the last flush, joined, once for each link. Once a turn."""

    def close(self) -> None:
        """End every link at once, after one last attempt to write. No event follows."""


class ListenPort(LinkPort, Protocol):
    """A listening address and the links it has accepted. It names them itself: `Accepted(link, remote)`."""

    @property
    def address(self) -> tuple[str, int]: ...


class World(Protocol):
    """host: the loop that runs this world's nodes, once there is one (`tsnet.edge.run.host` keeps it here)."""

    host: object

    @property
    def is_virtual(self) -> bool:
        """Whether `wait` makes the time pass instead of letting it."""

    @property
    def reactor(self) -> Reactor | None:
        """For descriptors of the application's side; None where there are none."""

    def clock(self) -> float:
        """Seconds that only grow and count suspension, from an arbitrary start."""

    def wall(self) -> float:
        """Unix time, which may jump."""

    def entropy(self, size: int) -> bytes: ...

    def open_udp(self, port: int, on_ready: OnReady) -> UdpPort:
        """Port 0 takes any free number. Raises OSError if v4 cannot be bound; v6 may be missing."""

    def open_links(
        self, on_ready: OnReady, *, ssl_context: ssl.SSLContext | None = None, proxy: str | None = None
    ) -> LinkPort:
        """proxy: "http://[user:password@]host:port", which is asked to CONNECT. ConfigError on anything else."""

    def listen(
        self,
        host: str,
        port: int,
        on_ready: OnReady,
        *,
        ssl_context: ssl.SSLContext | None = None,
        sniff_tls: bool = False,
        limits: LinkLimits | None = None,
    ) -> ListenPort:
        """With a context every link speaks TLS; with sniff_tls as well, only those whose first byte is 0x16.

        limits: counts and bounds the links; without one the listener has its own.
        Raises OSError if the address cannot be bound.
        """

    def interfaces(self) -> list[IPAddress]:
        """This machine's own addresses that another one may reach, best first; no tailnet addresses."""

    def call_soon(self, function: Callable[[], None]) -> None:
        """Run function in the thread of `wait`, which wakes. From any thread; nothing happens once closed."""

    def wait(self, until: float) -> None:
        """Block until a port is ready, a call_soon, or the clock passes `until`. It may return early."""

    def next_event(self) -> float:
        """When the world itself has something to do (a dial's timeout); inf if never. `wait` sees to it by itself:
        this is for a foreign loop that waits on `fileno`, and for the driver of a virtual clock."""

    def fileno(self) -> int:
        """Readable when `wait` would not block."""

    def close(self) -> None:
        """After its ports."""

    def abandon(self) -> None:
        """In the child of a fork, instead of `close`, and before its ports: they then close without a word, and the
        parent's go on."""

"""The outside world of a node: clocks, entropy, UDP sockets, byte streams, name lookup, interfaces, the gateway.

    Pump ── open_udp ──────> UdpPort     receive / send          one number, v4 and v6
         ── open_links ────> LinkPort    apply / receive / flush TCP, TLS, lookups, Compute
         ── listen ────────> ListenPort  the same, and Accepted
         ── watch_network ─> calls on_change; `network` says what is so now
         ── wait(until) ───> blocks; runs on_ready callbacks and call_soon functions in this thread

A port reports what came, and sends what it is given. It calls `on_ready` when `receive` has something to return, or
when there is room again. Everything but `call_soon` belongs to the one thread that calls `wait`.

Not here: the real one (`tsnet.edge.io.system`) and the simulated one (`tsnet.testing.simulated`), what is sent and when
(`tsnet.engine`), the turn (`tsnet.edge.run.pump`), the threads (`tsnet.edge.run.host`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from tsnet.base.addresses import IPAddress, UdpAddress
from tsnet.base.network import Gateway, Network
from tsnet.base.proxies import NO_PROXIES, Proxies
from tsnet.base.unsent import Unsent
from tsnet.edge.io.link_limits import LinkLimits
from tsnet.edge.io.reactor import Reactor

if TYPE_CHECKING:
    import ssl

    from tsnet.base.links import Effect, Event

OnReady = Callable[[], None]


class UdpPort(Protocol):
    """One UDP port number, on both address families or on one address."""

    @property
    def local_port(self) -> int: ...

    @property
    def has_room(self) -> bool:
        """False while a refused run waits for the socket. `on_ready` is called when there is room again."""

    def receive(self) -> list[tuple[UdpAddress, list[bytes]]]:
        """A bounded batch of the runs that have arrived; [] when there is nothing."""

    def send(self, destination: UdpAddress, datagrams: Sequence[bytes]) -> bool:
        """Send one run. Returns False if the socket would block; the port then sends what is left of the run later."""

    def take_unsent(self) -> list[Unsent]:
        """Where the system has refused to send since the last call, and what: bounded."""

    def set_dont_fragment(self, *, wanted: bool) -> bool:
        """Whether datagrams that are too large for their way are refused or lost, instead of cut up. False: this system
        cannot do so, and nothing has changed. It holds for sockets that are bound anew, too."""

    def set_offload(self, *, gso: bool, gro: bool) -> None:
        """Whether the kernel may cut up what is sent and join what arrives, where it can and the node is to use it. It
        holds for sockets that are bound anew, too."""

    def suits(self, network: Network) -> bool:
        """Whether it can send, as far as one can see: not if its sends fail, or its own address is gone."""

    def rebind(self, port: int | None = None) -> None:
        """Close the sockets and open new ones, on that number if it is still free: the same one as before, if None is
        given, and any if 0 is. What waited is dropped."""

    def close(self) -> None: ...


class LinkPort(Protocol):
    """The byte streams of one node, by the effects and events of `tsnet.base.links`."""

    def apply(self, effect: Effect) -> None: ...

    def receive(self) -> list[Event]:
        """The events since the last call, in order for each link."""

    def network_changed(self, network: Network) -> None:
        """End each link whose own address this machine has lost: nothing reaches it any more."""

    def flush(self) -> None:
        """Write what `Data` has queued since the last flush, joined for each link. To be called once a turn."""

    def close(self) -> None:
        """End every link at once, after one last attempt to write. No more events come."""


class ListenPort(LinkPort, Protocol):
    """A listening address and the links that it has accepted. It names the links itself: `Accepted(link, remote)`."""

    @property
    def address(self) -> tuple[str, int]: ...


class World(Protocol):
    """host: the loop that runs this world's nodes, once there is one (set by `tsnet.edge.run.host`)."""

    host: object

    @property
    def is_virtual(self) -> bool:
        """Whether `wait` moves a virtual clock forward instead of waiting for the real one."""

    @property
    def counts_sleep(self) -> bool:
        """Whether `clock` goes on while the machine sleeps. Where it stands still, only the wall clock tells."""

    @property
    def reactor(self) -> Reactor | None:
        """The reactor for descriptors of the application's side; None in a world without descriptors."""

    def clock(self) -> float:
        """Seconds from an arbitrary start. They only grow, and count the time that the machine sleeps if they can."""

    def wall(self) -> float:
        """Unix time in seconds, which may jump."""

    def entropy(self, size: int) -> bytes: ...

    def open_udp(self, port: int, on_ready: OnReady, *, host: str = "", gso: bool = True, gro: bool = True) -> UdpPort:
        """Port 0 takes any free number. host: the one address to bind; without it, all of v4 and v6.

        gso, gro: False does without the kernel's segmentation or joining of datagrams.

        Raises OSError if that address, or v4, cannot be bound; v6 may be missing.
        """

    def open_links(
        self, on_ready: OnReady, *, ssl_context: ssl.SSLContext | None = None, proxies: Proxies = NO_PROXIES
    ) -> LinkPort:
        """proxies: which of the links are asked of an HTTP proxy, and of which one."""

    def preconnect(self, hosts: tuple[str, ...], port: int, count: int) -> Callable[[], None]:
        """Begin so many connections, for links that will soon be opened to these hosts and this port (`preconnect`).

        Returns what gives up those that no link has taken: a loop that ends rings no timer that would.
        """

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
        """ssl_context: every link speaks TLS. sniff_tls: with a context, only links whose first byte is 0x16 do.

        limits: counts and bounds the links. Without it, the listener has limits of its own.
        Raises OSError if the address cannot be bound.
        """

    def interfaces(self) -> list[IPAddress]:
        """This machine's own addresses that another machine may reach, best first, without tailnet addresses."""

    def gateway(self, version: int = 4) -> Gateway | None:
        """The default route of that address family; None if there is none, or the system does not tell."""

    def network(self) -> Network:
        """What the last look at the network has found; empty while nobody watches."""

    def watch_network(self, on_change: OnReady) -> Callable[[], None]:
        """Look at the network now, and call `on_change` whenever it is another. Returns what ends that."""

    def call_soon(self, function: Callable[[], None]) -> None:
        """Run the function in the thread of `wait`, and wake it. From any thread; after `close` it is not run."""

    def wait(self, until: float) -> None:
        """Block until a port is ready, `call_soon` is called or the clock passes `until`. It may return early."""

    def next_event(self) -> float:
        """When the world itself has something to do (a dial's timeout); inf if never.

        `wait` takes it into account itself. A foreign loop that waits on `fileno` needs it, and so does the driver of a
        virtual clock.
        """

    def fileno(self) -> int:
        """A descriptor, readable when a port is ready or `call_soon` was called. Raises OSError if there is none."""

    def close(self) -> None:
        """Close the world, after its ports."""

    def abandon(self) -> None:
        """Give the world up in the child of a fork, instead of `close`. Its ports are closed after it.

        They then send nothing, and the parent's ports go on.
        """

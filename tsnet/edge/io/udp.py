"""One UDP port number on v4 and, where it exists, v6. It is drained in batches and sends runs.

| direction | kernel offers     | one call carries                  | us a datagram | without it |
|-----------|-------------------|-----------------------------------|---------------|------------|
| in        | UDP_GRO           | up to 64 KiB of equal datagrams   | 0.2           | 2          |
| out       | UDP_SEGMENT (GSO) | one run                           | 0.2           | 4.7        |

Both are probed when the socket opens. EIO on a send turns segmentation off for good (the network card lacks it); EINVAL
or EMSGSIZE turn it off for that host (the MTU of its path is below the segment's size).

When the socket would block, the refused run and all that is sent after it are kept in order, up to MAX_BACKLOG_BYTES. A
call may raise the ICMP error of an earlier datagram: a send is then tried once more, a receive counts it and goes on.
Don't-fragment is set on request (Linux): a datagram that is too large for the way is then refused or lost, not cut up.
What the system refuses to send is counted, and `take_unsent` tells where nothing, or nothing so large, can go.

Source: Linux udp(7); Go tailscale net/batching/conn_linux.go, net/sockopts for the sizes.
Not here: what a datagram is (`tsnet.engine.classify`), where it goes (`tsnet.disco`).
"""

from __future__ import annotations

import contextlib
import errno
import functools
import socket
import struct
import sys
from collections import Counter, deque
from collections.abc import Callable, Sequence

from tsnet.base.addresses import UdpAddress, into_runs, parse_address
from tsnet.base.network import Network
from tsnet.base.unsent import SendRefusals, Unsent
from tsnet.edge.io.descriptors import is_out
from tsnet.edge.io.reactor import READ, WRITE, Reactor, Timer

SOL_UDP = 17
UDP_SEGMENT = 103
UDP_GRO = 104
IP_MTU_DISCOVER, IPV6_MTU_DISCOVER = 10, 23
PMTUDISC_WANT, PMTUDISC_DO = 1, 2
SO_SNDBUFFORCE = 32
SO_RCVBUFFORCE = 33

BUFFER_SIZE = 7 << 20
MAX_DATAGRAM = 65_535
MAX_READS = 64
"""How many calls one `receive` makes. Each yields a datagram, or those that GRO has joined."""
LONELY, TRUSTED = 2, 16
"""After LONELY datagrams that came alone, TRUSTED more are read without a look for another, which costs a call."""
MAX_READ_BYTES = 1 << 20
"""How much one `receive` takes, up to the call that passes it, so that a flood does not delay replies."""
MAX_BACKLOG_BYTES = 4 << 20
MAX_PLAIN_HOSTS = 64
SAME_NUMBER_TRIES = 8
AGAIN_AFTER = 1.0
"""Seconds after which a port is bound again that could not be for want of a descriptor."""

NO_WAY = frozenset((errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.ENETDOWN, errno.ENODEV))

Runs = list[tuple[UdpAddress, list[bytes]]]
SocketType = type[socket.socket]


class Half:
    """One socket of one address family."""

    __slots__ = (
        "_ancillary_size",
        "_backlog_size",
        "_buffer",
        "_dropped",
        "_lone",
        "_on_ready",
        "_plain_hosts",
        "_reactor",
        "_refusals",
        "_socket",
        "_source",
        "_view",
        "backlog",
        "gso",
        "is_failing",
        "readable",
    )

    def __init__(
        self,
        sock: socket.socket,
        reactor: Reactor,
        on_ready: Callable[[], None],
        dropped: Counter[str],
        refusals: SendRefusals,
        *,
        gso: bool,
        gro: bool,
    ) -> None:
        self._socket = sock
        self._reactor = reactor
        self._on_ready = on_ready
        self._dropped, self._refusals = dropped, refusals
        self.backlog: deque[tuple[UdpAddress, Sequence[bytes]]] = deque()
        """What waits for the socket."""
        self._backlog_size = 0
        self._plain_hosts: set[str] = set()
        self._buffer = [bytearray(MAX_DATAGRAM)]
        self._view = memoryview(self._buffer[0])
        self._ancillary_size = 0
        self.gso: bool = False
        self.set_offload(gso=gso, gro=gro)
        self._source: tuple[tuple[str, int], UdpAddress] = ("", 0), UdpAddress("", 0)
        """Where the last datagram came from, as the system says it and as we do."""
        self._lone = 0
        """How many datagrams have come alone, one after the other."""
        self.readable: bool = False
        self.is_failing: bool = False
        """Whether a send has failed for want of a way or of an address."""
        reactor.add(sock, READ, self._on_event)

    def close(self) -> None:
        self._reactor.remove(self._socket)
        self._socket.close()
        for _, datagrams in self.backlog:
            self._dropped["closed"] += len(datagrams)
        self.backlog.clear()

    def set_offload(self, *, gso: bool, gro: bool) -> None:
        """What has arrived already may still be joined."""
        if gro:
            self._ancillary_size = socket.CMSG_SPACE(4) if try_option(self._socket, SOL_UDP, UDP_GRO, 1) else 0
        elif self._ancillary_size:
            try_option(self._socket, SOL_UDP, UDP_GRO, 0)
        self.gso = gso and try_option(self._socket, SOL_UDP, UDP_SEGMENT, 0)

    def set_dont_fragment(self, *, wanted: bool) -> bool:
        """Whether that could be done."""
        is_v4 = self._socket.family == socket.AF_INET
        level, option = (socket.IPPROTO_IP, IP_MTU_DISCOVER) if is_v4 else (socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER)
        return try_option(self._socket, level, option, PMTUDISC_DO if wanted else PMTUDISC_WANT)

    # --- in -----------------------------------------------------------------------------------------------------

    def receive(self, runs: Runs) -> None:
        """Append what has arrived. What GRO joined is one run; single datagrams of one source are made into runs."""
        read, view, buffer, ancillary_size = self._socket.recvmsg_into, self._view, self._buffer, self._ancillary_size
        source: tuple[str, int] | None = None
        singles: list[bytes] = []
        taken = 0
        for number in range(MAX_READS):
            try:
                size, ancillary, _, address = read(buffer, ancillary_size)
            except BlockingIOError:
                self.readable = False
                self._lone = self._lone + 1 if number == 1 else 0
                break
            except OSError as error:
                self._dropped[f"receive: {error_name(error)}"] += 1
                continue
            data = bytes(view[:size])
            segment = segment_size(ancillary) if ancillary else size
            if address != source or segment < size:
                if source is not None:
                    runs.extend(into_runs(self._as_address(source), singles))
                source, singles = address, []
            if segment < size:
                runs.append((self._as_address(address), [data[at : at + segment] for at in range(0, size, segment)]))
                source = None
            else:
                singles.append(data)
            taken += size
            if taken >= MAX_READ_BYTES:
                break
            if self._lone >= LONELY and not number and segment == size:  # the selector tells if there are more
                self._lone = self._lone + 1 if self._lone < LONELY + TRUSTED else 0
                self.readable = False
                break
        if source is not None:
            runs.extend(into_runs(self._as_address(source), singles))

    def _as_address(self, source: tuple[str, int]) -> UdpAddress:
        if source != self._source[0]:  # most often it is the last one
            self._source = source, as_address(source)
        return self._source[1]

    # --- out ----------------------------------------------------------------------------------------------------

    def send(self, destination: UdpAddress, datagrams: Sequence[bytes]) -> bool:
        if not self.backlog:
            datagrams = self._write(destination, datagrams)
            if not datagrams:
                return True
            self._reactor.change(self._socket, READ | WRITE)
        size = sum(map(len, datagrams))
        if self.backlog and self._backlog_size + size > MAX_BACKLOG_BYTES:
            self._dropped["backlog full"] += len(datagrams)
        else:
            self.backlog.append((destination, datagrams))
            self._backlog_size += size
        return False

    def _write(self, destination: UdpAddress, datagrams: Sequence[bytes]) -> Sequence[bytes]:
        """Send datagrams. Returns those that the socket had no room for."""
        if len(datagrams) <= 1 or not self.gso or destination.host in self._plain_hosts:
            return self._write_each(destination, datagrams)
        if is_run(datagrams):
            return self._write_run(destination, datagrams)
        runs = into_runs(destination, datagrams)
        for number, (_, run) in enumerate(runs):
            left = self._write_run(destination, run)
            if left:
                return [*left, *(datagram for _, later in runs[number + 1 :] for datagram in later)]
        return ()

    def _write_run(self, destination: UdpAddress, run: Sequence[bytes]) -> Sequence[bytes]:
        ancillary = [(SOL_UDP, UDP_SEGMENT, struct.pack("=H", len(run[0])))] if len(run) > 1 else []
        try:
            self._socket.sendmsg(run, ancillary, 0, destination)
        except BlockingIOError:
            return run
        except OSError as error:
            if error.errno == errno.EIO:
                self.gso = False
            elif error.errno in (errno.EINVAL, errno.EMSGSIZE):
                if len(self._plain_hosts) >= MAX_PLAIN_HOSTS:
                    self._plain_hosts.clear()
                self._plain_hosts.add(destination.host)
            return self._write_each(destination, run)
        return ()

    def _write_each(self, destination: UdpAddress, datagrams: Sequence[bytes]) -> Sequence[bytes]:
        write = self._socket.sendto
        for number, datagram in enumerate(datagrams):
            for is_last_try in (False, True):  # the first error may be about an earlier datagram
                try:
                    write(datagram, destination)
                    break
                except BlockingIOError:
                    return datagrams[number:]
                except OSError as error:
                    if is_last_try:
                        self.is_failing = self.is_failing or error.errno in NO_WAY
                        self._dropped[f"send: {error_name(error)}"] += 1
                        self._refusals.note(error.errno, destination, len(datagram))
        return ()

    def _on_event(self, mask: int) -> None:
        if mask & READ:
            self.readable = True
        if mask & WRITE:
            self._drain_backlog()
        if self.readable or not self.backlog:
            self._on_ready()

    def _drain_backlog(self) -> None:
        while self.backlog:
            destination, datagrams = self.backlog[0]
            left = self._write(destination, datagrams)
            self._backlog_size -= sum(map(len, datagrams)) - sum(map(len, left))
            if left:
                self.backlog[0] = (destination, left)
                return
            self.backlog.popleft()
        self._reactor.change(self._socket, READ)


class UdpSockets:
    """The `UdpPort` of the system. dropped: datagrams that could not be sent or read, by reason.

    host: the one address to bind; without it, all of v4 and v6.
    gso, gro: False does without the kernel's segmentation or joining, as on a system that lacks it.
    """

    def __init__(
        self,
        reactor: Reactor,
        port: int,
        on_ready: Callable[[], None],
        *,
        host: str = "",
        gso: bool = True,
        gro: bool = True,
        socket_type: SocketType = socket.socket,
    ) -> None:
        self.dropped: Counter[str] = Counter()
        self.local_port: int = port
        self._host, self._socket_type = host, socket_type
        self._reactor = reactor
        self._again: Timer | None = None
        self._dont_fragment = False
        self._refusals = SendRefusals()
        self._make_half = functools.partial(
            Half, reactor=reactor, on_ready=on_ready, dropped=self.dropped, refusals=self._refusals
        )
        self._can_gso, self._can_gro = gso, gro
        self._gso, self._gro = gso, gro
        self._open(port)

    def _open(self, port: int) -> None:
        host, kind = self._host, self._socket_type
        sockets = [bind(kind, family_of(host), host, port)] if host else bind_both(port, kind)
        self.local_port = sockets[0].getsockname()[1]
        halves = {sock.family: self._make_half(sock, gso=self._gso, gro=self._gro) for sock in sockets}
        self._halves = list(halves.values())
        if self._dont_fragment:
            self.set_dont_fragment(wanted=True)
        self._v4, self._v6 = halves.get(socket.AF_INET), halves.get(socket.AF_INET6)

    def set_offload(self, *, gso: bool, gro: bool) -> None:
        self._gso, self._gro = gso and self._can_gso, gro and self._can_gro
        for half in self._halves:
            half.set_offload(gso=self._gso, gro=self._gro)

    def set_dont_fragment(self, *, wanted: bool) -> bool:
        done = [half.set_dont_fragment(wanted=wanted) for half in self._halves]
        self._dont_fragment = wanted and all(done)
        if not all(done):
            for half in self._halves:
                half.set_dont_fragment(wanted=False)
        return all(done)

    def suits(self, network: Network) -> bool:
        host = parse_address(self._host)
        if not self._halves or (host is not None and network.lacks(host)):
            return False
        ways = ((self._v4, network.gateway_v4), (self._v6, network.gateway_v6))
        return not any(half is not None and half.is_failing and way is not None for half, way in ways)

    def rebind(self, port: int | None = None) -> None:
        self.close()
        self._halves, self._v4, self._v6 = [], None, None
        for number in (self.local_port if port is None else port, 0):
            try:
                self._open(number)
                return
            except OSError as error:  # another program was quicker; or the address is gone, and may come back
                self.dropped[f"rebind: {error_name(error)}"] += 1
                if is_out(error):
                    later = functools.partial(self.rebind, port)
                    self._again = self._reactor.call_at(self._reactor.clock() + AGAIN_AFTER, later)
                    return

    @property
    def has_room(self) -> bool:
        return (self._v4 is None or not self._v4.backlog) and (self._v6 is None or not self._v6.backlog)

    def receive(self) -> Runs:
        runs: Runs = []
        for half in self._halves:
            if half.readable:
                half.receive(runs)
        return runs

    def send(self, destination: UdpAddress, datagrams: Sequence[bytes]) -> bool:
        half: Half | None = self._v4
        if ":" in destination.host:
            destination = as_address(destination)
            half = self._v6 if ":" in destination.host else self._v4
        if half is None:
            self.dropped[f"send: no IPv{6 if ':' in destination.host else 4}"] += len(datagrams)
            self._refusals.note(errno.ENETUNREACH, destination, 0)
            return True
        return half.send(destination, datagrams)

    def take_unsent(self) -> list[Unsent]:
        return self._refusals.take()

    def close(self) -> None:
        if self._again is not None:
            self._again.cancel()
            self._again = None
        for half in self._halves:
            half.close()


def bind_both(port: int, socket_type: SocketType = socket.socket) -> list[socket.socket]:
    """[v4, v6] on one number. Only [v4] if there is no v6, or if another program has its port of that number."""
    for _ in range(SAME_NUMBER_TRIES):
        v4 = bind(socket_type, socket.AF_INET, "0.0.0.0", port)
        try:
            return [v4, bind(socket_type, socket.AF_INET6, "::", v4.getsockname()[1])]
        except OSError as error:
            if port or error.errno != errno.EADDRINUSE:
                return [v4]
            v4.close()
    return [bind(socket_type, socket.AF_INET, "0.0.0.0", port)]


def family_of(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def bind(socket_type: SocketType, family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    sock = socket_type(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        for force, ordinary in ((SO_RCVBUFFORCE, socket.SO_RCVBUF), (SO_SNDBUFFORCE, socket.SO_SNDBUF)):
            if not try_option(sock, socket.SOL_SOCKET, force, BUFFER_SIZE):
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, ordinary, BUFFER_SIZE)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def try_option(sock: socket.socket, level: int, option: int, value: int) -> bool:
    """Set an option that only Linux has under this number. Returns whether it is set."""
    if sys.platform != "linux":
        return False
    try:
        sock.setsockopt(level, option, value)
    except OSError:
        return False
    return True


def segment_size(ancillary: list[tuple[int, int, bytes]]) -> int:
    """The length of the datagrams that GRO joined, all but the last (a native int of 2 or 4 bytes).

    MAX_DATAGRAM if the kernel joined none.
    """
    for level, kind, data in ancillary:
        if level == SOL_UDP and kind == UDP_GRO:
            return int.from_bytes(data, sys.byteorder)
    return MAX_DATAGRAM


def is_run(datagrams: Sequence[bytes]) -> bool:
    """Whether one UDP_SEGMENT call carries these: at most 64, 65,507 bytes in all, equal but for a shorter last."""
    sizes = list(map(len, datagrams))
    size, count = sizes[0], len(sizes)
    equal = sizes.count(size)
    return count <= 64 and sum(sizes) <= 65_507 and (equal == count or (equal == count - 1 and sizes[-1] < size))


def as_address(address: tuple[str, int] | UdpAddress) -> UdpAddress:
    """The address as a UdpAddress. A v4-mapped v6 address becomes v4."""
    host, port = address[0], address[1]
    return UdpAddress(host[7:] if host.startswith("::ffff:") and "." in host else host, port)


def error_name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, type(error).__name__)

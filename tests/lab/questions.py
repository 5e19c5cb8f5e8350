"""What a router does to UDP, asked with plain sockets: the questions of RFC 5780.

    answers = ask(internet, internet.left)      # Answers(mapping="independent", filtering="by address", …)

| question    | how                                                                                            |
|-------------|------------------------------------------------------------------------------------------------|
| mapping     | one socket speaks to both servers, and to two ports of the near one: is it seen as the same?   |
| filtering   | it spoke to the near server's first port: may its second port, and the far server, answer?     |
| keeps_port  | the mapped port is the socket's own                                                            |
| hairpin     | a second socket of the host speaks to the mapped address of the first                          |
| second host | what its mapping is, from the same port                                                        |

Servers and hosts are sockets of the calling thread, each made inside its namespace.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
from collections.abc import Iterator

import attrs

from tests.interop.harness.scene import inside
from tests.lab.internet import FAR, FAR_V6, NEAR, NEAR_V6, Internet, Side
from tests.lab.routers import V6, Filtering, Mapping

Address = tuple[str, int]
PORTS = 3478, 3479
LOST = 0.2
"""Seconds after which a datagram within one machine will not come any more, as a rule."""
PATIENCE = 1.0
"""Seconds for one that should come, on a machine that is busy with others."""

_ports = itertools.count(40_000)


@attrs.frozen
class Answers:
    """mapping is empty when nothing came through at all."""

    mapping: Mapping
    filtering: Filtering = ""
    keeps_port: bool = False
    hairpin: bool = False
    second_host: Mapping = ""


def udp(namespace: str, address: str, port: int = 0) -> socket.socket:
    with inside(namespace):
        sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((address, port))
    sock.settimeout(LOST)
    return sock


def hear(sock: socket.socket, timeout: float = LOST) -> tuple[bytes, Address] | None:
    """The next datagram and where it came from, or None."""
    sock.settimeout(timeout)
    try:
        data, source = sock.recvfrom(2048)
    except TimeoutError:
        return None
    return data, (source[0], source[1])


class Servers:
    """Four sockets: the near and the far server, two ports each; `sockets[0]` is the near one's first."""

    def __init__(self, internet: Internet, *, v6: bool = False) -> None:
        near, far = (NEAR_V6, FAR_V6) if v6 else (NEAR, FAR)
        places = [(internet.scene.name, near, port) for port in PORTS] + [(internet.far, far, port) for port in PORTS]
        self.sockets = [udp(*place) for place in places]

    def sees(self, sock: socket.socket, number: int) -> Address | None:
        """Where a datagram of that socket seems to come from."""
        server = self.sockets[number]
        sock.sendto(b"who am I", server.getsockname()[:2])
        heard = hear(server, PATIENCE)
        return heard[1] if heard else None

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()


@contextlib.contextmanager
def _open(*sockets: socket.socket) -> Iterator[None]:
    try:
        yield
    finally:
        for sock in sockets:
            sock.close()


def ask(internet: Internet, side: Side) -> Answers:
    servers = Servers(internet, v6=side.kind.addressing == V6)
    try:
        port = next(_ports)
        mapping, mapped = _mapping(servers, side, 0, port)
        if not mapping or mapped is None:
            return Answers(mapping)
        return Answers(
            mapping,
            _filtering(servers, side),
            mapped[1] == port,
            _hairpin(servers, side),
            _mapping(servers, side, 1, port)[0] if len(side.hosts) > 1 else "",
        )
    finally:
        servers.close()


def _mapping(servers: Servers, side: Side, host: int, port: int) -> tuple[Mapping, Address | None]:
    sock = udp(side.hosts[host], side.addresses[host], port)
    with _open(sock):
        seen = []
        for number in (0, 1, 2):
            seen.append(servers.sees(sock, number))
            if seen[-1] is None:
                return "", None
    return ("independent" if len(set(seen)) == 1 else "by address and port"), seen[0]


def _filtering(servers: Servers, side: Side) -> Filtering:
    sock = udp(side.host, side.address, next(_ports))
    with _open(sock):
        mapped = servers.sees(sock, 0)
        assert mapped is not None
        came = []
        for number in (0, 1, 2):
            servers.sockets[number].sendto(b"%d" % number, mapped)
            heard = hear(sock, PATIENCE if number == 0 else LOST)
            came.append(heard is not None and heard[0] == b"%d" % number)
    same_address, other_address = came[1:]
    assert came[0], "the server's own answer was lost"
    return "none" if other_address else "by address" if same_address else "by address and port"


def _hairpin(servers: Servers, side: Side) -> bool:
    first, second = (udp(side.host, side.address, next(_ports)) for _ in range(2))
    with _open(first, second):
        mapped = servers.sees(first, 0)
        assert mapped is not None
        second.sendto(b"hairpin", mapped)
        return hear(first) is not None

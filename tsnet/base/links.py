"""Byte streams as effects and events, so that a machine below the edge owns a connection without touching a socket.

    machine -> edge   Open(link, hosts, port, tls)  Data(link, bytes)  Close(link)  Compute(link, function, argument)
                      Pause(link)  Resume(link)  OpenUdp(link, host, port)  Datagrams(link, address, [bytes])
                      LookUp(link, host)
    edge -> machine   Opened(link, server_key)  Received(link, bytes)  Full(link)  Room(link)  Closed(link, reason)
                      Computed(link, value)  Accepted(link, remote)  Datagrams(link, address, [bytes])
                      LookedUp(link, addresses)

A link is named by its opener: the room ("control", "derp", …), a name within the room, and a generation number that is
never used twice. A machine can therefore drop what arrives late for an old generation.

- A listener's edge names the links that it accepts, and tells the server machine of each one with `Accepted`.
- `Open` is answered by `Opened` or `Closed`. The hosts are dialled in order, 250 ms apart; the first to answer wins.
- `Closed(reason)` is the last event of a link. A machine that has sent `Close` gets no `Closed`.
- `Full` says that the edge's write buffer for the link (1 MiB) is full. The machine sends no bulk data until `Room`;
  what it has handed over already is still sent.
- `Pause` says that the machine has input of the link left over. The edge reads no more from the link until `Resume`, so
  that TCP slows the other end down; what has been read already still comes.
- `OpenUdp` opens a UDP port beside the node's own. What arrives there, from anybody, comes as `Datagrams` with its
  source as the address; `Datagrams` with a destination are sent. UDP promises nothing: what has no room is dropped.
- `Compute` runs a pure computation off the node's thread, in steps, such as decoding a large netmap. The answer is
  `Computed`.
- `LookUp` asks the system's resolver for a name that is no link's to dial. The answer is `LookedUp`. A proxy is not
  asked: what is looked up is sent to by UDP, which passes none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import attrs

from tsnet.base.addresses import IPAddress, UdpAddress
from tsnet.base.records import record
from tsnet.base.steps import Steps, finish

ADDRESS_LOST = "own address lost"


class Link(NamedTuple):
    """The name of one byte stream. It is a tuple because every event is looked up by it, and tuples hash fast.

    room: who opened it. name: its purpose: a region's number, a port, "noise". generation: unique within the room.
    """

    room: str
    name: str | int
    generation: int


@record
class Tls:
    """How a link's certificate is judged. `server_name` goes out as SNI.

    cert_name: with "", the certificate must be valid for `server_name`; with a plain name, for that name instead;
        with "sha256-raw:<64 hex>", it must be the one that has this hash.
    insecure: nothing is verified (DERPNode.InsecureForTests), except what a cert_name asks for.
    """

    server_name: str
    cert_name: str = ""
    insecure: bool = False


@record
class Open:
    """direct: around a proxy, for what only the network at hand can answer."""

    link: Link
    hosts: tuple[str, ...]
    port: int
    tls: Tls | None = None
    timeout: float = 10.0
    direct: bool = False


@record
class OpenUdp:
    """host: the one own address to bind; without it, all of v4 and v6. port: 0 takes any that is free."""

    link: Link
    host: str = ""
    port: int = 0


@record
class Datagrams:
    """An effect that sends them to the address, and an event that says that they came from there."""

    link: Link
    address: UdpAddress
    datagrams: Sequence[bytes] = attrs.field(repr=False)


@record
class Data:
    link: Link
    data: bytes = attrs.field(repr=False)


@record
class Close:
    """abort: what is queued is not sent any more, neither now nor by the kernel later."""

    link: Link
    abort: bool = False


@record
class Pause:
    """Read no more from the link until `Resume`."""

    link: Link


@record
class Resume:
    link: Link


@record
class Compute:
    """function: of the argument, a pure computation in steps."""

    link: Link
    function: Callable[[Any], Steps[Any]]
    argument: Any = attrs.field(repr=False)

    def run(self) -> Any:
        """All of it, here and now."""
        return finish(self.function(self.argument))


@record
class LookUp:
    link: Link
    host: str


@record
class Opened:
    """server_key: the 32-byte key that the other end claims as its own, in an extra certificate that it sends for this
    (`derpkey`, over TLS 1.3); empty if there is none. The claim is not verified, but only the key's owner can open what
    is sealed to it.

    local_port: of a UDP link, the port that it has.
    """

    link: Link
    server_key: bytes = b""
    local_port: int = 0


@record
class Accepted:
    """A listener accepted a connection, and its TLS handshake is over. remote: the other end, as a socket names it."""

    link: Link
    remote: tuple[str, int]


@record
class Received:
    link: Link
    data: bytes = attrs.field(repr=False)


@record
class Full:
    link: Link


@record
class Room:
    link: Link


@record
class Closed:
    """reason: "eof", "reset", "refused", "unreachable", "timeout", "dns", "dns: …", "tls: …", "certificate: …";
    ADDRESS_LOST, if this machine has lost the address that the connection has at its own end;
    "port taken", "not permitted", "cannot bind", "too many", "no descriptor", for a UDP link that cannot be opened;
    "proxy http://host:port: …" with one of these or with the proxy's words, if the proxy has not let the link through.

    The reason for a certificate out of its time is "certificate: expired" or "certificate: not yet valid", so that
    control can tell a wrong clock from a wrong server.
    """

    link: Link
    reason: str


@record
class Computed:
    """value: what the function returned, or the exception that it raised."""

    link: Link
    value: Any = attrs.field(repr=False)


@record
class LookedUp:
    """addresses: those of the host, the system's favourite first; none if it has none, or nobody could tell."""

    link: Link
    addresses: tuple[IPAddress, ...]


Effect = Open | OpenUdp | Data | Datagrams | Close | Compute | Pause | Resume | LookUp
Event = Opened | Accepted | Received | Datagrams | Full | Room | Closed | Computed | LookedUp

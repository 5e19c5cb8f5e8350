"""Byte streams as effects and events: how a machine below the edge owns a connection without touching a socket.

    machine -> edge   Open(link, hosts, port, tls)  Data(link, bytes)  Close(link)  Compute(link, function, argument)
    edge -> machine   Opened(link, server_key)  Received(link, bytes)  Full(link)  Room(link)  Closed(link, reason)
                      Computed(link, value)  Accepted(link, remote)

A link is named by its opener: the room ("control", "derp", …), a name within it, and a generation number that is never
used twice, so that what arrives late for an old generation is dropped.

- A listener's edge names the links it takes in, and tells the server machine of each with `Accepted`.
- `Open` is answered by `Opened` or `Closed`. The hosts are dialled in order, 250 ms apart; the first to answer wins.
- `Closed(reason)` is the last event of a link. A machine that said `Close` gets none.
- `Full` says that the edge's write buffer for the link (1 MiB) has no room; the machine sends no bulk data until
  `Room`. Data already handed over is never lost.
- `Compute` runs a pure function off the node's thread (a large netmap) and is answered by `Computed`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import attrs


class Link(NamedTuple):
    """The name of one byte stream. A tuple, since every event of every link is looked up by it.

    room: who opened it. name: what for: a region's number, a port, "noise". generation: unique within the room.
    """

    room: str
    name: str | int
    generation: int


@attrs.frozen
class Tls:
    """How a link's certificate is judged. `server_name` goes out as SNI.

    cert_name: "" checks `server_name` against the roots; a plain name is checked instead of `server_name`;
        "sha256-raw:<64 hex>" pins the one certificate that may be presented.
    insecure: no verification at all (DERPNode.InsecureForTests); a cert_name brings its own check back.
    """

    server_name: str
    cert_name: str = ""
    insecure: bool = False


@attrs.frozen
class Open:
    link: Link
    hosts: tuple[str, ...]
    port: int
    tls: Tls | None = None
    timeout: float = 10.0


@attrs.frozen
class Data:
    link: Link
    data: bytes = attrs.field(repr=False)


@attrs.frozen
class Close:
    link: Link


@attrs.frozen
class Compute:
    link: Link
    function: Callable[[Any], Any]
    argument: Any = attrs.field(repr=False)


@attrs.frozen
class Opened:
    """server_key: the 32 bytes that the other end names as its own key, in a certificate that it sends along for that
    alone (`derpkey`, over TLS 1.3); empty if it names none. Nothing vouches for it: only its owner can open what is
    sealed to it.
    """

    link: Link
    server_key: bytes = b""


@attrs.frozen
class Accepted:
    """A listener took a connection in (its TLS is up already). remote: the other end, as a socket names it."""

    link: Link
    remote: tuple[str, int]


@attrs.frozen
class Received:
    link: Link
    data: bytes = attrs.field(repr=False)


@attrs.frozen
class Full:
    link: Link


@attrs.frozen
class Room:
    link: Link


@attrs.frozen
class Closed:
    """reason: "eof", "reset", "refused", "unreachable", "timeout", "dns", "proxy: …", "tls: …",
    "certificate: …".

    A certificate that is not yet valid or has expired says "certificate: expired" / "certificate: not yet valid",
    so that control can tell a wrong clock from a wrong server.
    """

    link: Link
    reason: str


@attrs.frozen
class Computed:
    """value: what the function returned, or the exception it raised."""

    link: Link
    value: Any = attrs.field(repr=False)


Effect = Open | Data | Close | Compute
Event = Opened | Accepted | Received | Full | Room | Closed | Computed

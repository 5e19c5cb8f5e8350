"""What a home router that speaks NAT-PMP answers: its outside address, and ports that it opens for those who ask.

    home = net.router("home", nat=HARD, maps_ports=True)

| asked                       | answered                                                                     |
|-----------------------------|------------------------------------------------------------------------------|
| for the address             | the router's outside address                                                 |
| for a port                  | the one it has already, the one that is suggested, or another one, for as    |
|                             | long as was asked, and MAX_LIFETIME at most; a lifetime of 0 closes it       |
| for more ports than MAX_PORTS | that it has no room                                                        |
| in another protocol         | that it does not know that version                                           |

The seconds that it tells begin anew with each restart, which is how those who asked find out.

Source: RFC 6886 §3.
Not here: the messages (`portmap.natpmp`), the table with the open ports (`nat`).
"""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Protocol

from tsnet.base.addresses import UdpAddress
from tsnet.base.malformed import MalformedError
from tsnet.portmap import natpmp
from tsnet.testing.nat import NatTable
from tsnet.testing.timeline import Timeline

MAX_PORTS = 256
MAX_LIFETIME = 7200
NO_ROOM = 4


class MappingRouter(Protocol):
    """What the service asks of its router. restarted_at: when it began to keep its table."""

    wan_v4: str
    restarted_at: float


class PmpService:
    """Answers one router's questions, as `Router.serve` wants it."""

    def __init__(self, router: MappingRouter, table: NatTable, timeline: Timeline) -> None:
        self._router, self._table, self._timeline = router, table, timeline

    def __call__(self, source: UdpAddress, datagram: bytes) -> list[bytes]:
        epoch = int(self._timeline.now - self._router.restarted_at)
        if datagram[:1] != bytes((natpmp.VERSION,)):
            refused = natpmp.PmpRefused(epoch, natpmp.ADDRESS, natpmp.UNSUPPORTED_VERSION)
            return [natpmp.encode_reply(refused)]
        try:
            asked = natpmp.decode_request(datagram)
        except MalformedError:
            return []
        if asked is None:
            return [natpmp.encode_reply(natpmp.PmpAddress(epoch, IPv4Address(self._router.wan_v4)))]
        return [natpmp.encode_reply(self._map(source.host, epoch, *asked))]

    def _map(self, host: str, epoch: int, internal: int, suggested: int, lifetime: int) -> natpmp.PmpReply:
        table, now, inside = self._table, self._timeline.now, UdpAddress(host, internal)
        port = table.opened_by(inside, now)
        if not lifetime:
            if port is not None:
                table.shut(port)
            return natpmp.PmpMapped(epoch, internal, 0, 0)
        if port is None and table.count_opened(now) >= MAX_PORTS:
            return natpmp.PmpRefused(epoch, natpmp.MAP_UDP, NO_ROOM)
        lasts = min(lifetime, MAX_LIFETIME)
        port = table.free_port(suggested, now) if port is None else port
        table.open(port, inside, until=now + lasts)
        return natpmp.PmpMapped(epoch, internal, port, lasts)

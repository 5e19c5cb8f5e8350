"""The flows that were rejected lately, for control to ask about, while it wants them kept (`debug-conn-reject`).

| direction | what happened                                  | Source             | Reason                             |
|-----------|------------------------------------------------|--------------------|------------------------------------|
| outgoing  | a peer says by TSMP that it rejects our flow   | `tsmp_recv`        | acl, shields, host-firewall, …     |
| outgoing  | nobody answers our SYN for `ANSWER_BY` seconds | `pendopen_timeout` | no-peer, peer-unreachable, timeout |
| incoming  | our filter drops a peer's SYN, and we tell it  | `tsmp_sent`        | acl, shields                       |

Flows of one direction, protocol, peer and reason are one entry with a count. MAX_ENTRIES of each direction are kept,
and the one that was seen longest ago goes first. At most MAX_OPENING dials are watched at a time.

Source: Go net/connreject, feature/connreject, wgengine/pendopen.go.
Not here: where control asks (`control.client.c2n`), how a peer is told (`ingress`), what a dial ends with (`engine`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Any, Protocol

from tsnet.base.addresses import IPAddress
from tsnet.control.gojson import format_time
from tsnet.engine import tsmp

MAX_ENTRIES = 256
MAX_OPENING = 256
ANSWER_BY = 5.0
"""Seconds after which a dial without an answer counts as rejected, as in Go. It goes on all the same."""

TCP = 6
OUTGOING, INCOMING = "outgoing", "incoming"
UNKNOWN, NO_PEER, UNREACHABLE, TIMED_OUT = "unknown", "no-peer", "peer-unreachable", "timeout"
_REASONS = {
    tsmp.POLICY: "acl",
    tsmp.SHIELDS_UP: "shields",
    tsmp.NOT_FORWARDED: "host-ip-forwarding",
    tsmp.HOST_FIREWALL: "host-firewall",
}

End = tuple[IPAddress, int]
"""An address and a port."""


class Opening(Protocol):
    """A connection that we open (`TcpConnection`)."""

    @property
    def state(self) -> str: ...
    @property
    def local(self) -> End: ...
    @property
    def remote(self) -> End: ...


class RejectedFlows:
    """why_silent: the reason to give for an address that does not answer. wall_offset: Unix time = now + wall_offset.

    is_wanted: whether control wants them kept. Nothing is noted while it does not.
    """

    def __init__(self, why_silent: Callable[[IPAddress], str], wall_offset: float) -> None:
        self.is_wanted: bool = False
        self.wall_offset: float = wall_offset
        self._why_silent = why_silent
        self._entries: dict[str, dict[tuple[int, IPAddress, str], dict[str, Any]]] = {OUTGOING: {}, INCOMING: {}}
        self._opening: dict[Opening, float] = {}
        self._shown: Mapping[str, Any] | None = None

    def want(self, *, wanted: bool) -> None:
        """Control wants them kept from now on, or no longer: then those that were kept go."""
        if wanted is self.is_wanted:
            return
        self.is_wanted, self._shown = wanted, None
        self._opening.clear()
        for entries in self._entries.values():
            entries.clear()

    # --- what happens -------------------------------------------------------------------------------------------

    def told(self, own: IPAddress, peer: IPAddress, message: tsmp.Rejected, now: float) -> None:
        """A peer has said so of a flow of ours."""
        source, target = (own, message.source_port), (peer, message.destination_port)
        reason = _REASONS.get(message.reason, UNKNOWN)
        self._note(OUTGOING, message.protocol, source, target, reason, "tsmp_recv", now, maybe=message.maybe_broken)

    def sent(self, syn: bytes, reason: str, now: float) -> None:
        """We tell a peer that we reject this packet, which is IPv4 and TCP. reason: TSMP's."""
        if not self.is_wanted or syn[0] >> 4 != 4:
            return
        start = (syn[0] & 15) * 4
        source, target = int.from_bytes(syn[start : start + 2]), int.from_bytes(syn[start + 2 : start + 4])
        ends = (ip_address(syn[12:16]), source), (ip_address(syn[16:20]), target)
        self._note(INCOMING, TCP, *ends, _REASONS.get(reason, UNKNOWN), "tsmp_sent", now)

    def opens(self, connection: Opening, now: float) -> None:
        """We dial. A rejection that a peer tells of in between ends the dial, which is then noted but once."""
        if self.is_wanted and len(self._opening) < MAX_OPENING:
            self._opening[connection] = now + ANSWER_BY

    def tick(self, now: float) -> None:
        """Note the dials that nobody has answered."""
        while self._opening and (due := next(iter(self._opening.items())))[1] <= now:
            connection, _ = due
            del self._opening[connection]
            if connection.state == "SYN_SENT":
                reason = self._why_silent(connection.remote[0])
                self._note(OUTGOING, TCP, connection.local, connection.remote, reason, "pendopen_timeout", now)

    def deadline(self) -> float:
        return next(iter(self._opening.values())) if self._opening else math.inf

    def _note(
        self,
        direction: str,
        protocol: int,
        source: End,
        target: End,
        reason: str,
        how: str,
        now: float,
        *,
        maybe: bool = False,
    ) -> None:
        if not self.is_wanted:
            return
        self._shown = None
        entries = self._entries[direction]
        number = protocol, (target if direction == OUTGOING else source)[0], reason
        at = format_time(now + self.wall_offset)
        before = entries.pop(number, None)
        if before is None and len(entries) >= MAX_ENTRIES:
            del entries[next(iter(entries))]
        entries[number] = {
            "First": at if before is None else before["First"],
            "Last": at,
            "Count": 1 if before is None else before["Count"] + 1,
            "Direction": direction,
            "Proto": protocol,
            "Src": _text(source),
            "Dst": _text(target),
            "Reason": reason,
            "Source": how,
            "MaybeBroken": maybe,
        }

    # --- what control is shown ----------------------------------------------------------------------------------

    @property
    def shown(self) -> Mapping[str, Any]:
        """Go's DebugRejectsResponse, those of long ago first. It is made anew when something has changed."""
        if self._shown is None:
            self._shown = {
                "Enabled": self.is_wanted,
                "Outgoing": list(self._entries[OUTGOING].values()),
                "Incoming": list(self._entries[INCOMING].values()),
            }
        return self._shown


def _text(end: End) -> str:
    address, port = end
    return f"{address}:{port}" if address.version == 4 else f"[{address}]:{port}"

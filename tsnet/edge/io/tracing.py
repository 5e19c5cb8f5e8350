"""The traces of a node's rooms as DEBUG lines of the loggers `tsnet.node`, `tsnet.control`, `tsnet.wireguard`, …

    laptop: handshake sent: peer=shop, why=data waits for a session

While DEBUG is off, an event costs a look at the logger's level, so that it can be switched on at any time. It never
raises, whatever a handler does. What other machines say is shown on one line; long values and lines are cut. Of a
value whose type is not known here only the type is shown, so that no secret comes by mistake.

Each kind of event is said BURST times, then once in a second; the next one that is said tells how many were not.

Not here: what is traced (the machines), and that no secret is among it (`base.trace`).
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

from tsnet.base.addresses import DerpAddress, PeerRelayAddress, UdpAddress, join_host_port
from tsnet.base.bucket import TokenBucket
from tsnet.base.keys import NodeKey, PublicKey
from tsnet.base.printable import printable
from tsnet.edge.io.log import Log

RATE, BURST = 1.0, 20.0
MAX_VALUE, MAX_LINE = 80, 150
"""Characters. What is longer is cut."""


class Traces:
    """Of one node. name: how its lines begin, the hostname that it began with.

    peer_name: what a peer is called; empty if nobody knows.
    """

    def __init__(self, name: str, clock: Callable[[], float]) -> None:
        self.peer_name: Callable[[NodeKey], str] = _unnamed
        self._name, self._clock = name, clock

    def __call__(self, room: str, /) -> RoomTrace:
        return RoomTrace(self, Log(f"tsnet.{room}"), self._name, self._clock)


class RoomTrace:
    def __init__(self, traces: Traces, log: Log, name: str, clock: Callable[[], float]) -> None:
        self._traces, self._log, self._name, self._clock = traces, log, name, clock
        self._kinds: dict[str, _Kind] = {}  # as many as the source has

    def __call__(self, event: str, /, **fields: object) -> None:
        if self._log.is_enabled(logging.DEBUG):
            with contextlib.suppress(Exception):
                self._say(event, fields)

    def _say(self, event: str, fields: dict[str, object]) -> None:
        now = self._clock()
        kind = self._kinds.get(event)
        if kind is None:
            kind = self._kinds[event] = _Kind(now)
        if not kind.bucket.take(1, now):
            kind.unsaid += 1
            return
        text = ", ".join(f"{name}={_cut(printable(self._shown(value)), MAX_VALUE)}" for name, value in fields.items())
        line = _cut(f"{self._name}: {event}{f': {text}' if text else ''}", MAX_LINE)
        more = f" (and {kind.unsaid} more like this since it was last said)" if kind.unsaid else ""
        kind.unsaid = 0
        self._log.say(logging.DEBUG, "%s%s", line, more)

    def _shown(self, value: object) -> str:
        match value:
            case NodeKey():
                return self._traces.peer_name(value) or value.hex()[:10]
            case PublicKey():
                return value.hex()[:10]
            case DerpAddress():
                return f"relay region {value.region}"
            case UdpAddress():
                return join_host_port(*value)
            case PeerRelayAddress():
                return f"peer relay {join_host_port(*value.relay)} vni {value.vni}"
            case None:
                return "none"
            case bool():
                return "yes" if value else "no"
            case float():
                return f"{value:.3g} s"
            case str() | int() | IPv4Address() | IPv6Address():
                return str(value)
            case tuple() | list():
                return " ".join(map(self._shown, value[:MAX_VALUE]))
            case _:
                return type(value).__name__


class _Kind:
    """One kind of event: how often it may still be said, and how often it was not."""

    __slots__ = ("bucket", "unsaid")

    def __init__(self, now: float) -> None:
        self.bucket = TokenBucket(RATE, BURST, now)
        self.unsaid = 0


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _unnamed(key: NodeKey) -> str:
    return ""

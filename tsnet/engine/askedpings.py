"""The pings that control asks this node to send, and what control is told of them.

| what is asked          | what follows                                                               |
|------------------------|----------------------------------------------------------------------------|
| TSMP, a peer's address | a TSMP ping; its pong, if it comes within PING_TIMEOUT, becomes the answer |
| TSMP, another address  | an answer at once that says why there is no ping                           |
| disco, ICMP, peerapi   | counted: this node sends none of those for control                         |

Control may ask for several types at once. It hears nothing of a ping that nobody answers, as from a Go node.

Source: Go control/controlclient/direct.go doPingerPing, wgengine/userspace.go Ping; tailcfg.PingResponse.
Not here: the HTTP request that carries the answer (`control.client.pings`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from tsnet.base.addresses import IPAddress
from tsnet.base.records import record
from tsnet.control.messages import PingRequest
from tsnet.engine.engine import Engine

PING_TIMEOUT = 10.0
MAX_UNANSWERED = 16
"""How many pings may be under way. Another one is not sent, and counted."""

Answer = tuple[PingRequest, dict[str, Any]]
"""What control asked, and the fields of the tailcfg.PingResponse for it."""


@record
class _Sent:
    ping: PingRequest
    address: IPAddress
    at: float


class AskedPings:
    """dropped: "unsupported" (types and addresses), "too many", "unanswered" (counted when the next ping is asked)."""

    def __init__(self, engine: Engine, entropy: Callable[[int], bytes]) -> None:
        self.dropped: Counter[str] = Counter()
        self._engine, self._entropy = engine, entropy
        self._sent: dict[bytes, _Sent] = {}

    def asked(self, ping: PingRequest, now: float) -> list[Answer]:
        """Send what is asked for; returns the answers that can be given at once."""
        self._forget(now)
        types = ping.types.split(",")
        self.dropped["unsupported"] += len(types) - types.count("TSMP")
        return self._tsmp(ping, now) if "TSMP" in types else []

    def answered(self, data: bytes, now: float) -> list[Answer]:
        """A pong with these 8 bytes has come."""
        self._forget(now)
        sent = self._sent.pop(data, None)
        if sent is None:
            return []
        return [_answer(sent.ping, sent.address, NodeIP=str(sent.address), LatencySeconds=now - sent.at)]

    def _tsmp(self, ping: PingRequest, now: float) -> list[Answer]:
        try:
            address = ip_address(ping.ip)
        except ValueError:
            self.dropped["unsupported"] += 1
            return []
        if address in self._engine.stack.addresses:
            return [_answer(ping, address, Err=f"{address} is local Tailscale IP", IsLocalIP=True)]
        if len(self._sent) >= MAX_UNANSWERED:
            self.dropped["too many"] += 1
            return []
        data = self._entropy(8)
        if not self._engine.ping_tsmp(address.packed, data, now):
            return [_answer(ping, address, Err="no matching peer")]
        self._sent[data] = _Sent(ping, address, now)
        return []

    def _forget(self, now: float) -> None:
        late = [data for data, sent in self._sent.items() if now > sent.at + PING_TIMEOUT]
        for data in late:
            del self._sent[data]
        self.dropped["unanswered"] += len(late)


def _answer(ping: PingRequest, address: IPAddress, **fields: Any) -> Answer:
    return ping, {"Type": "TSMP", "IP": str(address), **fields}

"""Pongs, for whom pings are answered, and how often: once for each place that a ping came from.

    a ping of a peer ─► is it news from there (`SeenPings`)? ─► is there room (`Outgoing`)? ─► a pong, the way it came

Not here: whether its sender and its source may be answered at all (`paths`).
"""

from __future__ import annotations

from tsnet.base.addresses import Destination, UdpAddress
from tsnet.disco.messages import Ping, Pong
from tsnet.disco.outgoing import Outgoing
from tsnet.disco.seenpings import SeenPings


class PingAnswers:
    """Its table has an entry for each disco key whose pings have come."""

    __slots__ = ("_outgoing", "_seen")

    def __init__(self, outgoing: Outgoing) -> None:
        self._outgoing = outgoing
        self._seen: dict[bytes, SeenPings] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def is_fresh(self, ping: Ping, sender: bytes) -> bool:
        """Whether this one has not come before, from anywhere."""
        return sender not in self._seen or self._seen[sender].is_fresh(ping.tx_id)

    def answer(self, ping: Ping, sender: bytes, to: Destination, seen: UdpAddress) -> str | None:
        """Why there is no pong, if so. seen: where the ping came from, as the pong says."""
        pings = self._seen.get(sender)
        if pings is None:
            pings = self._seen[sender] = SeenPings()
        if not pings.add(ping.tx_id, to):
            return "repeated"
        return None if self._outgoing.answer(sender, to, Pong(ping.tx_id, seen)) else "answers"

    def forget(self, sender: bytes) -> None:
        """Nobody has this disco key any more."""
        self._seen.pop(sender, None)

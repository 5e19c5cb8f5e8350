"""What a DERP client learnt and the node acts on, in the order it happened (`Client.take_facts`)."""

from __future__ import annotations

import attrs

from tsnet.base.keys import NodeKey
from tsnet.derp.liveness import NO_ANSWER, SILENCE

TIMEOUT = "timeout while "
_PASSING = frozenset({"eof", "reset", "refused", "unreachable", "timeout", "dns", NO_ANSWER, SILENCE})


@attrs.frozen
class Connected:
    """The relay accepted our login. latency: seconds between ClientInfo and ServerInfo."""

    region: int
    latency: float


@attrs.frozen
class Disconnected:
    """An attempt failed or a connection ended; the client tries again by itself. Learnt routes are void.

    reason: as in `Closed`, or what was wrong with the answer. host: the name of the region's node that it was.
    """

    region: int
    reason: str
    host: str = ""

    @property
    def is_hopeless(self) -> bool:
        """Whether somebody must mend something first: the relay was reached, and is not what we look for."""
        return is_hopeless(self.reason)


def is_hopeless(reason: str) -> bool:
    """Networks and restarts pass by themselves; a bad certificate or an answer that is no relay's does not."""
    return reason not in _PASSING and not reason.startswith(TIMEOUT)


@attrs.frozen
class Left:
    """A connection that was up was closed by `Client.close`. Every `Connected` ends in this or in `Disconnected`."""

    region: int


@attrs.frozen
class PeerGone:
    """The peer is not (or no longer) at this relay: reason `PEER_GONE_DISCONNECTED` or `PEER_GONE_NOT_HERE`."""

    region: int
    key: NodeKey
    reason: int


@attrs.frozen
class RelayHealth:
    """The relay's own complaint, for people; empty when it is well again."""

    region: int
    text: str


@attrs.frozen
class Restarting:
    """The relay is about to go: seconds until to come back, and for how long to try."""

    region: int
    reconnect_in: float
    try_for: float


@attrs.frozen
class Measured:
    """A `Client.ping` came back after that many seconds."""

    region: int
    latency: float


Fact = Connected | Disconnected | Left | PeerGone | RelayHealth | Restarting | Measured

"""What a DERP client has learnt and the node acts on, in the order in which it happened (`Client.take_facts`)."""

from __future__ import annotations

from tsnet.base.keys import NodeKey
from tsnet.base.links import ADDRESS_LOST
from tsnet.base.proxies import FORM, is_final_answer, split_proxy_reason
from tsnet.base.records import record
from tsnet.derp.liveness import NO_ANSWER, SILENCE

TIMEOUT = "timeout while "
_PASSING = frozenset({"eof", "reset", "refused", "unreachable", "timeout", "dns", NO_ANSWER, SILENCE, ADDRESS_LOST})


@record
class Connected:
    """The relay accepted our login. latency: seconds between ClientInfo and ServerInfo."""

    region: int
    latency: float


@record
class Disconnected:
    """All nodes of a round failed, or a connection ended. The client tries again by itself. Learnt routes are void.

    reason: as in `Closed`, or what was wrong with the last node's answer. host: the name of that node.
    """

    region: int
    reason: str
    host: str = ""

    @property
    def is_hopeless(self) -> bool:
        """Whether somebody must mend something first, as in `is_hopeless`."""
        return is_hopeless(self.reason)


def is_hopeless(reason: str) -> bool:
    """Whether waiting alone cannot help: a bad certificate, or an answer that is not a relay's. Troubles of the network
    and restarts pass by themselves."""
    proxy, reason = split_proxy_reason(reason)
    if proxy and not is_final_answer(reason) and reason != FORM:
        return False
    return reason not in _PASSING and not reason.startswith((TIMEOUT, "dns: "))


@record
class Suspected:
    """The relay has left a Ping unanswered for longer than a healthy one would. `Cleared` or `Disconnected` follows."""

    region: int


@record
class Cleared:
    """A relay that was suspect has given a sign of life."""

    region: int


@record
class Left:
    """`Client.close` closed a connection that was up. Each `Connected` is followed by this or by `Disconnected`."""

    region: int


@record
class PeerGone:
    """The peer is not, or no longer, at this relay. reason: PEER_GONE_DISCONNECTED, PEER_GONE_NOT_HERE, or another."""

    region: int
    key: NodeKey
    reason: int


@record
class RelayHealth:
    """What the relay reports to be wrong with itself, for people to read; empty when it is well again."""

    region: int
    text: str


@record
class Restarting:
    """The relay is about to restart. reconnect_in: seconds to wait. try_for: seconds to keep trying."""

    region: int
    reconnect_in: float
    try_for: float


@record
class Measured:
    """The answer to a `Client.ping` came. latency: seconds."""

    region: int
    latency: float


Fact = Connected | Disconnected | Suspected | Cleared | Left | PeerGone | RelayHealth | Restarting | Measured

"""What the device tells the engine, in the order in which it happened."""

from __future__ import annotations

from tsnet.base.addresses import Destination
from tsnet.base.keys import NodeKey
from tsnet.base.records import record


@record
class Heard:
    """An authentic handshake message of this peer came from `source`, where it may have moved.

    Take this before routing what the same `transmit` returned, so that the response goes back the same way.
    """

    key: NodeKey
    source: Destination


@record
class Established:
    """A new session with this peer can carry data in both directions."""

    key: NodeKey
    is_initiator: bool


@record
class Unanswered:
    """A message of a handshake went unanswered: our initiation, which is sent once more after REKEY_TIMEOUT, or our
    response, in place of whose confirmation another initiation has come. This peer has answered before."""

    key: NodeKey


@record
class GaveUp:
    """This peer did not answer for REKEY_ATTEMPT_TIME, or its key is unusable. What was staged is dropped; new traffic
    begins a new attempt."""

    key: NodeKey


@record
class MarkMoved:
    """Save this as the next start's `timestamp_mark`, then call `Device.mark_saved`: initiations wait for that.

    The fact comes again every REKEY_TIMEOUT for as long as they wait.
    """

    timestamp_mark: float


Fact = Heard | Established | Unanswered | GaveUp | MarkMoved

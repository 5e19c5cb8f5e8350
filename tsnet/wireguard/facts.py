"""What the device tells the engine, in the order in which it happened."""

from __future__ import annotations

import attrs

from tsnet.base.addresses import Destination
from tsnet.base.keys import NodeKey


@attrs.frozen
class Heard:
    """A handshake message of this peer came from there, and was authentic: roaming, and first contact.

    Take it before routing what the same `transmit` returned: the response is to go back the same way.
    """

    key: NodeKey
    source: Destination


@attrs.frozen
class Established:
    """A new session with this peer can carry data, both ways."""

    key: NodeKey
    is_initiator: bool


@attrs.frozen
class GaveUp:
    """This peer did not answer for REKEY_ATTEMPT_TIME; what was staged is dropped. New traffic starts again."""

    key: NodeKey


@attrs.frozen
class MarkMoved:
    """Initiations wait until this is saved as the next start's `timestamp_mark`, and `Device.mark_saved` has said so.

    It comes again every REKEY_TIMEOUT for as long as they wait.
    """

    timestamp_mark: float


Fact = Heard | Established | GaveUp | MarkMoved

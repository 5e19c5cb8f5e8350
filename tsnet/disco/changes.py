"""What changes about the way to a peer, for whoever tells it on.

Not here: who decides it (`paths`).
"""

from __future__ import annotations

from tsnet.base.addresses import Destination
from tsnet.base.records import record


@record
class RoutesChanged:
    """A peer that is sent to is reached by other destinations than before: none, one or two, the best first.

    why: a few words, such as "relay connected".
    """

    key: bytes
    before: tuple[Destination, ...]
    after: tuple[Destination, ...]
    why: str

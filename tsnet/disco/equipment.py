"""What every room of disco works with: who has which disco key, the way out, entropy, and the count of what is dropped.

Not here: what is made of it (`directpaths`, `peerrelays`, `bindings`, `incoming`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from tsnet.base.keys import DiscoPrivateKey
from tsnet.base.records import record
from tsnet.disco.box import Box
from tsnet.disco.outgoing import Outgoing
from tsnet.disco.senders import Senders


@record
class Equipment:
    """dropped: by reason, those of all rooms together."""

    senders: Senders
    outgoing: Outgoing
    entropy: Callable[[int], bytes]
    dropped: Counter[str]

    @classmethod
    def of(cls, private_key: DiscoPrivateKey, entropy: Callable[[int], bytes]) -> Equipment:
        """That of a node with this disco key."""
        box, dropped = Box(private_key, entropy), Counter[str]()
        return cls(Senders(box), Outgoing(box, dropped), entropy, dropped)
